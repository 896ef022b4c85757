//! Where a recipient's mail goes next.
//!
//! 1. the first route that is for this recipient and sender; but what is for here is not led away by its sender
//! 2. a mailbox of this system, for the domains whose mail is delivered here, and for the postmaster of its own name
//! 3. the smarthosts, if there are any
//! 4. the mail exchangers of the recipient's domain

use std::fmt;

use super::address::{Domain, Mailbox};
use super::reply::Enhanced;

/// The next hop of a recipient. Messages for the same hop share a connection.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hop {
    /// A mailbox of this system.
    Local,
    /// The smarthosts of the configuration, in their order.
    Smarthost,
    /// One host, without an MX look-up.
    Host(Peer, Protection),
    /// One server that delivers, by LMTP.
    Lmtp(Peer),
    /// The mail exchangers of a domain.
    Mx(Domain, Protection),
    /// Nobody: it fails, and this is why.
    Refuse(Refusal),
}

/// A host of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer {
    /// A name or an address; or the path of a socket of this system, which has no port.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.host.as_str(), self.port) {
            (path, 0) => f.write_str(path),
            (host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            (host, port) => write!(f, "{host}:{port}"),
        }
    }
}

/// How a connection to a server is protected that nobody has told us more about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Protection {
    /// STARTTLS when it is offered, with any certificate; in the clear when that fails (RFC 7435).
    #[default]
    Opportunistic,
    /// STARTTLS, or no mail at all; with any certificate.
    Require,
    /// Never.
    None,
}

/// What a recipient's mail is refused with.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Refusal {
    /// The reply code, of class 5.
    pub code: u16,
    /// The status, of class 5.
    pub enhanced: Enhanced,
    /// Its words.
    pub text: String,
}

/// One `[[route]]`: whom it is for, and where it leads. At least one of the first two is there; both must fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Domains of recipients.
    pub domain: Option<Pattern>,
    /// The sender.
    pub sender: Option<Mailbox>,
    /// Where to.
    pub via: Via,
    /// How the connection is protected, where that is not as for all others.
    pub tls: Option<Protection>,
}

/// Domains that a route is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// This one alone.
    Exactly(Domain),
    /// All below it, however deep, and not itself.
    Below(Domain),
    /// All that are not of this machine.
    Others,
}

impl Pattern {
    /// Whether it fits; `is_ours`: mail for the recipient would stay here.
    pub fn matches(&self, domain: &Domain, is_ours: bool) -> bool {
        match self {
            Self::Others => !is_ours,
            Self::Exactly(this) => this == domain,
            Self::Below(above) => domain
                .ascii()
                .strip_suffix(above.ascii())
                .is_some_and(|rest| rest.ends_with('.')),
        }
    }
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Via {
    /// A host, without an MX look-up; without a port, that of all mail to others.
    Host(String, Option<u16>),
    /// A server that delivers, by LMTP (RFC 2033).
    Lmtp(Peer),
    /// The mail exchangers of the recipient's domain.
    Mx,
    /// The mailboxes of this system.
    Local,
    /// Nowhere.
    Refuse(Refusal),
}

/// What decides.
#[derive(Debug, Clone, Copy)]
pub struct Router<'a> {
    /// Routes, the first that fits counts.
    pub routes: &'a [Route],
    /// Domains whose mail is delivered here.
    pub domains: &'a [Domain],
    /// What this machine calls itself.
    pub hostname: &'a Domain,
    /// Whether there is a smarthost.
    pub smarthost: bool,
    /// The port of all mail to others.
    pub port: u16,
    /// How connections to others are protected.
    pub tls: Protection,
}

impl Router<'_> {
    /// The next hop of a recipient. Only mail that leaves depends on its sender.
    pub fn route(&self, sender: Option<&Mailbox>, recipient: &Mailbox) -> Hop {
        let domain = recipient.domain();
        let is_ours = self.domains.contains(domain) || self.is_own_role(recipient);
        let fits = |route: &&Route| {
            let from = |wanted: &Mailbox| !is_ours && sender.is_some_and(|s| is_same(wanted, s));
            route
                .domain
                .as_ref()
                .is_none_or(|d| d.matches(domain, is_ours))
                && route.sender.as_ref().is_none_or(from)
        };
        if let Some(route) = self.routes.iter().find(fits) {
            let tls = route.tls.unwrap_or(self.tls);
            return match &route.via {
                Via::Host(host, port) => {
                    let (host, port) = (host.clone(), port.unwrap_or(self.port));
                    Hop::Host(Peer { host, port }, tls)
                }
                Via::Lmtp(peer) => Hop::Lmtp(peer.clone()),
                Via::Mx => Hop::Mx(domain.clone(), tls),
                Via::Local => Hop::Local,
                Via::Refuse(refusal) => Hop::Refuse(refusal.clone()),
            };
        }
        match (is_ours, self.smarthost) {
            (true, _) => Hop::Local,
            (false, true) => Hop::Smarthost,
            (false, false) => Hop::Mx(domain.clone(), self.tls),
        }
    }

    /// Whether this is the postmaster of this machine's own name, whom our reports name and RCPT finds without any domain
    /// (RFC 5321 4.5.1): he is here wherever the mail of a domain is, even if the name itself is not among the domains.
    fn is_own_role(&self, recipient: &Mailbox) -> bool {
        let takes_mail = || self.domains.iter().any(|d| d.as_str() != "localhost");
        recipient.domain() == self.hostname && is_role(recipient.local()) && takes_mail()
    }
}

/// Whether two texts are one person's address, as people see it: in any case.
fn is_same(one: &Mailbox, other: &Mailbox) -> bool {
    one.domain() == other.domain() && one.local().eq_ignore_ascii_case(other.local())
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

    fn domain(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    fn show(hop: Hop) -> String {
        match hop {
            Hop::Local => "local".to_owned(),
            Hop::Smarthost => "smarthost".to_owned(),
            Hop::Host(peer, tls) => format!("{}:{} {tls:?}", peer.host, peer.port),
            Hop::Lmtp(peer) => peer.host,
            Hop::Mx(domain, tls) => format!("mx {domain} {tls:?}"),
            Hop::Refuse(refusal) => refusal.text,
        }
    }

    #[test]
    fn without_routes_the_domain_alone_decides() {
        let domains = [domain("pi.example"), domain("localhost")];
        let rows = [
            ("a@pi.example", true, "local"),
            ("a@PI.Example.", false, "local"),
            ("a@localhost", true, "local"),
            ("a@sub.pi.example", true, "smarthost"),
            ("a@Other.example", false, "mx other.example Opportunistic"),
            ("a@[192.0.2.1]", false, "mx [192.0.2.1] Opportunistic"),
            ("bob%other.example@pi.example", true, "local"), // C1: a routing character routes nothing
            ("\"bob@other.example\"@pi.example", true, "local"), // C4
            ("Postmaster@mx.pi.example", true, "local"),     // C9
            ("a@mx.pi.example", true, "smarthost"),
        ];
        for (address, smarthost, hop) in rows {
            let router = Router {
                routes: &[],
                domains: &domains,
                hostname: &domain("mx.pi.example"),
                smarthost,
                port: 25,
                tls: Protection::Opportunistic,
            };
            let found = router.route(None, &Mailbox::parse(address).unwrap());
            assert_eq!(show(found), hop, "{address}");
        }
        assert!(is_role("PostMaster") && !is_role("alice"));
        // A machine whose mail is all elsewhere has its postmaster there, too.
        for domains in [&domains[1..], &[]] {
            let router = Router {
                routes: &[],
                domains,
                hostname: &domain("mx.pi.example"),
                smarthost: true,
                port: 25,
                tls: Protection::Opportunistic,
            };
            let postmaster = Mailbox::parse("postmaster@mx.pi.example").unwrap();
            assert_eq!(show(router.route(None, &postmaster)), "smarthost");
        }
    }

    #[test]
    fn all_other_domains_can_be_refused() {
        let refusal = Refusal {
            code: 550,
            enhanced: Enhanced(5, 7, 1),
            text: "no".to_owned(),
        };
        let route = |domain, via| Route {
            domain: Some(domain),
            sender: None,
            via,
            tls: None,
        };
        let routes = [
            route(Pattern::Exactly(domain("lan.example")), Via::Mx),
            route(Pattern::Others, Via::Refuse(refusal)),
        ];
        let router = Router {
            routes: &routes,
            domains: &[domain("pi.example"), domain("localhost")],
            hostname: &domain("box.pi.example"),
            smarthost: true,
            port: 25,
            tls: Protection::Opportunistic,
        };
        let rows = [
            ("a@pi.example", "local"),
            ("root@localhost", "local"),
            ("postmaster@box.pi.example", "local"),
            ("a@lan.example", "mx lan.example Opportunistic"),
            ("a@box.pi.example", "no"),
            ("a@example.net", "no"),
        ];
        for (to, hop) in rows {
            let found = router.route(None, &Mailbox::parse(to).unwrap());
            assert_eq!(show(found), hop, "{to}");
        }
    }

    #[test]
    fn the_first_route_that_fits_counts() {
        let route = |for_whom: &str, via: Via| {
            let is_sender = for_whom.contains('@');
            Route {
                domain: match for_whom.strip_prefix('.') {
                    _ if is_sender => None,
                    Some(above) => Some(Pattern::Below(domain(above))),
                    None => Some(Pattern::Exactly(domain(for_whom))),
                },
                sender: is_sender.then(|| Mailbox::parse(for_whom).unwrap()),
                via,
                tls: None,
            }
        };
        let refusal = Refusal {
            code: 550,
            enhanced: Enhanced(5, 7, 1),
            text: "no".to_owned(),
        };
        let host = |name: &str, port| Via::Host(name.to_owned(), port);
        let routes = [
            route("mx.lan.example", Via::Mx),
            route(".lan.example", host("10.0.0.5", Some(2525))),
            route("b\u{fc}cher.example", host("books", None)),
            route(".xn--bcher-kva.example", host("books", None)),
            route("spam.example", Via::Refuse(refusal)),
            route("me@work.example", host("relay.work.example", None)),
            route("list.pi.example", Via::Local),
            route(
                "home.example",
                Via::Lmtp(Peer {
                    host: "/run/lmtp".to_owned(),
                    port: 0,
                }),
            ),
            Route {
                tls: Some(Protection::Require),
                ..route("safe.example", Via::Mx)
            },
            Route {
                sender: Some(Mailbox::parse("cron@pi.example").unwrap()),
                ..route("both.example", host("both", None))
            },
        ];
        let domains = [domain("pi.example"), domain("home.example")];
        let router = Router {
            routes: &routes,
            domains: &domains,
            hostname: &domain("pi.example"),
            smarthost: true,
            port: 25,
            tls: Protection::Opportunistic,
        };
        let rows = [
            (
                "x@pi.example",
                "a@mx.lan.example",
                "mx mx.lan.example Opportunistic",
            ),
            (
                "x@pi.example",
                "a@A.b.lan.example",
                "10.0.0.5:2525 Opportunistic",
            ),
            ("x@pi.example", "a@lan.example", "smarthost"),
            ("x@pi.example", "a@wlan.example", "smarthost"),
            (
                "x@pi.example",
                "a@xn--bcher-kva.example",
                "books:25 Opportunistic",
            ),
            (
                "x@pi.example",
                "a@b.b\u{fc}cher.example",
                "books:25 Opportunistic",
            ),
            ("x@pi.example", "a@spam.example", "no"),
            (
                "Me@work.example",
                "a@other.example",
                "relay.work.example:25 Opportunistic",
            ),
            ("me@work.example", "a@spam.example", "no"),
            ("me@work.example", "root@pi.example", "local"),
            ("x@pi.example", "a@list.pi.example", "local"),
            ("x@pi.example", "a@home.example", "/run/lmtp"),
            ("x@pi.example", "a@safe.example", "mx safe.example Require"),
            ("x@pi.example", "a@both.example", "smarthost"),
            ("cron@pi.example", "a@both.example", "both:25 Opportunistic"),
            ("cron@pi.example", "a@other.example", "smarthost"),
        ];
        for (from, to, hop) in rows {
            let from = Mailbox::parse(from).unwrap();
            let found = router.route(Some(&from), &Mailbox::parse(to).unwrap());
            assert_eq!(show(found), hop, "{from} to {to}");
        }
    }
}
