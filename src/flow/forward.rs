//! The files by which a user sends his mail elsewhere, read with his rights and no others: what they hold must not
//! depend on who delivers.

use std::path::Path;

use super::helpers::Helpers;
use crate::host::accounts::{self, Account};
use crate::host::{listed, privilege};

/// Who reads them.
#[derive(Debug, Clone, Copy)]
pub enum Reader<'a> {
    /// Helpers, who are the users themselves.
    Helpers(&'a Helpers),
    /// This process, what belongs to whoever runs it.
    Caller,
    /// This process, which is root's, for root who asks.
    Root,
    /// Nobody.
    Nobody,
}

impl<'a> Reader<'a> {
    /// For deliveries.
    pub fn of(helpers: Option<&'a Helpers>) -> Self {
        match helpers {
            Some(helpers) => Self::Helpers(helpers),
            // What the program's group may read, its caller may not.
            None if privilege::has_group() => Self::Nobody,
            None => Self::Caller,
        }
    }

    /// For whoever asks where mail would go.
    pub fn asked() -> Self {
        match privilege::is_root() {
            true => Self::Root,
            false => Self::of(None),
        }
    }
}

impl Reader<'_> {
    /// Whether a user's files can be read.
    pub fn may_read(self, account: &Account) -> bool {
        match self {
            Self::Helpers(_) | Self::Root => true,
            Self::Caller => account.uid == accounts::caller_uid(),
            Self::Nobody => false,
        }
    }

    /// The text of a user's ~/.forward; `None` when there is none.
    ///
    /// # Errors
    /// A sentence with its remedy: it is not only his, or cannot be read now.
    pub fn forward(self, account: &Account) -> Result<Option<Vec<u8>>, String> {
        match self {
            Self::Helpers(helpers) => helpers.forward(&account.name, None),
            _ => listed::read_forward(&account.home, account.uid),
        }
    }

    /// The text of a file that his ~/.forward includes.
    ///
    /// # Errors
    /// As for [`Self::forward`].
    pub fn included(self, account: &Account, path: &Path) -> Result<Vec<u8>, String> {
        let missing = || {
            let (path, home) = (path.display(), account.home.display());
            format!("the list {path} is not there; make it, or take it out of {home}/.forward")
        };
        match self {
            Self::Helpers(helpers) => helpers
                .forward(&account.name, path.to_str())?
                .ok_or_else(missing),
            Self::Root => Err(format!(
                "the list {} is read as the user {} only",
                path.display(),
                account.name
            )),
            _ => listed::read_included(path)?.ok_or_else(missing),
        }
    }
}
