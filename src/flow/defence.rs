//! Strangers at the door: what is asked of them before their mail is taken. Everything here is off or only told in
//! the log unless the configuration wants more; whoever is at home here, or has logged in, is asked nothing.
//!
//! How much comes from the client is counted ([`Quota`]). At RCPT, the cheapest first: the name it gave, the lists it is
//! on, and whether it has come before (greylisting; not for whom SPF or a list speaks).

mod rates;

use std::cell::RefCell;
use std::net::IpAddr;
use std::time::Duration;

pub use self::rates::{Place, Quota};
use self::rates::{Rate, client};

use super::Context;
use super::exchange::own_domains;
use super::judge::Judge;
use crate::config::{Config, Judgement};
use crate::events;
use crate::host::dns::{Dns, Family};
use crate::host::table::Table;
use crate::host::{clock, privilege, words};
use crate::proto::address::Mailbox;
use crate::proto::command::Step;
use crate::proto::dkim::key::sha256;
use crate::proto::replies::{self, Reply};
use crate::proto::screen;
use crate::proto::transaction::Transaction;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// What all sessions of a process share.
#[derive(Debug)]
pub struct Defence {
    connections: Rate,
    messages: Rate,
    users: Rate,
    greylist: Table,
}

impl Defence {
    /// For this configuration.
    pub fn new(config: &Config) -> Self {
        let limits = &config.limits;
        Self {
            connections: Rate::new(limits.connections_per_minute, MINUTE),
            messages: Rate::new(limits.client_messages_per_hour, HOUR),
            users: Rate::new(limits.user_messages_per_hour, HOUR),
            greylist: Table::new(&config.queue.spool.join("greylist")),
        }
    }

    /// A stranger has connected.
    ///
    /// # Errors
    /// It comes too often.
    pub fn connected(&self, address: IpAddr) -> Result<(), Reply> {
        let counted = self.connections.count(&client(address));
        counted.map(drop).map_err(|()| replies::TOO_OFTEN)
    }
}

/// The defence against one client.
pub struct Screen<'a> {
    context: &'a Context,
    dns: &'a Dns,
    defence: &'a Defence,
    address: IpAddr,
    /// What the lists say, once they were asked: the score, and which ones.
    listed: RefCell<Option<(i64, Vec<String>)>>,
}

impl<'a> Screen<'a> {
    /// For a stranger.
    pub fn new(context: &'a Context, dns: &'a Dns, defence: &'a Defence, address: IpAddr) -> Self {
        Self {
            context,
            dns,
            defence,
            address: address.to_canonical(),
            listed: RefCell::default(),
        }
    }

    /// At RCPT, for a recipient who is there.
    ///
    /// # Errors
    /// The refusal.
    pub fn recipient(
        &self,
        transaction: &Transaction,
        to: &Mailbox,
        judge: Option<&Judge<'_>>,
    ) -> Result<(), Reply> {
        self.name(transaction)?;
        self.lists(transaction)?;
        self.greylist(transaction, to, judge)
    }

    fn name(&self, transaction: &Transaction) -> Result<(), Reply> {
        let policy = self.context.config.access.helo;
        let name = transaction.client.name.as_str();
        let own = own_domains(&self.context.config);
        if policy == Judgement::Off {
            return Ok(());
        }
        let Some(odd) = screen::odd_name(name, self.address, &own) else {
            return Ok(());
        };
        let text = format!("{odd} in EHLO or HELO");
        if policy == Judgement::Refuse {
            return Err(self.refuse(replies::ODD_NAME.with_text(text), transaction, &name));
        }
        events::odd_client(&self.address.to_string(), &format!("{text}: {name}"));
        Ok(())
    }

    fn lists(&self, transaction: &Transaction) -> Result<(), Reply> {
        let access = &self.context.config.access;
        let (score, on) = self.listed();
        if access.dnsbl.is_empty() || score < i64::from(access.dnsbl_score) {
            return Ok(());
        }
        let on = on.join(", ");
        let reply = replies::LISTED.with_text(format!("{} is listed at {on}", self.address));
        Err(self.refuse(reply, transaction, &format!("score {score} by {on}")))
    }

    fn listed(&self) -> (i64, Vec<String>) {
        let ask = || {
            let lists = &self.context.config.access.dnsbl;
            let names: Vec<String> = lists.iter().map(|list| list.name(self.address)).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            screen::score(lists, &self.dns.addresses(&names, Family::V4))
        };
        self.listed.borrow_mut().get_or_insert_with(ask).clone()
    }

    fn greylist(
        &self,
        transaction: &Transaction,
        to: &Mailbox,
        judge: Option<&Judge<'_>>,
    ) -> Result<(), Reply> {
        let access = &self.context.config.access;
        let is_known =
            || self.listed().0 < 0 || judge.is_some_and(|judge| judge.lets_send(transaction));
        // A user who runs this, with the group lent, may stop it where it has the table, and may send without it.
        if !access.greylist || privilege::has_group() || is_known() {
            return Ok(());
        }
        let mut what = screen::network(self.address);
        what.extend(
            format!("\0{}\0{to}", transaction.sender)
                .to_lowercase()
                .into_bytes(),
        );
        let hash = sha256(&what);
        let number = |octets: &[u8]| octets.iter().fold(0_u64, |n, b| n << 8 | u64::from(*b));
        let (place, tag) = (number(&hash[..8]), number(&hash[8..12]).max(1));
        let tag = u32::try_from(tag).unwrap_or(u32::MAX);
        let now = u32::try_from(clock::now()).unwrap_or(u32::MAX);
        let delay = u32::try_from(access.greylist_delay.as_secs()).unwrap_or(u32::MAX);
        let again = self
            .defence
            .greylist
            .with(place, |bucket| screen::comes_again(bucket, tag, now, delay));
        match again {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.refuse(replies::GREYLISTED, transaction, to)),
            Err(error) => {
                // A broken table keeps no mail out, nor one that another process does not give back.
                events::trouble(
                    "-",
                    &format!("greylisting does not work: {}", words(&error)),
                );
                Ok(())
            }
        }
    }

    fn refuse(
        &self,
        reply: Reply,
        transaction: &Transaction,
        what: &dyn std::fmt::Display,
    ) -> Reply {
        let reason = format!("{reply}: {what}");
        let client = self.address.to_string();
        self.context
            .rejected(&client, Step::Rcpt, &transaction.sender, &reason);
        reply
    }
}
