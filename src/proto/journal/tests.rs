//! Journals, written and read again, torn, and damaged.

use super::super::address::Mailbox;
use super::super::end::{End, Origin};
use super::super::envelope::{Notify, sample};
use super::*;

#[test]
fn the_journal_is_read_as_it_was_written() {
    let greylisted = Outcome::new(
        Verdict::Deferred,
        Some(451),
        Enhanced(4, 7, 1),
        "mx2.example.net",
        "greylisted",
    );
    let down = Outcome::new(Verdict::Deferred, None, Enhanced(4, 4, 1), "", "");
    let done = Outcome::new(
        Verdict::Delivered,
        Some(250),
        Enhanced(2, 0, 0),
        "mx.example.net",
        "ok  queued",
    );
    let entries = [
        Entry::Attempt(vec![0, 1, 2, 4], greylisted.clone()),
        Entry::Attempt(vec![1], down.clone()),
        Entry::Warned,
        Entry::Held,
        Entry::Attempt(vec![0], done.clone()),
    ];
    let mut journal: String = entries.iter().map(|e| e.line(60)).collect();
    assert!(journal.starts_with(
        "1970-01-01T00:01:00Z to 1-3,5 deferred 451 4.7.1 mx2.example.net greylisted\n"
    ));
    let mut five = sample(&["a@b.example"; 5]);
    let whole = journal.len();
    journal.push_str("1970-01-01T00:01:00Z to 3 delivered 250 2.0.0 mx"); // torn by a power cut
    let (progress, kept) = Progress::parse(journal.as_bytes(), &mut five.recipients);
    assert_eq!(kept, whole);
    assert!(progress.warned && !progress.held);
    assert_eq!(
        progress.standings[0],
        Standing {
            attempts: 2,
            doubts: 0,
            last: Some((60, done))
        }
    );
    assert_eq!(
        progress.standings[1],
        Standing {
            attempts: 2,
            doubts: 0,
            last: Some((60, down))
        }
    );
    assert_eq!(progress.standings[2].last, Some((60, greylisted)));
    assert_eq!(progress.waiting(), [1, 2, 3, 4]);
}

#[test]
fn a_damaged_journal_line_counts_for_nothing() {
    for line in [
        "x",
        "1970-01-01T00:01:00Z to 0 delivered 250 2.0.0 mx",
        "1970-01-01T00:01:00Z to 1-99999999999 delivered 250 2.0.0 mx",
        "1970-01-01T00:01:00Z to 1 delivered 250 9.0.0 mx",
        "1970-01-01T00:01:00Z to 1 lost 250 2.0.0 mx",
        "1970-01-01T00:01:00Z to 7 delivered 250 2.0.0 mx", // nobody of that number
        "1970-01-01T00:01:00Z to 7 expanded 2 <x@y.example>",
        "1970-01-01T00:01:00Z to 1 expanded 3 <x@y.example>", // a number left out
        "1970-01-01T00:01:00Z to 1 expanded 2-3 <x@y.example>",
        "1970-01-01T00:01:00Z to 1 expanded 2 <x>",
        "1970-01-01T00:01:00Z to 1 expanded 2 <x@y.example> END=elsewhere",
        "1970-01-01T00:01:00Z to 1 expanded",
        "1970-01-01T00:01:00Z to 7 asked <a@b.example> NOTIFY=NEVER",
        "1970-01-01T00:01:00Z to 1 asked <x@y.example> NOTIFY=NEVER", // somebody else
        "1970-01-01T00:01:00Z to 1 asked <a@b.example> NOTIFY=NEVER <x@y.example>",
        "1970-01-01T00:01:00Z to 1 asked",
    ] {
        let mut one = sample(&["a@b.example"]);
        let (progress, _) = Progress::parse(format!("{line}\n").as_bytes(), &mut one.recipients);
        assert_eq!(progress, Progress::new(1), "{line}");
        assert_eq!(one, sample(&["a@b.example"]), "{line}");
    }
}

#[test]
fn an_expansion_adds_recipients_that_later_lines_speak_of() {
    let child = |text: &str, origin: Origin| Recipient {
        notify: Notify::parse("FAILURE"),
        orcpt: Some("rfc822;team@b.example".to_owned()),
        origin: Some(Box::new(origin)),
        ..Recipient::plain(Mailbox::parse(text).unwrap())
    };
    let pipe = Origin {
        end: Some(End::Pipe("/bin/x -a \"b <c>\" =+\n".to_owned())),
        ..Origin::new(0)
    };
    let mailbox = Origin {
        end: Some(End::Mailbox),
        user: Some("alice b".to_owned()),
        sender: Some(Mailbox::parse("\"owner <x>\"@b.example").unwrap()),
        ..Origin::new(0)
    };
    let file = Origin {
        end: Some(End::File("/var/list archive/".to_owned())),
        ..Origin::new(0)
    };
    let through = Origin {
        through: Some(Mailbox::parse("alice+x@b.example").unwrap()),
        ..Origin::new(0)
    };
    let children = vec![
        child("\"a > b\"@b.example", pipe),
        child("alice@b.example", mailbox),
        child("team@b.example", file),
        child("far@c.example", through),
    ];
    let outcome = Outcome::new(Verdict::Delivered, None, Enhanced(2, 0, 0), "", "");
    let entries = [
        Entry::Expanded(0, 2, children.clone()),
        Entry::Attempt(vec![2], outcome.clone()),
        Entry::Expanded(1, 6, Vec::new()),
    ];
    let journal: String = entries.iter().map(|e| e.line(60)).collect();
    assert_eq!(journal.lines().count(), 3, "{journal}");
    let mut recipients = sample(&["team@b.example", "all@b.example"]).recipients;
    let (progress, whole) = Progress::parse(journal.as_bytes(), &mut recipients);
    assert_eq!(whole, journal.len());
    assert_eq!(recipients[2..], children);
    assert_eq!(progress.waiting(), [3, 4, 5]);
    assert_eq!(progress.standings[2].last, Some((60, outcome)));
    // Torn anywhere, the expansion has not happened, and nothing is left of it.
    let line = entries[0].line(60);
    for torn in 0..line.len() {
        let mut recipients = sample(&["team@b.example"]).recipients;
        let (progress, whole) = Progress::parse(&line.as_bytes()[..torn], &mut recipients);
        assert_eq!((progress, whole), (Progress::new(1), 0));
        assert_eq!(recipients.len(), 1);
    }
}

#[test]
fn what_is_asked_for_later_takes_the_place_of_what_was() {
    let mut recipients = sample(&["bob@b.example", "all@b.example"]).recipients;
    let wishes = Recipient {
        notify: Notify::parse("FAILURE"),
        orcpt: Some("rfc822;team@b.example".to_owned()),
        ..recipients[0].clone()
    };
    let line = Entry::Asked(0, wishes.clone()).line(60);
    let expected = "to 1 asked <bob@b.example> NOTIFY=FAILURE ORCPT=rfc822;team@b.example";
    assert_eq!(line, format!("1970-01-01T00:01:00Z {expected}\n"));
    let (progress, _) = Progress::parse(line.as_bytes(), &mut recipients);
    assert_eq!(progress, Progress::new(2));
    assert_eq!(recipients[0], wishes);
}

#[test]
fn what_was_set_aside_is_told_from_what_was_tried_since() {
    let down = Outcome::new(Verdict::Deferred, None, Enhanced(4, 4, 1), "", "");
    let rows: &[(&[Entry], bool)] = &[
        (&[], false),
        (&[Entry::Held], true),
        (&[Entry::Attempt(vec![0], down.clone()), Entry::Held], true),
        (&[Entry::Held, Entry::Attempt(vec![0], down)], false),
    ];
    for (entries, held) in rows {
        let journal: String = entries.iter().map(|e| e.line(60)).collect();
        let mut one = sample(&["a@b.example"]);
        let (progress, _) = Progress::parse(journal.as_bytes(), &mut one.recipients);
        assert_eq!(progress.held, *held, "{journal}");
    }
}

#[test]
fn an_age_counts_from_the_first_attempt_where_a_clock_was_ahead() {
    let down = Outcome::new(Verdict::Deferred, None, Enhanced(4, 4, 1), "", "");
    let (now, ahead) = (1_795_454_400, 2_110_900_000);
    // When it was received, when it was tried, and from when on its age counts.
    let rows: &[(i64, &[i64], i64)] = &[
        (now - 60, &[], now - 60),
        (now - 60, &[now - 120, now], now - 60),
        (60, &[120, now], 60),
        (ahead, &[], ahead),
        (ahead, &[ahead + 60], ahead),
        (ahead, &[ahead + 60, now - 900, now - 300], now - 900),
        (i64::MAX, &[now], now),
    ];
    for (received_at, tried, since) in rows {
        let mut progress = Progress::new(1);
        for at in *tried {
            progress.apply(*at, &Entry::Attempt(vec![0], down.clone()));
        }
        assert_eq!(
            progress.since(*received_at, now),
            *since,
            "{received_at} {tried:?}"
        );
    }
}

#[test]
fn in_brief_only_the_words_are_missing() {
    let say = |verdict, code, host, text| {
        Outcome::new(verdict, Some(code), Enhanced(4, 2, 1), host, text)
    };
    let in_doubt =
        |text| Outcome::new(Verdict::Deferred, None, Enhanced(4, 4, 2), "mx", text).doubted();
    let entries = [
        Entry::Attempt(vec![4], say(Verdict::Deferred, 450, "mx", "four is busy")),
        Entry::Attempt(vec![0, 2], say(Verdict::Deferred, 450, "mx", "busy")),
        Entry::Warned,
        Entry::Attempt(vec![1], say(Verdict::Deferred, 451, "mx", "busy")),
        Entry::Attempt(vec![3], say(Verdict::Deferred, 450, "mx2", "busy")),
        Entry::Attempt(vec![1], say(Verdict::Deferred, 450, "mx", "")),
        Entry::Attempt(vec![5], say(Verdict::Delivered, 450, "mx", "")),
        Entry::Attempt(vec![6], in_doubt("no answer")),
        Entry::Attempt(vec![7], in_doubt("it broke off")),
    ];
    let brief: String = brief(&entries).iter().map(|e| e.line(60)).collect();
    let expected = [
        "to 1-3,5 deferred 450 4.2.1 mx",
        "warned",
        "to 2 deferred 451 4.2.1 mx",
        "to 4 deferred 450 4.2.1 mx2",
        "to 6 delivered 450 4.2.1 mx",
        "to 7-8 deferred - 4.4.2 mx it may have the message",
    ];
    let expected = expected.map(|line| format!("1970-01-01T00:01:00Z {line}\n"));
    assert_eq!(brief, expected.concat());
    // That is read back.
    let mut eight = sample(&["a@b.example"; 8]);
    let (progress, _) = Progress::parse(brief.as_bytes(), &mut eight.recipients);
    let doubts: Vec<u32> = progress.standings.iter().map(|s| s.doubts).collect();
    assert_eq!(doubts, [0, 0, 0, 0, 0, 0, 1, 1]);
}
