//! What minimta's own processes say to each other about mail for users of this system.
//!
//! ```text
//! worker -> root's process   whom a helper is wanted for: "user alice", "root" or "nobody"; one packet
//! worker -> helper           an order, then the message in blocks:
//!
//!     deliver mailbox
//!     from <sender@example.org>
//!     to <alice+lists@pi.example.org>
//!     first <staff@pi.example.org>
//!     (blank line)
//!     (blocks: four octets of length, so many of the message; length 0: that is all; all ones: throw it away)
//!
//! helper -> worker           one line: "delivered 2.0.0 Maildir /home/alice/Maildir/"
//! ```
//!
//! Neither believes the other: whatever is too long or no line of these ends the talk.

use super::address::{Mailbox, ReversePath, take_path};
use super::end::End;
use super::envelope::{Outcome, Verdict};
use super::reply::Enhanced;

/// The longest order, octets: two addresses and a command.
pub const MAX_ORDER: usize = 16 * 1024;
/// The longest answer, octets.
pub const MAX_ANSWER: usize = 4 * 1024;
/// The most octets in a block of a message.
pub const MAX_BLOCK: usize = 64 * 1024;
/// The length of a block after which the message is to be thrown away.
pub const ABORT: u32 = u32::MAX;

/// In whose right something is delivered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Whom {
    /// A user's.
    User(String),
    /// Nobody's who could do anything but keep the mailbox of root.
    Root,
    /// Nobody's at all: files and commands of the alias file.
    Nobody,
}

impl Whom {
    /// In one word or two.
    pub fn text(&self) -> String {
        match self {
            Self::User(name) => format!("user {name}"),
            Self::Root => "root".to_owned(),
            Self::Nobody => "nobody".to_owned(),
        }
    }

    /// Reads it; `None`: it is none.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "root" => Some(Self::Root),
            "nobody" => Some(Self::Nobody),
            _ => {
                let name = text.strip_prefix("user ")?;
                let odd = |c: char| c.is_control() || c.is_whitespace() || "/:".contains(c);
                let fits = !name.is_empty() && name.len() <= 256 && !name.starts_with('-');
                (fits && !name.contains(odd)).then(|| Self::User(name.to_owned()))
            }
        }
    }
}

/// What a helper is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Deliver the message that follows.
    Deliver(Letter),
    /// Read the user's ~/.forward.
    Forward,
}

/// Where and for whom a message is delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Where it ends.
    pub end: End,
    /// Who sends it.
    pub sender: ReversePath,
    /// Whom it is delivered to.
    pub recipient: Mailbox,
    /// Whom it was sent to at first.
    pub first: Mailbox,
}

impl Order {
    /// Its lines.
    pub fn text(&self) -> String {
        let Self::Deliver(letter) = self else {
            return "forward\n\n".to_owned();
        };
        let end = match &letter.end {
            End::Mailbox => "mailbox".to_owned(),
            End::File(path) => format!("file {path}"),
            End::Pipe(command) => format!("pipe {command}"),
        };
        format!(
            "deliver {end}\nfrom {}\nto <{}>\nfirst <{}>\n\n",
            letter.sender, letter.recipient, letter.first
        )
    }

    /// Reads the lines without the blank one.
    ///
    /// # Errors
    /// It is no order.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "forward\n" {
            return Some(Self::Forward);
        }
        let lines: Vec<&str> = text.strip_suffix('\n')?.split('\n').collect();
        let [end, from, to, first] = lines.as_slice() else {
            return None;
        };
        let end = end.strip_prefix("deliver ")?;
        if end.contains(char::is_control) {
            return None;
        }
        let end = match end.split_once(' ') {
            None if end == "mailbox" => End::Mailbox,
            Some(("file", path)) if path.starts_with('/') => End::File(path.to_owned()),
            Some(("pipe", command)) => End::Pipe(command.to_owned()),
            _ => return None,
        };
        let sender = match path(from, "from")? {
            "" => ReversePath::Null,
            sender => ReversePath::Mailbox(Mailbox::parse(sender).ok()?),
        };
        let mailbox = |line, word| Mailbox::parse(path(line, word)?).ok();
        Some(Self::Deliver(Letter {
            end,
            sender,
            recipient: mailbox(to, "to")?,
            first: mailbox(first, "first")?,
        }))
    }
}

/// What stands in `word <...>`.
fn path<'a>(line: &'a str, word: &str) -> Option<&'a str> {
    let text = line.strip_prefix(word)?.strip_prefix(' ')?;
    match take_path(text).ok()? {
        (path, "") => Some(path),
        _ => None,
    }
}

/// What became of an order, in one line.
pub fn answer(outcome: &Outcome) -> String {
    let verdict = outcome.verdict.word();
    format!("{verdict} {} {}\n", outcome.enhanced, outcome.text)
}

/// Reads that line, without its end; `None`: it is none.
pub fn read_answer(line: &str) -> Option<Outcome> {
    let (verdict, rest) = line.split_once(' ')?;
    let (enhanced, text) = rest.split_once(' ').unwrap_or((rest, ""));
    let enhanced = Enhanced::parse(enhanced)?;
    let verdict = match (verdict, enhanced.0) {
        ("delivered", 2) => Verdict::Delivered,
        ("deferred", 4) => Verdict::Deferred,
        ("failed", 5) => Verdict::Failed,
        _ => return None,
    };
    Some(Outcome::new(verdict, None, enhanced, "", text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(end: End) -> Order {
        let mailbox = |text| Mailbox::parse(text).unwrap();
        Order::Deliver(Letter {
            end,
            sender: ReversePath::Mailbox(mailbox("\"a > b\"@example.org")),
            recipient: mailbox("alice+x@pi.example.org"),
            first: mailbox("staff@pi.example.org"),
        })
    }

    #[test]
    fn orders_come_back_as_they_were_written() {
        let null = match letter(End::Mailbox) {
            Order::Deliver(letter) => Order::Deliver(Letter {
                sender: ReversePath::Null,
                ..letter
            }),
            other => other,
        };
        for order in [
            letter(End::Mailbox),
            letter(End::File("/home/a b/mbox".to_owned())),
            letter(End::Pipe("exec procmail -f - || exit 75 # <x>".to_owned())),
            null,
            Order::Forward,
        ] {
            let text = order.text();
            let lines = text.strip_suffix('\n').unwrap();
            assert_eq!(Order::parse(lines).as_ref(), Some(&order), "{text}");
            // Every order that is cut short, or has a line too many, is none.
            for at in 0..lines.len() {
                let cut = lines.get(..at).unwrap();
                assert_eq!(Order::parse(cut), None, "{cut:?}");
            }
            assert_eq!(Order::parse(&format!("{lines}more\n")), None);
        }
    }

    #[test]
    fn what_is_no_order_is_refused() {
        let rows = [
            "deliver mailbox\nfrom <>\nto <>\nfirst <a@b>\n",
            "deliver mailbox\nfrom a@b\nto <a@b>\nfirst <a@b>\n",
            "deliver mailbox\nfrom <> x\nto <a@b>\nfirst <a@b>\n",
            "deliver mailbox x\nfrom <>\nto <a@b>\nfirst <a@b>\n",
            "deliver file relative\nfrom <>\nto <a@b>\nfirst <a@b>\n",
            "deliver pipe a\rb\nfrom <>\nto <a@b>\nfirst <a@b>\n",
            "deliver\nfrom <>\nto <a@b>\nfirst <a@b>\n",
            "forward\nforward\n",
        ];
        for text in rows {
            assert_eq!(Order::parse(text), None, "{text:?}");
        }
        let good = "deliver mailbox\nfrom <>\nto <a@b>\nfirst <a@b>\n";
        assert!(Order::parse(good).is_some());
    }

    #[test]
    fn a_helper_is_asked_for_by_name() {
        let alice = Whom::User("alice".to_owned());
        for whom in [alice, Whom::Root, Whom::Nobody] {
            assert_eq!(Whom::parse(&whom.text()), Some(whom));
        }
        let long = format!("user {}", "x".repeat(257));
        let none = [
            "", "user ", "user", "alice", "user -x", "user a b", "user a/b", "user a:b",
            "user a\n", "root ", &long,
        ];
        for text in none {
            assert_eq!(Whom::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn an_answer_is_believed_only_as_far_as_it_makes_sense() {
        let outcome = Outcome::new(
            Verdict::Deferred,
            None,
            Enhanced(4, 2, 2),
            "",
            "the mailbox is full",
        );
        let line = answer(&outcome);
        assert_eq!(line, "deferred 4.2.2 the mailbox is full\n");
        assert_eq!(read_answer(line.trim_end()), Some(outcome));
        for text in [
            "",
            "delivered",
            "delivered 4.0.0 x",
            "failed 2.0.0 x",
            "deferred x",
            "lost 5.0.0 x",
        ] {
            assert_eq!(read_answer(text), None, "{text:?}");
        }
    }
}
