//! `sendmail -bs`: an SMTP session on standard input and output, for programs that prefer to speak it (alpine,
//! Symfony, Laravel) and for inetd. The client is the user who runs this process, no more and no less: he may send
//! anywhere, and his messages are completed as those of `sendmail` are.

use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsFd;

use super::access::{Access, Kind};
use super::intake::Peer;
use super::receive::{Duplex, serve};
use super::sink::{Sink, Speaker};
use super::{Context, queue};
use crate::cli::{Delivery, Invocation};
use crate::error::{Error, Result};
use crate::host::accounts;
use crate::host::spool::Claim;
use crate::host::wire::client_of_standard_input;
use crate::host::words;
use crate::proto::session::Session;

/// Holds the session; what it accepted is tried when it has ended.
///
/// # Errors
/// `Io` when standard input or output fails; what was accepted until then is safe.
pub fn run(context: &Context, call: &Invocation) -> Result<()> {
    let config = &context.config;
    let access = Access::new(config);
    let (kind, peer) = client();
    let settings = access.settings(context, kind, false, peer);
    let speaker = match kind {
        Kind::Stdio => Speaker::Own(accounts::caller()),
        _ => Speaker::Client {
            peer: Peer {
                address: peer,
                ..Peer::default()
            },
            submits: settings.qualify,
        },
    };
    let mut session = Session::new(settings);
    let owned = |stream: std::io::Result<_>| stream.map(File::from);
    let input = owned(std::io::stdin().as_fd().try_clone_to_owned()).map_err(|e| unusable(&e))?;
    let output = owned(std::io::stdout().as_fd().try_clone_to_owned()).map_err(|e| unusable(&e))?;
    let mut accepted = Vec::new();
    let mut keep = |claim: Claim| accepted.push(queue::fresh(claim.id));
    let mut sink = Sink::new(context, speaker, &mut keep);
    let ended = serve(
        &mut Duplex { input, output },
        &mut session,
        &mut access.guest(context, kind, peer),
        &mut sink,
    );
    if call.delivery != Delivery::Queue {
        let background = call.delivery == Delivery::Background && !context.verbose;
        queue::first_attempt(context, None, accepted, background);
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
