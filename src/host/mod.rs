//! The outside world, one thing a file: files, sockets, users, clocks. Thin, and without policy: what is to be
//! done is decided in `proto/` and told in `flow/`.

pub use crate::error::words;

use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::Path;

use crate::proto::data::lengthen;

pub mod accounts;
pub mod calls;
pub mod channel;
pub mod children;
pub mod clock;
#[cfg_attr(not(feature = "mx"), path = "dns/absent.rs")]
pub mod dns;
pub mod durable;
pub mod estate;
pub mod guard;
pub mod happening;
#[cfg_attr(not(feature = "server"), path = "hash/absent.rs")]
pub mod hash;
pub mod holder;
pub mod https;
pub mod jail;
pub mod ledger;
pub mod link;
pub mod listed;
#[cfg_attr(not(feature = "server"), path = "listen/absent.rs")]
pub mod listen;
pub mod logging;
pub mod lookup;
pub mod mailbox;
pub mod maildir;
pub mod mbox;
pub mod other;
pub mod password;
pub mod pipe;
pub mod pool;
pub mod presence;
pub mod privilege;
pub mod secret;
pub mod signals;
pub mod spool;
pub mod state;
pub mod table;
pub mod terminal;
pub mod tls;
pub mod users;
pub mod wire;

/// The addresses of this machine. None, when the system does not tell: what is cut by them is found in other ways, too.
pub fn interfaces() -> Vec<IpAddr> {
    let all = nix::ifaddrs::getifaddrs().into_iter().flatten();
    let addresses = all.filter_map(|interface| interface.address);
    addresses
        .filter_map(
            |address| match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
                (Some(v4), _) => Some(IpAddr::V4(v4.ip())),
                (_, Some(v6)) => Some(IpAddr::V6(v6.ip())),
                _ => None,
            },
        )
        .collect()
}

/// A text without the byte order mark that some editors put before UTF-8, and of which its first word would be another.
pub fn without_mark(mut text: Vec<u8>) -> Vec<u8> {
    const MARK: &[u8] = "\u{feff}".as_bytes();
    if text.starts_with(MARK) {
        text.drain(..MARK.len());
    }
    text
}

/// Reads a file of at most `most` octets; a longer one is cut there. A read of a file that brings less than was
/// asked for has met its end, so a small file costs one. Not so those of /proc that are longer than a page.
pub fn read_bounded(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    const BLOCK: usize = 4096;
    read_open(File::open(path)?, BLOCK, most)
}

/// The same of a file that is open, of which `block` octets are asked for at a time.
pub fn read_open(mut file: File, block: usize, most: u64) -> io::Result<Vec<u8>> {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let mut octets = Vec::new();
    loop {
        let filled = octets.len();
        lengthen(&mut octets, (filled + block).min(most));
        // That has made it at least as long as it was.
        let n = loop {
            match file.read(&mut octets[filled..]) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                n => break n?,
            }
        };
        let whole = filled + n == octets.len();
        octets.truncate(filled + n);
        if !whole || octets.len() == most {
            return Ok(octets);
        }
    }
}
