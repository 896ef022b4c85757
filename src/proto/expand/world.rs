//! What an expansion asks of the system it runs on: aliases, users, included files, ~/.forward.

use super::super::address::Mailbox;
use super::super::alias::Target;
use super::super::reply::Enhanced;

/// Why an address was not expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Its status (RFC 3463): of class 5 when no later try could help.
    pub enhanced: Enhanced,
    /// A sentence that names the place and the remedy.
    pub sentence: String,
}

impl Trouble {
    /// Somebody here must mend something; until then the mail waits.
    pub fn here(sentence: impl Into<String>) -> Self {
        Self {
            enhanced: Enhanced(4, 3, 5),
            sentence: sentence.into(),
        }
    }
}

/// A ~/.forward.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forward {
    /// There is none, or it says nothing.
    None,
    /// What it says.
    To(Vec<Target>),
    /// Only a process with the rights of its user can tell.
    Later,
}

/// What an expansion asks.
pub trait World {
    /// Whose address this one is instead, if we have made it for forwarded mail ([`super::super::srs`]).
    ///
    /// # Errors
    /// It has the form of one and is none, or that cannot be told.
    fn original(&self, address: &Mailbox) -> Result<Option<Mailbox>, Trouble>;

    /// What an alias leads to.
    ///
    /// # Errors
    /// The alias file, or this entry of it, cannot be read.
    fn alias(&self, name: &str) -> Result<Option<Vec<Target>>, Trouble>;

    /// The login name of a user, who may be written in any case.
    ///
    /// # Errors
    /// The user database does not answer.
    fn user(&self, name: &str) -> Result<Option<String>, Trouble>;

    /// Whether a user is a service, which reads no mail: it is root's.
    ///
    /// # Errors
    /// As for [`Self::user`].
    fn is_service(&self, user: &str) -> Result<bool, Trouble>;

    /// Who reads the mail for root and postmaster when no alias leads it elsewhere.
    fn root(&self) -> String;

    /// The targets of an included file, which is read with the rights of this user, if one is named.
    ///
    /// # Errors
    /// It cannot be read.
    fn include(&self, path: &str, user: Option<&str>) -> Result<Vec<Target>, Trouble>;

    /// What the ~/.forward of a user says for mail to this address of his.
    ///
    /// # Errors
    /// It cannot be read.
    fn forward(&self, user: &str, address: &Mailbox) -> Result<Forward, Trouble>;

    /// Whether mail to an address ends in the mailboxes of this system.
    fn is_here(&self, address: &Mailbox) -> bool;

    /// Whether an address that nothing stands for may yet be an alias: the file has lines that cannot be read.
    fn is_doubtful(&self, address: &Mailbox) -> Option<String>;
}
