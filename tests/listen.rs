//! `minimta -bd` as its clients see it: mail on its way through. Its bounds are in tests/bounds.rs.

use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use crate::harness::system::{HOST, finish, me, names_in, user};
use crate::harness::{Client, Daemon, System, until};

pub const MESSAGE: &str = "Subject: hello\r\n\r\nsome text\r\n";

/// Waits until a file of the log has this.
pub fn logged(system: &System, what: &str) {
    until(what, || system.log().contains(what));
}

pub fn nothing_kept(system: &System) {
    for folder in ["tmp", "new", "cur", "hold"] {
        assert!(system.names(folder).is_empty(), "{folder}");
    }
    assert!(system.mailbox().is_empty());
}

#[test]
fn mail_comes_in_and_is_in_the_mailbox() {
    // A1, A13, A19: early, half-closed, and no octet changed.
    let system = System::listening("listen-plain").with("access", "relay_from = []");
    let daemon = Daemon::start(&system);
    let body = "Received: from there by here; Mon, 1 Jan 2024 00:00:00 +0000\r\nX:y\r\nsubject : odd\r\n\r\n..\r\nx\r\n";
    let mut client = daemon.stranger();
    let text = format!(
        "EHLO client.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<{}>\r\nDATA\r\n{}.\r\nQUIT\r\n",
        me(),
        body.replace("\r\n..", "\r\n...")
    );
    client.send(text).unwrap();
    client.half_close();
    let replies = client.rest();
    assert!(
        replies.contains("queued as") && replies.contains("\r\n221 "),
        "{replies}"
    );
    until("delivered", || system.mailbox().len() == 1);
    let mail = &system.mailbox()[0];
    assert!(
        mail.text().ends_with(&body.replace("\r\n", "\n")),
        "{}",
        mail.text()
    ); // R71
    let trace = mail.text().split("Received: ").nth(1).unwrap();
    assert!(
        trace.starts_with("from client.example ([127.0.0.1])\n\tby "),
        "{trace}"
    ); // R62
    let reply = daemon.client().deliver("one@example.net", MESSAGE);
    assert!(reply.starts_with("550 5.7.1"), "{reply}");
    let ran = daemon.stop();
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert!(!system.path("run/pid").exists());
}

/// R76: of these alone; a message from elsewhere stays as it is (R71).
#[test]
fn what_a_program_of_this_machine_leaves_out_is_made() {
    let system = System::listening("listen-own");
    let daemon = Daemon::start(&system);
    let reply = daemon.client().deliver(&user(), "\r\ntext\r\n");
    assert!(reply.starts_with("250 "), "{reply}");
    until("delivered", || system.mailbox().len() == 1);
    let mail = &system.mailbox()[0];
    for field in ["Date", "Message-ID", "From"] {
        assert!(
            mail.text().contains(&format!("\n{field}: ")),
            "{}",
            mail.text()
        );
    }
}

/// F25, R72: a message that was here before is taken, and counts as one more hop; at the limit it is refused.
#[test]
fn a_loop_ends() {
    let system = System::listening("listen-loop").with("access", "relay_from = []");
    let daemon = Daemon::start(&system);
    let message = "Received: x\r\n".repeat(101) + "\r\ntext\r\n";
    let reply = daemon.client().deliver(&me(), &message);
    assert!(reply.starts_with("554 5.4.6"), "{reply}");
    nothing_kept(&system);
    let own = format!(
        "Received: from client.example ([127.0.0.1])\r\n\tby pi.test.example with ESMTP\r\n\tid 4CV6Q for <{}>;\r\n\tThu, 1 Jan 1970 00:00:00 +0000\r\n",
        me()
    );
    let reply = daemon.client().deliver(&me(), &own.repeat(101));
    assert!(reply.starts_with("554 5.4.6"), "{reply}");
    let reply = daemon
        .client()
        .deliver(&me(), &format!("{own}\r\ntext\r\n"));
    assert!(reply.starts_with("250 "), "{reply}");
    until("delivered", || system.mailbox().len() == 1);
    assert_eq!(system.mailbox()[0].all("Received").len(), 2);
}

#[test]
fn each_recipient_has_a_reply_by_lmtp() {
    let system = System::listening("listen-lmtp");
    let socket = system.path("lmtp");
    let system = system.with("listen", &format!("lmtp = [\"unix:{}\"]", socket.display()));
    let _daemon = Daemon::start(&system);
    let mut client = Client::unix(UnixStream::connect(&socket).unwrap());
    assert!(client.reply().starts_with("220 "));
    let to = format!("RCPT TO:<{}>", me());
    let judged = format!("Authentication-Results: {HOST}; dmarc=pass\r\n");
    client.steps(&[
        ("LHLO client.example", "250-"),
        ("MAIL FROM:<a@b.example>", "250 "),
        (&to, "250 "),
        ("RCPT TO:<nobody-of-this-name@localhost>", "550 5.1.1"),
        ("RCPT TO:<postmaster>", "250 "),
        ("DATA", "354 "),
        (&format!("{judged}{MESSAGE}."), "250 "),
    ]);
    assert!(client.reply().starts_with("250 "));
    until("delivered", || !system.mailbox().is_empty());
    let mail = &system.mailbox()[0];
    // A filter may bring it back.
    assert!(mail.text().contains("dmarc=pass"), "{}", mail.text());
    assert!(mail.text().contains("(local socket)"), "{}", mail.text()); // G20
}

#[test]
fn last_words_arrive() {
    // G24: what is sent behind them is not read, and must not destroy them.
    let system = System::listening("listen-words");
    let daemon = Daemon::start(&system);
    let rows = [
        ("wrong\r\n".repeat(50_000), "421 4.7.0"),
        (format!("EHLO {}\r\n", "x".repeat(300_000)), "421 4.5.2"),
        (
            format!("GET / HTTP/1.1\r\n{}", "x: y\r\n".repeat(10_000)),
            "421 4.7.0",
        ),
        (
            format!("QUIT\r\n{}", "NOOP\r\n".repeat(10_000)),
            "221 2.0.0",
        ),
        (
            format!("EHLO x\r\nDATA\r\n{}.\r\n", "text\r\n".repeat(10_000)),
            "421 4.5.0",
        ),
    ];
    for (text, last) in rows {
        let mut client = daemon.stranger();
        // It may be cut off in the middle.
        let _ = client.send(&text);
        let replies = client.rest();
        let found = replies.lines().last().unwrap_or_default();
        assert!(found.starts_with(last), "{last}: {replies}");
    }
}

#[test]
fn who_goes_in_the_middle_leaves_nothing() {
    // B24, B25
    let system = System::listening("listen-gone");
    let daemon = Daemon::start(&system);
    let (to, text) = (format!("RCPT TO:<{}>\r\n", me()), "x\r\n".repeat(50_000));
    let steps = [
        "",
        "EHLO x\r\n",
        "MAIL FROM:<>\r\n",
        &to,
        "DATA\r\n",
        "Subject: y",
        "\r\n\r\n",
        &text,
    ];
    for reset in [true, false] {
        for count in 1..=steps.len() {
            let mut client = daemon.client();
            client.send(steps[..count].concat()).unwrap();
            if reset {
                client.reset();
            } else {
                client.half_close();
                client.rest();
            }
        }
    }
    until("all have gone", || system.names("tmp").is_empty());
    nothing_kept(&system);
    // B26: who sends all and reads nothing has sent it; it is there, and whole.
    let mut client = daemon.client();
    let whole = format!("{}.\r\n", steps.concat());
    client.send(&whole).unwrap();
    client.half_close();
    logged(&system, "queued");
    until("delivered", || system.mailbox().len() == 1);
    assert!(
        system.mailbox()[0]
            .text()
            .ends_with(&text.replace("\r\n", "\n"))
    );
}

#[test]
fn many_come_and_go() {
    // G9
    let system = System::listening("listen-many");
    let daemon = Daemon::start(&system);
    for _ in 0..500 {
        drop(daemon.stranger());
    }
    let files = || names_in(format!("/proc/{}/fd", daemon.id()).as_ref()).len();
    until("all are closed", || files() < 20);
    // Some may still stand in the line of the system, and are met before whoever comes now.
    let mut last = None;
    until("there is a place", || {
        let client = last.insert(daemon.stranger());
        client.reply().starts_with("220 ")
    });
    let reply = last.unwrap().deliver(&me(), MESSAGE);
    assert!(reply.starts_with("250 "), "{reply}");
}

#[test]
fn nobody_behind_inetd_is_trusted() {
    let system = System::new("listen-inetd").with("access", "relay_from = []");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let served = OwnedFd::from(listener.accept().unwrap().0);
    let child = system
        .call("sendmail")
        .args(&["-bs"])
        .start_on(Stdio::from(served));
    let mut client = Client::tcp(stream);
    assert!(client.reply().starts_with("220 "));
    let reply = client.deliver("one@example.net", MESSAGE);
    assert!(reply.starts_with("550 5.7.1"), "{reply}");
    assert!(client.deliver(&me(), MESSAGE).starts_with("250 "));
    client.steps(&[("QUIT", "221 ")]);
    assert_eq!(finish(child).code, 0);
    until("delivered", || system.mailbox().len() == 1);
    let mail = &system.mailbox()[0];
    assert!(
        mail.text().contains("from client.example ([127.0.0.1])"),
        "{}",
        mail.text()
    );
}

#[test]
fn a_proxy_says_who_its_client_is() {
    // G19
    let system = System::listening("listen-proxy")
        .with("listen", "proxy_protocol = [\"127.0.0.0/8\"]")
        .with("limits", "command_timeout = \"2s\"");
    let daemon = Daemon::start(&system);
    let mut client = daemon.stranger();
    client
        .send("PROXY TCP4 192.0.2.7 10.0.0.1 12345 25\r\n")
        .unwrap();
    assert!(client.reply().starts_with("220 "));
    // The proxy may relay, its client may not.
    let reply = client.deliver("one@example.net", MESSAGE);
    assert!(reply.starts_with("550 5.7.1"), "{reply}");
    assert!(client.deliver(&me(), MESSAGE).starts_with("250 "));
    until("delivered", || system.mailbox().len() == 1);
    let mail = &system.mailbox()[0];
    assert!(
        mail.text().contains("from client.example ([192.0.2.7])"),
        "{}",
        mail.text()
    );
    // Version 2, and the greeting of a client that waits for it.
    let mut client = daemon.stranger();
    client
        .send(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x08\x0a\0\0\x01\x30\x39\0\x19")
        .unwrap();
    assert!(client.reply().starts_with("220 "));
    assert!(client.deliver(&me(), MESSAGE).starts_with("250 "));
    until("both delivered", || system.mailbox().len() == 2);
    let from = |mail: &crate::harness::Mail| mail.text().contains("([192.0.2.8])");
    assert!(system.mailbox().iter().any(from));
    for bad in ["EHLO x\r\n", "PROXY UNKNOWN\r\n", "PROXY TCP4 192.0.2.7"] {
        let mut client = daemon.stranger();
        client.send(bad).unwrap();
        let said = client.rest();
        assert!(!said.contains("220"), "{bad:?}: {said}");
    }
    logged(&system, "no good PROXY header");
}

#[test]
fn a_flood_goes_in_and_out() {
    let system =
        System::listening("listen-flood").with("listen", "max_connections_per_client = 50");
    let daemon = Daemon::start(&system);
    let (sessions, each) = (8, 25);
    std::thread::scope(|scope| {
        for _ in 0..sessions {
            scope.spawn(|| {
                let mut client = daemon.client();
                for _ in 0..each {
                    let reply = client.deliver(&me(), MESSAGE);
                    assert!(reply.starts_with("250 "), "{reply}");
                }
            });
        }
    });
    until("all are delivered", || {
        names_in(&system.maildir().join("new")).len() == sessions * each
    });
    until("nothing waits", || system.queue().is_empty());
    assert_eq!(
        system.log().matches(" delivered to=").count(),
        sessions * each
    );
}

/// J6: a link that stands where the lock or the trigger should be ends the start; through one that another user has put
/// where the log should be nothing is written.
#[test]
fn a_link_in_the_way_is_not_gone_through() {
    let is_root = nix::unistd::Uid::effective().is_root();
    // What is a link, what is started, and what is said of it.
    let rows = [
        ("run/pid", "-bD", "cannot open ", true),
        ("run/trigger", "-bD", "cannot open the FIFO ", true),
        (
            "log",
            "-q",
            "is a link of the user 65534, who must not choose where the log goes",
            is_root,
        ),
    ];
    for (name, start, said, is_possible) in rows {
        if !is_possible {
            println!("listen: passed over: only root can plant another user's link at {name}");
            continue;
        }
        let system = System::listening("listen-link");
        let (precious, link) = (system.path("precious"), system.path(name));
        std::fs::write(&precious, "precious").unwrap();
        std::fs::create_dir_all(link.parent().unwrap()).unwrap();
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(&precious, &link).unwrap();
        if is_root {
            std::os::unix::fs::lchown(&link, Some(65534), Some(65534)).unwrap();
        }
        let ran = system.run(&[start], "");
        assert!(ran.stderr.contains(said), "{name}: {ran:?}");
        assert_eq!(std::fs::read_to_string(&precious).unwrap(), "precious");
    }
}
