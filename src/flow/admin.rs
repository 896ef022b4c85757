//! What an admin does with the queue: list it, show, hold, release and remove messages.

use std::io::{Read, Write};

use super::pass::said;
use super::queue;
use super::settle::policy;
use super::{Context, deliver, intake};
use crate::cli::{Invocation, Select, printed, say};
use crate::error::{Error, Result};
use crate::host::spool::{Folder, Item, is_id};
use crate::host::{accounts, clock, terminal, words};
use crate::json::Json;
use crate::proto::date::Stamp;
use crate::proto::envelope::{Envelope, Parsed, Recipient};
use crate::proto::journal::{Progress, Standing};
use crate::proto::order;

mod change;

pub use change::{hold, release, remove};

/// A message of the queue, as a list shows it.
pub struct Listed {
    /// Its file.
    pub item: Item,
    size: u64,
    envelope: Envelope,
    progress: Progress,
}

impl Listed {
    /// The recipients who wait, and how it stands with each.
    fn waiting(&self) -> impl Iterator<Item = (&Recipient, &Standing)> {
        let waiting = self.progress.waiting().into_iter();
        waiting.filter_map(|index| {
            let to = self.envelope.recipients.get(index)?;
            Some((to, self.progress.standings.get(index)?))
        })
    }
}

/// Whether the caller sees what others have sent: root, and whoever owns the queue.
pub fn sees_all(context: &Context) -> bool {
    let caller = accounts::caller_uid();
    caller == 0 || deliver::owner(context) == Some(caller)
}

/// Whether a message is the caller's own, or all are.
pub fn may_see(context: &Context, envelope: &Envelope) -> bool {
    sees_all(context) || envelope.client == intake::client(accounts::caller_uid())
}

/// `mailq`. Returned is whether a message has waited for longer than `[queue] warn_after`: a monitor's question.
///
/// # Errors
/// Those of reading the spool.
pub fn list(context: &Context, call: &Invocation) -> Result<bool> {
    let now = clock::now();
    let Waiting { listed, unreadable } = waiting(context, &call.select)?;
    say(&if call.json {
        as_json(&listed, &unreadable)
    } else {
        as_text(&listed, &unreadable, now)
    })?;
    Ok(is_late(context, oldest(&listed, now)))
}

/// What is in the queue, by arrival.
pub struct Waiting {
    /// Messages.
    pub listed: Vec<Listed>,
    /// Files that are none.
    pub unreadable: Vec<Item>,
}

/// Looks at all messages that are selected.
///
/// # Errors
/// Those of reading the spool.
pub fn waiting(context: &Context, select: &[Select]) -> Result<Waiting> {
    let (mut listed, mut unreadable) = (Vec::new(), Vec::new());
    let all = sees_all(context);
    for folder in [Folder::New, Folder::Cur, Folder::Hold] {
        for item in context.spool.scan(folder)? {
            if !queue::is_selected(context, &item, select) {
                continue;
            }
            match context.spool.look(&item) {
                Some((parsed, _)) if !all && !may_see(context, &parsed.envelope) => {}
                None if !all => {}
                Some((
                    Parsed {
                        envelope, facts, ..
                    },
                    progress,
                )) => {
                    listed.push(Listed {
                        item,
                        size: facts.size,
                        envelope,
                        progress,
                    });
                }
                None => unreadable.push(item),
            }
        }
    }
    order::sort(&mut listed, &|a, b| a.item.id.cmp(&b.item.id));
    Ok(Waiting { listed, unreadable })
}

/// For how many seconds the oldest message has waited, those on hold aside.
pub fn oldest(listed: &[Listed], now: i64) -> Option<i64> {
    let waits = listed.iter().filter(|l| l.item.folder != Folder::Hold);
    waits
        .map(|l| now.saturating_sub(l.envelope.received_at))
        .max()
}

/// Whether that is longer than `[queue] warn_after`: a monitor's question.
pub fn is_late(context: &Context, oldest: Option<i64>) -> bool {
    oldest
        .and_then(|age| u64::try_from(age).ok())
        .is_some_and(|age| age > policy(context).warn_after)
}

/// In the form people know, with the closing line that monitors of Postfix read.
fn as_text(listed: &[Listed], unreadable: &[Item], now: i64) -> String {
    if listed.is_empty() && unreadable.is_empty() {
        return "Mail queue is empty\n".to_owned();
    }
    let mut text: String = listed.iter().map(|l| message_as_text(l, now)).collect();
    for item in unreadable {
        text.push_str(&format!(
            "{}  unreadable, in {}/\n",
            item.id,
            item.folder.name()
        ));
    }
    let total: u64 = listed.iter().map(|l| l.size).sum();
    let count = listed.len() + unreadable.len();
    let plural = if count == 1 { "" } else { "s" };
    text.push_str(&format!(
        "-- {} Kbytes in {count} Request{plural}.\n",
        total.div_ceil(1024)
    ));
    text
}

/// Its line, and two for each recipient that waits.
fn message_as_text(listed: &Listed, now: i64) -> String {
    let (item, envelope) = (&listed.item, &listed.envelope);
    let age = duration(now.saturating_sub(envelope.received_at));
    let (held, next) = match item.folder {
        Folder::Hold => ("  on hold", String::new()),
        _ if item.due <= now => ("", "; next try now".to_owned()),
        _ => {
            let due = clock::local(item.due).short(now);
            ("", format!("; next try {due}"))
        }
    };
    let (id, size) = (&item.id, octets(listed.size));
    let mut text = format!("{id}  {size:>6}  {age:>6}  {}{held}\n", envelope.sender);
    for (to, standing) in listed.waiting() {
        let why = match &standing.last {
            Some((_, outcome)) => said(outcome),
            None => "not tried yet".to_owned(),
        };
        text.push_str(&format!("    {}\n        {why}{next}\n", to.address));
    }
    text
}

fn as_json(listed: &[Listed], unreadable: &[Item]) -> String {
    let bytes = listed.iter().map(|l| l.size).sum();
    let unreadable = unreadable.iter().map(|item| Json::text(&item.id)).collect();
    let whole = Json::Object(vec![
        ("count", Json::Number(listed.len() as u64)),
        ("bytes", Json::Number(bytes)),
        (
            "messages",
            Json::Array(listed.iter().map(message_as_json).collect()),
        ),
        ("unreadable", Json::Array(unreadable)),
    ]);
    format!("{whole}\n")
}

fn message_as_json(listed: &Listed) -> Json {
    let (item, envelope) = (&listed.item, &listed.envelope);
    let time = |at: i64| Json::text(&Stamp::utc(at).iso8601());
    let waiting = listed.waiting().map(|(to, standing)| {
        let last = standing.last.as_ref();
        let reason = last.map_or(Json::Null, |(_, o)| Json::text(&said(o)));
        Json::Object(vec![
            ("address", Json::text(&to.address)),
            ("attempts", Json::Number(u64::from(standing.attempts))),
            ("last_attempt", last.map_or(Json::Null, |(at, _)| time(*at))),
            ("reason", reason),
        ])
    });
    let due = match item.folder {
        Folder::Hold => Json::Null,
        // It is due since it came: it was not put off, or was released.
        _ if item.due == 0 => time(envelope.received_at),
        _ => time(item.due),
    };
    let sender = envelope.sender.mailbox().map(ToString::to_string);
    Json::Object(vec![
        ("id", Json::text(&item.id)),
        ("state", Json::text(&item.folder.name())),
        ("size", Json::Number(listed.size)),
        ("received", time(envelope.received_at)),
        ("due", due),
        ("sender", Json::text(&sender.unwrap_or_default())),
        ("waiting", Json::Array(waiting.collect())),
    ])
}

/// `--show ID`: the queue file as it is: envelope, message, journal; at a terminal without what would command it.
///
/// # Errors
/// `Data` for an id that is none of the queue's; those of reading and printing.
pub fn show(context: &Context, id: &str) -> Result<()> {
    let mut file = context.spool.open(&find(context, id)?)?;
    let mut block = vec![0; 64 * 1024];
    let mut out = std::io::stdout().lock();
    let mut before = 0;
    loop {
        match file.read(&mut block) {
            Ok(0) => return printed(out.flush()),
            Ok(n) => {
                // n is at most the block's length.
                let piece = &mut block[..n];
                if terminal::is_shown() {
                    terminal::tame(piece, &mut before);
                }
                if let Err(e) = out.write_all(piece) {
                    return printed(Err(e));
                }
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => {
                return Err(Error::Io(format!(
                    "cannot read message {id}: {}",
                    words(&e)
                )));
            }
        }
    }
}

/// Whether the caller may do anything with a queue file. Of those of others nothing is said, not even that they are
/// there.
pub fn is_ours(context: &Context, item: &Item) -> bool {
    let own = |(parsed, _): (Parsed, Progress)| may_see(context, &parsed.envelope);
    sees_all(context) || context.spool.look(item).is_some_and(own)
}

fn find(context: &Context, id: &str) -> Result<Item> {
    let why = if is_id(id) {
        "there is no such message in the queue"
    } else {
        "that is no queue id"
    };
    let found = context.spool.find(id).filter(|item| is_ours(context, item));
    found.ok_or_else(|| Error::Data(format!("{id}: {why}; mailq lists them")))
}

/// Where a server is: a socket of this system has no port.
pub fn place(host: &str, port: u16) -> String {
    match port {
        0 => host.to_owned(),
        port => format!("{host}:{port}"),
    }
}

/// A number of octets for people: `812`, `1.2K`, `25M`.
fn octets(n: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")];
    match UNITS.iter().find(|(unit, _)| n >= *unit) {
        Some((unit, name)) if n < unit * 10 => {
            format!("{}.{}{name}", n / unit, n % unit * 10 / unit)
        }
        Some((unit, name)) => format!("{}{name}", n / unit),
        None => n.to_string(),
    }
}

/// A time span for people: `40s`, `12m`, `3h`, `4d`.
pub fn duration(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{}s", seconds.max(0)),
        60..3600 => format!("{}m", seconds / 60),
        3600..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        let sizes = [
            (0, "0"),
            (1023, "1023"),
            (1024, "1.0K"),
            (1843, "1.7K"),
            (20_480, "20K"),
            (26_214_400, "25M"),
        ];
        for (n, text) in sizes {
            assert_eq!(octets(n), text);
        }
        for (n, text) in [
            (-5, "0s"),
            (59, "59s"),
            (60, "1m"),
            (7200, "2h"),
            (172_800, "2d"),
        ] {
            assert_eq!(duration(n), text);
        }
    }
}
