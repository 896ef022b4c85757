//! When a message is tried again, and when trying ends (RFC 5321 4.5.4.1).
//!
//! The time between attempts doubles from `first` to `max`, so a server that greylists (451 at the first
//! attempt, RFC 6647) is met again within minutes, and one that is down for days costs little. Each wait is
//! longer or shorter by up to a tenth, so that what failed together does not come back together.
//!
//! The clock is not to be trusted: a router without a battery boots in 1970, and jumps to the present when the
//! network is there. So age alone never ends a message: at least [`MIN_ATTEMPTS`] attempts must have failed.
//! And no wait is longer than `max`, counted from now, whatever the times in the queue say.

use super::outcome::{Outcome, Verdict};
use super::reply::Enhanced;

/// Attempts that must have failed before age counts. With the usual waits of 5, 10, 20 and 40 minutes they take
/// more than an hour of real time, however far the clock jumped.
pub const MIN_ATTEMPTS: u32 = 5;

/// The keys of `[queue]` that matter here, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// From the first failed attempt to the second.
    pub first: u64,
    /// The longest wait.
    pub max: u64,
    /// The age at which the sender is told of the delay.
    pub warn_after: u64,
    /// The age at which the sender is told it failed.
    pub give_up_after: u64,
}

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Another one, at this time (seconds since 1970).
    At(i64),
    /// None: the message is too old.
    GiveUp,
}

/// The longest wait for a server that greylists: most of them want to see five minutes go by.
const GREYLISTED: u64 = 420;
/// How many attempts may be so close to each other.
const GREYLISTED_ATTEMPTS: u32 = 3;

/// Whether a server says "not from a stranger, not yet", and takes the mail from whoever comes again soon: it says the
/// word, or that a policy of its own is why (RFC 3463 3.8).
pub fn is_greylisted(outcome: &Outcome) -> bool {
    let text = outcome.text.to_ascii_lowercase();
    let says_so = [
        "greylist",
        "graylist",
        "grey-list",
        "gray-list",
        "grey list",
    ]
    .iter()
    .any(|word| text.contains(word));
    let policy = outcome.enhanced == Enhanced(4, 7, 1);
    outcome.verdict == Verdict::Deferred
        && matches!(outcome.code, Some(450 | 451))
        && (says_so || policy)
}

/// What follows the last of `attempts` temporary failures of a recipient, at the time `now`. `soon`: the server
/// [greylists](is_greylisted). Any value of `jitter` will do: it spreads the attempts. Times are seconds since 1970.
pub fn next_attempt(
    policy: &Policy,
    received_at: i64,
    attempts: u32,
    now: i64,
    soon: bool,
    jitter: u32,
) -> Next {
    if attempts >= MIN_ATTEMPTS && age(received_at, now) >= policy.give_up_after {
        return Next::GiveUp;
    }
    let wait = spread(wait_after(policy, attempts, soon), jitter);
    // The last attempt is made when the message is about to be given up, not up to `max` later.
    let left = policy.give_up_after.saturating_sub(age(received_at, now));
    let wait = if left > 0 && attempts >= MIN_ATTEMPTS {
        wait.min(left)
    } else {
        wait
    };
    Next::At(later(now, wait))
}

/// The wait after so many failures, a second at least.
fn wait_after(policy: &Policy, attempts: u32, soon: bool) -> u64 {
    let doublings = attempts.saturating_sub(1).min(32);
    let longest = match soon && attempts <= GREYLISTED_ATTEMPTS {
        true => policy.max.min(GREYLISTED),
        false => policy.max,
    };
    let wait = policy.first.saturating_mul(1 << doublings).min(longest);
    wait.max(1)
}

fn later(at: i64, seconds: u64) -> i64 {
    at.saturating_add(i64::try_from(seconds).unwrap_or(i64::MAX))
}

/// Whether the sender is to be told that the message is late. That he is told once is kept in the journal.
pub fn is_overdue_for_warning(policy: &Policy, received_at: i64, attempts: u32, now: i64) -> bool {
    // A jump of the clock is no delay: the warning waits for as many attempts as must fit into its time.
    attempts >= attempts_within(policy, policy.warn_after)
        && age(received_at, now) >= policy.warn_after
}

/// How many attempts must have been made when `seconds` have passed, up to [`MIN_ATTEMPTS`] - 1, and at least
/// one: without any there is nothing to tell.
fn attempts_within(policy: &Policy, seconds: u64) -> u32 {
    let (mut attempts, mut at, mut wait) = (1, 0_u64, policy.first);
    while attempts < MIN_ATTEMPTS - 1 {
        // Half again as much, for a queue run from cron comes later than the time it is due.
        at = at
            .saturating_add(wait.min(policy.max))
            .saturating_add(wait / 2);
        if at > seconds {
            break;
        }
        attempts += 1;
        wait = wait.saturating_mul(2);
    }
    attempts
}

/// When trying ends after `attempts` failures at the time `now`, for a report's Will-Retry-Until: never in the past. The
/// age that ends it may be reached long since, when the machine was off or its clock has jumped; the attempts that must
/// fail first are still to come.
pub fn retry_until(policy: &Policy, received_at: i64, attempts: u32, now: i64) -> i64 {
    let to_come = attempts..MIN_ATTEMPTS;
    let last = to_come.fold(now, |at, made| later(at, wait_after(policy, made, false)));
    later(received_at, policy.give_up_after).max(last)
}

/// How old it is; 0 when the clock was set back behind its arrival.
fn age(received_at: i64, now: i64) -> u64 {
    u64::try_from(now.saturating_sub(received_at)).unwrap_or(0)
}

/// A tenth more or less, in steps that any 32 random bits reach.
fn spread(wait: u64, jitter: u32) -> u64 {
    let tenth = wait / 10;
    let range = tenth.saturating_mul(2).saturating_add(1);
    (wait - tenth).saturating_add(u64::from(jitter) % range)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3600;
    const DAY: i64 = 24 * HOUR;
    const NOW: i64 = 1_795_454_400;
    /// The defaults of the configuration.
    const POLICY: Policy = Policy {
        first: 300,
        max: 14_400,
        warn_after: 14_400,
        give_up_after: 432_000,
    };

    #[test]
    fn waits_double_up_to_the_longest() {
        // After so many failures: the least and the longest wait in seconds.
        let rows = [
            (0, 270, 330), // nothing tried yet, as when all connections were in use
            (1, 270, 330), // greylisted: soon again
            (2, 540, 660),
            (3, 1080, 1320),
            (4, 2160, 2640),
            (5, 4320, 5280),
            (6, 8640, 10_560),
            (7, 12_960, 15_840),
            (100, 12_960, 15_840),
            (u32::MAX, 12_960, 15_840),
        ];
        for (attempts, least, longest) in rows {
            let wait = |jitter| match next_attempt(&POLICY, NOW, attempts, NOW, false, jitter) {
                Next::At(at) => at - NOW,
                Next::GiveUp => panic!("given up after {attempts}"),
            };
            assert_eq!(wait(0), least, "{attempts}");
            let range = u32::try_from(longest - least).unwrap();
            assert_eq!(wait(range), longest, "{attempts}");
            for jitter in [1, 77, 1 << 20, u32::MAX] {
                assert!((least..=longest).contains(&wait(jitter)), "{attempts}");
            }
        }
    }

    #[test]
    fn greylisting_is_smelt_and_asked_again_soon() {
        let rows = [
            (451, "4.7.1", "Greylisted, try again later", true),
            (
                450,
                "4.2.0",
                "<x>: Recipient address rejected: Greylisted for 300 s",
                true,
            ),
            (451, "4.7.1", "please come back", true),
            (451, "4.3.0", "temporarily GrayListed", true),
            (450, "4.2.1", "mailbox busy", false),
            (421, "4.7.1", "too many connections", false),
            (452, "4.3.1", "greylist database is full", false),
        ];
        for (code, enhanced, text, expected) in rows {
            let enhanced = Enhanced::parse(enhanced).unwrap();
            let outcome = Outcome::new(Verdict::Deferred, Some(code), enhanced, "mx", text);
            assert_eq!(is_greylisted(&outcome), expected, "{code} {text}");
        }
        let hourly = Policy {
            first: 3600,
            ..POLICY
        };
        // Policy, attempts, and the wait in seconds.
        let rows = [
            (&POLICY, 1, 270),
            (&POLICY, 2, 378),
            (&POLICY, 3, 378),
            (&hourly, 1, 378),
            (&hourly, 3, 378),
            (&hourly, 4, 12_960), // it was something else
        ];
        for (policy, attempts, wait) in rows {
            let next = next_attempt(policy, NOW, attempts, NOW, true, 0);
            assert_eq!(next, Next::At(NOW + wait), "{attempts}");
        }
    }

    #[test]
    fn age_and_attempts_together_end_it() {
        // Received, attempts, now; what follows for a jitter of 0.
        let rows = [
            (NOW - 5 * DAY, 40, NOW, Next::GiveUp),
            (NOW - 5 * DAY + 60, 40, NOW, Next::At(NOW + 60)), // one last time, and then no later
            (NOW - 50 * DAY, 40, NOW, Next::GiveUp),           // switched off for a while
            (NOW - 50 * DAY, 4, NOW, Next::At(NOW + 2160)),    // ... but hardly tried
            // G22, H21: received in 1970 before the clock was set; tried twice since.
            (60, 2, NOW, Next::At(NOW + 540)),
            (60, 5, NOW, Next::GiveUp),
            (i64::MIN, 1, NOW, Next::At(NOW + 270)),
            // Received in the future: the clock was set back.
            (NOW + 3650 * DAY, 1, NOW, Next::At(NOW + 270)),
            (NOW + 3650 * DAY, 40, NOW, Next::At(NOW + 12_960)),
            (i64::MAX, 40, NOW, Next::At(NOW + 12_960)),
            (NOW, 1, i64::MAX, Next::At(i64::MAX)),
        ];
        for (received_at, attempts, now, expected) in rows {
            let next = next_attempt(&POLICY, received_at, attempts, now, false, 0);
            assert_eq!(next, expected, "{received_at} {attempts} {now}");
        }
    }

    #[test]
    fn odd_policies_do_no_harm() {
        let rows = [
            (0, 0, NOW + 1), // no wait at all would be a busy loop
            (u64::MAX, u64::MAX, i64::MAX),
            (600, 300, NOW + 270),
        ];
        for (first, max, at) in rows {
            let policy = Policy {
                first,
                max,
                ..POLICY
            };
            assert_eq!(next_attempt(&policy, NOW, 3, NOW, false, 0), Next::At(at));
        }
        let impatient = Policy {
            give_up_after: 0,
            ..POLICY
        };
        assert_eq!(
            next_attempt(&impatient, NOW, 4, NOW, false, 0),
            Next::At(NOW + 2160)
        );
        assert_eq!(
            next_attempt(&impatient, NOW, 5, NOW, false, 0),
            Next::GiveUp
        );
    }

    #[test]
    fn the_sender_is_warned_of_a_delay_not_of_a_clock() {
        let rows = [
            (NOW - 4 * HOUR, 6, NOW, true), // L13
            (NOW - 4 * HOUR + 1, 6, NOW, false),
            (NOW - 4 * HOUR, 4, NOW, true),
            (60, 1, NOW, false), // 1970, and one attempt since
            (NOW + DAY, 40, NOW, false),
            (NOW - 4 * HOUR, 0, NOW, false),
        ];
        for (received_at, attempts, now, expected) in rows {
            let told = is_overdue_for_warning(&POLICY, received_at, attempts, now);
            assert_eq!(told, expected, "{received_at} {attempts}");
        }
        // Where one attempt is all that fits into the time, one is enough.
        let quick = Policy {
            warn_after: 60,
            ..POLICY
        };
        assert!(is_overdue_for_warning(&quick, NOW - 60, 1, NOW));
    }

    #[test]
    fn the_end_that_is_told_is_never_past() {
        // Received, attempts, and the end.
        let rows = [
            (NOW, 1, NOW + 5 * DAY),
            (NOW - 4 * HOUR, 6, NOW - 4 * HOUR + 5 * DAY),
            (NOW - 7 * DAY, 4, NOW + 2400), // off for a week: the fifth attempt
            (60, 4, NOW + 2400),            // received in 1970
            (60, 2, NOW + 600 + 1200 + 2400),
            (NOW - 7 * DAY, 5, NOW),
            (i64::MIN, u32::MAX, NOW),
            (i64::MAX, 4, i64::MAX),
        ];
        for (received_at, attempts, until) in rows {
            let told = retry_until(&POLICY, received_at, attempts, NOW);
            assert_eq!(told, until, "{received_at} {attempts}");
        }
    }

    /// With every queue run in time, how it goes from the first attempt to the end.
    #[test]
    fn a_server_that_stays_away_is_tried_for_five_days() {
        let (mut attempts, mut now) = (1, NOW);
        while let Next::At(at) = next_attempt(&POLICY, NOW, attempts, now, false, 720) {
            assert!(at > now && at - now <= 15_840);
            (attempts, now) = (attempts + 1, at);
        }
        assert!((30..=45).contains(&attempts), "{attempts}");
        assert!((NOW + 5 * DAY..NOW + 5 * DAY + HOUR).contains(&now));
    }
}
