//! What addresses stand for: aliases, lists, forwards, their loops and their bounds.

use std::cell::Cell;

use super::super::alias::{Place, Table, read_list};
use super::super::envelope::Recipient;
use super::*;

/// A system of pi.example with the users root, alice, bob, carol and the service daemon, and these files.
struct System {
    table: Table,
    files: Vec<(&'static str, String)>,
    /// How many lists were read.
    read: Cell<usize>,
}

impl System {
    fn new(aliases: &str, files: &[(&'static str, &str)]) -> Self {
        Self {
            table: Table::parse(aliases.to_owned()),
            files: files.iter().map(|(n, t)| (*n, (*t).to_owned())).collect(),
            read: Cell::new(0),
        }
    }

    fn file(&self, name: &str, place: Place) -> Option<Result<Vec<Target>, Trouble>> {
        let name = name.split('?').next()?;
        let (_, text) = self.files.iter().find(|(n, _)| *n == name)?;
        let list = read_list(text, place);
        Some(list.map_err(|fault| Trouble::here(format!("{name}, {fault}"))))
    }
}

impl World for System {
    fn original(&self, address: &Mailbox) -> Result<Option<Mailbox>, Trouble> {
        let back = address.local().strip_prefix("SRS0=x=");
        Ok(back.map(|back| mailbox(&back.replace('=', "@"))))
    }

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
        self.read.set(self.read.get() + 1);
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
            Some(targets) if targets == [Target::Name("later".to_owned())] => Ok(Forward::Later),
            Some(targets) => Ok(Forward::To(targets)),
        }
    }

    fn is_here(&self, address: &Mailbox) -> bool {
        address.domain().as_str() == "pi.example"
    }

    fn is_doubtful(&self, _: &Mailbox) -> Option<String> {
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
fn a_circle_by_what_stands_for_root_ends_in_its_mailbox() {
    // Aliases, a name, and where its mail ends.
    let rows = [
        ("root: postmaster", "root", "root's"),
        ("root: postmaster", "postmaster", "root's"),
        ("root: postmaster", "daemon", "root's"),
        ("root: Abuse@pi.example", "root", "root's"),
        ("root: daemon", "root", "root's"),
        ("root: postmaster+x", "root+y", "root's"),
        ("root: x\nx: mailer-daemon", "x", "root's"),
        ("root: x\nx: mailer-daemon", "root", "root's"),
        ("root: alice, postmaster", "postmaster", "alice's"),
        ("root: \\daemon", "abuse", "daemon's"),
        (
            "root: x\nx: root",
            "x",
            "5.4.6 x@pi.example runs in a circle: x > root > x",
        ),
        (
            "root: postmaster\npostmaster: root",
            "root",
            "5.4.6 root@pi.example runs in a circle: root > postmaster > root",
        ),
    ];
    for (aliases, name, expected) in rows {
        let system = System::new(aliases, &[]);
        let to = format!("{name}@pi.example");
        assert_eq!(
            expanded(&system, PLUS, &to, "s@x.example"),
            expected,
            "{aliases} {name}"
        );
    }
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
#[cfg_attr(miri, ignore = "takes too long")]
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
    let again = ":include:/all\n".repeat(100) + "alice\n";
    let system = System::new("all: :include:/all\n", &[("/all", &again)]);
    assert_eq!(
        expanded(&system, PLUS, "all@pi.example", "s@x.example"),
        "alice's"
    );
    assert_eq!(system.read.get(), 1);
    // Each of them under a name of its own, as a path has many.
    let others = |n| format!(":include:/one?{n}\n");
    let others: String = (0..=MAX_LISTS).map(others).collect();
    let files = [("/all", others.as_str()), ("/one", "alice")];
    let system = System::new("all: :include:/all\n", &files);
    let many = expanded(&system, PLUS, "all@pi.example", "s@x.example");
    assert!(
        many.starts_with("4.5.3 the aliases and lists include more than 1000 lists"),
        "{many}"
    );
    assert_eq!(system.read.get(), MAX_LISTS);
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
