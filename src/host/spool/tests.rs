//! A file that others touch while it is ours (I13): what counts is the file that was claimed, and its checksum.

use std::io::Read;
use std::os::unix::fs::FileExt;

use super::*;
use crate::host::mailbox::scratch::Scratch;
use crate::proto::address::Mailbox;
use crate::proto::envelope::{MAX_RECIPIENTS, Notify, Recipient, sample};
use crate::proto::journal::Entry;
use crate::proto::outcome::{Outcome, Verdict};
use crate::proto::reply::Enhanced;

const TEXT: &str = "Subject: x\r\n\r\nhello\r\n";

fn stored(spool: &Spool, text: &str) -> String {
    let mut draft = spool.begin(&sample(&["one@example.net"])).unwrap();
    draft.write(text.as_bytes()).unwrap();
    draft.commit().unwrap().id.clone()
}

/// Claims a message that nobody has. A process that another test begins has its lock for a moment, with all that is open
/// in this one.
fn claimed(spool: &Spool, id: &str) -> Result<Claim, Refusal> {
    for _ in 0..1000 {
        match spool.claim(Folder::New, id) {
            Err(Refusal::Busy) => std::thread::sleep(std::time::Duration::from_millis(10)),
            claimed => return claimed,
        }
    }
    Err(Refusal::Busy)
}

#[test]
fn what_is_done_to_a_file_that_is_claimed_is_found_out_or_counts_for_nothing() {
    let scratch = Scratch::new("spool-claimed");
    let spool = Spool::new(&scratch.path("spool"), 0, 100);
    spool.create().unwrap();
    let other = stored(&spool, TEXT);
    let file = |path: &Path| OpenOptions::new().write(true).open(path).unwrap();
    type Deed<'a> = &'a dyn Fn(&Path);
    // What is done to the path, and whether a message is still what was accepted that is read only now.
    let rows: [(&str, Deed<'_>, bool); 7] = [
        ("nothing", &|_| {}, true),
        (
            "cut",
            &|p| file(p).set_len(fs::metadata(p).unwrap().len() - 3).unwrap(),
            false,
        ),
        ("emptied", &|p| file(p).set_len(0).unwrap(), false),
        (
            "written over",
            &|p| {
                let length = fs::metadata(p).unwrap().len();
                file(p).write_all_at(b"J", length - 7).unwrap();
            },
            false,
        ),
        (
            "replaced",
            &|p| {
                fs::write(scratch.path("planted"), "planted").unwrap();
                fs::rename(scratch.path("planted"), p).unwrap();
            },
            true,
        ),
        (
            "replaced by a link",
            &|p| {
                fs::remove_file(p).unwrap();
                let target = spool.path(Folder::New, &other);
                std::os::unix::fs::symlink(target, p).unwrap();
            },
            true,
        ),
        ("removed", &|p| fs::remove_file(p).unwrap(), true),
    ];
    let long = TEXT.repeat(5000 / TEXT.len() + 1);
    for ((what, deed, is_whole), sent) in
        rows.into_iter().flat_map(|row| [(row, TEXT), (row, &long)])
    {
        let id = stored(&spool, sent);
        let claim = claimed(&spool, &id).unwrap();
        deed(&spool.path(Folder::New, &id));
        let mut text = String::new();
        let read = claim.message().read_to_string(&mut text);
        // A short one was read with its envelope.
        match is_whole || sent == TEXT {
            true => assert_eq!(text, sent, "{what}"),
            false => assert_eq!(
                read.unwrap_err().kind(),
                io::ErrorKind::InvalidData,
                "{what}"
            ),
        }
        let _ = fs::remove_file(spool.path(Folder::New, &id));
    }
    // The message beside it is as it was.
    let claim = claimed(&spool, &other).unwrap();
    let mut text = String::new();
    claim.message().read_to_string(&mut text).unwrap();
    assert_eq!(text, TEXT);
}

/// What an admin does to a message that a run had when it was listed, or has.
#[test]
fn what_others_have_moved_is_left_alone() {
    let scratch = Scratch::new("spool-moved");
    let spool = Spool::new(&scratch.path("spool"), 0, 100);
    spool.create().unwrap();
    let listed = |id: &str| spool.find(id).unwrap();
    // As for a claim: what nobody has may be busy for a moment.
    let made = |change: &dyn Fn() -> Result<Change>| {
        for _ in 0..1000 {
            match change().unwrap() {
                Change::Busy => std::thread::sleep(Duration::from_millis(10)),
                change => return change == Change::Made,
            }
        }
        false
    };

    let id = stored(&spool, TEXT);
    let item = listed(&id);
    let claim = claimed(&spool, &id).unwrap();
    assert_eq!(spool.shift(&item, Folder::Hold).unwrap(), Change::Busy);
    assert_eq!(spool.remove(&item).unwrap(), Change::Busy);
    claim.defer_until(1).unwrap();
    assert_eq!(spool.shift(&item, Folder::Hold).unwrap(), Change::Gone);
    assert_eq!(spool.remove(&item).unwrap(), Change::Gone);
    let item = listed(&id);
    assert_eq!(item.folder, Folder::Cur);
    assert_eq!(spool.remove(&item).unwrap(), Change::Busy);
    drop(claim);
    assert!(made(&|| spool.shift(&item, Folder::Hold)));
    assert!(made(&|| spool.remove(&listed(&id))));
    assert_eq!(spool.find(&id), None);
}

/// A thousand recipients who are put off for five days, each in other words.
#[test]
fn a_journal_stays_short_enough_to_be_read() {
    let scratch = Scratch::new("spool-journal");
    let spool = Spool::new(&scratch.path("spool"), 0, 100);
    spool.create().unwrap();
    let (recipients, attempts) = (1000, 40);
    let to: Vec<String> = (0..recipients)
        .map(|n| format!("user{n}@example.net"))
        .collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    let mut draft = spool.begin(&sample(&to)).unwrap();
    draft.write(TEXT.as_bytes()).unwrap();
    let claim = draft.commit().unwrap();
    let enhanced = Enhanced(4, 2, 1);
    let text = |n: usize| format!("<user{n}@example.net>: {}", "busy ".repeat(80));
    let put_off = |n| {
        let outcome = Outcome::new(Verdict::Deferred, Some(450), enhanced, "mx", &text(n));
        Entry::Attempt(vec![n], outcome)
    };
    let entries: Vec<Entry> = (0..recipients).map(put_off).collect();
    for attempt in 0..attempts {
        assert!(!claim.record(1_700_000_000 + attempt, &entries).unwrap());
    }
    let id = claim.id.clone();
    drop(claim);
    let claim = claimed(&spool, &id).unwrap();
    for standing in claim.progress().standings {
        let (at, last) = standing.last.unwrap();
        assert_eq!((standing.attempts, at), (40, 1_700_000_039));
        assert_eq!((last.verdict, last.code), (Verdict::Deferred, Some(450)));
    }
}

#[test]
fn what_is_put_off_waits_and_is_not_taken_for_unfinished() {
    let scratch = Scratch::new("spool-put-off");
    let spool = Spool::new(&scratch.path("spool"), 0, 100);
    spool.create().unwrap();
    let due = 4_000_000_000;
    let [untried, whole, cut, moved] = [(); 4].map(|()| stored(&spool, TEXT));
    for id in [&whole, &cut, &moved] {
        let claim = claimed(&spool, id).unwrap();
        claim.put_off(due).unwrap();
    }
    let dues = |folder| {
        let items = spool.scan(folder).unwrap().into_iter();
        items.map(|item| (item.id, item.due)).collect::<Vec<_>>()
    };
    let [first, second, third, fourth] = [&untried, &whole, &cut, &moved].map(Clone::clone);
    assert_eq!(
        dues(Folder::New),
        [
            (first, 0),
            (second, due),
            (third, due),
            (fourth.clone(), due)
        ]
    );
    assert_eq!(spool.find(&whole).unwrap().due, due);
    let claim = claimed(&spool, &moved).unwrap();
    claim.defer_until(due + 1).unwrap();
    assert_eq!(dues(Folder::Cur), [(fourth, due + 1)]);
    // Whatever was tried once was promised: what is not whole is set aside, and never swept.
    for (id, is_promised) in [(&untried, false), (&cut, true)] {
        let path = spool.path(Folder::New, id);
        let file = OpenOptions::new().write(true).open(path).unwrap();
        let time = fs::metadata(spool.path(Folder::New, id))
            .unwrap()
            .modified();
        file.set_len(fs::metadata(spool.path(Folder::New, id)).unwrap().len() - 3)
            .unwrap();
        // A file system that loses its end does not look at the clock.
        file.set_modified(time.unwrap()).unwrap();
        let refusal = claimed(&spool, id).unwrap_err();
        assert_eq!(
            matches!(refusal, Refusal::Bad(_)),
            is_promised,
            "{refusal:?}"
        );
        assert_eq!(
            matches!(refusal, Refusal::Unfinished),
            !is_promised,
            "{refusal:?}"
        );
    }
}

/// A machine whose clock keeps local time is ahead by hours until somebody tells it the time.
#[test]
fn what_a_clock_put_off_that_was_set_back_is_due() {
    let scratch = Scratch::new("spool-set-back");
    let spool = Spool::new(&scratch.path("spool"), 0, 100);
    spool.create().unwrap();
    let [whole, moved] = [(); 2].map(|()| stored(&spool, TEXT));
    let due = 4_000_000_000;
    claimed(&spool, &whole).unwrap().put_off(due).unwrap();
    claimed(&spool, &moved).unwrap().defer_until(due).unwrap();
    for (folder, id) in [(Folder::New, &whole), (Folder::Cur, &moved)] {
        let meta = fs::metadata(spool.path(folder, id)).unwrap();
        let changed = meta.ctime();
        // The time now, and when it is due.
        let rows = [
            (changed + 86_400, due),
            (changed, due),
            (changed - 60, due), // another machine's clock
            (changed - 3600, 0),
            (0, 0),
            (i64::MAX, due),
        ];
        for (now, expected) in rows {
            assert_eq!(super::due(folder, &meta, now), expected, "{folder:?} {now}");
        }
    }
}

/// The most recipients that may be configured, with the longest addresses and all parameters: the message can be
/// claimed.
#[test]
fn the_most_recipients_have_a_head_that_can_be_read() {
    let scratch = Scratch::new("spool-head");
    let spool = Spool::new(&scratch.path("spool"), 0, 100);
    spool.create().unwrap();
    let label = "d".repeat(61);
    let recipient = |number| Recipient {
        notify: Notify::parse("SUCCESS,FAILURE,DELAY"),
        orcpt: Some(format!("rfc822;{}", "o".repeat(493))),
        ..Recipient::plain(
            Mailbox::parse(&format!("{number:064}@{label}.{label}.{label}.ab")).unwrap(),
        )
    };
    let mut envelope = sample(&[]);
    envelope.recipients = (0..MAX_RECIPIENTS).map(recipient).collect();
    let length = envelope.to_text().len();
    assert!((MAX_HEAD / 3..MAX_HEAD / 2).contains(&length), "{length}");
    let mut draft = spool.begin(&envelope).unwrap();
    draft.write(TEXT.as_bytes()).unwrap();
    let id = draft.commit().unwrap().id.clone();
    let claim = claimed(&spool, &id).unwrap();
    assert_eq!(claim.envelope().recipients, envelope.recipients);
}

/// What they are answered may differ from each to the next, and may do so for longer than a journal is read.
/// Whoever looked before another was done with a recipient does not give him the message once more.
#[test]
fn who_is_done_is_not_taken_in_hand_again() {
    let scratch = Scratch::new("spool-taken");
    let spool = Spool::new(&scratch.path("spool"), 0, 100);
    spool.create().unwrap();
    let mut draft = spool.begin(&sample(&["a@b.example"; 4])).unwrap();
    draft.write(TEXT.as_bytes()).unwrap();
    let claim = draft.commit().unwrap();
    assert_eq!(claim.take(&[0, 1]), [0, 1]);
    assert_eq!(claim.take(&[0, 1, 2]), [2]);
    let outcome = |verdict| Outcome::new(verdict, Some(250), Enhanced(2, 0, 0), "mx", "");
    let entries = [
        Entry::Attempt(vec![0], outcome(Verdict::Delivered)),
        Entry::Attempt(vec![1], outcome(Verdict::Deferred)),
        Entry::Attempt(vec![2], outcome(Verdict::Failed)),
    ];
    assert!(!claim.record(1_700_000_000, &entries).unwrap());
    claim.give_back(&[0, 1, 2]);
    assert_eq!(claim.take(&[0, 1, 2, 3, 4]), [1, 3]);
}

#[test]
fn a_journal_that_is_full_has_room_for_what_is_done() {
    let scratch = Scratch::new("spool-full-journal");
    let spool = Spool::new(&scratch.path("spool"), 0, 100);
    spool.create().unwrap();
    let count = 4000;
    let to: Vec<String> = (0..count).map(|n| format!("u{n}@example.net")).collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    let mut draft = spool.begin(&sample(&to)).unwrap();
    draft.write(TEXT.as_bytes()).unwrap();
    let claim = draft.commit().unwrap();
    let entry = |n: usize, verdict, text: &str| {
        let code = if n.is_multiple_of(2) { 450 } else { 451 };
        let outcome = Outcome::new(verdict, Some(code), Enhanced(4, 2, 1), "mx", text);
        Entry::Attempt(vec![n], outcome)
    };
    let long = "busy ".repeat(200);
    for attempt in 0..140 {
        let text = if attempt < 2 { long.as_str() } else { "" };
        let all: Vec<Entry> = (0..count)
            .map(|n| entry(n, Verdict::Deferred, text))
            .collect();
        assert!(!claim.record(1_700_000_000 + attempt, &all).unwrap());
    }
    let done: Vec<Entry> = (0..count)
        .map(|n| match n {
            0 => entry(n, Verdict::Deferred, ""),
            _ => entry(n, Verdict::Delivered, &long),
        })
        .collect();
    assert!(!claim.record(1_700_000_999, &done).unwrap());
    // The sender is not told of the delay once more by the next process.
    assert!(!claim.record(1_700_000_999, &[Entry::Warned]).unwrap());
    let id = claim.id.clone();
    drop(claim);
    let claim = claimed(&spool, &id).unwrap();
    assert!(claim.progress().warned);
    assert_eq!(claim.progress().waiting(), [0]);
    assert!(claim.progress().standings[0].attempts > 20);
}
