//! The clock, the local time zone and a source of randomness; passed as values to all that is pure.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::proto::date::Stamp;

/// Time since 1970; a clock set before that counts as 1970.
pub fn since_1970() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// Seconds since 1970.
pub fn now() -> i64 {
    i64::try_from(since_1970().as_secs()).unwrap_or(i64::MAX)
}

/// Now, in the zone people here live in; UTC where that cannot be told.
pub fn stamp() -> Stamp {
    local(now())
}

/// A point in time in the zone people here live in.
pub fn local(unix: i64) -> Stamp {
    let utc =
        time::OffsetDateTime::from_unix_timestamp(unix).unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    let offset = time::UtcOffset::local_offset_at(utc).map_or(0, time::UtcOffset::whole_seconds);
    Stamp::at_offset(unix, offset)
}

/// A number nobody can foresee. The standard library seeds its hash maps from the kernel's random numbers,
/// once a thread; what is asked here is the hash of nothing under such a seed.
pub fn random() -> u64 {
    RandomState::new().hash_one(())
}
