//! How much comes of whom: connections of a client in a minute, messages of a client or a user in an hour.
//!
//! A message counts when it is accepted. From DATA to its end it has a [`Place`], so that sessions at the same time do
//! not take more together than each of them could alone; a message that comes to nothing gives it back.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Defence;
use crate::proto::replies::{self, Reply};
use crate::proto::screen;
use crate::proto::transaction::Transaction;

/// Clients and users that are counted at once; beyond it, those of whom nothing was heard longest are forgotten.
const MAX_COUNTED: usize = 2048;

/// How often somebody does something, in a window that begins when he does it first.
#[derive(Debug)]
pub struct Rate {
    most: u32,
    window: Duration,
    counted: Mutex<HashMap<String, (Instant, u32)>>,
}

impl Rate {
    /// So many in a window of this length; 0: any number.
    pub fn new(most: u32, window: Duration) -> Self {
        Self {
            most,
            window,
            counted: Mutex::default(),
        }
    }

    fn counted(&self) -> MutexGuard<'_, HashMap<String, (Instant, u32)>> {
        // A count is never left half-made.
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more; returned is when its window began.
    ///
    /// # Errors
    /// It would be one too many, and does not count.
    pub fn count(&self, who: &str) -> Result<Instant, ()> {
        let now = Instant::now();
        if self.most == 0 {
            return Ok(now);
        }
        let is_over = |since: &Instant| now.duration_since(*since) >= self.window;
        let mut counted = self.counted();
        if !counted.contains_key(who) && counted.len() >= MAX_COUNTED {
            counted.retain(|_, (since, _)| !is_over(since));
            let oldest = counted.iter().min_by_key(|(_, (since, _))| *since);
            if let Some(oldest) = oldest
                .map(|(who, _)| who.clone())
                .filter(|_| counted.len() >= MAX_COUNTED)
            {
                counted.remove(&oldest);
            }
        }
        let entry = counted.entry(who.to_owned()).or_insert((now, 0));
        if is_over(&entry.0) {
            *entry = (now, 0);
        }
        if entry.1 >= self.most {
            return Err(());
        }
        entry.1 += 1;
        Ok(entry.0)
    }

    /// Whether one more would be too many.
    fn is_full(&self, who: &str) -> bool {
        let counted = self.counted();
        self.most != 0
            && counted
                .get(who)
                .is_some_and(|(since, count)| *count >= self.most && since.elapsed() < self.window)
    }

    /// What was counted in the window that began then has not happened.
    fn take_back(&self, who: &str, window: Instant) {
        let mut counted = self.counted();
        if let Some((since, count)) = counted.get_mut(who)
            && *since == window
        {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counted.remove(who);
            }
        }
    }
}

/// How many messages may come in a session, as others of the same client or user may be under way.
#[derive(Debug, Clone, Copy)]
pub struct Quota<'a> {
    /// What all sessions share.
    pub defence: &'a Defence,
    /// The client, if it is a stranger.
    pub stranger: Option<IpAddr>,
}

impl<'a> Quota<'a> {
    /// With whose messages this one is counted; `None`: with nobody's.
    fn of(self, transaction: &Transaction) -> Option<(&'a Rate, String)> {
        match (&transaction.client.user, self.stranger) {
            (Some(user), _) => Some((&self.defence.users, user.clone())),
            (None, Some(address)) => Some((&self.defence.messages, client(address))),
            (None, None) => None,
        }
    }

    /// At MAIL, where nobody knows whether a message will come.
    ///
    /// # Errors
    /// There were as many as there may be.
    pub fn allows(self, transaction: &Transaction) -> Result<(), Reply> {
        match self.of(transaction) {
            Some((rate, who)) if rate.is_full(&who) => Err(replies::TOO_MUCH_MAIL),
            _ => Ok(()),
        }
    }

    /// The message comes.
    ///
    /// # Errors
    /// There are as many as there may be, with those that are under way.
    pub fn take(self, transaction: &Transaction) -> Result<Option<Place<'a>>, Reply> {
        let Some((rate, who)) = self.of(transaction) else {
            return Ok(None);
        };
        let window = rate.count(&who).map_err(|()| replies::TOO_MUCH_MAIL)?;
        Ok(Some(Place {
            rate,
            who,
            window: Some(window),
        }))
    }
}

/// A message's place among those that may come; given back unless it is kept.
#[derive(Debug)]
pub struct Place<'a> {
    rate: &'a Rate,
    who: String,
    /// When the window began in which it counts; `None`: it is kept.
    window: Option<Instant>,
}

impl Place<'_> {
    /// The message was accepted.
    pub fn keep(mut self) {
        self.window = None;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(window) = self.window {
            self.rate.take_back(&self.who, window);
        }
    }
}

/// One client, or with IPv6 one household.
pub fn client(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(_) => screen::network(address)
            .iter()
            .map(|o| format!("{o:02x}"))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn place<'a>(rate: &'a Rate, who: &str) -> Option<Place<'a>> {
        let window = rate.count(who).ok()?;
        Some(Place {
            rate,
            who: who.to_owned(),
            window: Some(window),
        })
    }

    #[test]
    fn what_was_kept_counts_and_what_is_under_way_has_its_place() {
        let rate = Rate::new(2, HOUR);
        // Any number that comes to nothing.
        for _ in 0..10 {
            assert!(!rate.is_full("a"));
            drop(place(&rate, "a").unwrap());
        }
        assert!(rate.counted().is_empty());
        place(&rate, "a").unwrap().keep();
        let coming = place(&rate, "a").unwrap();
        assert!(rate.is_full("a") && place(&rate, "a").is_none());
        assert!(place(&rate, "b").is_some());
        drop(coming);
        assert!(!rate.is_full("a"));
        place(&rate, "a").unwrap().keep();
        assert!(rate.is_full("a") && place(&rate, "a").is_none());
    }

    #[test]
    fn a_window_ends_and_with_it_what_was_counted() {
        let rate = Rate::new(1, Duration::ZERO);
        let late = place(&rate, "a").unwrap();
        assert!(!rate.is_full("a"));
        place(&rate, "a").unwrap().keep();
        // It belongs to a window that is over.
        drop(late);
        assert_eq!(rate.counted().get("a").unwrap().1, 1);
        assert!(!Rate::new(0, HOUR).is_full("a"));
    }

    #[test]
    fn any_number_of_clients_takes_little_room() {
        let rate = Rate::new(1, HOUR);
        for n in 0..3 * MAX_COUNTED {
            place(&rate, &n.to_string()).unwrap().keep();
        }
        assert_eq!(rate.counted().len(), MAX_COUNTED);
        assert!(rate.is_full(&(3 * MAX_COUNTED - 1).to_string()));
    }
}
