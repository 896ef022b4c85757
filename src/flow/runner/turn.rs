//! Of a queue that is larger than what is kept of it in memory, each message has its turn.

use crate::host::spool::Item;
use crate::proto::order;

/// Whose turn it is, of messages for which there is not room enough at once: by arrival, and on from where the last look
/// has stopped. So each has its turn, though some may be due again and again.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Turn(String);

impl Turn {
    /// Has these messages taken as long as `take` finds room. Returned is whether some are left.
    pub fn take_round(&mut self, mut due: Vec<Item>, mut take: impl FnMut(Item) -> bool) -> bool {
        order::sort(&mut due, &Item::cmp);
        let first = due.partition_point(|item| item.id < self.0);
        due.rotate_left(first);
        for item in due {
            let id = item.id.clone();
            if !take(item) {
                self.0 = id;
                return true;
            }
        }
        self.0.clear();
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::queue::fresh;

    #[test]
    fn each_message_has_its_turn_though_there_is_not_room_for_all() {
        let mut turn = Turn::default();
        // Nothing comes of the first ones: they are due at each look.
        let mut round = |ids: &[&str], room: usize| {
            let due = ids.iter().map(|id| fresh((*id).to_owned())).collect();
            let mut taken = Vec::new();
            let is_more = turn.take_round(due, |item| {
                let has_room = taken.len() < room;
                if has_room {
                    taken.push(item.id);
                }
                has_room
            });
            (taken.join(" "), is_more)
        };
        let rows: [(&[&str], usize, &str, bool); 7] = [
            (&["c", "a", "b", "e", "d"], 2, "a b", true),
            (&["a", "b", "c", "d", "e"], 2, "c d", true),
            (&["a", "b", "e"], 2, "e a", true),
            // The one that was next has gone.
            (&["a", "c"], 1, "c", true),
            (&["a"], 1, "a", false),
            (&["a", "b"], 2, "a b", false),
            (&[], 2, "", false),
        ];
        for (ids, room, expected, is_more) in rows {
            assert_eq!(round(ids, room), (expected.to_owned(), is_more), "{ids:?}");
        }
    }
}
