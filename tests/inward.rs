//! What minimta owes its clients and its neighbours as a server: what it must not touch, must not say and must not wait
//! for (RFC 5321, 6531, 8314, 8996).

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::harness::lmtp::Full;
use crate::harness::remote::{Answer, Script};
use crate::harness::system::me;
use crate::harness::tls::Secure;
use crate::harness::{Client, Daemon, Remote, System, until};

const MESSAGE: &str = "Subject: x\r\n\r\nhello\r\n";

/// R6, R67: a local part keeps its case, and a Return-Path that came along is neither looked at nor made.
#[test]
fn a_relay_leaves_names_and_fields_alone() {
    let remote = Remote::start(Script::new());
    let system = System::relaying("inward-relay", &remote)
        .listens()
        .with("access", "relay_from = []\nrelay_to = [\"example.net\"]");
    let daemon = Daemon::start(&system);
    let mut client = daemon.client();
    client.steps(&[
        ("EHLO client.example", "250-"),
        ("MAIL FROM:<Some.One@client.example>", "250 "),
        ("RCPT TO:<Bob.Smith@Example.NET>", "250 "),
        ("DATA", "354 "),
        (
            "Return-Path: <else@where.example>\r\nX: y\r\n\r\nhello\r\n.",
            "250 ",
        ),
    ]);
    until("relayed", || remote.received().len() == 1);
    let said = remote.commands();
    let is = |begin: &str| said.iter().any(|line| line.starts_with(begin));
    assert!(is("MAIL FROM:<Some.One@client.example>"), "{said:?}");
    assert!(is("RCPT TO:<Bob.Smith@"), "{said:?}");
    let mail = remote.received()[0].mail();
    assert_eq!(mail.all("Return-Path"), ["<else@where.example>"]);
    assert!(!mail.header().starts_with("Return-Path"));
}

/// R81: what is accepted is answered at once, whatever the next hop does, which is not asked before.
#[test]
fn nobody_waits_for_the_next_hop() {
    let remote = Remote::start(Script::new().on("CONNECT", Answer::Silence));
    let system = System::relaying("inward-reply", &remote).listens();
    let daemon = Daemon::start(&system);
    let mut client = daemon.client();
    client.steps(&[
        ("EHLO client.example", "250-"),
        ("MAIL FROM:<a@b.example>", "250 "),
        ("RCPT TO:<one@example.net>", "250 "),
        ("DATA", "354 "),
    ]);
    assert!(remote.sessions().is_empty());
    client.steps(&[(&format!("{MESSAGE}."), "250 ")]);
    assert_eq!(system.queue().len(), 1);
    client.steps(&[("QUIT", "221 ")]);
}

/// R77: what is a matter of policy is refused for good, and only what may pass is put off.
#[test]
fn policy_is_final_and_want_of_room_is_not() {
    let system = System::listening("inward-policy")
        .with("access", "relay_from = []")
        .with("listen", "max_connections_per_client = 1");
    let daemon = Daemon::start(&system);
    let mut first = daemon.client();
    let refused = first.deliver("one@example.net", MESSAGE);
    assert!(refused.starts_with("550 5.7.1 "), "{refused}");
    let full = daemon.stranger().reply();
    assert!(full.starts_with("421 4."), "{full}");
}

/// R159: a name beyond ASCII is said in A-labels, in the greeting, to servers, and in what is written into mail.
#[test]
fn what_is_said_of_this_host_is_ascii() {
    let remote = Remote::start(Script::new());
    let system = System::relaying("inward-idn", &remote)
        .listens()
        .with("", "hostname = \"pi.bücher.example\"");
    let daemon = Daemon::start(&system);
    let mut client = daemon.stranger();
    let mut said = client.reply();
    said += &client.say("EHLO client.example");
    said += &client.say("HELP");
    said += &client.say("RSET");
    client.steps(&[
        ("MAIL FROM:<a@client.example>", "250 "),
        ("RCPT TO:<one@example.net>", "250 "),
        ("DATA", "354 "),
        (&format!("{MESSAGE}."), "250 "),
    ]);
    said += &client.say("QUIT");
    assert!(said.is_ascii(), "{said}");
    assert!(said.contains("220 pi.xn--bcher-kva.example "), "{said}");
    until("relayed", || remote.received().len() == 1);
    let heard = remote.commands();
    assert_eq!(heard[0], "EHLO pi.xn--bcher-kva.example");
    assert!(heard.iter().all(|line| line.is_ascii()), "{heard:?}");
    let text = remote.received()[0].mail().text().to_owned();
    assert!(text.is_ascii(), "{text}");
}

/// R159: what stands in the configuration with letters beyond ASCII is written into mail in A-labels, so that any server
/// takes it.
#[test]
fn configured_senders_leave_in_ascii() {
    for (section, line) in [
        ("smarthost", "from = \"me@bücher.example\""),
        (
            "rewrite",
            "masquerade = { \"pi.example\" = \"bücher.example\" }",
        ),
        ("rewrite", "senders = { \"me\" = \"me@bücher.example\" }"),
    ] {
        let remote = Remote::start(Script::new());
        let system = System::relaying("inward-idn-from", &remote)
            .with("", "hostname = \"pi.example\"")
            .with(section, line);
        system.accept(
            &["-odq", "-f", "me@pi.example", "one@example.net"],
            "From: me@pi.example\nSubject: x\n\nhello\n",
        );
        assert_eq!(system.run(&["-q"], "").code, 0, "{line}");
        let heard = remote.commands();
        let sender = "MAIL FROM:<me@xn--bcher-kva.example>";
        assert!(heard.iter().any(|l| l.starts_with(sender)), "{heard:?}");
        let text = remote.received()[0].mail().text().to_owned();
        assert!(text.is_ascii(), "{line}: {text}");
        assert!(text.contains("me@xn--bcher-kva.example"), "{line}: {text}");
    }
}

/// The first message of a handshake, from a client that knows no version beyond this one (RFC 5246 7.4.1.2); but for
/// that it is one that servers of today take.
fn client_hello(version: u8) -> Vec<u8> {
    // Its version, and 32 octets that should be random.
    let mut hello = vec![3, version];
    hello.extend([7; 32]);
    // No session; ECDHE with AES-128-GCM, for both kinds of keys; no compression.
    hello.extend([0, 0, 4, 0xc0, 0x2f, 0xc0, 0x2b, 1, 0]);
    // Extensions: the group P-256, points as they are, signatures by ECDSA and RSA with SHA-256, the extended secret.
    let extensions = [
        &[0, 10, 0, 4, 0, 2, 0, 23][..],
        &[0, 11, 0, 2, 1, 0],
        &[0, 13, 0, 8, 0, 6, 4, 3, 8, 4, 4, 1],
        &[0, 23, 0, 0],
    ]
    .concat();
    hello.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    hello.extend(extensions);
    handshake(1, &hello)
}

/// A message of a handshake, in its record.
fn handshake(kind: u8, text: &[u8]) -> Vec<u8> {
    let length = |n: usize| u16::try_from(n).unwrap().to_be_bytes();
    let mut record = vec![22, 3, 1];
    record.extend(length(text.len() + 4));
    record.extend([kind, 0]);
    record.extend(length(text.len()));
    record.extend(text);
    record
}

/// A record that carries an alert, and one of the handshake (RFC 8446 5.1).
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;

/// R164, R177: TLS from the first octet on the port for it, and none older than 1.2.
#[test]
fn old_tls_is_not_spoken() {
    let system = System::listening("inward-tls").with("listen", "submissions = [\"127.0.0.1:0\"]");
    let daemon = Daemon::start(&system);
    let connect = || {
        let stream = TcpStream::connect(daemon.address("submissions")).unwrap();
        let limit = Duration::from_secs(20);
        stream.set_read_timeout(Some(limit)).unwrap();
        stream
    };
    for (says, kind) in [
        (b"EHLO client.example\r\n".to_vec(), ALERT),
        (client_hello(1), ALERT),
        (client_hello(2), ALERT),
        (client_hello(3), HANDSHAKE),
    ] {
        let mut stream = connect();
        stream.write_all(&says).unwrap();
        let mut heard = [0];
        stream.read_exact(&mut heard).unwrap();
        assert_eq!(heard, [kind], "{says:?}");
    }
    let pair = system.path("spool/tls/self-signed.pem");
    let mut client = Secure::on(connect(), &pair, None).unwrap();
    assert!(client.reply().starts_with("220 "));
}

/// R177, the other way: a server that knows nothing newer than TLS 1.1 gets no mail that has to be protected.
#[test]
fn old_tls_is_not_taken() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut heard = vec![0; 4096];
        let n = stream.read(&mut heard).unwrap();
        heard.truncate(n);
        // ServerHello of TLS 1.1, with the first suite of that time.
        let mut hello = vec![3, 2];
        hello.extend([9; 32]);
        hello.extend([0, 0xc0, 0x13, 0]);
        let _ = stream.write_all(&handshake(2, &hello));
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        (heard, rest)
    });
    let smarthost =
        format!("host = \"127.0.0.1\"\nport = {port}\ntls = \"implicit\"\nverify = false");
    let system = System::new("inward-old").with("smarthost", &smarthost);
    system.accept(&["-odq", "one@example.net"], MESSAGE);
    system.accept(&["-q"], "");
    let (hello, alert) = server.join().unwrap();
    // It says 1.3 and 1.2 (RFC 8446 4.2.1): the extension, its length, that of the list, the versions.
    let versions = [0, 43, 0, 5, 4, 3, 4, 3, 3];
    let says_so = hello.windows(versions.len()).any(|w| w == versions);
    assert!(says_so, "{hello:?}");
    assert_eq!(alert.first(), Some(&21), "{alert:?}");
    let last = system.queued().journal.last().unwrap().clone();
    assert!(
        last.contains(" deferred ") && last.contains("TLS"),
        "{last}"
    );
}

/// Who connects to a socket of this machine waits for a place in its line, too, and no longer than for anything else: a
/// filter, a server with mailboxes, one with a route, and another daemon at the socket that this one is to listen at.
#[test]
fn a_local_socket_that_lets_nobody_in_is_not_waited_for() {
    let why = "nobody is let in there, and too many wait for it already";
    let limits = "command_timeout = \"1s\"";
    for (down, reply) in [("accept", "250 2.0.0 "), ("tempfail", "451 4.7.1 ")] {
        let system = System::listening("full-filter");
        let socket = system.path("full");
        let _full = Full::at(&socket);
        let (at, mail) = (socket.display(), "Subject: x\r\n\r\nhello\r\n");
        let keys = format!("socket = \"unix:{at}\"\ntimeout = \"1s\"\ndown = \"{down}\"");
        let system = system.with("[milter]", &keys);
        let daemon = Daemon::start(&system);
        let mut client = daemon.client();
        client.steps(&[("EHLO client.example", "250-")]);
        let said = client.say("MAIL FROM:<a@b.example>");
        match down {
            "accept" => assert!(client.deliver(&me(), mail).starts_with(reply)),
            _ => assert!(said.starts_with(reply), "{said}"),
        }
        let told = format!("the filter unix:{at}: {why}");
        assert!(system.log().contains(&told), "{}", system.log());
    }
    for route in [false, true] {
        let system = System::new("full-server").with("limits", limits);
        let socket = system.path("full");
        let _full = Full::at(&socket);
        let (section, keys) = match route {
            false => ("local", format!("mailbox = \"lmtp:{}\"", socket.display())),
            true => {
                let via = format!("via = \"lmtp:{}\"", socket.display());
                ("[route]", format!("domain = \"home.example\"\n{via}"))
            }
        };
        let system = system.with(section, &keys);
        let to = if route {
            "you@home.example".to_owned()
        } else {
            me()
        };
        system.accept(&["-odq", &to], "Subject: x\n\nhello\n");
        system.accept(&["-q"], "");
        let journal = system.queued().journal.join("\n");
        let told = format!("cannot connect: {why}");
        assert!(journal.contains("deferred - 4.4.1"), "{journal}");
        assert!(journal.contains(&told), "{journal}");
    }
    let system = System::listening("full-door");
    let socket = system.path("full");
    let _full = Full::at(&socket);
    let lines = format!("lmtp = [\"unix:{}\"]", socket.display());
    let ran = system.with("listen", &lines).run(&["-bD"], "");
    assert!(ran.code != 0 && ran.stderr.contains("in use"), "{ran:?}");
}

/// I8: rubbish, a line without end and half a command on the socket of this machine end that client, and nothing else.
#[test]
fn rubbish_on_a_local_socket_ends_its_client() {
    let system = System::listening("inward-rubbish");
    let socket = system.path("lmtp");
    let lines = format!("lmtp = [\"unix:{}\"]", socket.display());
    let system = system.with("listen", &lines);
    let daemon = Daemon::start(&system);
    let connect = || Client::unix(UnixStream::connect(&socket).unwrap());
    let mut random = 1_u32;
    let rubbish: Vec<u8> = (0..100_000)
        .map(|_| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            random.to_be_bytes()[0]
        })
        .collect();
    let mut client = connect();
    // Whether it is still heard depends on where its line ends are.
    let _ = client.send(&rubbish);
    client.half_close();
    client.rest();
    let mut client = connect();
    let piece = vec![b'x'; 1 << 20];
    // A hundred MiB, as far as they are taken.
    let _ = (0..100).try_for_each(|_| client.send(&piece));
    drop(client);
    let mut client = connect();
    client.send("LHLO clie").unwrap();
    client.half_close();
    client.rest();
    let mut trigger = std::fs::OpenOptions::new();
    let mut trigger = trigger
        .write(true)
        .open(system.path("run/trigger"))
        .unwrap();
    trigger.write_all(&rubbish[..4096]).unwrap();
    let mut client = connect();
    assert!(client.reply().starts_with("220 "));
    client.steps(&[("LHLO client.example", "250-"), ("QUIT", "221 ")]);
    let ran = daemon.stop();
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert!(!system.log().contains("panic"), "{}", system.log());
}
