//! Networks by their prefix, `192.0.2.0/24` or `2001:db8::/32` (RFC 4632, RFC 4291 2.3), and whether an address is
//! in one.

use std::fmt;
use std::net::IpAddr;
use std::net::Ipv6Addr;

/// A network, or a single address. One that is written as IPv4 in IPv6 (`::ffff:192.0.2.0/120`) is the IPv4 one: so
/// a client looks alike on every socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// Its first address.
    address: IpAddr,
    /// How many bits of it count.
    length: u8,
}

/// The bits of an IPv6 address before an IPv4 one in it.
const MAPPED: u8 = 96;

impl Network {
    /// Reads `address/length`, or an address alone. An error tells what is wrong, for the words after "found ...: ".
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address = address
            .parse()
            .map_err(|_| "its address is neither IPv4 nor IPv6")?;
        let bits = match address {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        };
        let length = match length {
            None => bits,
            Some(length) => length
                .parse()
                .ok()
                .filter(|n| *n <= bits && !length.starts_with('+'))
                .ok_or("the number behind its / is no prefix length")?,
        };
        let (address, length) = match (address, address.to_canonical()) {
            (IpAddr::V6(_), mapped @ IpAddr::V4(_)) if length >= MAPPED => {
                (mapped, length - MAPPED)
            }
            _ => (address, length),
        };
        let network = Self { address, length };
        if number(address) & !network.mask() != 0 {
            return Err("bits are set behind its prefix length");
        }
        Ok(network)
    }

    /// Whether an address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4()
            && number(address) & self.mask() == number(self.address)
    }

    /// Whether it is larger than anybody's own network can be: larger than 10.0.0.0/8 or 2000::/16, the private
    /// ranges of IPv6 aside (RFC 1918, RFC 4193, RFC 4291 2.5.6).
    pub fn is_the_world(&self) -> bool {
        match self.address {
            IpAddr::V4(_) => self.length < 8,
            IpAddr::V6(address) => self.length < 16 && !is_private(address, self.length),
        }
    }

    /// The bits that count, at the left of a number as [`number`] makes it.
    fn mask(&self) -> u128 {
        u128::MAX
            .checked_shl(u32::from(128 - self.length.min(128)))
            .unwrap_or(0)
    }
}

/// In fc00::/7 or fe80::/10.
fn is_private(address: Ipv6Addr, length: u8) -> bool {
    length >= 7 && address.is_unique_local() || length >= 10 && address.is_unicast_link_local()
}

/// An address as a number, its bits at the left.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)) << 96,
        IpAddr::V6(address) => u128::from(address),
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_its_addresses_and_no_others() {
        let rows = [
            ("127.0.0.0/8", "127.255.255.255", true),
            ("127.0.0.0/8", "128.0.0.0", false),
            ("127.0.0.0/8", "::1", false),
            ("127.0.0.0/8", "::ffff:127.0.0.1", true), // a client on a socket for both
            ("::1/128", "::1", true),
            ("::1", "::1", true),
            ("::1", "::2", false),
            ("::1/128", "0.0.0.1", false),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.128/25", "192.0.2.127", false),
            ("192.0.2.128/25", "192.0.2.128", true),
            ("192.0.2.0/31", "192.0.2.1", true),
            ("192.0.2.0/31", "192.0.2.2", false),
            ("0.0.0.0/0", "255.255.255.255", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "192.0.2.1", false),
            ("::/0", "::ffff:192.0.2.1", false),
            ("2001:db8::/33", "2001:db8:7fff::1", true),
            ("2001:db8::/33", "2001:db8:8000::1", false),
            ("::ffff:192.0.2.0/120", "192.0.2.9", true),
            ("::ffff:0.0.0.0/96", "192.0.2.9", true),
        ];
        for (network, address, expected) in rows {
            let network = Network::parse(network).unwrap();
            let found = network.contains(address.parse().unwrap());
            assert_eq!(found, expected, "{address} in {network}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "/8",
            "127.0.0.0/",
            "127.0.0.0/33",
            "127.0.0.0/-1",
            "127.0.0.0/+8",
            "127.0.0.0/8/8",
            "127.0.0.0/255.0.0.0",
            "127.0.0.1/8",
            "127.0.0/8",
            "127.0.0.01",
            "::1/129",
            "::1/64",
            "fe80::1%eth0",
            "[::1]",
            "localhost",
            " 127.0.0.1",
        ] {
            assert!(Network::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn nobody_owns_the_world() {
        let rows = [
            ("0.0.0.0/0", true),
            ("128.0.0.0/1", true),
            ("10.0.0.0/7", true),
            ("10.0.0.0/8", false),
            ("::/0", true),
            ("2000::/3", true),
            ("2001::/15", true),
            ("2001:db8::/32", false),
            ("fc00::/7", false),
            ("fc00::/6", true),
            ("fe80::/10", false),
            ("::ffff:0.0.0.0/96", true), // all of IPv4
            ("::ffff:0:0/95", false),    // no client has such an address
        ];
        for (network, expected) in rows {
            // fc00::/6 is written with a bit too many
            let Ok(network) = Network::parse(network) else {
                continue;
            };
            assert_eq!(network.is_the_world(), expected, "{network}");
        }
    }
}
