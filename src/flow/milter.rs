//! Filters that are shown what comes by SMTP (milters), one connection a message each ([`crate::proto::milter`] has
//! the packets).
//!
//! 1. at MAIL the filters are connected to, and told of the client, its name and the sender; then of each recipient
//! 2. the message goes to them as it comes, the header when it is whole: nothing of the body is held
//! 3. at its end they say what is to be changed, and whether it is taken at all
//!
//! A filter that does not answer, or not as it should, has its mail put off, or is left out: `[milter] down`. Whoever
//! says nothing beyond a greeting costs no connection to a filter. Each filter sees the message as it came.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use super::{Context, hops};
use crate::config::{Address, Down, Milter};
use crate::events;
use crate::host::wire::Wire;
use crate::host::words;
use crate::parts;
use crate::proto::address::Mailbox;
use crate::proto::authenticate::Mechanism;
use crate::proto::command;
use crate::proto::envelope::{Envelope, Recipient};
use crate::proto::header::Header;
use crate::proto::milter::{self, Change, MAX_BLOCK, MAX_PACKET, Said, Step, Terms};
use crate::proto::replies::{self, Reply};
use crate::proto::transaction::Transaction;

/// Octets by which filters may make envelope and header longer.
pub const ROOM: usize = 8 * 1024;
/// How often a filter may say that it is at work.
const MOST_PROGRESS: usize = 10;
/// How many changes one filter may want.
const MOST_CHANGES: usize = 1000;
/// How long a goodbye may take.
const PARTING: Duration = Duration::from_secs(1);

/// The filters of a session.
pub struct Filters<'a> {
    context: &'a Context,
    peer: Option<SocketAddr>,
    /// Version and cipher of TLS, once it is on.
    tls: RefCell<Option<String>>,
    /// Those of the message that is coming.
    active: RefCell<Passage>,
}

impl<'a> Filters<'a> {
    /// For a client; `None`: there are none.
    pub fn new(context: &'a Context, peer: Option<SocketAddr>) -> Option<Self> {
        (parts::SERVER && !context.config.milters.is_empty()).then(|| Self {
            context,
            peer,
            tls: RefCell::default(),
            active: RefCell::default(),
        })
    }

    /// The session is encrypted from now on.
    pub fn encrypted(&self, words: &str) {
        *self.tls.borrow_mut() = Some(words.to_owned());
    }

    /// At MAIL. `name`: what the client's address is called, if that is known.
    ///
    /// # Errors
    /// The refusal.
    pub fn sender(&self, transaction: &Transaction, name: Option<&str>) -> Result<(), Reply> {
        let mut active = self.active.borrow_mut();
        // Whatever was begun before is over.
        *active = Passage {
            sender: transaction.sender.to_string(),
            client: self
                .peer
                .map_or_else(|| "local".to_owned(), |p| p.ip().to_canonical().to_string()),
            ..Passage::default()
        };
        let milters = self.context.config.milters.iter();
        active.filters = milters.map(Filter::new).collect();
        active.each(|filter| self.introduce(filter, transaction, name))
    }

    /// Tells a filter of the client, its name and the sender.
    fn introduce(
        &self,
        filter: &mut Filter,
        transaction: &Transaction,
        name: Option<&str>,
    ) -> Result<(), Stop> {
        let by = self.context.config.hostname.as_str();
        let address = self.peer.map(|p| (p.ip().to_canonical(), p.port()));
        let literal = address.map_or_else(|| "localhost".to_owned(), |(ip, _)| format!("[{ip}]"));
        let name = name.unwrap_or(&literal);
        let told = format!("{name} {literal}");
        let known = [
            ("j", by),
            ("{daemon_name}", by),
            ("v", concat!("minimta ", env!("CARGO_PKG_VERSION"))),
            ("_", &told),
        ];
        filter.connect();
        filter.step(Step::Connect, &known, &milter::connect(name, address))?;

        let tls = self.tls.borrow();
        let (version, cipher) = tls
            .as_deref()
            .and_then(|t| t.split_once(' '))
            .unwrap_or_default();
        let known = [("{tls_version}", version), ("{cipher}", cipher)];
        let helo = milter::words(Step::Helo, &[transaction.client.name.as_str()]);
        filter.step(Step::Helo, &known, &helo)?;

        let path = transaction.sender.to_string();
        let sender = transaction.sender.mailbox().map(ToString::to_string);
        let user = transaction.client.user.as_deref().unwrap_or_default();
        let kind = transaction.client.mechanism.map_or("", Mechanism::name);
        let known = [
            ("{auth_type}", kind),
            ("{auth_authen}", user),
            ("{mail_addr}", sender.as_deref().unwrap_or_default()),
            ("{mail_mailer}", "minimta"),
        ];
        filter.step(Step::Mail, &known, &milter::words(Step::Mail, &[&path]))
    }

    /// At RCPT.
    ///
    /// # Errors
    /// The refusal, of this recipient.
    pub fn recipient(&self, recipient: &Mailbox) -> Result<(), Reply> {
        let mut active = self.active.borrow_mut();
        active.each(|filter| filter.recipient(recipient))
    }

    /// The message comes: those who are to see it.
    pub fn take(&self, transaction: &Transaction) -> Passage {
        let mut passage = self.active.take();
        // He was not shown at RCPT, where a filter could have refused him (RFC 5321 4.5.1). Whatever one says of him
        // now does not hold, neither that he is refused nor that the message is to vanish.
        let addresses = transaction.recipients.iter().map(|r| &r.address);
        for postmaster in addresses.filter(|a| hops::is_postmaster(self.context, a)) {
            let _ = passage.each(|filter| {
                let _ = filter.recipient(postmaster);
                Ok(())
            });
        }
        passage
    }
}

/// What becomes of a message that was shown to all.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is taken.
    Taken,
    /// It vanishes.
    Discarded,
    /// It is set aside, for this reason.
    Held(String),
}

/// A message, shown to the filters as it passes.
#[derive(Default)]
pub struct Passage {
    filters: Vec<Filter>,
    client: String,
    sender: String,
    /// A filter wants it to vanish: nobody needs to see more.
    discarded: bool,
}

impl Passage {
    fn each(&mut self, mut show: impl FnMut(&mut Filter) -> Result<(), Stop>) -> Result<(), Reply> {
        for filter in &mut self.filters {
            if self.discarded {
                return Ok(());
            }
            match show(filter) {
                Ok(()) => {}
                Err(Stop::Discard) => self.discarded = true,
                Err(Stop::Refuse(reply)) => return Err(reply),
            }
        }
        Ok(())
    }

    /// The same within the message, where nobody else writes down why.
    fn each_told(
        &mut self,
        show: impl FnMut(&mut Filter) -> Result<(), Stop>,
    ) -> Result<(), Reply> {
        self.each(show).inspect_err(|reply| {
            let reason = format!("{reply}: a filter");
            events::rejected(&self.client, command::Step::Text, &self.sender, &reason);
        })
    }

    /// The header, when it is whole.
    ///
    /// # Errors
    /// The refusal.
    pub fn header(&mut self, id: &str, header: &Header) -> Result<(), Reply> {
        self.each_told(|filter| {
            filter.step(Step::Data, &[("i", id)], &milter::octets(Step::Data, b""))?;
            for field in header.fields() {
                let packet = milter::field(filter.terms, field);
                filter.step(Step::Header, &[], &packet)?;
            }
            let end = milter::octets(Step::EndOfHeader, b"");
            filter.step(Step::EndOfHeader, &[("i", id)], &end)
        })
    }

    /// The next octets of the body.
    ///
    /// # Errors
    /// The refusal.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<(), Reply> {
        for block in chunk.chunks(MAX_BLOCK) {
            let packet = milter::octets(Step::Body, block);
            self.each_told(|filter| match filter.needs_no_more {
                true => Ok(()),
                false => filter.step(Step::Body, &[], &packet),
            })?;
        }
        Ok(())
    }

    /// The message has ended: what was asked for is changed in header and envelope.
    ///
    /// # Errors
    /// The refusal.
    pub fn finish(
        mut self,
        id: &str,
        header: &mut Header,
        envelope: &mut Envelope,
        most_recipients: usize,
    ) -> Result<Verdict, Reply> {
        let mut held = None;
        self.each_told(|filter| {
            let mut changes = Vec::new();
            filter.end(id, &mut changes)?;
            let socket = &filter.milter.socket;
            for change in changes {
                match milter::apply(header, change) {
                    None => {}
                    Some(Change::Quarantine(reason)) => held = Some(format!("{socket}: {reason}")),
                    Some(change) => readdress(envelope, change, most_recipients),
                }
            }
            Ok(())
        })?;
        if self.discarded || envelope.recipients.is_empty() {
            events::discarded(id, &self.client, &self.sender);
            return Ok(Verdict::Discarded);
        }
        Ok(held.map_or(Verdict::Taken, Verdict::Held))
    }
}

/// Changes sender or recipients. More of them than a message may have are not added.
fn readdress(envelope: &mut Envelope, change: Change, most: usize) {
    let recipients = &mut envelope.recipients;
    match change {
        Change::From(sender) => envelope.sender = sender,
        Change::To(to) if recipients.iter().any(|r| r.address == to) => {}
        Change::To(to) if recipients.len() < most => recipients.push(Recipient::plain(to)),
        Change::NotTo(to) => recipients.retain(|r| r.address != to),
        _ => {}
    }
}

/// What ends a step for good.
enum Stop {
    Refuse(Reply),
    Discard,
}

/// One filter, and how far it has come with a message.
struct Filter {
    milter: Milter,
    /// `None`: it has said all that it has to say, or does not answer.
    wire: Option<Wire>,
    terms: Terms,
    needs_no_more: bool,
    /// It did not answer, and no mail is taken without it.
    is_missed: bool,
}

impl Filter {
    fn new(milter: &Milter) -> Self {
        Self {
            milter: milter.clone(),
            wire: None,
            terms: Terms::default(),
            needs_no_more: false,
            is_missed: false,
        }
    }

    /// Connects and negotiates.
    fn connect(&mut self) {
        let dial = || -> io::Result<(Wire, Terms)> {
            let mut wire = dial(&self.milter.socket, self.milter.timeout)?;
            wire.write_all(&milter::offer())?;
            wire.flush()?;
            let terms = Terms::parse(&hear(&mut wire)?).map_err(io::Error::other)?;
            Ok((wire, terms))
        };
        match dial() {
            Ok((wire, terms)) => (self.wire, self.terms) = (Some(wire), terms),
            // It is told at the first step.
            Err(error) => drop(self.miss(&error)),
        }
    }

    /// It does not answer as it should.
    fn miss(&mut self, error: &io::Error) -> Result<(), Stop> {
        self.wire = None;
        let (socket, why) = (&self.milter.socket, words(error));
        events::trouble("-", &format!("the filter {socket}: {why}"));
        self.is_missed = self.milter.down == Down::Tempfail;
        self.missed()
    }

    fn missed(&self) -> Result<(), Stop> {
        match self.is_missed {
            true => Err(Stop::Refuse(replies::FILTER_DOWN)),
            false => Ok(()),
        }
    }

    /// Tells it of a recipient.
    fn recipient(&mut self, recipient: &Mailbox) -> Result<(), Stop> {
        let recipient = recipient.to_string();
        let known = [("{rcpt_addr}", recipient.as_str())];
        let path = format!("<{recipient}>");
        let packet = milter::words(Step::Rcpt, &[&path]);
        self.step(Step::Rcpt, &known, &packet)
    }

    /// Shows it a step, if it wants to see it, and hears what it says, if it says anything.
    fn step(&mut self, step: Step, known: &[(&str, &str)], packet: &[u8]) -> Result<(), Stop> {
        self.missed()?;
        let (terms, timeout) = (self.terms, self.milter.timeout);
        let Some(wire) = self.wire.as_mut().filter(|_| terms.wants(step)) else {
            return Ok(());
        };
        let mut show = || -> io::Result<Said> {
            wire.set_limit(timeout);
            if !known.is_empty() {
                wire.write_all(&milter::macros(step, known))?;
            }
            wire.write_all(packet)?;
            match terms.answers(step) {
                true => answer(wire, terms, timeout),
                false => Ok(Said::Continue),
            }
        };
        match show() {
            Ok(Said::Continue) => Ok(()),
            Ok(Said::Skip) if step == Step::Body => {
                self.needs_no_more = true;
                Ok(())
            }
            Ok(said) => self.settle(said),
            Err(error) => self.miss(&error),
        }
    }

    fn settle(&mut self, said: Said) -> Result<(), Stop> {
        match said {
            Said::Accept => {
                self.part();
                Ok(())
            }
            Said::Discard => Err(Stop::Discard),
            Said::Refuse(reply) => Err(Stop::Refuse(reply)),
            Said::Continue => Ok(()),
            Said::Skip | Said::Progress | Said::Change(_) => {
                self.miss(&io::Error::other("it said what has no place here"))
            }
        }
    }

    /// The end of a message: what it wants to be changed counts once it has said all.
    fn end(&mut self, id: &str, changes: &mut Vec<Change>) -> Result<(), Stop> {
        self.missed()?;
        let (terms, timeout) = (self.terms, self.milter.timeout);
        let Some(wire) = &mut self.wire else {
            return Ok(());
        };
        let mut room = ROOM;
        let mut show = || -> io::Result<Said> {
            wire.set_limit(timeout);
            wire.write_all(&milter::macros(Step::End, &[("i", id)]))?;
            wire.write_all(&milter::octets(Step::End, b""))?;
            loop {
                let change = match answer(wire, terms, timeout)? {
                    Said::Change(change) => change,
                    said => return Ok(said),
                };
                let longer = match &change {
                    Change::Add(f) | Change::Insert(_, f) | Change::Replace(_, _, Some(f)) => {
                        f.raw().len()
                    }
                    _ => 0,
                };
                room = room.checked_sub(longer).ok_or_else(|| {
                    io::Error::other("it makes the header longer by more than 8 KiB")
                })?;
                if changes.len() >= MOST_CHANGES {
                    return Err(io::Error::other("it wants more than 1000 changes"));
                }
                changes.push(change);
            }
        };
        let said = show();
        match said {
            Ok(Said::Continue | Said::Accept) => {
                self.part();
                Ok(())
            }
            Ok(said) => self.settle(said),
            Err(error) => {
                changes.clear();
                self.miss(&error)
            }
        }
    }

    /// It has said all that it has to say.
    fn part(&mut self) {
        if let Some(mut wire) = self.wire.take() {
            wire.set_limit(PARTING);
            let _ = wire.write_all(&milter::quit()).and_then(|()| wire.flush());
        }
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        self.part();
    }
}

fn dial(socket: &Address, limit: Duration) -> io::Result<Wire> {
    let (host, port) = match socket {
        Address::Unix(path) => return Wire::connect_local(path, limit),
        Address::Tcp(host, port) => (host.as_str(), *port),
    };
    let mut failed = io::Error::from(io::ErrorKind::NotFound);
    for address in (host, port).to_socket_addrs()? {
        match Wire::connect(&address, None, limit) {
            Ok(wire) => return Ok(wire),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// What it says, once it is not at work any more.
fn answer(wire: &mut Wire, terms: Terms, timeout: Duration) -> io::Result<Said> {
    wire.flush()?;
    for _ in 0..MOST_PROGRESS {
        wire.set_limit(timeout);
        let packet = hear(wire)?;
        match Said::parse(terms, &packet).map_err(io::Error::other)? {
            Said::Progress => {}
            said => return Ok(said),
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// The next packet, without its length.
fn hear(wire: &mut Wire) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    wire.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if !(1..=MAX_PACKET).contains(&length) {
        return Err(io::Error::other("it sent a packet that is too long"));
    }
    let mut packet = vec![0; length];
    wire.read_exact(&mut packet)?;
    Ok(packet)
}
