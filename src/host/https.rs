//! A short text from a web server, or to it: one request over TLS, one answer, and the connection is closed. Bounded in
//! time and size; no detour is followed. HTTP/1.0 is asked for, so that the answer comes in one piece.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::clock;
use super::tls::{Clients, Remedy, Trust, explain};
use super::wire::Wire;
use super::words;

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

/// The whole answer to a GET, its header included, of at most `most` octets.
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
) -> Result<Vec<u8>, String> {
    let request = format!(
        "GET {path} HTTP/1.0\r\nHost: {}\r\nUser-Agent: minimta\r\nAccept: text/plain\r\nConnection: close\r\n\r\n",
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
) -> Result<Vec<u8>, String> {
    let head = format!(
        "POST {path} HTTP/1.0\r\nHost: {}\r\nUser-Agent: minimta\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
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
) -> Result<Vec<u8>, String> {
    let until = Instant::now() + limit;
    let mut wire = connect(site, until).map_err(|e| format!("cannot connect: {}", words(&e)))?;
    let left = || until.saturating_duration_since(Instant::now());
    wire.set_limit(left());
    let session = clients.session(trust, site.name)?;
    wire.start_tls(session)
        .map_err(|e| format!("TLS failed: {}", explain(&e, clock::now(), Remedy::Theirs)))?;
    let broken = |e: io::Error| format!("the connection broke: {}", words(&e));
    wire.write_all(request).map_err(broken)?;
    wire.flush().map_err(broken)?;
    let mut answer = Vec::new();
    let bound = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    wire.take(bound).read_to_end(&mut answer).map_err(broken)?;
    if answer.len() > most {
        return Err(format!("the web server sends more than {most} octets"));
    }
    Ok(answer)
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
