//! Who is connected: how many there are, how many of them are one client's, and who waits in silence.
//!
//! The sessions themselves block in their threads. From here their sockets can be closed for reading, which wakes
//! such a thread and makes it say its last words: to make room when it gets tight, and to stop.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::receive::Closing;
use crate::host::wire::Socket;
use crate::proto::replies::{self, Reply};

/// How long a client may be silent when it is tight.
pub const TIGHT: Duration = Duration::from_secs(10);
/// Who was silent for so long must go for somebody new when there is no place at all: a client that has sent something.
const SHORTEST: Duration = Duration::from_secs(3);
/// And one that has not sent anything yet. Longer than an answer takes on any usual way, so that no flood of newcomers
/// throws out a client that is about to begin; and the one that was silent for longest goes first.
const FRESH: Duration = Duration::from_millis(500);
/// And one that says something all the time, but has begun no message for so long.
const LINGER: Duration = Duration::from_secs(3);
/// And how long a message may stand still at its beginning then: what comes faster than the least rate gains time.
const CROWDED: Duration = Duration::from_secs(2);
/// The most of these three in a flood ([`State::is_flood`]). Places that become free then are drawn by lot among all who
/// come, mostly the bad: they must become free often, or a good client loses the draw for too long.
const HURRIED: Duration = Duration::from_secs(1);
/// Over how long it is counted who was turned away.
const WINDOW: Duration = Duration::from_secs(1);
/// How many may be on their way out while others have their places already.
pub const LEAVING: usize = 8;

/// What is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Connections.
    pub all: usize,
    /// Connections of one client.
    pub per_client: usize,
}

/// One client: all who can easily be the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Client {
    V4([u8; 4]),
    /// The first 64 bits, of which a customer has at least one set.
    V6([u8; 8]),
}

impl Client {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4.octets()),
            IpAddr::V6(v6) => {
                let mut network = [0; 8];
                network.copy_from_slice(&v6.octets()[..8]); // of sixteen
                Self::V6(network)
            }
        }
    }
}

/// All connections.
#[derive(Default)]
pub struct Connections {
    state: Mutex<State>,
    count: AtomicUsize,
    limit: AtomicUsize,
    stopping: AtomicBool,
    /// Told when somebody has gone.
    on_leave: Option<Box<dyn Fn() + Send + Sync>>,
}

#[derive(Default)]
struct State {
    number: u64,
    here: HashMap<u64, Arc<Seat>>,
    shares: HashMap<Client, usize>,
    /// The end of this window, who was turned away in it, and who in the one before.
    turned_away: Option<(Instant, usize, usize)>,
}

/// A connection, as others see it.
struct Seat {
    socket: Arc<Socket>,
    phase: Mutex<Phase>,
    /// How far it has come, and when it came there.
    progress: Mutex<(Standing, Instant)>,
}

enum Phase {
    /// Its thread is at work.
    Busy,
    /// It waits for the client since then.
    Waiting(Instant, Standing),
    /// It is to go, with these words.
    Leaving(Reply),
}

/// How far a client has come that is waited for; who has come less far goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It has begun no message yet.
    Fresh,
    /// It is between messages.
    Between,
    /// It has begun a message.
    Inside,
}

impl Seat {
    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long it has been silent by now, and how far it had come.
    fn silence(&self, now: Instant) -> Option<(Duration, Standing)> {
        match *self.phase() {
            Phase::Waiting(since, standing) => {
                Some((now.saturating_duration_since(since), standing))
            }
            _ => None,
        }
    }

    /// How long it has come no further, whatever it says.
    fn lingering(&self) -> Duration {
        self.progress().1.elapsed()
    }

    fn progress(&self) -> MutexGuard<'_, (Standing, Instant)> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It has come so far.
    fn stands(&self, standing: Standing) {
        let mut progress = self.progress();
        if progress.0 != standing {
            *progress = (standing, Instant::now());
        }
    }

    fn is_leaving(&self) -> bool {
        matches!(*self.phase(), Phase::Leaving(_))
    }

    /// Makes it go, if it is waiting for its client.
    fn send_away(&self, reply: &Reply) {
        let mut phase = self.phase();
        if let Phase::Waiting(..) = *phase {
            *phase = Phase::Leaving(reply.clone());
            self.socket.shutdown(Shutdown::Read);
        }
    }
}

impl Connections {
    /// None yet. `on_leave` is told each time that one has ended.
    pub fn new(on_leave: Box<dyn Fn() + Send + Sync>) -> Self {
        Self {
            on_leave: Some(on_leave),
            ..Self::default()
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether it is tight: four of five places are taken.
    pub fn are_tight(&self) -> bool {
        self.count() * 5 >= self.limit.load(Ordering::Relaxed) * 4
    }

    /// Whether there is no place at all.
    fn are_full(&self) -> bool {
        self.count() >= self.limit.load(Ordering::Relaxed)
    }

    /// How long a message may stand still at its beginning now that nobody else can come in.
    fn still(&self) -> Duration {
        let limit = self.limit.load(Ordering::Relaxed);
        self.lock().hurried(CROWDED, limit, Instant::now())
    }

    /// There was no place for somebody, who was told to come again.
    pub fn turned_away(&self, now: Instant) {
        self.lock().turned_away(now);
    }

    /// Takes in a client. `peer`: who it is, if it is to have no more than its share.
    ///
    /// # Errors
    /// The reply to it: it has its share, or there is no place.
    pub fn admit(
        self: &Arc<Self>,
        socket: Arc<Socket>,
        peer: Option<SocketAddr>,
        bounds: Bounds,
    ) -> Result<Visit, Reply> {
        self.limit.store(bounds.all, Ordering::Relaxed);
        let client = peer.map(|peer| Client::of(peer.ip()));
        let mut state = self.lock();
        if let Some(client) = client {
            state.take_share(client, bounds.per_client)?;
        }
        // Who is on his way out for somebody new has given his place up.
        if state.here.len() >= bounds.all && state.staying() >= bounds.all {
            state.give_back(client);
            return Err(replies::TOO_BUSY);
        }
        state.number += 1;
        let number = state.number;
        let seat = Arc::new(Seat {
            socket,
            phase: Mutex::new(Phase::Busy),
            progress: Mutex::new((Standing::Fresh, Instant::now())),
        });
        state.here.insert(number, Arc::clone(&seat));
        self.count.store(state.here.len(), Ordering::Relaxed);
        drop(state);
        Ok(Visit {
            connections: Arc::clone(self),
            seat,
            number,
            client: Mutex::new(client),
            has_begun: AtomicBool::new(false),
        })
    }

    /// Whether everybody waits for his client.
    #[cfg(test)]
    pub fn all_wait(&self) -> bool {
        let now = Instant::now();
        self.lock().here.values().all(|s| s.silence(now).is_some())
    }

    /// Sends away whoever has been silent for too long by now, when it is tight.
    pub fn thin_out(&self, now: Instant) {
        if !self.are_tight() {
            return;
        }
        for seat in self.lock().here.values() {
            if seat
                .silence(now)
                .is_some_and(|(silence, _)| silence >= TIGHT)
            {
                seat.send_away(&replies::TIMED_OUT);
            }
        }
    }

    /// Sends away somebody who is silent: of those who have come least far, the one who was so for longest. False when
    /// nobody is to go for somebody new, or enough are on their way out.
    pub fn make_room(&self) -> bool {
        let state = self.lock();
        if state.here.len() - state.staying() >= LEAVING {
            return false;
        }
        let now = Instant::now();
        let limit = self.limit.load(Ordering::Relaxed);
        let shortest = state.hurried(SHORTEST, limit, now);
        let linger = state.hurried(LINGER, limit, now);
        let silent = state.here.values().filter_map(|seat| {
            let (silence, standing) = seat.silence(now)?;
            let enough = match standing {
                Standing::Fresh => FRESH,
                Standing::Between | Standing::Inside => shortest,
            };
            // Who says something that leads nowhere, octet by octet, is no better than who says nothing.
            let lingers = standing != Standing::Inside && seat.lingering() >= linger;
            (silence >= enough || lingers).then_some((Reverse(standing), silence, seat))
        });
        let longest = silent.max_by_key(|(standing, silence, _)| (*standing, *silence));
        if let Some((_, _, seat)) = &longest {
            seat.send_away(&replies::TIMED_OUT);
        }
        longest.is_some()
    }

    /// From now on nobody waits for the next message: clients without a transaction are told so.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        let now = Instant::now();
        for seat in self.lock().here.values() {
            if matches!(
                seat.silence(now),
                Some((_, Standing::Fresh | Standing::Between))
            ) {
                seat.send_away(&replies::SHUTTING_DOWN);
            }
        }
    }

    /// The time is over: all others too, wherever they are.
    pub fn cut(&self) {
        for seat in self.lock().here.values() {
            *seat.phase() = Phase::Leaving(replies::SHUTTING_DOWN);
            seat.socket.shutdown(Shutdown::Read);
        }
    }
}

impl State {
    fn staying(&self) -> usize {
        self.here.values().filter(|seat| !seat.is_leaving()).count()
    }

    fn turned_away(&mut self, now: Instant) {
        self.turned_away = Some(match self.turned_away {
            Some((end, count, before)) if now < end => (end, count + 1, before),
            Some((end, count, _)) if now < end + WINDOW => (end + WINDOW, 1, count),
            _ => (now + WINDOW, 1, 0),
        });
    }

    /// Whether about as many are turned away in a second as there are places: those who come again as soon as they can.
    fn is_flood(&self, limit: usize, now: Instant) -> bool {
        self.turned_away.is_some_and(|(end, count, before)| {
            now < end + WINDOW && count.max(before) >= limit.div_ceil(2)
        })
    }

    /// A bound, or the one that holds in a flood.
    fn hurried(&self, bound: Duration, limit: usize, now: Instant) -> Duration {
        if self.is_flood(limit, now) {
            bound.min(HURRIED)
        } else {
            bound
        }
    }

    fn take_share(&mut self, client: Client, most: usize) -> Result<(), Reply> {
        let share = self.shares.entry(client).or_default();
        if *share >= most {
            return Err(replies::TOO_MANY_CONNECTIONS);
        }
        *share += 1;
        Ok(())
    }

    fn give_back(&mut self, client: Option<Client>) {
        let Some(client) = client else { return };
        if let Some(share) = self.shares.get_mut(&client) {
            *share -= 1;
            if *share == 0 {
                self.shares.remove(&client);
            }
        }
    }
}

/// The place of one connection, until it is dropped.
pub struct Visit {
    connections: Arc<Connections>,
    seat: Arc<Seat>,
    number: u64,
    client: Mutex<Option<Client>>,
    /// It has begun a message, now or before.
    has_begun: AtomicBool,
}

impl Visit {
    /// Its socket.
    pub fn socket(&self) -> Arc<Socket> {
        Arc::clone(&self.seat.socket)
    }

    /// Whether it is tight.
    pub fn is_tight(&self) -> bool {
        self.connections.are_tight()
    }

    /// How long a message may stand still at its beginning, if nobody else can come in.
    pub fn still(&self) -> Option<Duration> {
        self.connections
            .are_full()
            .then(|| self.connections.still())
    }

    /// The client is somebody else: a proxy has told who.
    ///
    /// # Errors
    /// The reply to it: it has its share.
    pub fn is_of(&self, address: IpAddr, bounds: Bounds) -> Result<(), Reply> {
        let client = Client::of(address);
        let mut state = self.connections.lock();
        state.take_share(client, bounds.per_client)?;
        let mut own = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        state.give_back(own.replace(client));
        Ok(())
    }

    /// From now on it waits for its client, and may be sent away.
    ///
    /// # Errors
    /// It is to go.
    pub fn wait(&self, in_transaction: bool) -> Result<(), Closing> {
        let mut phase = self.seat.phase();
        let stopping = self.connections.stopping.load(Ordering::SeqCst);
        match &*phase {
            Phase::Leaving(reply) => Err(Closing(reply.clone())),
            _ if stopping && !in_transaction => Err(Closing(replies::SHUTTING_DOWN)),
            _ => {
                let begun = self.has_begun.fetch_or(in_transaction, Ordering::Relaxed);
                let standing = match (in_transaction, begun) {
                    (true, _) => Standing::Inside,
                    (false, true) => Standing::Between,
                    (false, false) => Standing::Fresh,
                };
                self.seat.stands(standing);
                *phase = Phase::Waiting(Instant::now(), standing);
                Ok(())
            }
        }
    }

    /// The client has spoken, or was silent for too long.
    ///
    /// # Errors
    /// It is to go.
    pub fn go_on(&self) -> Result<(), Closing> {
        let mut phase = self.seat.phase();
        if let Phase::Leaving(reply) = &*phase {
            return Err(Closing(reply.clone()));
        }
        *phase = Phase::Busy;
        Ok(())
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut state = self.connections.lock();
        state.here.remove(&self.number);
        let client = self
            .client
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        let client = client.take();
        state.give_back(client);
        let left = state.here.len();
        self.connections.count.store(left, Ordering::Relaxed);
        drop(state);
        if let Some(on_leave) = &self.connections.on_leave {
            on_leave();
        }
    }
}

#[cfg(test)]
mod tests;
