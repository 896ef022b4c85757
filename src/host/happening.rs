//! What a daemon wakes up for: the same values for the build that listens (listen.rs) and the one that does not
//! (listen/absent.rs).

use std::io;
use std::net::SocketAddr;

use super::wire::Socket;

/// Something has happened.
// Without a server nothing happens, and whoever would act on it is the same.
#[cfg_attr(not(feature = "server"), allow(dead_code))]
#[derive(Debug)]
pub enum Event {
    /// A client has come in.
    Client {
        /// By which listener.
        listener: usize,
        /// His connection.
        socket: Socket,
        /// His address; `None`: he is on this system.
        peer: Option<SocketAddr>,
    },
    /// Clients cannot be accepted for a moment.
    Trouble(io::Error),
    /// Somebody has pulled the trigger.
    Trigger,
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP.
    Reload,
    /// The waker was used.
    Woken,
}
