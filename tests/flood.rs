//! Floods: many bad clients at once, of one kind after the other, against a daemon as it is configured by default.
//! While each of them lasts, a good client is served within [`SERVED`], the daemon's memory stays below [`MEMORY`], and
//! its log grows by no more than [`LOG`]: `make flood`. Everything is on the loopback interface, and bounded.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::harness::load::{body, is_of};
use crate::harness::system::{me, names_in};
use crate::harness::tls::Secure;
use crate::harness::{Client, Daemon, System};

/// A good client has its 250 by then, however often it must come again.
const SERVED: Duration = Duration::from_secs(5);
/// How long a flood goes on.
const LASTS: Duration = Duration::from_secs(4);
/// All processes of the daemon together, in KiB, as minimta.toml(5) says at max_connections: each of the 50 sessions may
/// hold a header of 1 MiB, and no more of a message.
const MEMORY: u64 = 96 * 1024;
/// Octets of log in one flood, whatever happens in it, beside the lines of each good client.
const LOG: u64 = 64 * 1024;

/// A connection from an address of its own of the loopback network, so that no client's share is the bound.
fn connect(to: SocketAddr, number: u32) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    let from = Ipv4Addr::from(0x7f01_0000 + number % 60_000 + 1);
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    socket.connect_timeout(&to.into(), Duration::from_secs(2))?;
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    socket.set_write_timeout(Some(Duration::from_millis(200)))?;
    Ok(socket.into())
}

/// What a bad client does on its connection; an error ends it, and the next one comes.
type Kind = fn(&mut TcpStream, &AtomicBool) -> io::Result<()>;

fn idle(stream: &mut TcpStream, stop: &AtomicBool) -> io::Result<()> {
    while !stop.load(Ordering::Relaxed) {
        if matches!(stream.read(&mut [0; 512]), Ok(0)) {
            std::thread::sleep(AWAY);
            break;
        }
    }
    Ok(())
}

fn drop_at_once(_: &mut TcpStream, _: &AtomicBool) -> io::Result<()> {
    Ok(())
}

fn trickle(stream: &mut TcpStream, stop: &AtomicBool) -> io::Result<()> {
    for octet in b"EHLO a.example\r\n".iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        stream.write_all(&[*octet])?;
        std::thread::sleep(Duration::from_millis(300));
    }
    Ok(())
}

/// The same text again and again, with replies read or not.
fn storm(
    stream: &mut TcpStream,
    stop: &AtomicBool,
    first: &str,
    text: &[u8],
    reads: bool,
) -> io::Result<()> {
    stream.write_all(first.as_bytes())?;
    while !stop.load(Ordering::Relaxed) {
        stream.write_all(text)?;
        if reads && stream.read(&mut [0; 65536])? == 0 {
            break;
        }
    }
    Ok(())
}

const BEGIN: &str = "EHLO a.example\r\nMAIL FROM:<a@b.example>\r\n";

fn unread(stream: &mut TcpStream, stop: &AtomicBool) -> io::Result<()> {
    storm(
        stream,
        stop,
        "EHLO a.example\r\n",
        &b"NOOP\r\n".repeat(1000),
        false,
    )
}

fn resets(stream: &mut TcpStream, stop: &AtomicBool) -> io::Result<()> {
    storm(
        stream,
        stop,
        "EHLO a.example\r\n",
        &b"RSET\r\n".repeat(50),
        true,
    )
}

fn recipients(stream: &mut TcpStream, stop: &AtomicBool) -> io::Result<()> {
    let text = "RCPT TO:<x@test.example>\r\n".repeat(100_000);
    storm(stream, stop, BEGIN, text.as_bytes(), true)
}

fn endless_line(stream: &mut TcpStream, stop: &AtomicBool) -> io::Result<()> {
    storm(stream, stop, "EHLO ", &[b'x'; 65536], false)
}

/// Up to a message for a recipient who is here.
fn begin_message(stream: &mut TcpStream) -> io::Result<()> {
    for part in [BEGIN, &format!("RCPT TO:<{}>\r\n", me()), "DATA\r\n"] {
        stream.write_all(part.as_bytes())?;
        std::thread::sleep(Duration::from_millis(30));
        let _ = stream.read(&mut [0; 4096]);
    }
    Ok(())
}

/// Behind it, the message.
fn message(stream: &mut TcpStream, stop: &AtomicBool, text: &[u8]) -> io::Result<()> {
    begin_message(stream)?;
    // However busy the server is: each of them keeps its place and does not come again at once.
    stream.set_write_timeout(Some(Duration::from_secs(2)))?;
    let ended = storm(stream, stop, "", text, false);
    std::thread::sleep(AWAY);
    ended
}

fn endless_header(stream: &mut TcpStream, stop: &AtomicBool) -> io::Result<()> {
    message(stream, stop, &b"X-A: b\r\n".repeat(5000))
}

fn endless_parts(stream: &mut TcpStream, stop: &AtomicBool) -> io::Result<()> {
    let part = b"--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n".repeat(1000);
    let first: &[u8] = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n";
    message(stream, stop, &[first, &part].concat())
}

/// The first half of a ClientHello, and then nothing.
fn half_a_handshake(stream: &mut TcpStream, stop: &AtomicBool) -> io::Result<()> {
    begin_tls(stream)?;
    stream.write_all(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3])?;
    idle(stream, stop)
}

/// A message that comes, but not so that anybody would live to see its end.
fn slow_message(stream: &mut TcpStream, stop: &AtomicBool) -> io::Result<()> {
    begin_message(stream)?;
    trickle(stream, stop)
}

/// A message that stops before its end.
fn stopped_message(stream: &mut TcpStream, stop: &AtomicBool) -> io::Result<()> {
    begin_message(stream)?;
    idle(stream, stop)
}

/// Transactions that are begun, and begun again.
fn transactions(stream: &mut TcpStream, stop: &AtomicBool) -> io::Result<()> {
    let text = format!("{BEGIN}RCPT TO:<{}>\r\n", me()).repeat(20);
    storm(stream, stop, "", text.as_bytes(), true)
}

/// A transaction that stops before its message.
fn stopped_transaction(stream: &mut TcpStream, stop: &AtomicBool) -> io::Result<()> {
    stream.write_all(BEGIN.as_bytes())?;
    idle(stream, stop)
}

/// STARTTLS, and then no TLS.
fn broken_handshake(stream: &mut TcpStream, _: &AtomicBool) -> io::Result<()> {
    begin_tls(stream)?;
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n")
}

/// What is not offered, and the octets that would belong to it.
fn chunks(stream: &mut TcpStream, stop: &AtomicBool) -> io::Result<()> {
    let chunk = [b"BDAT 60000\r\n".to_vec(), vec![b'x'; 60_000]].concat();
    storm(stream, stop, BEGIN, &chunk, true)
}

fn noops(stream: &mut TcpStream, stop: &AtomicBool) -> io::Result<()> {
    storm(
        stream,
        stop,
        "EHLO a.example\r\n",
        &b"NOOP\r\n".repeat(50),
        true,
    )
}

/// Asks much, and reads an octet of it now and then.
fn slow_reader(stream: &mut TcpStream, stop: &AtomicBool) -> io::Result<()> {
    stream.write_all(b"EHLO a.example\r\n")?;
    while !stop.load(Ordering::Relaxed) {
        stream.write_all(b"HELP\r\nNOOP\r\n")?;
        if stream.read(&mut [0])? == 0 {
            std::thread::sleep(AWAY);
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// STARTTLS; then a ClientHello that is announced as a whole and comes an octet at a time.
fn slow_handshake(stream: &mut TcpStream, stop: &AtomicBool) -> io::Result<()> {
    begin_tls(stream)?;
    stream.write_all(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3])?;
    trickle(stream, stop)
}

fn begin_tls(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"EHLO a.example\r\n")?;
    std::thread::sleep(Duration::from_millis(30));
    let _ = stream.read(&mut [0; 4096])?;
    stream.write_all(b"STARTTLS\r\n")?;
    stream.read(&mut [0; 4096]).map(drop)
}

/// What the daemon shows.
static CERTIFICATE: OnceLock<PathBuf> = OnceLock::new();

/// Under TLS.
fn secured(stream: &mut TcpStream) -> io::Result<Secure> {
    begin_tls(stream)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let trusted = CERTIFICATE.get().unwrap();
    let mut secure = Secure::on(stream.try_clone()?, trusted, None)?;
    secure.ask("EHLO a.example")?;
    Ok(secure)
}

/// Handshakes to their end, each of which costs a signature, and no word after that.
fn handshakes(stream: &mut TcpStream, _: &AtomicBool) -> io::Result<()> {
    secured(stream).map(drop)
}

/// Under TLS, and silent in the middle of a login.
fn half_a_login(stream: &mut TcpStream, stop: &AtomicBool) -> io::Result<()> {
    secured(stream)?.ask("AUTH LOGIN")?;
    stream.set_read_timeout(Some(Duration::from_millis(200)))?;
    idle(stream, stop)
}

/// Under TLS, passwords that are wrong, each of which costs a hash.
fn wrong_logins(stream: &mut TcpStream, stop: &AtomicBool) -> io::Result<()> {
    let mut secure = secured(stream)?;
    while !stop.load(Ordering::Relaxed) {
        // joe, and no password of his
        secure.ask("AUTH PLAIN AGpvZQBndWVzc2Vk")?;
    }
    Ok(())
}

/// How long one of the bad stays away that was sent away: all others come as fast as they can.
const AWAY: Duration = Duration::from_secs(1);

/// A row: what they do, how many at once.
const KINDS: &[(&str, usize, Kind)] = &[
    ("connections at once that say nothing", 2000, idle),
    ("connections that are dropped at once", 16, drop_at_once),
    ("writers of three octets a second", 400, trickle),
    ("clients that read no reply", 100, unread),
    ("storms of RSET", 60, resets),
    ("lists of 100,000 recipients", 20, recipients),
    ("lines without an end", 40, endless_line),
    ("headers without an end", 20, endless_header),
    ("parts in parts without an end", 10, endless_parts),
    ("handshakes that stop half-way", 200, half_a_handshake),
    ("handshakes that are none", 60, broken_handshake),
    ("transactions begun again and again", 60, transactions),
    ("messages of three octets a second", 100, slow_message),
    ("messages that stop", 100, stopped_message),
    ("transactions that stop", 100, stopped_transaction),
    ("chunks of BDAT", 40, chunks),
    ("storms of NOOP", 60, noops),
    ("readers of ten octets a second", 100, slow_reader),
    ("handshakes of three octets a second", 200, slow_handshake),
    ("handshakes, one after the other", 40, handshakes),
    ("logins that stop half-way", 100, half_a_login),
    ("logins with a wrong password", 40, wrong_logins),
];

/// The most memory that the processes of a system have had, in KiB.
fn memory(system: &System) -> u64 {
    let file = system.path("minimta.toml").display().to_string();
    let of = |process: &String| -> Option<u64> {
        process.parse::<u32>().ok()?;
        let words = std::fs::read(format!("/proc/{process}/cmdline")).ok()?;
        String::from_utf8_lossy(&words)
            .contains(&file)
            .then_some(())?;
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
        line.trim().strip_suffix(" kB")?.parse().ok()
    };
    names_in("/proc".as_ref()).iter().filter_map(of).sum()
}

/// A client that means well, and comes again when it is told to.
fn good_client(address: SocketAddr, name: &str) -> Duration {
    let begun = Instant::now();
    let text = format!(
        "Subject: {name}\r\n\r\n{}",
        body(name).replace('\n', "\r\n")
    );
    let mut last = String::new();
    loop {
        let stream = TcpStream::connect(address).unwrap();
        let mut client = Client::tcp(stream);
        if client.reply().starts_with("220 ") {
            let said = [
                "EHLO good.example".to_owned(),
                "MAIL FROM:<good@b.example>".to_owned(),
                format!("RCPT TO:<{}>", me()),
                "DATA".to_owned(),
                format!("{text}."),
            ];
            let is_fine = |line: &String| {
                if client.send(format!("{line}\r\n")).is_ok() {
                    last = client.reply();
                }
                last.starts_with(['2', '3'])
            };
            if said.iter().all(is_fine) {
                return begun.elapsed();
            }
        }
        assert!(begun.elapsed() < 6 * SERVED, "{name}: never served: {last}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
#[ignore = "make flood"]
fn a_good_client_is_served_in_every_flood() {
    let (_, most) =
        nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap();
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, most, most).unwrap();
    // Passwords are looked at on the same door, which strangers reach.
    let system = System::listening("flood")
        .with_user("joe", "secret")
        .with("access", "relay_from = [\"127.0.0.1\"]");
    let daemon = Daemon::start(&system);
    let address = daemon.address("smtp");
    let certificate = CERTIFICATE.get_or_init(|| system.path("spool/tls/self-signed.pem"));
    crate::harness::until("there is a certificate", || certificate.exists());
    let mut served = Vec::new();
    for (number, (name, many, kind)) in KINDS.iter().enumerate() {
        let log = system.log().len() as u64;
        let stop = Arc::new(AtomicBool::new(false));
        let made = Arc::new(AtomicU32::new(0));
        let bad: Vec<_> = (0..*many)
            .map(|_| {
                let (stop, made) = (Arc::clone(&stop), Arc::clone(&made));
                let work = move || {
                    while !stop.load(Ordering::Relaxed) {
                        let number = made.fetch_add(1, Ordering::Relaxed);
                        match connect(address, number) {
                            Ok(mut stream) => drop(kind(&mut stream, &stop)),
                            Err(_) => std::thread::sleep(Duration::from_millis(10)),
                        }
                    }
                };
                std::thread::Builder::new()
                    .stack_size(192 << 10)
                    .spawn(work)
                    .unwrap()
            })
            .collect();
        let begun = Instant::now();
        let mut longest = Duration::ZERO;
        let mut good = 0;
        std::thread::sleep(Duration::from_millis(500));
        while begun.elapsed() < LASTS {
            let waited = good_client(address, &format!("f{number}g{good}"));
            served.push(format!("f{number}g{good}"));
            longest = longest.max(waited);
            good += 1;
        }
        stop.store(true, Ordering::Relaxed);
        for thread in bad {
            thread.join().unwrap();
        }
        let (memory, grown) = (memory(&system), system.log().len() as u64 - log);
        println!(
            "flood: {many} {name}: {} connections; {good} good clients, the longest waited {} ms; {memory} KiB, log {grown} octets",
            made.load(Ordering::Relaxed),
            longest.as_millis()
        );
        assert!(longest < SERVED, "{name}: {longest:?}");
        assert!(memory < MEMORY, "{name}: {memory} KiB");
        let lines_of_the_good = 1024 * good;
        assert!(
            grown < LOG + lines_of_the_good,
            "{name}: {grown} octets of log"
        );
    }
    crate::harness::until("all good mail is there", || {
        let here: BTreeSet<String> = system
            .mailbox()
            .iter()
            .filter_map(|mail| mail.field("Subject").filter(|name| is_of(mail, name)))
            .collect();
        served.iter().all(|name| here.contains(name))
    });
    daemon.stop();
    assert!(
        system
            .log()
            .contains(" repeated event=connect network=127.1.0.0/24 count=")
    );
}

#[test]
fn the_bound_is_the_one_that_is_said() {
    let manual = include_str!("../etc/man/minimta.toml.5").replace('\n', " ");
    let bound = format!(
        "with 50 all processes together stay below {} MiB",
        MEMORY / 1024
    );
    assert!(manual.contains(&bound), "{bound}");
}
