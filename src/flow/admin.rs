//! What an admin does with the queue: list it, show, hold, release and remove messages.

use std::io::{Read, Write};

use super::{Context, deliver, intake};
use crate::cli::printed;
use crate::error::{Error, Result};
use crate::host::spool::{Item, is_id};
use crate::host::{accounts, terminal, words};
use crate::proto::envelope::{Envelope, Parsed};
use crate::proto::journal::Progress;

mod change;
mod list;

pub use change::{hold, release, remove};
pub use list::{list, sum};

/// Whether the caller sees what others have sent: root, and whoever owns the queue.
pub fn sees_all(context: &Context) -> bool {
    let caller = accounts::caller_uid();
    caller == 0 || deliver::owner(context) == Some(caller)
}

/// Whether a message is the caller's own, or all are.
pub fn may_see(context: &Context, envelope: &Envelope) -> bool {
    sees_all(context) || envelope.client == intake::client(accounts::caller_uid())
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
    fn time_spans_are_written_for_people() {
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
