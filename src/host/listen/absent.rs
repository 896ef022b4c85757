//! Listening in a build without a server: no socket is opened, and none that is handed over is taken.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

pub use super::happening::Event;
use crate::parts::NO_SERVER;

/// The system knows no addresses of this family.
pub const NO_FAMILY: i32 = nix::libc::EAFNOSUPPORT;
/// The system has no such address.
pub const NO_ADDRESS: i32 = nix::libc::EADDRNOTAVAIL;

/// A socket at which clients come in; there is none.
#[derive(Debug)]
pub enum Listener {}

/// Wakes nobody.
#[derive(Debug)]
pub enum Waker {}

/// Waits for nothing.
#[derive(Debug)]
pub enum Watch {}

fn absent<T>() -> io::Result<T> {
    Err(io::Error::new(ErrorKind::Unsupported, NO_SERVER))
}

impl Listener {
    /// Listens at no address.
    ///
    /// # Errors
    /// Always.
    pub fn tcp(_: &SocketAddr) -> io::Result<Self> {
        absent()
    }

    /// Listens at no socket.
    ///
    /// # Errors
    /// Always.
    pub fn unix(_: &Path) -> io::Result<Self> {
        absent()
    }

    /// Takes none.
    ///
    /// # Errors
    /// Always.
    pub fn of(_: OwnedFd) -> io::Result<Self> {
        absent()
    }

    /// Where it listens.
    pub fn address(&self) -> Option<SocketAddr> {
        match *self {}
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match *self {}
    }
}

/// The sockets that were handed over.
///
/// # Errors
/// None: they are left alone.
pub fn inherited() -> io::Result<Vec<(String, Listener)>> {
    Ok(Vec::new())
}

impl Waker {
    /// Wakes who waits.
    ///
    /// # Errors
    /// None: there is no waker.
    pub fn wake(&self) -> io::Result<()> {
        match *self {}
    }
}

#[allow(clippy::needless_pass_by_ref_mut)] // as in the full build
impl Watch {
    /// Refuses.
    ///
    /// # Errors
    /// Always.
    pub fn new(_: Vec<Listener>, _: &File) -> io::Result<(Self, Waker)> {
        absent()
    }

    /// Waits until something happens.
    ///
    /// # Errors
    /// None: there is no watch.
    pub fn wait(&mut self, _: Option<Duration>, _: &mut dyn FnMut(Event)) -> io::Result<()> {
        match *self {}
    }

    /// Takes no more clients.
    pub fn close(&mut self) {
        match *self {}
    }
}
