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
//! fails, for it would run for ever. Depth and number are bounded. An alias with an owner (`owner-LIST`) is a mailing
//! list: its owner becomes the sender of what it sends (RFC 5321 3.9.2).

use std::collections::BTreeSet;

use super::address::{Mailbox, ReversePath};
use super::alias::Target;
use super::end::{End, Origin};
use super::envelope::{Notify, Recipient};
use super::reply::Enhanced;
use super::route::is_role;
use super::xtext;

/// How many aliases, lists and ~/.forward files may lead to one another.
pub const MAX_DEPTH: usize = 50;
/// How many recipients one address may become.
pub const MAX_LEAVES: usize = 10_000;

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
    /// Whose address this one is instead, if we have made it for forwarded mail ([`super::srs`]).
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

    /// Whether a name that nothing stands for may yet be an alias: the file has lines that cannot be read.
    fn is_doubtful(&self) -> Option<String>;
}

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
    let mut walk = Walk {
        world,
        rules,
        is_report: *start.sender == ReversePath::Null,
        on_the_way: Vec::new(),
        seen: BTreeSet::new(),
        keys: BTreeSet::new(),
        leaves: Vec::new(),
        loops: Vec::new(),
    };
    for (address, user) in start.before {
        walk.on_the_way.push(match user {
            Some(user) => Step::User(user.clone()),
            None => Step::Alias(address.local().to_lowercase()),
        });
    }
    let scope = Scope {
        user: None,
        sender: None,
        through: None,
        path: Vec::new(),
    };
    let known = match start.user {
        Some(user) => walk.user(start.address, user, &scope).map(|()| true),
        None => walk.name(start.address, &scope),
    }?;
    match walk.loops.first() {
        _ if !known => Ok(Found::Nobody),
        Some(circle) if walk.leaves.is_empty() => Err(Trouble {
            enhanced: Enhanced(5, 4, 6),
            sentence: format!("{} runs in a circle: {circle}", start.address),
        }),
        _ => Ok(Found::Leaves(walk.leaves)),
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Alias(String),
    Include(String),
    User(String),
}

impl Step {
    fn shown(&self) -> String {
        match self {
            Self::Alias(name) => name.clone(),
            Self::Include(path) => format!(":include:{path}"),
            Self::User(user) => format!("~{user}/.forward"),
        }
    }
}

/// What holds for all that an alias, a list or a ~/.forward names.
#[derive(Debug, Clone)]
struct Scope {
    /// In whose right it runs: the user's whose ~/.forward it is.
    user: Option<String>,
    sender: Option<Mailbox>,
    through: Option<Mailbox>,
    path: Vec<String>,
}

struct Walk<'a> {
    world: &'a dyn World,
    rules: Rules<'a>,
    /// A report has no sender, and must not get one by a list.
    is_report: bool,
    /// From the address to here.
    on_the_way: Vec<Step>,
    /// All that was gone through.
    seen: BTreeSet<Step>,
    keys: BTreeSet<Key>,
    leaves: Vec<Leaf>,
    /// Ways that led back.
    loops: Vec<String>,
}

impl Walk<'_> {
    /// Returned is whether anything stands for the name.
    fn name(&mut self, address: &Mailbox, scope: &Scope) -> Result<bool, Trouble> {
        if let Some(original) = self.world.original(address)? {
            let mut scope = scope.clone();
            scope.path.push("SRS".to_owned());
            let step = Step::Alias(address.local().to_lowercase());
            let targets = vec![Target::Address(original)];
            return self.through(address, step, targets, &scope).map(|()| true);
        }
        let whole = address.local();
        let base = without_detail(whole, self.rules.delimiter);
        for name in std::iter::once(whole).chain(base) {
            if self.one_name(address, name, scope)? {
                return Ok(true);
            }
        }
        if is_role(base.unwrap_or(whole)) {
            if self.roots(address, scope)? {
                return Ok(true);
            }
            let root = self.world.root();
            return self.user(address, &root, scope).map(|()| true);
        }
        if let Some(why) = self.world.is_doubtful() {
            return Err(Trouble::here(why));
        }
        let Some(target) = self.rules.unknown_user else {
            return Ok(false);
        };
        let mut scope = scope.clone();
        scope.path.push("unknown_user".to_owned());
        // Without it from here on: nobody may be behind this name, too.
        self.rules.unknown_user = None;
        let known = match target {
            Target::Name(name) => match here(address, name) {
                Some(address) => self.name(&address, &scope)?,
                None => false,
            },
            target => self.target(address, target, &scope).map(|()| true)?,
        };
        Ok(known)
    }

    /// An alias of exactly that name, or a user.
    fn one_name(&mut self, address: &Mailbox, name: &str, scope: &Scope) -> Result<bool, Trouble> {
        let itself = Step::Alias(name.to_lowercase());
        if self.on_the_way.last() != Some(&itself) && self.one_alias(address, name, scope)? {
            return Ok(true);
        }
        match self.world.user(name)? {
            Some(user) if self.world.is_service(&user)? && self.roots(address, scope)? => Ok(true),
            Some(user) => self.user(address, &user, scope).map(|()| true),
            None => Ok(false),
        }
    }

    /// What stands for root, in place of who needs somebody to read his mail.
    fn roots(&mut self, address: &Mailbox, scope: &Scope) -> Result<bool, Trouble> {
        self.one_alias(address, "root", scope)
    }

    fn one_alias(&mut self, address: &Mailbox, name: &str, scope: &Scope) -> Result<bool, Trouble> {
        let step = Step::Alias(name.to_lowercase());
        let Some(targets) = self.world.alias(name)? else {
            return Ok(false);
        };
        let mut scope = scope.clone();
        scope.path.push(format!("alias {}", name.to_lowercase()));
        // What the alias file says, it says in nobody's name.
        scope.user = None;
        if let Some(owner) = here(address, &format!("owner-{}", name.to_lowercase()))
            && !self.is_report
            && self.is_known(owner.local())?
        {
            scope.sender = Some(owner);
        }
        self.through(address, step, targets, &scope)?;
        Ok(true)
    }

    fn is_known(&self, name: &str) -> Result<bool, Trouble> {
        Ok(self.world.alias(name)?.is_some() || self.world.user(name)?.is_some())
    }

    fn user(&mut self, address: &Mailbox, user: &str, scope: &Scope) -> Result<(), Trouble> {
        let step = Step::User(user.to_owned());
        let own = |scope: &Scope| Leaf {
            address: address.clone(),
            end: Some(End::Mailbox),
            user: Some(user.to_owned()),
            sender: scope.sender.clone(),
            through: None,
            path: scope.path.clone(),
        };
        if self.on_the_way.contains(&step) {
            return self.leaf(own(scope));
        }
        match self.world.forward(user, address)? {
            Forward::None => self.leaf(own(scope)),
            Forward::To(targets) if targets.is_empty() => self.leaf(own(scope)),
            Forward::Later => self.leaf(Leaf {
                end: None,
                ..own(scope)
            }),
            Forward::To(targets) => {
                let mut scope = scope.clone();
                scope.path.push(step.shown());
                scope.user = Some(user.to_owned());
                scope.through = Some(address.clone());
                let (leaves, loops) = (self.leaves.len(), self.loops.len());
                self.through(address, step, targets, &scope)?;
                // He gets himself what would only run in a circle.
                if self.leaves.len() == leaves && self.loops.len() > loops {
                    self.leaf(own(&scope))?;
                }
                Ok(())
            }
        }
    }

    /// Goes through the targets of a step, unless it was gone through before.
    fn through(
        &mut self,
        address: &Mailbox,
        step: Step,
        targets: Vec<Target>,
        scope: &Scope,
    ) -> Result<(), Trouble> {
        if self.on_the_way.contains(&step) {
            let steps = self.on_the_way.iter().skip_while(|s| **s != step);
            let steps: Vec<String> = steps.chain([&step]).map(Step::shown).collect();
            self.loops.push(steps.join(" > "));
            return Ok(());
        }
        if !self.seen.insert(step.clone()) {
            return Ok(());
        }
        if self.on_the_way.len() >= MAX_DEPTH {
            return Err(Trouble {
                enhanced: Enhanced(5, 4, 6),
                sentence: format!(
                    "more than {MAX_DEPTH} aliases and lists lead from one to the next, the last of them {}; \
                     let them lead to where they end",
                    step.shown()
                ),
            });
        }
        self.on_the_way.push(step);
        for target in &targets {
            self.target(address, target, scope)?;
        }
        self.on_the_way.pop();
        Ok(())
    }

    fn target(&mut self, address: &Mailbox, target: &Target, scope: &Scope) -> Result<(), Trouble> {
        let leaf = |end: End| Leaf {
            address: address.clone(),
            end: Some(end),
            user: scope.user.clone(),
            sender: scope.sender.clone(),
            through: None,
            path: scope.path.clone(),
        };
        match target {
            Target::Nothing => Ok(()),
            Target::File(path) => self.leaf(leaf(End::File(path.clone()))),
            Target::Pipe(line) => self.leaf(leaf(End::Pipe(line.clone()))),
            Target::Own(name) => match (self.world.user(name)?, here(address, name)) {
                (Some(user), Some(address)) => self.leaf(Leaf {
                    address,
                    user: Some(user),
                    ..leaf(End::Mailbox)
                }),
                (None, Some(address)) => self.unknown(address, scope),
                (_, None) => Err(too_long(name)),
            },
            Target::Include(path) => {
                let targets = self.world.include(path, scope.user.as_deref())?;
                let mut scope = scope.clone();
                scope.path.push(format!(":include:{path}"));
                self.through(address, Step::Include(path.clone()), targets, &scope)
            }
            Target::Name(name) => {
                let address = here(address, name).ok_or_else(|| too_long(name))?;
                self.member(address, scope)
            }
            Target::Address(other) if self.world.is_here(other) => {
                self.member(other.clone(), scope)
            }
            Target::Address(other) => self.leaf(Leaf {
                address: other.clone(),
                end: None,
                user: None,
                through: scope.through.clone(),
                ..leaf(End::Mailbox)
            }),
        }
    }

    fn member(&mut self, address: Mailbox, scope: &Scope) -> Result<(), Trouble> {
        match self.name(&address, scope)? {
            true => Ok(()),
            false => self.unknown(address, scope),
        }
    }

    /// Nobody is there; it fails alone, and whoever hears of failures is told so.
    fn unknown(&mut self, address: Mailbox, scope: &Scope) -> Result<(), Trouble> {
        self.leaf(Leaf {
            address,
            end: None,
            user: None,
            sender: scope.sender.clone(),
            through: None,
            path: scope.path.clone(),
        })
    }

    fn leaf(&mut self, leaf: Leaf) -> Result<(), Trouble> {
        if !self.keys.insert(leaf.key()) {
            return Ok(());
        }
        if self.leaves.len() >= MAX_LEAVES {
            return Err(Trouble {
                enhanced: Enhanced(4, 5, 3),
                sentence: format!(
                    "the aliases and lists lead to more than {MAX_LEAVES} recipients; divide them"
                ),
            });
        }
        self.leaves.push(leaf);
        Ok(())
    }
}

fn too_long(name: &str) -> Trouble {
    Trouble::here(format!(
        "the name {name} of an alias is too long for an address; shorten it"
    ))
}

/// Another name at the domain of an address.
fn here(address: &Mailbox, name: &str) -> Option<Mailbox> {
    Mailbox::new(name.to_owned(), address.domain().clone()).ok()
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
