//! Whom the mail of an address of this system is for: aliases, ~/.forward, users, the address for unknown ones.
//!
//! For a name, the first of these that is there counts:
//!
//! 0. an address that we have made for forwarded mail is its sender's ([`super::srs`])
//! 1. an alias of the name, detail and all (`user+detail`), then a user of that name
//! 2. without the detail: an alias, then a user
//! 3. for postmaster and the like (RFC 5321 4.5.1), and for users that are services: what stands for root
//! 4. `[local] unknown_user`
//!
//! An alias that names itself, and a ~/.forward that names its user, mean that user's own mailbox. Who is reached
//! twice gets one copy. A way that leads back to where it came from ends there; when nothing else is left, the mail
//! fails, for it would run for ever. But if the way went by rule 3, as with nothing but `root: postmaster`, it ends in
//! the mailbox of root, where it would be without aliases: reports of failures would take the same way. Depth and number
//! are bounded. An alias with an owner (`owner-LIST`) is a mailing list: its owner becomes the sender of what it sends
//! (RFC 5321 3.9.2).

use super::address::{Mailbox, ReversePath};
use super::alias::Target;
use super::end::{End, Origin};
use super::envelope::{Notify, Recipient};
use super::reply::Enhanced;
use super::route::is_role;
use super::xtext;

mod walk;
mod world;

pub use world::{Forward, Trouble, World};

use walk::{Scope, Walk};

/// How many aliases, lists and ~/.forward files may lead to one another.
pub const MAX_DEPTH: usize = 50;
/// How many recipients one address may become.
pub const MAX_LEAVES: usize = 10_000;
/// How many lists may be read for it: who keeps one may include others, and must not have us read for hours.
pub const MAX_LISTS: usize = 1000;
/// The status of one that would become more (RFC 3463 3.6: too many recipients).
pub const TOO_MANY: Enhanced = Enhanced(4, 5, 3);

/// What the configuration says.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// What separates a user's name from a detail.
    pub delimiter: Option<char>,
    /// Who gets mail for names that nothing stands for.
    pub unknown_user: Option<&'a Target>,
}

/// Somebody for whom an address stands, in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// The address that led there; or, elsewhere, the one that is mailed to.
    pub address: Mailbox,
    /// Where it ends here; `None`: elsewhere, or with a user, in his ~/.forward.
    pub end: Option<End>,
    /// In whose right.
    pub user: Option<String>,
    /// Who hears of failures instead of the sender.
    pub sender: Option<Mailbox>,
    /// Whose ~/.forward sends it on: his address.
    pub through: Option<Mailbox>,
    /// The aliases and files on the way.
    pub path: Vec<String>,
}

/// What makes two leaves one: nobody gets two copies.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// An address elsewhere, or here before it was looked at.
    Address(Mailbox),
    /// A user, or his mailbox.
    User(String, bool),
    /// A file.
    File(String, Option<String>),
    /// A command for an address: it may well treat two differently.
    Pipe(String, Option<String>, Mailbox),
}

impl Key {
    /// Of a leaf, or of a recipient that was one.
    pub fn of(address: &Mailbox, end: Option<&End>, user: Option<&String>) -> Self {
        match (end, user) {
            (None, None) => Self::Address(address.clone()),
            (None, Some(user)) => Self::User(user.clone(), false),
            (Some(End::Mailbox), user) => Self::User(user.cloned().unwrap_or_default(), true),
            (Some(End::File(path)), user) => Self::File(path.clone(), user.cloned()),
            (Some(End::Pipe(line)), user) => {
                Self::Pipe(line.clone(), user.cloned(), address.clone())
            }
        }
    }
}

impl Leaf {
    /// What makes it the same as another.
    pub fn key(&self) -> Key {
        Key::of(&self.address, self.end.as_ref(), self.user.as_ref())
    }
}

/// What an address stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nobody.
    Nobody,
    /// These; nobody at all when the mail is thrown away.
    Leaves(Vec<Leaf>),
}

/// Where an expansion begins.
#[derive(Debug, Clone, Copy)]
pub struct Start<'a> {
    /// The address.
    pub address: &'a Mailbox,
    /// The user whose ~/.forward is to be read, when aliases were looked at already.
    pub user: Option<&'a str>,
    /// Who is told of failures.
    pub sender: &'a ReversePath,
    /// What led to it in earlier expansions, the first one first: addresses, and users whose ~/.forward was read.
    pub before: &'a [(Mailbox, Option<String>)],
}

/// Expands an address of this system.
///
/// # Errors
/// See [`Trouble`].
pub fn expand(world: &dyn World, rules: Rules<'_>, start: Start<'_>) -> Result<Found, Trouble> {
    let mut walk = Walk::new(world, rules, start);
    let scope = Scope::default();
    let known = match start.user {
        Some(user) => walk.user(start.address, user, &scope).map(|()| true),
        None => walk.name(start.address, &scope),
    }?;
    if walk.leaves.is_empty() && !walk.loops.is_empty() && walk.for_root {
        walk.mailbox_of_root(start.address)?;
    }
    match walk.loops.first() {
        _ if !known => Ok(Found::Nobody),
        Some(circle) if walk.leaves.is_empty() => Err(Trouble {
            enhanced: Enhanced(5, 4, 6),
            sentence: format!("{} runs in a circle: {circle}", start.address),
        }),
        _ => Ok(Found::Leaves(walk.leaves)),
    }
}

/// What stands before the delimiter, when there is one and something is on both sides of it. The last part of an
/// owner's or postmaster's name is none: `-` may be the delimiter.
pub fn without_detail(local: &str, delimiter: Option<char>) -> Option<&str> {
    if is_role(local) || local.to_lowercase().starts_with("owner-") {
        return None;
    }
    local
        .split_once(delimiter?)
        .filter(|(user, _)| !user.is_empty())
        .map(|(user, _)| user)
}

/// The recipients that take the place of one, with its wishes for reports (RFC 3461 5.2.7): they stay with a single
/// successor; of several, none reports success, which is told once, of the expansion; a list is a sender of its own.
pub fn children(parent: &Recipient, of: usize, leaves: Vec<Leaf>, alone: bool) -> Vec<Recipient> {
    let inherited = parent.origin.as_ref().and_then(|o| o.sender.clone());
    let child = |leaf: Leaf| {
        let is_list = leaf.sender.is_some();
        let origin = Origin {
            of,
            end: leaf.end,
            user: leaf.user,
            sender: leaf.sender.or_else(|| inherited.clone()),
            through: leaf.through,
        };
        let notify = match parent.notify {
            Some(notify) if !alone => Some(Notify {
                success: false,
                ..notify
            }),
            notify => notify,
        };
        let made = || {
            let address = parent.address.to_string();
            let made = format!("rfc822;{}", xtext::encode(&address));
            address.is_ascii().then_some(made)
        };
        Recipient {
            address: leaf.address,
            notify: notify.filter(|_| !is_list),
            orcpt: if is_list {
                None
            } else {
                parent.orcpt.clone().or_else(made)
            },
            origin: Some(Box::new(origin)),
        }
    };
    leaves.into_iter().map(child).collect()
}

#[cfg(test)]
mod tests;
