//! What waits, looked at message by message: all of a queue at once is more than a small machine has room for. Only names
//! are kept.

use std::fmt::Write as _;

use super::{duration, sees_all};
use crate::cli::{Invocation, Printer, Select};
use crate::error::Result;
use crate::flow::pass::said;
use crate::flow::settle::policy;
use crate::flow::{Context, intake, queue};
use crate::host::spool::{Folder, Item, arrival};
use crate::host::{accounts, clock};
use crate::json::Json;
use crate::proto::date::Stamp;
use crate::proto::envelope::{Envelope, Parsed, Recipient};
use crate::proto::journal::{Progress, Standing};
use crate::proto::order;

/// The most octets of a list in JSON that are made in one go; what comes behind them is looked at twice, for the list
/// begins with a count of all.
const MOST_KEPT: usize = 2 * 1024 * 1024;

/// A message of the queue, as a list shows it.
struct Listed {
    item: Item,
    size: u64,
    envelope: Envelope,
    progress: Progress,
}

impl Listed {
    /// From when on its age counts.
    fn since(&self, now: i64) -> i64 {
        self.progress.since(self.envelope.received_at, now)
    }

    /// The recipients who wait, and how it stands with each.
    fn waiting(&self) -> impl Iterator<Item = (&Recipient, &Standing)> {
        let waiting = self.progress.waiting().into_iter();
        waiting.filter_map(|index| {
            let to = self.envelope.recipients.get(index)?;
            Some((to, self.progress.standings.get(index)?))
        })
    }
}

/// A file of the queue.
enum Seen {
    Message(Box<Listed>),
    Unreadable(Item),
}

impl Seen {
    fn item(&self) -> &Item {
        match self {
            Self::Message(listed) => &listed.item,
            Self::Unreadable(item) => item,
        }
    }
}

/// What there is in the queue.
#[derive(Default)]
pub struct Sum {
    /// How many messages; those that cannot be read are some, too.
    pub count: usize,
    /// How many of them are on hold.
    pub held: usize,
    /// For how many seconds the oldest has waited, those aside that an admin holds.
    pub oldest: Option<i64>,
    /// Octets of all.
    bytes: u64,
    /// What cannot be read.
    unreadable: Vec<Item>,
}

impl Sum {
    fn add(&mut self, seen: Seen, now: i64) {
        let is_held = seen.item().folder == Folder::Hold;
        self.count += 1;
        self.held += usize::from(is_held);
        let waits_since = match seen {
            Seen::Message(listed) => {
                self.bytes = self.bytes.saturating_add(listed.size);
                (!is_held || listed.progress.held).then(|| listed.since(now))
            }
            Seen::Unreadable(item) => {
                let since = arrival(&item.id);
                self.unreadable.push(item);
                Some(since)
            }
        };
        let age = waits_since.map(|since| now.saturating_sub(since));
        self.oldest = self.oldest.max(age);
    }

    /// Whether the oldest has waited for longer than `[queue] warn_after`: a monitor's question.
    pub fn is_late(&self, context: &Context) -> bool {
        let age = self.oldest.and_then(|age| u64::try_from(age).ok());
        age.is_some_and(|age| age > policy(context).warn_after)
    }
}

/// Counts what waits.
///
/// # Errors
/// Those of reading the spool.
pub fn sum(context: &Context) -> Result<Sum> {
    let (look, mut sum) = (Look::new(context, &[]), Sum::default());
    look.at_each(&look.names()?, &mut |_, seen| sum.add(seen, look.now));
    Ok(sum)
}

/// `mailq`. Returned is whether a message has waited for longer than `[queue] warn_after`.
///
/// # Errors
/// Those of reading the spool, and of printing.
pub fn list(context: &Context, call: &Invocation) -> Result<bool> {
    let look = Look::new(context, &call.select);
    let sum = match call.json {
        true => print_json(&look)?,
        false => print_text(&look)?,
    };
    Ok(sum.is_late(context))
}

/// Of which messages is asked, and by whom.
struct Look<'a> {
    context: &'a Context,
    select: &'a [Select],
    /// Whose messages are looked at; `None`: those of all.
    whose: Option<String>,
    now: i64,
}

impl<'a> Look<'a> {
    fn new(context: &'a Context, select: &'a [Select]) -> Self {
        let own = || intake::client(accounts::caller_uid());
        Self {
            context,
            select,
            whose: (!sees_all(context)).then(own),
            now: clock::now(),
        }
    }

    /// The names, by arrival.
    fn names(&self) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        for folder in [Folder::New, Folder::Cur, Folder::Hold] {
            items.extend(self.context.spool.scan(folder)?);
        }
        items.retain(|item| queue::is_named(item, self.select));
        order::sort(&mut items, &Item::cmp);
        Ok(items)
    }

    /// Looks at them, one after another; `see` is told the place in the list, too.
    fn at_each(&self, items: &[Item], see: &mut dyn FnMut(usize, Seen)) {
        // Where the last one was found that had moved since it was listed.
        let mut moved: Option<Item> = None;
        for (place, item) in items.iter().enumerate() {
            if moved.as_ref().is_some_and(|moved| is_same(moved, item)) {
                continue;
            }
            if let Some(seen) = self.at(item) {
                moved = Some(seen.item()).filter(|at| !is_same(at, item)).cloned();
                see(place, seen);
            }
        }
    }

    /// Looks at one; `None`: it is gone, or not asked for.
    fn at(&self, item: &Item) -> Option<Seen> {
        let spool = &self.context.spool;
        let (mut item, mut found) = (item.clone(), spool.look(item));
        if found.is_none() && !spool.stands(&item) {
            // A queue run has moved it, or is done with it.
            item = spool.find(&item.id)?;
            found = spool.look(&item);
        }
        if queue::is_due(self.context, &item, self.now) && item.due > self.now {
            // A clock that was wrong has put it off, which no queue run heeds.
            item.due = 0;
        }
        let Some((parsed, progress)) = found else {
            let is_wanted = self.whose.is_none() && queue::asks_for_nobody(self.select);
            return is_wanted.then_some(Seen::Unreadable(item));
        };
        let Parsed {
            envelope, facts, ..
        } = parsed;
        let is_his = self.whose.as_ref().is_none_or(|w| envelope.client == *w);
        (is_his && queue::is_of(&envelope, self.select)).then(|| {
            Seen::Message(Box::new(Listed {
                item,
                size: facts.size,
                envelope,
                progress,
            }))
        })
    }
}

/// Whether two names are of one file, whenever it is due.
fn is_same(a: &Item, b: &Item) -> bool {
    (&a.id, a.folder) == (&b.id, b.folder)
}

/// In the form people know, with the closing line that monitors of Postfix read.
fn print_text(look: &Look<'_>) -> Result<Sum> {
    let (mut sum, mut out) = (Sum::default(), Printer::new());
    look.at_each(&look.names()?, &mut |_, seen| {
        if let Seen::Message(listed) = &seen {
            out.put(&message_as_text(listed, look.now));
        }
        sum.add(seen, look.now);
    });
    for item in &sum.unreadable {
        let folder = item.folder.name();
        out.put(&format!("{}  unreadable, in {folder}/\n", item.id));
    }
    let (count, kilobytes) = (sum.count, sum.bytes.div_ceil(1024));
    let plural = if count == 1 { "" } else { "s" };
    out.put(&match count {
        0 => "Mail queue is empty\n".to_owned(),
        _ => format!("-- {kilobytes} Kbytes in {count} Request{plural}.\n"),
    });
    out.end().map(|()| sum)
}

/// Its line, and two for each recipient that waits.
fn message_as_text(listed: &Listed, now: i64) -> String {
    let (item, envelope) = (&listed.item, &listed.envelope);
    let age = duration(now.saturating_sub(listed.since(now)));
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
        let _ = writeln!(text, "    {}\n        {why}{next}", to.address);
    }
    text
}

/// The same for programs. Of a queue that is long and changes meanwhile the count may not be that of the messages.
fn print_json(look: &Look<'_>) -> Result<Sum> {
    let (mut sum, items) = (Sum::default(), look.names()?);
    let (mut kept, mut others) = (String::new(), None);
    look.at_each(&items, &mut |place, seen| {
        match &seen {
            Seen::Message(listed) if others.is_none() && kept.len() < MOST_KEPT => {
                let comma = if kept.is_empty() { "" } else { "," };
                let _ = write!(kept, "{comma}{}", message_as_json(listed));
            }
            Seen::Message(_) => drop(others.get_or_insert(place)),
            Seen::Unreadable(_) => {}
        }
        sum.add(seen, look.now);
    });
    let mut out = Printer::new();
    let (count, bytes) = (sum.count, sum.bytes);
    out.put(&format!(
        "{{\"count\":{count},\"bytes\":{bytes},\"messages\":["
    ));
    out.put(&kept);
    let rest = others.and_then(|place| items.get(place..));
    look.at_each(rest.unwrap_or_default(), &mut |_, seen| {
        if let Seen::Message(listed) = seen {
            out.put(&format!(",{}", message_as_json(&listed)));
        }
    });
    let unreadable = sum.unreadable.iter().map(|item| Json::text(&item.id));
    let unreadable = Json::Array(unreadable.collect());
    out.put(&format!("],\"unreadable\":{unreadable}}}\n"));
    out.end().map(|()| sum)
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
        // It is due since it came: it was not put off, or for no reason, or was released.
        _ if item.has_no_time() => time(envelope.received_at),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_for_people() {
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
    }
}
