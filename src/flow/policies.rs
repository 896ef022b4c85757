//! The policy of a domain about its mail servers (MTA-STS, RFC 8461).
//!
//! 1. the text record in DNS says which policy there is
//! 2. the one that is kept, if it is this one, and still holds
//! 3. otherwise the one on the domain's web server, which is kept from now on. One that is kept and a day old is asked for
//!    anew beside the mail, which does not wait for it
//! 4. when there is no record, or the web server does not tell: the one that is kept, for as long as it holds. An
//!    attacker must not be able to make a policy go away (RFC 8461 10.2). A web server that did not tell is not asked
//!    again for five minutes, by whatever process.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::exchange;
use super::queue::STACK;
use crate::config::Config;
use crate::events;
use crate::host::dns::{Dns, Family};
use crate::host::https::{self, Site};
use crate::host::tls::{Clients, Trust};
use crate::host::{clock, durable, read_bounded, state, words};
use crate::parts;
use crate::proto::address::Domain;
use crate::proto::date::Stamp;
use crate::proto::mx::NoAnswer;
use crate::proto::sts::{self, Failure, MAX_ANSWER, Mode, Policy};

/// How long a web server may take when nobody waits for it (RFC 8461 3.3 suggests a minute).
pub const LIMIT: Duration = Duration::from_secs(30);
/// How long it may take, from connection to answer, while mail waits for it, and with it all that is for the same domain.
/// One that takes longer counts as one that does not tell, and whoever is able to delay it could block it as well.
const LIMIT_OF_MAIL: Duration = Duration::from_secs(10);
/// How many are refreshed at once; the others are when their domains get mail again.
const MOST_AT_ONCE: usize = 4;
/// The most policies that are kept.
const MAX_KEPT: usize = 1000;
/// The longest file of one; its text is shorter than what it was made from.
const MAX_FILE: u64 = 2 * MAX_ANSWER as u64;

/// What reports call a policy that could not be fetched (RFC 8460 4.3).
const NOT_FETCHED: &str = "sts-policy-fetch-error";

/// The policies of a run.
#[derive(Default)]
pub struct Policies {
    known: Mutex<BTreeMap<String, Option<Arc<Policy>>>>,
    /// What was wrong with those that there are and that could not be had, as reports call it (RFC 8460 4.3).
    troubles: Mutex<BTreeMap<String, &'static str>>,
    /// Whether web servers are asked for what is not kept.
    pub asking: Asking,
    /// Those who refresh what is kept.
    refreshing: Mutex<Vec<JoinHandle<()>>>,
}

/// When web servers are asked for policies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Asking {
    /// Unless they failed just before.
    #[default]
    Usually,
    /// Whatever they did before: somebody wants to know how it is now.
    Anew,
    /// Never: nobody is to be connected to.
    Never,
}

impl Policies {
    /// The policy for mail to a domain; `None`: it has none, or wants none.
    pub fn of(
        &self,
        config: &Arc<Config>,
        dns: &Dns,
        clients: &Clients,
        domain: &Domain,
    ) -> Option<Arc<Policy>> {
        let name = domain.ascii().to_owned();
        if !parts::MX || !config.remote.mta_sts || name.starts_with('[') {
            return None;
        }
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(policy) = known().get(&name) {
            return policy.clone();
        }
        let search = Search {
            config,
            dns,
            clients,
            name: &name,
            asking: self.asking,
            limit: LIMIT_OF_MAIL,
            trouble: Cell::new(None),
        };
        let (policy, is_old) = search.policy();
        let policy = policy.filter(|policy| policy.mode != Mode::Off);
        if let Some(id) = is_old {
            self.refresh(config, &name, id);
        }
        let policy = policy.map(Arc::new);
        if let Some(trouble) = search.trouble.get() {
            let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
            troubles.insert(name.clone(), trouble);
        }
        known().insert(name, policy.clone());
        policy
    }

    /// Asks for a policy anew that is kept and still holds. Without room for a thread it is done another time.
    fn refresh(&self, config: &Arc<Config>, name: &str, id: String) {
        let (config, name) = (Arc::clone(config), name.to_owned());
        let ask = move || {
            let search = Search {
                config: &config,
                dns: &exchange::resolver(&config),
                clients: &Clients::new(),
                name: &name,
                asking: Asking::Usually,
                limit: LIMIT,
                trouble: Cell::new(None),
            };
            search.fetch(&id, search.kept().map(|(policy, _)| policy), clock::now());
        };
        let mut refreshing = self
            .refreshing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        refreshing.retain(|thread| !thread.is_finished());
        if refreshing.len() < MOST_AT_ONCE {
            let thread = thread::Builder::new()
                .name("policy".to_owned())
                .stack_size(STACK);
            refreshing.extend(thread.spawn(ask));
        }
    }

    /// Waits until what is being refreshed is kept, for a process that ends now.
    pub fn settle(&self) {
        let mut refreshing = self
            .refreshing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for thread in refreshing.drain(..) {
            // One that a fault has stopped never ends; this process does then (flow/fault.rs).
            let _ = thread.join();
        }
    }

    /// What was wrong with the policy of a domain, by its name in ASCII.
    pub fn trouble(&self, name: &str) -> Option<&'static str> {
        let troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        troubles.get(name).copied()
    }
}

struct Search<'a> {
    config: &'a Config,
    dns: &'a Dns,
    clients: &'a Clients,
    name: &'a str,
    asking: Asking,
    limit: Duration,
    trouble: Cell<Option<&'static str>>,
}

impl Search<'_> {
    /// The policy, and its id if it is to be refreshed.
    fn policy(&self) -> (Option<Policy>, Option<String>) {
        let now = clock::now();
        let kept = self.kept().filter(|(policy, _)| now < policy.until);
        let (kept, since) = kept.map_or((None, now), |(policy, since)| (Some(policy), since));
        let texts = self.dns.txt(&format!("_mta-sts.{}", self.name));
        let Some(id) = texts.ok().and_then(|texts| sts::record_id(&texts)) else {
            return (kept, None);
        };
        let forbidden = || self.failure().is_some_and(|f| f.forbids(&id, now));
        if kept.as_ref().is_some_and(|policy| policy.id == id) {
            // One from the future was written by a clock that was wrong.
            let is_young = (since..since.saturating_add(sts::REFRESH)).contains(&now);
            let is_old = !is_young && self.asking == Asking::Usually && !forbidden();
            return (kept, Some(id).filter(|_| is_old));
        }
        match self.asking {
            Asking::Usually if forbidden() => {
                self.trouble.set(Some(NOT_FETCHED));
                return (kept, None);
            }
            Asking::Never => return (kept, None),
            Asking::Usually | Asking::Anew => {}
        }
        (self.fetch(&id, kept, now), None)
    }

    /// The policy of this id from its web server, which is kept from now on; or the one that is kept.
    fn fetch(&self, id: &str, kept: Option<Policy>, now: i64) -> Option<Policy> {
        let (config, clients) = (self.config, self.clients);
        match fetch(config, self.dns, clients, self.name, id, now, self.limit) {
            Ok(policy) => {
                // Mostly there is none.
                let _ = durable::remove(&self.failure_path());
                events::policy(&self.name, &policy.id, policy.mode.word());
                if let Err(why) = self.keep(&policy) {
                    let what = format!("the MTA-STS policy of {} cannot be kept: {why}", self.name);
                    events::trouble("-", &what);
                }
                Some(policy)
            }
            Err(Missing { trouble, why }) => {
                self.trouble.set(Some(trouble));
                let instead = kept.as_ref().map_or_else(
                    || "it counts as having none".to_owned(),
                    |kept| {
                        let until = Stamp::utc(kept.until).iso8601();
                        format!("the last one still holds until {until}")
                    },
                );
                let what = format!("the MTA-STS policy of {}: {why}; {instead}", self.name);
                events::trouble("-", &what);
                // If it cannot be remembered, it is asked again by the next run.
                let failure = Failure::new(id, now).to_text();
                let _ = self.store(&self.failure_path(), failure.as_bytes());
                kept
            }
        }
    }

    fn folder(&self) -> PathBuf {
        self.config.queue.spool.join("state").join("sts")
    }

    /// The one that is kept, and since when.
    fn kept(&self) -> Option<(Policy, i64)> {
        let path = self.folder().join(self.name);
        let since = std::fs::metadata(&path).map_or(0, |m| m.mtime());
        read(&path).map(|policy| (policy, since))
    }

    /// No domain has such a name.
    fn failure_path(&self) -> PathBuf {
        self.folder().join(format!("{}~", self.name))
    }

    fn failure(&self) -> Option<Failure> {
        let octets = read_bounded(&self.failure_path(), MAX_FILE).ok()?;
        Failure::from_text(&String::from_utf8(octets).ok()?)
    }

    fn keep(&self, policy: &Policy) -> Result<(), String> {
        self.store(&self.folder().join(self.name), policy.to_text().as_bytes())
    }

    fn store(&self, path: &Path, text: &[u8]) -> Result<(), String> {
        let folder = self.folder();
        if !path.exists() && count(&folder) >= MAX_KEPT {
            sweep(&folder);
        }
        if !path.exists() && count(&folder) >= MAX_KEPT {
            return Err(format!(
                "there are {MAX_KEPT} of them in {}",
                folder.display()
            ));
        }
        state::store(&folder, path, text).map_err(|e| words(&e))
    }
}

/// Why a policy could not be had.
#[derive(Debug)]
pub struct Missing {
    /// What reports call it (RFC 8460 4.3).
    pub trouble: &'static str,
    /// The same in words.
    pub why: String,
}

/// The policy on the web server of a domain, whose record has this id, if it comes within `limit`. Nothing is kept of it.
///
/// # Errors
/// Why there is none.
pub fn fetch(
    config: &Config,
    dns: &Dns,
    clients: &Clients,
    domain: &str,
    id: &str,
    now: i64,
    limit: Duration,
) -> Result<Policy, Missing> {
    let name = format!("mta-sts.{domain}");
    let missing = |trouble: &'static str, why: String| Missing { trouble, why };
    let found = dns.addresses(&[&name], Family::Any).pop();
    let addresses = match found {
        Some(Ok(addresses)) => addresses,
        Some(Err(NoAnswer::Temporary(why))) => {
            let why = format!("cannot find the address of {name}: {why}");
            return Err(missing(NOT_FETCHED, why));
        }
        _ => return Err(missing(NOT_FETCHED, format!("{name} has no address"))),
    };
    let trust = match &config.remote.ca_file {
        Some(path) => Trust::File(path.clone()),
        None => Trust::System,
    };
    let site = Site {
        name: &name,
        addresses: &addresses,
        port: config.remote.mta_sts_port,
    };
    let path = "/.well-known/mta-sts.txt";
    let answer = https::get(clients, &trust, &site, path, MAX_ANSWER, limit).map_err(|why| {
        let trouble = match why.starts_with("TLS failed") {
            true => "sts-webpki-invalid",
            false => NOT_FETCHED,
        };
        missing(trouble, format!("{name}: {why}"))
    })?;
    let body = sts::body(&answer)
        .map_err(|why| missing(NOT_FETCHED, format!("{name}: the web server {why}")))?;
    Policy::parse(body, id, now)
        .map_err(|why| missing("sts-policy-invalid", format!("{name}: the policy {why}")))
}

/// Takes away what does not hold any more, and every failure.
fn sweep(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if read(&entry.path()).is_none_or(|policy| policy.until <= clock::now()) {
            let _ = durable::remove(&entry.path());
        }
    }
}

/// The policy in a file, if it is one.
fn read(path: &Path) -> Option<Policy> {
    let octets = read_bounded(path, MAX_FILE).ok()?;
    Policy::from_text(&String::from_utf8(octets).ok()?)
}

fn count(folder: &Path) -> usize {
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}
