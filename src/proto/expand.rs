//! Whom the mail of an address of this system is for: aliases, ~/.forward, users, the address for unknown ones.
//!
//! For a name, the first of these that is there counts:
//!
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
mod tests {
    use super::super::alias::{Place, Table, read_list};
    use super::super::envelope::Recipient;
    use super::*;

    /// A system of pi.example with the users root, alice, bob, carol and the service daemon, and these files.
    struct System {
        table: Table,
        files: Vec<(&'static str, String)>,
    }

    impl System {
        fn new(aliases: &str, files: &[(&'static str, &str)]) -> Self {
            Self {
                table: Table::parse(aliases.to_owned()),
                files: files.iter().map(|(n, t)| (*n, (*t).to_owned())).collect(),
            }
        }

        fn file(&self, name: &str, place: Place) -> Option<Result<Vec<Target>, Trouble>> {
            let (_, text) = self.files.iter().find(|(n, _)| *n == name)?;
            let list = read_list(text, place);
            Some(list.map_err(|fault| Trouble::here(format!("{name}, {fault}"))))
        }
    }

    impl World for System {
        fn alias(&self, name: &str) -> Result<Option<Vec<Target>>, Trouble> {
            let found = self.table.get(name).transpose();
            let found = found.map_err(|fault| Trouble::here(format!("aliases, {fault}")));
            Ok(found?.map(|(_, targets)| targets))
        }

        fn user(&self, name: &str) -> Result<Option<String>, Trouble> {
            let name = name.to_lowercase();
            let users = ["root", "alice", "bob", "carol", "daemon"];
            Ok(users.contains(&name.as_str()).then_some(name))
        }

        fn is_service(&self, user: &str) -> Result<bool, Trouble> {
            Ok(user == "daemon")
        }

        fn root(&self) -> String {
            "root".to_owned()
        }

        fn include(&self, path: &str, user: Option<&str>) -> Result<Vec<Target>, Trouble> {
            let place = user.map_or(Place::Include, |_| Place::Forward);
            let missing = || Err(Trouble::here(format!("{path} is not there")));
            self.file(path, place).unwrap_or_else(missing)
        }

        fn forward(&self, user: &str, address: &Mailbox) -> Result<Forward, Trouble> {
            if address.local().ends_with("+back") {
                return Ok(Forward::None);
            }
            match self.file(&format!("~{user}"), Place::Forward).transpose()? {
                None => Ok(Forward::None),
                Some(targets) if targets == [Target::Name("later".to_owned())] => {
                    Ok(Forward::Later)
                }
                Some(targets) => Ok(Forward::To(targets)),
            }
        }

        fn is_here(&self, address: &Mailbox) -> bool {
            address.domain().as_str() == "pi.example"
        }

        fn is_doubtful(&self) -> Option<String> {
            self.table
                .is_doubtful()
                .then(|| "aliases, a bad line".to_owned())
        }
    }

    fn mailbox(text: &str) -> Mailbox {
        Mailbox::parse(text).unwrap()
    }

    fn show(leaf: &Leaf) -> String {
        let user = leaf.user.as_deref().unwrap_or("-");
        let place = match &leaf.end {
            Some(End::Mailbox) => format!("{user}'s"),
            Some(End::File(path)) => format!("{path} as {user}"),
            Some(End::Pipe(line)) => format!("|{line} as {user}"),
            None if leaf.user.is_some() => format!("{user} later"),
            None => leaf.address.to_string(),
        };
        let owner = leaf
            .sender
            .as_ref()
            .map(|s| format!(" from {s}"))
            .unwrap_or_default();
        let through = leaf
            .through
            .as_ref()
            .map(|t| format!(" through {t}"))
            .unwrap_or_default();
        format!("{place}{owner}{through}")
    }

    fn expanded(system: &System, rules: Rules<'_>, to: &str, sender: &str) -> String {
        let sender = match sender {
            "" => ReversePath::Null,
            sender => ReversePath::Mailbox(mailbox(sender)),
        };
        let start = Start {
            address: &mailbox(to),
            user: None,
            sender: &sender,
            before: &[],
        };
        match expand(system, rules, start) {
            Ok(Found::Nobody) => "nobody".to_owned(),
            Ok(Found::Leaves(leaves)) => leaves.iter().map(show).collect::<Vec<_>>().join(" + "),
            Err(Trouble { enhanced, sentence }) => format!("{enhanced} {sentence}"),
        }
    }

    const PLUS: Rules<'static> = Rules {
        delimiter: Some('+'),
        unknown_user: None,
    };

    #[test]
    fn an_address_becomes_those_it_stands_for() {
        let system = System::new(
            "Team: alice, bob, team2, far@x.example\n\
             team2: bob, carol, team\n\
             self: ALICE\n\
             alice: alice, copy@x.example\n\
             a: b\nb: a\n\
             c: d, carol\nd: c\n\
             owner-list: root\n\
             list: :include:/list, \"|archive -x\", /var/archive\n\
             listed: :include:/itself\n\
             away: nowhere-user, bob\n\
             gone: :include:/missing\n\
             poison: :include:/poison\n\
             none: /dev/null\n\
             bad: a b\n\
             sales+eu: carol\n\
             own: \\carol, \\nobody-here\n\
             again: alice@PI.example, alice\n\
             quoted: \"|x\", \"|x\"\n",
            &[
                ("/list", "# members\nalice\nfar@x.example\n:include:/more"),
                ("/more", "bob, carol@y.example\n"),
                ("/itself", ":include:/itself\ncarol\nlisted"),
                ("/poison", "bob\n|rm -rf /\n"),
                ("~bob", "\\bob, bob@x.example, \"|procmail\", team2"),
            ],
        );
        let bobs = "bob's + bob@x.example through bob@pi.example + |procmail as bob + carol's";
        let team = format!("alice's + copy@x.example + {bobs} + far@x.example");
        let rows: &[(&str, &str)] = &[
            ("carol@pi.example", "carol's"),
            ("CAROL@pi.example", "carol's"),
            ("carol+shop@pi.example", "carol's"), // C38, J30
            ("carol-shop@pi.example", "nobody"),
            ("+shop@pi.example", "nobody"),
            ("sales+eu@pi.example", "carol's"), // with the detail first
            ("sales+us@pi.example", "nobody"),
            ("team+x@pi.example", &team),
            ("TEAM@pi.example", &team), // C45, J29: bob, carol and alice once
            ("self@pi.example", "alice's + copy@x.example"),
            ("alice@pi.example", "alice's + copy@x.example"), // J20
            (
                "a@pi.example",
                "5.4.6 a@pi.example runs in a circle: a > b > a",
            ),
            ("c@pi.example", "carol's"),
            (
                "list@pi.example",
                "alice's from owner-list@pi.example + copy@x.example from owner-list@pi.example + \
                 far@x.example from owner-list@pi.example + bob's from owner-list@pi.example + \
                 bob@x.example from owner-list@pi.example through bob@pi.example + \
                 |procmail as bob from owner-list@pi.example + carol's from owner-list@pi.example + \
                 carol@y.example from owner-list@pi.example + \
                 |archive -x as - from owner-list@pi.example + /var/archive as - from owner-list@pi.example",
            ),
            ("owner-list@pi.example", "root's"),
            ("listed@pi.example", "carol's"), // J21
            (
                "away@pi.example",
                &format!(
                    "nowhere-user@pi.example + {bobs} + alice's + copy@x.example through bob@pi.example + far@x.example through bob@pi.example"
                ),
            ),
            ("gone@pi.example", "4.3.5 /missing is not there"),
            (
                "poison@pi.example",
                "4.3.5 /poison, line 2: \"|rm -rf /\" is no address; only the alias file itself and a ~/.forward may \
                 lead to commands and files",
            ),
            ("none@pi.example", ""),
            (
                "bad@pi.example",
                "4.3.5 aliases, line 16: \"a b\" is not one address; put a comma between two",
            ),
            ("own@pi.example", "carol's + nobody-here@pi.example"),
            ("again@pi.example", "alice's + copy@x.example"),
            ("quoted@pi.example", "|x as -"),
            ("PostMaster@pi.example", "root's"), // C9, R27
            ("abuse+x@pi.example", "root's"),
            ("mailer-daemon@pi.example", "root's"),
            ("daemon@pi.example", "daemon's"),
            ("\"|id\"@pi.example", "nobody"), // C13, J23
            ("\"/var/x\"@pi.example", "nobody"),
            ("\":include:/list\"@pi.example", "nobody"),
            ("\"bob@x.example\"@pi.example", "nobody"), // C4
            ("bob%x.example@pi.example", "nobody"),     // C1
        ];
        for (to, expected) in rows {
            assert_eq!(
                expanded(&system, PLUS, to, "s@x.example"),
                *expected,
                "{to}"
            );
        }
        // A report keeps its null sender.
        let report = expanded(&system, PLUS, "list@pi.example", "");
        assert!(!report.contains("owner-list"), "{report}");
    }

    #[test]
    fn somebody_stands_for_those_without_a_mailbox() {
        let system = System::new("root: carol\nabuse: bob\n", &[("~bob", "root@pi.example")]);
        let unknown = Target::Name("alice".to_owned());
        let far = Target::Address(mailbox("all@x.example"));
        let nobody = Target::Name("not-here".to_owned());
        let dash = |unknown_user| Rules {
            delimiter: Some('-'),
            unknown_user,
        };
        let rows = [
            ("postmaster", None, "carol's"),
            ("abuse", None, "carol's"),
            ("mailer-daemon", None, "carol's"),
            ("daemon", None, "carol's"),
            ("root-x", None, "carol's"),
            ("whoever", None, "nobody"),
            ("whoever", Some(&unknown), "alice's"),
            ("whoever", Some(&far), "all@x.example"),
            ("whoever", Some(&nobody), "nobody"),
            ("alice-x", Some(&far), "alice's"),
        ];
        for (name, unknown_user, expected) in rows {
            let to = format!("{name}@pi.example");
            assert_eq!(
                expanded(&system, dash(unknown_user), &to, "s@x.example"),
                expected,
                "{to}"
            );
        }
        // J28: a name is not called unknown while a line may mean it.
        let torn = System::new("alice: bob\nwho", &[]);
        assert_eq!(
            expanded(&torn, PLUS, "who@pi.example", "s@x.example"),
            "4.3.5 aliases, a bad line"
        );
        assert_eq!(
            expanded(&torn, PLUS, "alice@pi.example", "s@x.example"),
            "bob's"
        );
    }

    #[test]
    fn a_forward_that_leads_back_means_the_mailbox() {
        type Files = &'static [(&'static str, &'static str)];
        let rows: &[(&str, Files, &str)] = &[
            ("alice", &[], "alice's"),
            ("alice", &[("~alice", "# none\n")], "alice's"), // J19
            ("alice", &[("~alice", "alice")], "alice's"),
            ("alice", &[("~alice", "bob"), ("~bob", "alice")], "alice's"),
            ("alice", &[("~alice", "ring")], "alice's"),
            ("alice", &[("~alice", "later")], "alice later"),
            (
                "alice",
                &[("~alice", "bob\ncarol@pi.example"), ("~bob", "later")],
                "bob later + carol's",
            ),
            (
                "alice",
                &[("~alice", "far@x.example")],
                "far@x.example through alice@pi.example",
            ),
            ("alice+back", &[("~alice", "far@x.example")], "alice's"),
            (
                "alice",
                &[("~alice", ":include:/l, /home/alice/f"), ("/l", "|x")],
                "|x as alice + /home/alice/f as alice",
            ),
            (
                "alice",
                &[("~alice", "a b")],
                "4.3.5 ~alice, line 1: \"a b\" is not one address; put a comma between two",
            ),
        ];
        for (to, files, expected) in rows {
            let system = System::new("ring: alice\n", files);
            let to = format!("{to}@pi.example");
            assert_eq!(
                expanded(&system, PLUS, &to, "s@x.example"),
                *expected,
                "{to} {files:?}"
            );
        }
    }

    #[test]
    fn what_is_expanded_later_does_not_begin_anew() {
        let system = System::new(
            "ring: alice\n",
            &[("~alice", "bob, ring"), ("~bob", "alice")],
        );
        let sender = ReversePath::Mailbox(mailbox("s@x.example"));
        let (ring, alice, bob) = (
            mailbox("ring@pi.example"),
            mailbox("alice@pi.example"),
            mailbox("bob@pi.example"),
        );
        let start = Start {
            address: &bob,
            user: Some("bob"),
            sender: &sender,
            before: &[(ring, None), (alice, Some("alice".to_owned()))],
        };
        let found = expand(&system, PLUS, start).unwrap();
        let Found::Leaves(leaves) = found else {
            panic!("{found:?}");
        };
        assert_eq!(leaves.iter().map(show).collect::<Vec<_>>(), ["alice's"]);
    }

    #[test]
    fn depth_and_number_are_bounded() {
        let mut chain = String::new();
        for n in 0..1000 {
            chain.push_str(&format!("a{n}: a{}\n", n + 1));
        }
        let system = System::new(&chain, &[]); // J21
        let deep = expanded(&system, PLUS, "a0@pi.example", "s@x.example");
        assert!(
            deep.starts_with("5.4.6 more than 50 aliases and lists lead from one to the next"),
            "{deep}"
        );
        let many: String = (0..=MAX_LEAVES)
            .map(|n| format!("u{n}@x.example\n"))
            .collect();
        let system = System::new("all: :include:/all\n", &[("/all", &many)]); // J22
        let many = expanded(&system, PLUS, "all@pi.example", "s@x.example");
        assert!(
            many.starts_with("4.5.3 the aliases and lists lead to more than 10000 recipients"),
            "{many}"
        );
    }

    /// RFC 3461 5.2.7.
    #[test]
    fn wishes_for_reports_go_on() {
        let notify = Notify::parse("SUCCESS,FAILURE");
        let leaf = |sender: Option<&str>| Leaf {
            address: mailbox("far@x.example"),
            end: None,
            user: None,
            sender: sender.map(mailbox),
            through: None,
            path: Vec::new(),
        };
        let parent = |orcpt: Option<&str>| Recipient {
            notify,
            orcpt: orcpt.map(str::to_owned),
            ..Recipient::plain(mailbox("team+a@pi.example"))
        };
        let rows = [
            (
                None,
                None,
                true,
                "SUCCESS,FAILURE rfc822;team+2Ba@pi.example",
            ),
            (Some("rfc822;x"), None, true, "SUCCESS,FAILURE rfc822;x"),
            (None, None, false, "FAILURE rfc822;team+2Ba@pi.example"),
            (Some("rfc822;x"), Some("owner@pi.example"), true, "- -"),
        ];
        for (orcpt, sender, alone, expected) in rows {
            let made = children(&parent(orcpt), 3, vec![leaf(sender)], alone);
            let child = &made[0];
            let notify = child.notify.map_or("-".to_owned(), |n| n.to_string());
            let shown = format!("{notify} {}", child.orcpt.as_deref().unwrap_or("-"));
            assert_eq!(shown, expected);
            let origin = child.origin.as_ref().unwrap();
            assert_eq!((origin.of, origin.sender.clone()), (3, sender.map(mailbox)));
        }
        let only = Recipient {
            notify: Notify::parse("SUCCESS"),
            ..parent(None)
        };
        let made = children(&only, 0, vec![leaf(None), leaf(None)], false);
        assert_eq!(made[0].notify.unwrap().to_string(), "NEVER");
    }
}
