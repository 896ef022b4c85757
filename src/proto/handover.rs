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
//! helper -> worker           one line: "delivered 2.0.0 Maildir /home/alice/Maildir/", or "mailbox": his ~/.forward
//!                            does not name that any more, and the mailbox that he has now is with a server
//!
//! worker -> helper           "forward", or "forward /home/alice/list", and a blank line
//! helper -> worker           "text 17" and so many octets, "none", or "no" and why not
//! ```
//!
//! Neither believes the other: whatever is too long or no line of these ends the talk.

use super::address::{Mailbox, ReversePath, take_path};
use super::end::End;
use super::outcome::{Outcome, Verdict, one_line};
use super::reply::Enhanced;

/// The longest order, octets: two addresses and a command.
pub const MAX_ORDER: usize = 16 * 1024;
/// The longest answer, octets.
pub const MAX_ANSWER: usize = 4 * 1024;
/// The most octets in a block of a message.
pub const MAX_BLOCK: usize = 64 * 1024;
/// The most octets of a ~/.forward, or of a file that it includes.
pub const MAX_FORWARD: usize = 64 * 1024;
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
    /// Read the user's ~/.forward, or a file of this name that it includes.
    Forward(Option<String>),
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
        let letter = match self {
            Self::Deliver(letter) => letter,
            Self::Forward(None) => return "forward\n\n".to_owned(),
            Self::Forward(Some(path)) => return format!("forward {}\n\n", one_line(path)),
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
            return Some(Self::Forward(None));
        }
        if let Some(path) = text.strip_prefix("forward ") {
            let path = path.strip_suffix('\n')?;
            let fits = path.starts_with('/') && !path.contains(char::is_control);
            return fits.then(|| Self::Forward(Some(path.to_owned())));
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

/// What became of an order to deliver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It was tried.
    Done(Outcome),
    /// It is for the mailbox, and that is with a server, whom the worker gives it.
    Mailbox,
}

impl Answer {
    /// In one line.
    pub fn text(&self) -> String {
        match self {
            Self::Done(outcome) => {
                let verdict = outcome.verdict.word();
                format!("{verdict} {} {}\n", outcome.enhanced, outcome.text)
            }
            Self::Mailbox => "mailbox\n".to_owned(),
        }
    }

    /// Reads that line, without its end; `None`: it is none.
    pub fn parse(line: &str) -> Option<Self> {
        if line == "mailbox" {
            return Some(Self::Mailbox);
        }
        let (verdict, rest) = line.split_once(' ')?;
        let (enhanced, text) = rest.split_once(' ').unwrap_or((rest, ""));
        let enhanced = Enhanced::parse(enhanced)?;
        let verdict = match (verdict, enhanced.0) {
            ("delivered", 2) => Verdict::Delivered,
            ("deferred", 4) => Verdict::Deferred,
            ("failed", 5) => Verdict::Failed,
            _ => return None,
        };
        Some(Self::Done(Outcome::new(verdict, None, enhanced, "", text)))
    }
}

/// What a helper says of a file, in one line; what is in it follows.
pub fn announce(read: &Result<Option<Vec<u8>>, String>) -> String {
    match read {
        Ok(Some(octets)) => format!("text {}\n", octets.len()),
        Ok(None) => "none\n".to_owned(),
        Err(why) => {
            let why: String = one_line(why).chars().take(MAX_ANSWER / 8).collect();
            format!("no {why}\n")
        }
    }
}

/// Reads that line, without its end: how many octets follow, if the file is there. `None`: it is no such line.
pub fn read_announced(line: &str) -> Option<Result<Option<usize>, String>> {
    if line == "none" {
        return Some(Ok(None));
    }
    if let Some(why) = line.strip_prefix("no ") {
        return Some(Err(one_line(why)));
    }
    let length: usize = line.strip_prefix("text ")?.parse().ok()?;
    (length <= MAX_FORWARD).then_some(Ok(Some(length)))
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
            Order::Forward(None),
            Order::Forward(Some("/home/a b/list".to_owned())),
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
            "forward list\n",
            "forward /a\rb\n",
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
        let outcome = Answer::Done(outcome);
        let line = outcome.text();
        assert_eq!(line, "deferred 4.2.2 the mailbox is full\n");
        assert_eq!(Answer::parse(line.trim_end()), Some(outcome));
        assert_eq!(Answer::Mailbox.text(), "mailbox\n");
        assert_eq!(Answer::parse("mailbox"), Some(Answer::Mailbox));
        for text in [
            "",
            "delivered",
            "delivered 4.0.0 x",
            "failed 2.0.0 x",
            "deferred x",
            "lost 5.0.0 x",
            "mailbox ",
            "mailbox 2.0.0 x",
        ] {
            assert_eq!(Answer::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_file_is_announced_with_its_length() {
        let rows = [
            (Ok(Some(b"bob".to_vec())), "text 3\n", Some(Ok(Some(3)))),
            (Ok(None), "none\n", Some(Ok(None))),
            (
                Err("it is\nhis".to_owned()),
                "no it is his\n",
                Some(Err("it is his".to_owned())),
            ),
        ];
        for (read, line, expected) in rows {
            assert_eq!(announce(&read), line);
            assert_eq!(read_announced(line.trim_end()), expected);
        }
        for line in ["", "text", "text -1", "text 65537", "text x", "nothing"] {
            assert_eq!(read_announced(line), None, "{line:?}");
        }
    }
}
