//! What leaves is signed by the domain in its From.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::harness::system::until;
use crate::harness::tls::Secure;
use crate::harness::{Daemon, Dns, Remote, Script, System};

/// A system whose mail from example.org is signed with two keys.
fn signing(name: &str, remote: &Remote) -> System {
    let system = System::relaying(name, remote);
    let key = |system: System, domain: &str, selector: &str, file: &str| {
        let lines = format!(
            "domain = \"{domain}\"\nselector = \"{selector}\"\nkey = \"{}\"",
            system.path(file).display()
        );
        system.with("[dkim]", &lines)
    };
    let system = key(system, "example.org", "one", "one.pem");
    key(system, "example.org", "two", "two.pem")
}

/// Makes the keys, and returns the zone that has their records.
fn publish(system: &System) -> String {
    let ran = system.run(&["--dkim-key", "example.org"], "");
    assert_eq!(ran.code, 0, "{ran:?}");
    let text = ran.stdout.replace("\n    ", " ").replace("\" \"", "");
    let mut zone = String::new();
    for line in text.lines().filter(|l| l.contains(" IN TXT ")) {
        let (name, value) = line.split_once(". IN TXT ( \"").unwrap();
        zone.push_str(&format!(
            "{name} TXT {}\n",
            value.strip_suffix("\" )").unwrap()
        ));
    }
    assert_eq!(zone.lines().count(), 2, "{}", ran.stdout);
    zone
}

const MAIL: &str = "From: me <me@example.org>\nSubject: hello\n\nBody\n";

#[test]
fn mail_of_the_domain_leaves_with_a_signature_of_each_key() {
    let remote = Remote::start(Script::new());
    let system = signing("dkim", &remote);
    publish(&system);
    system.accept(&["-odi", "-f", "me@example.org", "you@example.net"], MAIL);
    system.accept(
        &["-odi", "-f", "me@other.example", "you@example.net"],
        MAIL.replace("me@example.org", "me@other.example"),
    );
    let received = remote.received();
    let signed = received[0].mail();
    let fields = signed.all("DKIM-Signature");
    assert_eq!(fields.len(), 2, "{}", signed.text());
    for (field, selector) in fields.iter().zip(["one", "two"]) {
        for part in [
            "a=ed25519-sha256",
            "c=relaxed/relaxed",
            "d=example.org",
            &format!("s={selector}"),
        ] {
            assert!(field.contains(part), "{field}");
        }
        assert!(!field.contains("l="), "{field}");
    }
    // Before all other fields, and what the spool has is as it was.
    assert!(signed.text().starts_with("DKIM-Signature: v=1;"));
    assert!(received[1].mail().all("DKIM-Signature").is_empty());
    // The same program may speak SMTP to us.
    let said = "EHLO x\r\nMAIL FROM:<me@example.org>\r\nRCPT TO:<you@example.net>\r\nDATA\r\n\
                From: me@example.org\r\n\r\nBody\r\n.\r\nQUIT\r\n";
    system.accept(&["-bs", "-odi"], said);
    let spoken = remote.received()[2].mail();
    assert_eq!(spoken.all("DKIM-Signature").len(), 2, "{}", spoken.text());
}

#[test]
fn mail_waits_for_a_key_that_cannot_be_used() {
    let remote = Remote::start(Script::new());
    let system = signing("dkim-key", &remote);
    publish(&system);
    let rows = [
        ("fs", "is no key\n", 0o640, "holds no private key in PEM"),
        (
            "mode",
            "",
            0o644,
            "can be read by everybody (mode 0644); run: chmod 0640",
        ),
    ];
    for (what, text, mode, why) in rows {
        let path = system.path("two.pem");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        system.accept(&["-odi", "-f", "me@example.org", "you@example.net"], MAIL);
        let queued = system.queued();
        let last = queued.journal.last().unwrap();
        assert!(
            last.contains(" deferred - 4.3.5 ") && last.contains(why),
            "{what}: {last}"
        );
        assert!(remote.received().is_empty(), "{what}");
        system.accept(&["--remove", "ALL"], "");
    }
    fs::remove_file(system.path("two.pem")).unwrap();
    system.accept(&["-odi", "-f", "me@example.org", "you@example.net"], MAIL);
    assert!(
        system
            .queued()
            .journal
            .last()
            .unwrap()
            .contains("no such file")
    );
    // A new key, and it goes.
    publish(&system);
    system.accept(&["-q"], "");
    assert_eq!(remote.received().len(), 1);
}

#[test]
fn what_a_stranger_sent_is_not_signed_when_it_is_passed_on() {
    let remote = Remote::start(Script::new());
    let system = signing("dkim-relay", &remote)
        .listens()
        .with("access", "relay_from = []\nrelay_to = [\"example.net\"]");
    publish(&system);
    let daemon = Daemon::start(&system);
    let mut client = daemon.client();
    client.say("EHLO stranger.example");
    client.say("MAIL FROM:<me@example.org>");
    assert!(client.say("RCPT TO:<you@example.net>").starts_with("250"));
    client.say("DATA");
    let reply = client.say("From: me@example.org\r\n\r\nforged\r\n.");
    assert!(reply.starts_with("250"), "{reply}");
    crate::harness::system::until("it arrives", || remote.received().len() == 1);
    assert!(remote.received()[0].mail().all("DKIM-Signature").is_empty());
}

#[test]
fn check_compares_keys_with_dns() {
    let remote = Remote::start(Script::new());
    let mut system = signing("dkim-check", &remote);
    let zone = publish(&system);
    let (one, two) = zone.split_once('\n').unwrap();
    let swapped = format!(
        "{}\n{}",
        one.replacen("one.", "two.", 1),
        two.replacen("two.", "one.", 1)
    );
    let rows = [
        (zone.clone(), [OK, OK]),
        (
            swapped,
            [
                "error: DNS has another key at ",
                "error: DNS has another key at ",
            ],
        ),
        (
            one.to_owned(),
            [
                OK,
                "error: others cannot check its signatures: there is no key at ",
            ],
        ),
        (
            zone.replace("k=ed", "t=y; k=ed"),
            ["warning: DNS says that example.org only tries"; 2],
        ),
        (
            "one._domainkey.example.org ! SERVFAIL\ntwo._domainkey.example.org ! SERVFAIL"
                .to_owned(),
            ["warning: whether others know it cannot be told: "; 2],
        ),
    ];
    for (zone, expected) in rows {
        let dns = Dns::start(&zone);
        system = system.with("dns", &dns.keys());
        let said = system.run(&["--check"], "").stdout;
        for (file, words) in ["one.pem", "two.pem"].into_iter().zip(expected) {
            let (grade, text) = words.split_once(": ").unwrap();
            let line = said.lines().find(|l| l.contains(file)).unwrap();
            assert!(line.starts_with(grade) && line.contains(text), "{line}");
        }
    }
}

const OK: &str = "ok: signs for example.org with ed25519-sha256, and DNS has its public half";

#[test]
fn a_domain_without_a_key_gets_one() {
    let system = System::new("dkim-first");
    let ran = system.run(&["--dkim-key", "example.org"], "");
    let file = system.path("dkim-example.org.pem");
    assert!(
        ran.stdout.contains(&format!(
            "selector = \"ed25519\"\nkey = \"{}\"",
            file.display()
        )),
        "{ran:?}"
    );
    assert!(
        ran.stdout
            .contains("ed25519._domainkey.example.org. IN TXT ( \"v=DKIM1; k=ed25519; p=")
    );
    assert!(ran.stdout.contains("openssl genrsa"));
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    // Asked again, it is the same.
    assert_eq!(
        system.run(&["--dkim-key", "example.org"], "").stdout,
        ran.stdout
    );
    let ran = system.run(&["--dkim-key", "no domain"], "");
    assert_eq!(
        (ran.code, ran.stderr.contains("no domain is no domain: ")),
        (64, true),
        "{ran:?}"
    );
}

/// What others know of a domain and a host that send by themselves.
#[test]
fn check_tells_what_others_will_think() {
    let rows = [
        (
            "_dmarc.example.org TXT v=DMARC1; p=reject\nexample.org TXT v=spf1 ip4:192.0.2.7 -all\n\
             pi.test.example A 192.0.2.7\n7.2.0.192.in-addr.arpa PTR pi.test.example",
            [
                "ok       DMARC of example.org: our signatures answer for its mail (p=reject)",
                "ok       reverse name of 192.0.2.7: pi.test.example",
                "ok       SPF of example.org: lets 192.0.2.7 send (example.org: ip4:192.0.2.7)",
            ],
        ),
        (
            "pi.test.example A 192.0.2.7\nexample.org MX 1 pi.test.example",
            [
                "warning  DMARC of example.org: it has no record",
                "warning  reverse name of 192.0.2.7: it is not pi.test.example",
                "warning  SPF of example.org: it has no record; publish the TXT record example.org",
            ],
        ),
        (
            "pi.test.example A 192.0.2.7\nexample.org TXT v=spf1 -all\n_dmarc.example.org ! SERVFAIL\n\
             7.2.0.192.in-addr.arpa ! SERVFAIL",
            [
                "warning  DMARC of example.org: its record cannot be looked up",
                "warning  reverse name of 192.0.2.7: its name cannot be looked up",
                "error    SPF of example.org: does not let 192.0.2.7 send: example.org: -all",
            ],
        ),
    ];
    for (zone, expected) in rows {
        let dns = Dns::start(zone);
        let system = System::new("dkim-others").with("dns", &dns.keys());
        let key = format!(
            "domain = \"example.org\"\nkey = \"{}\"",
            system.path("k.pem").display()
        );
        let system = system.with("[dkim]", &key);
        assert_eq!(system.run(&["--dkim-key", "example.org"], "").code, 0);
        let said = system.run(&["--check"], "").stdout;
        for line in expected {
            assert!(said.lines().any(|l| l.starts_with(line)), "{line}: {said}");
        }
        let told = said
            .lines()
            .filter(|l| l.contains("reverse name of "))
            .count();
        assert_eq!(told, 1, "once: {said}");
    }
}

/// Whether others know mail of this host for its own (DMARC): by a signature, and if that does not count, by SPF.
#[test]
fn check_tells_who_answers_for_what_leaves() {
    const ADDRESS: &str = "pi.test.example A 192.0.2.7\npi.test.example TXT v=spf1 a -all\n";
    // The domain of the key, or none; whether there is a smarthost; what DNS says; and of which domain what is told.
    let rows: &[(&str, bool, &str, &str)] = &[
        (
            "",
            false,
            "_dmarc.pi.test.example TXT v=DMARC1; p=reject\n",
            "warning  DMARC of pi.test.example: only SPF answers for its mail (p=reject), and not once it is passed on; minimta --dkim-key pi.test.example makes a key for it\n",
        ),
        (
            "",
            false,
            "_dmarc.test.example TXT v=DMARC1; p=quarantine; aspf=s\npi.test.example TXT v=spf1 -all\n",
            "error    DMARC of pi.test.example: nothing answers for its mail (p=quarantine): neither a signature nor SPF; minimta --dkim-key pi.test.example makes a key for it\n",
        ),
        (
            "",
            false,
            "_dmarc.test.example TXT v=DMARC1; p=none\npi.test.example TXT v=spf1 -all\n",
            "warning  DMARC of pi.test.example: nothing answers for its mail (p=none)",
        ),
        (
            "test.example",
            false,
            "_dmarc.test.example TXT v=DMARC1; p=reject\n",
            "ok       DMARC of pi.test.example: our signatures answer for its mail (p=reject)\n",
        ),
        (
            "test.example",
            true,
            "_dmarc.test.example TXT v=DMARC1; p=reject; adkim=s\n",
            "error    DMARC of pi.test.example: nothing answers for its mail (p=reject): neither a signature nor SPF; the signatures of test.example do not count for it; minimta --dkim-key pi.test.example makes a key of its own\n",
        ),
        // Who signs for a smarthost's users is its own business.
        (
            "",
            true,
            "_dmarc.pi.test.example TXT v=DMARC1; p=reject\n",
            "",
        ),
    ];
    let remote = Remote::start(Script::new());
    for (key, relayed, zone, expected) in rows {
        let spf = if zone.contains("v=spf1") {
            "pi.test.example A 192.0.2.7\n"
        } else {
            ADDRESS
        };
        let dns = Dns::start(&format!("{spf}{zone}"));
        let mut system = match relayed {
            true => System::relaying("dkim-answers", &remote),
            false => System::new("dkim-answers"),
        };
        system = system.with("dns", &dns.keys());
        if !key.is_empty() {
            let file = system.path("k.pem").display().to_string();
            system = system.with("[dkim]", &format!("domain = \"{key}\"\nkey = {file:?}"));
            assert_eq!(system.run(&["--dkim-key", key], "").code, 0);
        }
        let said = system.run(&["--check"], "").stdout;
        let told = said
            .split_inclusive('\n')
            .find(|l| l.contains(" DMARC of pi."));
        match *expected {
            "" => assert_eq!(told, None),
            expected => assert!(
                told.is_some_and(|t| t.starts_with(expected)),
                "{told:?} for {expected}"
            ),
        }
    }
}

/// The most memory of its own that a process has while it runs, in KiB.
fn most_of(mut child: std::process::Child) -> u64 {
    let mut most = 0;
    loop {
        let status = format!("/proc/{}/status", child.id());
        let status = fs::read_to_string(status).unwrap_or_default();
        let line = status.lines().find_map(|l| l.strip_prefix("RssAnon:"));
        let words = line.and_then(|l| l.split_whitespace().next());
        most = most.max(words.map_or(0, |n| n.parse().unwrap()));
        if let Some(ended) = child.try_wait().unwrap() {
            assert!(ended.success());
            return most;
        }
        // It is to run, and not to be watched only.
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// A large message is signed as it passes by: none of it is held.
#[test]
fn a_large_message_is_signed_in_little_memory() {
    const MOST: u64 = 256;
    let remote = Remote::start(Script::new());
    let system = signing("dkim-large", &remote);
    publish(&system);
    let mut found = Vec::new();
    for size in [1, 4 * 1024] {
        let line = "all work and no play makes a mail transfer agent a dull one\n".repeat(17);
        let text = format!("{MAIL}{}", line.repeat(size));
        system.accept(&["-odq", "-f", "me@example.org", "you@example.net"], text);
        let before = remote.received().len();
        found.push(most_of(system.call("sendmail").args(&["-q"]).start()));
        let received = remote.received();
        assert_eq!(received.len(), before + 1, "{}", system.log());
        let mail = received[before].mail();
        assert_eq!(mail.all("DKIM-Signature").len(), 2);
        assert!(mail.text().len() > size * 1000);
    }
    assert!(found[0] > 0, "{found:?}");
    assert!(found[1] <= found[0] + MOST, "{found:?} KiB");
}

/// Who has logged in, and the clients of the house, are signed for as programs of this machine are.
#[test]
fn who_is_known_is_signed_for() {
    let remote = Remote::start(Script::new());
    let system = signing("dkim-known", &remote)
        .listens()
        .with("listen", "submission = [\"127.0.0.1:0\"]")
        .with("", "domains = [\"example.org\"]")
        .with_user("alice", "correct horse");
    publish(&system);
    let steps = [
        ("MAIL FROM:<alice@example.org>", "250 "),
        ("RCPT TO:<you@example.net>", "250 "),
        ("DATA", "354 "),
        (
            "From: alice@example.org\r\nSubject: x\r\n\r\nhello\r\n.",
            "250 ",
        ),
    ];
    let daemon = Daemon::start(&system);
    let mut user = Secure::meet(&system, &daemon, "submission");
    let login = format!("AUTH PLAIN {}", BASE64.encode("\0alice\0correct horse"));
    assert!(user.say(&login).starts_with("235"));
    user.steps(&steps);
    until("the user's is sent", || remote.received().len() == 1);
    let mut printer = daemon.client();
    printer.say("EHLO printer.example");
    printer.steps(&steps);
    until("the printer's is sent", || remote.received().len() == 2);
    for received in remote.received() {
        let mail = received.mail();
        assert_eq!(mail.all("DKIM-Signature").len(), 2, "{}", mail.text());
    }
}
