//! `sendmail -bs`: an SMTP session on standard input and output, for programs that prefer to speak it (alpine,
//! Symfony, Laravel) and for inetd. The client is the user who runs this process, no more and no less: he may send
//! anywhere, and his messages are completed as those of `sendmail` are.

use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsFd;

use super::access::{Access, Kind};
use super::receive::{Accept, Duplex, serve};
use super::submit::{Intake, envelope};
use super::{Context, queue};
use crate::cli::{Delivery, Invocation};
use crate::error::{Error, Result};
use crate::events;
use crate::host::accounts::{self, Account};
use crate::host::spool::{Folder, Item};
use crate::host::wire::client_of_standard_input;
use crate::host::words;
use crate::proto::envelope::Envelope;
use crate::proto::replies::{self, Reply};
use crate::proto::session::Session;
use crate::proto::transaction::Transaction;

/// Holds the session; what it accepted is tried when it has ended.
///
/// # Errors
/// `Io` when standard input or output fails; what was accepted until then is safe.
pub fn run(context: &Context, call: &Invocation) -> Result<()> {
    let config = &context.config;
    let access = Access::new(config);
    let (kind, peer) = client();
    let mut session = Session::new(access.settings(context, kind, false, peer));
    let owned = |stream: std::io::Result<_>| stream.map(File::from);
    let input = owned(std::io::stdin().as_fd().try_clone_to_owned()).map_err(|e| unusable(&e))?;
    let output = owned(std::io::stdout().as_fd().try_clone_to_owned()).map_err(|e| unusable(&e))?;
    let mut sink = Sink {
        context,
        caller: accounts::caller(),
        intake: None,
        accepted: Vec::new(),
    };
    let ended = serve(
        &mut Duplex { input, output },
        &mut session,
        &mut access.guest(context, kind, peer),
        &mut sink,
    );
    if call.delivery != Delivery::Queue {
        let background = call.delivery == Delivery::Background && !context.verbose;
        queue::first_attempt(context, None, sink.accepted, background);
    }
    ended.map(drop).map_err(|e| unusable(&e))
}

/// Who speaks: the user who runs this process; or, when standard input is a connection, whoever is at its other
/// end, who is nobody in particular.
fn client() -> (Kind, Option<IpAddr>) {
    match client_of_standard_input() {
        Some(address) => (Kind::Smtp, Some(address.ip())),
        None => (Kind::Stdio, None),
    }
}

fn unusable(error: &std::io::Error) -> Error {
    Error::Io(format!(
        "the SMTP session on standard input and output broke off: {}",
        words(error)
    ))
}

/// Lets messages into the spool.
struct Sink<'a> {
    context: &'a Context,
    caller: Account,
    intake: Option<Intake<'a>>,
    accepted: Vec<Item>,
}

impl Accept for Sink<'_> {
    fn begin(&mut self, transaction: &Transaction) -> Result<(), Reply> {
        let own = envelope(&self.caller, transaction.sender.clone());
        let given = transaction.envelope(own.received_at, &own.client);
        let envelope = Envelope {
            protocol: transaction.protocol(),
            ..given
        };
        self.intake = Some(Intake::new(self.context, self.caller.clone(), envelope));
        Ok(())
    }

    fn write(&mut self, octets: &[u8]) -> Result<(), Reply> {
        self.intake
            .as_mut()
            .map_or(Ok(()), |intake| intake.write(octets))
            .map_err(|e| refuse(&e))
    }

    fn commit(&mut self) -> Result<String, Reply> {
        let Some(intake) = self.intake.take() else {
            return Err(replies::CANNOT_STORE);
        };
        let claim = intake.commit().map_err(|e| refuse(&e))?.claim;
        self.accepted.push(Item {
            id: claim.id.clone(),
            folder: Folder::New,
            due: 0,
        });
        Ok(claim.id)
    }

    fn abort(&mut self) {
        self.intake = None;
    }
}

/// The reply for a fault of the spool or of the message.
fn refuse(error: &Error) -> Reply {
    events::rejected("local", &"", error);
    match error {
        Error::Data(why) if why.contains("loop") => replies::TOO_MANY_HOPS,
        Error::Data(why) => replies::TOO_BIG.with_text(why.clone()),
        _ => replies::NO_SPACE.with_text(error.to_string()),
    }
}
