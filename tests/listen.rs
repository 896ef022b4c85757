//! `minimta -bd` as its clients see it: bounds, deadlines, and mail on its way through.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::harness::system::{finish, me, names_in, user};
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
    client.steps(&[
        ("LHLO client.example", "250-"),
        ("MAIL FROM:<a@b.example>", "250 "),
        (&to, "250 "),
        ("RCPT TO:<nobody-of-this-name@localhost>", "550 5.1.1"),
        ("RCPT TO:<postmaster>", "250 "),
        ("DATA", "354 "),
        (&format!("{MESSAGE}."), "250 "),
    ]);
    assert!(client.reply().starts_with("250 "));
    until("delivered", || !system.mailbox().is_empty());
    let mail = &system.mailbox()[0];
    assert!(mail.text().contains("(local socket)"), "{}", mail.text()); // G20
}

/// R37: a session that does not end by QUIT ends with a word.
#[test]
fn whoever_is_slow_is_told_and_goes() {
    // What is sent first, and what is then sent a little at a time.
    let rows = [
        ("A14", "", ""),
        ("A14", "EHLO x.example\r\n", ""),
        ("G2", "EHLO x.example\r\n", "NOOP "),
        (
            "G15",
            "EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<postmaster>\r\nDATA\r\n",
            "",
        ),
        (
            "G6",
            "EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<postmaster>\r\nDATA\r\n",
            "y",
        ),
    ];
    let system = System::listening("listen-slow")
        .with("limits", "command_timeout = \"1s\"\ndata_timeout = \"1s\"");
    let daemon = Daemon::start(&system);
    for (case, first, drip) in rows {
        let mut client = daemon.client();
        client.send(first).unwrap();
        let begun = Instant::now();
        if !drip.is_empty() {
            while begun.elapsed() < Duration::from_millis(1500) && client.send(drip).is_ok() {
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        let replies = client.rest();
        assert!(replies.contains("421 4.4.2"), "{case}: {replies}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{case}");
    }
    nothing_kept(&system);
}

/// G3: the same before there is a session, where a header of a proxy, or a handshake, comes a little at a time.
#[test]
fn whoever_is_slow_before_the_greeting_goes_too() {
    let system = System::listening("listen-slow-start")
        .with(
            "listen",
            "proxy_protocol = [\"127.0.0.1\"]\nsubmissions = [\"127.0.0.1:0\"]",
        )
        .with("limits", "command_timeout = \"1s\"");
    let daemon = Daemon::start(&system);
    for (kind, header, drip) in [
        ("smtp", "PROXY TCP4 192.0.2.7", " "),
        (
            "submissions",
            "PROXY TCP4 192.0.2.7 10.0.0.1 12345 465\r\n\x16\x03\x01\x7f",
            "\x7f",
        ),
    ] {
        let mut client = Client::tcp(TcpStream::connect(daemon.address(kind)).unwrap());
        client.send(header).unwrap();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(1500) && client.send(drip).is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
        let said = client.rest();
        assert!(!said.contains("220"), "{kind}: {said}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{kind}");
    }
}

/// G11, G16: what is announced costs nothing until it comes.
#[test]
fn an_announced_size_takes_no_room() {
    let system = System::listening("listen-announced");
    let daemon = Daemon::start(&system);
    let to = format!("RCPT TO:<{}>", me());
    let clients: Vec<Client> = (0..30)
        .map(|_| {
            let mut client = daemon.client();
            client.steps(&[
                ("EHLO x", "250-"),
                ("MAIL FROM:<> SIZE=26214400", "250 "),
                (&to, "250 "),
                ("DATA", "354 "),
            ]);
            client
        })
        .collect();
    let taken: u64 = system
        .names("tmp")
        .iter()
        .filter_map(|name| std::fs::metadata(system.path("spool/tmp").join(name)).ok())
        .map(|file| file.len())
        .sum();
    assert!(taken < 30 * 4096, "{taken}");
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.id())).unwrap();
    let anonymous = status
        .lines()
        .find_map(|l| l.strip_prefix("RssAnon:"))
        .unwrap();
    let kib: u64 = anonymous.trim().split(' ').next().unwrap().parse().unwrap();
    assert!(kib < 16 * 1024, "{kib} KiB");
    drop(clients);
    until("all have gone", || system.names("tmp").is_empty());
}

#[test]
fn a_client_that_does_not_read_holds_nobody_up() {
    // G13
    let system = System::listening("listen-deaf")
        .with("listen", "max_connections = 1")
        .with("limits", "command_timeout = \"1s\"");
    let daemon = Daemon::start(&system);
    let mut deaf = daemon.stranger();
    let noise = "HELP\r\n".repeat(20_000);
    while deaf.send(&noise).is_ok() {}
    until("another client is served", || {
        daemon.stranger().reply().starts_with("220 ")
    });
}

#[test]
fn a_full_house_says_so_and_has_room_again() {
    // G7
    let system = System::listening("listen-full").with("listen", "max_connections = 2");
    let daemon = Daemon::start(&system);
    let (mut one, mut two) = (daemon.client(), daemon.client());
    for busy in [&mut one, &mut two] {
        busy.steps(&[("EHLO x", "250-"), ("MAIL FROM:<>", "250 ")]);
    }
    let begun = Instant::now();
    let reply = daemon.stranger().reply();
    assert!(reply.starts_with("421 4.3.2"), "{reply}");
    assert!(begun.elapsed() < Duration::from_secs(5));
    let mut waiting = daemon.stranger();
    drop(one);
    assert!(waiting.reply().starts_with("220 "));
    drop(two);
    until("there is room", || {
        daemon.stranger().reply().starts_with("220 ")
    });
}

/// With all places taken by clients that say nothing, a new one is served within a second, and nobody in a message goes.
#[test]
fn idle_clients_give_way() {
    let system = System::listening("listen-idle").with(
        "listen",
        "max_connections = 20\nmax_connections_per_client = 100",
    );
    let daemon = Daemon::start(&system);
    let mut busy = daemon.client();
    let to = format!("RCPT TO:<{}>", me());
    busy.steps(&[("EHLO x", "250-"), ("MAIL FROM:<>", "250 "), (&to, "250 ")]);
    let mut idle: Vec<Client> = (0..19).map(|_| daemon.client()).collect();
    for _ in 0..30 {
        let begun = Instant::now();
        let mut new = daemon.stranger();
        let reply = new.reply();
        assert!(reply.starts_with("220 "), "{reply}");
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "a loaded machine is slow, but not so"
        );
        idle.push(new);
    }
    assert!(idle[0].reply().starts_with("421 4.4.2"));
    busy.steps(&[("DATA", "354 "), (&format!("{MESSAGE}."), "250 ")]);
}

#[test]
fn one_client_has_a_share() {
    // G8
    let system = System::listening("listen-share")
        .with(
            "listen",
            "smtp = [\"0.0.0.0:0\"]\nmax_connections_per_client = 2",
        )
        .with("access", "relay_from = []");
    let daemon = Daemon::start(&system);
    let (one, _two) = (daemon.client(), daemon.client());
    let reply = daemon.stranger().reply();
    assert!(reply.starts_with("421 4.7.0"), "{reply}");
    let port = daemon.address("smtp").port();
    let from = |from: &str| {
        let domain = socket2::Domain::IPV4;
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
        let address = |ip: &str, port| std::net::SocketAddr::new(ip.parse().unwrap(), port);
        socket.bind(&address(from, 0).into()).unwrap();
        socket.connect(&address("127.0.0.1", port).into()).unwrap();
        Client::tcp(TcpStream::from(socket)).reply()
    };
    assert!(from("127.0.0.2").starts_with("220 "));
    drop(one);
    until("there is a share", || from("127.0.0.1").starts_with("220 "));
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
    assert!(daemon.client().deliver(&me(), MESSAGE).starts_with("250 "));
}

#[test]
fn a_lack_of_descriptors_is_survived() {
    // G21
    let system = System::listening("listen-files");
    let call = system.call_after("ulimit -n 24").args(&["-bD"]);
    let daemon = Daemon::of(&system, || call.start());
    let clients: Vec<Client> = (0..40).map(|_| daemon.stranger()).collect();
    logged(&system, "cannot take in clients for a moment");
    drop(clients);
    until("there is room", || {
        daemon.stranger().reply().starts_with("220 ")
    });
    let told = system.log().matches("cannot take in clients").count();
    assert!(told < 20, "{told}");
}

#[test]
fn a_handshake_that_stalls_is_given_up() {
    // D8
    let system = System::listening("listen-tls")
        .with(
            "listen",
            "submissions = [\"127.0.0.1:0\"]\nmax_connections = 2",
        )
        .with("limits", "command_timeout = \"1s\"");
    let daemon = Daemon::start(&system);
    let connect = || TcpStream::connect(daemon.address("submissions")).unwrap();
    let stalled = [connect(), connect()];
    for mut stream in stalled {
        let limit = Duration::from_secs(20);
        stream.set_read_timeout(Some(limit)).unwrap();
        let mut end = Vec::new();
        assert!(stream.read_to_end(&mut end).is_ok());
    }
    assert!(daemon.client().say("QUIT").starts_with("221 "));
}

/// CVE-2024-32650, and what a client under TLS breaks off: it ends, and so does the session, and nothing spins.
#[test]
fn a_handshake_that_ends_at_once_is_left() {
    let system = System::listening("listen-tls-end").with(
        "listen",
        "submissions = [\"127.0.0.1:0\"]\nmax_connections = 1",
    );
    let daemon = Daemon::start(&system);
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let name = "pi.test.example".try_into().unwrap();
    let mut client = rustls::ClientConnection::new(std::sync::Arc::new(config), name).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    // close_notify, a fatal alert, and one that is none (RFC 8446 6).
    for alert in [[1, 0], [2, 40], [9, 9]] {
        for whole in [hello.len(), hello.len() / 2] {
            let mut stream = TcpStream::connect(daemon.address("submissions")).unwrap();
            let end = [0x15, 3, 3, 0, 2, alert[0], alert[1]];
            let text = [&hello[..whole], &end[..]].concat();
            std::io::Write::write_all(&mut stream, &text).unwrap();
            stream
                .set_read_timeout(Some(Duration::from_secs(20)))
                .unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let mut rest = Vec::new();
            // A reset is an end, too.
            let ended = stream.read_to_end(&mut rest);
            let in_time = |e: &std::io::Error| e.kind() != std::io::ErrorKind::WouldBlock;
            assert!(
                ended.as_ref().err().is_none_or(in_time),
                "{alert:?}: {ended:?}"
            );
            until("there is a place again", || {
                daemon.stranger().reply().starts_with("220 ")
            });
        }
    }
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
