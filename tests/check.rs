//! `--check`: the commonest causes of mail that does not flow, each with the thing, the place and the remedy.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use crate::harness::{Dns, Remote, Script, System};

mod places;
mod rights;

/// Makes a cause in a system.
type Cause = fn(System) -> System;

/// What stands there, how bad it is, and words of the finding.
const CAUSES: &[(&str, Cause, &str, &[&str])] = &[
    (
        "a host name without a domain",
        |s| s.with("", "hostname = \"pi\""),
        "warning  hostname: ",
        &[
            "pi is not fully qualified",
            "set hostname = \"pi.example.org\"",
        ],
    ),
    (
        "a spool that everybody may write",
        |s| {
            fs::set_permissions(s.path("spool"), fs::Permissions::from_mode(0o777)).unwrap();
            s
        },
        "error    spool ",
        &["everybody may write it; chmod o-w "],
    ),
    (
        "a spool that is a file",
        |s| {
            fs::remove_dir_all(s.path("spool")).unwrap();
            fs::write(s.path("spool"), "").unwrap();
            s
        },
        "error    spool ",
        &["it is no folder"],
    ),
    (
        "a full disk",
        |s| s.with("queue", "min_free = \"1024G\""),
        "error    spool ",
        &["min_free"],
    ),
    (
        "a password that everybody can read",
        |s| {
            let file = s.path("password");
            fs::write(&file, "secret\n").unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
            let line = format!(
                "user = \"me@example.org\"\npassword_file = \"{}\"",
                file.display()
            );
            s.with("smarthost", &line)
        },
        "error    password file ",
        &["everybody can read it, so it is not used; chmod 0640 "],
    ),
    (
        "a password that is not there",
        |s| {
            s.with(
                "smarthost",
                "user = \"me@example.org\"\npassword_file = \"/nowhere/password\"",
            )
        },
        "error    password file /nowhere/password: ",
        &["no such file"],
    ),
    (
        "a smarthost that is down",
        |s| s,
        "error    smarthost 127.0.0.1:1: ",
        &["connection refused"],
    ),
    (
        "a smarthost whose name nobody knows",
        |s| s.with("smarthost", "host = \"no-such-host.invalid\""),
        "error    smarthost no-such-host.invalid:1: ",
        &["no-such-host.invalid"],
    ),
    (
        "nobody who reads root's mail",
        |s| s,
        "warning  ",
        &[
            "there is no alias for root",
            "add a line such as: root: you@example.org",
        ],
    ),
    (
        "unknown names for somebody unknown",
        |s| s.with("local", "unknown_user = \"nobodyhere\""),
        "warning  [local] unknown_user: ",
        &["nobodyhere is neither a user nor an alias"],
    ),
    (
        "an alias file with a mistake",
        |s| {
            fs::write(s.path("aliases"), "root: me@example.org\nweb root@\n").unwrap();
            s
        },
        "error    ",
        &["aliases: line 2: "],
    ),
    (
        "a queue that nobody runs",
        |s| {
            s.accept(&["-odq", "one@example.net"], "Subject: x\n\nhello\n");
            s.backdate(2);
            s
        },
        "error    queue: ",
        &[
            "1 message is due for more than an hour",
            "have cron call minimta -q --due every five minutes",
        ],
    ),
    (
        "a certificate of our own that is not there",
        |s| {
            s.with(
                "tls",
                "certificate = \"/nowhere/c.pem\"\nkey = \"/nowhere/k.pem\"",
            )
        },
        "error    certificate /nowhere/c.pem: ",
        &["/nowhere/"],
    ),
    (
        "roots that are not there",
        |s| {
            s.with(
                "smarthost",
                "tls = \"starttls\"\nca_file = \"/nowhere/roots.pem\"",
            )
        },
        "error    ca_file /nowhere/roots.pem: ",
        &["no such file", "no certificate of 127.0.0.1 can be checked"],
    ),
];

#[test]
fn each_cause_is_named_with_its_place_and_remedy() {
    for (what, cause, begins, words) in CAUSES {
        let system = cause(System::offline("cause"));
        let ran = system.run(&["--check"], "");
        let told =
            |line: &&str| line.starts_with(begins) && words.iter().all(|word| line.contains(word));
        assert!(
            ran.stdout.lines().any(|l| told(&l)),
            "{what}: {}",
            ran.stdout
        );
        // The smarthost of these systems is down, which is an error by itself.
        assert_eq!(ran.code, 78, "{what}");
        assert!(!ran.stdout.contains("secret"), "{what}: {ran:?}");
    }
}

/// What could not be tried, or was released, is due at once, and that is no time to count from.
#[test]
fn a_message_that_has_just_come_is_not_late() {
    let system = System::offline("not-late");
    system.accept(&["-odq", "one@example.net"], "Subject: x\n\nhello\n");
    let id = system.names("new").remove(0);
    let place = system.path("spool/cur").join(&id);
    fs::rename(system.path("spool/new").join(&id), &place).unwrap();
    let file = fs::File::options().write(true).open(&place).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    let ran = system.run(&["--check"], "");
    assert!(!ran.stdout.contains("due for more than an hour"), "{ran:?}");
}

#[test]
fn name_servers_that_are_silent_are_told() {
    let system = System::new("silent");
    let ran = system.run(&["--check"], "");
    let line = ran
        .stdout
        .lines()
        .find(|l| l.starts_with("error    name servers: "));
    let line = line.unwrap_or_else(|| panic!("{ran:?}"));
    for words in [
        "cannot ask the name server",
        "no mail can leave this system; see [dns] servers, or name a [smarthost]",
    ] {
        assert!(line.contains(words), "{line}");
    }
}

/// An old daemon that holds the port: which program it is, and its process.
#[test]
fn another_program_at_the_port_is_told() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    let system = System::offline("port").with("listen", &format!("smtp = [\"127.0.0.1:{port}\"]"));
    let ran = system.run(&["--check"], "");
    let name = fs::read_to_string("/proc/self/comm").unwrap();
    let expected = format!(
        "warning  port {port}: {} (process {}) listens at 127.0.0.1:{port}, so minimta -bd cannot; stop it, or name another \
         place in [listen]\n",
        name.trim_end(),
        std::process::id()
    );
    assert!(ran.stdout.contains(&expected), "{expected}{ran:?}");
}

/// A provider that lets us in, and says what it has against us.
#[test]
fn what_a_provider_refuses_is_told_before_mail_is() {
    let login = "user = \"me@example.org\"\npassword_file = ";
    let rows = [
        (
            Script::new()
                .on("MAIL", "550 5.7.1 not yours")
                .also("AUTH PLAIN")
                .login("me@example.org", "right"),
            "error    sender ",
            "does not take mail from it: 550 5.7.1 not yours; set from = \"me@example.org\" in [smarthost]",
        ),
        (
            Script::new()
                .also("AUTH PLAIN")
                .login("me@example.org", "other"),
            "error    smarthost ",
            "535",
        ),
        (
            Script::new().also("AUTH NTLM"),
            "error    smarthost ",
            "NTLM",
        ),
    ];
    for (script, begins, words) in rows {
        let remote = Remote::start(script);
        let system = System::relaying("provider", &remote);
        let file = system.path("password");
        fs::write(&file, "right\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let system = system.with("smarthost", &format!("{login}\"{}\"", file.display()));
        let ran = system.run(&["--check"], "");
        let line = ran.stdout.lines().find(|l| l.starts_with(begins));
        let line = line.unwrap_or_else(|| panic!("{ran:?}"));
        assert!(line.contains(words), "{line}");
        assert_eq!(ran.code, 78);
        assert!(remote.received().is_empty());
    }
}

/// The port that most home networks close: tried at a server that takes mail of somebody, who is named or gets root's.
#[test]
fn a_port_that_is_closed_outward_is_told() {
    let remote = Remote::start(Script::new());
    let busy = Remote::start(Script::new().on("CONNECT", "554 5.7.1 not you"));
    let zone = "example.net MX 10 one.example\none.example A 127.0.0.1\n\
                closed.example MX 10 dead.example\ndead.example A 127.0.0.99\nno.example MX 0 .";
    let dns = Dns::start(zone);
    let system = System::direct("port", &dns, &remote);
    let port = remote.address.port();
    let check = |system: &System, args: &[&str]| {
        let said = system.run(&[&["--check"], args].concat(), "").stdout;
        let line = said
            .lines()
            .find(|l| l.contains("outward"))
            .map(str::to_owned);
        line.unwrap_or_else(|| panic!("{said}"))
    };
    let rows: &[(&[&str], &str, &str)] = &[
        (
            &[],
            "ok       direct delivery: ",
            "minimta --check you@example.net",
        ),
        (
            &["you@example.net"],
            "ok       port PORT outward: ",
            "open: one.example answers for example.net",
        ),
        (
            &["you@closed.example"],
            "error    port PORT outward: ",
            "no mail server of closed.example can be reached: ",
        ),
        (
            &["you@closed.example"],
            "error    port PORT outward: ",
            "or send through a [smarthost]",
        ),
        (
            &["you@no.example"],
            "warning  port PORT outward: ",
            "no.example",
        ),
    ];
    for (args, begins, words) in rows {
        let line = check(&system, args);
        let begins = begins.replace("PORT", &port.to_string());
        assert!(line.starts_with(&begins) && line.contains(words), "{line}");
    }
    // Without an address, those of whoever gets root's mail.
    fs::write(system.path("aliases"), "root: you@example.net\n").unwrap();
    assert!(check(&system, &[]).contains("answers for example.net"));
    let system = System::direct("port-busy", &dns, &busy);
    let line = check(&system, &["you@example.net"]);
    assert!(
        line.contains("open, but one.example of example.net takes no mail from here: "),
        "{line}"
    );
    assert!(remote.received().is_empty() && busy.received().is_empty());
}

/// Where a route keeps all mail here, neither name servers nor the names of senders are anybody's business.
#[test]
fn nothing_is_asked_about_mail_that_does_not_leave() {
    let open = System::new("leaves");
    let closed = System::new("keeps").with("[route]", "domain = \".\"\nvia = \"refuse\"");
    for (system, is_asked) in [(open, true), (closed, false)] {
        let said = system.run(&["--check"], "").stdout;
        for thing in [" name servers: ", " DMARC of "] {
            assert_eq!(said.contains(thing), is_asked, "{thing}: {said}");
        }
    }
}

/// A host name without a domain is a warning of its own: nobody can publish a record for it.
#[test]
fn nothing_is_to_be_published_for_a_bare_name() {
    for (hostname, is_asked) in [("pi", false), ("pi.test.example", true)] {
        let system = System::new("bare").with("", &format!("hostname = \"{hostname}\""));
        let dns = Dns::start("");
        let system = system.with("dns", &dns.keys());
        let said = system.run(&["--check"], "").stdout;
        assert_eq!(said.contains(" SPF of "), is_asked, "{said}");
    }
}

/// What is wrong is told once, and nothing that cannot be is called well.
#[test]
fn a_name_that_is_none_and_a_log_that_goes_nowhere_are_told() {
    let rows = [
        (
            "localhost.localdomain",
            "warning  configuration: hostname is ",
        ),
        (
            "a_b.example.org",
            "warning  hostname: a_b.example.org is not made of ",
        ),
        ("a-b.example.org", "ok       hostname: a-b.example.org\n"),
    ];
    for (name, begins) in rows {
        let system = System::new("odd-name").with("", &format!("hostname = {name:?}"));
        let said = system.run(&["--check"], "").stdout;
        assert!(said.contains(begins), "{said}");
        let is_well = said.contains("ok       hostname: ");
        assert_eq!(is_well, begins.starts_with("ok"), "{said}");
    }
    let system = System::new("log-fifo");
    std::fs::remove_file(system.path("log")).unwrap_or_default();
    let mode = nix::sys::stat::Mode::S_IRWXU;
    nix::unistd::mkfifo(&system.path("log"), mode).unwrap();
    let said = system.run(&["--check"], "").stdout;
    let line = format!("log file {}: it is no file", system.path("log").display());
    assert!(said.contains(&line), "{said}");
    let system = System::new("log-syslog").with("log", "to = \"syslog\"");
    let said = system.run(&["--check"], "").stdout;
    let is_there = std::path::Path::new("/dev/log").exists();
    assert_eq!(
        said.contains("warning  log: there is no /dev/log"),
        !is_there,
        "{said}"
    );
}
