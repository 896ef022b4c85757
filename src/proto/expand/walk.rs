//! The walk from an address to all for whom it stands, in the order that [`super`] tells: each step asks the [`World`],
//! and ends in a leaf, in more steps, or in a circle.

use std::collections::BTreeSet;

use super::super::address::{Mailbox, ReversePath};
use super::super::alias::Target;
use super::super::end::End;
use super::super::reply::Enhanced;
use super::super::route::is_role;
use super::{
    Forward, Key, Leaf, MAX_DEPTH, MAX_LEAVES, MAX_LISTS, Rules, Start, TOO_MANY, Trouble, World,
    without_detail,
};

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
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// In whose right it runs: the user's whose ~/.forward it is.
    user: Option<String>,
    sender: Option<Mailbox>,
    through: Option<Mailbox>,
    path: Vec<String>,
}

/// An expansion that is going on.
pub struct Walk<'a> {
    world: &'a dyn World,
    rules: Rules<'a>,
    /// A report has no sender, and must not get one by a list.
    is_report: bool,
    /// From the address to here.
    on_the_way: Vec<Step>,
    /// All that was gone through.
    seen: BTreeSet<Step>,
    /// How many lists were read.
    lists: usize,
    keys: BTreeSet<Key>,
    /// Who was reached.
    pub leaves: Vec<Leaf>,
    /// Ways that led back.
    pub loops: Vec<String>,
    /// Whether the alias `root` was taken for a name that has none itself.
    pub for_root: bool,
}

impl<'a> Walk<'a> {
    /// At its start, with what led there behind it.
    pub fn new(world: &'a dyn World, rules: Rules<'a>, start: Start<'_>) -> Self {
        let mut walk = Self {
            world,
            rules,
            is_report: *start.sender == ReversePath::Null,
            on_the_way: Vec::new(),
            seen: BTreeSet::new(),
            lists: 0,
            keys: BTreeSet::new(),
            leaves: Vec::new(),
            loops: Vec::new(),
            for_root: false,
        };
        for (address, user) in start.before {
            walk.on_the_way.push(match user {
                Some(user) => Step::User(user.clone()),
                None => Step::Alias(address.local().to_lowercase()),
            });
        }
        walk
    }
}

impl Walk<'_> {
    /// Goes on to an address here. Returned is whether anything stands for the name.
    pub fn name(&mut self, address: &Mailbox, scope: &Scope) -> Result<bool, Trouble> {
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
        if let Some(why) = self.world.is_doubtful(address) {
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
        let is_there = self.one_alias(address, "root", scope)?;
        self.for_root |= is_there;
        Ok(is_there)
    }

    /// The mailbox of who reads root's mail, whatever else stands for him.
    pub fn mailbox_of_root(&mut self, address: &Mailbox) -> Result<(), Trouble> {
        self.leaf(Leaf {
            address: address.clone(),
            end: Some(End::Mailbox),
            user: Some(self.world.root()),
            sender: None,
            through: None,
            path: vec!["alias root".to_owned()],
        })
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

    /// Goes on to a user: his ~/.forward, or his mailbox.
    pub fn user(&mut self, address: &Mailbox, user: &str, scope: &Scope) -> Result<(), Trouble> {
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
                let step = Step::Include(path.clone());
                // A list that names itself a thousand times is read once.
                let targets = match self.seen.contains(&step) {
                    true => Vec::new(),
                    false => self.list(path, scope)?,
                };
                let mut scope = scope.clone();
                scope.path.push(step.shown());
                self.through(address, step, targets, &scope)
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

    fn list(&mut self, path: &str, scope: &Scope) -> Result<Vec<Target>, Trouble> {
        self.lists += 1;
        if self.lists > MAX_LISTS {
            return Err(Trouble {
                enhanced: TOO_MANY,
                sentence: format!(
                    "the aliases and lists include more than {MAX_LISTS} lists; put some of them together"
                ),
            });
        }
        self.world.include(path, scope.user.as_deref())
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
                enhanced: TOO_MANY,
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
