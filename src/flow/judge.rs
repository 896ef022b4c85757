//! Mail from strangers, judged: who may send it (SPF), who has signed it (DKIM), who answers for it (DMARC), who has
//! passed it on (ARC), and what its client is called (iprev).
//!
//! 1. [`Judge`]: one for a client of port 25 who is not at home here; nobody else is looked at
//! 2. at MAIL: SPF, if its verdict may refuse; otherwise it waits until there is a message
//! 3. [`Inspection`]: the header is held and looked at, the body passes by
//! 4. at the end keys and policies are asked for; what was found stands on top of the message, or it is refused
//!
//! Trouble with DNS never refuses anything. All questions for one message have a common end.

use std::cell::RefCell;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::Context;
use crate::config::{Config, Judgement};
use crate::events;
use crate::host::clock;
use crate::host::dns::{Dns, Family};
use crate::parts;
use crate::proto::address::{Domain, Mailbox, ReversePath};
use crate::proto::addrlist::addresses;
use crate::proto::command::Step;
use crate::proto::dkim::verify::{Found, Verifier};
use crate::proto::dmarc::{self, Policy, Proofs};
use crate::proto::header::Header;
use crate::proto::mx::{Exchanger, NoAnswer};
use crate::proto::names::{Names, confirmed};
use crate::proto::replies::{self, Reply};
use crate::proto::results::{self, Checked, Word};
use crate::proto::transaction::Transaction;
use crate::proto::{arc, spf};

/// How long all questions at MAIL may take together (RFC 7208 4.6.4: 20 s at least), and those at the end.
const PATIENCE: Duration = Duration::from_secs(20);
/// Octets for what is found, which is written before the message when it has ended.
pub const ROOM: usize = 4096;

/// The judge of one client.
pub struct Judge<'a> {
    context: &'a Context,
    dns: &'a Dns,
    address: IpAddr,
    found: RefCell<Known>,
}

/// What was found out about a client.
#[derive(Default)]
struct Known {
    /// iprev, and the first of its names.
    name: Option<(Checked, Option<String>)>,
    /// SPF, for the sender and the name that the client gave.
    spf: Option<(ReversePath, String, Sent)>,
}

/// Whether a sender lets the client send.
#[derive(Clone)]
struct Sent {
    checked: Checked,
    /// Whose word it is.
    domain: String,
}

impl<'a> Judge<'a> {
    /// For a client; `None`: nobody wants to know.
    pub fn new(context: &'a Context, dns: &'a Dns, address: IpAddr) -> Option<Self> {
        let access = &context.config.access;
        // It is all in DNS.
        let idle = !parts::MX || access.spf == Judgement::Off && access.dmarc == Judgement::Off;
        (!idle).then(|| Self {
            context,
            dns,
            address: address.to_canonical(),
            found: RefCell::default(),
        })
    }

    fn config(&self) -> &Config {
        &self.context.config
    }

    fn asker(&self) -> Asker<'_> {
        Asker::new(self.dns)
    }

    /// The client's own name, if it has been looked up and leads back to it.
    pub fn name(&self) -> Option<String> {
        self.iprev().1
    }

    fn iprev(&self) -> (Checked, Option<String>) {
        let mut found = self.found.borrow_mut();
        found
            .name
            .get_or_insert_with(|| self.look_up_name())
            .clone()
    }

    fn look_up_name(&self) -> (Checked, Option<String>) {
        let (word, names) = match confirmed(&mut self.asker(), self.address) {
            Ok(names) if names.is_empty() => (Word::Fail, names),
            Ok(names) => (Word::Pass, names),
            Err(NoAnswer::Temporary(_)) => (Word::Temperror, Vec::new()),
            Err(_) => (Word::Permerror, Vec::new()),
        };
        let name = names.into_iter().next();
        let checked = Checked {
            method: "iprev",
            word,
            why: name.clone().unwrap_or_default(),
            properties: vec![("policy.iprev", self.address.to_string())],
        };
        (checked, name)
    }

    /// Whether the sender's domain lets the client send.
    pub fn lets_send(&self, transaction: &Transaction) -> bool {
        self.sent(transaction).checked.word == Word::Pass
    }

    /// At MAIL.
    ///
    /// # Errors
    /// The refusal.
    pub fn sender(&self, transaction: &Transaction) -> Result<(), Reply> {
        if self.config().access.spf != Judgement::Refuse {
            return Ok(());
        }
        let sent = self.sent(transaction);
        if sent.checked.word != Word::Fail {
            return Ok(());
        }
        let domain = &sent.domain;
        let text = format!("{domain} does not let {} send its mail (SPF)", self.address);
        let (client, reply) = (
            self.address.to_string(),
            replies::SPF_FAILED.with_text(text),
        );
        let reason = format!("{reply}: {}", sent.checked);
        self.context
            .rejected(&client, Step::Mail, &transaction.sender, &reason);
        Err(reply)
    }

    /// SPF (RFC 7208), once for each sender.
    fn sent(&self, transaction: &Transaction) -> Sent {
        let helo = transaction.client.name.as_str();
        let known = self.found.borrow().spf.clone();
        if let Some((sender, name, sent)) = known
            && sender == transaction.sender
            && name == helo
        {
            return sent;
        }
        let sent = self.ask_sender(&transaction.sender, helo);
        self.found.borrow_mut().spf =
            Some((transaction.sender.clone(), helo.to_owned(), sent.clone()));
        sent
    }

    fn ask_sender(&self, sender: &ReversePath, helo: &str) -> Sent {
        // Of a report, the name the client gave is the sender (RFC 7208 2.4).
        let (local, domain, property) = match sender.mailbox() {
            Some(mailbox) => {
                let property = ("smtp.mailfrom", mailbox.to_string());
                (mailbox.local(), mailbox.domain().ascii(), property)
            }
            None => ("postmaster", helo, ("smtp.helo", helo.to_owned())),
        };
        let client = spf::Client {
            address: self.address,
            helo,
            local,
            domain,
        };
        let answer = spf::check(client, &mut self.asker());
        Sent {
            checked: Checked {
                method: "spf",
                word: answer.word,
                why: answer.why,
                properties: vec![property],
            },
            domain: domain.to_ascii_lowercase(),
        }
    }

    /// A message is to come.
    pub fn inspect(&self, transaction: &Transaction) -> Inspection<'_> {
        Inspection {
            judge: self,
            sender: transaction.sender.clone(),
            sent: self.sent(transaction),
            looked: None,
        }
    }
}

/// A message that is looked at.
pub struct Inspection<'j> {
    judge: &'j Judge<'j>,
    sender: ReversePath,
    sent: Sent,
    looked: Option<Looked>,
}

/// What is to be checked when the body has passed by.
struct Looked {
    dkim: Verifier,
    arc: arc::Verifier,
    /// Whose message it claims to be.
    from: Result<Domain, &'static str>,
}

impl Inspection<'_> {
    /// The header, before it is written down.
    pub fn header(&mut self, header: &Header) {
        self.looked = Some(Looked {
            dkim: Verifier::new(header, clock::now()),
            arc: arc::Verifier::new(header),
            from: author(header),
        });
    }

    /// The next octets of the body.
    pub fn feed(&mut self, chunk: &[u8]) {
        if let Some(looked) = &mut self.looked {
            looked.dkim.feed(chunk);
            looked.arc.feed(chunk);
        }
    }

    /// The message has ended: the field to put before it.
    ///
    /// # Errors
    /// The refusal.
    pub fn finish(self, id: &str) -> Result<String, Reply> {
        let judge = self.judge;
        let mut asker = judge.asker();
        let mut checks = vec![judge.iprev().0, self.sent.checked.clone()];
        let mut refusal = None;
        if let Some(looked) = self.looked {
            let signatures = looked.dkim.finish(&mut |name| asker.txt(name));
            if signatures.is_empty() {
                checks.push(nothing("dkim"));
            }
            checks.extend(signatures.iter().map(Found::checked));
            checks.push(looked.arc.finish(&mut |name| asker.txt(name)));
            let (checked, refused) = answer_for(&looked.from, &signatures, &self.sent, &mut asker);
            checks.push(checked);
            refusal = refused.filter(|_| judge.config().access.dmarc == Judgement::Refuse);
        }
        let shown: Vec<String> = checks
            .iter()
            .map(|c| format!("{}={}", c.method, c.word))
            .collect();
        let client = judge.address.to_string();
        events::judged(id, &client, &self.sender, &shown.join(" "));
        if let Some(text) = refusal {
            let reply = replies::DMARC_FAILED.with_text(text);
            events::rejected(&client, Step::Text, &self.sender, &reply);
            return Err(reply);
        }
        let by = judge.config().hostname.as_str();
        let mut field = results::field(by, &checks);
        // A stranger's names may be long; the words are what counts.
        if field.len() > ROOM - 64 {
            for check in &mut checks {
                check.why.clear();
                check.properties.clear();
            }
            field = results::field(by, &checks);
        }
        Ok(field)
    }
}

fn nothing(method: &'static str) -> Checked {
    Checked {
        method,
        word: Word::None,
        why: String::new(),
        properties: Vec::new(),
    }
}

/// DMARC: whether the domain in From answers for the message; and why it is refused, if the domain asks for that.
fn answer_for(
    from: &Result<Domain, &'static str>,
    signatures: &[Found],
    sent: &Sent,
    names: &mut dyn Names,
) -> (Checked, Option<String>) {
    let from = match from {
        Ok(from) => from,
        Err(why) => {
            let checked = Checked {
                word: Word::Permerror,
                why: (*why).to_owned(),
                ..nothing("dmarc")
            };
            return (
                checked,
                Some(format!("nobody answers for this message: {why}")),
            );
        }
    };
    let unsure = |word| word == Word::Temperror;
    let proofs = Proofs {
        signed: signatures.iter().filter_map(Found::proved).collect(),
        sent: (sent.checked.word == Word::Pass).then_some(sent.domain.as_str()),
        unsure: unsure(sent.checked.word) || signatures.iter().any(|s| unsure(s.word)),
    };
    let answer = dmarc::check(from, &proofs, names, clock::random());
    let refused = answer.word == Word::Fail && answer.policy == Policy::Reject;
    let why = match answer.word {
        Word::Pass | Word::Fail => format!("p={}", answer.policy.word()),
        _ => answer.why,
    };
    let checked = Checked {
        method: "dmarc",
        word: answer.word,
        why,
        properties: vec![("header.from", from.to_string())],
    };
    let text = format!("{from} does not answer for this message, and asks to refuse it (DMARC)");
    (checked, refused.then_some(text))
}

/// The domain of the authors: there must be one (RFC 7489 6.6.1).
fn author(header: &Header) -> Result<Domain, &'static str> {
    let mut fields = header.fields().iter().filter(|f| f.is("From"));
    let field = fields.next().ok_or("it has no From")?;
    if fields.next().is_some() {
        return Err("it has several From");
    }
    let mut domains = Vec::new();
    for address in addresses(field.body()) {
        let mailbox = address.spec.and_then(|spec| Mailbox::parse(&spec));
        domains.push(
            mailbox
                .map_err(|_| "its From is no address")?
                .domain()
                .clone(),
        );
    }
    domains.dedup();
    let first = domains.pop().ok_or("its From is no address")?;
    match domains.is_empty() {
        true => Ok(first),
        false => Err("its From names several domains"),
    }
}

/// Asks until the time is over.
pub struct Asker<'d> {
    dns: &'d Dns,
    until: Instant,
}

impl<'d> Asker<'d> {
    /// With as much time as one message has.
    pub fn new(dns: &'d Dns) -> Self {
        Self {
            dns,
            until: Instant::now() + PATIENCE,
        }
    }

    fn in_time(&self) -> Result<(), NoAnswer> {
        match Instant::now() < self.until {
            true => Ok(()),
            false => Err(NoAnswer::Temporary("DNS takes too long".to_owned())),
        }
    }
}

impl Names for Asker<'_> {
    fn txt(&mut self, name: &str) -> Result<Vec<String>, NoAnswer> {
        self.in_time()?;
        self.dns.txt(name)
    }

    fn addresses(&mut self, name: &str, v6: bool) -> Result<Vec<IpAddr>, NoAnswer> {
        self.in_time()?;
        let family = if v6 { Family::V6 } else { Family::V4 };
        let found = self.dns.addresses(&[name], family).pop();
        found.unwrap_or(Err(NoAnswer::NoData))
    }

    fn mx(&mut self, domain: &str) -> Result<Vec<Exchanger>, NoAnswer> {
        self.in_time()?;
        self.dns.mx(domain).found
    }

    fn pointer(&mut self, address: IpAddr) -> Result<Vec<String>, NoAnswer> {
        self.in_time()?;
        self.dns.pointer(address)
    }
}
