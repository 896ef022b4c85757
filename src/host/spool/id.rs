//! Queue ids: they sort by arrival, and nobody makes the same one twice.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::host::clock;

/// Digits that sort as their values do, without those that people mix up.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Digits of the time in microseconds, the random part and the counter.
const ID: [usize; 3] = [11, 4, 2];

/// An id that sorts by arrival, and that neither another process nor a clock set back will make again.
pub(super) fn fresh_id() -> String {
    static RANDOM: OnceLock<u64> = OnceLock::new();
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let micros = u64::try_from(clock::since_1970().as_micros()).unwrap_or(u64::MAX);
    let parts = [
        micros,
        *RANDOM.get_or_init(clock::random),
        u64::from(COUNTER.fetch_add(1, Ordering::Relaxed)),
    ];
    let mut id = String::with_capacity(ID.iter().sum());
    for (value, width) in parts.into_iter().zip(ID) {
        for digit in (0..width).rev() {
            // Five bits are less than 32.
            id.push(char::from(
                DIGITS[usize::try_from(value >> (5 * digit) & 31).unwrap_or(0)],
            ));
        }
    }
    id
}

/// When a message of this id came, seconds since 1970.
pub fn arrival(id: &str) -> i64 {
    let digits = id.bytes().take(ID[0]);
    let value = |b: u8| DIGITS.iter().position(|d| *d == b).unwrap_or(0);
    // Eleven digits of five bits are less than 64 bits.
    let micros = digits.fold(0, |n: i64, b| n << 5 | i64::try_from(value(b)).unwrap_or(0));
    micros / 1_000_000
}

/// Whether a name is a queue id; a name that is none never becomes a path.
pub fn is_id(name: &str) -> bool {
    name.len() == ID.iter().sum::<usize>() && name.bytes().all(|b| DIGITS.contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_says_when_it_came() {
        let age = clock::now() - arrival(&fresh_id());
        assert!((0..=60).contains(&age), "{age}");
        for (id, at) in [
            ("1k0ysgq5kccddek00", 1_795_461_173),
            ("00000000000000000", 0),
            ("zzzzzzzzzzzzzzzzz", 36_028_797_018),
            ("", 0),
        ] {
            assert_eq!(arrival(id), at, "{id}");
        }
    }
}
