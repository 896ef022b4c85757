//! `sendmail -bs`: an SMTP session on standard input and output, for programs that prefer to speak it (alpine,
//! Symfony, Laravel). The client is the user who runs this process, no more and no less: he may send anywhere, and
//! his messages are completed as those of `sendmail` are.
//!
//! He may end his lines with LF alone, if he does so from the first one on. In a session whose lines end with CRLF such an
//! LF is refused as by the daemon: there it is in the text of somebody else, who smuggles commands in behind it
//! (tests/KNOWN.md).
//!
//! When standard input is a connection, as inetd and systemd make it, the client is whoever is at its other end, who
//! is nobody in particular; all is then as with the daemon.

use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;

use super::access::{Access, Kind};
use super::attend::{self, Service};
use super::connections::Connections;
use super::direct::{self, Resting};
use super::receive::{Duplex, Ended, serve};
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
        // It was tried just now.
        Left::Due(_) => queue::have_looked(context),
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
    let input = Lines::of(input);
    let mut stream = Duplex { input, output };
    let ended = serve(&mut stream, &mut session, &mut guest, &mut sink);
    match ended.map_err(|e| unusable(&e))? {
        // Whoever wrote it may believe that it was taken.
        Ended::Gone if session.transaction().is_some() => Err(Error::Data(
            "standard input ended before the message did, which ends with a line of a dot alone; nothing of it was kept"
                .to_owned(),
        )),
        _ => Ok(()),
    }
}

/// The lines of a program of this machine. Where the first one ends with LF alone, each ends with CRLF for whoever reads
/// them here; else they are what they are.
struct Lines<R> {
    inner: R,
    block: Vec<u8>,
    ready: Vec<u8>,
    at: usize,
    after_cr: bool,
    /// Whether the first one ends with CRLF; `None`: it has not ended.
    is_proper: Option<bool>,
}

impl<R> Lines<R> {
    fn of(inner: R) -> Self {
        Self {
            inner,
            block: Vec::new(),
            ready: Vec::new(),
            at: 0,
            after_cr: false,
            is_proper: None,
        }
    }
}

impl<R: Read> Read for Lines<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at == self.ready.len() {
            self.block.resize(out.len(), 0);
            let read = self.inner.read(&mut self.block)?;
            self.ready.clear();
            self.at = 0;
            // read is at most the block's length.
            for &octet in self.block.get(..read).unwrap_or_default() {
                if octet == b'\n' && !*self.is_proper.get_or_insert(self.after_cr) && !self.after_cr
                {
                    self.ready.push(b'\r');
                }
                self.after_cr = octet == b'\r';
                self.ready.push(octet);
            }
        }
        let read = self.ready.get(self.at..).unwrap_or_default().read(out)?;
        self.at += read;
        Ok(read)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_with_crlf_however_they_are_cut() {
        let rows: &[(&[u8], &[u8])] = &[
            (b"", b""),
            (b"a\nb\r\n\n.\n", b"a\r\nb\r\n\r\n.\r\n"),
            (b"\n\n\r\n\n", b"\r\n\r\n\r\n\r\n"),
            // The text of somebody else, handed on by a program whose own lines end as they should.
            (b"a\r\nb\n.\nc\r\n", b"a\r\nb\n.\nc\r\n"),
            (b"\r\r\n\n\r", b"\r\r\n\n\r"),
        ];
        for (text, expected) in rows {
            for cut in 0..=text.len() {
                let (before, after) = text.split_at(cut);
                for room in 1..5 {
                    let mut lines = Lines::of(before.chain(after));
                    let (mut out, mut block) = (Vec::new(), vec![0; room]);
                    while let Ok(n @ 1..) = lines.read(&mut block) {
                        out.extend_from_slice(&block[..n]);
                    }
                    assert_eq!(out, *expected, "{text:?} cut at {cut}, {room} at once");
                }
            }
        }
    }
}
