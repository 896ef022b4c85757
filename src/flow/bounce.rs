//! A report of what became of a message, spooled like any other mail.

use std::io;
use std::sync::Arc;

use super::settle::policy;
use super::{Context, notices, text};
use crate::error::{Error, Result};
use crate::host::spool::{Claim, Draft};
use crate::host::{clock, words};
use crate::proto::address::{Mailbox, ReversePath};
use crate::proto::dsn::{Action, Report, Returned};
use crate::proto::envelope::{Envelope, Recipient, Ret};
use crate::proto::outcome::Outcome;
use crate::proto::retry::retry_until;

/// Octets up to which a message comes back whole when its sender did not ask for either.
const SMALL: u64 = 32 * 1024;
/// Octets up to which it comes back whole when its sender asked for that: a report must not fill his mailbox.
const MOST: u64 = 1024 * 1024;
/// Octets of a header that come back.
const MAX_HEADER: usize = 64 * 1024;

/// Commits a report on the recipients of `about` to the spool and returns its queue id.
///
/// # Errors
/// Those of the spool. The message must then stay as it is.
pub fn report(
    context: &Context,
    claim: &Claim,
    to: &Mailbox,
    action: Action,
    about: &[(usize, Outcome)],
    now: i64,
) -> Result<String> {
    let mut envelope = claim.envelope();
    if envelope.sender.mailbox().is_some_and(|sender| sender != to) {
        // What its sender asked for is nothing to the owner of a list.
        let own = Arc::make_mut(&mut envelope);
        (own.ret, own.envid) = (None, None);
    }
    let returned = returned(claim, &envelope, action)?;
    let host = &context.config.hostname;
    let mut draft = context.spool.begin_report(&Envelope {
        // The report speaks ASCII of whatever address it is about, but it must reach its reader.
        smtputf8: envelope.smtputf8 || !to.is_ascii() || !host.as_str().is_ascii(),
        // It tells of the message what was to be kept from others (RFC 8689 5).
        requiretls: envelope.requiretls,
        ..Envelope::local(
            ReversePath::Null,
            vec![Recipient::plain(to.clone())],
            now,
            format!("report of {}", claim.id),
        )
    });
    let recipients = &envelope.recipients;
    let report = Report {
        action,
        reporting_mta: host,
        to,
        envelope: &envelope,
        queue_id: &claim.id,
        about: about
            .iter()
            .filter_map(|(i, o)| recipients.get(*i).map(|r| (r, o, now)))
            .collect(),
        now: clock::local(now),
        message_id: format!("<{}@{host}>", draft.id),
        returned,
        eight_bit: claim.facts.eight_bit,
        retry_until: (action == Action::Delayed).then(|| {
            // For all of them: until the last one is given up.
            let progress = claim.progress();
            let attempts = about.iter().filter_map(|(i, _)| progress.standings.get(*i));
            let attempts = attempts.map(|s| s.attempts).min().unwrap_or_default();
            retry_until(&policy(context), claim.since(now), attempts, now)
        }),
        others_wait: action == Action::Failed
            && envelope.sender != ReversePath::Null
            && about.iter().any(|(i, o)| {
                let recipient = recipients.get(*i);
                recipient.is_some_and(|r| !notices::is_asked_for(&envelope, r))
                    && notices::is_of_all(context, o)
            }),
        random: clock::random(),
    };
    draft.write(&report.head())?;
    match returned {
        Returned::Full => copy(claim, &mut draft)?,
        Returned::Headers => copy_header(claim, &mut draft)?,
    }
    draft.write(&report.tail())?;
    Ok(draft.commit()?.id.clone())
}

/// How much of the message comes back.
fn returned(claim: &Claim, envelope: &Envelope, action: Action) -> Result<Returned> {
    // Mail that must be kept from others does not come back whole, whatever was asked (RFC 8689 5).
    let ret = match envelope.requiretls {
        true => Some(Ret::Headers),
        false => envelope.ret,
    };
    let is_short = matches!(
        (ret, claim.facts.size),
        (Some(Ret::Full), ..=MOST) | (None, ..=SMALL)
    );
    match action == Action::Failed && is_short && is_whole(claim)? {
        true => Ok(Returned::Full),
        false => Ok(Returned::Headers),
    }
}

/// Whether the message is what was accepted. What is damaged must not keep its sender from hearing that it failed: then
/// its header has to do.
fn is_whole(claim: &Claim) -> Result<bool> {
    match text::copy(&mut claim.message(), claim.facts.size, &mut |_| Ok(())) {
        Err(e) if e.kind() == io::ErrorKind::InvalidData => Ok(false),
        read => read.map(|()| true).map_err(|e| unreadable(claim, &e)),
    }
}

fn copy_header(claim: &Claim, draft: &mut Draft) -> Result<()> {
    let header = text::header(claim).map_err(|e| unreadable(claim, &e))?;
    let mut octets = Vec::new();
    header.write(&mut octets);
    draft.write(whole_lines(&octets, MAX_HEADER))
}

/// As many lines as there is room for: cut elsewhere, a CR without its LF or half a character would be sent.
fn whole_lines(text: &[u8], most: usize) -> &[u8] {
    let Some(head) = text.get(..most) else {
        return text;
    };
    let end = head.windows(2).rposition(|pair| pair == b"\r\n");
    head.get(..end.map_or(0, |at| at + 2)).unwrap_or_default()
}

/// Copies the whole message into the report.
fn copy(claim: &Claim, draft: &mut Draft) -> Result<()> {
    let mut full = None;
    let copied = text::copy(&mut claim.message(), claim.facts.size, &mut |octets| {
        draft.write(octets).map_err(|error| {
            full = Some(error);
            io::Error::other("the report cannot be written")
        })
    });
    match full {
        Some(error) => Err(error),
        None => copied.map_err(|e| unreadable(claim, &e)),
    }
}

fn unreadable(claim: &Claim, error: &io::Error) -> Error {
    Error::TempFail(format!(
        "cannot read message {}: {}",
        claim.id,
        words(error)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_that_is_too_long_comes_back_in_whole_lines() {
        let rows: [(&str, usize, &str); 6] = [
            ("A: 1\r\nB: 2\r\n", 12, "A: 1\r\nB: 2\r\n"),
            ("A: 1\r\nB: 2\r\n", 13, "A: 1\r\nB: 2\r\n"),
            ("A: 1\r\nB: 2\r\n", 11, "A: 1\r\n"),
            ("A: 1\r\nB: 2\r\n", 6, "A: 1\r\n"),
            ("A: 1\r\nB: 2\r\n", 5, ""),
            ("", 5, ""),
        ];
        for (text, most, expected) in rows {
            let kept = whole_lines(text.as_bytes(), most);
            assert_eq!(kept, expected.as_bytes(), "{most} of {text:?}");
        }
    }
}
