//! The journal at the end of a queue file, both ways, and what it adds up to: who still waits, since when, and why. Its
//! form is shown in envelope/text.rs.
//!
//! A torn last line counts for nothing, and what no line of ours could say is passed over.

use std::fmt::Write as _;

use super::date::{Stamp, parse_iso8601};
use super::envelope::{Recipient, recipient_text, take_recipient};
use super::order;
use super::outcome::{Outcome, Verdict};
use super::reply::Enhanced;

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// An attempt, for the recipients of these indices (from 0).
    Attempt(Vec<usize>, Outcome),
    /// Of a recipient others were made, who are counted on from this index.
    Expanded(usize, usize, Vec<Recipient>),
    /// With the recipient of this index more is asked for than the envelope says: what is asked for now.
    Asked(usize, Recipient),
    /// The sender was told of the delay.
    Warned,
    /// A queue run has set the message aside: it is damaged, or nobody is left to tell of its failure.
    Held,
}

impl Entry {
    /// The line, with its line end.
    pub fn line(&self, at: i64) -> String {
        let at = Stamp::utc(at).iso8601();
        match self {
            Self::Warned => format!("{at} {WARNED}\n"),
            Self::Held => format!("{at} {HELD}\n"),
            Self::Asked(of, recipient) => {
                let wishes = Recipient {
                    origin: None,
                    ..recipient.clone()
                };
                let text = recipient_text(&wishes);
                format!("{at} to {} {ASKED} {text}\n", of + 1)
            }
            Self::Expanded(of, first, children) => {
                let numbers: Vec<usize> = (0..children.len()).map(|i| first + i).collect();
                let numbers = if numbers.is_empty() {
                    "-".to_owned()
                } else {
                    ranges(&numbers)
                };
                let texts: Vec<String> = children.iter().map(recipient_text).collect();
                let line = format!("{at} to {} expanded {numbers} {}", of + 1, texts.join(" "));
                format!("{}\n", line.trim_end())
            }
            Self::Attempt(recipients, o) => {
                let code = o.code.map_or_else(|| "-".to_owned(), |c| c.to_string());
                let host = if o.host.is_empty() { "-" } else { &o.host };
                let (to, verdict) = (ranges(recipients), o.verdict.word());
                let line = format!(
                    "{at} to {to} {verdict} {code} {} {host} {}",
                    o.enhanced, o.text
                );
                format!("{}\n", line.trim_end())
            }
        }
    }

    /// Reads a line without its line end; with it, when it was written.
    fn parse(line: &str) -> Option<(i64, Self)> {
        let (at, rest) = line.split_once(' ')?;
        let at = parse_iso8601(at)?;
        match rest {
            WARNED => return Some((at, Self::Warned)),
            HELD => return Some((at, Self::Held)),
            _ => {}
        }
        let mut words = rest.splitn(7, ' ');
        let ("to", to) = (words.next()?, words.next()?) else {
            return None;
        };
        let verdict = words.next()?;
        if verdict == Verdict::Expanded.word() {
            return Some((at, Self::parse_expanded(to, rest)?));
        }
        if verdict == ASKED {
            return Some((at, Self::parse_asked(to, rest)?));
        }
        let verdict = Verdict::parse(verdict)?;
        let code = match words.next()? {
            "-" => None,
            code => Some(code.parse().ok()?),
        };
        let enhanced = Enhanced::parse(words.next()?)?;
        let host = words.next().filter(|h| *h != "-").unwrap_or_default();
        let mut outcome = Outcome::new(
            verdict,
            code,
            enhanced,
            host,
            words.next().unwrap_or_default(),
        );
        outcome.in_doubt = outcome.says_doubt();
        Some((at, Self::Attempt(parse_ranges(to)?, outcome)))
    }

    /// `to 1 asked <bob@example.net> NOTIFY=FAILURE ORCPT=rfc822;team@pi.example`
    fn parse_asked(to: &str, line: &str) -> Option<Self> {
        let of = *parse_ranges(to)?.first()?;
        let text = line.splitn(4, ' ').nth(3)?;
        let (recipient, rest) = take_recipient(text, None).ok()?;
        rest.is_empty().then_some(Self::Asked(of, recipient))
    }

    /// `to 4 expanded 6-7 <alice@pi.example> USER=alice END=mailbox <bob@example.net>`
    fn parse_expanded(to: &str, line: &str) -> Option<Self> {
        let of = *parse_ranges(to)?.first()?;
        let mut words = line.splitn(5, ' ').skip(3);
        let numbers = match words.next()? {
            "-" => Vec::new(),
            numbers => parse_ranges(numbers)?,
        };
        let mut rest = words.next().unwrap_or_default();
        let mut children = Vec::new();
        while !rest.is_empty() {
            let (child, after) = take_recipient(rest, Some(of)).ok()?;
            children.push(child);
            rest = after;
        }
        let first = numbers.first().copied().unwrap_or(of + 1);
        (children.len() == numbers.len()).then_some(Self::Expanded(of, first, children))
    }
}

/// The same in few lines: attempts that differ in nothing but the words that were said share one, without them; but that a
/// server may have the message stays said.
pub fn brief(entries: &[Entry]) -> Vec<Entry> {
    let mut brief: Vec<Entry> = Vec::new();
    for entry in entries {
        let Entry::Attempt(recipients, outcome) = entry else {
            brief.push(entry.clone());
            continue;
        };
        let outcome = outcome.clone().without_words();
        let same = brief.iter_mut().find_map(|known| match known {
            Entry::Attempt(to, of) if *of == outcome => Some(to),
            _ => None,
        });
        match same {
            Some(to) => {
                to.extend(recipients);
                order::sort(to, &Ord::cmp);
            }
            None => brief.push(Entry::Attempt(recipients.clone(), outcome)),
        }
    }
    brief
}

/// Indices from 0 as counted from 1 in ranges: `1,3-7`.
fn ranges(indices: &[usize]) -> String {
    let mut text = String::new();
    let mut rest = indices.iter().map(|i| i + 1).peekable();
    while let Some(first) = rest.next() {
        let mut last = first;
        while let Some(next) = rest.next_if_eq(&(last + 1)) {
            last = next;
        }
        let comma = if text.is_empty() { "" } else { "," };
        // Writing to a String cannot fail.
        let _ = if first == last {
            write!(text, "{comma}{first}")
        } else {
            write!(text, "{comma}{first}-{last}")
        };
    }
    text
}

fn parse_ranges(text: &str) -> Option<Vec<usize>> {
    /// No message has more recipients; a damaged range must not fill the memory.
    const MAX: usize = 1_000_000;
    let mut indices = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if first == 0 || last < first || last > MAX {
            return None;
        }
        indices.extend(first - 1..last);
    }
    Some(indices)
}

/// What the journal says of one recipient.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    /// How many attempts were made.
    pub attempts: u32,
    /// After how many of them a server may have had the message.
    pub doubts: u32,
    /// When the last one ended, and how; `None`: not tried yet.
    pub last: Option<(i64, Outcome)>,
}

impl Standing {
    /// Whether there is still something to do.
    pub fn is_waiting(&self) -> bool {
        self.last
            .as_ref()
            .is_none_or(|(_, o)| o.verdict == Verdict::Deferred)
    }

    /// Whether the message has reached him.
    pub fn is_delivered(&self) -> bool {
        let last = self.last.as_ref();
        last.is_some_and(|(_, o)| o.verdict == Verdict::Delivered)
    }
}

/// What the journal says of the whole message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    /// By recipient, in the envelope's order.
    pub standings: Vec<Standing>,
    /// Whether the sender was told of the delay.
    pub warned: bool,
    /// Whether a queue run has set it aside, and has not tried it since.
    pub held: bool,
    /// When it was tried first, by the clock of then.
    pub tried: Option<i64>,
}

impl Progress {
    /// Nothing tried yet.
    pub fn new(recipients: usize) -> Self {
        Self {
            standings: vec![Standing::default(); recipients],
            warned: false,
            held: false,
            tried: None,
        }
    }

    /// From when on the age of a message counts at the time `now`: its arrival, or the first attempt where a clock that was
    /// ahead said when it came. It would be new for as long as that was ahead, and nobody would be told anything.
    pub fn since(&self, received_at: i64, now: i64) -> i64 {
        match self.tried {
            Some(tried) if received_at > now => tried.min(received_at),
            _ => received_at,
        }
    }

    /// Reads a journal. A torn last line counts for nothing; returned is how many octets are whole lines.
    ///
    /// Recipients that expansions made are added to those of the envelope.
    pub fn parse(journal: &[u8], recipients: &mut Vec<Recipient>) -> (Self, usize) {
        let mut progress = Self::new(recipients.len());
        let whole = journal
            .iter()
            .rposition(|b| *b == b'\n')
            .map_or(0, |last| last + 1);
        for line in journal
            .get(..whole)
            .unwrap_or_default()
            .split(|b| *b == b'\n')
        {
            if let Some((at, entry)) = std::str::from_utf8(line).ok().and_then(Entry::parse) {
                progress.apply(at, &entry);
                match entry {
                    Entry::Expanded(_, _, children)
                        if progress.standings.len() > recipients.len() =>
                    {
                        recipients.extend(children);
                    }
                    Entry::Asked(of, wishes) => ask(recipients, of, wishes),
                    _ => {}
                }
            }
        }
        (progress, whole)
    }

    /// Takes in one more line.
    pub fn apply(&mut self, at: i64, entry: &Entry) {
        match entry {
            Entry::Warned => self.warned = true,
            Entry::Held => self.held = true,
            Entry::Asked(..) => {}
            Entry::Expanded(of, first, children) => {
                let count = self.standings.len();
                // A line that counts otherwise than we do is damaged: the expansion is done again.
                if (children.is_empty() || *first == count)
                    && let Some(standing) = self.standings.get_mut(*of)
                {
                    let text = format!("into {}", children.len());
                    let outcome =
                        Outcome::new(Verdict::Expanded, None, Enhanced(2, 0, 0), "", &text);
                    standing.last = Some((at, outcome));
                    self.standings
                        .resize(count + children.len(), Standing::default());
                }
            }
            Entry::Attempt(recipients, outcome) => {
                self.held = false;
                for index in recipients {
                    if let Some(standing) = self.standings.get_mut(*index) {
                        standing.attempts = standing.attempts.saturating_add(1);
                        let doubts = u32::from(outcome.in_doubt);
                        standing.doubts = standing.doubts.saturating_add(doubts);
                        standing.last = Some((at, outcome.clone()));
                        self.tried = Some(self.tried.map_or(at, |tried| tried.min(at)));
                    }
                }
            }
        }
    }

    /// The indices of those who still wait.
    pub fn waiting(&self) -> Vec<usize> {
        let all = self.standings.iter().enumerate();
        all.filter(|(_, s)| s.is_waiting())
            .map(|(index, _)| index)
            .collect()
    }
}

/// The words of [`Entry::Asked`], [`Entry::Warned`] and [`Entry::Held`].
const ASKED: &str = "asked";
const WARNED: &str = "warned";
const HELD: &str = "held";

/// Takes in an [`Entry::Asked`]. One that speaks of somebody else is damaged.
pub fn ask(recipients: &mut [Recipient], of: usize, wishes: Recipient) {
    if let Some(recipient) = recipients.get_mut(of)
        && recipient.address == wishes.address
    {
        (recipient.notify, recipient.orcpt) = (wishes.notify, wishes.orcpt);
    }
}

#[cfg(test)]
mod tests;
