//! The vocabulary of the log: one function an event, one line an event, the queue id first, then `key=value`.
//!
//! Values that a stranger chose are quoted, with control characters escaped, so that no line can be forged
//! and `grep` and fail2ban can rely on the shape. No password, no message text.

use std::fmt::Display;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use log::{debug, error, info, warn};

use crate::proto::command::Step;
use crate::proto::date::Stamp;
use crate::proto::end::End;
use crate::proto::envelope::{Envelope, Recipient};
use crate::proto::outcome::{Outcome, Verdict};

mod repeats;

use repeats::Repeats;

/// What strangers cause, counted since the daemon has begun. Other processes are too short to repeat themselves.
static REPEATS: OnceLock<(Instant, Mutex<Repeats>)> = OnceLock::new();

/// From now on what strangers repeat is counted ([`repeats`]), and told by [`settle_repeats`].
pub fn count_repeats() {
    REPEATS.get_or_init(|| (Instant::now(), Mutex::default()));
}

/// The counts, and the time on their clock.
fn repeats() -> Option<(u64, MutexGuard<'static, Repeats>)> {
    let (begun, repeats) = REPEATS.get()?;
    // A count is never left half-made.
    let repeats = repeats.lock().unwrap_or_else(PoisonError::into_inner);
    Some((begun.elapsed().as_secs(), repeats))
}

/// Whether this event gets a line of its own.
fn is_written(event: &'static str, client: &str) -> bool {
    settle_repeats(false);
    repeats().is_none_or(|(now, mut repeats)| repeats.is_written(now, event, client))
}

/// One line for each event and network that had more in its minute than were written; for `all`, at the end, for
/// those whose minute is not over too.
pub fn settle_repeats(all: bool) {
    let Some((now, mut repeats)) = repeats() else {
        return;
    };
    let over = repeats.settle(now, all);
    drop(repeats);
    for summary in over {
        warn!(
            "- repeated event={} network={} count={}",
            summary.event, summary.network, summary.count
        );
    }
}

/// A message was accepted and is on the disk.
pub fn queued(id: &str, envelope: &Envelope, size: u64, message_id: &str) {
    came("queued", id, envelope, size, message_id);
}

/// A message has come, and goes straight through.
pub fn received(id: &str, envelope: &Envelope, size: u64, message_id: &str) {
    came("received", id, envelope, size, message_id);
}

fn came(how: &str, id: &str, envelope: &Envelope, size: u64, message_id: &str) {
    info!(
        "{id} {how} from={} recipients={} size={size} client={} protocol={} message-id={}",
        quoted(&envelope.sender),
        envelope.recipients.len(),
        quoted(&envelope.client),
        envelope.protocol,
        quoted(&message_id),
    );
}

/// A daemon listens.
pub fn listening(kind: &str, place: &dyn Display) {
    info!("- listening kind={kind} at={}", quoted(place));
}

/// A client has come.
pub fn connected(client: &str, kind: &str) {
    if !is_written("connect", client) {
        return;
    }
    info!("- connect client={} kind={kind}", quoted(&client));
}

/// A client was turned away before it could say anything.
pub fn turned_away(client: &str, reason: &dyn Display) {
    if is_written("reject", client) {
        gone(client, reason);
    }
}

/// A session was ended for what its client did. It is counted for itself, or the many refusals that have led to it would
/// take its line.
pub fn sent_away(client: &str, reason: &dyn Display) {
    if is_written("closing", client) {
        gone(client, reason);
    }
}

fn gone(client: &str, reason: &dyn Display) {
    warn!(
        "- reject client={} reason={}",
        quoted(&client),
        quoted(reason)
    );
}

/// A connection is encrypted, or was to be.
pub fn tls(client: &str, words: &dyn Display) {
    if !is_written("tls", client) {
        return;
    }
    info!("- tls client={} what={}", quoted(&client), quoted(words));
}

/// A daemon has begun, has read its configuration again, or stops.
pub fn daemon(what: &dyn Display) {
    info!("- daemon {what}");
}

/// How a queue run goes about its work.
pub fn run(what: &dyn Display) {
    debug!("- queue-run {what}");
}

/// A program of this machine was not relieved of its message.
pub fn not_taken(client: &str, from: &str, to: &[String], reason: &dyn Display) {
    warn!(
        "- reject client={} from={} to={} reason={}",
        quoted(&client),
        quoted(&from),
        quoted(&some(to.iter().cloned())),
        quoted(reason)
    );
}

/// A message was not accepted, or its sender or a recipient of it.
pub fn rejected(client: &str, step: Step, sender: &dyn Display, reason: &dyn Display) {
    if !is_written("reject", client) {
        return;
    }
    warn!(
        "- reject client={} from={} reason={} step={}",
        quoted(&client),
        quoted(sender),
        quoted(reason),
        step.name()
    );
}

/// What was found out about a stranger's message; refused or not.
pub fn judged(id: &str, client: &str, sender: &dyn Display, found: &dyn Display) {
    info!(
        "{id} judged client={} from={} {found}",
        quoted(&client),
        quoted(sender)
    );
}

/// A message was accepted and thrown away, for a filter said so.
pub fn discarded(id: &str, client: &str, sender: &dyn Display) {
    info!(
        "{id} discarded client={} from={}",
        quoted(&client),
        quoted(sender)
    );
}

/// Something is odd about a client whose mail is taken all the same.
pub fn odd_client(client: &str, what: &dyn Display) {
    info!("- odd client={} what={}", quoted(&client), quoted(what));
}

/// A user has logged in.
pub fn auth_ok(client: &str, user: &str) {
    info!(
        "- auth-ok client={} user={}",
        quoted(&client),
        quoted(&user)
    );
}

/// Somebody could not log in. What fail2ban looks for: the client stands before all that he chose himself.
pub fn auth_fail(client: &str, user: &str, why: &dyn Display) {
    if !is_written("auth-fail", client) {
        return;
    }
    let most = user
        .char_indices()
        .nth(100)
        .map_or(user.len(), |(at, _)| at);
    warn!(
        "- auth-fail client={} user={} why={}",
        quoted(&client),
        quoted(&user.get(..most).unwrap_or_default()),
        quoted(why)
    );
}

/// Others have taken the place of a recipient: new ones, and such as the message goes to anyway.
pub fn expanded(id: &str, to: &dyn Display, new: &[Recipient], others: &[Recipient]) {
    let same = match others {
        [] => String::new(),
        others => format!(" same={}", quoted(&some(others.iter().map(place)))),
    };
    info!(
        "{id} expanded to={} into={}{same}",
        quoted(to),
        quoted(&some(new.iter().map(place)))
    );
}

/// As many of them as a line has room for.
fn some(all: impl ExactSizeIterator<Item = String>) -> String {
    const MOST: usize = 20;
    let more = all.len().saturating_sub(MOST);
    let mut words: Vec<String> = all.take(MOST).collect();
    if more > 0 {
        words.push(format!("and {more} more"));
    }
    words.join(", ")
}

fn place(recipient: &Recipient) -> String {
    let origin = recipient.origin.as_ref();
    match origin.and_then(|o| o.end.as_ref()) {
        Some(End::File(path)) => path.clone(),
        Some(End::Pipe(line)) => format!("|{line}"),
        Some(End::Mailbox) | None => recipient.address.to_string(),
    }
}

/// An attempt for one recipient ended.
pub fn attempt(id: &str, to: &dyn Display, outcome: &Outcome, delay: i64) {
    let tls = match outcome.protection.as_str() {
        "" => String::new(),
        protection => format!(" tls={}", quoted(&protection)),
    };
    let line = format!(
        "{id} {} to={} host={}{tls} delay={delay}s said={}",
        outcome.verdict.word(),
        quoted(to),
        quoted(&outcome.host),
        quoted(&outcome.words())
    );
    if outcome.verdict == Verdict::Failed {
        warn!("{line}")
    } else {
        info!("{line}")
    }
}

/// A domain's policy about its mail servers was fetched (MTA-STS).
pub fn policy(domain: &dyn Display, id: &str, mode: &str) {
    info!(
        "- policy domain={} id={} mode={mode}",
        quoted(domain),
        quoted(&id)
    );
}

/// A report was queued.
pub fn bounced(id: &str, report: &str, to: &dyn Display, action: &str) {
    info!(
        "{id} bounced report={report} to={} action={action}",
        quoted(to)
    );
}

/// Nothing is left to do for a message.
pub fn removed(id: &str, why: &str) {
    info!("{id} removed why={why}");
}

/// A message or file was set aside in hold/.
pub fn held(id: &str, reason: &dyn Display) {
    warn!("{} held reason={}", one_word(id), quoted(reason));
}

/// A half-written file that was promised to nobody was swept.
pub fn swept(id: &str, reason: &str) {
    info!("{} removed why=\"{reason}\"", one_word(id));
}

/// A message that repeats others waits in their place.
pub fn collapsed(id: &str, count: u32, until: Stamp) {
    let until = until.iso8601();
    info!("{} collapsed count={count} until={until}", one_word(id));
}

/// Something else went wrong with a message.
pub fn trouble(id: &str, what: &dyn Display) {
    warn!("{} trouble what={}", one_word(id), quoted(what));
}

/// A fault of this program, over this message or over none; what follows of it stands in `flow/fault.rs`.
pub fn fault(id: &str, what: &dyn Display) {
    error!("{} trouble what={}", one_word(id), quoted(what));
}

/// A queue run ended.
pub fn queue_run(delivered: usize, deferred: usize, failed: usize) {
    info!("- queue-run delivered={delivered} deferred={deferred} failed={failed}");
}

/// In double quotes, with quotes, backslashes and what is not shown escaped.
fn quoted(value: &dyn Display) -> String {
    let mut plain = format!("\"{value}");
    let value = plain.get(1..).unwrap_or_default();
    // Nearly all have nothing to escape.
    if value
        .bytes()
        .all(|b| matches!(b, b' '..=b'~') && !matches!(b, b'"' | b'\\'))
    {
        plain.push('"');
        return plain;
    }
    let mut text = String::from("\"");
    for c in value.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            c if is_unseen(c) => text.extend(c.escape_default()),
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

/// Whether a character is not shown but changes how others are: a control character, a line end of Unicode, or one that
/// turns the direction of writing, with which an address looks like another one.
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// A file name as the first word of a line.
fn one_word(id: &str) -> String {
    if id.bytes().all(|b| b.is_ascii_graphic()) {
        return id.to_owned();
    }
    id.chars()
        .map(|c| {
            if is_unseen(c) || c.is_whitespace() {
                '?'
            } else {
                c
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strangers_value_stays_one_quoted_value() {
        let rows = [
            ("a@b.example", "\"a@b.example\""),
            ("x\nNov 1 host sshd: ok", "\"x\\nNov 1 host sshd: ok\""), // D20
            ("a\" said=\"b\\", "\"a\\\" said=\\\"b\\\\\""),
            ("\u{1b}[2J", "\"\\u{1b}[2J\""), // F21
            ("a\u{202e}b\u{2028}", "\"a\\u{202e}b\\u{2028}\""),
            ("\u{fc}\u{4f8b}@b", "\"\u{fc}\u{4f8b}@b\""),
        ];
        for (value, expected) in rows {
            assert_eq!(quoted(&value), expected);
        }
        assert_eq!(one_word("a b\nc"), "a?b?c");
    }
}
