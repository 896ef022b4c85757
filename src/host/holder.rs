//! Who listens at an address that somebody else wants: an old daemon, another mail server. From /proc, as far as
//! whoever asks may look there: root sees all, a user his own programs, and of others whose they are.

use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use super::{accounts, read_bounded};

use crate::proto::order;

/// Octets of the kernel's table of sockets that are read: some thousands of them. Those that listen stand first, and
/// behind them, on a machine with many clients, tens of thousands of others.
const MAX_TABLE: u64 = 1024 * 1024;

/// Who listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// This process; the name is that of its program, as the kernel has it.
    Process(u32, String),
    /// A program of this user.
    User(String),
    /// Nobody may say.
    Unknown,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process(number, name) => write!(f, "{name} (process {number})"),
            Self::User(name) => {
                write!(f, "a program of the user {name} (to root its name is told)")
            }
            Self::Unknown => f.write_str("another program (ss -ltnp says which it is)"),
        }
    }
}

/// Who listens at this address, or at one that includes it.
pub fn of(address: &SocketAddr) -> Holder {
    let mut found = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let mut text = Vec::new();
        // The kernel gives a page at a time, so that a short read is no end. What could be read is better than nothing.
        let _ = File::open(table).and_then(|file| file.take(MAX_TABLE).read_to_end(&mut text));
        found.extend(listeners(&String::from_utf8_lossy(&text), address));
    }
    let process = found.iter().find_map(|socket| process_with(socket.number));
    match (process, found.first()) {
        (Some(process), _) => process,
        (None, Some(socket)) => match accounts::name_of(socket.owner) {
            Some(name) => Holder::User(name),
            None => Holder::Unknown,
        },
        (None, None) => Holder::Unknown,
    }
}

/// A socket at which somebody listens.
#[derive(Debug, PartialEq, Eq)]
struct Socket {
    /// Its number among the files of the kernel.
    number: u64,
    /// The user who made it.
    owner: u32,
}

/// Those of a table of the kernel (proc_pid_net(5)) that keep others from this address.
fn listeners(table: &str, address: &SocketAddr) -> Vec<Socket> {
    const LISTENING: &str = "0A";
    let read = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, local, _, LISTENING, _, _, _, owner, _, number, ..] = fields[..] else {
            return None;
        };
        let (ip, port) = local.split_once(':')?;
        let is_in_the_way = u16::from_str_radix(port, 16) == Ok(address.port())
            && overlap(self::ip(ip)?, address.ip());
        is_in_the_way.then_some(Socket {
            number: number.parse().ok()?,
            owner: owner.parse().ok()?,
        })
    };
    table.lines().filter_map(read).collect()
}

/// Whether nobody can listen at the one while somebody listens at the other.
fn overlap(one: IpAddr, other: IpAddr) -> bool {
    one == other || one.is_unspecified() || other.is_unspecified()
}

/// An address of the table: words of 32 bits, each as this machine has it in memory.
fn ip(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let word = u32::from_str_radix(hex.get(at..at + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let octets: [u8; 16] = words.concat().try_into().ok()?;
            Some(Ipv6Addr::from(octets).to_canonical())
        }
        _ => None,
    }
}

/// The first process that has this socket open, of those that may be looked into.
fn process_with(socket: u64) -> Option<Holder> {
    let wanted = format!("socket:[{socket}]");
    let entries = fs::read_dir("/proc").ok()?.flatten();
    let mut numbers: Vec<u32> = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    order::sort(&mut numbers, &u32::cmp);
    let has_it = |number: &u32| {
        let files = fs::read_dir(format!("/proc/{number}/fd"));
        let mut files = files.into_iter().flatten().flatten();
        files.any(|file| fs::read_link(file.path()).is_ok_and(|to| to.as_os_str() == &*wanted))
    };
    let number = numbers.into_iter().find(has_it)?;
    let name = read_bounded(Path::new(&format!("/proc/{number}/comm")), 64).unwrap_or_default();
    // A program may call itself what it likes.
    let name = String::from_utf8_lossy(&name);
    let name = name.trim_end().replace(char::is_control, "?");
    Some(Holder::Process(number, name))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn who_listens_is_named() {
        for at in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"] {
            // A machine may have no IPv6.
            let Ok(listener) = TcpListener::bind(at) else {
                continue;
            };
            let address = listener.local_addr().unwrap();
            let name = fs::read_to_string("/proc/self/comm").unwrap();
            let me = Holder::Process(std::process::id(), name.trim_end().to_owned());
            assert_eq!(of(&address), me, "{at}");
        }
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        assert_eq!(of(&address), Holder::Unknown);
    }

    /// As machines with the least significant octet first have it.
    #[cfg(target_endian = "little")]
    #[test]
    fn the_table_of_the_kernel_is_read() {
        const V4: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            \x20  0: 0100007F:0019 00000000:0000 0A 00000000:00000000 00:00000000 00000000   101        0 4711 1 0 100 0 0 10 0\n\
            \x20  1: 0100007F:0019 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 20 4 30 10 -1\n\
            \x20  2: 00000000:024B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0 100 0 0 10 0\n\
            a line that is none\n";
        const V6: &str = "   0: 00000000000000000000000001000000:0019 00000000000000000000000000000000:0000 0A 0:0 0:0 0 102 0 4714 1\n\
            \x20  1: 0000000000000000FFFF00000100007F:0019 00000000000000000000000000000000:0000 0A 0:0 0:0 0 103 0 4715 1\n";
        type Row = (&'static str, &'static str, &'static [(u64, u32)]);
        let rows: [Row; 8] = [
            (V4, "127.0.0.1:25", &[(4711, 101)]),
            (V4, "127.0.0.2:25", &[]),
            (V4, "0.0.0.0:25", &[(4711, 101)]),
            (V4, "127.0.0.1:587", &[(4713, 0)]),
            (V4, "127.0.0.1:465", &[]),
            (V6, "[::1]:25", &[(4714, 102)]),
            (V6, "127.0.0.1:25", &[(4715, 103)]),
            ("", "127.0.0.1:25", &[]),
        ];
        for (table, address, expected) in rows {
            let found = listeners(table, &address.parse().unwrap());
            let found: Vec<_> = found.iter().map(|s| (s.number, s.owner)).collect();
            assert_eq!(found, expected, "{address}");
        }
    }

    #[test]
    fn what_may_be_said_is() {
        let rows = [
            (Holder::Process(7, "exim4".to_owned()), "exim4 (process 7)"),
            (
                Holder::User("root".to_owned()),
                "a program of the user root (to root its name is told)",
            ),
            (
                Holder::Unknown,
                "another program (ss -ltnp says which it is)",
            ),
        ];
        for (holder, text) in rows {
            assert_eq!(holder.to_string(), text);
        }
    }
}
