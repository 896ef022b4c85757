//! One filter as a whole: what it needs must be there.

use std::ops::Range;
use std::time::Duration;

use super::document::Entry;
use super::report::Problem;
use super::{Address, Down, Milter};

/// How long an answer may take where nothing is said: rspamd and others ask the world while a message waits.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// What a `[milter]` table said, a field a key; `None`: it is not there, or its value was refused.
#[derive(Debug, Default)]
pub struct MilterDraft {
    pub socket: Option<Address>,
    pub timeout: Option<Duration>,
    pub down: Option<Down>,
}

impl MilterDraft {
    /// The filter, or what it lacks. `table` and `at` are where the keys and the table's head stand.
    pub fn finish(self, table: &[Entry], at: Range<usize>) -> Result<Milter, Vec<Problem>> {
        match self.socket {
            Some(socket) => Ok(Milter {
                socket,
                timeout: self.timeout.unwrap_or(TIMEOUT),
                down: self.down.unwrap_or_default(),
            }),
            // Its value was refused, which is said already.
            None if table.iter().any(|entry| entry.name == "socket") => Err(Vec::new()),
            None => Err(vec![Problem {
                at,
                key: "socket".to_owned(),
                finding: "missing in this [milter]".to_owned(),
                remedy: "add a line such as: socket = \"unix:/run/rspamd/milter.sock\"".to_owned(),
            }]),
        }
    }
}
