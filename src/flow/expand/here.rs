//! This system, as an expansion sees it: its aliases, its users, their ~/.forward, its lists.

use std::path::Path;
use std::sync::Arc;

use super::{is_service, named, root};
use crate::events;
use crate::flow::forward::Reader;
use crate::flow::{Context, hops, srs};
use crate::host::accounts::Account;
use crate::host::listed;
use crate::proto::address::Mailbox;
use crate::proto::alias::{Place, Table, Target, read_list};
use crate::proto::expand::{Forward, MAX_LISTS, Trouble, World};
use crate::proto::order;
use crate::proto::reply::Enhanced;
use crate::proto::route::Hop;

/// This system, as an expansion sees it.
pub struct Here<'a> {
    /// What every part needs.
    pub context: &'a Context,
    /// Who reads files of users.
    pub reader: Reader<'a>,
    /// The aliases.
    pub table: Arc<Table>,
    /// Whether a ~/.forward has brought this message to us: it says where it has been.
    pub has_been_at: &'a dyn Fn(&Mailbox) -> bool,
}

impl<'a> Here<'a> {
    /// With the alias file as it is now.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn new(
        context: &'a Context,
        reader: Reader<'a>,
        has_been_at: &'a dyn Fn(&Mailbox) -> bool,
    ) -> Result<Self, Trouble> {
        Ok(Self {
            context,
            reader,
            table: context.aliases.table().map_err(Trouble::here)?,
            has_been_at,
        })
    }

    fn account(&self, name: &str) -> Result<Account, Trouble> {
        let found = named(name).map_err(|sentence| Trouble {
            enhanced: Enhanced(4, 3, 0),
            sentence,
        })?;
        found.ok_or_else(|| Trouble {
            enhanced: Enhanced(5, 1, 1),
            sentence: format!("there is no user {name} here any more"),
        })
    }

    fn list(&self, path: &Path, octets: Vec<u8>, place: Place) -> Result<Vec<Target>, Trouble> {
        let text = String::from_utf8_lossy(&octets);
        read_list(&text, place)
            .map_err(|fault| Trouble::here(format!("{}, {fault}", path.display())))
    }
}

/// The targets of a list that the alias file includes, or another list of it.
///
/// # Errors
/// A sentence with its remedy.
pub fn included(path: &Path, by: &str) -> Result<Vec<Target>, String> {
    let shown = path.display();
    let list = listed::read_list(path)?
        .ok_or_else(|| format!("the list {shown} is not there; make it, or take it out of {by}"))?;
    let targets = read_list(&String::from_utf8_lossy(&list.octets), Place::Include)
        .map_err(|fault| format!("the list {shown}, {fault}"))?;
    let others = targets.iter().filter_map(|target| match target {
        Target::Include(other) => Some(other),
        _ => None,
    });
    let mut others: Vec<&String> = others.collect();
    order::sort(&mut others, &Ord::cmp);
    others.dedup();
    if others.len() > MAX_LISTS {
        return Err(format!(
            "the list {shown} includes more than {MAX_LISTS} others; put some of them together"
        ));
    }
    for other in others {
        list.may_include(Path::new(other))?;
    }
    Ok(targets)
}

impl World for Here<'_> {
    fn original(&self, address: &Mailbox) -> Result<Option<Mailbox>, Trouble> {
        match srs::original(self.context, address).map_err(Trouble::here)? {
            None => Ok(None),
            Some(Ok(original)) => Ok(Some(original)),
            Some(Err(refusal)) => Err(Trouble {
                enhanced: Enhanced(5, 1, 1),
                sentence: format!("{address}: {}", refusal.words()),
            }),
        }
    }

    fn alias(&self, name: &str) -> Result<Option<Vec<Target>>, Trouble> {
        match self.table.get(name) {
            None => Ok(None),
            Some(Ok((_, targets))) => Ok(Some(targets)),
            Some(Err(fault)) => {
                let path = self.context.aliases.path().display();
                Err(Trouble::here(format!("{path}, {fault}")))
            }
        }
    }

    fn user(&self, name: &str) -> Result<Option<String>, Trouble> {
        let found = named(name).map_err(|sentence| Trouble {
            enhanced: Enhanced(4, 3, 0),
            sentence,
        })?;
        Ok(found.map(|account| account.name))
    }

    fn is_service(&self, user: &str) -> Result<bool, Trouble> {
        Ok(is_service(self.context, &self.account(user)?))
    }

    fn root(&self) -> String {
        root(self.context)
    }

    fn include(&self, path: &str, user: Option<&str>) -> Result<Vec<Target>, Trouble> {
        let path = Path::new(path);
        if let Some(user) = user {
            let account = self.account(user)?;
            let octets = self.reader.included(&account, path);
            return self.list(path, octets.map_err(Trouble::here)?, Place::Forward);
        }
        included(path, "the alias file").map_err(Trouble::here)
    }

    fn forward(&self, user: &str, address: &Mailbox) -> Result<Forward, Trouble> {
        if !self.context.config.local.forward {
            return Ok(Forward::None);
        }
        let account = self.account(user)?;
        // Nothing that root's home holds may have anything done as root, who has an alias; nor that of a service.
        if !account.is_person() {
            return Ok(Forward::None);
        }
        if !self.reader.may_read(&account) {
            return Ok(Forward::Later);
        }
        let Some(octets) = self.reader.forward(&account).map_err(Trouble::here)? else {
            return Ok(Forward::None);
        };
        let targets = self.list(&account.home.join(".forward"), octets, Place::Forward)?;
        if targets.is_empty() {
            return Ok(Forward::None);
        }
        if (self.has_been_at)(address) {
            events::trouble(
                "-",
                &format!(
                    "what ~{user}/.forward sends elsewhere has come back; it is kept in the mailbox"
                ),
            );
            return Ok(Forward::None);
        }
        Ok(Forward::To(targets))
    }

    fn is_here(&self, address: &Mailbox) -> bool {
        hops::of(self.context, address) == Hop::Local
    }

    fn is_doubtful(&self, address: &Mailbox) -> Option<String> {
        self.table.is_doubtful().then(|| {
            let path = self.context.aliases.path().display();
            let faults = self.table.faults();
            let fault = faults.first().map(ToString::to_string).unwrap_or_default();
            format!(
                "the alias file {path} may mean {address} in a line that cannot be read: {fault}"
            )
        })
    }
}
