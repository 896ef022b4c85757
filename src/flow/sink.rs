//! What a session accepts goes into the spool, or straight through: one transaction after the other becomes an
//! [`Intake`], and what is left to be done goes to whoever delivers.

use std::fmt::Display;

use super::defence::{Place, Quota};
use super::direct::Straight;
use super::identity::Identity;
use super::intake::{Intake, Origin, Peer, Refused};
use super::judge::Judge;
use super::milter::Filters;
use super::receive::Accept;
use super::{Context, intake};
use crate::events;
use crate::host::accounts::Account;
use crate::host::clock;
use crate::host::spool::Claim;
use crate::host::users::Users;
use crate::proto::command::Step;
use crate::proto::replies::{self, Reply};
use crate::proto::transaction::Transaction;

/// Who speaks in a session.
#[derive(Debug, Clone)]
pub enum Speaker {
    /// A program of this user.
    Own(Account),
    /// A client of the network. Whether what it sends is completed: it is when it comes by a submission service,
    /// and when its user has authenticated.
    Client {
        /// What is known of it.
        peer: Peer,
        /// Whether it submits.
        submits: bool,
    },
}

/// What a session leaves to be done.
#[derive(Debug)]
pub enum Left {
    /// A message to be tried, still ours alone.
    Message(Box<Claim>),
    /// A report to be tried, by its queue id.
    Report(String),
    /// A message was tried and deferred until then.
    Due(i64),
}

/// Lets the messages of a session in.
pub struct Sink<'a> {
    context: &'a Context,
    /// Who speaks; what is known of him grows in a session.
    pub speaker: Speaker,
    /// Who judges what a stranger sends.
    pub judge: Option<&'a Judge<'a>>,
    /// The filters that see what comes.
    pub filters: Option<&'a Filters<'a>>,
    /// The users, where clients log in.
    pub users: Option<&'a Users>,
    /// Of the message that comes, or came last.
    sender: String,
    /// How many messages may come, if there is a bound.
    pub quota: Option<Quota<'a>>,
    /// The one that comes is among them.
    place: Option<Place<'a>>,
    /// Large, and not there while nothing comes.
    intake: Option<Box<Intake<'a>>>,
    /// The way past the spool.
    straight: Option<Straight<'a>>,
    /// Gets what is left to be done.
    leave: &'a mut dyn FnMut(Left),
}

impl<'a> Sink<'a> {
    /// For one session.
    pub fn new(
        context: &'a Context,
        speaker: Speaker,
        straight: Option<Straight<'a>>,
        leave: &'a mut dyn FnMut(Left),
    ) -> Self {
        Self {
            context,
            speaker,
            judge: None,
            filters: None,
            users: None,
            sender: String::new(),
            quota: None,
            place: None,
            intake: None,
            straight,
            leave,
        }
    }

    /// Where the client is, as envelopes and the log have it.
    fn client(&self) -> String {
        match &self.speaker {
            Speaker::Own(account) => intake::client(account.uid),
            Speaker::Client { peer, .. } => peer
                .address
                .map_or("local".to_owned(), |a| a.to_canonical().to_string()),
        }
    }

    fn origin(&self, transaction: &Transaction) -> Origin {
        match &self.speaker {
            Speaker::Own(account) => Origin::Local(account.clone()),
            Speaker::Client { peer, submits } => {
                let peer = Peer {
                    helo: transaction.client.name.as_str().to_owned(),
                    ..peer.clone()
                };
                if *submits || transaction.client.user.is_some() {
                    Origin::Submitter(peer)
                } else {
                    Origin::Client(peer)
                }
            }
        }
    }

    /// The user who sends, if he has logged in.
    fn identity(&self, transaction: &Transaction) -> Result<Option<Identity>, Reply> {
        let user = self.users.zip(transaction.client.user.as_deref());
        let identity = user.map(|(users, user)| Identity::new(users, user));
        identity.transpose().map_err(|why| {
            self.tell(Step::Data, &format!("{}: {why}", replies::CANNOT_LOOK_UP));
            replies::CANNOT_LOOK_UP
        })
    }

    /// A place for a message among those that may come.
    fn place(&self, transaction: &Transaction) -> Result<Option<Place<'a>>, Reply> {
        let Some(quota) = self.quota else {
            return Ok(None);
        };
        let place = quota.take(transaction);
        place.inspect_err(|reply| self.tell(Step::Data, reply))
    }

    /// Makes the message that has come safe, and leaves it to whoever delivers.
    fn take(&mut self) -> Result<String, Reply> {
        let Some(intake) = self.intake.take() else {
            return Err(replies::CANNOT_STORE);
        };
        let taken = match &self.straight {
            Some(_) => intake.finish(),
            None => intake.commit(),
        };
        let accepted = match taken {
            Err(Refused::Discarded(id)) => return Ok(id),
            taken => taken.map_err(|refused| self.refuse(Step::Text, &refused))?,
        };
        let claim = accepted.claim;
        let id = claim.id.clone();
        if let Some(reason) = accepted.held {
            events::held(&id, &format!("the filter {reason}"));
            return Ok(id);
        }
        match &mut self.straight {
            Some(straight) => {
                let passed = straight.pass(claim, self.leave);
                passed.map_err(|error| self.refuse(Step::Text, &error.into()))?;
            }
            None => (self.leave)(Left::Message(Box::new(claim))),
        }
        Ok(id)
    }

    fn refuse(&self, step: Step, refused: &Refused) -> Reply {
        let error = match refused {
            Refused::TooBig(sentence) | Refused::Loop(sentence) => sentence.clone(),
            Refused::Other(error) => error.to_string(),
            Refused::NotHis(_, user) => format!("user {user}"),
            // It was told already, with more.
            Refused::Judged(reply) => {
                self.context.ledger.count(|r| r.counts.rejected += 1);
                return reply.clone();
            }
            Refused::Discarded(_) => return replies::OK,
        };
        self.tell(step, &format!("{}: {error}", refused.reply(false)));
        refused.reply(matches!(self.speaker, Speaker::Own(_)))
    }

    fn tell(&self, step: Step, reason: &dyn Display) {
        let client = self.client();
        self.context.rejected(&client, step, &self.sender, reason);
    }
}

impl Accept for Sink<'_> {
    fn begin(&mut self, transaction: &Transaction) -> Result<(), Reply> {
        self.sender = transaction.sender.to_string();
        let identity = self.identity(transaction)?;
        let place = self.place(transaction)?;
        let envelope = transaction.envelope(clock::now(), &self.client());
        let mut origin = self.origin(transaction);
        let inspection = match (&mut origin, self.judge) {
            (Origin::Client(peer), Some(judge)) => {
                peer.name = judge.name();
                Some(judge.inspect(transaction))
            }
            _ => None,
        };
        let passage = self.filters.map(|filters| filters.take(transaction));
        let intake = Intake::new(self.context, origin, envelope, inspection, passage);
        let mut intake = intake.map_err(|refused| self.refuse(Step::Data, &refused))?;
        intake.identity = identity;
        self.intake = Some(Box::new(intake));
        self.place = place;
        Ok(())
    }

    fn write(&mut self, octets: &[u8]) -> Result<(), Reply> {
        let Some(intake) = &mut self.intake else {
            return Err(replies::CANNOT_STORE);
        };
        let written = intake.write(octets);
        written.map_err(|refused| self.refuse(Step::Text, &refused))
    }

    fn refused(&mut self, reply: &Reply) {
        self.tell(Step::Text, reply);
    }

    fn commit(&mut self) -> Result<String, Reply> {
        let place = self.place.take();
        let id = self.take()?;
        if let Some(place) = place {
            place.keep();
        }
        Ok(id)
    }

    fn abort(&mut self) {
        self.intake = None;
        self.place = None;
    }
}

impl Drop for Sink<'_> {
    fn drop(&mut self) {
        if let Some(straight) = &mut self.straight {
            straight.close();
        }
    }
}
