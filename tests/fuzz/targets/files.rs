//! Files: of the queue, which a dying disk or an admin may have changed, and the configuration.

use std::path::Path;

use super::choice;
use crate::config::{Config, System};
use crate::proto::address::Mailbox;
use crate::proto::alias::{Place, Table, Target, read_list};
use crate::proto::envelope::{Envelope, Recipient};
use crate::proto::journal::{Entry, Progress};

/// The head of a queue file: what was read is written as what is read as the same.
pub fn envelope(octets: &[u8]) {
    let Ok(parsed) = Envelope::parse(octets) else {
        return;
    };
    assert!(parsed.message_at <= octets.len() as u64);
    let head = format!("{}{}\n", parsed.envelope.to_text(), parsed.facts.line());
    let again = Envelope::parse(head.as_bytes()).expect("what was written is read");
    // Control characters that no program of ours has written there become spaces, which count for nothing at an end.
    let who = |envelope: &Envelope| {
        let to = envelope
            .recipients
            .iter()
            .map(|r| (r.address.clone(), r.notify));
        (envelope.sender.clone(), to.collect::<Vec<_>>())
    };
    assert_eq!(who(&again.envelope), who(&parsed.envelope));
    assert_eq!(again.envelope.requiretls, parsed.envelope.requiretls);
    assert_eq!(again.facts, parsed.facts);
}

/// The journal: a torn line counts for nothing, what follows the last whole line changes nothing, and whoever is counted
/// in it has an address.
pub fn journal(octets: &[u8]) {
    let (count, journal) = choice(octets);
    let named = vec![Recipient::plain(Mailbox::parse("a@b.example").unwrap()); usize::from(count)];
    let read = |journal: &[u8]| {
        let mut recipients = named.clone();
        let (progress, whole) = Progress::parse(journal, &mut recipients);
        assert_eq!(progress.standings.len(), recipients.len());
        (progress, whole)
    };
    let (progress, whole) = read(journal);
    assert!(whole <= journal.len() && progress.standings.len() >= named.len());
    let all = progress.standings.len();
    assert!(progress.waiting().iter().all(|index| *index < all));
    assert_eq!(read(&journal[..whole]), (progress.clone(), whole));
    // What is appended counts, whatever stood there.
    let mut longer = journal[..whole].to_vec();
    longer.extend_from_slice(Entry::Warned.line(0).as_bytes());
    let (longer, _) = read(&longer);
    assert!(longer.warned);
    assert_eq!(longer.standings, progress.standings);
}

/// An alias file, and a list that others may write: every name is found again, every fault has its line, and a list
/// names no command and no file.
pub fn alias(octets: &[u8]) {
    let text = String::from_utf8_lossy(octets).into_owned();
    if let Ok(targets) = read_list(&text, Place::Include) {
        let runs = |target: &Target| matches!(target, Target::Pipe(_) | Target::File(_));
        assert!(!targets.iter().any(runs), "{targets:?}");
    }
    let lines = text.split('\n').count();
    let table = Table::parse(text);
    assert!(
        table
            .names()
            .all(|name| table.has(name) && table.get(name).is_some())
    );
    assert!(
        table
            .faults()
            .iter()
            .all(|fault| (1..=lines).contains(&fault.line))
    );
}

/// A configuration, or a sentence for every fault of it, each with its place.
pub fn config(octets: &[u8]) {
    let system = System {
        hostname: &|| "pi.example.org".to_owned(),
    };
    let file = Path::new("/etc/minimta/minimta.toml");
    if let Err(error) = Config::parse(octets, Some(file), &system) {
        let text = error.to_string();
        assert!(text.contains("minimta.toml"), "{text}");
        assert!(
            !text.contains(|c: char| c.is_control() && !"\n\t".contains(c)),
            "{text:?}"
        );
    }
}
