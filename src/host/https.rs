//! A short text from a web server, or to it: one request over TLS, one answer, and the connection is closed. Bounded in
//! time and size; no detour is followed.

use std::io::{self, BufRead, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::clock;
use super::tls::{Clients, Remedy, Trust, explain};
use super::wire::Wire;
use super::words;
use crate::proto::http::{Answer, Reader};

/// The web server.
#[derive(Debug)]
pub struct Site<'a> {
    /// Its name, which its certificate must have.
    pub name: &'a str,
    /// Its addresses.
    pub addresses: &'a [IpAddr],
    /// The port.
    pub port: u16,
}

impl Site<'_> {
    /// As the field Host has it (RFC 9110 7.2).
    fn host(&self) -> String {
        match self.port {
            443 => self.name.to_owned(),
            port => format!("{}:{port}", self.name),
        }
    }
}

/// How long it may take to connect to one address, if there are no others.
const CONNECT: Duration = Duration::from_secs(10);

/// What is sent to a web server.
#[derive(Debug)]
pub struct Content<'a> {
    /// Its type.
    pub kind: &'a str,
    /// All of it.
    pub octets: &'a [u8],
}

/// The answer to a GET, of at most `most` octets with all that is around it.
///
/// # Errors
/// Why there is none, as a sentence's end.
pub fn get(
    clients: &Clients,
    trust: &Trust,
    site: &Site<'_>,
    path: &str,
    most: usize,
    limit: Duration,
) -> Result<Answer, String> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: minimta\r\nAccept: text/plain\r\nConnection: close\r\n\r\n",
        site.host()
    );
    ask(clients, trust, site, request.as_bytes(), most, limit)
}

/// The same to a POST.
///
/// # Errors
/// As for [`get`].
pub fn post(
    clients: &Clients,
    trust: &Trust,
    site: &Site<'_>,
    path: &str,
    content: &Content<'_>,
    most: usize,
    limit: Duration,
) -> Result<Answer, String> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: minimta\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        site.host(),
        content.kind,
        content.octets.len()
    );
    let request = [head.as_bytes(), content.octets].concat();
    ask(clients, trust, site, &request, most, limit)
}

fn ask(
    clients: &Clients,
    trust: &Trust,
    site: &Site<'_>,
    request: &[u8],
    most: usize,
    limit: Duration,
) -> Result<Answer, String> {
    let until = Instant::now() + limit;
    let mut wire = connect(site, until).map_err(|e| format!("cannot connect: {}", words(&e)))?;
    let left = || until.saturating_duration_since(Instant::now());
    wire.set_limit(left());
    let session = clients.session(trust, site.name)?;
    wire.start_tls(session)
        .map_err(|e| format!("TLS failed: {}", explain(&e, clock::now(), Remedy::Theirs)))?;
    wire.write_all(request).map_err(broken)?;
    wire.flush().map_err(broken)?;
    read(&mut wire, most)
}

/// To the answer's end; how the connection ends behind it does not matter.
fn read(from: &mut impl BufRead, most: usize) -> Result<Answer, String> {
    let (mut reader, mut count) = (Reader::default(), 0);
    let wrong = |why: &str| format!("the web server {why}");
    loop {
        let received = from.fill_buf().map_err(broken)?;
        let length = received.len();
        count += length;
        if count > most {
            return Err(format!("the web server sends more than {most} octets"));
        }
        if length == 0 || reader.feed(received).map_err(wrong)? {
            return reader.end().map_err(wrong);
        }
        from.consume(length);
    }
}

fn broken(error: io::Error) -> String {
    format!("the connection broke: {}", words(&error))
}

fn connect(site: &Site<'_>, until: Instant) -> io::Result<Wire> {
    let mut last = io::Error::from(io::ErrorKind::TimedOut);
    for (number, ip) in site.addresses.iter().enumerate() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let limit = share(left, site.addresses.len() - number);
        match Wire::connect(&SocketAddr::new(*ip, site.port), None, limit) {
            Ok(wire) => return Ok(wire),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// How long it may take to connect to the first of so many addresses. As much is left to each of the others, and to what
/// comes behind the connection.
fn share(left: Duration, addresses: usize) -> Duration {
    let parts = u32::try_from(addresses)
        .unwrap_or(u32::MAX)
        .saturating_add(1);
    (left / parts).min(CONNECT)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[test]
    fn an_address_that_is_dead_leaves_time_to_the_others() {
        let seconds = Duration::from_secs;
        for (left, addresses, limit) in [
            (seconds(30), 1, seconds(10)),
            (seconds(10), 1, seconds(5)),
            (seconds(10), 4, seconds(2)),
            (Duration::ZERO, 2, Duration::ZERO),
        ] {
            assert_eq!(share(left, addresses), limit, "{left:?}, {addresses}");
        }
    }

    /// A connection that breaks.
    struct Broken;

    impl io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }

    #[test]
    fn what_comes_behind_an_answer_does_not_matter() {
        // What comes before the connection breaks, and the answer.
        let rows = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", Ok("ab")),
            ("HTTP/1.1 200 OK\r\n\r\nab", Err("the connection broke: ")),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 22\r\n\r\n0123456789012345678901",
                Err("the web server sends more than 60 octets"),
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
                Err("the web server sends"),
            ),
        ];
        for (text, expected) in rows {
            let mut from = io::BufReader::new(io::Read::chain(text.as_bytes(), Broken));
            match (read(&mut from, 60), expected) {
                (Ok(answer), Ok(body)) => assert_eq!(answer.body, body.as_bytes()),
                (Err(why), Err(begins)) => assert!(why.starts_with(begins), "{why}"),
                (found, _) => panic!("{text}: {found:?}"),
            }
        }
    }

    /// It takes the connection, and says nothing: the whole is over when its time is, not a time for each step.
    #[test]
    fn a_silent_server_is_waited_for_once() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let site = Site {
            name: "mta-sts.example.net",
            addresses: &[Ipv4Addr::LOCALHOST.into()],
            port: listener.local_addr().unwrap().port(),
        };
        let limit = Duration::from_millis(50);
        let got = get(&Clients::new(), &Trust::Anything, &site, "/", 10, limit);
        assert!(
            got.as_ref()
                .is_err_and(|why| why.starts_with("TLS failed: ")),
            "{got:?}"
        );
    }
}
