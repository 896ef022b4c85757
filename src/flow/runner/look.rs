//! When the folder of the queue is looked into, and what of it a run takes: not at once again, and no more than there is room
//! for.

use std::time::{Duration, Instant};

use super::super::pass::Pass;
use super::super::queue::is_due;
use super::{FEW, NAMES, Runner, Service};
use crate::events;
use crate::host::clock;
use crate::host::spool::{Folder, Item};

/// The longest time between two looks into the folder when nothing else is said.
const LOOK: Duration = Duration::from_secs(300);
/// The shortest time between two looks, and how many times as long as a look takes it is at least.
const REST: Duration = Duration::from_millis(200);
const REST_FACTOR: u32 = 20;

impl Runner {
    /// Looks into the folder, if it is time.
    pub(super) fn look(&self, service: &Service, run: &Pass<'_>) {
        let mut state = self.lock();
        let begun = Instant::now();
        if begun < state.next_look() || run.lanes().waiting() >= FEW {
            return;
        }
        let all = state.look_at <= begun;
        state.look_new = false;
        if all {
            // Now, for whoever wakes us from here on wants another look, behind this one.
            state.look_at = begun + self.interval.unwrap_or(LOOK);
        }
        let mut turn = std::mem::take(&mut state.turn);
        drop(state);
        events::settle_repeats(false);
        let (spool, now) = (&service.context.spool, clock::now());
        let scan = |folder| {
            let found = spool.scan(folder);
            found.unwrap_or_else(|error| {
                events::trouble("-", &error);
                Vec::new()
            })
        };
        let mut found = Vec::new();
        if all {
            spool.sweep(&mut |id| events::swept(id, "its writer died before it was accepted"));
            found = scan(Folder::Cur);
        }
        found.extend(scan(Folder::New));
        let (due, later): (Vec<Item>, Vec<Item>) = found
            .into_iter()
            .partition(|item| is_due(&service.context, item, now));
        let next = later.iter().map(|item| item.due).min();
        drop(later);
        let is_more = turn.take_round(due, |item| {
            let has_room = run.lanes().waiting() < NAMES;
            if has_room {
                run.add(item, None);
            }
            has_room
        });
        let ended = Instant::now();
        let mut state = self.lock();
        state.turn = turn;
        state.rest_until = ended + REST.max((ended - begun) * REST_FACTOR);
        if all && is_more {
            state.look_at = state.look_at.min(ended);
        }
        state.look_new |= is_more;
        drop(state);
        self.expect_due(next);
    }

    /// Looks again when the next message is due that a run has deferred.
    pub(super) fn remember_due(&self, run: &Pass<'_>) {
        self.expect_due(run.next_due());
    }

    /// Looks at this time, unless it is to look at its own times.
    pub(super) fn expect_due(&self, due: Option<i64>) {
        if let (Some(due), None) = (due, self.interval) {
            // What is due and was not tried is for somebody else to try.
            let left = u64::try_from(due.saturating_sub(clock::now())).unwrap_or(LOOK.as_secs());
            let at = Instant::now() + Duration::from_secs(left.min(LOOK.as_secs()));
            let mut state = self.lock();
            state.look_at = state.look_at.min(at);
        }
    }
}
