//! The PROXY header, versions 1 and 2 (HAProxy's proxy-protocol.txt): a proxy in front tells who its client is.
//!
//! Only a header that names a client over TCP is taken, or one that says that the proxy speaks for itself. All else
//! is refused: a client whose address is not known could pass for the proxy.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

/// Who is behind a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A client with this address and port.
    Client(IpAddr, u16),
    /// The proxy itself, which looks whether we live.
    Proxy,
}

/// What comes is no PROXY header that is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadHeader;

/// What begins version 2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Octets before the addresses of version 2.
const FIXED: usize = 16;
/// The longest addresses and extras of version 2 that are read; proxies send a few hundred.
const MOST: usize = 2048;
/// The longest line of version 1, with its end.
const LINE: usize = 107;

/// Reads the header at the beginning of a connection: who it names, and its length. `None`: there is more to come.
///
/// # Errors
/// [`BadHeader`].
pub fn parse(octets: &[u8]) -> Result<Option<(Source, usize)>, BadHeader> {
    let begins = |with: &[u8]| octets.iter().zip(with).all(|(a, b)| a == b);
    if begins(SIGNATURE) {
        return version_2(octets);
    }
    if !begins(b"PROXY ") {
        return Err(BadHeader);
    }
    let Some(end) = octets.iter().take(LINE).position(|b| *b == b'\n') else {
        return if octets.len() < LINE {
            Ok(None)
        } else {
            Err(BadHeader)
        };
    };
    let line = octets.get(..end).and_then(|l| l.strip_suffix(b"\r"));
    let line = line
        .and_then(|l| std::str::from_utf8(l).ok())
        .ok_or(BadHeader)?;
    let words: Vec<&str> = line.split(' ').collect();
    let [_, family, source, target, port, target_port] = words.as_slice() else {
        return Err(BadHeader);
    };
    let number = |text: &str| text.parse::<u16>().map_err(|_| BadHeader);
    let (port, _) = (number(port)?, number(target_port)?);
    let address = |text: &str| text.parse::<IpAddr>().map_err(|_| BadHeader);
    let (source, target) = (address(source)?, address(target)?);
    match *family {
        "TCP4" if source.is_ipv4() && target.is_ipv4() => {}
        "TCP6" if source.is_ipv6() && target.is_ipv6() => {}
        _ => return Err(BadHeader),
    }
    Ok(Some((Source::Client(source, port), end + 1)))
}

fn version_2(octets: &[u8]) -> Result<Option<(Source, usize)>, BadHeader> {
    let Some(head) = octets.first_chunk::<FIXED>() else {
        return Ok(None);
    };
    let [.., command, family, high, low] = *head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > MOST {
        return Err(BadHeader);
    }
    let whole = FIXED + length;
    if octets.len() < whole {
        return Ok(None);
    }
    let rest = octets.get(FIXED..whole).unwrap_or_default();
    let source = match (command, family) {
        (0x20, _) => Source::Proxy,
        (0x21, 0x11) => {
            let [a, b, c, d, _, _, _, _, high, low, ..] = *rest else {
                return Err(BadHeader);
            };
            let enough = rest.len() >= 12;
            let address = IpAddr::V4(Ipv4Addr::new(a, b, c, d));
            enough
                .then(|| Source::Client(address, u16::from_be_bytes([high, low])))
                .ok_or(BadHeader)?
        }
        (0x21, 0x21) => {
            let (Some(address), Some([high, low])) = (rest.first_chunk::<16>(), rest.get(32..34))
            else {
                return Err(BadHeader);
            };
            let enough = rest.len() >= 36;
            let address = IpAddr::V6(Ipv6Addr::from(*address));
            enough
                .then(|| Source::Client(address, u16::from_be_bytes([*high, *low])))
                .ok_or(BadHeader)?
        }
        _ => return Err(BadHeader),
    };
    Ok(Some((source, whole)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(address: &str, port: u16) -> Source {
        Source::Client(address.parse().unwrap(), port)
    }

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut header = SIGNATURE.to_vec();
        header.extend([command, family]);
        header.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
        header.extend(rest);
        header
    }

    #[test]
    fn a_header_names_the_client_however_it_is_cut() {
        let v4 = [192, 0, 2, 7, 10, 0, 0, 1, 0x30, 0x39, 0, 25];
        let mut v6 = [0; 36];
        v6[0..2].copy_from_slice(&[0x20, 1]);
        v6[15] = 1;
        v6[32..36].copy_from_slice(&[0x30, 0x39, 0, 25]);
        let more = [&v4[..], b"\x01\x00\x02h2"].concat();
        let rows = [
            (
                b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 25\r\n".to_vec(),
                client("192.0.2.7", 12345),
            ),
            (
                b"PROXY TCP6 2001:db8::1 ::1 12345 25\r\n".to_vec(),
                client("2001:db8::1", 12345),
            ),
            (v2(0x21, 0x11, &v4), client("192.0.2.7", 12345)),
            (v2(0x21, 0x11, &more), client("192.0.2.7", 12345)),
            (v2(0x21, 0x21, &v6), client("2001::1", 12345)),
            (v2(0x20, 0x00, b""), Source::Proxy),
        ];
        for (header, source) in rows {
            let mut with_more = header.clone();
            with_more.extend(b"EHLO x\r\n");
            for cut in 0..header.len() {
                assert_eq!(parse(&header[..cut]), Ok(None), "{header:?} cut at {cut}");
            }
            assert_eq!(parse(&with_more), Ok(Some((source, header.len()))));
        }
    }

    #[test]
    fn what_names_no_client_is_refused() {
        // G19
        let rows: &[&[u8]] = &[
            b"EHLO x\r\n",
            b"PROXZ",
            b"PROXY UNKNOWN\r\n",
            b"PROXY UNKNOWN 192.0.2.7 10.0.0.1 1 2\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 25\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 12345\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 123456 25\r\n",
            b"PROXY TCP4 ::1 ::1 12345 25\r\n",
            b"PROXY TCP6 192.0.2.7 10.0.0.1 12345 25\r\n",
            b"PROXY TCP4 192.0.2.7  10.0.0.1 12345 25\r\n",
            &[b"PROXY ".as_slice(), &[b'x'; 10_000]].concat(),
            &v2(0x21, 0x00, b""),
            &v2(0x21, 0x12, &[0; 12]),  // UDP
            &v2(0x21, 0x31, &[0; 216]), // a Unix socket
            &v2(0x21, 0x11, &[0; 11]),
            &v2(0x21, 0x21, &[0; 35]),
            &v2(0x11, 0x11, &[0; 12]),
            &v2(0x22, 0x11, &[0; 12]),
            &v2(0x21, 0x11, &[0; 65535]),
        ];
        for row in rows {
            let shown = String::from_utf8_lossy(row)
                .chars()
                .take(60)
                .collect::<String>();
            assert_eq!(parse(row), Err(BadHeader), "{shown:?}");
        }
    }
}
