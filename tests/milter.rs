//! Filters (milters): what they are shown, and what becomes of mail by what they say.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::harness::system::{HOST, me, until};
use crate::harness::tls::Secure;
use crate::harness::{Daemon, Milter, System, Wants};

fn system(name: &str, milter: &Milter, more: &str) -> System {
    System::offline(name)
        .listens()
        .with("", &format!("domains = [\"{HOST}\"]"))
        .with("access", "relay_from = []\nspf = \"off\"\ndmarc = \"off\"")
        .with("[milter]", &format!("{}\n{more}", milter.keys()))
}

const BODY: &str =
    "From: bob@example.org\r\nTo: you\r\nSubject: one\r\n two\r\nX-A: 1\r\nX-A: 2\r\n\r\nhello\r\n";

/// Hands in a message to these as a stranger; returned is the last reply, and all of refused recipients.
fn send(daemon: &Daemon, to: &[&str], body: &str) -> Vec<String> {
    let mut client = daemon.client();
    client.say("EHLO stranger.example");
    let mut said = vec![client.say("MAIL FROM:<bob@example.org>")];
    for to in to {
        said.push(client.say(&format!("RCPT TO:<{to}>")));
    }
    if said.iter().skip(1).any(|s| s.starts_with("250")) {
        client.say("DATA");
        said.push(client.say(&format!("{body}.")));
    }
    client.say("QUIT");
    said
}

#[test]
fn a_filter_is_shown_all_and_changes_the_header() {
    let milter = Milter::start(Wants::default().on(
        b"E",
        &[
            b"p",
            b"hX-Spam\0no\n really",
            b"i\0\0\0\x01X-First\0yes\0",
            b"m\0\0\0\x02X-A\0three\0",
            b"m\0\0\0\x01To\0\0",
            b"c",
        ],
    ));
    let system = system("milter", &milter, "");
    let daemon = Daemon::start(&system);
    let said = send(&daemon, &[&me(), "postmaster"], BODY);
    let last = said.last().unwrap();
    assert!(last.starts_with("250 2.0.0 queued as "), "{said:?}");
    let id = last.rsplit(' ').next().unwrap();
    until("it is delivered", || system.mailbox().len() == 2);
    let mail = &system.mailbox()[0];
    let text = mail.text();
    let (_, rest) = text.split_once("Received: ").unwrap();
    assert!(
        rest.ends_with(
            "X-First: yes\nFrom: bob@example.org\nSubject: one\n two\nX-A: 1\nX-A: three\n\
             X-Spam: no\n really\n\nhello\n"
        ),
        "{text}"
    );
    // Each step, in its order, with what is known at it.
    let seen = milter.seen();
    let without: Vec<&str> = seen
        .iter()
        .map(String::as_str)
        .filter(|s| !s.starts_with(['D', 'O']))
        .collect();
    let port = without[0];
    assert!(
        port.starts_with("C[127.0.0.1]|4") && port.ends_with("127.0.0.1|"),
        "{port}"
    );
    let postmaster = format!("R<postmaster@{HOST}>|");
    let own = format!("R<{}>|", me());
    assert_eq!(
        without[1..],
        [
            "Hstranger.example|",
            "M<bob@example.org>|",
            &own,
            &postmaster,
            "T",
            "LFrom|bob@example.org|",
            "LTo|you|",
            "LSubject|one\n two|",
            "LX-A|1|",
            "LX-A|2|",
            "N",
            "Bhello\r\n",
            "E",
            "Q",
        ]
    );
    let macros = milter.steps('D');
    assert!(
        macros[0].starts_with(&format!("DCj|{HOST}|{{daemon_name}}|{HOST}|v|minimta ")),
        "{macros:?}"
    );
    assert!(macros.contains(&format!("DEi|{id}|")), "{macros:?}");
    assert!(macros.contains(&"DM{mail_addr}|bob@example.org|{mail_mailer}|minimta|".to_owned()));
}

#[test]
fn what_a_filter_says_at_each_step_is_what_the_client_hears() {
    let ok = "250 2.1.0";
    // The step, what is said, and what the client hears: at MAIL, at RCPT, at the end.
    let rows: &[(&[u8], &[u8], [&str; 3])] = &[
        (b"C", b"r", ["550 5.7.1 a filter refuses this", "", ""]),
        (b"H", b"t", ["451 4.7.1 a filter wants you", "", ""]),
        (b"M", b"y554 5.7.9 not you\0", ["554 5.7.9 not you", "", ""]),
        (b"R", b"y450 4.2.1 busy\0", [ok, "450 4.2.1 busy", ""]),
        (b"T", b"r", [ok, "250", "550 5.7.1 a filter"]),
        (
            b"LSubject",
            b"y550 5.7.2 what\0",
            [ok, "250", "550 5.7.2 what"],
        ),
        (b"N", b"t", [ok, "250", "451 4.7.1 a filter wants"]),
        (b"B", b"r", [ok, "250", "550 5.7.1 a filter"]),
        (
            b"E",
            b"y550 5.7.1 100%% spam\0",
            [ok, "250", "550 5.7.1 100% spam"],
        ),
        // Nothing is asked any more.
        (b"M", b"a", [ok, "250", "250 2.0.0 queued"]),
        (b"C", b"a", [ok, "250", "250 2.0.0 queued"]),
        (b"E", b"a", [ok, "250", "250 2.0.0 queued"]),
        // Thrown away.
        (b"R", b"d", [ok, "250", "250 2.0.0 queued"]),
        (b"E", b"d", [ok, "250", "250 2.0.0 queued"]),
        // It does not answer as it should.
        (b"M", b"Z", ["451 4.7.1 a filter does not answer", "", ""]),
        (b"E", b"h", [ok, "250", "451 4.7.1 a filter does not"]),
        (b"B", b"s", [ok, "250", "451 4.7.1 a filter does not"]),
        (b"N", b"p", [ok, "250", "451 4.7.1 a filter does not"]),
    ];
    for (number, (step, says, heard)) in rows.iter().enumerate() {
        let milter = Milter::start(Wants::default().on(step, &[says]));
        let system = system(
            &format!("milter-says-{number}"),
            &milter,
            "timeout = \"1s\"",
        );
        let daemon = Daemon::start(&system);
        let said = send(&daemon, &[&me()], BODY);
        for (index, expected) in heard.iter().enumerate() {
            let said = said.get(index).map_or("", String::as_str);
            assert!(
                said.starts_with(expected),
                "{step:?} {says:?}: {said} for {expected}"
            );
        }
        match (*says, heard[2].starts_with("250")) {
            (b"d", _) => {
                assert!(
                    system.log().contains(" discarded client="),
                    "{}",
                    system.log()
                );
                assert!(system.queue().is_empty() && system.mailbox().is_empty());
            }
            (_, true) => until("it is delivered", || system.mailbox().len() == 1),
            (_, false) => {
                assert!(system.log().contains(" reject client="), "{}", system.log());
                assert!(system.queue().is_empty() && system.mailbox().is_empty());
            }
        }
    }
}

/// RFC 5321 4.5.1: whatever a filter says of the postmaster as a recipient, mail to him comes, and the next filter is told
/// of him; what it says of the message holds for him, too.
#[test]
fn no_filter_refuses_the_postmaster() {
    // The step, what is said, and whether the message comes.
    let rows: &[(&[u8], &[u8], bool)] = &[
        (b"R", b"d", true),
        (b"R", b"r", true),
        (b"R", b"t", true),
        (b"R", b"y550 5.7.1 not him\0", true),
        (b"E", b"d", false),
    ];
    for (step, says, comes) in rows {
        let first = Milter::start(Wants::default().on(step, &[says]));
        let second = Milter::start(Wants::default());
        let system = system("milter-postmaster", &first, "").with("[milter]", &second.keys());
        let daemon = Daemon::start(&system);
        let said = send(&daemon, &["postmaster"], BODY);
        assert!(
            said[2].starts_with("250 2.0.0 queued"),
            "{says:?}: {said:?}"
        );
        let told = second.steps('R');
        assert_eq!(told, [format!("R<postmaster@{HOST}>|")], "{says:?}");
        match comes {
            true => until("it is delivered", || system.mailbox().len() == 1),
            false => assert!(
                system.log().contains(" discarded client="),
                "{}",
                system.log()
            ),
        }
        assert_eq!(system.log().contains(" discarded "), !comes, "{says:?}");
    }
}

/// H20: so it is with one that breaks off or says what is no answer, however long.
#[test]
fn mail_waits_for_a_filter_that_is_down_or_does_without() {
    let gone = Milter::start(Wants::default().on(b"O", &[]));
    let late = Milter::start(Wants::default().on(b"E", &[]));
    let odd = Milter::start(Wants::default().on(b"E", &[b"?"]));
    let endless = vec![b'h'; 4 << 20];
    let endless = Milter::start(Wants::default().on(b"E", &[&endless]));
    for (name, milter, why) in [
        ("gone", &gone, "the filter 127.0.0.1:"),
        ("late", &late, "the filter 127.0.0.1:"),
        ("odd", &odd, "the filter 127.0.0.1:"),
        ("endless", &endless, "the filter 127.0.0.1:"),
    ] {
        let system = system(&format!("milter-{name}"), milter, "");
        let daemon = Daemon::start(&system);
        let said = send(&daemon, &[&me()], BODY);
        let down = "451 4.7.1 a filter does not answer now";
        assert!(said.iter().any(|s| s.starts_with(down)), "{said:?}");
        assert!(system.log().contains(why), "{}", system.log());
        drop(daemon);
        let system = self::system(
            &format!("milter-without-{name}"),
            milter,
            "down = \"accept\"",
        );
        let daemon = Daemon::start(&system);
        send(&daemon, &[&me()], BODY);
        until("it is delivered", || system.mailbox().len() == 1);
    }
}

#[test]
fn a_filter_leaves_out_steps_and_answers() {
    // No HELO, no body, no answers to fields; the space before values.
    let milter = Milter::start(Wants::steps(0x02 | 0x10 | 0x80 | 0x10_0000));
    let system = system("milter-less", &milter, "");
    let daemon = Daemon::start(&system);
    send(&daemon, &[&me()], BODY);
    until("it is delivered", || system.mailbox().len() == 1);
    assert!(milter.steps('H').is_empty() && milter.steps('B').is_empty());
    assert_eq!(milter.steps('L')[0], "LFrom| bob@example.org|");
    // One that has seen enough of the body is not shown the rest.
    let skips = Milter::start(Wants::steps(0x400).on(b"B", &[b"s"]));
    let system = self::system("milter-skips", &skips, "");
    let daemon = Daemon::start(&system);
    let long = format!("{BODY}{}", "all work and no play\r\n".repeat(20_000));
    send(&daemon, &[&me()], &long);
    until("it is delivered", || system.mailbox().len() == 1);
    assert_eq!(skips.steps('B').len(), 1);
    assert_eq!(system.mailbox()[0].body().len(), 6 + 21 * 20_000);
}

#[test]
fn a_filter_changes_the_envelope_and_sets_aside() {
    let add = format!("+<added@{HOST}>\0");
    let less = format!("-<{}>\0", me());
    let wants = Wants::default().on(
        b"E",
        &[
            b"e<other@example.org>\0",
            add.as_bytes(),
            less.as_bytes(),
            b"qlooks odd\0",
            b"c",
        ],
    );
    let milter = Milter::start(wants);
    let system = system("milter-envelope", &milter, "");
    let daemon = Daemon::start(&system);
    let said = send(&daemon, &[&me(), "postmaster"], BODY);
    assert!(said.last().unwrap().starts_with("250 "), "{said:?}");
    let held: Vec<_> = fs::read_dir(system.path("spool/hold"))
        .unwrap()
        .flatten()
        .collect();
    assert_eq!(held.len(), 1);
    let text = fs::read_to_string(held[0].path()).unwrap();
    let expected = format!(
        "minimta-queue 1\nfrom <other@example.org>\nto <postmaster@{HOST}>\nto <added@{HOST}>\n"
    );
    assert!(text.starts_with(&expected), "{text}");
    assert!(system.log().contains("looks odd"), "{}", system.log());
    assert!(system.mailbox().is_empty());
    // It is whole, and can be released.
    let id = held[0].file_name().into_string().unwrap();
    system.accept(&["--release", &id], "");
    until("the daemon has delivered it", || {
        system.mailbox().len() == 1
    });
}

/// A fault at each step of setting a message aside: refused, it is nowhere; taken, it waits in hold/ and nowhere else.
#[test]
fn what_cannot_be_set_aside_is_refused_and_not_delivered() {
    let long = format!("{BODY}{}", "all work and no play\r\n".repeat(10_000));
    // Through a file in tmp/, and from memory.
    for (first_try, body) in [("spool", &*long), ("direct", BODY)] {
        let milter = Milter::start(Wants::default().on(b"E", &[b"qlooks odd\0", b"c"]));
        let system = system("milter-aside", &milter, "")
            .with("queue", &format!("first_try = \"{first_try}\""));
        // What is made at a first start is there.
        Daemon::start(&system).stop();
        let mut refused = 0;
        // The first four are of its start: the run folder, and its queue and number in there.
        for step in 5..41 {
            fs::remove_file(system.path("log")).unwrap();
            let fault = format!("{step}:EIO");
            let call = system.call("sendmail").args(&["-bD"]);
            let daemon = Daemon::of(&system, || call.env("MINIMTA_FAULT", &fault).start());
            let said = send(&daemon, &[&me()], body);
            let ran = daemon.stop();
            system.accept(&["-q"], "");
            let why = || format!("{first_try}, {fault}: {said:?}\n{}", system.log());
            assert!(system.mailbox().is_empty(), "{}", why());
            assert!(system.queue().is_empty(), "{}", why());
            let taken = said.last().unwrap().starts_with("250 2.0.0 queued");
            assert!(
                taken || said.last().unwrap().starts_with("451 "),
                "{}",
                why()
            );
            assert_eq!(system.names("hold").len(), usize::from(taken), "{}", why());
            refused += usize::from(!taken);
            for name in system.names("hold") {
                fs::remove_file(system.path("spool/hold").join(name)).unwrap();
            }
            if !ran.stderr.contains("fault injected") {
                break;
            }
        }
        assert!(refused >= 5, "{first_try}: {refused} refused");
    }
}

/// H20.
#[test]
fn no_filter_makes_a_message_grow_without_end() {
    let long = format!("hX-Long\0{}", "x".repeat(9000));
    let many: Vec<&[u8]> = vec![b"hX-Many\0of them"; 600];
    for says in [vec![long.as_bytes(), b"c"], [many, vec![b"c"]].concat()] {
        let milter = Milter::start(Wants::default().on(b"E", &says));
        let system = system("milter-long", &milter, "");
        let daemon = Daemon::start(&system);
        let said = send(&daemon, &[&me()], BODY);
        assert!(
            said.last().unwrap().starts_with("451 4.7.1 a filter"),
            "{said:?}"
        );
        assert!(
            system.log().contains("longer by more than 8 KiB"),
            "{}",
            system.log()
        );
    }
}

/// What a filter decides by: who has logged in, and how the client came. It listens at a socket in the file system.
#[test]
fn a_filter_is_told_of_the_login_and_of_tls() {
    let folder = System::offline("milter-told");
    let milter = Milter::at(&folder.path("milter.sock"), Wants::default());
    let system = system("milter-login", &milter, "").with(
        "listen",
        "submission = [\"127.0.0.1:0\"]\nsubmissions = [\"127.0.0.1:0\"]",
    );
    let system = system.with_user("alice", "correct horse");
    let daemon = Daemon::start(&system);
    let login = BASE64.encode("\0alice\0correct horse");
    for (kind, login, told) in [
        ("submission", format!("AUTH PLAIN {login}"), "PLAIN"),
        ("submissions", format!("AUTH PLAIN {login}"), "PLAIN"),
        ("smtp", String::new(), ""),
    ] {
        let before = milter.seen().len();
        let mut client = Secure::meet(&system, &daemon, kind);
        if !login.is_empty() {
            assert!(client.say(&login).starts_with("235 "));
        }
        client.steps(&[
            (&format!("MAIL FROM:<alice@{HOST}>"), "250 "),
            (&format!("RCPT TO:<{}>", me()), "250 "),
            ("DATA", "354 "),
            ("Subject: x\r\n\r\nhello\r\n.", "250 "),
            ("QUIT", "221 "),
        ]);
        let seen = milter.seen().split_off(before);
        let of = |letter| {
            let mut macros = seen.iter().filter(|s| s.starts_with(letter));
            macros.next().unwrap().as_str()
        };
        assert_eq!(
            of("DH"),
            "DH{tls_version}|TLSv1.3|{cipher}|TLS13_AES_256_GCM_SHA384|"
        );
        let mail = match told {
            "" => "DM".to_owned(),
            kind => format!("DM{{auth_type}}|{kind}|{{auth_authen}}|alice|"),
        };
        let mail = format!("{mail}{{mail_addr}}|alice@{HOST}|{{mail_mailer}}|minimta|");
        assert_eq!(of("DM"), mail, "{kind}");
    }
    until("all is delivered", || system.mailbox().len() == 3);
}

/// A filter that does to a body what it was told it may not is no filter that is down for a moment: the log says what
/// to do.
#[test]
fn no_filter_replaces_a_body() {
    for (down, heard) in [
        ("tempfail", "451 4.7.1 a filter does not"),
        ("accept", "250 2.0.0 queued"),
    ] {
        // In the negotiation it takes what it was not given, as some do that never use it.
        let all = [6, 0x1ff, 0].map(u32::to_be_bytes);
        let agrees = [b"O", all.as_flattened()].concat();
        let wants = Wants::default()
            .on(b"O", &[&agrees])
            .on(b"E", &[b"bnew", b"b body\r\n", b"c"]);
        let milter = Milter::start(wants);
        let system = system("milter-body", &milter, &format!("down = \"{down}\""));
        let daemon = Daemon::start(&system);
        let said = send(&daemon, &[&me()], BODY);
        assert!(said.last().unwrap().starts_with(heard), "{said:?}");
        let told = "it replaces the body of a message, which it was told that it may not; switch that off in it, or take it out of [milter]";
        assert!(system.log().contains(told), "{}", system.log());
        if down == "accept" {
            until("it is delivered", || system.mailbox().len() == 1);
            assert_eq!(system.mailbox()[0].body(), "hello\n");
        } else {
            assert!(system.queue().is_empty() && system.mailbox().is_empty());
        }
    }
}
