//! The helpers that root's process has made, and the places that there are for them.
//!
//! A helper is told to end by its line, which the worker closes, and ends by itself. But it is one of its user's
//! processes, and he can stop it. So nobody has more than a few, and where there is no place for the next one, those are
//! killed who were told to end and have not. Nothing is lost by that: the worker keeps the line of a helper as long as it
//! waits for any answer of it (flow/helpers.rs), and tries again what was not answered.

use std::process::Child;
use std::time::{Duration, Instant};

use super::super::{helpers, runner};
use crate::events;
use crate::host::channel::Channel;
use crate::proto::handover::Whom;

/// Helpers at once: those of each run, for some may linger beside the next, and as many as one has that are just ending.
const MOST: usize = (runner::RUNS + 1) * helpers::HELPERS;
/// The same for one user: one in each run, one that has failed a delivery and has others to end, and one that is just
/// ending.
const OF_ONE: usize = runner::RUNS + 2;
/// How long those who are killed are waited for.
const MOMENT: Duration = Duration::from_millis(200);
/// How often it is looked whether they have gone.
const LOOK: Duration = Duration::from_millis(2);

/// The helpers of root's process.
#[derive(Debug, Default)]
pub struct Staff(Vec<Member>);

#[derive(Debug)]
struct Member {
    whom: Whom,
    child: Child,
    /// Its end of its line, which shows that the worker has closed the other one.
    line: Channel,
    killed: bool,
}

impl Member {
    fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    fn kill(&mut self) {
        if !self.killed {
            let whom = self.whom.text();
            events::trouble(
                "-",
                &format!(
                    "the process that delivers for {whom} does not end when it is told to, and is killed"
                ),
            );
        }
        // It has not been waited for, so that its number is still its own.
        self.killed |= self.child.kill().is_ok();
    }
}

impl Staff {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One more, with its own end of its line.
    pub fn add(&mut self, whom: Whom, child: Child, line: Channel) {
        self.0.push(Member {
            whom,
            child,
            line,
            killed: false,
        });
    }

    /// Forgets those that have ended.
    pub fn bury(&mut self) {
        self.0.retain_mut(|member| !member.has_ended());
    }

    /// Whether the worker still waits for one of them, or may.
    pub fn is_at_work(&self) -> bool {
        self.0.iter().any(|member| !member.line.is_hung_up())
    }

    /// Sees that there is a place for one more of somebody's.
    ///
    /// # Errors
    /// A sentence: there is none.
    pub fn make_place(&mut self, whom: &Whom) -> Result<(), String> {
        let own = |member: &Member| member.whom == *whom;
        let all_own = |staff: &Self| staff.0.iter().filter(|m| own(m)).count() >= OF_ONE;
        if all_own(self) {
            self.end_told(&own);
        }
        if all_own(self) {
            return Err(format!(
                "too many processes deliver for {} already",
                whom.text()
            ));
        }
        if self.0.len() >= MOST {
            self.end_told(&|_| true);
        }
        match self.0.len() >= MOST {
            true => Err("too many processes deliver already".to_owned()),
            false => Ok(()),
        }
    }

    /// Kills those of some that were told to end and have not.
    fn end_told(&mut self, of: &dyn Fn(&Member) -> bool) {
        self.end_those(&|member| of(member) && member.line.is_hung_up());
    }

    /// The same of all.
    pub fn end_all_told(&mut self) {
        self.end_told(&|_| true);
    }

    /// Kills those that are left.
    pub fn end_all(&mut self) {
        self.end_those(&|_| true);
    }

    fn end_those(&mut self, which: &dyn Fn(&Member) -> bool) {
        self.bury();
        self.0
            .iter_mut()
            .filter(|m| which(m))
            .for_each(Member::kill);
        // One that waits for a disk, as of another machine, may not go even now.
        let until = Instant::now() + MOMENT;
        while self.0.iter().any(|member| member.killed) && Instant::now() < until {
            std::thread::sleep(LOOK);
            self.bury();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn user(name: &str) -> Whom {
        Whom::User(name.to_owned())
    }

    /// One that does not end when it is told to; returned is the worker's end of its line.
    fn stopped(staff: &mut Staff, whom: &Whom) -> Channel {
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        let (here, there) = Channel::pair().unwrap();
        staff.add(whom.clone(), child, there);
        here
    }

    /// The same, which is told so. A process that another test is about to start may have the other end for a moment.
    fn told(staff: &mut Staff, whom: &Whom) {
        drop(stopped(staff, whom));
        let line = staff.0.last().unwrap().line.another().unwrap();
        while !line.is_hung_up() {
            std::thread::yield_now();
        }
    }

    fn count(staff: &Staff, whom: &Whom) -> usize {
        staff.0.iter().filter(|m| m.whom == *whom).count()
    }

    #[test]
    fn who_stops_his_processes_has_no_place_of_another() {
        let (mut staff, alice, bob) = (Staff::default(), user("alice"), user("bob"));
        let his = stopped(&mut staff, &bob);
        for _ in 0..2 * MOST {
            staff.make_place(&alice).unwrap();
            told(&mut staff, &alice);
        }
        assert!((1..=OF_ONE).contains(&count(&staff, &alice)));
        assert_eq!(count(&staff, &bob), 1);
        // Those that the worker still waits for deliver, for all that is known.
        staff.end_all_told();
        let held: Vec<Channel> = (0..OF_ONE).map(|_| stopped(&mut staff, &alice)).collect();
        let why = staff.make_place(&alice).unwrap_err();
        assert_eq!(why, "too many processes deliver for user alice already");
        staff.make_place(&bob).unwrap();
        assert_eq!(staff.0.len(), OF_ONE + 1);
        assert!(staff.is_at_work());
        drop((held, his));
        while staff.is_at_work() {
            std::thread::yield_now();
        }
        staff.make_place(&alice).unwrap();
        assert_eq!((count(&staff, &alice), count(&staff, &bob)), (0, 1));
        staff.end_all();
        assert!(staff.is_empty());
    }

    /// A few who do it together have no more.
    #[test]
    fn places_of_those_who_were_told_to_end_are_for_others() {
        let mut staff = Staff::default();
        for number in 0..MOST {
            let whom = user(&format!("u{}", number / OF_ONE));
            staff.make_place(&whom).unwrap();
            told(&mut staff, &whom);
        }
        let all = staff.0.len();
        staff.make_place(&user("bob")).unwrap();
        assert_eq!((all, staff.0.len()), (MOST, 0));
    }
}
