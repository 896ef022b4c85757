//! The daemon: it listens, hands each client to a thread of its own, and keeps the queue going.
//!
//! 1. bind, so that what is wrong with an address is said to whoever starts it; take the place in the run folder
//! 2. go into the background, if that is wanted; from here on there are threads
//! 3. wait for clients, the trigger and signals; nothing else is done in this thread, and nothing that could block
//! 4. SIGHUP: the configuration is read again; sessions that run keep theirs, and a wrong one is not taken
//! 5. SIGTERM: no more clients; who is idle is told, who sends a message gets a few seconds; and a message that somebody
//!    else has whole is waited for some more, or the next daemon would give it to him again
//!
//! When it is full, somebody who is silent goes, first of all somebody who has begun no message, and the new client has
//! his place at once; if nobody is to go, the new one waits a moment, and is then told to come again.

mod reload;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::Context;
use super::access::Kind;
use super::attend::{self, Service, attend};
use super::connections::{Connections, LEAVING};
use super::doors::Doors;
use super::fault::{self, By, Process, Then};
use super::queue;
use super::runner::Runner;
use super::stopping::{ANSWERS, SAME};
use crate::cli::Invocation;
use crate::error::{Error, Result};
use crate::events;
use crate::host::listen::{Event, Waker, Watch};
use crate::host::pool::Pool;
use crate::host::presence::Presence;
use crate::host::wire::Socket;
use crate::host::{privilege, words};
use crate::proto::replies::{self, Reply};

/// What a session needs; a handshake is the deepest of it.
const STACK: usize = 128 * 1024;
/// How long messages on their way may take when the daemon stops.
const GRACE: Duration = Duration::from_secs(5);
/// And how long last words may take then.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How many clients wait for a place, and how long.
const PARKED: usize = LEAVING;
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a daemon that was started for a client stays without any, at most.
const IDLE: Duration = Duration::from_secs(60);
/// How often it is looked whether the certificate has changed.
const CERTIFICATE: Duration = Duration::from_secs(60);
/// How often it is told that its end is near.
const DAY: Duration = Duration::from_secs(86_400);

/// Listens and runs the queue until it is told to stop.
///
/// # Errors
/// What keeps it from beginning: addresses, the run folder, the system.
pub fn run(context: Context, call: &Invocation) -> Result<()> {
    let parent = context.keeper.clone().filter(|keeper| keeper.is_parent());
    let doors = match &parent {
        Some(keeper) => keeper.take_doors(&context.config, call.listen)?,
        None => Doors::open(&context.config, call.listen, false)?,
    };
    queue::make_spool(&context)?;
    let presence = Presence::take(&context.config.queue.run)?;
    // A connection has one, and a message on its way another.
    privilege::allow_files(2 * context.config.listen.max_connections + 256);
    let is_worker = parent.is_some();
    let by = By::of(&context, doors.handed_over);
    if call.detach && !doors.handed_over && !is_worker {
        privilege::detach().map_err(Error::Os)?;
    }
    presence.announce(context.spool.root(), is_worker)?;
    doors.tell();
    let Doors {
        listeners,
        kinds,
        handed_over,
        ..
    } = doors;
    let (mut watch, waker) =
        Watch::new(listeners, presence.trigger()).map_err(|e| cannot_wait(&e))?;
    let waker = Arc::new(waker);
    let bell = Arc::clone(&waker);
    fault::then(Then::Again(Process::Daemon, by));
    // Without it, it hears of a fault when something else happens.
    fault::wakes(Box::new(move || drop(bell.wake())));
    let service = Arc::new(Service::new(context));
    if !kinds.is_empty() {
        service.look_at_certificate();
    }
    let runner = Arc::new(Runner::new(Arc::clone(&service), call.interval));
    runner.start()?;
    let wanted = Arc::new(AtomicBool::new(false));
    let limit = service.context.config.listen.max_connections;
    let mut daemon = Daemon {
        call,
        kinds,
        presence,
        service,
        runner,
        connections: Arc::new(Connections::new(on_leave(waker, Arc::clone(&wanted)))),
        pool: Pool::new("session", limit + PARKED, STACK),
        wanted,
        parked: VecDeque::new(),
        certificate: Care::new(Instant::now()),
    };
    events::count_repeats();
    events::daemon(&"started");
    let ended = daemon.work(&mut watch, handed_over && call.interval.is_none());
    events::settle_repeats(true);
    events::daemon(match (fault::is_ending(), fault::begins_anew()) {
        (false, _) => &"stopped",
        (true, true) => &"stopped after a fault, and begins anew",
        (true, false) => &"stopped after a fault",
    });
    daemon.service.context.ledger.flush();
    if fault::is_ending() {
        fault::end_now();
    }
    ended.map_err(|e| cannot_wait(&e))
}

fn cannot_wait(error: &std::io::Error) -> Error {
    Error::Os(format!("cannot wait for clients: {}", words(error)))
}

/// Wakes the waiting thread when a connection has ended, if it wants to know.
fn on_leave(waker: Arc<Waker>, wanted: Arc<AtomicBool>) -> Box<dyn Fn() + Send + Sync> {
    Box::new(move || {
        if wanted.load(Ordering::Acquire) {
            // Without it, it looks a moment later.
            let _ = waker.wake();
        }
    })
}

/// A client.
struct Arrival {
    kind: Kind,
    socket: Arc<Socket>,
    peer: Option<SocketAddr>,
}

struct Daemon<'a> {
    call: &'a Invocation,
    kinds: Vec<Kind>,
    presence: Presence,
    service: Arc<Service>,
    runner: Arc<Runner>,
    connections: Arc<Connections>,
    pool: Pool,
    /// This thread wants to know when a connection has ended.
    wanted: Arc<AtomicBool>,
    /// Clients for whom there was no place, and since when they wait.
    parked: VecDeque<(Arrival, Instant)>,
    certificate: Care,
}

/// When the certificate was looked at, and when its end was told.
struct Care {
    seen: Instant,
    told: Instant,
}

impl Care {
    /// Both were just done.
    fn new(now: Instant) -> Self {
        Self {
            seen: now,
            told: now,
        }
    }

    /// Whether it is to be looked at now, and whether its end is to be told, if it is near: then that counts as done.
    fn due(&mut self, now: Instant) -> (bool, bool) {
        let after = |since: Instant, time| now.saturating_duration_since(since) >= time;
        let looks = after(self.seen, CERTIFICATE);
        let tells = looks && after(self.told, DAY);
        if looks {
            self.seen = now;
        }
        if tells {
            self.told = now;
        }
        (looks, tells)
    }
}

impl Daemon<'_> {
    fn work(&mut self, watch: &mut Watch, may_end: bool) -> std::io::Result<()> {
        let mut idle_since = Instant::now();
        loop {
            let mut happened = Vec::new();
            // Who lets no client be silent for so long need not wait so long for one.
            let idle = IDLE.min(self.service.context.config.limits.command_timeout);
            let limit = self.pause().or(may_end.then_some(idle));
            watch.wait(limit, &mut |event| happened.push(event))?;
            for event in happened {
                match event {
                    Event::Client {
                        listener,
                        socket,
                        peer,
                    } => self.welcome(listener, socket, peer),
                    Event::Trouble(error) => events::trouble(
                        "-",
                        &format!("cannot take in clients for a moment: {}", words(&error)),
                    ),
                    Event::Trigger => {
                        self.runner.wake(self.presence.release_trigger());
                    }
                    Event::Reload => self.reload(),
                    Event::Woken => {}
                    Event::Stop => return self.stop(watch),
                }
            }
            if fault::is_ending() {
                return self.stop(watch);
            }
            self.connections.thin_out(Instant::now());
            self.seat_parked();
            if self.connections.count() > 0 || !self.runner.is_idle() {
                idle_since = Instant::now();
            } else if may_end && idle_since.elapsed() >= idle {
                return self.stop(watch);
            }
        }
    }

    /// How long to wait at most.
    fn pause(&self) -> Option<Duration> {
        if !self.parked.is_empty() {
            return Some(Duration::from_millis(200));
        }
        self.connections
            .are_tight()
            .then_some(Duration::from_secs(1))
    }

    fn welcome(&mut self, listener: usize, socket: Socket, peer: Option<SocketAddr>) {
        let kind = self.kinds.get(listener).copied().unwrap_or(Kind::Smtp);
        let arrival = Arrival {
            kind,
            socket: Arc::new(socket),
            peer,
        };
        self.look_at_certificate();
        let Err((arrival, reply)) = self.seat(arrival) else {
            return;
        };
        if reply != replies::TOO_BUSY || self.parked.len() >= PARKED {
            return self.turn_away(&arrival, &reply);
        }
        self.wanted.store(true, Ordering::Release);
        self.parked.push_back((arrival, Instant::now()));
    }

    /// Gives a client a thread, or comes back with the reply to it.
    fn seat(&self, arrival: Arrival) -> Result<(), (Arrival, Reply)> {
        let config = &self.service.context.config;
        let bounds = attend::bounds(config);
        let counted = arrival
            .peer
            .is_some_and(|peer| attend::is_counted(config, peer));
        let socket = Arc::clone(&arrival.socket);
        let visit = match self
            .connections
            .admit(socket, arrival.peer.filter(|_| counted), bounds)
        {
            Ok(visit) => visit,
            Err(reply) => return Err((arrival, reply)),
        };
        let (service, runner) = (Arc::clone(&self.service), Arc::clone(&self.runner));
        let (kind, peer) = (arrival.kind, arrival.peer);
        let job = move || {
            let _in_hand = fault::over_connection(visit.socket());
            attend(&service, &visit, kind, peer, &mut |left| runner.take(left));
        };
        self.pool
            .try_run(Box::new(job))
            .map_err(|_| (arrival, replies::TOO_BUSY))
    }

    /// Gives places to those who wait for one, and tells those who have waited long enough.
    fn seat_parked(&mut self) {
        while let Some((arrival, since)) = self.parked.pop_front() {
            let Err((mut arrival, mut reply)) = self.seat(arrival) else {
                continue;
            };
            if reply == replies::TOO_BUSY && self.connections.make_room() {
                match self.seat(arrival) {
                    Ok(()) => continue,
                    Err(refused) => (arrival, reply) = refused,
                }
            }
            if reply == replies::TOO_BUSY && since.elapsed() < PATIENCE {
                return self.parked.push_front((arrival, since));
            }
            self.turn_away(&arrival, &reply);
        }
        self.wanted.store(false, Ordering::Release);
    }

    /// Tells a client for whom there is no place to come again.
    fn turn_away(&self, arrival: &Arrival, reply: &Reply) {
        if *reply == replies::TOO_BUSY {
            self.connections.turned_away(Instant::now());
        }
        turn_away(arrival, reply);
    }

    fn look_at_certificate(&mut self) {
        let (looks, tells) = self.certificate.due(Instant::now());
        if looks {
            self.service.renew_certificate();
        }
        if tells {
            self.service.warn_of_certificate();
        }
    }

    /// Lets everything come to its end, for as long as there is patience.
    fn stop(&mut self, watch: &mut Watch) -> std::io::Result<()> {
        let begun = Instant::now();
        if !fault::is_ending() {
            // Whatever happens from here on, it was to stop.
            fault::then(Then::EndLater(fault::SOFTWARE));
        }
        watch.close();
        for (arrival, _) in self.parked.drain(..) {
            turn_away(&arrival, &replies::SHUTTING_DOWN);
        }
        self.wanted.store(true, Ordering::Release);
        let stopping = Arc::clone(&self.service.context.stopping);
        stopping.begin();
        self.runner.stop();
        self.connections.stop();
        let nobody_is_here = || self.connections.count() == 0;
        let all_has_ended = || nobody_is_here() && self.runner.has_ended();
        let wait = |watch: &mut Watch, until, has_come: &dyn Fn() -> bool| {
            wait(watch, begun, until, has_come)
        };
        let mut again = wait(watch, begun + GRACE, &all_has_ended)?;
        self.connections.cut();
        again |= wait(watch, Instant::now() + LAST_WORDS, &all_has_ended)?;
        if again || !stopping.is_owed_an_answer() {
            return Ok(());
        }
        if !wait(watch, begun + ANSWERS, &|| !stopping.is_owed_an_answer())? {
            // Who was passed on the message of a client tells him.
            wait(watch, Instant::now() + LAST_WORDS, &nobody_is_here)?;
        }
        Ok(())
    }
}

/// Waits for something, until then at most, in a stop that has begun. Returned is whether somebody has asked again: he does
/// not want to wait.
fn wait(
    watch: &mut Watch,
    begun: Instant,
    until: Instant,
    has_come: &dyn Fn() -> bool,
) -> std::io::Result<bool> {
    let mut again = false;
    while !again && !has_come() && !fault::is_over() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let step = left.min(Duration::from_millis(50));
        watch.wait(Some(step), &mut |event| {
            again |= matches!(event, Event::Stop) && begun.elapsed() >= SAME;
        })?;
    }
    if again {
        fault::then(Then::EndLater(fault::SOFTWARE));
    }
    Ok(again)
}

/// Says no to a client, without waiting for him.
fn turn_away(arrival: &Arrival, reply: &Reply) {
    events::turned_away(&attend::name(arrival.peer), reply);
    let mut octets = Vec::new();
    // In the clear it would not be understood.
    if arrival.kind != Kind::Submissions {
        reply.write_to(&mut octets);
    }
    arrival.socket.refuse(&octets);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client a minute for two days and an hour: each of them has the certificate looked at, and its end is told again
    /// when a day is over, and when another one is.
    #[test]
    fn the_end_of_a_certificate_is_told_each_day() {
        let begun = Instant::now();
        let mut care = Care::new(begun);
        let mut told = Vec::new();
        for second in (0..49 * 3600).step_by(30) {
            let (looks, tells) = care.due(begun + Duration::from_secs(second));
            assert_eq!(looks, second > 0 && second % 60 == 0, "{second}");
            if tells {
                told.push(second);
            }
        }
        assert_eq!(told, [86_400, 2 * 86_400]);
        // Nobody came for a week: it is told once, not seven times.
        let later = begun + Duration::from_secs(9 * 86_400);
        assert_eq!(care.due(later), (true, true));
        assert_eq!(care.due(later + CERTIFICATE), (true, false));
    }
}
