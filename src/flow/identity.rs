//! As whom a user who has logged in may send: in MAIL, and in the header, which is what readers see and what a signature
//! of ours answers for.
//!
//! 1. His own name at each domain of this machine, the address that his name is, and what the users file says besides.
//! 2. Every address of From is to be his; where every one of Sender is, one of several in From is enough (RFC 5322 3.6.2).
//!    A Sender that is not his is taken off.
//! 3. Who sends a message again is the one that the topmost Resent-From and Resent-Sender name. Its From and Sender are
//!    as they were (RFC 5322 3.6.6), and may be anybody's for whom nothing here answers: nobody becomes another of our
//!    domains by such fields.
//! 4. What is not there is made, of the sender of the envelope or of his own address, and is right. What is there and
//!    names nobody, as `From: "boss@example.org":;`, is read by people and is nobody's.

use std::sync::Arc;

use crate::config::Config;
use crate::host::users::{List, Sender, Users};
use crate::proto::address::{Domain, Mailbox};
use crate::proto::addrlist::addresses;
use crate::proto::dkim::sign::nearest;
use crate::proto::header::{Field, Header};
use crate::proto::outcome::one_line;
use crate::proto::replies::{self, Reply};

/// A user who has logged in.
#[derive(Debug)]
pub struct Identity {
    list: Arc<List>,
    user: String,
}

/// An address of a header; `None`: there is none, or it cannot be read, and so it is nobody's.
type Named = Option<Mailbox>;

impl Identity {
    /// The user of this name, as the file has him now.
    ///
    /// # Errors
    /// A sentence: the users cannot be told.
    pub fn new(users: &Users, user: &str) -> Result<Self, String> {
        let (list, user) = (users.list()?, user.to_owned());
        Ok(Self { list, user })
    }

    /// His name.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Whether he may send as who is named in MAIL.
    ///
    /// # Errors
    /// The reply that says no.
    pub fn may_send(&self, config: &Config, sender: &Mailbox) -> Result<(), Reply> {
        match self.is(config, sender) {
            true => Ok(()),
            false => Err(self.refusal("MAIL", &Some(sender.clone()))),
        }
    }

    /// Whether he may send a message with this header, as it came. A Sender that is not his goes, where From is: programs
    /// name themselves so, and no reader misses it (RFC 6409 8.1).
    ///
    /// # Errors
    /// The reply that says no.
    pub fn may_write(&self, config: &Config, header: &mut Header) -> Result<(), Reply> {
        if self.list.senders(&self.user).contains(&Sender::Anything) {
            return Ok(());
        }
        for place in ["Resent-From", "Resent-Sender"] {
            let again = named(config, header.topmost_resent(), place);
            if let Some(other) = again.iter().find(|n| !self.is_named(config, n)) {
                return Err(self.refusal(place, other));
            }
        }
        let is_resent = header.is_resent();
        let is_others = |m: &Mailbox| !answers_for(config, m.domain());
        let is_right = |named: &Named| {
            self.is_named(config, named) || is_resent && named.as_ref().is_some_and(is_others)
        };
        let from = named(config, header.fields(), "From");
        let senders = named(config, header.fields(), "Sender");
        let is_one_of_them = from.iter().any(|n| self.is_named(config, n))
            && !senders.is_empty()
            && senders.iter().all(|n| self.is_named(config, n));
        if let Some(other) = from.iter().find(|n| !is_one_of_them && !is_right(n)) {
            return Err(self.refusal("From", other));
        }
        match senders.iter().find(|n| !is_right(n)) {
            Some(other) if is_resent => return Err(self.refusal("Sender", other)),
            Some(_) => header.strip("Sender"),
            None => {}
        }
        Ok(())
    }

    /// What is written where From is missing and the sender of the envelope is none: the address that his name is, or that
    /// of his name here.
    ///
    /// # Errors
    /// The reply that says that he has none.
    pub fn address(&self, config: &Config) -> Result<Mailbox, Reply> {
        let own = || Mailbox::new(self.user.clone(), config.hostname.clone());
        let address = Mailbox::parse(&self.user).or_else(|_| own());
        address.map_err(|_| {
            let text = format!(
                "there is no From, and the user name {} makes no address; write a From",
                one_line(&self.user)
            );
            replies::SENDER_REFUSED.with_text(text)
        })
    }

    fn is_named(&self, config: &Config, named: &Named) -> bool {
        named.as_ref().is_some_and(|m| self.is(config, m))
    }

    /// Whether this is his address: his own name at a domain of this machine, the address that his name is, or what
    /// the users file says.
    fn is(&self, config: &Config, address: &Mailbox) -> bool {
        let same = |other: &Mailbox| {
            other.domain() == address.domain()
                && other.local().eq_ignore_ascii_case(address.local())
        };
        let own = address.local().eq_ignore_ascii_case(&self.user)
            && config.domains.contains(address.domain());
        let mut more = self.list.senders(&self.user).iter();
        own || Mailbox::parse(&self.user).is_ok_and(|name| same(&name))
            || more.any(|entry| match entry {
                Sender::Anything => true,
                Sender::Domain(domain) => domain == address.domain(),
                Sender::Address(other) => same(other),
            })
    }

    fn refusal(&self, place: &str, other: &Named) -> Reply {
        let user = one_line(&self.user);
        let what = match other {
            Some(mailbox) => format!("{mailbox}, and {user} may not send as that address"),
            None => format!("what is no address, and {user} may not send as everybody"),
        };
        replies::SENDER_REFUSED.with_text(format!(
            "{place} names {what}; the third part of a line of the users file lists as what else its user may send"
        ))
    }
}

/// The addresses in the fields of this name, at least one of each in which anything stands. A bare name is one of this
/// system, as it is where such names are completed.
fn named(config: &Config, fields: &[Field], name: &str) -> Vec<Named> {
    let read = |spec: String| Mailbox::qualify(&spec, &config.hostname).ok();
    let mut all = Vec::new();
    for field in fields.iter().filter(|f| f.is(name) && !f.is_blank()) {
        let before = all.len();
        all.extend(addresses(field.body()).map(|a| a.spec.ok().and_then(read)));
        if all.len() == before {
            all.push(None);
        }
    }
    all
}

/// Whether others take the mail of a domain for ours: it is one of this machine, or we sign for it.
fn answers_for(config: &Config, domain: &Domain) -> bool {
    let signed = config.dkim.iter().map(|d| &d.domain);
    config.domains.contains(domain) || nearest(signed, domain).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::System;
    use crate::proto::header::sample;
    use std::os::unix::fs::PermissionsExt;

    /// What is expected where the message is taken without it.
    const NO_SENDER: &str = "no Sender";

    /// User, header, and whom the refusal names: nobody, if it is taken.
    #[rustfmt::skip]
    const HEADERS: &[(&str, &str, &str)] = &[
        ("alice", "From: Alice <alice@pi.example>", ""),
        ("alice", "From: alice@pi.example, ALICE@also.example", ""),
        ("alice", "From: bob@pi.example", "From names bob@pi.example,"),
        ("alice", "From: alice@pi.example (boss@pi.example)", ""),
        ("alice", "From: \"alice@pi.example\" <bob@far.example>", "From names bob@far.example,"),
        ("alice", "from : x\n (y) <bob@pi.example>", "From names bob@pi.example,"),
        // What is not there is made; a bare name is completed.
        ("alice", "Subject: x", ""),
        ("alice", "From:  ", ""),
        ("alice", "From: alice", ""),
        ("alice", "From: bob", "From names bob@pi.example,"),
        // Nobody, and what nobody can read.
        ("alice", "From: \"boss@pi.example\":;", "From names what is no address,"),
        ("alice", "From: (boss@pi.example)\nFrom: alice@pi.example", "From names what is no address,"),
        ("any", "From: somebody:;", ""),
        ("alice", "From: us: bob@pi.example;", "From names bob@pi.example,"),
        ("alice", "From: <bob@>", "From names what is no address,"),
        // Each field, and each address in it.
        ("alice", "From: alice@pi.example\nFrom: bob@pi.example", "From names bob@pi.example,"),
        ("alice", "From: alice@pi.example, bob@pi.example", "From names bob@pi.example,"),
        ("alice", "From: bob@pi.example, alice@pi.example\nSender: alice@pi.example", ""),
        ("alice", "From: bob@pi.example, alice@pi.example\nSender: bob@pi.example", "From names bob@pi.example,"),
        ("alice", "From: bob@pi.example\nSender: alice@pi.example", "From names bob@pi.example,"),
        ("alice", "From: bob@pi.example, eve@pi.example\nSender: alice@pi.example", "From names bob@pi.example,"),
        // Whom programs show next to From.
        ("alice", "From: alice@pi.example\nSender: Alice <alice@also.example>", ""),
        ("alice", "From: alice@pi.example\nSender: The Boss <boss@pi.example>", "no Sender"),
        ("alice", "Sender: bob@far.example", "no Sender"),
        ("alice", "Sender: alice@pi.example\nSender: bob@far.example", "no Sender"),
        ("alice", "Sender: \"boss@pi.example\":;", "no Sender"),
        ("alice", "Sender:  ", ""),
        // Sent again: by himself, and as nobody for whom we answer.
        ("alice", "Resent-From: alice@pi.example\nFrom: bob@far.example", ""),
        ("alice", "Resent-To: x@far.example\nFrom: bob@far.example", ""),
        ("alice", "Resent-From: alice@pi.example\nFrom: bob@also.example", "From names bob@also.example,"),
        ("alice", "Resent-From: alice@pi.example\nFrom: bob@sub.signed.example", "From names bob@sub.signed.example,"),
        ("alice", "Resent-From: bob@far.example\nFrom: alice@pi.example", "Resent-From names bob@far.example,"),
        ("alice", "Resent-From: alice@pi.example\nResent-From: bob@far.example\nFrom: bob@far.example", ""),
        ("alice", "Resent-From: alice@pi.example\nResent-Sender: boss@pi.example", "Resent-Sender names boss@pi.example,"),
        ("alice", "Resent-Sender: x:;\nFrom: bob@far.example", "Resent-Sender names what is no address,"),
        ("alice", "Resent-To: x@far.example\nFrom: bob@far.example\nSender: list@far.example", ""),
        ("alice", "Resent-To: x@far.example\nFrom: bob@far.example\nSender: boss@pi.example", "Sender names boss@pi.example,"),
        // What the file says.
        ("shop", "From: info@shop.example", ""),
        ("shop", "From: any@news.example", ""),
        ("shop", "From: x@shop.example", "From names x@shop.example,"),
        ("any", "From: bob@pi.example, <", ""),
        ("me@far.example", "From: me@far.example", ""),
    ];

    #[test]
    fn from_is_one_that_its_user_may_send_as() {
        let path = std::env::temp_dir().join(format!("minimta-identity-{}", std::process::id()));
        let lines = "alice:x\nme@far.example:x\nshop:x:info@shop.example,@news.example\nany:x:*\n";
        std::fs::write(&path, lines).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let system = System {
            hostname: &|| "pi.example".to_owned(),
        };
        let text = "domains = [\"pi.example\", \"also.example\"]\n[[dkim]]\ndomain = \"signed.example\"\nkey = \"/x\"\n";
        let config = Config::parse(text.as_bytes(), None, &system).unwrap();
        let users = Users::new(&path);
        for (user, header, expected) in HEADERS {
            let identity = Identity::new(&users, user).unwrap();
            let mut header = sample(&format!("{}\r\n\r\n", header.replace('\n', "\r\n")));
            let had = header.fields().iter().any(|f| f.is("Sender"));
            let said = identity.may_write(&config, &mut header);
            let has = header.fields().iter().any(|f| f.is("Sender"));
            assert_eq!(had && !has, *expected == NO_SENDER, "{header:?}");
            let said = said.err().map_or(String::new(), |reply| reply.to_string());
            let expected = match *expected {
                "" | NO_SENDER => String::new(),
                names => format!("550 5.7.1 {names} and {user} may not send as "),
            };
            assert!(
                said.is_empty() == expected.is_empty() && said.starts_with(&expected),
                "{header:?}: {said}"
            );
        }
        std::fs::remove_file(path).unwrap();
    }
}
