//! The story of a message, in reading order: received or submitted, queued, delivered or sent, reported. Glue only: what is
//! decided is decided in `proto/`, what is touched is touched in `host/`.

use std::fmt::Display;
use std::sync::{Arc, OnceLock};

use aliases::Aliases;
use helpers::Keeper;
use stopping::Stopping;

use crate::cli::Invocation;
use crate::config::Config;
use crate::events;
use crate::host::accounts::{self, Account};
use crate::host::ledger::Ledger;
use crate::host::presence::{self, Found};
use crate::host::privilege;
use crate::host::spool::Spool;
use crate::proto::command::Step;
use crate::proto::outcome::Outcome;

pub mod access;
pub mod admin;
pub mod aliases;
pub mod attend;
pub mod bounce;
pub mod check;
pub mod collapse;
pub mod connect;
pub mod connections;
pub mod daemon;
pub mod defence;
pub mod deliver;
pub mod dialogue;
pub mod direct;
pub mod dkim_key;
pub mod doors;
pub mod ends;
pub mod exchange;
pub mod expand;
pub mod fault;
pub mod forward;
pub mod helper;
pub mod helpers;
pub mod hops;
pub mod identity;
pub mod import;
pub mod intake;
pub mod jail;
pub mod judge;
pub mod lanes;
pub mod links;
pub mod lmtp;
pub mod milter;
pub mod newaliases;
pub mod notices;
pub mod parent;
pub mod pass;
pub mod password;
pub mod policies;
pub mod probe;
pub mod queue;
pub mod receive;
pub mod runner;
pub mod send;
pub mod settle;
pub mod signing;
pub mod sink;
pub mod srs;
pub mod status;
pub mod stdio;
pub mod stopping;
pub mod submit;
mod text;
pub mod tlsrpt;
pub mod verify;

/// Who runs this process.
#[derive(Debug, Clone, Copy)]
struct Standing {
    /// Whether the spool is his.
    owns: bool,
    /// Whether he was lent the program's group.
    has_group: bool,
}

/// What every part of the story needs.
#[derive(Debug, Clone)]
pub struct Context {
    /// The configuration.
    pub config: Arc<Config>,
    /// The alias file.
    pub aliases: Arc<Aliases>,
    /// The queue.
    pub spool: Spool,
    /// The counts of the last day.
    pub ledger: Arc<Ledger>,
    /// What addresses of forwarded mail are made with.
    pub srs: Arc<srs::Maker>,
    /// What this program was called as; it stands before every line to standard error.
    pub program: String,
    /// `-v`: say on standard error what is done.
    pub verbose: bool,
    /// The way to root's process, when it has started this one to work.
    pub keeper: Option<Arc<Keeper>>,
    /// The user of the spool, when root runs this process and is not that user himself.
    pub servant: Option<Account>,
    /// What its threads know of its end.
    pub stopping: Arc<Stopping>,
    /// The numeric id of whoever runs this process, once somebody has asked.
    uid: OnceLock<u32>,
    /// Who he is, once somebody has looked.
    standing: OnceLock<Standing>,
}

impl Context {
    /// For a call of the program.
    pub fn new(config: Config, program: &str, call: &Invocation) -> Self {
        Self::of(config, program, call.verbose)
    }

    /// The same process with another configuration.
    pub fn renewed(&self, config: Config) -> Self {
        Self {
            keeper: self.keeper.clone(),
            stopping: Arc::clone(&self.stopping),
            ..Self::of(config, &self.program, self.verbose)
        }
    }

    fn of(config: Config, program: &str, verbose: bool) -> Self {
        let queue = &config.queue;
        Self {
            aliases: Arc::new(Aliases::new(&config.local.aliases)),
            spool: Spool::new(&queue.spool, queue.min_free, queue.max_messages),
            ledger: Arc::new(Ledger::new(&queue.spool)),
            srs: Arc::default(),
            config: Arc::new(config),
            program: program.to_owned(),
            verbose,
            keeper: None,
            servant: None,
            stopping: Arc::default(),
            uid: OnceLock::new(),
            standing: OnceLock::new(),
        }
    }

    /// A message, its sender or a recipient was refused in an SMTP session: a line in the log, and one more in the counts.
    pub fn rejected(&self, client: &str, step: Step, sender: &dyn Display, reason: &dyn Display) {
        events::rejected(client, step, sender, reason);
        self.ledger.count(|r| r.counts.rejected += 1);
    }

    /// The daemon that looks after this queue, if one runs.
    pub fn daemon(&self) -> Option<Found> {
        presence::find_for(&self.config.queue.run, self.spool.root())
    }

    /// Whether the spool is that of whoever runs this process. It stays so as long as this lives.
    pub fn is_private(&self) -> bool {
        self.standing().owns
    }

    /// The same, and he has no right but his own.
    pub fn is_all_his(&self) -> bool {
        let Standing {
            owns, has_group, ..
        } = self.standing();
        owns && !has_group
    }

    /// The numeric id of whoever runs this process.
    pub fn caller_uid(&self) -> u32 {
        *self.uid.get_or_init(accounts::caller_uid)
    }

    /// Who runs this process.
    pub fn caller(&self) -> Account {
        accounts::of_caller(self.caller_uid())
    }

    fn standing(&self) -> Standing {
        *self.standing.get_or_init(|| {
            let uid = self.caller_uid();
            Standing {
                owns: deliver::owner(self) == Some(uid),
                has_group: privilege::has_group_beside(uid),
            }
        })
    }
}

/// How it went, by index into the envelope's recipients.
pub type Outcomes = Vec<(usize, Outcome)>;

/// The message is not what was accepted: its checksum is wrong. Nobody was given it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damaged;
