//! Aliases, lists, owners, catch-all and details: from the alias file through the queue to whom the mail is for. The
//! file itself is in tests/alias_file.rs, ~/.forward in tests/forward.rs.

use std::fs;

use crate::harness::system::{Call, HOST, age, me, user};
use crate::harness::{Answer, Mail, Remote, Script, System};

pub const MESSAGE: &str = "From: s@example.org\nSubject: x\n\nhello\n";

/// A system with these aliases, in which USER is whoever runs the tests and ROOT its folder.
pub fn with(system: System, aliases: &str) -> System {
    let root = system.root.display().to_string();
    let text = aliases.replace("USER", &user()).replace("ROOT", &root);
    fs::write(system.path("aliases"), text).unwrap();
    system
}

pub fn send(system: &System, args: &[&str], to: &[&str]) {
    system.accept(
        &[&["-i", "-odq", "-f", "s@example.org"], args, to].concat(),
        MESSAGE,
    );
    flush(system);
}

pub fn flush(system: &System) {
    for _ in 0..3 {
        system.accept(&["-q"], "");
    }
}

/// What the server was told: senders and recipients, in order of the alphabet.
pub fn told(remote: &Remote) -> Vec<String> {
    let commands = remote.commands().into_iter();
    let mut told: Vec<String> = commands
        .filter(|c| c.starts_with("MAIL") || c.starts_with("RCPT"))
        .map(|c| {
            c.split("> ")
                .next()
                .unwrap()
                .trim_end_matches('>')
                .to_owned()
                + ">"
        })
        .collect();
    told.sort();
    // One transaction or two: who was found to be a recipient may join the others or come later.
    told.dedup();
    told
}

/// R78, J29, C45: one address becomes several, here and elsewhere; sender and text stay; nobody gets two.
#[test]
fn an_alias_reaches_everybody_once() {
    let remote = Remote::start(Script::new());
    let system = with(
        System::relaying("alias", &remote),
        "Team: USER, far@example.net, :include:ROOT/list, team2\nteam2: far@example.net, USER, team\n",
    );
    fs::write(
        system.path("list"),
        "# members\nother@example.net\nfar@example.net\n",
    )
    .unwrap();
    send(
        &system,
        &[],
        &[&format!("tEAM@{HOST}"), &me(), "team2", "other@example.net"],
    );
    assert!(system.queue().is_empty(), "{}", system.log());
    let found = system.mailbox();
    assert_eq!(found.len(), 1, "{}", system.log());
    assert_eq!(
        found[0].field("Return-Path").as_deref(),
        Some("<s@example.org>")
    );
    assert_eq!(found[0].body(), "hello\n");
    assert_eq!(
        told(&remote),
        [
            "MAIL FROM:<s@example.org>",
            "RCPT TO:<far@example.net>",
            "RCPT TO:<other@example.net>",
        ]
    );
    assert!(system.log().contains(" expanded to="), "{}", system.log());
    let same = format!(" same=\"{}", me());
    assert!(system.log().contains(&same), "{}", system.log());
}

/// Two aliases with the same members, one of which cannot be looked at before some have the message by the other: nobody
/// gets two of them in a later run, neither who has it nor who still waits for it.
#[test]
fn a_later_expansion_leaves_out_who_has_it() {
    let remote = Remote::start(Script::new().once("RCPT TO:<later@", "450 4.2.1 busy"));
    let system = with(
        System::relaying("alias-later", &remote),
        "team: USER, far@example.net, later@example.net\ncrew: a b\n",
    );
    let to = ["-i", "-odq", "-f", "s@example.org", "team", "crew"];
    system.accept(&to, MESSAGE);
    system.accept(&["-q"], "");
    assert_eq!((system.mailbox().len(), remote.received().len()), (1, 1));
    let members = "USER, far@example.net, later@example.net, new@example.net";
    let system = with(system, &format!("team: {members}\ncrew: {members}, team\n"));
    flush(&system);
    assert!(system.queue().is_empty(), "{}", system.log());
    assert_eq!(system.mailbox().len(), 1, "{}", system.log());
    let received = remote.received();
    let mut reached: Vec<String> = received.iter().flat_map(|r| r.recipients()).collect();
    reached.sort();
    assert_eq!(
        reached,
        ["far@example.net", "later@example.net", "new@example.net"]
    );
}

/// What waits is shown, and the queue file says what has happened, in lines that a person can read.
#[test]
fn the_queue_knows_whom_an_alias_stands_for() {
    let system = with(
        System::offline("alias-queue"),
        "team: far@example.net, USER\n",
    )
    .with("", &format!("domains = [\"{HOST}\"]"));
    system.accept(
        &["-i", "-odq", "-f", "s@example.org", "-N", "failure", "team"],
        MESSAGE,
    );
    system.accept(&["-q"], "");
    let queued = system.queued();
    assert_eq!(queued.recipients(), [format!("team@{HOST}")]);
    let line = &queued.journal[0];
    let orcpt = format!("ORCPT=rfc822;team@{HOST}");
    let user = user();
    assert!(
        line.ends_with(&format!(
            " to 1 expanded 2-3 <far@example.net> NOTIFY=FAILURE {orcpt} \
             <{user}@{HOST}> NOTIFY=FAILURE {orcpt} USER={user} END=mailbox"
        )),
        "{line}"
    );
    let list = system.run(&["-bp"], "").stdout;
    assert!(list.contains("    far@example.net\n"), "{list}");
    assert!(!list.contains("team"), "{list}");
    let json = system.run(&["-bp", "--json"], "").stdout;
    assert!(json.contains("\"address\":\"far@example.net\""), "{json}");
    let chosen = system.run(&["-bp", "-qRfar@"], "").stdout;
    assert!(chosen.contains("far@example.net"), "{chosen}");
}

/// R79: a list has its owner for a sender, who hears of failures in place of whoever wrote to it.
#[test]
fn the_owner_of_a_list_hears_of_its_failures() {
    let remote = Remote::start(Script::new().on("RCPT TO:<bad@", "550 5.1.1 no such user"));
    let system = with(
        System::relaying("owner", &remote),
        "list: good@example.net, bad@example.net\nowner-list: USER\n",
    );
    send(&system, &[], &["list", "bad@example.net"]);
    assert!(system.queue().is_empty(), "{}", system.log());
    let commands = told(&remote);
    let owner = format!("MAIL FROM:<owner-list@{HOST}>");
    assert!(commands.contains(&owner), "{commands:?}");
    // The sender hears of his own address, and the owner of nothing that he did not send.
    assert!(
        commands.contains(&"RCPT TO:<s@example.org>".to_owned()),
        "{commands:?}"
    );
    let here = system.mailbox();
    assert!(here.is_empty(), "bad@ had it already, from its sender");
    send(&system, &[], &["list"]);
    let here = system.mailbox();
    assert_eq!(here.len(), 1, "{}", system.log());
    assert_eq!(here[0].field("To"), Some(format!("owner-list@{HOST}")));
    assert!(
        here[0]
            .text()
            .contains("Final-Recipient: rfc822; bad@example.net")
    );
    let to_sender = told(&remote)
        .iter()
        .filter(|c| c.contains("<s@example.org>"))
        .count();
    assert_eq!(
        to_sender,
        2,
        "its own MAIL and its report, and no more: {:?}",
        told(&remote)
    );
}

/// J20, F16: what runs in a circle fails, once, and its sender is told why.
#[test]
fn a_circle_is_reported() {
    let remote = Remote::start(Script::new());
    let system = with(
        System::relaying("circle", &remote),
        "a: b\nb: a\nalone: alone\n",
    );
    send(&system, &[], &["a"]);
    send(&system, &[], &["alone"]);
    assert!(system.queue().is_empty(), "{}", system.log());
    let reports: Vec<Mail> = remote.received().iter().map(|r| r.mail()).collect();
    assert_eq!(reports.len(), 2);
    assert!(
        reports[0].text().contains("runs in a circle: a > b > a"),
        "{}",
        reports[0].text()
    );
    assert!(
        reports[1].text().contains("there is no user alone here"),
        "{}",
        reports[1].text()
    );
}

/// `[local] unknown_user` and `delimiter` (C38, J30).
#[test]
fn unknown_names_and_details_find_somebody() {
    let remote = Remote::start(Script::new());
    let system = with(
        System::relaying("catch", &remote),
        "sales-eu: far@example.net\n",
    )
    .with(
        "local",
        "unknown_user = \"all@example.net\"\ndelimiter = \"-\"",
    );
    send(
        &system,
        &[],
        &[
            "whoever",
            "sales-EU",
            "sales-us",
            &format!("{}-shop", user()),
        ],
    );
    assert!(system.queue().is_empty(), "{}", system.log());
    assert_eq!(
        told(&remote),
        [
            "MAIL FROM:<s@example.org>",
            "RCPT TO:<all@example.net>",
            "RCPT TO:<far@example.net>"
        ]
    );
    let here = system.mailbox();
    assert_eq!(here.len(), 1);
    let to = format!("{}-shop@{HOST}", user());
    assert_eq!(here[0].field("Delivered-To"), Some(to));
}

/// Who stands for unknown names must be somebody.
#[test]
fn unknown_names_for_nobody_are_refused() {
    let rows = [
        ("nobodyhere", 67),
        ("nobodyhere@HOST", 67),
        ("USER", 0),
        ("team", 0),
        ("postmaster", 0),
        ("all@example.net", 0),
    ];
    for (who, code) in rows {
        let who = who.replace("HOST", HOST).replace("USER", &user());
        let system = with(System::new("stand-in"), "team: USER\n")
            .with("local", &format!("unknown_user = \"{who}\""));
        let ran = system.run(&["-odq", "whoever"], MESSAGE);
        assert_eq!(ran.code, code, "{who} {ran:?}");
        let asked = system.run(&["-bv", "whoever"], "");
        assert_eq!(asked.code == 67, code == 67, "{who} {asked:?}");
    }
}

/// C9, R27, R28, L4: postmaster is root's alias, or root; and what cannot be told to it is kept, and does not go round.
#[test]
fn postmaster_is_whom_root_stands_for() {
    let remote = Remote::start(Script::new().on("RCPT TO:<gone@", "550 5.1.1 no such user"));
    let system = with(System::relaying("post", &remote), "root: far@example.net\n");
    send(&system, &[], &["PostMaster"]);
    assert!(told(&remote).contains(&"RCPT TO:<far@example.net>".to_owned()));
    let system = with(system, "root: gone@example.net\nlist: gone@example.net\n");
    system.accept(&["-i", "-odq", "-f", "<>", "list"], MESSAGE);
    for _ in 0..6 {
        system.accept(&["-q"], "");
    }
    assert!(system.queue().is_empty(), "{}", system.log());
    assert_eq!(system.names("hold").len(), 1, "{}", system.log());
}

/// RFC 3461 5.2.7: several successors are told of as an expansion, one speaks for himself, a list has it.
#[test]
fn an_expansion_is_reported_where_it_was_asked_for() {
    for (aliases, action, options) in [
        (
            "team: a@example.net, b@example.net\n",
            Some("expanded"),
            "NOTIFY=NEVER",
        ),
        ("team: a@example.net\n", None, "NOTIFY=SUCCESS"),
        (
            "team: a@example.net\nowner-team: USER\n",
            Some("delivered"),
            "",
        ),
    ] {
        let remote = Remote::start(Script::new().offers("DSN"));
        let system = with(System::relaying("expanded", &remote), aliases);
        system.accept(&["-i", "-odq", "-N", "success", "team"], MESSAGE);
        flush(&system);
        assert!(system.queue().is_empty(), "{}", system.log());
        let reports: Vec<String> = system
            .mailbox()
            .iter()
            .map(|m| m.text().to_owned())
            .collect();
        assert_eq!(
            reports.len(),
            usize::from(action.is_some()),
            "{aliases} {reports:?}"
        );
        if let Some(action) = action {
            assert!(
                reports[0].contains(&format!("Action: {action}")),
                "{}",
                reports[0]
            );
            assert!(reports[0].contains(&format!("Final-Recipient: rfc822; team@{HOST}")));
        }
        let rcpt = remote
            .commands()
            .into_iter()
            .find(|c| c.starts_with("RCPT TO:<a@"))
            .unwrap();
        let expected = match options {
            "" => "RCPT TO:<a@example.net>".to_owned(),
            notify => format!("RCPT TO:<a@example.net> {notify} ORCPT=rfc822;team@{HOST}"),
        };
        assert_eq!(rcpt, expected);
    }
}

/// `-bv` shows the way, and `--json` says the same to programs.
#[test]
fn the_way_of_an_address_is_shown() {
    let remote = Remote::start(Script::new());
    let system = with(
        System::relaying("way", &remote),
        "staff: bosses, USER\nbosses: far@example.net\nbad: a b\nnone: /dev/null\nc: \"|cmd\"\n",
    );
    let address = remote.address;
    let mailbox = system.maildir().display().to_string();
    let user = user();
    let rows = [
        (
            "staff",
            0,
            format!(
                "staff: alias staff > alias bosses > far@example.net: smarthost {address}\n\
                 staff: alias staff > local user {user}, mailbox {mailbox}/\n"
            ),
        ),
        ("none", 0, "none: thrown away\n".to_owned()),
        ("<none>", 0, "<none>: thrown away\n".to_owned()),
        (
            "Far <far@example.net>",
            0,
            format!("Far <far@example.net>: smarthost {address}\n"),
        ),
        ("c", 0, "c: alias c > command cmd, as nobody\n".to_owned()),
        (
            "nobody-here",
            67,
            "nobody-here: there is no user nobody-here here\n".to_owned(),
        ),
    ];
    for (to, code, expected) in rows {
        let ran = system.run(&["-bv", to], "");
        assert_eq!((ran.code, ran.stdout), (code, expected), "{to}");
    }
    assert_eq!(system.run(&["-bv", "bad"], "").code, 75);
    let json = system.run(&["-bv", "--json", "staff"], "").stdout;
    assert!(
        json.contains("\"path\":[\"alias staff\",\"alias bosses\"]"),
        "{json}"
    );
}

/// A stop at every step between expansion and delivery: nobody is forgotten, and nobody gets more than one copy too
/// many.
#[test]
fn a_crash_within_an_expansion_loses_nobody() {
    for what in ["kill", "EIO", "ENOSPC"] {
        let mut step = 0;
        loop {
            step += 1;
            assert!(step < 100, "{what}");
            let fault = format!("{step}:{what}");
            let remote = Remote::start(Script::new().once("RCPT TO:<later@", "450 4.2.1 busy"));
            let system = with(
                System::relaying("crash-alias", &remote),
                "team: USER, far@example.net, later@example.net, ROOT/mail/box\n",
            );
            system.accept(&["-i", "-odq", "-f", "s@example.org", "team"], MESSAGE);
            let call: Call = system.call("sendmail").args(&["-q"]);
            let ran = call.env("MINIMTA_FAULT", &fault).run();
            if system.path("mail/box.lock").exists() {
                age(&system.path("mail/box.lock"), 3600);
            }
            flush(&system);
            assert!(system.queue().is_empty(), "{fault}: {}", system.log());
            assert!(system.names("hold").is_empty(), "{fault}: {}", system.log());
            let count = |to: &str| {
                let has = |r: &&crate::harness::remote::Received| {
                    r.recipients().iter().any(|t| t.contains(to))
                };
                remote.received().iter().filter(has).count()
            };
            let file = fs::read_to_string(system.path("mail/box")).unwrap_or_default();
            let copies = [
                ("here", system.mailbox().len()),
                ("box", file.matches("\nhello\n").count()),
                ("far@", count("far@")),
                ("later@", count("later@")),
            ];
            for (who, copies) in copies {
                assert!(
                    (1..=2).contains(&copies),
                    "{fault}: {copies} for {who}\n{}",
                    system.log()
                );
            }
            if ran.code != -6
                && !ran.stderr.contains("fault injected")
                && !system.log().contains("fault injected")
            {
                assert!(step > 4, "{what}: {step} steps");
                break;
            }
        }
    }
}

/// What goes straight through goes to all whom an alias stands for, or into the spool.
#[test]
fn an_alias_goes_straight_through() {
    let remote =
        Remote::start(Script::new().once("RCPT TO:<later@", Answer::from("450 4.2.1 busy")));
    let system = with(
        System::relaying("alias-direct", &remote),
        "team: USER, far@example.net, later@example.net\n",
    )
    .with("queue", "first_try = \"direct\"");
    system.accept(&["-i", "-odi", "-f", "s@example.org", "team"], MESSAGE);
    flush(&system);
    assert!(system.queue().is_empty(), "{}", system.log());
    assert_eq!(system.mailbox().len(), 1);
    assert_eq!(remote.received().len(), 2);
}
