//! Connections with peers who are slow, who do not read, and who say more than they were asked.

use super::socket::FULL;
use super::*;
use crate::host::tls::testing::Authority;
use crate::host::tls::{Clients, Trust};
use crate::host::words;
use std::net::{TcpListener, TcpStream};
use std::thread;

/// A wire, and the other end of it.
fn pair(limit: u64) -> (Wire, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let wire = Wire::connect(&address, None, Duration::from_millis(limit)).unwrap();
    (wire, listener.accept().unwrap().0)
}

const LONG: u64 = 30_000;

#[test]
fn a_socket_of_this_system_that_lets_nobody_in_is_not_waited_for() {
    let scratch = crate::host::mailbox::scratch::Scratch::new("wire-full");
    let path = scratch.path("socket");
    let listener =
        socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    listener
        .bind(&socket2::SockAddr::unix(&path).unwrap())
        .unwrap();
    listener.listen(0).unwrap();
    let connect = |limit| Wire::connect_local(&path, Duration::from_millis(limit));
    // One is let into the line.
    let first = connect(LONG).unwrap();
    for limit in [0, 20] {
        let error = connect(limit).unwrap_err();
        assert_eq!(
            (error.kind(), words(&error)),
            (io::ErrorKind::TimedOut, FULL.into())
        );
    }
    // Who has gone on waiting has his place when there is one.
    thread::scope(|scope| {
        let late = scope.spawn(|| connect(LONG));
        listener.accept().unwrap();
        late.join().unwrap().unwrap();
    });
    drop(first);
}

/// One of the network: its line is full, and who comes next hears nothing.
#[test]
fn a_host_that_does_not_answer_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    socket2::SockRef::from(&listener).listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let from = "127.0.0.1".parse().ok();
    let mut lines = Vec::new();
    let error = loop {
        match Wire::connect(&address, from, Duration::from_millis(50)) {
            Ok(wire) => lines.push(wire),
            Err(error) => break error,
        }
        assert!(lines.len() < 10);
    };
    let said = (error.kind(), words(&error));
    assert_eq!(
        said,
        (io::ErrorKind::TimedOut, "connection timed out".into())
    );
    // One that nobody listens at says so at once.
    drop((lines, listener));
    let error = Wire::connect(&address, None, Duration::from_millis(LONG)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

#[test]
fn a_trickle_does_not_move_the_deadline() {
    let (mut wire, mut other) = pair(LONG);
    wire.set_limit(Duration::from_millis(100));
    thread::scope(|scope| {
        scope.spawn(move || {
            // One octet each ten milliseconds, until the wire is closed.
            other
                .set_read_timeout(Some(Duration::from_millis(10)))
                .unwrap();
            while other.read(&mut [0]).is_err() && other.write(b"2").is_ok() {}
        });
        let error = loop {
            match wire.fill_buf() {
                // On a busy machine several come at once.
                Ok(received) => {
                    let length = received.len();
                    wire.consume(length);
                }
                Err(error) => break error,
            }
        };
        wire.abandon();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    });
}

#[test]
fn a_socket_limit_that_ends_early_is_set_again() {
    let (mut wire, mut other) = pair(LONG);
    wire.set_limit(Duration::from_millis(20));
    assert_eq!(wire.fill_buf().unwrap_err().kind(), io::ErrorKind::TimedOut);
    wire.set_limit(Duration::from_millis(LONG));
    thread::scope(|scope| {
        scope.spawn(move || {
            other
                .set_read_timeout(Some(Duration::from_millis(100)))
                .unwrap();
            assert!(other.read(&mut [0]).is_err());
            other.write_all(b"late").unwrap();
        });
        assert_eq!(wire.fill_buf().unwrap(), b"late");
    });
}

#[test]
fn nobody_who_does_not_read_is_waited_for() {
    let (mut wire, _other) = pair(LONG);
    wire.set_limit(Duration::from_millis(100));
    let block = vec![b'x'; 1024 * 1024];
    let error = loop {
        if let Err(error) = wire.write_all(&block) {
            break error;
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

#[test]
fn what_was_said_before_the_end_is_read_after_a_failed_write() {
    let (mut wire, mut other) = pair(LONG);
    wire.write_all(b"something that is never read").unwrap();
    wire.flush().unwrap();
    other.write_all(b"550 no\r\n").unwrap();
    drop(other); // unread octets: the connection is reset
    let block = vec![b'x'; 1024 * 1024];
    while wire.write_all(&block).is_ok() {}
    assert_eq!(wire.fill_buf().unwrap(), b"550 no\r\n");
}

#[test]
fn a_group_is_one_write_and_is_read_in_pieces() {
    let (mut wire, mut other) = pair(LONG);
    for line in ["a\r\n", "b\r\n"] {
        wire.write_all(line.as_bytes()).unwrap();
    }
    other.set_nonblocking(true).unwrap();
    assert!(other.read(&mut [0; 9]).is_err()); // nothing before the flush
    other.set_nonblocking(false).unwrap();
    wire.flush().unwrap();
    let mut got = [0; 9];
    assert_eq!(other.read(&mut got).unwrap(), 6);
    other.write_all(b"one two").unwrap();
    let mut three = [0; 3];
    wire.read_exact(&mut three).unwrap();
    assert_eq!((&three, wire.received()), (b"one", b" two".as_slice()));
    drop(other);
    wire.consume(4);
    assert!(wire.fill_buf().unwrap().is_empty());
    assert!(wire.is_local() && !wire.is_tls());
}

#[test]
fn plain_text_behind_starttls_ends_the_session() {
    let (mut wire, mut other) = pair(LONG);
    other.write_all(b"220 go\r\n250 fake\r\n").unwrap(); // K1
    assert!(wire.fill_buf().unwrap().starts_with(b"220 go\r\n"));
    wire.consume(8);
    let session = Clients::new()
        .session(&Trust::Anything, "localhost")
        .unwrap();
    let error = wire.start_tls(session).unwrap_err();
    assert!(error.to_string().starts_with("more was sent in the clear"));
}

#[test]
fn deadlines_hold_inside_tls() {
    let (mut wire, other) = pair(LONG);
    let server = Authority::new().server("localhost", 2090);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut other = Wire::accepted(other, Duration::from_millis(LONG));
            other.start_tls(server.session()).unwrap();
            other.write_all(b"hello").unwrap();
            other.flush().unwrap();
            assert!(other.fill_buf().unwrap().is_empty());
        });
        wire.start_tls(
            Clients::new()
                .session(&Trust::Anything, "localhost")
                .unwrap(),
        )
        .unwrap();
        assert_eq!(wire.fill_buf().unwrap(), b"hello");
        wire.consume(5);
        wire.set_limit(Duration::from_millis(20));
        assert_eq!(wire.fill_buf().unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(wire.is_tls());
        wire.close();
    });
}
