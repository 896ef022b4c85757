//! What a message of this system or of its users is given: the fields its header lacks (RFC 6409 8), and the line that
//! says where it came from (RFC 5321 4.4).

use super::{Intake, Origin, Refused};
use crate::error::Error;
use crate::flow::Context;
use crate::host::accounts::Account;
use crate::host::clock;
use crate::proto::address::{Mailbox, ReversePath};
use crate::proto::date::Stamp;
use crate::proto::envelope::{Envelope, UID};
use crate::proto::fields::{self, Trace, received};
use crate::proto::header::{Header, Made};
use crate::proto::outcome::one_line;

impl Intake<'_> {
    pub(super) fn complete(&self, header: &mut Header, id: &str) -> Result<(), Refused> {
        let config = &self.context.config;
        let from = match (&self.origin, self.envelope.sender.mailbox(), &self.identity) {
            (_, Some(mailbox), _) => mailbox.clone(),
            (Origin::Local(account), None, _) => own_address(self.context, account)?,
            (_, None, Some(identity)) => identity
                .address(config)
                .map_err(|reply| Refused::NotHis(reply, identity.user().to_owned()))?,
            // Who submits with the null sender, and is nobody's, answers for it as this system's postmaster would.
            (_, None, None) => Mailbox::new("postmaster".to_owned(), config.hostname.clone())
                .map_err(|why| Error::Internal(format!("postmaster makes no address: {why}")))?,
        };
        // Whoever has written a date needs none in our zone, and the zone file is not read for it.
        let has_date = header.get("Date").is_some_and(|f| !f.is_blank());
        let at = self.envelope.received_at;
        let date = if has_date {
            Stamp::utc(at)
        } else {
            clock::local(at)
        };
        let recipients: Vec<Mailbox> = self
            .envelope
            .recipients
            .iter()
            .map(|r| r.address.clone())
            .filter(|a| !self.is_bad(a))
            .collect();
        header.complete(&Made {
            date,
            message_id: id,
            from: &from,
            full_name: self.full_name.as_deref(),
            recipients: &recipients,
        });
        header.strip_bcc();
        // Whoever delivers writes it, and only he (RFC 5321 4.4).
        header.strip("Return-Path");
        if config.rewrite.add_domain {
            header.qualify(&config.hostname);
        }
        Ok(())
    }

    pub(super) fn trace(&self, id: &str) -> Vec<u8> {
        let only_recipient = match self.envelope.recipients.as_slice() {
            [only] => Some(&only.address),
            _ => None,
        };
        let origin = match &self.origin {
            Origin::Local(account) => fields::Origin::Local {
                uid: account.uid,
                user: Some(&account.name),
            },
            Origin::Submitter(peer) | Origin::Client(peer) => fields::Origin::Client {
                helo: &peer.helo,
                name: peer.name.as_deref(),
                address: peer.address,
                protocol: &self.envelope.protocol,
                tls: peer.tls.as_deref(),
            },
        };
        received(&Trace {
            origin,
            by: &self.context.config.hostname,
            id,
            only_recipient,
            date: Stamp::utc(self.envelope.received_at),
        })
    }
}

/// Where a message comes from that a user of this system has handed in, as its envelope has it.
pub fn client(uid: u32) -> String {
    format!("{UID}{uid}")
}

/// An envelope of a local user, with nobody in it yet.
pub fn envelope(caller: &Account, sender: ReversePath) -> Envelope {
    Envelope::local(sender, Vec::new(), clock::now(), client(caller.uid))
}

/// The address of a user of this system.
///
/// # Errors
/// `Os` for a user name that makes none.
pub fn own_address(context: &Context, caller: &Account) -> Result<Mailbox, Error> {
    let made = Mailbox::new(caller.name.clone(), context.config.hostname.clone());
    made.map_err(|why| {
        Error::Os(format!(
            "the user name {} makes no address: {why}",
            one_line(&caller.name)
        ))
    })
}
