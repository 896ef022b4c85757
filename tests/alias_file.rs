//! The alias file as such: what is wrong in it, when it cannot be read, and the files and commands it names.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::alias::{MESSAGE, flush, send, told, with};
use crate::harness::system::{HOST, finish, me, until};
use crate::harness::{Remote, Script, System, Talk};

/// What is wrong with one alias keeps its mail waiting, with the place, and no other's; mended, it goes out.
#[test]
fn an_error_hurts_its_own_alias_only() {
    let remote = Remote::start(Script::new());
    let system = with(
        System::relaying("broken", &remote),
        "good: far@example.net\nbad: a b\n",
    );
    send(&system, &[], &["good"]);
    send(&system, &[], &["bad"]);
    assert_eq!(remote.received().len(), 1);
    let list = system.run(&["-bp"], "").stdout;
    let file = system.path("aliases").display().to_string();
    let why = format!("{file}, line 2: \"a b\" is not one address; put a comma between two");
    assert!(list.contains(&why), "{list}");
    let system = with(system, "good: far@example.net\nbad: b@example.net\n");
    flush(&system);
    assert!(system.queue().is_empty(), "{}", system.log());
    assert!(told(&remote).contains(&"RCPT TO:<b@example.net>".to_owned()));
}

/// Nobody is called unknown while the aliases cannot be read, or a line of them.
#[test]
fn nobody_is_unknown_while_aliases_cannot_be_read() {
    let steps = |system: &System, rows: &[(&str, &str)]| {
        let mut talk = Talk::start(system, &["-bs"]);
        talk.steps(&[("EHLO x", "250"), ("MAIL FROM:<s@example.org>", "250")]);
        for (to, code) in rows {
            talk.steps(&[(&format!("RCPT TO:<{to}>"), code)]);
        }
        talk.steps(&[("QUIT", "221")]);
        assert_eq!(talk.end().code, 0);
    };
    let system = with(System::new("unknown"), "team: USER\nodd: a b\n");
    let here = |name: &str| format!("{name}@{HOST}");
    let (team, detail, odd, who, post) = (
        here("TEAM"),
        here("team+x"),
        here("odd"),
        here("who"),
        "postmaster".to_owned(),
    );
    let pipe = format!("\"|id\"@{HOST}");
    steps(
        &system,
        &[
            (&team, "250"),
            (&detail, "250"),
            (&odd, "250"),
            (&who, "550"),
            (&post, "250"),
            (&pipe, "550"),
            (&me(), "250"),
        ],
    );
    let system = with(system, "team: USER\nwho\n");
    steps(&system, &[(&team, "250"), (&who, "451"), (&me(), "250")]);
    // It is said of the name that is missing, not of the one that stands for it.
    let system = with(system, "team: nosuch\nwho\n");
    let ran = system.run(&["-bv", "team"], "");
    let said = format!(
        "may mean {} in a line that cannot be read: line 2: ",
        here("nosuch")
    );
    assert!(format!("{ran:?}").contains(&said), "{said}{ran:?}");
    let system = with(system, "team: USER\nwho\n");
    fs::set_permissions(system.path("aliases"), fs::Permissions::from_mode(0o666)).unwrap();
    steps(&system, &[(&team, "451"), (&me(), "451")]);
    // sendmail takes it, for it can wait; and exit 67 is for who is surely unknown.
    system.accept(&["-odq", "who"], MESSAGE);
    fs::remove_file(system.path("aliases")).unwrap();
    assert_eq!(system.run(&["-odq", "who"], MESSAGE).code, 67);
}

/// A file that was emptied just now may be one that is being written: whoever meets it has read none before.
#[test]
fn nobody_is_unknown_while_the_alias_file_is_being_written() {
    let system = with(System::new("emptied"), "sales: USER\n");
    system.accept(&["-odq", "sales"], MESSAGE);
    // The time of a file that is new for as long as this takes, however slow the machine is.
    let empty = || {
        fs::write(system.path("aliases"), "").unwrap();
        let file = fs::File::options().write(true).open(system.path("aliases"));
        let soon = SystemTime::now() + Duration::from_millis(1500);
        file.unwrap().set_modified(soon).unwrap();
    };
    empty();
    system.accept(&["-q"], "");
    assert!(!system.log().contains(" failed to="), "{}", system.log());
    assert_eq!(system.names("cur").len(), 1, "{}", system.log());
    let list = system.run(&["-bp"], "").stdout;
    assert!(list.contains("was changed just now"), "{list}");
    empty();
    system.accept(&["-odq", "sales"], MESSAGE);
    empty();
    let mut talk = Talk::start(&system, &["-bs"]);
    talk.steps(&[
        ("EHLO x", "250"),
        ("MAIL FROM:<s@example.org>", "250"),
        (&format!("RCPT TO:<sales@{HOST}>"), "451"),
        ("QUIT", "221"),
    ]);
    assert_eq!(talk.end().code, 0);
    let system = with(system, "sales: USER\n");
    flush(&system);
    assert!(system.queue().is_empty(), "{}", system.log());
    assert_eq!(system.mailbox().len(), 2);
}

/// A file and a command of the alias file; without root they have the rights of whoever runs this.
#[test]
fn files_and_commands_of_the_alias_file_get_the_message() {
    let system = with(
        System::new("ends"),
        "all: ROOT/mail/box, ROOT/mail/folder/, \"|cat > ROOT/mail/piped; echo \\\"$RECIPIENT\\\" > ROOT/mail/to\", /dev/null\n\
         none: /dev/null\n",
    );
    send(&system, &[], &["all"]);
    send(&system, &[], &["none"]);
    assert!(system.queue().is_empty(), "{}", system.log());
    let read = |name: &str| fs::read_to_string(system.path(name)).unwrap();
    assert!(
        read("mail/box").starts_with("From s@example.org "),
        "{}",
        read("mail/box")
    );
    assert!(read("mail/piped").ends_with("\nhello\n"));
    assert_eq!(read("mail/to"), format!("all@{HOST}\n"));
    assert_eq!(system.names("../mail/folder/new").len(), 1);
}

/// tests/configs/aliases: each file, and what newaliases says of it.
#[test]
fn newaliases_says_what_is_wrong_and_where() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/configs/aliases");
    let mut cases = 0;
    for case in fs::read_dir(&folder).unwrap() {
        let case = case.unwrap().path();
        let file = case.join("aliases").display().to_string();
        let system = System::new("bad-aliases").with("local", &format!("aliases = \"{file}\""));
        let ran = system.call("newaliases").run();
        let said = ran.stderr.replace("newaliases: ", "") + &ran.stdout;
        let expected = fs::read_to_string(case.join("expected")).unwrap();
        assert_eq!(said.replace(&file, "FILE"), expected, "{}", case.display());
        assert_eq!(ran.code, 78, "{}", case.display());
        let check = system.run(&["--check"], "");
        assert_eq!(check.code, 78, "{check:?}");
        assert!(
            check.stdout.contains(&format!("error    {file}: line ")),
            "{check:?}"
        );
        cases += 1;
    }
    assert!(cases >= 8);
    let system = with(
        System::new("good"),
        "root: USER\npostmaster: root\nabuse: postmaster\n",
    );
    let ran = system.call("newaliases").run();
    let file = system.path("aliases").display().to_string();
    assert_eq!(
        (ran.code, ran.stdout),
        (0, format!("{file}: 3 aliases, longest chain 3\n"))
    );
    let check = |system: &System| system.run(&["--check"], "").stdout;
    assert!(!check(&system).contains("no alias for root"));
    assert!(check(&with(system, "a: USER\n")).contains("there is no alias for root"));
    // What becomes of mail for a name that is nobody's.
    for (key, becomes) in [
        ("delimiter = \"+\"", "comes back"),
        (
            "unknown_user = \"root\"",
            "goes to root, as [local] unknown_user says",
        ),
    ] {
        let system = with(
            System::new("nobody-at-all").with("local", key),
            "root: USER\nweb: nobody-at-all\n",
        );
        let ran = system.call("newaliases").run();
        let said = format!(
            "line 2: nobody-at-all, to whom web leads, is neither a user nor an alias; mail for web {becomes}\n"
        );
        assert!(ran.stderr.ends_with(&said), "{ran:?}");
    }
}

/// An alias that leads back to root through a name that has none: newaliases and --check tell, and mail stays.
#[test]
fn mail_that_only_leads_back_to_root_stays_in_its_mailbox() {
    let host = format!("postmaster@{HOST}");
    // The alias file, and the name that the warning is about.
    let rows = [
        ("root: postmaster\n", "postmaster"),
        ("root: mailer-daemon+x\n", "mailer-daemon"),
        (&format!("root: {host}\n"), "postmaster"),
        ("root: daemon\n", "daemon"),
        ("a: abuse\nroot: a\n", "abuse"),
    ];
    for (aliases, name) in rows {
        let system = with(System::new("fallback"), aliases);
        let ran = system.call("newaliases").run();
        let warning = "has no alias, so that his mail is root's again";
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(ran.stderr.contains(&format!("{name}, to whom ")), "{ran:?}");
        assert!(ran.stderr.contains(warning), "{ran:?}");
        let check = system.run(&["--check"], "").stdout;
        assert!(check.contains(warning), "{check}");
        for to in ["root", "postmaster", "daemon"] {
            send(&system, &[], &[to]);
        }
        assert!(system.queue().is_empty(), "{}", system.log());
        assert_eq!(system.mailbox().len(), 3, "{aliases} {}", system.log());
    }
    // What goes to somebody is in order, and so is a mailbox that is meant.
    for aliases in ["root: USER\npostmaster: root\n", "root: \\daemon\n"] {
        let ran = with(System::new("no-fallback"), aliases)
            .call("newaliases")
            .run();
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{aliases}");
    }
}

/// More recipients than a message may have; who is reached twice counts once.
#[test]
fn newaliases_counts_recipients() {
    let system = System::new("many");
    let list = |from: usize, to: usize| -> String {
        (from..to).map(|n| format!("u{n}@example.net\n")).collect()
    };
    fs::write(system.path("one"), list(0, 6000)).unwrap();
    fs::write(system.path("two"), list(4000, 10_000)).unwrap();
    fs::write(system.path("three"), list(10_000, 10_001)).unwrap();
    let system = with(
        system,
        "good: :include:ROOT/one, :include:ROOT/two\nbad: good, :include:ROOT/three\n",
    );
    let ran = system.call("newaliases").run();
    let file = system.path("aliases").display().to_string();
    assert_eq!(ran.code, 78, "{ran:?}");
    assert_eq!(
        ran.stderr.replace(&file, "FILE"),
        "newaliases: FILE, line 2: bad: the aliases and lists lead to more than 10000 recipients; divide them\n"
    );
}

/// A command that takes its time for each of many messages has not all the places, whatever other names lead to it: others
/// have their mail meanwhile.
#[test]
fn a_slow_command_holds_up_no_mail_of_others() {
    let remote = Remote::start(Script::new());
    let system = with(
        System::relaying("slow", &remote),
        "slow: \"|cat > /dev/null; until test -e ROOT/go; do sleep 0.1; done\"\nother: slow\nfar: far@example.net\n",
    );
    let slow = [["slow"; 9], ["other"; 9]].concat();
    for to in slow.iter().chain(&["far", &me()]) {
        system.accept(&["-odq", to], MESSAGE);
    }
    let run = system.call("sendmail").args(&["-q"]).start();
    until("others have their mail", || {
        system.mailbox().len() == 1 && remote.received().len() == 1
    });
    fs::write(system.path("go"), "").unwrap();
    assert_eq!(finish(run).code, 0);
    assert!(system.queue().is_empty(), "{}", system.log());
}
