//! What processes of ours say to each other, of which neither believes the other, and the file in which they count.

use super::choice;
use crate::proto::day::Day;
use crate::proto::end::End;
use crate::proto::handover::{Answer, MAX_FORWARD, Order, Whom, announce, read_announced};
use crate::proto::outcome::Verdict;

/// Orders, answers and whom a helper is for: what was read is written as what is read as the same, on as many lines, and
/// names no other user and no relative path.
pub fn handover(octets: &[u8]) {
    let text = String::from_utf8_lossy(octets);
    if let Some(whom) = Whom::parse(&text) {
        assert_eq!(whom.text(), text);
        if let Whom::User(name) = &whom {
            assert!(!name.contains(['/', ':', ' ', '\0', '\n']) && !name.starts_with('-'));
        }
    }
    if let Some(order) = Order::parse(&text) {
        let written = order.text();
        let again = written.strip_suffix('\n').and_then(Order::parse);
        assert_eq!(again.as_ref(), Some(&order), "{written:?}");
        match &order {
            Order::Forward(path) => assert!(path.as_ref().is_none_or(|p| p.starts_with('/'))),
            Order::Deliver(letter) => {
                assert_eq!(written.lines().count(), 5);
                match &letter.end {
                    End::File(path) => assert!(path.starts_with('/')),
                    End::Pipe(command) => assert!(!command.contains(char::is_control)),
                    End::Mailbox => {}
                }
            }
        }
    }
    let line = text.split('\n').next().unwrap_or_default();
    if let Some(said) = Answer::parse(line) {
        let written = said.text();
        assert_eq!(written.lines().count(), 1);
        if let Answer::Done(outcome) = &said {
            let class = match outcome.verdict {
                Verdict::Delivered => 2,
                Verdict::Deferred => 4,
                Verdict::Failed | Verdict::Expanded => 5,
            };
            assert_eq!(outcome.enhanced.0, class);
        }
        // Words that were cut may end with a space, which the next reader leaves out.
        let again = Answer::parse(written.trim_end_matches('\n')).map(|a| a.text());
        assert_eq!(
            again.as_deref().map(str::trim_end),
            Some(written.trim_end())
        );
    }
    match read_announced(line) {
        Some(Ok(Some(length))) => assert!(length <= MAX_FORWARD),
        Some(Err(why)) => {
            assert!(!why.contains(char::is_control));
            let written = announce(&Err(why));
            assert!(read_announced(written.trim_end_matches('\n')).is_some());
        }
        _ => {}
    }
}

/// The file of a day: whatever stands in it, it is read, summed up, and written as what is read as the same.
pub fn day(octets: &[u8]) {
    let (hour, octets) = choice(octets);
    let now = 1_700_000_000 + i64::from(hour) * 600;
    let text = String::from_utf8_lossy(octets);
    let mut day = Day::default();
    day.read(&text, now);
    let written = day.to_text();
    assert!(!written.contains(|c: char| c.is_control() && c != '\n'));
    let mut again = Day::default();
    again.read(&written, now);
    assert_eq!(again.sum(), day.sum());
    assert_eq!(again.last, day.last);
}
