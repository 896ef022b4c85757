//! `sendmail`: a message on standard input becomes a message in the spool.
//!
//! 1. read the header; recipients from it (`-t`) and from the command line; what is missing is made, Bcc goes
//! 2. stream the rest into the spool's draft, to the end of standard input: no network, no lock on the queue
//! 3. commit: from here on the mail is safe, and the exit code is 0
//! 4. report the recipients that are no addresses; try the others, in the background unless told otherwise
//!
//! A bad recipient among good ones does not stop the message: it is named on standard error and in a report to
//! the sender. With no good recipient nothing is kept.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;

use super::{Context, queue};
use crate::cli::{Delivery, Invocation, complain};
use crate::error::{Error, Result};
use crate::events;
use crate::host::spool::{Claim, Draft};
use crate::host::{accounts, clock, words};
use crate::proto::address::{Mailbox, ReversePath};
use crate::proto::data::LocalText;
use crate::proto::envelope::{Envelope, Outcome, Recipient, Verdict};
use crate::proto::header::{self, Header, HeaderReader, Made};
use crate::proto::reply::Enhanced;
use crate::proto::route::{Hop, is_role, route};
use crate::proto::xtext;

/// Octets read from standard input at a time.
const BLOCK: usize = 64 * 1024;
/// The longest header, in octets. It is held in memory, and no mail program writes a tenth of it.
const MAX_HEADER: usize = 1024 * 1024;

/// Takes the message on standard input.
///
/// # Errors
/// `Usage` for a sender that is none; `Data` without recipients, or for a message over a limit; `NoUser` when no
/// recipient is known; `TempFail` and the like when the spool would not have it. Nothing is kept then.
pub fn run(context: &Context, call: &Invocation) -> Result<()> {
    let mut intake = Intake::local(context, call)?;
    let mut input = standard_input()?;
    let mut text = LocalText::new(call.dot_ends);
    let (mut block, mut canonical) = (vec![0; BLOCK], Vec::new());
    loop {
        let n = match input.read(&mut block) {
            Ok(n) => n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(Error::Io(format!("cannot read the message on standard input: {}", words(&e)))),
        };
        // n is at most the block's length.
        let ended = n == 0 || text.feed(&block[..n], &mut canonical).ended;
        if n == 0 {
            text.finish(&mut canonical);
        }
        intake.write(&canonical)?;
        canonical.clear();
        if ended {
            break;
        }
    }
    if text.nuls() > 0 {
        complain(&context.program, &format!("{} NUL octets were left out of the message", text.nuls()));
    }
    let accepted = intake.commit()?;
    after(context, call.delivery, accepted);
    Ok(())
}

/// What follows the commit: nothing in it can take back what was promised, so it has no error.
fn after(context: &Context, delivery: Delivery, accepted: Accepted) {
    let Accepted { claim, bad } = accepted;
    let failed: Vec<(usize, Outcome)> = bad
        .into_iter()
        .map(|(index, why)| (index, Outcome::new(Verdict::Failed, None, Enhanced(5, 1, 3), "", &why)))
        .collect();
    if !failed.is_empty() {
        queue::settle(context, &claim, failed);
    }
    let foreground = context.verbose || delivery == Delivery::Foreground;
    if delivery == Delivery::Queue && !foreground {
        return;
    }
    queue::first_attempt(context, claim, !foreground);
}

/// Standard input, unbuffered: the blocks are ours.
fn standard_input() -> Result<File> {
    let owned = std::io::stdin().as_fd().try_clone_to_owned();
    owned.map(File::from).map_err(|e| Error::Os(format!("cannot use standard input: {}", words(&e))))
}

/// A message that is safe, and those of its recipients that are no addresses, each with the reason.
#[derive(Debug)]
pub struct Accepted {
    /// The message, still ours alone.
    pub claim: Claim,
    /// By index into the envelope's recipients.
    pub bad: Vec<(usize, String)>,
}

/// A message from a local user on its way into the spool, from `sendmail` or from `-bs`: canonical text goes in,
/// the header is completed as it passes.
pub struct Intake<'a> {
    context: &'a Context,
    caller: accounts::Account,
    envelope: Envelope,
    extract: bool,
    full_name: Option<String>,
    /// What is no address, and why.
    bad: Vec<(String, String)>,
    header: Option<HeaderReader>,
    draft: Option<Draft>,
    message_id: Option<String>,
}

impl<'a> Intake<'a> {
    /// For `sendmail`: sender, recipients and DSN wishes from the command line.
    ///
    /// # Errors
    /// `Usage` for a sender that is no address.
    pub fn local(context: &'a Context, call: &Invocation) -> Result<Self> {
        let caller = accounts::caller();
        let sender = sender(context, call.sender.as_deref(), &caller)?;
        let mut intake = Self::new(context, caller, sender, "local");
        intake.extract = call.extract;
        intake.full_name = call.full_name.clone().filter(|n| !n.is_empty());
        intake.envelope.ret = call.ret;
        intake.envelope.envid = call.envid.as_deref().map(xtext::encode);
        for argument in &call.arguments {
            intake.add(header::addresses(argument.as_bytes(), &context.config.hostname));
        }
        for recipient in &mut intake.envelope.recipients {
            recipient.notify = call.notify;
        }
        Ok(intake)
    }

    /// With an envelope that grows recipient by recipient.
    pub fn new(context: &'a Context, caller: accounts::Account, sender: ReversePath, protocol: &str) -> Self {
        let envelope = Envelope {
            sender,
            recipients: Vec::new(),
            received_at: clock::now(),
            client: format!("uid {}", caller.uid),
            protocol: protocol.to_owned(),
            auth: None,
            smtputf8: false,
            ret: None,
            envid: None,
        };
        Self {
            context,
            caller,
            envelope,
            extract: false,
            full_name: None,
            bad: Vec::new(),
            header: Some(HeaderReader::new(MAX_HEADER)),
            draft: None,
            message_id: None,
        }
    }

    /// The envelope, before the message's first octet.
    pub fn envelope(&mut self) -> &mut Envelope {
        &mut self.envelope
    }

    fn add(&mut self, found: header::Found) {
        for address in found.good {
            if !self.envelope.recipients.iter().any(|r| r.address == address) {
                self.envelope.recipients.push(Recipient::plain(address));
            }
        }
        self.bad.extend(found.bad.into_iter().map(|(text, why)| {
            let why = format!("{} is not a valid address: {why}", shown(&text));
            (text, why)
        }));
    }

    /// Takes canonical text, cut anywhere.
    ///
    /// # Errors
    /// `Data` over a limit or without recipients; those of the spool.
    pub fn write(&mut self, canonical: &[u8]) -> Result<()> {
        let Some(reader) = &mut self.header else { return self.body(canonical) };
        let too_big = |_| Error::Data(format!("the message's header is longer than {} KiB", MAX_HEADER / 1024));
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
        let Some(draft) = &mut self.draft else { return Err(Error::Internal("a body came before its header".into())) };
        if draft.size().saturating_add(octets.len() as u64) > limit {
            return Err(Error::Data(format!(
                "the message is longer than {limit} octets, which [limits] message_size allows"
            )));
        }
        draft.write(octets)
    }

    fn end_of_header(&mut self) -> Result<()> {
        let Some(reader) = self.header.take() else { return Ok(()) };
        let (mut header, rest) = reader.finish();
        if self.extract {
            let notify = self.envelope.recipients.first().and_then(|r| r.notify);
            self.add(header.recipients(&self.context.config.hostname));
            self.envelope.recipients.iter_mut().for_each(|r| r.notify = r.notify.or(notify));
        }
        self.check_recipients()?;
        let (mut draft, made) = self.complete(&mut header)?;
        let mut text = made;
        header.write(&mut text);
        text.extend_from_slice(&rest);
        self.message_id = header.get("Message-ID").map(|f| String::from_utf8_lossy(f.body()).trim().to_owned());
        std::mem::swap(self.draft.get_or_insert(draft.renew()), &mut draft);
        self.body(&text)
    }
}
