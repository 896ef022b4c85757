use super::*;

fn key(envelope: &str, subject: &str, body: &str) -> Key {
    let mut print = Print::new(envelope, subject.as_bytes());
    print.feed(body.as_bytes());
    print.finish()
}

#[test]
#[cfg_attr(miri, ignore = "ring is C and assembly")]
fn the_same_is_what_differs_in_digits_alone() {
    let one = ("from a to b", " disk 91% full", "at 12:05 on sda1\r\n");
    let rows = [
        ("itself", one, true),
        (
            "numbers of other lengths",
            (one.0, " disk 7% full", "at 9:5 on sda1000\r\n"),
            true,
        ),
        (
            "space around the subject",
            (one.0, "disk 91% full ", one.2),
            true,
        ),
        ("another envelope", ("from a to c", one.1, one.2), false),
        (
            "digits of the envelope",
            ("from a to b1", one.1, one.2),
            false,
        ),
        ("another subject", (one.0, " disk 91% free", one.2), false),
        (
            "a number that is none",
            (one.0, one.1, "at 12:05 on sda\r\n"),
            false,
        ),
        ("more", (one.0, one.1, "at 12:05 on sda1\r\n\r\n"), false),
        ("nothing", (one.0, one.1, ""), false),
        (
            "no subject, its text in the body",
            (one.0, "", "disk 91% fullat 12:05 on sda1\r\n"),
            false,
        ),
    ];
    let first = key(one.0, one.1, one.2);
    for (what, (envelope, subject, body), same) in rows {
        assert_eq!(key(envelope, subject, body) == first, same, "{what}");
    }
}

#[test]
#[cfg_attr(miri, ignore = "ring is C and assembly")]
fn it_is_the_same_wherever_it_is_cut() {
    let body = b"1234 a5 67\r\n89";
    let whole = key("e", "s", "1234 a5 67\r\n89");
    for at in 0..=body.len() {
        let mut print = Print::new("e", b"s");
        print.feed(&body[..at]);
        print.feed(&body[at..]);
        assert!(print.finish() == whole, "cut at {at}");
    }
}

const HOUR: i64 = 3600;

fn waiting(count: u32) -> Waiting {
    Waiting {
        id: format!("id{count}"),
        count,
        first: 1_000_060,
    }
}

/// A job that says the same, seen at one moment after the other.
#[test]
fn a_period_is_told_once() {
    const T: i64 = 1_000_000;
    let none = |since| Entry {
        since,
        waiting: None,
    };
    let some = |since| Entry {
        since,
        waiting: Some(waiting(3)),
    };
    let waits = |since: i64, instead| Course::Waits {
        since,
        until: since + HOUR,
        instead,
    };
    let rows = [
        ("the first", None, T, Course::Goes),
        ("in the same second", Some(none(T)), T, waits(T, None)),
        ("within the period", Some(none(T)), T + 60, waits(T, None)),
        (
            "another within it",
            Some(some(T)),
            T + 120,
            waits(T, Some(waiting(3))),
        ),
        (
            "its last second",
            Some(some(T)),
            T + HOUR - 1,
            waits(T, Some(waiting(3))),
        ),
        (
            "one waited, and goes now",
            Some(some(T)),
            T + HOUR,
            waits(T + HOUR, None),
        ),
        (
            "the end of the next period",
            Some(some(T)),
            T + 2 * HOUR - 1,
            waits(T + HOUR, None),
        ),
        (
            "a period of silence",
            Some(some(T)),
            T + 2 * HOUR,
            Course::Goes,
        ),
        ("none waited", Some(none(T)), T + HOUR, Course::Goes),
        ("long ago", Some(some(T)), T + 1_000 * HOUR, Course::Goes),
        ("a clock that went back", Some(some(T)), T - 1, Course::Goes),
        (
            "a time that cannot be",
            Some(none(i64::MAX)),
            T,
            Course::Goes,
        ),
    ];
    for (what, entry, now, expected) in rows {
        assert_eq!(course(entry.as_ref(), now, HOUR), expected, "{what}");
    }
}

#[test]
fn a_bucket_keeps_the_newest() {
    let mut bucket = [0; BUCKET];
    let keys: Vec<Key> = (0..6).map(|n: u8| Key([n + 1; KEY])).collect();
    for (key, since) in keys.iter().zip(1_i64..) {
        assert_eq!(find(&bucket, key), None);
        let entry = Entry {
            since,
            waiting: (since % 2 == 0).then(|| waiting(7)),
        };
        put(&mut bucket, key, &entry);
        assert_eq!(find(&bucket, key), Some(entry));
    }
    let left: Vec<bool> = keys.iter().map(|k| find(&bucket, k).is_some()).collect();
    assert_eq!(left, [false, false, true, true, true, true]);
    // One that is there stays in its place.
    let entry = Entry {
        since: 9,
        waiting: None,
    };
    put(&mut bucket, &keys[3], &entry);
    assert_eq!(find(&bucket, &keys[3]), Some(entry));
    assert!(find(&bucket, &keys[2]).is_some());
}

#[test]
fn no_octets_are_an_entry_that_is_none() {
    let key = Key([1; KEY]);
    for octet in 0..=255_u8 {
        let mut bucket = [octet; BUCKET];
        let _ = find(&bucket, &Key([octet; KEY]));
        put(
            &mut bucket,
            &key,
            &Entry {
                since: 5,
                waiting: Some(waiting(2)),
            },
        );
        assert_eq!(
            find(&bucket, &key).and_then(|e| e.waiting),
            Some(waiting(2)),
            "{octet}"
        );
    }
}

#[test]
fn the_number_stands_before_the_subject() {
    let rows: [(u32, Option<&str>, &str); 5] = [
        (1, Some(" disk full"), "Subject: disk full\r\n"),
        (3, Some(" disk full"), "Subject: [3 times] disk full\r\n"),
        (3, Some("disk full"), "Subject: [3 times] disk full\r\n"),
        (3, None, "Subject: [3 times]\r\n"),
        (1, None, ""),
    ];
    for (count, subject, expected) in rows {
        let times = if count == 1 { "time" } else { "times" };
        let expected = format!("X-Repeated: {count} {times},\r\n from A\r\n to B\r\n{expected}");
        let found = marks(count, "A", "B", subject.map(str::as_bytes));
        assert_eq!(String::from_utf8(found).unwrap(), expected);
    }
    let long = [b" ".as_slice(), &[b'x'; 997]].concat();
    let found = marks(u32::MAX, &"D".repeat(31), &"D".repeat(31), Some(&long));
    assert!(found.len() <= long.len() + ROOM);
    assert!(found.split(|b| *b == b'\n').all(|line| line.len() <= 999));
}
