//! What is done for and against strangers, by the worker of root's daemon: shut in (Landlock, seccomp), with the rights
//! of the user of the spool. Needs root, as tests/root.rs does.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use crate::harness::house::{ALICE, House, SPOOL};
use crate::harness::system::{HOST, HOST_OF_REPORTS, names_in};
use crate::harness::tls::Authority;
use crate::harness::{Daemon, Dns, Milter, Remote, Script, Wants, Web, until};

const ZONE: &str = "example.org TXT v=spf1 ip4:127.0.0.1 -all\n\
                    example.net MX 10 mail.example.net\n\
                    mail.example.net A 127.0.0.2\n\
                    _smtp._tls.example.net TXT v=TLSRPTv1; rua=https://reports.example/tls\n\
                    reports.example A 127.0.0.9\n";

fn say(daemon: &Daemon, steps: &[(&str, &str)]) {
    let mut client = daemon.client();
    for (line, expected) in steps {
        let said = client.say(line);
        assert!(said.starts_with(expected), "{line}: {said}");
    }
}

/// A stranger's mail is shown to filters, judged, sealed and sent on in our name; what he is sent back finds him; and each
/// connection is counted.
#[test]
fn the_worker_in_its_jail_forwards_judges_asks_and_counts() {
    let Some(house) = House::open("jailed") else {
        return;
    };
    let remotes = Remote::several(&[Script::new()]);
    let (remote, dns) = (&remotes[0], Dns::start(ZONE));
    let sockets = house.open_folder("sockets");
    let adds = |line: &'static [u8]| Wants::default().on(b"E", &[line, b"c"]);
    let here = Milter::at(&sockets.join("milter"), adds(b"hX-Here\0yes\0"));
    fs::set_permissions(sockets.join("milter"), PermissionsExt::from_mode(0o666)).unwrap();
    let there = Milter::start(adds(b"hX-There\0yes\0"));
    let key = house.path("dkim.pem").display().to_string();
    fs::write(house.path("aliases"), "far: far@example.net\n").unwrap();
    let house = house.with_dns(&dns).with(&format!(
        "user = \"{SPOOL}\"\ndomains = [\"{HOST}\"]\n\
         [remote]\nport = {}\nmta_sts = false\ntls_reports = \"postmaster@{HOST}\"\n\
         [access]\nrelay_from = []\n[[dkim]]\ndomain = \"{HOST}\"\nkey = {key:?}\n\
         [[milter]]\n{}\n[[milter]]\n{}",
        remote.address.port(),
        here.keys(),
        there.keys(),
    ));
    assert_eq!(house.call("root", &["--dkim-key", HOST], "").code, 0);
    let daemon = house.daemon();
    let far = format!("RCPT TO:<far@{HOST}>");
    say(
        &daemon,
        &[
            ("EHLO client.example", "250"),
            ("MAIL FROM:<bob@example.org>", "250"),
            (&far, "250"),
            ("DATA", "354"),
            (
                "From: bob@example.org\r\nSubject: x\r\n\r\nhello\r\n.",
                "250",
            ),
            ("QUIT", "221"),
        ],
    );
    until("it is sent on", || remote.received().len() == 1);
    let log = house.log();
    assert!(log.contains("has shut itself in: it reaches "), "{log}");
    let sent = &remote.received()[0];
    let sender = sent.from.trim_start_matches("MAIL FROM:<");
    let sender = sender.split('>').next().unwrap();
    assert!(sender.starts_with("SRS0="), "{}", sent.from);
    let mail = sent.mail();
    for field in ["X-Here", "X-There", "ARC-Seal"] {
        assert!(mail.field(field).is_some(), "{field}: {}", mail.text());
    }
    let found = mail.field("Authentication-Results").unwrap();
    assert!(found.contains("spf=pass "), "{found}");
    let secret = fs::metadata(house.path("spool/state/srs")).unwrap();
    let about = (secret.uid(), secret.mode() & 0o777);
    assert_eq!(about, (house.id(SPOOL).0, 0o600));

    // A user's own file does the same.
    let own = house.path("home").join(ALICE).join(".forward");
    fs::write(&own, "alice@example.net\n").unwrap();
    house.give(&own, ALICE);
    let alice = format!("RCPT TO:<{ALICE}@{HOST}>");
    say(
        &daemon,
        &[
            ("EHLO client.example", "250"),
            ("MAIL FROM:<bob@example.org>", "250"),
            (&alice, "250"),
            ("DATA", "354"),
            (
                "From: bob@example.org\r\nSubject: y\r\n\r\nhello\r\n.",
                "250",
            ),
        ],
    );
    until("that is sent on", || remote.received().len() == 2);
    let forwarded = &remote.received()[1];
    assert!(
        forwarded.from.starts_with("MAIL FROM:<SRS0="),
        "{}",
        forwarded.from
    );
    assert!(forwarded.mail().field("ARC-Seal").is_some());

    let back = format!("RCPT TO:<{sender}>");
    say(
        &daemon,
        &[
            ("EHLO mail.example.net", "250"),
            ("MAIL FROM:<>", "250"),
            (&back, "250"),
        ],
    );
    let counts = house.path("spool/state/tls");
    until("the connection is counted", || {
        !names_in(&counts).is_empty()
    });
    let day = counts.join(&names_in(&counts)[0]);
    let text = fs::read_to_string(&day).unwrap();
    let line = "example.net\tno-policy-found\t\tmail.example.net\tstarttls-not-supported\t1\n";
    assert!(text.starts_with(line), "{text}");
    assert_eq!(fs::metadata(&day).unwrap().uid(), house.id(SPOOL).0);
    assert_eq!(daemon.stop().code, 0);
    assert!(!house.log().contains(" trouble "), "{}", house.log());
}

/// A report about TLS goes to a web server, from the jail.
#[test]
fn the_worker_in_its_jail_sends_reports() {
    let Some(house) = House::open("jailed-report") else {
        return;
    };
    let authority = Authority::new();
    let site = authority.certify(&["reports.example"]);
    let web = Web::start(&site, "HTTP/1.1 200 OK\r\n\r\n");
    let dns = Dns::start(ZONE);
    let ca_file = house.path("ca.pem");
    authority.write(&ca_file);
    let house = house.with_host(HOST_OF_REPORTS).with_dns(&dns);
    let house = house.with(&format!(
        "user = \"{SPOOL}\"\n[remote]\nmta_sts_port = {}\nca_file = {:?}\ntls_reports = \"postmaster@{HOST}\"",
        web.port,
        ca_file.display().to_string(),
    ));
    let folder = house.path("spool/state/tls");
    fs::create_dir_all(&folder).unwrap();
    let day = crate::tlsrpt::yesterday();
    let count = "example.net\tno-policy-found\t\tmail.example.net\tok\t1\n";
    fs::write(folder.join(&day), count).unwrap();
    house.give(&house.path("spool/state"), SPOOL);
    assert_eq!(house.call("root", &["-q"], "").code, 0);
    assert!(!folder.join(&day).exists(), "{}", house.log());
    let asked = web.requests();
    assert_eq!(asked.len(), 1, "{}", house.log());
    assert!(
        asked[0].0.starts_with("POST /tls HTTP/1.1\r\n"),
        "{}",
        asked[0].0
    );
}

/// A message that a user has handed in is replaced by a copy while it waits: one in new/, and one that was released.
#[test]
fn the_worker_in_its_jail_takes_messages_over() {
    let Some(house) = House::open("jailed-over") else {
        return;
    };
    let nobody = "[smarthost]\nhost = \"127.0.0.1\"\ntls = \"none\"\nport = 1";
    let house = house.with(&format!("user = \"{SPOOL}\"\n{nobody}"));
    for before in [&[][..], &["--hold", "--release"]] {
        house.submit(ALICE, &["-odq", "one@example.net"], "Subject: x\n\nhello\n");
        for option in before {
            assert_eq!(house.call("root", &[option, "ALL"], "").code, 0);
        }
        assert_eq!(house.call("root", &["-q"], "").code, 0);
    }
    let (names, log) = (house.names("cur"), house.log());
    assert_eq!((names.len(), house.names("new").len()), (2, 0), "{log}");
    for name in names {
        let about = fs::metadata(house.path("spool/cur").join(name)).unwrap();
        assert_eq!(about.uid(), house.id(SPOOL).0, "{log}");
    }
    assert!(house.names("tmp").is_empty(), "{log}");
}

/// Lists are where those who keep them are; which ones is known when the daemon starts.
#[test]
fn the_worker_in_its_jail_reads_lists() {
    let Some(house) = House::open("listed") else {
        return;
    };
    // Elsewhere than the files that the configuration names.
    let lists = std::env::temp_dir().join(format!("minimta-lists-{}", std::process::id()));
    fs::create_dir(&lists).unwrap();
    fs::write(lists.join("team"), "mt-alice\n").unwrap();
    for path in [&lists, &lists.join("team")] {
        fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    house.give(&lists, ALICE);
    let aliases = format!("team: :include:{}/team\n", lists.display());
    fs::write(house.path("aliases"), aliases).unwrap();
    let daemon = house.daemon();
    house.submit(
        ALICE,
        &["team"],
        "Subject: x\n\nthe secret of the message\n",
    );
    until("it is delivered", || house.mail_of(ALICE).len() == 1);
    drop(daemon);
    fs::remove_dir_all(lists).unwrap();
}
