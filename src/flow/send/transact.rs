//! One transaction over a connection: its commands and their replies, each with its time, and the message with its dots
//! stuffed, read from where it is kept as it goes out.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use super::{Source, UNREADABLE};
use crate::flow::dialogue::{BROKEN, Dialogue, Timeouts, Trouble};
use crate::flow::stopping::InHand;
use crate::host::wire::Wire;
use crate::host::words;
use crate::proto::client::{Command, Next, Transaction};
use crate::proto::data::DotStuffer;
use crate::proto::mime::{Converter, Plan};

/// The message, and how it is to be converted.
pub struct Message<'m, 's> {
    /// Where it is.
    pub source: &'m mut Source<'s>,
    /// What becomes of it on the way.
    pub plan: Option<Plan>,
    /// What stands before it.
    pub front: Vec<u8>,
}

/// Brings a transaction to its end. The delivery has `begun` with it, or with one before.
pub fn run(
    dialogue: &mut Dialogue<'_>,
    transaction: &mut Transaction<'_>,
    message: &mut Message<'_, '_>,
    timeouts: &Timeouts,
    begun: Instant,
) {
    let mut commands = Vec::new();
    let mut asked = begun;
    loop {
        commands.clear();
        let next = transaction.next(&mut commands);
        // Between two groups nothing is awaited; so whatever is there was said out of turn.
        let our_turn = !commands.is_empty() || matches!(next, Next::Message | Next::NoMessage);
        if our_turn && dialogue.is_out_of_step() {
            let trouble = Trouble::out_of_step();
            transaction.lost(trouble.enhanced, &trouble.text);
            continue;
        }
        match next {
            Next::Done => return,
            Next::Reply(command) => {
                if !commands.is_empty() {
                    dialogue.trace_commands(&commands);
                    dialogue.say(&commands);
                    asked = Instant::now();
                }
                match dialogue.hear(limit(command, timeouts, begun, asked)) {
                    Ok(reply) => {
                        transaction.take(&reply);
                        if matches!(command, Command::Rcpt(_))
                            && begun.elapsed() >= timeouts.recipients
                        {
                            transaction.name_no_more(SLOW);
                        }
                    }
                    Err(trouble) => {
                        let text = format!("after {}: {}", command.word(), trouble.text);
                        transaction.lost(trouble.enhanced, &text);
                    }
                }
            }
            Next::NoMessage => {
                dialogue.trace_commands(b".");
                dialogue.say(b".\r\n");
                transaction.sent();
            }
            Next::Message => send(dialogue, transaction, message, timeouts),
        }
    }
}

/// What is told of recipients for whom there was no time.
const SLOW: &str =
    "the server took its time over the recipients before; the others are named at the next attempt";

/// How long the reply to a command may take. Commands that were sent together each have their time, and together no more
/// than there is for recipients, and that of one of them.
pub(super) fn limit(
    command: Command,
    timeouts: &Timeouts,
    begun: Instant,
    asked: Instant,
) -> Duration {
    let own = match command {
        Command::Reset | Command::Mail | Command::Rcpt(_) => timeouts.command,
        Command::Data => timeouts.data,
        Command::Dot | Command::DotFor(_) => return timeouts.dot,
    };
    let until = asked.max(begun + timeouts.recipients) + timeouts.command;
    // No time at all would be no deadline.
    let left = until.saturating_duration_since(Instant::now());
    own.min(left).max(Duration::from_millis(1))
}

/// Sends message and final dot.
fn send(
    dialogue: &mut Dialogue<'_>,
    transaction: &mut Transaction<'_>,
    message: &mut Message<'_, '_>,
    timeouts: &Timeouts,
) {
    dialogue.trace_commands(b"(the message)");
    let in_hand = &dialogue.outgoing.in_hand;
    match stream(&mut dialogue.wire, message, timeouts.block, in_hand) {
        Ok(()) => {
            dialogue.trace_commands(b".");
            transaction.sent();
        }
        Err(Cut::Unreadable(error)) => {
            // Without its dot, and at once: nothing of it may look like a whole message.
            dialogue.wire.abandon();
            let text = format!(
                "the message cannot be read from the spool: {}; the connection was broken off before its end",
                words(&error)
            );
            transaction.lost(UNREADABLE, &text);
        }
        Err(Cut::Broken(error)) if error.kind() == io::ErrorKind::TimedOut => {
            dialogue.wire.abandon();
            let text = "in the message: the server took nothing more for too long";
            transaction.lost(BROKEN, text);
        }
        // A server that refuses in the middle says so before it closes (K16).
        Err(Cut::Broken(error)) => match dialogue.hear(timeouts.quit) {
            Ok(reply) => transaction.take_early(&reply),
            Err(_) => {
                let text = format!("in the message: the connection broke: {}", words(&error));
                transaction.lost(BROKEN, &text);
            }
        },
    }
}

/// Why a message did not go out whole.
enum Cut {
    /// It could not be read.
    Unreadable(io::Error),
    /// It could not be written.
    Broken(io::Error),
}

/// Octets of a message that a server must take in a second, on the whole.
const LEAST_RATE: u64 = 500;

/// How long the next block may take, after so many octets in so much time: as long as each may, and no longer than the
/// least rate leaves of the whole, so that nobody holds a message for days.
pub(super) fn left(block: Duration, sent: u64, passed: Duration) -> Duration {
    let whole = block.saturating_add(Duration::from_secs(sent / LEAST_RATE));
    // No time at all would be no deadline.
    let left = whole.saturating_sub(passed).max(Duration::from_millis(1));
    left.min(block)
}

/// Streams the message, converted and with its dots stuffed, and the final dot. Each block has its own time, and all of
/// them together have theirs.
fn stream(
    wire: &mut Wire,
    message: &mut Message<'_, '_>,
    block: Duration,
    in_hand: &InHand,
) -> Result<(), Cut> {
    let mut stuffer = DotStuffer::new();
    let mut stuffed = Vec::new();
    let (mut broken, mut sent) = (None, 0);
    let begun = Instant::now();
    stuffer.feed(&message.front, &mut stuffed);
    let read = convert(message.source, message.plan.as_ref(), &mut |chunk| {
        stuffer.feed(chunk, &mut stuffed);
        wire.set_limit(left(block, sent, begun.elapsed()));
        let written = wire.write_all(&stuffed);
        sent += stuffed.len() as u64;
        stuffed.clear();
        written.map_err(|e| {
            broken = Some(e);
            io::ErrorKind::BrokenPipe.into()
        })
    });
    if let Some(error) = broken {
        return Err(Cut::Broken(error));
    }
    read.map_err(Cut::Unreadable)?;
    // Read to its end, and whole: only now may the dot follow.
    in_hand.is_given();
    stuffer.finish(&mut stuffed);
    wire.set_limit(left(block, sent, begun.elapsed()));
    let written = wire.write_all(&stuffed).and_then(|()| wire.flush());
    written.map_err(Cut::Broken)
}

/// Hands the message, converted, to `take`. What comes last comes only when it was read to its end, and whole.
pub fn convert(
    source: &mut Source<'_>,
    plan: Option<&Plan>,
    take: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let Some(plan) = plan else {
        return source(take);
    };
    let mut converter = Converter::new(plan.clone());
    let mut converted = Vec::new();
    source(&mut |chunk| {
        converted.clear();
        converter.feed(chunk, &mut converted);
        take(&converted)
    })?;
    converted.clear();
    converter.finish(&mut converted);
    take(&converted)
}
