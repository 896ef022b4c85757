//! What an admin does to messages: holds, releases and removes them, while queue runs go on. A message that was moved
//! since it was listed is looked for where it stands now. Of ALL, those that are being delivered are tried again for some
//! seconds before it is said of them; of those that are delivered meanwhile there is nothing to say.

use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};

use super::{find, is_ours};
use crate::cli::{complain, say};
use crate::error::{Error, Result};
use crate::events;
use crate::flow::{Context, queue};
use crate::host::spool::{Change, Folder, Item};

/// Every message, where a queue id is expected.
const ALL: &str = "ALL";

/// How often a message is looked for that moves on each time.
const LOOKS: u32 = 4;
/// How long those of ALL that are being delivered just now are tried again,
const PATIENCE: Duration = Duration::from_secs(5);
/// and the pause before each time.
const PAUSE: Duration = Duration::from_millis(100);

/// `--remove ID...`, or `ALL` of the queue.
///
/// # Errors
/// The last one of any message; the others are removed all the same.
pub fn remove(context: &Context, ids: &[String]) -> Result<()> {
    let deed = Deed {
        context,
        from: &[Folder::New, Folder::Cur, Folder::Hold],
        done: "removed",
        act: &|item| context.spool.remove(item),
        log: &|id| events::removed(id, "by-hand"),
    };
    deed.to_each(ids)
}

/// `--hold ID...`: set aside until released.
///
/// # Errors
/// As for [`remove`].
pub fn hold(context: &Context, ids: &[String]) -> Result<()> {
    let deed = Deed {
        context,
        from: &[Folder::New, Folder::Cur],
        done: "on hold",
        act: &|item| context.spool.shift(item, Folder::Hold),
        log: &|id| events::held(id, &"by hand"),
    };
    deed.to_each(ids)
}

/// `--release ID...`: back into the queue, due at once, of which a daemon is told.
///
/// # Errors
/// As for [`remove`].
pub fn release(context: &Context, ids: &[String]) -> Result<()> {
    let is_any = Cell::new(false);
    let deed = Deed {
        context,
        from: &[Folder::Hold],
        done: "released",
        act: &|item| context.spool.shift(item, Folder::Cur),
        log: &|_| is_any.set(true),
    };
    let result = deed.to_each(ids);
    if is_any.get() {
        queue::have_looked(context);
    }
    result
}

/// Something that is done to messages.
struct Deed<'a> {
    context: &'a Context,
    /// Where they stand before.
    from: &'a [Folder],
    /// What they are then.
    done: &'a str,
    act: &'a dyn Fn(&Item) -> Result<Change>,
    log: &'a dyn Fn(&str),
}

impl Deed<'_> {
    fn to_each(&self, ids: &[String]) -> Result<()> {
        if ids.is_empty() {
            return Err(Error::Usage(
                "name the queue ids, as mailq shows them, or ALL".to_owned(),
            ));
        }
        let all = ids == [ALL];
        if !all && ids.iter().any(|id| id == ALL) {
            return Err(Error::Usage(
                "ALL stands alone: it names every message, and no queue id goes beside it"
                    .to_owned(),
            ));
        }
        let mut result = Ok(());
        // The last error is returned, and said by whoever called; those before it are said here.
        let mut fail = |error: Error| {
            if let Err(earlier) = std::mem::replace(&mut result, Err(error)) {
                complain(&self.context.program, &earlier.to_string());
            }
        };
        let mut left = self.named(ids, all, &mut fail)?;
        let mut said = Ok(());
        let mut try_once = |item: &mut Item| {
            match self.try_at(item) {
                Ok(Change::Busy) => return true,
                // What cannot be said of one cannot be said of the next, and that is told once.
                Ok(Change::Made) if said.is_ok() => {
                    said = say(&format!("{} {}\n", item.id, self.done));
                }
                Ok(Change::Made) => {}
                Ok(Change::Gone) if all => {}
                Ok(Change::Gone) => fail(self.standing(&item.id).err().unwrap_or(busy(&item.id))),
                Err(error) => fail(error),
            }
            false
        };
        left.retain_mut(&mut try_once);
        let until = Instant::now() + PATIENCE;
        while all && !left.is_empty() && Instant::now() < until {
            thread::sleep(PAUSE);
            left.retain_mut(&mut try_once);
        }
        left.iter().for_each(|item| fail(busy(&item.id)));
        result.and(said)
    }

    /// The messages that are meant.
    fn named(&self, ids: &[String], all: bool, fail: &mut dyn FnMut(Error)) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        if !all {
            for id in ids {
                match self.standing(id) {
                    Ok(item) => items.push(item),
                    Err(error) => fail(error),
                }
            }
            return Ok(items);
        }
        for folder in self.from {
            items.extend(self.context.spool.scan(*folder)?);
        }
        items.retain(|item| is_ours(self.context, item));
        Ok(items)
    }

    /// Where a message stands to which this can be done.
    fn standing(&self, id: &str) -> Result<Item> {
        let item = find(self.context, id)?;
        if self.from.contains(&item.folder) {
            return Ok(item);
        }
        let folder = item.folder.name();
        Err(Error::Data(format!("message {id} is in {folder}/ already")))
    }

    /// Does it, wherever a queue run has moved the message to since it was listed.
    fn try_at(&self, item: &mut Item) -> Result<Change> {
        for _ in 0..LOOKS {
            match (self.act)(item)? {
                Change::Gone => {}
                Change::Made => {
                    (self.log)(&item.id);
                    return Ok(Change::Made);
                }
                Change::Busy => return Ok(Change::Busy),
            }
            match self.standing(&item.id) {
                Ok(found) => *item = found,
                Err(_) => return Ok(Change::Gone),
            }
        }
        // Somebody works on it, or it would not move.
        Ok(Change::Busy)
    }
}

fn busy(id: &str) -> Error {
    Error::TempFail(format!(
        "message {id} is being delivered just now; try again"
    ))
}
