//! `sendmail -bs`: an SMTP session on standard input and output, for programs that prefer to speak it (alpine,
//! Symfony, Laravel). The client is the user who runs this process, no more and no less: he may send anywhere, and
//! his messages are completed as those of `sendmail` are.
//!
//! When standard input is a connection, as inetd and systemd make it, the client is whoever is at its other end, who
//! is nobody in particular; all is then as with the daemon.

use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;

use super::access::{Access, Kind};
use super::attend::{self, Service};
use super::connections::Connections;
use super::direct::{self, Resting};
use super::receive::{Duplex, serve};
use super::sink::{Left, Sink, Speaker};
use super::{Context, fault, queue};
use crate::cli::{Delivery, Invocation};
use crate::error::{Error, Result};
use crate::host::accounts;
use crate::host::wire::{Socket, on_standard_input};
use crate::host::words;
use crate::proto::session::Session;

/// Holds the session; what it accepted is tried when it has ended.
///
/// # Errors
/// `Io` when standard input or output fails; what was accepted until then is safe.
pub fn run(context: &Context, call: &Invocation) -> Result<()> {
    let mut accepted = Vec::new();
    let mut keep = |left: Left| match left {
        Left::Message(claim) => accepted.push(queue::fresh(claim.id.clone())),
        Left::Report(id) => accepted.push(queue::fresh(id)),
        // Until then nobody has to look.
        Left::Due(_) => {}
    };
    let ended = match on_standard_input() {
        Some((socket, peer)) => {
            stranger(context, socket, peer, &mut keep);
            Ok(())
        }
        None => own(context, call.delivery != Delivery::Queue, &mut keep),
    };
    if call.delivery != Delivery::Queue {
        fault::promised();
        let background = call.delivery == Delivery::Background && !context.verbose;
        queue::first_attempt(context, None, accepted, background);
    }
    ended
}

/// A session of the user who runs this process.
fn own(context: &Context, straight: bool, keep: &mut dyn FnMut(Left)) -> Result<()> {
    let access = Access::new(&context.config);
    let mut session = Session::new(access.settings(context, Kind::Stdio, false, None));
    let owned = |stream: std::io::Result<_>| stream.map(File::from);
    let input = owned(std::io::stdin().as_fd().try_clone_to_owned()).map_err(|e| unusable(&e))?;
    let output = owned(std::io::stdout().as_fd().try_clone_to_owned()).map_err(|e| unusable(&e))?;
    let speaker = Speaker::Own(accounts::caller());
    let resting = Resting::default();
    let passage = straight && direct::is_wanted(context);
    let passage = passage.then(|| direct::Passage::new(context, &resting));
    let outgoing = passage.as_ref().map(direct::Passage::outgoing);
    let ways = passage.as_ref().zip(outgoing.as_ref());
    let straight = ways.map(|(passage, outgoing)| passage.way(outgoing));
    let mut sink = Sink::new(context, speaker, straight, keep);
    let mut guest = access.guest(context, Kind::Stdio, None, None);
    let mut stream = Duplex { input, output };
    let ended = serve(&mut stream, &mut session, &mut guest, &mut sink);
    ended.map(drop).map_err(|e| unusable(&e))
}

/// A session of a client of the network, the only one of this process.
fn stranger(context: &Context, socket: Socket, peer: SocketAddr, keep: &mut dyn FnMut(Left)) {
    let service = Service::new(context.clone());
    let config = &service.context.config;
    let connections = Arc::new(Connections::default());
    let bounds = attend::bounds(config);
    if let Ok(visit) = connections.admit(Arc::new(socket), Some(peer), bounds) {
        attend::attend(&service, &visit, Kind::Smtp, Some(peer), keep);
    }
}

fn unusable(error: &std::io::Error) -> Error {
    Error::Io(format!(
        "the SMTP session on standard input and output broke off: {}",
        words(error)
    ))
}
