//! Addresses and lists of them.

use crate::proto::address::{Domain, Mailbox, take_path};
use crate::proto::addrlist::addresses;
use crate::proto::network::Network;
use crate::proto::{mx, xtext};

/// An address: what was parsed can be written down, and is parsed again as the same.
pub fn address(octets: &[u8]) {
    let Ok(text) = std::str::from_utf8(octets) else {
        return;
    };
    let own = Domain::parse("pi.example.org").unwrap();
    for parsed in [Mailbox::parse(text), Mailbox::qualify(text, &own)] {
        let Ok(mailbox) = parsed else { continue };
        let written = mailbox.to_string();
        assert!(!written.contains(|c: char| c.is_control()), "{written:?}");
        assert_eq!(Mailbox::parse(&written), Ok(mailbox.clone()));
        // It stands between brackets in a command and in a queue file.
        let path = format!("<{written}> NOTIFY=NEVER");
        assert_eq!(take_path(&path), Ok((written.as_str(), " NOTIFY=NEVER")));
    }
    if let Ok(domain) = Domain::parse(text) {
        assert_eq!(Domain::parse(domain.as_str()), Ok(domain.clone()));
        assert!(domain.as_str().len() <= 255);
        let _ = mx::literal(&domain);
    }
    if let Ok(network) = Network::parse(text) {
        assert_eq!(Network::parse(&network.to_string()), Ok(network));
    }
    if let Some(plain) = xtext::decode(text) {
        assert_eq!(xtext::decode(&xtext::encode(&plain)), Some(plain));
    }
    let _ = take_path(text);
}

/// The body of a field: every address is where it is said to be, and after the one before.
pub fn list(octets: &[u8]) {
    let mut at = 0;
    for found in addresses(octets) {
        let range = found.range;
        assert!(at <= range.start && range.start <= range.end && range.end <= octets.len());
        at = range.start;
        if let Ok(spec) = found.spec {
            assert!(!spec.is_empty());
            if let Ok(mailbox) = Mailbox::parse(&spec) {
                assert_eq!(Mailbox::parse(&mailbox.to_string()), Ok(mailbox));
            }
        }
    }
}
