//! Sizes and times, as they are written in the file: `"25M"`, `"1h30m"`. Both ways, so that a bound is told in the words
//! in which it would be written.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::Wrong;
use crate::config::document::Value;

/// Octets, as a number or as `"25M"`; K, M, G are powers of 1024.
pub fn size(value: &Value, range: RangeInclusive<u64>) -> Result<u64, Wrong> {
    let size = match value {
        Value::Number(number) => u64::try_from(*number).ok(),
        Value::Text(text) => parse_size(text),
        _ => None,
    };
    size.filter(|size| range.contains(size)).ok_or_else(|| {
        let (least, most) = (show_size(*range.start()), show_size(*range.end()));
        Wrong::new(
            format!("a size such as \"25M\", from \"{least}\" to \"{most}\""),
            value,
        )
    })
}

fn parse_size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(['K', 'M', 'G']);
    let factor = match text.get(digits.len()..)? {
        "" => 1,
        "K" => KIB,
        "M" => MIB,
        "G" => GIB,
        _ => return None,
    };
    plain_number(digits)?.checked_mul(factor)
}

/// 1K, 1M, 1G.
pub const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
pub const GIB: u64 = 1 << 30;

/// Digits alone: `parse` would let a plus sign through.
fn plain_number(digits: &str) -> Option<u64> {
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// A size as it is written in the file.
pub fn show_size(octets: u64) -> String {
    for (factor, unit) in [(GIB, 'G'), (MIB, 'M'), (KIB, 'K')] {
        if octets >= factor && octets.is_multiple_of(factor) {
            return format!("{}{unit}", octets / factor);
        }
    }
    octets.to_string()
}

/// A time such as `"90s"`, `"5m"`, `"1h30m"`, `"5d"`, in seconds; the bounds are in seconds.
pub fn duration(value: &Value, range: RangeInclusive<u64>) -> Result<Duration, Wrong> {
    let seconds = match value {
        Value::Text(text) => parse_seconds(text),
        _ => None,
    };
    seconds
        .filter(|seconds| range.contains(seconds))
        .map(Duration::from_secs)
        .ok_or_else(|| {
            let least = show_duration(Duration::from_secs(*range.start()));
            let most = show_duration(Duration::from_secs(*range.end()));
            Wrong::new(
                format!("a time such as \"1h30m\", from \"{least}\" to \"{most}\""),
                value,
            )
        })
}

/// Each unit at most once, the largest first: what is written otherwise is more likely a slip than a wish.
fn parse_seconds(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total: u64 = 0;
    for (unit, seconds) in UNITS {
        let Some((digits, after)) = rest.split_once(unit) else {
            continue;
        };
        if digits.is_empty() {
            return None;
        }
        total = total.checked_add(plain_number(digits)?.checked_mul(seconds)?)?;
        rest = after;
    }
    (rest.is_empty() && !text.is_empty()).then_some(total)
}

const UNITS: [(char, u64); 4] = [('d', DAY), ('h', HOUR), ('m', MINUTE), ('s', 1)];

/// Seconds in one.
pub const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
pub const DAY: u64 = 24 * HOUR;

/// A time as it is written in the file.
pub fn show_duration(duration: Duration) -> String {
    let mut rest = duration.as_secs();
    let mut out = String::new();
    for (unit, seconds) in UNITS {
        if rest >= seconds {
            out.push_str(&format!("{}{unit}", rest / seconds));
            rest %= seconds;
        }
    }
    if out.is_empty() { "0s".to_owned() } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn sizes_are_octets_or_have_one_unit() {
        let rows: &[(&str, Option<u64>)] = &[
            ("25M", Some(25 * MIB)),
            ("512K", Some(512 * KIB)),
            ("1G", Some(GIB)),
            ("0", Some(0)),
            ("100", Some(100)),
            ("", None),
            ("M", None),
            ("25MB", None),
            ("25MM", None),
            ("25m", None), // a minute is written so
            ("2.5M", None),
            ("-1", None),
            ("+1", None),
            (" 1", None),
            ("18446744073709551615", None), // beyond the bound
            ("99999999999999999999999G", None),
            ("18014398509481984K", None), // 2^64
        ];
        for (text, expected) in rows {
            assert_eq!(size(&said(text), 0..=GIB).ok(), *expected, "{text:?}");
        }
        assert_eq!(size(&Value::Number(5), 0..=GIB).ok(), Some(5));
        assert_eq!(size(&Value::Number(-5), 0..=GIB).ok(), None);
    }

    #[test]
    fn times_have_units_in_order() {
        let rows: &[(&str, Option<u64>)] = &[
            ("0s", Some(0)),
            ("5m", Some(300)),
            ("4h", Some(4 * HOUR)),
            ("5d", Some(5 * DAY)),
            ("1h30m", Some(5400)),
            ("1d2h3m4s", Some(DAY + 2 * HOUR + 3 * MINUTE + 4)),
            ("90s", Some(90)),
            ("", None),
            ("5", None),
            ("m", None),
            ("5M", None),
            ("30m1h", None),
            ("1h1h", None),
            ("1h30", None),
            ("1.5h", None),
            ("-5m", None),
            ("5 m", None),
            ("999999999999999999999d", None),
            ("18446744073709551615d", None),
        ];
        for (text, expected) in rows {
            assert_eq!(
                duration(&said(text), 0..=365 * DAY).ok(),
                expected.map(Duration::from_secs),
                "{text:?}"
            );
        }
        assert!(duration(&Value::Number(300), 0..=DAY).is_err());
    }

    #[test]
    fn sizes_and_times_are_shown_as_they_are_written() {
        for text in ["0", "100", "1500", "512K", "25M", "1G"] {
            assert_eq!(show_size(size(&said(text), 0..=GIB).unwrap()), text);
        }
        for text in ["0s", "90m", "1h30m", "5d", "1d1s"] {
            let read = duration(&said(text), 0..=365 * DAY).unwrap();
            assert_eq!(
                show_duration(read),
                if text == "90m" { "1h30m" } else { text }
            );
        }
    }
}
