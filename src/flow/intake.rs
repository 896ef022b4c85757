//! The one way into the spool, for every kind of sender: canonical text goes in, a claim comes out, and the mail is
//! safe then.
//!
//! 1. the header: completed for programs of this system and for users who submit (RFC 6409 8); for all others only
//!    looked at, because a relay changes nothing (RFC 5321 3.6.3), but for what claims to be found out by us
//! 2. a Received line in front (RFC 5321 4.4); too many of them are a loop (RFC 5321 6.3)
//! 3. the rest goes on as it comes; no more of it is held in memory
//! 4. commit; what a filter sets aside goes to hold/ in the same steps, past new/

mod own;
mod recipients;
mod refused;

use std::net::IpAddr;

pub use self::own::{client, envelope, own_address};
pub use self::refused::Refused;
use super::collapse::{Collapse, First, Kept};
use super::identity::Identity;
use super::judge::{self, Inspection};
use super::milter::{self, Passage, Verdict};
use super::{Context, direct};
use crate::error::Error;
use crate::events;
use crate::host::accounts::Account;
use crate::host::spool::{Claim, Draft};
use crate::proto::envelope::{Envelope, Notify};
use crate::proto::header::Header;
use crate::proto::header_reader::{HeaderReader, HeaderTooBig};
use crate::proto::header_sieve::HeaderSieve;
use crate::proto::header_watch::HeaderWatch;
use crate::proto::results;

/// The longest header, in octets. Whoever delivers holds it in memory, and no mail program writes a tenth of it.
const MAX_HEADER: usize = 1024 * 1024;

/// The longest header of a stranger's message that is judged, and held for it. Many servers take no more than 100 KiB.
const MAX_JUDGED: usize = 256 * 1024;

/// Where a message comes from, which decides what is done to it.
#[derive(Debug, Clone)]
pub enum Origin {
    /// A program of this user, by `sendmail` or `-bs`: its header is completed.
    Local(Account),
    /// Somebody who submits (RFC 6409): its header is completed.
    Submitter(Peer),
    /// Anybody else: a Received line is added.
    Client(Peer),
}

/// What is known of a client of the network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peer {
    /// Its address; `None`: a socket of this system.
    pub address: Option<IpAddr>,
    /// What it calls itself.
    pub helo: String,
    /// What the reverse look-up says, if it was confirmed.
    pub name: Option<String>,
    /// Version and cipher, when the connection is encrypted.
    pub tls: Option<String>,
}

/// A message that is safe, and those of its recipients that are no addresses, each with the reason.
#[derive(Debug)]
pub struct Accepted {
    /// The message, still ours alone.
    pub claim: Claim,
    /// By index into the envelope's recipients.
    pub bad: Vec<(usize, String)>,
    /// What becomes of it because of what it repeats.
    pub repeats: Repeats,
    /// Why it was set aside.
    pub held: Option<String>,
}

/// Whether a message repeats another (`[submit] collapse`).
#[derive(Debug)]
pub enum Repeats {
    /// Nobody has looked.
    Unknown,
    /// It says something new, and what repeats it may wait.
    New(First),
    /// It is on the disk, and is not to be tried before it is due.
    Waits,
}

/// A message on its way into the spool.
pub struct Intake<'a> {
    pub(super) context: &'a Context,
    origin: Origin,
    pub(super) envelope: Envelope,
    /// `-t`: recipients from the header as well.
    pub(super) extract: bool,
    /// DSN wishes for recipients from the header.
    pub(super) notify: Option<Notify>,
    /// The name for a From field that must be made.
    pub(super) full_name: Option<String>,
    /// What is no address, and the sentence about it.
    pub(super) bad: Vec<(String, String)>,
    /// The user who has logged in to send it.
    pub(super) identity: Option<Identity>,
    /// Mail that repeats itself is to be held back.
    pub(super) collapse: bool,
    stage: Stage,
    /// Looks whether it does.
    repeats: Option<Collapse<'a>>,
    /// Looks at what a stranger sends.
    inspection: Option<Inspection<'a>>,
    /// The filters that see it.
    passage: Option<Passage>,
    /// What they may change: it is written when the message has ended, with what stands before it.
    top: Option<(Vec<u8>, Header)>,
    /// Octets of the message so far, without what was added.
    size: u64,
    message_id: String,
}

enum Stage {
    /// The header comes, and is to be completed.
    Header(HeaderReader),
    /// The message comes, and only its header is looked at.
    Passing(Draft, HeaderWatch, Option<HeaderSieve>),
    /// The body comes.
    Body(Draft),
    /// Something was refused: nothing more is taken.
    Ended,
}

impl<'a> Intake<'a> {
    /// A message with this envelope.
    ///
    /// # Errors
    /// Those of the spool.
    pub fn new(
        context: &'a Context,
        origin: Origin,
        envelope: Envelope,
        inspection: Option<Inspection<'a>>,
        passage: Option<Passage>,
    ) -> Result<Self, Refused> {
        let is_strangers = matches!(origin, Origin::Client(_));
        let is_seen = inspection.is_some() || passage.is_some();
        let full_name = match &origin {
            Origin::Local(account) => account.full_name.clone(),
            _ => None,
        };
        let mut intake = Self {
            context,
            origin,
            envelope,
            extract: false,
            notify: None,
            full_name,
            bad: Vec::new(),
            identity: None,
            collapse: false,
            repeats: None,
            stage: Stage::Header(HeaderReader::new(match is_strangers && is_seen {
                true => MAX_JUDGED,
                false => MAX_HEADER,
            })),
            inspection,
            passage,
            top: None,
            size: 0,
            message_id: String::new(),
        };
        if is_strangers && !is_seen {
            let mut draft = intake.begin()?;
            let trace = intake.trace(&draft.id);
            draft.write(&trace)?;
            let sieve =
                (!intake.may_judge()).then(|| HeaderSieve::new(context.config.hostname.as_str()));
            intake.stage = Stage::Passing(draft, HeaderWatch::default(), sieve);
        }
        Ok(intake)
    }

    /// Takes canonical text, cut anywhere.
    ///
    /// # Errors
    /// [`Refused`]; nothing is kept then.
    pub fn write(&mut self, canonical: &[u8]) -> Result<(), Refused> {
        let taken = self.take(canonical);
        if taken.is_err() {
            self.stage = Stage::Ended;
        }
        taken
    }

    fn take(&mut self, canonical: &[u8]) -> Result<(), Refused> {
        self.size = self.size.saturating_add(canonical.len() as u64);
        let limit = self.context.config.limits.message_size;
        if self.size > limit {
            return Err(Refused::TooBig(format!(
                "the message is longer than the {limit} octets that [limits] message_size allows"
            )));
        }
        match &mut self.stage {
            Stage::Header(reader) => {
                let Some(taken) = reader.push(canonical).map_err(header_too_big)? else {
                    return Ok(());
                };
                let body = canonical.get(taken..).unwrap_or_default();
                self.end_of_header()?;
                self.take_body(body)
            }
            Stage::Passing(draft, watch, sieve) => {
                watch.feed(canonical);
                if watch.octets() > MAX_HEADER {
                    return Err(header_too_big(HeaderTooBig(MAX_HEADER)));
                }
                let hops = watch.hops();
                match sieve {
                    Some(sieve) => draft.write(&sieve.feed(canonical))?,
                    None => draft.write(canonical)?,
                }
                self.check_hops(hops)
            }
            Stage::Body(_) => self.take_body(canonical),
            Stage::Ended => Err(ended()),
        }
    }

    fn take_body(&mut self, octets: &[u8]) -> Result<(), Refused> {
        if let Some(inspection) = &mut self.inspection {
            inspection.feed(octets);
        }
        if let Some(repeats) = &mut self.repeats {
            repeats.feed(octets);
        }
        if let Some(passage) = &mut self.passage {
            passage.feed(octets).map_err(Refused::Judged)?;
        }
        match &mut self.stage {
            Stage::Body(draft) => Ok(draft.write(octets)?),
            _ => Err(ended()),
        }
    }

    /// Recipients are known, so the draft can begin; what the header lacks is made.
    fn end_of_header(&mut self) -> Result<(), Refused> {
        let Stage::Header(reader) = std::mem::replace(&mut self.stage, Stage::Ended) else {
            return Err(ended());
        };
        let (mut header, rest) = reader.finish();
        if self.extract {
            self.add(header.recipients(&self.context.config.hostname));
            self.check_recipients(Some(&header))?;
        }
        self.check_hops(header.hops())?;
        if let Some(identity) = &self.identity {
            let written = identity.may_write(&self.context.config, &mut header);
            written.map_err(|reply| Refused::NotHis(reply, identity.user().to_owned()))?;
        }
        if matches!(self.origin, Origin::Local(_)) {
            self.keep_bad();
        }
        if header.get(results::FIELD).is_some() && !self.may_judge() {
            results::strip_forged(&mut header, self.context.config.hostname.as_str());
        }
        let mut draft = self.begin()?;
        let mut room = 0;
        if let Some(inspection) = &mut self.inspection {
            inspection.header(&header);
            inspection.feed(&rest);
            room = judge::ROOM;
        } else if !matches!(self.origin, Origin::Client(_)) {
            let id = format!("<{}@{}>", draft.id, self.context.config.hostname);
            self.complete(&mut header, &id)?;
        }
        self.message_id = message_id(&header);
        let mut trace = self.trace(&draft.id);
        if self.collapse && self.bad.is_empty() {
            let first = std::mem::take(&mut trace);
            let envelope = &self.envelope;
            let mut repeats = Collapse::new(self.context, envelope, &mut header, first, &mut draft);
            repeats.feed(&rest);
            self.repeats = Some(repeats);
        }
        let mut text = trace.clone();
        header.write(&mut text);
        if let Some(passage) = &mut self.passage {
            let shown = passage.header(&draft.id, &header);
            let shown = shown.and_then(|()| passage.feed(&rest));
            shown.map_err(Refused::Judged)?;
            room += text.len() + milter::ROOM;
            text.clear();
            self.top = Some((trace, header));
        }
        if room > 0 {
            draft.leave_room(room);
        }
        text.extend_from_slice(&rest);
        draft.write(&text)?;
        self.stage = Stage::Body(draft);
        Ok(())
    }

    /// Whether what it says in our name of how it was judged may be ours: a filter has it from us, and brings it back by
    /// LMTP or as a service of this machine (RFC 8601 5).
    fn may_judge(&self) -> bool {
        match &self.origin {
            Origin::Local(account) => !account.is_person(),
            _ => self.envelope.protocol.contains("LMTP"),
        }
    }

    fn begin(&mut self) -> Result<Draft, Refused> {
        let envelope = &mut self.envelope;
        let sender = envelope.sender.mailbox();
        envelope.smtputf8 |= sender.is_some_and(|m| !m.is_ascii())
            || envelope.recipients.iter().any(|r| !r.address.is_ascii());
        let mut draft = self.context.spool.begin(envelope)?;
        if direct::is_wanted(self.context) {
            draft.hold(direct::MOST);
        }
        Ok(draft)
    }

    fn check_hops(&self, hops: usize) -> Result<(), Refused> {
        if hops > self.context.config.limits.hops {
            return Err(Refused::Loop(format!(
                "the message has passed {hops} servers; it runs in a loop"
            )));
        }
        Ok(())
    }

    /// The message has ended: makes it safe.
    ///
    /// # Errors
    /// As for [`Intake::write`]; nothing is kept then.
    pub fn commit(self) -> Result<Accepted, Refused> {
        self.end(true)
    }

    /// The message has ended: a short one may be nowhere but in memory. Whoever gets it must see to it that it is
    /// delivered or stored before anything is promised.
    ///
    /// # Errors
    /// As for [`Intake::write`]; nothing is kept then.
    pub fn finish(self) -> Result<Accepted, Refused> {
        self.end(false)
    }

    fn end(mut self, store: bool) -> Result<Accepted, Refused> {
        if matches!(self.stage, Stage::Header(_)) {
            self.end_of_header()?;
        }
        let (mut draft, message_id) = match std::mem::replace(&mut self.stage, Stage::Ended) {
            Stage::Passing(mut draft, watch, sieve) => {
                draft.write(&sieve.map(HeaderSieve::finish).unwrap_or_default())?;
                (draft, watch.message_id().to_owned())
            }
            Stage::Body(draft) => (draft, std::mem::take(&mut self.message_id)),
            Stage::Header(_) | Stage::Ended => return Err(ended()),
        };
        let held = self.write_front(&mut draft)?;
        let (claim, repeats) = match self.repeats.take() {
            None => (draft.keep()?, Repeats::Unknown),
            Some(repeats) => match repeats.finish(draft)? {
                Kept::Goes(claim, first) => (claim, Repeats::New(first)),
                Kept::Waits(claim) => (claim, Repeats::Waits),
            },
        };
        match held {
            Some(_) => claim.hold()?,
            None if store || !claim.is_short() => claim.store()?,
            None => {}
        }
        let tell = if claim.is_stored() {
            events::queued
        } else {
            events::received
        };
        let envelope = claim.envelope();
        tell(&claim.id, &envelope, claim.facts.size, &message_id);
        self.context.ledger.count(|r| r.counts.accepted += 1);
        Ok(Accepted {
            claim,
            bad: self.bad_of(&envelope),
            repeats,
            held,
        })
    }

    /// Puts in front of the message what is known only at its end: how it was judged, and its header as the filters
    /// want it. Returned is why it is to be set aside, if it is.
    fn write_front(&mut self, draft: &mut Draft) -> Result<Option<String>, Refused> {
        let (mut front, mut held, mut envelope) = (Vec::new(), None, None);
        if let Some(inspection) = self.inspection.take() {
            let found = inspection.finish(&draft.id).map_err(Refused::Judged)?;
            front = found.into_bytes();
        }
        if let (Some(passage), Some((trace, mut header))) = (self.passage.take(), self.top.take()) {
            let mut readdressed = self.envelope.clone();
            let most = self.context.config.limits.recipients;
            let verdict = passage.finish(&draft.id, &mut header, &mut readdressed, most);
            match verdict.map_err(Refused::Judged)? {
                Verdict::Taken => {}
                Verdict::Held(reason) => held = Some(reason),
                Verdict::Discarded => return Err(Refused::Discarded(draft.id.clone())),
            }
            front.extend_from_slice(&trace);
            header.write(&mut front);
            envelope = Some(readdressed).filter(|e| *e != self.envelope);
        }
        let needs_room = !front.is_empty();
        if needs_room && !draft.put_in_front(front, envelope) {
            let sentence = "there is no room before the message for what is to stand there";
            return Err(Refused::Other(Error::Internal(sentence.to_owned())));
        }
        Ok(held)
    }

    /// Recipients that are no addresses, by index into the envelope.
    fn bad_of(&self, envelope: &Envelope) -> Vec<(usize, String)> {
        let recipients = &envelope.recipients;
        let index = |text: &String| {
            recipients
                .iter()
                .position(|r| r.address.to_string() == *text)
        };
        let bad = self.bad.iter();
        bad.filter_map(|(text, why)| index(text).map(|i| (i, why.clone())))
            .collect()
    }
}

fn message_id(header: &Header) -> String {
    let field = header.get("Message-ID");
    let text = field.map(|f| String::from_utf8_lossy(f.body()).trim().to_owned());
    text.unwrap_or_default()
}

fn header_too_big(HeaderTooBig(limit): HeaderTooBig) -> Refused {
    Refused::TooBig(format!(
        "the header of the message is longer than {} KiB",
        limit / 1024
    ))
}

fn ended() -> Refused {
    Refused::Other(Error::Internal(
        "a message went on after its end".to_owned(),
    ))
}
