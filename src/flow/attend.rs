//! One connection, from its first octet to its last.
//!
//! 1. the PROXY header, when it comes from a proxy that is believed
//! 2. TLS, where it comes first
//! 3. the session; after STARTTLS the same session goes on
//! 4. the end: what was said last must arrive
//!
//! Every wait has a deadline that no trickle of octets moves: a command has one for the silence before it and all its
//! octets, a message one for the whole and a least rate. When it is tight, they are short.

use std::fmt::Display;
use std::io::{self, BufRead, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::Context;
use super::access::{Access, Kind};
use super::connections::{Bounds, TIGHT, Visit};
use super::direct::{self, Resting};
use super::intake::Peer;
use super::milter::Filters;
use super::receive::{Ended, Stream, Wait, serve};
use super::sink::{Left, Sink, Speaker};
use crate::config::{Config, Limits};
use crate::events;
use crate::host::wire::Wire;
use crate::host::{clock, tls, words};
use crate::proto::proxy::{self, Source};
use crate::proto::replies::{self, Reply};
use crate::proto::session::Session;

/// How long a handshake may take, or a PROXY header.
const HANDSHAKE: Duration = Duration::from_secs(30);
/// How long a message may stand still at its beginning (RFC 5321 4.5.3.2.5); what comes faster than the least rate
/// gains time.
const STILL: Duration = Duration::from_secs(180);
/// Octets of a message that must come in a second, on the whole.
const LEAST_RATE: u64 = 500;
/// How long the other side may take to see that it is over.
const PARTING: Duration = Duration::from_secs(2);

/// What sessions are held with. With another configuration there is another one, for those who come then.
#[derive(Debug)]
pub struct Service {
    /// The configuration and the spool.
    pub context: Context,
    /// Who may do what.
    pub access: Access,
    /// Hops for which nothing goes straight through for a while.
    pub resting: Resting,
    /// Our certificate, once it was wanted; `None` in it: TLS is not to be had.
    tls: OnceLock<Option<tls::Server>>,
}

impl Service {
    /// For this configuration.
    pub fn new(context: Context) -> Self {
        let access = Access::new(&context.config);
        Self {
            context,
            access,
            resting: Resting::default(),
            tls: OnceLock::new(),
        }
    }

    /// Our certificate. One that cannot be used is told in the log, once: mail goes on without.
    pub fn tls(&self) -> Option<&tls::Server> {
        let load = || {
            let config = self.config();
            let server = match &config.tls {
                Some(pair) => tls::Server::load(&pair.certificate, &pair.key),
                None => tls::Server::self_signed(&own_pair(config), config.hostname.as_str()),
            };
            let tell = |sentence: &String| {
                events::trouble("-", &format!("TLS is not offered: {sentence}"))
            };
            server.inspect_err(tell).ok()
        };
        self.tls.get_or_init(load).as_ref()
    }

    /// Looks at the certificate that is configured, so that what is wrong with it is told at the start. One of our
    /// own is made at the first start, but is not read before there is a client: a daemon that has none stays small.
    pub fn look_at_certificate(&self) {
        let config = self.config();
        if config.tls.is_some() {
            self.tls();
            self.warn_of_certificate();
        } else if let Err(sentence) =
            tls::Server::make_own(&own_pair(config), config.hostname.as_str())
        {
            events::trouble("-", &format!("TLS is not offered: {sentence}"));
        }
    }

    /// Tells in the log when the certificate that is configured has come near its end, or is over it.
    pub fn warn_of_certificate(&self) {
        let server = self.tls.get().and_then(Option::as_ref);
        if let Some(warning) = server.and_then(|server| server.warning(clock::now())) {
            events::trouble("-", &warning);
        }
    }

    /// Reads the certificate again if its files have changed.
    pub fn renew_certificate(&self) {
        let server = self.tls.get().and_then(Option::as_ref);
        if let Some(Err(sentence)) = server.map(tls::Server::reload_if_changed) {
            events::trouble("-", &sentence);
        }
    }

    fn config(&self) -> &Config {
        &self.context.config
    }
}

/// Makes the certificate that a daemon will want and that nobody has configured or made. Returned is whether it was made
/// now: then it is time to begin anew, for what that takes of the program and of its tables, 300 KiB, would stay in
/// memory. What keeps it from being made is told by [`Service::look_at_certificate`].
pub fn prepare_certificate(config: &Config, listens: bool) -> bool {
    let is_wanted =
        listens && config.tls.is_none() && config.listen.places().iter().any(|p| !p.is_empty());
    let own = own_pair(config);
    is_wanted
        && !tls::Server::has_own(&own)
        && tls::Server::make_own(&own, config.hostname.as_str()).is_ok()
}

/// The folder of the pair that is made when none is configured.
fn own_pair(config: &Config) -> PathBuf {
    config.queue.spool.join("tls")
}

/// Holds the session of a client that has come in by this kind of door. What is to be done with what it brings goes to
/// `leave`.
pub fn attend(
    service: &Service,
    visit: &Visit,
    kind: Kind,
    peer: Option<SocketAddr>,
    leave: &mut dyn FnMut(Left),
) {
    let limits = &service.config().limits;
    let mut door = Door {
        wire: Wire::shared(visit.socket(), HANDSHAKE.min(limits.command_timeout)),
        visit,
        limits,
        wait: Wait::Command {
            in_transaction: false,
        },
        since: Instant::now(),
        received: 0,
    };
    let Ok(peer) = door.real_client(service, peer) else {
        return door.wire.abandon();
    };
    let client = name(peer);
    events::connected(&client, kind.name());
    if let Some(peer) = peer
        && service
            .access
            .is_stranger(service.config(), kind, peer.ip())
        && let Err(reply) = door.let_in(service, peer.ip())
    {
        events::turned_away(&client, &reply);
        return door.send_away(&reply);
    }
    let session = placed(service, kind, peer);
    let ended = converse(service, &mut door, session, kind, peer, &client, leave);
    // Who has gone without a word, or cannot be heard any more, needs none from us.
    if let Ok(Ended::HungUp | Ended::TimedOut) = ended {
        let limit = if visit.is_tight() {
            PARTING / 4
        } else {
            PARTING
        };
        door.wire.part(limit);
    } else {
        door.wire.close();
    }
}

/// How many connections there may be.
pub fn bounds(config: &Config) -> Bounds {
    Bounds {
        all: config.listen.max_connections,
        per_client: config.listen.max_connections_per_client,
    }
}

/// Whether this is a proxy that tells who its clients are.
pub fn believes(config: &Config, peer: SocketAddr) -> bool {
    let mut networks = config.listen.proxy_protocol.iter();
    networks.any(|network| network.contains(peer.ip()))
}

/// Whether a client may have no more than its share: a proxy is many, and who may relay is at home here.
pub fn is_counted(config: &Config, peer: SocketAddr) -> bool {
    let mut own = config.access.relay_from.iter();
    !believes(config, peer) && !own.any(|network| network.contains(peer.ip()))
}

/// A client in the log.
pub fn name(peer: Option<SocketAddr>) -> String {
    peer.map_or("local".to_owned(), |p| p.ip().to_canonical().to_string())
}

/// Called, so that what is done before it leaves no page of the stack in use while the client is silent.
#[inline(never)]
fn converse(
    service: &Service,
    door: &mut Door<'_>,
    mut session: Box<Session>,
    kind: Kind,
    peer: Option<SocketAddr>,
    client: &str,
    leave: &mut dyn FnMut(Left),
) -> io::Result<Ended> {
    let context = &service.context;
    let address = peer.map(|p| p.ip());
    let mut known = Peer {
        address,
        ..Peer::default()
    };
    if kind == Kind::Submissions {
        known.tls = Some(door.start_tls(service, client)?);
    }
    let submits = session.qualifies();
    let judge = service.access.judge(context, kind, address);
    let filters = Filters::new(context, peer);
    if let (Some(filters), Some(words)) = (&filters, &known.tls) {
        filters.encrypted(words);
    }
    let mut guest = service.access.guest(context, kind, address, judge.as_ref());
    guest.filters = filters.as_ref();
    let speaker = Speaker::Client {
        peer: known.clone(),
        submits,
    };
    let passage = direct::is_wanted(context)
        .then(|| Box::new(direct::Passage::new(context, &service.resting)));
    let outgoing = passage.as_ref().map(|passage| passage.outgoing());
    let ways = passage.as_ref().zip(outgoing.as_ref());
    let straight = ways.map(|(passage, outgoing)| passage.way(outgoing));
    let mut sink = Sink::new(context, speaker, straight, leave);
    sink.judge = judge.as_ref();
    sink.filters = filters.as_ref();
    sink.quota = Some(guest.quota);
    sink.users = Some(service.access.users());
    loop {
        match serve(door, &mut session, &mut guest, &mut sink)? {
            Ended::StartTls => {
                let words = door.start_tls(service, client)?;
                if let Some(filters) = &filters {
                    filters.encrypted(&words);
                }
                known.tls = Some(words);
                sink.speaker = Speaker::Client {
                    peer: known.clone(),
                    submits,
                };
                session.tls_started();
            }
            ended => return Ok(ended),
        }
    }
}

/// A new session outside the stack, of which a silent client holds as many pages as were ever reached: what is read and
/// made here is not in the way of what is called later.
#[inline(never)]
fn placed(service: &Service, kind: Kind, peer: Option<SocketAddr>) -> Box<Session> {
    let (context, has_tls) = (&service.context, service.tls().is_some());
    let address = peer.map(|p| p.ip());
    let settings = service.access.settings(context, kind, has_tls, address);
    Box::new(Session::new(settings))
}

/// The client's side of a session: a connection that knows how long each wait may take.
struct Door<'a> {
    wire: Wire,
    visit: &'a Visit,
    limits: &'a Limits,
    wait: Wait,
    /// When the wait began.
    since: Instant,
    /// Octets of the message.
    received: u64,
}

impl Door<'_> {
    /// The client, whom a proxy in front may name. What a proxy sends without a good header is not listened to.
    fn real_client(
        &mut self,
        service: &Service,
        peer: Option<SocketAddr>,
    ) -> io::Result<Option<SocketAddr>> {
        let Some(proxy) = peer.filter(|p| believes(service.config(), *p)) else {
            return Ok(peer);
        };
        let refuse = |reason: &dyn Display| {
            events::turned_away(&name(peer), reason);
            io::Error::from(io::ErrorKind::InvalidData)
        };
        let source = self.proxy_header().map_err(|error| {
            refuse(&format!(
                "no good PROXY header came from this proxy: {}",
                words(&error)
            ))
        })?;
        let client = match source {
            Source::Client(address, port) => SocketAddr::new(address, port),
            Source::Proxy => proxy,
        };
        let bounds = bounds(service.config());
        if let Err(reply) = self.visit.is_of(client.ip(), bounds) {
            let mut octets = Vec::new();
            reply.write_to(&mut octets);
            self.wire.write_all(&octets)?;
            self.wire.flush()?;
            return Err(refuse(&reply));
        }
        Ok(Some(client))
    }

    /// A stranger waits for the greeting, if that is wanted, and comes no more often than he may.
    fn let_in(&mut self, service: &Service, peer: IpAddr) -> Result<(), Reply> {
        service.access.defence().connected(peer)?;
        let wait = service.config().access.greeting_delay;
        if wait.is_zero() {
            return Ok(());
        }
        self.wire.set_limit(self.short(wait));
        match self.wire.fill_buf() {
            // Who has gone will be found to be gone.
            Ok([]) | Err(_) => Ok(()),
            Ok(_) => Err(replies::TOO_EARLY),
        }
    }

    /// The last word to a client.
    fn send_away(mut self, reply: &Reply) {
        let mut octets = Vec::new();
        reply.write_to(&mut octets);
        self.wire.set_limit(PARTING);
        let said = self
            .wire
            .write_all(&octets)
            .and_then(|()| self.wire.flush());
        match said {
            Ok(()) => self.wire.part(PARTING),
            Err(_) => self.wire.abandon(),
        }
    }

    fn proxy_header(&mut self) -> io::Result<Source> {
        let mut header = Vec::new();
        loop {
            let before = header.len();
            self.visit.wait(false).map_err(io::Error::other)?;
            let received = self.wire.fill_buf()?;
            self.visit.go_on().map_err(io::Error::other)?;
            if received.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            header.extend_from_slice(received);
            match proxy::parse(&header) {
                Err(_) => return Err(io::Error::other("it names no client")),
                Ok(Some((source, length))) => {
                    self.wire.consume(length.saturating_sub(before));
                    return Ok(source);
                }
                Ok(None) => {
                    let all = header.len() - before;
                    self.wire.consume(all);
                }
            }
        }
    }

    /// Goes on with TLS; returned are version and cipher.
    fn start_tls(&mut self, service: &Service, client: &str) -> io::Result<String> {
        let Some(server) = service.tls() else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let session = server.session().map_err(io::Error::other)?;
        let limit = self.short(HANDSHAKE.min(self.limits.command_timeout));
        self.wire.set_limit(limit);
        // Who stalls here is silent like any other.
        self.visit.wait(false).map_err(io::Error::other)?;
        let done = self.wire.start_tls(session);
        self.visit.go_on().map_err(io::Error::other)?;
        if let Err(error) = done {
            events::turned_away(client, &format!("TLS failed: {}", tls::why(&error)));
            return Err(error);
        }
        let words = self.wire.tls_words().unwrap_or_default();
        events::tls(client, &words);
        Ok(words)
    }

    /// A limit, or the one that holds when it is tight.
    fn short(&self, limit: Duration) -> Duration {
        if self.visit.is_tight() {
            limit.min(TIGHT)
        } else {
            limit
        }
    }

    /// How long a client may take to read what it is told.
    fn limit_writing(&mut self) {
        let tight = self.visit.is_tight();
        let most = if tight { UNREAD } else { Duration::MAX };
        self.wire.set_limit(self.limits.command_timeout.min(most));
    }

    /// How long this wait may take in all.
    fn allowed(&self) -> Duration {
        match self.wait {
            Wait::Command { .. } => self.short(self.limits.command_timeout),
            Wait::Message => {
                let gained = Duration::from_secs(self.received / LEAST_RATE);
                let still = self.visit.still();
                let still = still.unwrap_or_else(|| self.short(STILL)) + gained;
                still.min(self.limits.data_timeout)
            }
        }
    }
}

/// How long a reply may stay unread when it is tight: longer than any way to a client that reads.
const UNREAD: Duration = Duration::from_secs(2);

impl Stream for Door<'_> {
    fn expect(&mut self, next: Wait) {
        self.wait = next;
        self.since = Instant::now();
        self.received = 0;
    }

    fn is_wanted(&self) -> bool {
        self.visit.is_tight()
    }
}

impl Read for Door<'_> {
    fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
        let left = self.allowed().saturating_sub(self.since.elapsed());
        self.wire.set_limit(left);
        let in_transaction = match self.wait {
            Wait::Command { in_transaction } => in_transaction,
            Wait::Message => true,
        };
        self.visit.wait(in_transaction).map_err(io::Error::other)?;
        let read = self.wire.read(block);
        self.visit.go_on().map_err(io::Error::other)?;
        self.received += *read.as_ref().unwrap_or(&0) as u64;
        read
    }
}

impl Write for Door<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.limit_writing();
        self.wire.write(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.limit_writing();
        self.wire.flush()
    }
}

#[cfg(test)]
mod tests;
