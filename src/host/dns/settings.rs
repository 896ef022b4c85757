//! What the look-ups begin with: the name servers of this system, and the keys that DNSSEC begins with.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV6};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hickory_net::proto::dnssec::{Algorithm, PublicKeyBuf, TrustAnchors};
use hickory_net::proto::rr::Name;

use super::resolver::name;
use crate::host::{read_bounded, words};

/// The servers of `/etc/resolv.conf`, without its search list: a domain in an address is always a whole one.
///
/// # Errors
/// The sentence about a file that cannot be read.
pub fn system_servers() -> Result<Vec<SocketAddr>, String> {
    const PATH: &str = "/etc/resolv.conf";
    match read_bounded(Path::new(PATH), 64 * 1024) {
        Ok(octets) => Ok(listed_servers(&String::from_utf8_lossy(&octets))),
        Err(e) => Err(format!(
            "cannot learn the name servers from {PATH}: {}; name them in [dns] servers",
            words(&e)
        )),
    }
}

/// The `nameserver` lines of resolv.conf(5); without any, this machine.
fn listed_servers(text: &str) -> Vec<SocketAddr> {
    let line = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let is_server = words.next() == Some("nameserver");
        words.next().filter(|_| is_server).and_then(server)
    };
    let listed: Vec<SocketAddr> = text.lines().filter_map(line).collect();
    if listed.is_empty() {
        return vec![SocketAddr::new(Ipv4Addr::LOCALHOST.into(), DOMAIN)];
    }
    listed
}

/// The port of name servers.
const DOMAIN: u16 = 53;

/// An address, of one link if it says which (RFC 4007 11): a box in a home may have no other.
fn server(text: &str) -> Option<SocketAddr> {
    let Some((address, link)) = text.split_once('%') else {
        return Some(SocketAddr::new(text.parse().ok()?, DOMAIN));
    };
    let number = match link.parse() {
        Ok(number) => number,
        Err(_) if link.contains(['/', '.']) => return None,
        Err(_) => {
            let path = format!("/sys/class/net/{link}/ifindex");
            let octets = read_bounded(Path::new(&path), 16).ok()?;
            String::from_utf8_lossy(&octets).trim().parse().ok()?
        }
    };
    Some(SocketAddrV6::new(address.parse().ok()?, DOMAIN, 0, number).into())
}

/// The keys of a file: DNSKEY records, each on one line.
///
/// # Errors
/// The sentence about a file that cannot be read, or has none.
pub fn anchors(path: &Path) -> Result<TrustAnchors, String> {
    let shown = path.display();
    let octets = read_bounded(path, 64 * 1024)
        .map_err(|e| format!("cannot read trust_anchor {shown}: {}", words(&e)))?;
    let mut anchors = TrustAnchors::empty();
    let mut count = 0;
    for line in String::from_utf8_lossy(&octets).lines() {
        let line = line.split(';').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let Some((name, key)) = anchor(line) else {
            return Err(format!(
                "trust_anchor {shown} has a line that is no DNSKEY record, such as \". DNSKEY 257 3 13 ...\": {line}"
            ));
        };
        anchors.insert_with_name(&key, (&name).into());
        count += 1;
    }
    if count == 0 {
        return Err(format!("trust_anchor {shown} has no DNSKEY record in it"));
    }
    Ok(anchors)
}

fn anchor(line: &str) -> Option<(Name, PublicKeyBuf)> {
    let mut words = line.split_ascii_whitespace();
    let owner = name(words.next()?.trim_end_matches('.'))?;
    words.find(|word| *word == "DNSKEY")?;
    let (_flags, _protocol) = (words.next()?, words.next()?);
    let algorithm: u8 = words.next()?.parse().ok()?;
    let key = BASE64.decode(words.collect::<String>()).ok()?;
    Some((owner, PublicKeyBuf::new(key, Algorithm::from_u8(algorithm))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_of_resolv_conf() {
        let rows = [
            ("", "127.0.0.1:53"),
            (
                "search example\nnameserver 192.0.2.1\nnameserver  2001:db8::1 # x\n",
                "192.0.2.1:53 [2001:db8::1]:53",
            ),
            (
                "nameserver fe80::1%3\nnameserver nonsense\n#nameserver 192.0.2.1",
                "[fe80::1%3]:53",
            ),
            (
                "nameserver fe80::1%../../etc\nnameserver 192.0.2.7",
                "192.0.2.7:53",
            ),
        ];
        for (text, expected) in rows {
            let found = listed_servers(text);
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found.join(" "), expected, "{text}");
        }
    }

    #[test]
    fn anchors_are_dnskey_records() {
        assert!(anchor(". 86400 IN DNSKEY 257 3 8 AwEA AQ==").is_some());
        assert!(anchor("example.net. DNSKEY 257 3 13 AwEAAQ==").is_some());
        for line in [
            ".",
            ". IN DS 1 2 3 4",
            ". DNSKEY 257 3 x AwEAAQ==",
            ". DNSKEY 257 3 8 *",
        ] {
            assert!(anchor(line).is_none(), "{line}");
        }
    }
}
