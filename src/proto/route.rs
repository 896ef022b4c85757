//! Where a recipient's mail goes next.

use super::address::{Domain, Mailbox};

/// The next hop of a recipient. Messages for the same hop share a connection.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hop {
    /// A mailbox of this system.
    Local,
    /// The smarthosts of the configuration, in their order.
    Smarthost,
    /// It is not for here, and there is no smarthost.
    Nowhere,
}

/// The next hop of an address. `domains` are those whose mail is delivered here.
pub fn route(address: &Mailbox, domains: &[Domain], smarthost: bool) -> Hop {
    match (domains.contains(address.domain()), smarthost) {
        (true, _) => Hop::Local,
        (false, true) => Hop::Smarthost,
        (false, false) => Hop::Nowhere,
    }
}

/// The names that must reach a person on every system that takes mail (RFC 5321 4.5.1, RFC 2142): in any case.
pub fn is_role(local: &str) -> bool {
    ["postmaster", "abuse", "mailer-daemon"]
        .iter()
        .any(|role| role.eq_ignore_ascii_case(local))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_domain_alone_decides() {
        let domains = [
            Domain::parse("pi.example").unwrap(),
            Domain::parse("localhost").unwrap(),
        ];
        let rows = [
            ("a@pi.example", true, Hop::Local),
            ("a@PI.Example.", false, Hop::Local),
            ("a@localhost", true, Hop::Local),
            ("a@sub.pi.example", true, Hop::Smarthost),
            ("a@other.example", false, Hop::Nowhere),
            ("bob%other.example@pi.example", true, Hop::Local), // C1: a routing character routes nothing
            ("\"bob@other.example\"@pi.example", true, Hop::Local), // C4
        ];
        for (address, smarthost, hop) in rows {
            assert_eq!(
                route(&Mailbox::parse(address).unwrap(), &domains, smarthost),
                hop,
                "{address}"
            );
        }
        assert!(is_role("PostMaster") && !is_role("alice"));
    }
}
