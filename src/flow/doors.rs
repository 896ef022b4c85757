//! Where clients come in: the places of the configuration, or the sockets that systemd has opened. Root's process opens
//! them for its worker, which opens for itself those in the file system.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use super::access::Kind;
use crate::config::{Config, Endpoint};
use crate::error::{Error, Result};
use crate::events;
use crate::host::channel::Channel;
use crate::host::holder;
use crate::host::listen::{self, Listener};
use crate::host::words;

/// The last packet of [`Doors::hand_over`]: minimta has opened them, or whoever started it.
const OPENED: &str = "opened";
const HANDED_OVER: &str = "handed-over";

/// Where clients come in.
pub struct Doors {
    /// What is listened at.
    pub listeners: Vec<Listener>,
    /// Of each listener.
    pub kinds: Vec<Kind>,
    /// Where each is, in words.
    places: Vec<String>,
    /// They come from whoever has started this process.
    pub handed_over: bool,
}

impl Doors {
    /// No client comes in.
    pub fn none() -> Self {
        Self {
            listeners: Vec::new(),
            kinds: Vec::new(),
            places: Vec::new(),
            handed_over: false,
        }
    }

    /// Hands them to the worker of this process, which knows its own when the last packet has come.
    ///
    /// # Errors
    /// What the system says.
    pub fn hand_over(&self, line: &Channel) -> io::Result<()> {
        for ((listener, kind), place) in self.listeners.iter().zip(&self.kinds).zip(&self.places) {
            line.send(&format!("{} {place}", kind.name()), Some(listener.as_fd()))?;
        }
        let last = if self.handed_over {
            HANDED_OVER
        } else {
            OPENED
        };
        line.send(last, None)
    }

    /// Takes those that root's process has opened, and opens the others.
    ///
    /// # Errors
    /// As for [`Doors::open`]; `Internal` when what comes is none of ours.
    pub fn take(config: &Config, line: &Channel, listen: bool) -> Result<Self> {
        let broken = |why: &dyn std::fmt::Display| {
            Error::Internal(format!("cannot take over what is listened at: {why}"))
        };
        let mut doors = Self::none();
        loop {
            let packet = line.receive().map_err(|e| broken(&words(&e)))?;
            let packet = packet.ok_or_else(|| broken(&"it broke off"))?;
            match (packet.descriptor, packet.text.split_once(' ')) {
                (Some(descriptor), Some((kind, place))) => {
                    let listener = Listener::of(descriptor).map_err(|e| broken(&words(&e)))?;
                    doors.add(kind_of(kind, listener.address()), listener, &place);
                }
                (None, None) if packet.text == HANDED_OVER => {
                    doors.handed_over = true;
                    return Ok(doors);
                }
                (None, None) if packet.text == OPENED => break,
                _ => return Err(broken(&"a packet is none of ours")),
            }
        }
        if listen {
            doors.open_those(config, &|endpoint| matches!(endpoint, Endpoint::Unix(_)))?;
            doors.check()?;
        }
        Ok(doors)
    }

    /// Opens those of the configuration, or takes those that were handed over; none, unless it is to listen. A worker
    /// opens for itself what stands in the file system, in its own folders.
    ///
    /// # Errors
    /// What the system says against an address, with the remedy.
    pub fn open(config: &Config, listen: bool, for_worker: bool) -> Result<Self> {
        let mut doors = Self::none();
        if !listen {
            return Ok(doors);
        }
        let inherited = listen::inherited().map_err(|e| {
            Error::Config(format!(
                "cannot use the sockets that were handed over (LISTEN_FDS): {}",
                words(&e)
            ))
        })?;
        for (name, listener) in inherited {
            doors.handed_over = true;
            let kind = kind_of(&name, listener.address());
            doors.add(kind, listener, &"a socket handed over");
        }
        if doors.handed_over {
            return Ok(doors);
        }
        doors.open_those(config, &|endpoint| {
            !for_worker || matches!(endpoint, Endpoint::Tcp(_))
        })?;
        if !for_worker {
            doors.check()?;
        }
        Ok(doors)
    }

    fn open_those(&mut self, config: &Config, wanted: &dyn Fn(&Endpoint) -> bool) -> Result<()> {
        let listen = &config.listen;
        for (kind, endpoints) in [
            (Kind::Smtp, &listen.smtp),
            (Kind::Submission, &listen.submission),
            (Kind::Submissions, &listen.submissions),
            (Kind::Lmtp, &listen.lmtp),
        ] {
            for endpoint in endpoints.iter().filter(|e| wanted(e)) {
                self.open_one(kind, endpoint)?;
            }
        }
        Ok(())
    }

    /// Sees that there is one at all.
    fn check(&self) -> Result<()> {
        if self.listeners.is_empty() {
            return Err(Error::Config(
                "there is nothing to listen at; name an address in [listen], or start it with -q15m alone to run only the queue"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    fn open_one(&mut self, kind: Kind, endpoint: &Endpoint) -> Result<()> {
        let opened = match endpoint {
            Endpoint::Tcp(address) => Listener::tcp(address),
            Endpoint::Unix(path) => Listener::unix(path),
        };
        let error = match opened {
            Ok(listener) => {
                self.add(kind, listener, endpoint);
                return Ok(());
            }
            Err(error) => error,
        };
        let sentence = format!("cannot listen at {endpoint}: {}", words(&error));
        // A system without IPv6 is no reason to take no mail; the default names both.
        let no_v6 = matches!(endpoint, Endpoint::Tcp(address) if address.is_ipv6())
            && matches!(
                error.raw_os_error(),
                Some(listen::NO_FAMILY | listen::NO_ADDRESS)
            );
        if no_v6 {
            events::trouble("-", &sentence);
            return Ok(());
        }
        Err(match error.kind() {
            std::io::ErrorKind::PermissionDenied => Error::NoPermission(format!(
                "{sentence}; ports below 1024 are for root, or for whoever has CAP_NET_BIND_SERVICE"
            )),
            std::io::ErrorKind::AddrInUse => Error::Unavailable(match endpoint {
                Endpoint::Tcp(address) => format!(
                    "{sentence}: {} listens there; stop it, or name another place in [listen]",
                    holder::of(address)
                ),
                Endpoint::Unix(_) => format!(
                    "{sentence}: another program listens there; stop it, or name another place in [listen]"
                ),
            }),
            std::io::ErrorKind::AddrNotAvailable => Error::Unavailable(format!(
                "{sentence}: no interface of this machine has that address now; name another place in [listen], or begin when the \
                 network is there"
            )),
            _ => Error::Unavailable(sentence),
        })
    }

    fn add(&mut self, kind: Kind, listener: Listener, place: &dyn std::fmt::Display) {
        let place = listener
            .address()
            .map_or(place.to_string(), |a| a.to_string());
        self.places.push(place);
        self.listeners.push(listener);
        self.kinds.push(kind);
    }

    /// Tells where they are.
    pub fn tell(&self) {
        for (kind, place) in self.kinds.iter().zip(&self.places) {
            events::listening(kind.name(), place);
        }
    }
}

/// What a socket that was handed over is for: its name tells, or its port.
fn kind_of(name: &str, address: Option<SocketAddr>) -> Kind {
    let kinds = [Kind::Smtp, Kind::Submission, Kind::Submissions, Kind::Lmtp];
    let named = kinds.into_iter().find(|kind| kind.name() == name);
    named.unwrap_or(match address.map(|a| a.port()) {
        Some(587) => Kind::Submission,
        Some(465) => Kind::Submissions,
        Some(_) => Kind::Smtp,
        None => Kind::Lmtp,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_was_handed_over_is_known_by_its_name_or_its_port() {
        let rows = [
            ("submissions", Some("127.0.0.1:25"), Kind::Submissions),
            ("minimta.socket", Some("127.0.0.1:25"), Kind::Smtp),
            ("", Some("[::]:2525"), Kind::Smtp),
            ("", Some("0.0.0.0:587"), Kind::Submission),
            ("", Some("0.0.0.0:465"), Kind::Submissions),
            ("", None, Kind::Lmtp),
            ("stdio", None, Kind::Lmtp),
        ];
        for (name, address, kind) in rows {
            let address = address.map(|a| a.parse().unwrap());
            assert_eq!(kind_of(name, address), kind, "{name} {address:?}");
        }
    }
}
