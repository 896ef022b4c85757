//! Mail of strangers that is sent on leaves with a sender of ours, and what comes back to that sender goes on to them.

use std::fs;
use std::net::TcpStream;

use crate::harness::daemon::Client;
use crate::harness::system::{HOST, until};
use crate::harness::{Daemon, Remote, Script, System};

/// A daemon that nobody is known to, with a smarthost and aliases to others.
fn forwarding(name: &str, remote: &Remote) -> System {
    let system = System::relaying(name, remote)
        .listens()
        .with("access", "relay_from = []\nspf = \"off\"\ndmarc = \"off\"")
        .with("", &format!("domains = [\"{HOST}\", \"also.example\"]"));
    let aliases =
        "far: far@example.net\nlist: far@example.net, here\nowner-list: here\nhere: |true\n";
    fs::write(system.path("aliases"), aliases).unwrap();
    system
}

/// Hands in a message as a stranger, and returns what is said to the recipient.
fn send(daemon: &Daemon, from: &str, to: &str) -> String {
    let mut client = daemon.client();
    client.say("EHLO stranger.example");
    let said = client.say(&format!("MAIL FROM:<{from}>"));
    assert!(said.starts_with("250"), "{said}");
    let said = client.say(&format!("RCPT TO:<{to}>"));
    if said.starts_with("250") {
        client.say("DATA");
        let said = client.say("From: bob@example.org\r\nSubject: x\r\n\r\nhello\r\n.");
        assert!(said.starts_with("250"), "{said}");
    }
    said
}

/// The last sender and recipient that the server was told, once it has so many messages.
fn told(remote: &Remote, count: usize) -> (String, String) {
    until("it arrives", || remote.received().len() == count);
    let commands = remote.commands();
    let last = |verb: &str| {
        let found = commands.iter().rev().find_map(|c| c.strip_prefix(verb));
        let path = found.unwrap().split('>').next();
        path.unwrap().to_owned()
    };
    (last("MAIL FROM:<"), last("RCPT TO:<"))
}

#[test]
fn a_strangers_mail_is_sent_on_in_our_name_and_a_report_finds_him() {
    let remote = Remote::start(Script::new());
    let system = forwarding("srs", &remote);
    let daemon = Daemon::start(&system);
    send(&daemon, "Bob@example.org", "far@also.example");
    let (sender, recipient) = told(&remote, 1);
    assert_eq!(recipient, "far@example.net");
    assert!(sender.starts_with("SRS0="), "{sender}");
    assert!(
        sender.ends_with("=example.org=Bob@also.example"),
        "{sender}"
    );
    // The message is as it came: its own signatures hold.
    let mail = remote.received()[0].mail();
    assert_eq!(mail.field("From").as_deref(), Some("bob@example.org"));

    // A report comes back, from a host that keeps no case; it is no report that is answered in turn.
    send(&daemon, "", &sender.to_lowercase());
    let back = ("".to_owned(), "bob@example.org".to_owned());
    assert_eq!(told(&remote, 2), back);
    // And an answer, which is sent on like any other mail.
    send(&daemon, "carol@example.com", &sender);
    let (answered, recipient) = told(&remote, 3);
    assert_eq!(recipient, "Bob@example.org");
    assert!(answered.ends_with("=example.com=carol@also.example"));

    // Another host's address is sent on with both hosts in it.
    send(
        &daemon,
        "SRS0=ab=cd=example.com=eve@hop.example",
        "far@also.example",
    );
    let (twice, _) = told(&remote, 4);
    assert!(twice.starts_with("SRS1="), "{twice}");
    send(&daemon, "", &twice);
    assert_eq!(told(&remote, 5).1, "SRS0=ab=cd=example.com=eve@hop.example");

    // Nobody can have us send anywhere by such an address.
    for made_up in [
        sender.replace("example.org", "example.com"),
        sender.replace("Bob", "eve"),
        "SRS0=aaaaaa=aa=example.com=eve@also.example".to_owned(),
        "srs1=x=hop.example==a=b=c=d@also.example".to_owned(),
    ] {
        let said = send(&daemon, "", &made_up);
        assert_eq!(
            said, "550 5.1.1 this return address was not made here",
            "{made_up}"
        );
    }
    let shown = system.run(&["-bv", &sender], "").stdout;
    assert!(
        shown.contains("SRS > Bob@example.org: smarthost "),
        "{shown}"
    );
    let shown = system.run(&["-bv", &sender.replace("Bob", "eve")], "");
    assert_eq!(shown.code, 69, "{shown:?}");
    assert!(shown.stdout.contains("was not made here"), "{shown:?}");
}

#[test]
fn whoever_is_no_stranger_keeps_his_name() {
    let remote = Remote::start(Script::new());
    let system = forwarding("srs-own", &remote);
    let daemon = Daemon::start(&system);
    let long = format!("{}@example.org", "x".repeat(50));
    let owner = format!("owner-list@{HOST}");
    let rows = [
        ("", "far", ""),
        (&format!("me@{HOST}"), "far", &format!("me@{HOST}")),
        ("me@also.example", "far", "me@also.example"),
        ("bob@example.org", "list", &owner),
        (&long, "far", &long), // too long for others as one of ours
    ];
    for (number, (from, to, leaves)) in rows.iter().enumerate() {
        send(&daemon, from, &format!("{to}@{HOST}"));
        assert_eq!(told(&remote, number + 1).0, *leaves);
    }
    // Handed in here: it is not sent on.
    system.accept(
        &["-i", "-f", "bob@example.org", "far"],
        "Subject: x\n\nhello\n",
    );
    assert_eq!(told(&remote, rows.len() + 1).0, "bob@example.org");
    let said = "EHLO x\r\nMAIL FROM:<bob@example.org>\r\nRCPT TO:<far>\r\nDATA\r\n\r\nhello\r\n.\r\nQUIT\r\n";
    system.accept(&["-bs", "-odi"], said);
    assert_eq!(told(&remote, rows.len() + 2).0, "bob@example.org");
}

/// A server that hands over by LMTP is on this machine or near, and may well be one that could relay: what it brings is
/// mail of strangers all the same, and is neither signed nor sent on in their name.
#[test]
fn what_comes_by_lmtp_is_of_strangers() {
    let remote = Remote::start(Script::new());
    let system = forwarding("srs-lmtp", &remote)
        .with("access", "relay_from = [\"127.0.0.1\", \"::1\"]")
        .with("listen", "lmtp = [\"127.0.0.1:0\"]");
    let key = system.path("key.pem");
    let lines = format!("domain = \"example.org\"\nselector = \"one\"\nkey = {key:?}");
    let system = system.with("[dkim]", &lines);
    let made = system.run(&["--dkim-key", "example.org"], "");
    assert_eq!(made.code, 0, "{made:?}");
    let daemon = Daemon::start(&system);
    let mut client = Client::tcp(TcpStream::connect(daemon.address("lmtp")).unwrap());
    let to = format!("RCPT TO:<far@{HOST}>");
    assert!(client.reply().starts_with("220 "));
    client.steps(&[
        ("LHLO store.example", "250-"),
        ("MAIL FROM:<bob@other.example>", "250 "),
        (&to, "250 "),
        ("DATA", "354 "),
        ("From: bob@example.org\r\n\r\nhello\r\n.", "250 "),
    ]);
    let (sender, _) = told(&remote, 1);
    assert!(sender.starts_with("SRS0="), "{sender}");
    let mail = remote.received()[0].mail();
    assert!(mail.all("DKIM-Signature").is_empty(), "{}", mail.text());
}

#[test]
fn it_can_be_switched_off() {
    let remote = Remote::start(Script::new());
    let system = forwarding("srs-off", &remote).with("local", "srs = false");
    let daemon = Daemon::start(&system);
    send(&daemon, "bob@example.org", &format!("far@{HOST}"));
    assert_eq!(told(&remote, 1).0, "bob@example.org");
    let said = send(&daemon, "", &format!("SRS0=a=b=c=d@{HOST}"));
    assert!(
        said.starts_with("550 5.1.1 there is no user SRS0"),
        "{said}"
    );
}

#[test]
fn mail_waits_for_a_secret_that_cannot_be_read() {
    let remote = Remote::start(Script::new());
    let system = forwarding("srs-secret", &remote);
    fs::create_dir_all(system.path("spool/state/srs")).unwrap();
    let daemon = Daemon::start(&system);
    send(&daemon, "bob@example.org", &format!("far@{HOST}"));
    until("it is tried", || system.log().contains(" deferred "));
    let queued = system.queued();
    let last = queued.journal.last().unwrap();
    assert!(
        last.contains(" deferred - 4.3.5 - the secret of forwarding "),
        "{last}"
    );
    assert!(last.contains("; or say srs = false in [local]"), "{last}");
    fs::remove_dir(system.path("spool/state/srs")).unwrap();
    drop(daemon);
    system.accept(&["-q"], "");
    assert!(told(&remote, 1).0.starts_with("SRS0="));
    // It is his alone who runs this.
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(system.path("spool/state/srs")).unwrap();
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
}
