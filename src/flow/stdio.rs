//! `sendmail -bs`: an SMTP session on standard input and output, for programs that prefer to speak it (alpine,
//! Symfony, Laravel) and for inetd. The client is the user who runs this process, no more and no less: he may send
//! anywhere, and his messages are completed as those of `sendmail` are.

use std::fs::File;
use std::os::fd::AsFd;

use super::receive::{Accept, Duplex, serve};
use super::submit::{Intake, envelope};
use super::{Context, deliver, queue};
use crate::cli::{Delivery, Invocation};
use crate::error::{Error, Result};
use crate::events;
use crate::host::accounts::{self, Account};
use crate::host::spool::{Folder, Item};
use crate::host::words;
use crate::proto::authenticate::Credentials;
use crate::proto::envelope::{Envelope, Recipient};
use crate::proto::replies::{self, Reply};
use crate::proto::route::Hop;
use crate::proto::session::{Policy, Session, Settings};
use crate::proto::transaction::Transaction;

/// Holds the session; what it accepted is tried when it has ended.
///
/// # Errors
/// `Io` when standard input or output fails; what was accepted until then is safe.
pub fn run(context: &Context, call: &Invocation) -> Result<()> {
    let config = &context.config;
    let mut session = Session::new(Settings {
        hostname: config.hostname.clone(),
        lmtp: false,
        qualify: true,
        size_limit: config.limits.message_size,
        smtputf8: true,
        dsn: true,
        starttls: false,
        tls: false,
        tls_required: false,
        mechanisms: Vec::new(),
        auth_in_clear: false,
        auth_required: false,
        max_recipients: config.limits.recipients,
        max_errors: config.limits.errors,
    });
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
        &mut Trust { context },
        &mut sink,
    );
    if call.delivery != Delivery::Queue {
        let background = call.delivery == Delivery::Background && !context.verbose;
        queue::first_attempt(context, None, sink.accepted, background);
    }
    ended.map(drop).map_err(|e| unusable(&e))
}

fn unusable(error: &std::io::Error) -> Error {
    Error::Io(format!(
        "the SMTP session on standard input and output broke off: {}",
        words(error)
    ))
}

/// What a local user may do.
struct Trust<'a> {
    context: &'a Context,
}

impl Policy for Trust<'_> {
    fn space(&mut self, octets: u64) -> Result<(), Reply> {
        self.context.spool.has_room(octets).map_err(|e| refuse(&e))
    }

    fn sender(&mut self, _: &Transaction) -> Result<(), Reply> {
        Ok(())
    }

    fn recipient(&mut self, _: &Transaction, recipient: &Recipient) -> Result<(), Reply> {
        let address = &recipient.address;
        match queue::hop(self.context, address) {
            Hop::Local if matches!(deliver::account(self.context, address), Ok(None)) => {
                Err(replies::NO_SUCH_USER
                    .with_text(format!("there is no user {} here", address.local())))
            }
            _ => Ok(()),
        }
    }

    fn authenticate(&mut self, _: &Credentials) -> Result<(), Reply> {
        Err(replies::AUTH_FAILED)
    }
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
