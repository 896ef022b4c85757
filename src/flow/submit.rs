//! `sendmail`: a message on standard input becomes a message in the spool.
//!
//! 1. read the header; recipients from it (`-t`) and from the command line; what is missing is made, Bcc goes
//! 2. stream the rest into the spool's draft, to the end of standard input: no network, no lock on the queue
//! 3. commit: from here on the mail is safe, and the exit code is 0
//! 4. report the recipients that are no addresses; try the others, in the background unless told otherwise
//!
//! A bad recipient among good ones does not stop the message: it is named on standard error and in a report to
//! the sender. With no good recipient nothing is kept.

use std::io::{BufRead, BufReader};

use super::{Context, deliver, queue, settle};
use crate::cli::{Delivery, Invocation, complain};
use crate::error::{Error, Result};
use crate::events;
use crate::host::accounts::{self, Account};
use crate::host::spool::{Claim, Draft, Folder, Item};
use crate::host::{clock, words};
use crate::proto::address::{Mailbox, ReversePath};
use crate::proto::data::LocalText;
use crate::proto::date::Stamp;
use crate::proto::envelope::{Envelope, Notify, Outcome, Recipient, Verdict, one_line};
use crate::proto::fields::{Origin, Trace, received};
use crate::proto::header::{Field, Found, Header, Made};
use crate::proto::header_reader::HeaderReader;
use crate::proto::reply::Enhanced;
use crate::proto::route::Hop;
use crate::proto::xtext;

/// Octets read from standard input at a time.
const BLOCK: usize = 32 * 1024;
/// The longest header, in octets. It is held in memory, and no mail program writes a tenth of it.
const MAX_HEADER: usize = 1024 * 1024;

/// Takes the message on standard input.
///
/// # Errors
/// `Usage` for a sender that is none; `Data` without recipients, or for a message over a limit; `NoUser` when no
/// recipient is known; `TempFail` and the like when the spool would not have it. Nothing is kept then.
pub fn run(context: &Context, call: &Invocation) -> Result<()> {
    let mut intake = Intake::from_call(context, call)?;
    // The library's own buffer is smaller and passed by; and memory that is not filled is never touched.
    let mut input = BufReader::with_capacity(BLOCK, std::io::stdin().lock());
    let mut text = LocalText::new(call.dot_ends);
    let mut canonical = Vec::new();
    let mut is_empty = true;
    loop {
        let block = match input.fill_buf() {
            Ok(block) => block,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => {
                let why = words(&e);
                return Err(Error::Io(format!(
                    "cannot read the message on standard input: {why}"
                )));
            }
        };
        let read = block.len();
        // Room for the CRs of lines of eight octets and more, at once: growing would copy.
        canonical.reserve(read + read / 8);
        let ended = read == 0 || text.feed(block, &mut canonical).ended;
        input.consume(read);
        is_empty &= read == 0;
        if read == 0 {
            text.finish(&mut canonical);
        }
        intake.write(&canonical)?;
        canonical.clear();
        if ended {
            break;
        }
    }
    if is_empty {
        return Err(Error::Data(
            "standard input is empty: there is no message to send".to_owned(),
        ));
    }
    if text.nuls() > 0 {
        complain(
            &context.program,
            &format!("{} NUL octets were left out of the message", text.nuls()),
        );
    }
    let accepted = intake.commit()?;
    after(context, call.delivery, accepted);
    Ok(())
}

/// What follows the commit: nothing in it can take back what was promised, so it has no error.
fn after(context: &Context, delivery: Delivery, Accepted { claim, bad }: Accepted) {
    let fail = |(index, why): (usize, String)| {
        (
            index,
            Outcome::new(Verdict::Failed, None, Enhanced(5, 1, 3), "", &why),
        )
    };
    let failed: Vec<(usize, Outcome)> = bad.into_iter().map(fail).collect();
    let reports = if failed.is_empty() {
        Vec::new()
    } else {
        settle::settle(context, &claim, failed)
    };
    if delivery == Delivery::Queue {
        return;
    }
    let background = delivery == Delivery::Background && !context.verbose;
    let reports = reports.into_iter().map(|id| Item {
        id,
        folder: Folder::New,
        due: 0,
    });
    queue::first_attempt(context, Some(claim), reports.collect(), background);
}

/// A message that is safe, and those of its recipients that are no addresses, each with the reason.
#[derive(Debug)]
pub struct Accepted {
    /// The message, still ours alone.
    pub claim: Claim,
    /// By index into the envelope's recipients.
    pub bad: Vec<(usize, String)>,
}

/// A message of a local user on its way into the spool, from `sendmail` or from `-bs`: canonical text goes in, and
/// its header is completed as it passes.
pub struct Intake<'a> {
    context: &'a Context,
    caller: Account,
    envelope: Envelope,
    /// `-t`: recipients from the header as well.
    extract: bool,
    /// DSN wishes for recipients from the header.
    notify: Option<Notify>,
    full_name: Option<String>,
    /// What is no address, and the sentence about it.
    bad: Vec<(String, String)>,
    header: Option<HeaderReader>,
    draft: Option<Draft>,
    message_id: String,
}

impl<'a> Intake<'a> {
    /// For `sendmail`: sender, recipients and DSN wishes from the command line.
    ///
    /// # Errors
    /// `Usage` for a sender that is no address.
    pub fn from_call(context: &'a Context, call: &Invocation) -> Result<Self> {
        let caller = accounts::caller();
        let sender = sender(context, call.sender.as_deref(), &caller)?;
        let mut envelope = envelope(&caller, sender);
        envelope.ret = call.ret;
        envelope.envid = call.envid.as_deref().map(xtext::encode);
        let mut intake = Self::new(context, caller, envelope);
        intake.extract = call.extract;
        intake.notify = call.notify;
        intake.full_name = call.full_name.clone().or(intake.full_name);
        for argument in &call.arguments {
            intake.add_argument(argument);
        }
        if !call.extract {
            // Nothing that the message will say can change this, so nobody has to wait for it.
            intake.check_recipients()?;
        }
        Ok(intake)
    }

    /// With an envelope that is complete.
    pub fn new(context: &'a Context, caller: Account, envelope: Envelope) -> Self {
        Self {
            context,
            full_name: caller.full_name.clone(),
            caller,
            envelope,
            extract: false,
            notify: None,
            bad: Vec::new(),
            header: Some(HeaderReader::new(MAX_HEADER)),
            draft: None,
            message_id: String::new(),
        }
    }

    /// An argument is an address, or a list of them as in a To field.
    fn add_argument(&mut self, argument: &str) {
        if argument.chars().any(char::is_control) {
            let shown = one_line(argument);
            let why = format!("{shown} is not a valid address: it has a control character");
            return self.bad.push((shown, why));
        }
        let mut list = Header::default();
        list.append(Field::made("To", argument));
        let found = list.recipients(&self.context.config.hostname);
        if found == Found::default() {
            self.bad.push((
                argument.to_owned(),
                format!("{argument:?} names no recipient"),
            ));
        }
        self.add(found);
    }

    fn add(&mut self, found: Found) {
        for address in found.good {
            if !self
                .envelope
                .recipients
                .iter()
                .any(|r| r.address == address)
            {
                self.envelope.recipients.push(Recipient {
                    notify: self.notify,
                    ..Recipient::plain(address)
                });
            }
        }
        let sentence = |text: &String, why| format!("{text} is not a valid address: {why}");
        self.bad.extend(
            found
                .bad
                .into_iter()
                .map(|(text, why)| (text.clone(), sentence(&text, why))),
        );
    }

    /// Takes canonical text, cut anywhere.
    ///
    /// # Errors
    /// `Data` over a limit or without recipients; those of the spool.
    pub fn write(&mut self, canonical: &[u8]) -> Result<()> {
        let Some(reader) = &mut self.header else {
            return self.body(canonical);
        };
        let too_big = |_| {
            Error::Data(format!(
                "the header of the message is longer than {} KiB",
                MAX_HEADER / 1024
            ))
        };
        match reader.push(canonical).map_err(too_big)? {
            None => Ok(()),
            Some(taken) => {
                self.end_of_header()?;
                self.body(canonical.get(taken..).unwrap_or_default())
            }
        }
    }

    fn body(&mut self, octets: &[u8]) -> Result<()> {
        let limit = self.context.config.limits.message_size;
        let Some(draft) = &mut self.draft else {
            return Err(Error::Internal("a body came before its header".to_owned()));
        };
        if draft.size().saturating_add(octets.len() as u64) > limit {
            return Err(Error::Data(format!(
                "the message is longer than the {limit} octets that [limits] message_size allows"
            )));
        }
        draft.write(octets)
    }

    /// Recipients are known, so the draft can begin; what the header lacks is made.
    fn end_of_header(&mut self) -> Result<()> {
        let Some(reader) = self.header.take() else {
            return Ok(());
        };
        let (mut header, rest) = reader.finish();
        let host = &self.context.config.hostname;
        if self.extract {
            self.add(header.recipients(host));
            self.check_recipients()?;
        }
        let hops = header.hops();
        if hops > self.context.config.limits.hops {
            return Err(Error::Data(format!(
                "the message has passed {hops} servers; it runs in a loop"
            )));
        }
        self.keep_bad();
        self.envelope.smtputf8 |= self
            .envelope
            .recipients
            .iter()
            .any(|r| !r.address.is_ascii())
            || self
                .envelope
                .sender
                .mailbox()
                .is_some_and(|m| !m.is_ascii());
        let draft = self.context.spool.begin(&self.envelope)?;
        let id = format!("<{}@{host}>", draft.id);
        self.complete(&mut header, &id)?;
        let mut text = self.trace(&draft.id);
        header.write(&mut text);
        text.extend_from_slice(&rest);
        let message_id = header
            .get("Message-ID")
            .map(|f| String::from_utf8_lossy(f.body()).trim().to_owned());
        self.message_id = message_id.unwrap_or_default();
        self.draft = Some(draft);
        self.body(&text)
    }

    /// Whether there is anybody to send to.
    fn check_recipients(&self) -> Result<()> {
        let limit = self.context.config.limits.recipients;
        let recipients = &self.envelope.recipients;
        match (recipients.len(), self.bad.first()) {
            (0, Some((_, why))) => Err(Error::Data(why.clone())),
            (0, None) if self.extract => Err(Error::Data(
                "no recipients: none on the command line, none in To, Cc or Bcc".to_owned(),
            )),
            (0, None) => Err(Error::Usage(
                "no recipients: name them, or use -t to take them from the header".to_owned(),
            )),
            (n, _) if n > limit => Err(Error::Data(format!(
                "{n} recipients are more than the {limit} that [limits] recipients allows"
            ))),
            // A user who does not exist is no reason to refuse the others; but alone, he is.
            _ if self.bad.is_empty() && recipients.iter().all(|r| self.is_unknown(&r.address)) => {
                let names: Vec<&str> = recipients.iter().map(|r| r.address.local()).collect();
                Err(Error::NoUser(format!(
                    "there is no user {} here",
                    names.join(", ")
                )))
            }
            _ => Ok(()),
        }
    }

    fn is_unknown(&self, address: &Mailbox) -> bool {
        queue::hop(self.context, address) == Hop::Local
            && matches!(deliver::account(self.context, address), Ok(None))
    }

    /// What is no address is named on standard error, and kept as a recipient that fails, so that its report takes
    /// the way of all reports.
    fn keep_bad(&mut self) {
        for (text, why) in &mut self.bad {
            complain(&self.context.program, why);
            if let Ok(address) = Mailbox::new(one_line(text), self.context.config.hostname.clone())
            {
                *text = address.to_string();
                self.envelope.recipients.push(Recipient {
                    notify: self.notify,
                    ..Recipient::plain(address)
                });
            }
        }
        for recipient in &self.envelope.recipients {
            let is_bad = self
                .bad
                .iter()
                .any(|(text, _)| *text == recipient.address.to_string());
            if !is_bad && self.is_unknown(&recipient.address) {
                complain(
                    &self.context.program,
                    &format!("there is no user {} here", recipient.address.local()),
                );
            }
        }
    }

    fn complete(&self, header: &mut Header, id: &str) -> Result<()> {
        let config = &self.context.config;
        let from = match self.envelope.sender.mailbox() {
            Some(mailbox) => mailbox.clone(),
            None => own_address(self.context, &self.caller)?,
        };
        // Whoever has written a date needs none in our zone, and the zone file is not read for it.
        let has_date = header
            .get("Date")
            .is_some_and(|f| !f.body().trim_ascii().is_empty());
        let at = self.envelope.received_at;
        let date = if has_date {
            Stamp::utc(at)
        } else {
            clock::local(at)
        };
        let is_bad = |address: &Mailbox| {
            self.bad
                .iter()
                .any(|(text, _)| *text == address.to_string())
        };
        let recipients: Vec<Mailbox> = self
            .envelope
            .recipients
            .iter()
            .map(|r| r.address.clone())
            .filter(|a| !is_bad(a))
            .collect();
        header.complete(&Made {
            date,
            message_id: id,
            from: &from,
            full_name: self.full_name.as_deref(),
            recipients: &recipients,
        });
        header.strip_bcc();
        if config.rewrite.add_domain {
            header.qualify(&config.hostname);
        }
        Ok(())
    }

    fn trace(&self, id: &str) -> Vec<u8> {
        let only_recipient = match self.envelope.recipients.as_slice() {
            [only] => Some(&only.address),
            _ => None,
        };
        received(&Trace {
            origin: Origin::Local {
                uid: self.caller.uid,
                user: Some(&self.caller.name),
            },
            by: &self.context.config.hostname,
            id,
            only_recipient,
            date: Stamp::utc(self.envelope.received_at),
        })
    }

    /// The message has ended: makes it safe.
    ///
    /// # Errors
    /// As for [`Intake::write`]; nothing is kept then.
    pub fn commit(mut self) -> Result<Accepted> {
        if self.header.is_some() {
            self.end_of_header()?;
        }
        let Some(draft) = self.draft.take() else {
            return Err(Error::Internal("a message had no header".to_owned()));
        };
        let claim = draft.commit()?;
        events::queued(
            &claim.id,
            &claim.envelope,
            claim.facts.size,
            &self.message_id,
        );
        let recipients = &claim.envelope.recipients;
        let index = |text: &String| {
            recipients
                .iter()
                .position(|r| r.address.to_string() == *text)
        };
        let bad = self
            .bad
            .iter()
            .filter_map(|(text, why)| index(text).map(|i| (i, why.clone())))
            .collect();
        Ok(Accepted { claim, bad })
    }
}

/// An envelope of a local user, with nobody in it yet.
pub fn envelope(caller: &Account, sender: ReversePath) -> Envelope {
    Envelope {
        sender,
        recipients: Vec::new(),
        received_at: clock::now(),
        client: format!("uid {}", caller.uid),
        protocol: "local".to_owned(),
        auth: None,
        smtputf8: false,
        ret: None,
        envid: None,
    }
}

/// The envelope sender: `-f`, or the caller.
fn sender(context: &Context, typed: Option<&str>, caller: &Account) -> Result<ReversePath> {
    let Some(typed) = typed else {
        return own_address(context, caller).map(ReversePath::Mailbox);
    };
    let bare = typed.trim();
    let bare = bare
        .strip_prefix('<')
        .and_then(|t| t.strip_suffix('>'))
        .unwrap_or(bare);
    if bare.is_empty() {
        return Ok(ReversePath::Null);
    }
    let mailbox = Mailbox::qualify(bare, &context.config.hostname);
    mailbox.map(ReversePath::Mailbox).map_err(|why| {
        Error::Usage(format!(
            "the sender {} of -f is not a valid address: {why}",
            one_line(typed)
        ))
    })
}

fn own_address(context: &Context, caller: &Account) -> Result<Mailbox> {
    let made = Mailbox::new(caller.name.clone(), context.config.hostname.clone());
    made.map_err(|why| {
        Error::Os(format!(
            "the user name {} makes no address: {why}",
            one_line(&caller.name)
        ))
    })
}
