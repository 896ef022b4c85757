//! Heads of queue files, written and read again, cut short, changed, and of other makers.

use super::super::super::journal::Entry;
use super::super::super::outcome::{Outcome, Verdict};
use super::super::super::reply::Enhanced;
use super::super::sample;
use super::*;

fn full() -> Envelope {
    let mut envelope = sample(&[
        "one@example.net",
        "\"a>b c\"@example.net",
        "three@example.net",
    ]);
    envelope.recipients[0].notify = Notify::parse("failure,DELAY");
    envelope.recipients[0].orcpt = Some("rfc822;one@example.net".to_owned());
    envelope.recipients[1].notify = Notify::parse("NEVER");
    envelope.auth = Some("alice".to_owned());
    envelope.smtputf8 = true;
    envelope.requiretls = true;
    envelope.ret = Some(Ret::Headers);
    envelope.envid = Some("QQ314159".to_owned());
    envelope
}

#[test]
fn an_envelope_is_read_as_it_was_written() {
    for envelope in [
        full(),
        Envelope {
            sender: ReversePath::Null,
            ..sample(&["a@b.example"])
        },
    ] {
        let facts = Facts {
            size: 4711,
            crc32: 0x8f3a_21c0,
            longest_line: 72,
            eight_bit: true,
            eight_bit_header: true,
        };
        let head = format!("{}{}\n", envelope.to_text(), facts.line());
        let parsed = Envelope::parse(head.as_bytes()).unwrap();
        assert_eq!(
            parsed,
            Parsed {
                envelope,
                facts,
                message_at: head.len() as u64
            }
        );
        // Every shorter head asks for more, or was never finished.
        for cut in 0..head.len() {
            let cut = Envelope::parse(&head.as_bytes()[..cut]);
            assert!(
                matches!(cut, Err(Unreadable::MoreNeeded | Unreadable::Unfinished)),
                "{cut:?}"
            );
        }
    }
}

/// What is beyond ASCII, and where.
#[test]
fn the_message_line_tells_header_from_body() {
    for (eight_bit, eight_bit_header, word) in [
        (false, false, " 7bit\n"),
        (true, false, " body\n"),
        (true, true, " 8bit\n"),
    ] {
        let facts = Facts {
            eight_bit,
            eight_bit_header,
            ..Facts::default()
        };
        let line = facts.line();
        assert!(line.ends_with(word) && line.len() == Facts::WIDTH, "{line}");
        assert_eq!(Facts::parse(line.trim_end()), Some(facts));
    }
    assert_eq!(
        Facts::parse(Facts::default().line().replace("7bit", "9bit").trim_end()),
        None
    );
}

#[test]
fn the_message_line_never_changes_its_width() {
    assert_eq!(Facts::default().line().len(), Facts::WIDTH);
    let most = Facts {
        size: u64::MAX,
        crc32: u32::MAX,
        longest_line: u64::MAX,
        eight_bit: true,
        eight_bit_header: true,
    };
    assert_eq!(most.line().len(), Facts::WIDTH);
    assert_eq!(Facts::UNKNOWN.len(), Facts::WIDTH);
}

/// The commit of a large message writes over its message line last, and the disk may have the rest before it.
#[test]
fn a_message_line_that_was_never_written_is_no_empty_message() {
    let head = format!("{}{}\ntext", full().to_text(), Facts::UNKNOWN);
    assert_eq!(
        Envelope::parse(head.as_bytes()),
        Err(Unreadable::Unfinished)
    );
}

#[test]
fn what_is_no_queue_file_is_told_apart() {
    let rows: &[(&[u8], Unreadable)] = &[
        (b"", Unreadable::Unfinished),
        (b"\0\0\0\0", Unreadable::Unfinished),
        (b"minimta-qu", Unreadable::Unfinished),
        (b"From: x\n", Unreadable::Foreign),
        (b"minimta-queue 2\n\n", Unreadable::Foreign),
        (
            b"minimta-queue 1\nfrom <a@b.example>\n\n",
            Unreadable::Unfinished,
        ),
        (
            b"minimta-queue 1\nfrom a\n\n",
            damaged("a sender that is no address"),
        ),
        (
            b"minimta-queue 1\nto <a>\n\n",
            damaged("a recipient that is no address"),
        ),
        (
            b"minimta-queue 1\nfrom\n\n",
            damaged("a line without a value"),
        ),
        (
            b"minimta-queue 1\nreceived x\n\n",
            damaged("a date that is none"),
        ),
        (
            b"minimta-queue 1\nclient \xff\n\n",
            damaged("a line that is not UTF-8"),
        ),
    ];
    for (head, expected) in rows {
        assert_eq!(
            Envelope::parse(head),
            Err(*expected),
            "{:?}",
            String::from_utf8_lossy(head)
        );
    }
}

#[test]
fn no_value_becomes_a_second_line() {
    let mut envelope = full();
    envelope.client = "x\nto <evil@example.net>".to_owned(); // CVE-2020-28021
    envelope.recipients[0].orcpt = Some("rfc822;x\nto".to_owned());
    let text = envelope.to_text();
    assert_eq!(
        text.lines().filter(|l| l.starts_with("to ")).count(),
        3,
        "{text}"
    );
    // Nor a second word.
    for between in ['\x1b', ' ', '\t', '\u{85}', '\0'] {
        let mut recipient = envelope.recipients[0].clone();
        recipient.orcpt = Some(format!("rfc822;x{between}NOTIFY=NEVER"));
        let text = recipient_text(&recipient);
        let (read, rest) = take_recipient(&text, None).unwrap();
        assert_eq!((read.notify, rest), (recipient.notify, ""), "{between:?}");
    }
    let outcome = Outcome::new(
        Verdict::Failed,
        Some(550),
        Enhanced(5, 1, 1),
        "mx\n x",
        "no\r\n2026 to 1 delivered",
    );
    assert_eq!(Entry::Attempt(vec![0], outcome).line(0).lines().count(), 1); // CVE-2020-8794
}
