//! Mailboxes that a server has (`mailbox = "lmtp:..."`): how mail gets there, and what becomes of it when it does not.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

use crate::harness::house::{ALICE, BOB, House, SPOOL};
use crate::harness::lmtp::{Answers, Lmtp};
use crate::harness::system::{HOST, me, user};
use crate::harness::{System, until};

const MESSAGE: &str =
    "From: a@example.org\nReturn-Path: <forged@example.org>\nSubject: x\n\n.hello\n";
const TAKEN: (&str, &str) = ("250 2.1.5 ok", "250 2.0.0 saved");

fn served(name: &str, answers: Answers) -> (System, Lmtp) {
    let system = System::new(name);
    let server = Lmtp::start(Some(system.path("lmtp")), answers);
    let mailbox = format!("mailbox = \"lmtp:{}\"", server.place);
    (system.with("local", &mailbox), server)
}

fn count(text: &str, part: &str) -> usize {
    text.matches(part).count()
}

#[test]
fn one_connection_carries_many_messages() {
    let (system, server) = served("lmtp-many", |_| TAKEN);
    let (user, me) = (user(), me());
    fs::write(system.path("aliases"), format!("staff: {user}+staff\n")).unwrap();
    for to in [&me, "staff", &format!("{}+Lists", user.to_uppercase())] {
        system.accept(&["-odq", "-i", "-f", "a@example.org", to], MESSAGE);
    }
    system.accept(&["-q"], "");
    let heard = server.heard();
    assert_eq!(heard.len(), 1, "{heard:?}");
    let heard = &heard[0];
    assert_eq!(count(heard, "MAIL FROM:<a@example.org>"), 3, "{heard}");
    // The mailbox has the name of the login; the message says what it was sent to.
    for (rcpt, first, delivered) in [
        (me.clone(), me.clone(), me.clone()),
        (
            format!("{user}+staff@{HOST}"),
            format!("staff@{HOST}"),
            format!("{user}+staff@{HOST}"),
        ),
        (
            format!("{user}+Lists@{HOST}"),
            format!("{}+Lists@{HOST}", user.to_uppercase()),
            format!("{}+Lists@{HOST}", user.to_uppercase()),
        ),
    ] {
        assert_eq!(count(heard, &format!("RCPT TO:<{rcpt}>\r\n")), 1, "{heard}");
        let top = format!("DATA\r\nX-Original-To: {first}\r\nDelivered-To: {delivered}\r\n");
        assert_eq!(count(heard, &top), 1, "{heard}");
    }
    assert_eq!(count(heard, "Return-Path"), 0, "{heard}");
    assert_eq!(count(heard, "\r\n..hello\r\n.\r\n"), 3, "{heard}");
    assert!(system.queue().is_empty());
    let says = format!("LMTP {} says 250 2.0.0 saved", server.place);
    assert_eq!(count(&system.log(), &says), 3, "{}", system.log());
}

/// What the server says of one recipient is about him alone, and is believed.
#[test]
fn the_answers_of_the_server_count() {
    let rows: &[(Answers, &str, usize)] = &[
        (
            |_| ("550 5.1.1 no such user", ""),
            "failed 550 5.1.1",
            1, // the report
        ),
        (|_| ("450 4.2.1 locked", ""), "deferred 450 4.2.1", 0),
        (
            |_| ("250 ok", "452 4.2.2 over quota"),
            "deferred 452 4.2.2",
            0,
        ),
        (
            |_| ("250 ok", "554 5.6.0 no such mail"),
            "failed 554 5.6.0",
            1,
        ),
    ];
    for (answers, said, reports) in rows {
        let (system, _server) = served("lmtp-answers", *answers);
        let system = system.with(
            "smarthost",
            "host = \"127.0.0.1\"\nport = 1\ntls = \"none\"",
        );
        // Another one keeps the queue file, in which it is written down.
        let others = [me(), "x@nowhere.test.example".to_owned()];
        let to: Vec<&str> = others.iter().map(String::as_str).collect();
        system.accept(
            &[&["-odq", "-f", "a@example.org"], &to[..]].concat(),
            MESSAGE,
        );
        system.accept(&["-q"], "");
        let queue = system.queue();
        let sent = queue.iter().find(|q| q.sender() != "<>").unwrap();
        let journal = sent.journal.join("\n");
        assert!(journal.contains(said), "{said}: {journal}");
        assert_eq!(queue.len() - 1, *reports, "{said}");
    }
}

/// It waits for a server that is down; nobody is told anything, and nothing is lost.
#[test]
fn mail_waits_for_the_server() {
    let system = System::new("lmtp-down");
    let socket = system.path("lmtp");
    let system = system.with("local", &format!("mailbox = \"lmtp:{}\"", socket.display()));
    system.accept(&["-odq", &me()], MESSAGE);
    system.accept(&["-q"], "");
    let journal = system.queued().journal.join("\n");
    assert!(journal.contains("deferred - 4.4.1"), "{journal}");
    let server = Lmtp::start(Some(socket), |_| TAKEN);
    system.accept(&["-q"], "");
    assert!(system.queue().is_empty());
    assert_eq!(count(&server.heard()[0], "Subject: x"), 1);
}

/// What comes back from there, because it was sent on, does not go round for ever. J25: a field that anybody may write
/// makes no loop; only where it stands above a line of ours does it tell of one.
#[test]
fn what_was_there_before_comes_back_to_its_sender() {
    let mark = format!("Delivered-To: {}\n", me());
    let trace = |host: &str| {
        format!(
            "Received: from there.example ([192.0.2.1])\n\tby {host} with ESMTP;\n\tMon, 1 Jan 2024 00:00:00 +0000\n"
        )
    };
    let (ours, others) = (trace("pi.test.example"), trace("mx.example.net"));
    for (header, is_loop) in [
        (format!("{others}{mark}{ours}"), true),
        (mark.clone(), false),
        (format!("{mark}{others}"), false),
        (format!("{ours}{mark}"), false),
    ] {
        let (system, server) = served("lmtp-loop", |_| TAKEN);
        let system = system.with(
            "smarthost",
            "host = \"127.0.0.1\"\nport = 1\ntls = \"none\"",
        );
        let message = format!("{header}Subject: x\n\nround\n");
        system.accept(&["-odq", "-f", "a@example.org", &me()], &message);
        system.accept(&["-q"], "");
        assert_eq!(server.heard().is_empty(), is_loop, "{header}");
        let told = system.log().contains("it runs in a loop");
        assert_eq!(told, is_loop, "{header}");
    }
}

/// Whoever asks is told where the mailbox is, and what the server says of it.
#[test]
fn whoever_asks_is_told_of_the_server() {
    let (system, server) = served("lmtp-asked", |to| match to.contains("+no") {
        true => ("550 5.1.1 no such mailbox", ""),
        false => TAKEN,
    });
    let (me, user, place) = (me(), user(), server.place.clone());
    let refused = format!("{user}+no");
    let rows: [(&[&str], i32, Vec<String>); 4] = [
        (
            &["-bv", &me],
            0,
            vec![format!("{me}: local user {user}, LMTP at {place}\n")],
        ),
        (
            &["--test", &me],
            0,
            vec![
                format!("goes to local user {user}, LMTP at {place}"),
                "> LHLO".to_owned(),
                format!("takes mail for {me}: 250 2.1.5 ok"),
            ],
        ),
        (&["--test", &refused], 69, vec!["550 5.1.1".to_owned()]),
        (
            &["--check"],
            78, // there is no name server
            vec![format!(
                "ok       mailboxes at LMTP {place}: the server takes mail\n"
            )],
        ),
    ];
    for (args, code, texts) in rows {
        let ran = system.run(args, "");
        assert_eq!(ran.code, code, "{ran:?}");
        for text in texts {
            assert!(ran.stdout.contains(&text), "{args:?}: {ran:?}");
        }
    }
    let system = system.with("local", "mailbox = \"lmtp:/nowhere/lmtp\"");
    let ran = system.run(&["--check"], "");
    let said = format!("waits until the user {user} can connect");
    assert!(
        ran.stdout
            .contains("error    mailboxes at LMTP /nowhere/lmtp: ")
            && ran.stdout.contains(&said),
        "{ran:?}"
    );
}

/// Root's worker brings it, in no right but its own; a ~/.forward is read before by its user, and root's own mail stays.
#[test]
fn the_worker_of_root_brings_it() {
    let Some(house) = House::open("lmtp") else {
        return;
    };
    let socket = house.path("lmtp");
    let server = Lmtp::start(Some(socket.clone()), |_| TAKEN);
    let (uid, gid) = house.id(SPOOL);
    chown(&socket, Some(uid), Some(gid)).unwrap();
    fs::set_permissions(&socket, PermissionsExt::from_mode(0o600)).unwrap();
    let house = house.with_mailbox(&format!("lmtp:{}", socket.display()));
    let forward = house.path("home/mt-bob/.forward");
    fs::write(&forward, "\\mt-bob, ~/kept\n".replace('~', "/tmp")).unwrap();
    let kept = house.path("home/mt-bob/kept");
    fs::write(&forward, format!("\\mt-bob, {}\n", kept.display())).unwrap();
    house.give(&forward, BOB);
    house.submit("root", &["-odq", "mt-alice+x", "mt-bob"], MESSAGE);
    assert_eq!(house.call("root", &["-q"], "").code, 0);
    let heard = server.heard().concat();
    for to in ["mt-alice+x", "mt-bob"] {
        let rcpt = format!("RCPT TO:<{to}@{HOST}>");
        assert_eq!(count(&heard, &rcpt), 1, "{heard}{}", house.log());
    }
    assert_eq!(count(&fs::read_to_string(&kept).unwrap(), "Subject: x"), 1);
    // A file that his ~/.forward named when the mail came, and does not any more: what he has is his mailbox.
    fs::write(
        &forward,
        format!("{}/nowhere/kept\n", house.path("").display()),
    )
    .unwrap();
    house.submit("root", &["-odq", "mt-bob"], MESSAGE);
    assert_eq!(house.call("root", &["-q"], "").code, 0);
    assert_eq!(house.names("cur").len(), 1, "{}", house.log());
    fs::write(&forward, "").unwrap();
    assert_eq!(house.call("root", &["-q"], "").code, 0);
    let heard = server.heard().concat();
    assert_eq!(count(&heard, "RCPT TO:<mt-bob@"), 2, "{}", house.log());
    let ran = house.call("root", &["--check"], "");
    let said = format!("ok       mailboxes at LMTP {}: ", socket.display());
    assert!(ran.stdout.contains(&said), "{ran:?}");
    // Who has not been let in by the server says so.
    let (uid, gid) = house.id(ALICE);
    chown(&socket, Some(uid), Some(gid)).unwrap();
    house.submit("root", &["-odq", "mt-bob"], MESSAGE);
    assert_eq!(house.call("root", &["-q"], "").code, 0);
    assert!(house.log().contains("permission denied"), "{}", house.log());
    let ran = house.call("root", &["--check"], "");
    assert_eq!(ran.code, 78, "{ran:?}");
}

/// Without root nobody can read the ~/.forward of another user: mail is not put past it.
#[test]
fn no_forward_is_passed_over() {
    let Some(house) = House::open("lmtp-forward") else {
        return;
    };
    let server = Lmtp::start(Some(house.path("lmtp")), |_| TAKEN);
    let house = house
        .with("user = \"root\"")
        .with_mailbox(&format!("lmtp:{}", server.place));
    let _ = fs::remove_dir_all(house.path("spool"));
    house.submit("root", &["-odq", "mt-alice"], MESSAGE);
    let _ = house.call("root", &["-q"], "");
    assert!(
        house.log().contains("say forward = false"),
        "{}",
        house.log()
    );
    assert!(server.heard().is_empty());
    let house = house.with_mailbox(&format!("lmtp:{}\"\nforward = false\n#\"", server.place));
    let _ = house.call("root", &["-q"], "");
    until("it is there", || {
        server.heard().concat().contains("RCPT TO:<mt-alice@")
    });
}
