//! `sendmail -bs`: an SMTP session on standard input and output, for programs that prefer to speak it (alpine,
//! Symfony, Laravel) and for inetd. The client is the user who runs this process, no more and no less: he may send
//! anywhere, and his messages are completed as those of `sendmail` are.

use std::fs::File;
use std::os::fd::AsFd;

use super::intake::Refused;
use super::receive::{Duplex, serve};
use super::sink::{Sink, Speaker};
use super::{Context, deliver, queue};
use crate::cli::{Delivery, Invocation};
use crate::error::{Error, Result};
use crate::host::accounts;
use crate::host::spool::{Claim, Folder, Item};
use crate::host::words;
use crate::proto::authenticate::Credentials;
use crate::proto::envelope::Recipient;
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
    let mut accepted = Vec::new();
    let mut keep = |claim: Claim| {
        accepted.push(Item {
            id: claim.id,
            folder: Folder::New,
            due: 0,
        });
    };
    let mut sink = Sink::new(context, Speaker::Own(accounts::caller()), &mut keep);
    let ended = serve(
        &mut Duplex { input, output },
        &mut session,
        &mut Trust { context },
        &mut sink,
    );
    if call.delivery != Delivery::Queue {
        let background = call.delivery == Delivery::Background && !context.verbose;
        queue::first_attempt(context, None, accepted, background);
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
        let room = self.context.spool.has_room(octets);
        room.map_err(|error| Refused::from(error).reply(true))
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
