//! The bounds of `minimta -bd`: clients that are slow, many, or silent within a handshake, and too few descriptors.

use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::harness::system::me;
use crate::harness::{Client, Daemon, System, until};
use crate::listen::{MESSAGE, logged, nothing_kept};

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
