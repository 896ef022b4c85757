//! Reports about TLS to domains that want them ([`crate::proto::tlsrpt`] has their form): only where `[remote]
//! tls_reports` asks for it.
//!
//! 1. each connection to a mail server of a domain is counted, by what the domain demands and how it went
//! 2. at the end of a run the counts are added to the file of the day, in the folder `state/tls` of the spool
//! 3. the first run after that day, and some time that differs from host to host, makes reports of the file: for each
//!    domain whose DNS has a record that asks for one; by mail through the queue, or to its web server
//!
//! Counts are no mail: what a crash loses, and what is beyond a day's bound, is not told of.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::Context;
use crate::config::Config;
use crate::error::Result;
use crate::events;
use crate::host::dns::{Dns, Family};
use crate::host::https::{self, Site};
use crate::host::tls::{Clients, Trust};
use crate::host::{clock, durable, privilege, read_bounded, state, words};
use crate::parts;
use crate::proto::address::{Mailbox, ReversePath};
use crate::proto::date::{Stamp, parse_iso8601};
use crate::proto::envelope::{Envelope, Notify, Recipient};
use crate::proto::tlsrpt::{self, About, Applied, Place};

/// The longest file of a day.
const MOST: u64 = 256 * 1024;
/// The most different counts of a run.
const MOST_LINES: usize = 1000;
const DAY: i64 = 24 * 60 * 60;
/// A report that could not be made for so long is nobody's any more.
const FORGOTTEN: i64 = 3 * DAY;
/// How long a web server may take.
const LIMIT: Duration = Duration::from_secs(30);
/// The most of its answer that is read.
const MAX_ANSWER: usize = 64 * 1024;

/// The counts of a run, which are written down when it ends.
#[derive(Debug)]
pub struct Counter {
    /// `None`: nobody wants them.
    folder: Option<PathBuf>,
    counts: Mutex<BTreeMap<String, u64>>,
}

impl Counter {
    /// For a run.
    pub fn new(config: &Config) -> Self {
        // Whoever has only the program's group cannot write there.
        let wanted = parts::MX && config.remote.tls_reports.is_some() && !privilege::has_group();
        Self {
            folder: wanted.then(|| folder(config)),
            counts: Mutex::default(),
        }
    }

    /// Whether anybody wants to know.
    pub fn is_wanted(&self) -> bool {
        self.folder.is_some()
    }

    /// Counts a connection to a server of a domain, under this policy.
    pub fn count(&self, domain: &str, applied: &Applied, server: &str, result: Option<&str>) {
        let line = tlsrpt::line(domain, applied, server, result.unwrap_or(tlsrpt::OK));
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() < MOST_LINES || counts.contains_key(&line) {
            *counts.entry(line).or_default() += 1;
        }
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        let counts = self
            .counts
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(folder) = self.folder.as_ref().filter(|_| !counts.is_empty()) else {
            return;
        };
        if let Err(error) = add(folder, counts) {
            let what = format!(
                "cannot count TLS in {}: {}",
                folder.display(),
                words(&error)
            );
            events::trouble("-", &what);
        }
    }
}

/// Reads the file of a day.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    read_bounded(path, MOST)
}

fn folder(config: &Config) -> PathBuf {
    config.queue.spool.join("state").join("tls")
}

/// How many sessions of today (UTC) were good, and how many were not; `None`: nobody counts them, or they are not ours to
/// read.
pub fn today(config: &Config) -> Option<(u64, u64)> {
    config.remote.tls_reports.as_ref()?;
    let text = match read(&folder(config).join(day(clock::now()))) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(_) => return None,
    };
    let counts = tlsrpt::add_up(&String::from_utf8_lossy(&text));
    let sums = counts.values().flat_map(BTreeMap::values);
    let add = |(good, bad): (u64, u64), (more, worse): (u64, u64)| {
        (good.saturating_add(more), bad.saturating_add(worse))
    };
    Some(sums.map(tlsrpt::Sums::totals).fold((0, 0), add))
}

/// Whether there are reports to be sent.
pub fn is_due(context: &Context) -> bool {
    !due(context, clock::now()).is_empty()
}

/// Sends the reports that are due. Their receivers may take their time.
pub fn settle(context: &Context) {
    let now = clock::now();
    if let Some(contact) = &context.config.remote.tls_reports {
        for (path, begin) in due(context, now) {
            if let Err(error) = send_day(context, contact, &path, begin, now) {
                let what = format!("no reports about TLS on {}: {error}", day(begin));
                events::trouble("-", &what);
            }
        }
    }
}

/// The day of a time, as it is written: `2026-11-25`.
fn day(time: i64) -> String {
    Stamp::utc(time).iso8601().chars().take(10).collect()
}

fn add(folder: &Path, counts: &BTreeMap<String, u64>) -> io::Result<()> {
    let path = folder.join(day(clock::now()));
    let file = state::open_append(folder, &path)?;
    // While it is made into reports nobody adds to it.
    file.lock()?;
    if file.metadata()?.len() > MOST {
        return Ok(());
    }
    let lines: String = counts
        .iter()
        .map(|(line, count)| format!("{line}\t{count}\n"))
        .collect();
    durable::write(&file, lines.as_bytes())
}

/// The counts of days that are over, if it is time, and when each day began.
fn due(context: &Context, now: i64) -> Vec<(PathBuf, i64)> {
    if !parts::MX || context.config.remote.tls_reports.is_none() || privilege::has_group() {
        return Vec::new();
    }
    let today = now - now.rem_euclid(DAY);
    if now < today + tlsrpt::delay(context.config.hostname.as_str()) {
        return Vec::new();
    }
    let files = std::fs::read_dir(folder(&context.config));
    let over = files.into_iter().flatten().flatten().filter_map(|entry| {
        let name = entry.file_name();
        let begin = parse_iso8601(&format!("{}T00:00:00Z", name.to_string_lossy()))?;
        (begin < today).then(|| (entry.path(), begin))
    });
    over.collect()
}

fn send_day(
    context: &Context,
    contact: &Mailbox,
    path: &Path,
    begin: i64,
    now: i64,
) -> std::result::Result<(), String> {
    let file = state::open_append(&folder(&context.config), path).map_err(|e| words(&e))?;
    if file.try_lock().is_err() {
        // Another process is at it.
        return Ok(());
    }
    let text = read(path).map_err(|e| words(&e))?;
    let text = String::from_utf8_lossy(&text);
    let dns = super::exchange::resolver(&context.config);
    if begin > now - FORGOTTEN {
        for (domain, policies) in &tlsrpt::add_up(&text) {
            let texts = dns.txt(&format!("_smtp._tls.{domain}")).unwrap_or_default();
            let about = About {
                domain,
                by: context.config.hostname.as_str(),
                contact,
                begin,
            };
            let places = tlsrpt::places(&texts);
            if places.is_empty() {
                continue;
            }
            let report = tlsrpt::gzip(about.report(policies).as_bytes());
            let mut is_told = false;
            for place in places {
                let (host, sent) = match place {
                    Place::Mail(to) => {
                        let sent = mail(context, &about, &to, &report, now);
                        if let (Err(error), false) = (&sent, is_told) {
                            keep_from(&file, &text, domain);
                            return Err(error.to_string());
                        }
                        (to.to_string(), sent.map_err(|error| error.to_string()))
                    }
                    Place::Web(host, port, path) => {
                        let sent = post(context, &dns, (&host, port), &path, &report);
                        (host, sent)
                    }
                };
                is_told = true;
                if let Err(why) = sent {
                    let what = format!("the report about TLS to {domain}: {host}: {why}");
                    events::trouble("-", &what);
                }
            }
        }
    }
    // What was sent must not be sent again, whatever the folder says.
    let done = durable::remove(path).or_else(|_| durable::truncate(&file, 0));
    done.map_err(|e| words(&e))
}

/// Keeps of a day's file what is about this domain and those after it, for the next run: the others were told. What cannot
/// be kept is told of to nobody, rather than twice.
fn keep_from(file: &File, text: &str, domain: &str) {
    let of = |line: &str| line.split('\t').next().unwrap_or_default() >= domain;
    let left: Vec<&str> = text.split_inclusive('\n').filter(|line| of(line)).collect();
    let left = left.concat();
    if left.len() == text.len() {
        return;
    }
    let kept = durable::truncate(file, 0).and_then(|()| durable::write(file, left.as_bytes()));
    if let Err(error) = kept {
        let what = format!("cannot keep counts of TLS for reports: {}", words(&error));
        events::trouble("-", &what);
    }
}

/// Puts a report into the queue. Nobody wants to hear what becomes of it.
fn mail(context: &Context, about: &About<'_>, to: &Mailbox, report: &[u8], now: i64) -> Result<()> {
    let recipient = Recipient {
        notify: Some(Notify::default()),
        ..Recipient::plain(to.clone())
    };
    let sender = ReversePath::Mailbox(about.contact.clone());
    let mut draft = context.spool.begin(&Envelope {
        smtputf8: !to.is_ascii() || !about.contact.is_ascii(),
        ..Envelope::local(sender, vec![recipient], now, "report about TLS".to_owned())
    })?;
    let message = about.message(to, report, &draft.id, now);
    draft.write(message.as_bytes())?;
    let claim = draft.commit()?;
    let envelope = claim.envelope();
    events::queued(&claim.id, &envelope, claim.facts.size, "");
    Ok(())
}

fn post(
    context: &Context,
    dns: &Dns,
    (host, port): (&str, Option<u16>),
    path: &str,
    report: &[u8],
) -> std::result::Result<(), String> {
    let found = dns.addresses(&[host], Family::Any).pop();
    let Some(Ok(addresses)) = found else {
        return Err("it has no address".to_owned());
    };
    let trust = match &context.config.remote.ca_file {
        Some(path) => Trust::File(path.clone()),
        None => Trust::System,
    };
    let site = Site {
        name: host,
        addresses: &addresses,
        port: port.unwrap_or(context.config.remote.mta_sts_port),
    };
    let what = https::Content {
        kind: "application/tlsrpt+gzip",
        octets: report,
    };
    let answer = https::post(
        &Clients::new(),
        &trust,
        &site,
        path,
        &what,
        MAX_ANSWER,
        LIMIT,
    )?;
    match answer.code() {
        Some(code) if code.starts_with('2') => Ok(()),
        _ => Err(format!("it {}", answer.unwanted())),
    }
}
