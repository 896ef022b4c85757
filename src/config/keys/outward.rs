//! The keys of mail that leaves: where to, by whom, as whose, and how it is protected.

use super::super::value::{self, MINUTE};
use super::super::{Ip, Tls, way};
use super::Shown::{Default, Example};
use super::{Key, key, put};
use crate::proto::route::Protection;
use crate::proto::sasl::Mechanism;

/// `[smarthost]`.
pub const SMARTHOST: &[Key] = &[
    key(
        "smarthost",
        "host",
        Example(r#""smtp.example.org""#),
        "A name or an address, tried as it is, without an MX look-up. The one key that must be there.",
        |draft, v| put(&mut draft.smarthost.host, value::host(v).map(Some)),
    ),
    key(
        "smarthost",
        "port",
        Default("465"),
        r#"The port there: 465, or 587 with tls = "starttls", or 25 with "opportunistic" and "none"."#,
        |draft, v| {
            put(
                &mut draft.smarthost.port,
                value::number(v, 1..=65535).map(Some),
            )
        },
    ),
    key(
        "smarthost",
        "tls",
        Default(r#""implicit""#),
        "How the way there is protected: implicit, starttls, opportunistic or none; by default implicit on port 465, starttls on others.",
        |draft, v| {
            put(
                &mut draft.smarthost.tls,
                value::choice(v, TLS_FORMS).map(Some),
            )
        },
    ),
    key(
        "smarthost",
        "verify",
        Default("true"),
        "Whether the name and the chain of its certificate are checked.",
        |draft, v| put(&mut draft.smarthost.verify, value::flag(v).map(Some)),
    ),
    key(
        "smarthost",
        "ca_file",
        Example(r#""/etc/ssl/own-ca.pem""#),
        "The authorities to trust, in PEM; by default those of the system.",
        |draft, v| put(&mut draft.smarthost.ca_file, value::path(v).map(Some)),
    ),
    key(
        "smarthost",
        "fingerprint",
        Example(r#""sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff""#),
        "The SHA-256 of the one certificate to trust, instead of any authority.",
        |draft, v| {
            put(
                &mut draft.smarthost.fingerprint,
                value::fingerprint(v).map(Some),
            )
        },
    ),
    key(
        "smarthost",
        "user",
        Example(r#""me@example.org""#),
        "Who logs in there; by default nobody.",
        |draft, v| put(&mut draft.smarthost.user, value::text(v).map(Some)),
    ),
    key(
        "smarthost",
        "password_file",
        Example(r#""/etc/minimta/password""#),
        "A file whose first line is the password or token; refused when others can read it.",
        |draft, v| put(&mut draft.smarthost.password_file, value::path(v).map(Some)),
    ),
    key(
        "smarthost",
        "password_command",
        Example(r#"["/usr/bin/pass", "mail"]"#),
        "Or a program that prints the password or token as its first line; it is run without a shell.",
        |draft, v| {
            put(
                &mut draft.smarthost.password_command,
                value::words(v).map(Some),
            )
        },
    ),
    key(
        "smarthost",
        "auth",
        Default(r#""auto""#),
        "How to log in: auto (the best that is offered), plain, login, cram-md5, scram-sha-256, xoauth2 or oauthbearer.",
        |draft, v| {
            put(
                &mut draft.smarthost.auth,
                value::choice(v, MECHANISMS).map(Some),
            )
        },
    ),
    key(
        "smarthost",
        "from",
        Example(r#""me@example.org""#),
        "All mail leaves as this address, in the envelope and in From, whatever it was sent as.",
        |draft, v| put(&mut draft.smarthost.from, value::address(v).map(Some)),
    ),
];

/// `[route]`.
pub const ROUTE: &[Key] = &[
    key(
        "route",
        "domain",
        Example(r#""lan.example""#),
        "For recipients at this domain; with a dot before it, at all below it.",
        |draft, v| put(&mut draft.route.domain, way::pattern(v).map(Some)),
    ),
    key(
        "route",
        "sender",
        Example(r#""me@work.example""#),
        "For mail of this sender that leaves; with domain as well, both must fit.",
        |draft, v| put(&mut draft.route.sender, value::address(v).map(Some)),
    ),
    key(
        "route",
        "via",
        Example(r#""10.0.0.5:2525""#),
        "Where it goes: a host, with or without a port, lmtp: and a socket, mx, local, or refuse with a code and a text.",
        |draft, v| put(&mut draft.route.via, way::via(v).map(Some)),
    ),
    key(
        "route",
        "tls",
        Example(r#""require""#),
        "As tls of the section remote, for this route alone.",
        |draft, v| put(&mut draft.route.tls, value::choice(v, PROTECTION).map(Some)),
    ),
];

/// `[rewrite]`.
pub const REWRITE: &[Key] = &[
    key(
        "rewrite",
        "masquerade",
        Example(r#"{ "router.lan" = "example.org" }"#),
        "Domains of senders, and what others see instead.",
        |draft, v| {
            put(
                &mut draft.config.rewrite.leaving.masquerade,
                way::masquerade(v),
            )
        },
    ),
    key(
        "rewrite",
        "senders",
        Example(r#"{ "root" = "me@example.org" }"#),
        "Senders, with or without a domain, and what others see instead.",
        |draft, v| put(&mut draft.config.rewrite.leaving.senders, way::senders(v)),
    ),
    key(
        "rewrite",
        "add_domain",
        Default("true"),
        r#"Whether names without a domain, as in "To: root", get the host name."#,
        |draft, v| put(&mut draft.config.rewrite.add_domain, value::flag(v)),
    ),
];

/// `[remote]`.
pub const REMOTE: &[Key] = &[
    key(
        "remote",
        "port",
        Default(r#"25"#),
        "The port of mail servers; another one is for tests.",
        |draft, v| put(&mut draft.config.remote.port, value::number(v, 1..=65535)),
    ),
    key(
        "remote",
        "tls",
        Default(r#""opportunistic""#),
        "How the way there is protected: opportunistic (when it is offered), require or none.",
        |draft, v| put(&mut draft.config.remote.tls, value::choice(v, PROTECTION)),
    ),
    key(
        "remote",
        "ip",
        Default(r#""any""#),
        "Which addresses of them are used: any, v4 or v6.",
        |draft, v| put(&mut draft.config.remote.ip, value::choice(v, IP)),
    ),
    key(
        "remote",
        "bind",
        Default(r#"[]"#),
        "The addresses of this machine that connections come from, one of each kind; by default the system chooses.",
        |draft, v| put(&mut draft.config.remote.bind, way::bind(v)),
    ),
    key(
        "remote",
        "dane",
        Default("true"),
        "Whether TLSA records that DNSSEC vouches for decide which certificate a mail server must have (DANE).",
        |draft, v| put(&mut draft.config.remote.dane, value::flag(v)),
    ),
    key(
        "remote",
        "mta_sts",
        Default("true"),
        "Whether the policy that a domain has on its web server decides which mail servers get its mail (MTA-STS).",
        |draft, v| put(&mut draft.config.remote.mta_sts, value::flag(v)),
    ),
    key(
        "remote",
        "mta_sts_port",
        Default("443"),
        "The port of these web servers; another one is for tests.",
        |draft, v| {
            put(
                &mut draft.config.remote.mta_sts_port,
                value::number(v, 1..=65535),
            )
        },
    ),
    key(
        "remote",
        "ca_file",
        Example(r#""/etc/ssl/own-ca.pem""#),
        "The authorities that MTA-STS trusts, in PEM; by default the system's.",
        |draft, v| put(&mut draft.config.remote.ca_file, value::path(v).map(Some)),
    ),
    key(
        "remote",
        "tls_reports",
        Example(r#""postmaster@example.org""#),
        "The address in whose name domains that ask for it are told once a day how TLS with their servers went (TLS-RPT); by default they are not.",
        |draft, v| {
            put(
                &mut draft.config.remote.tls_reports,
                value::address(v).map(Some),
            )
        },
    ),
];

/// `[dkim]`.
pub const DKIM: &[Key] = &[
    key(
        "dkim",
        "domain",
        Example(r#""example.org""#),
        "Mail from this domain, and from those below it without a key of their own, is signed.",
        |draft, v| put(&mut draft.dkim.domain, value::domain(v).map(Some)),
    ),
    key(
        "dkim",
        "selector",
        Default(r#""minimta""#),
        "Which of the keys of the domain it is: the public half stands in DNS at SELECTOR._domainkey.DOMAIN.",
        |draft, v| put(&mut draft.dkim.selector, value::selector(v).map(Some)),
    ),
    key(
        "dkim",
        "key",
        Example(r#""/etc/minimta/dkim.pem""#),
        "The file of the private key, in PEM, RSA or Ed25519; refused when everybody can read it. minimta --dkim-key makes one.",
        |draft, v| put(&mut draft.dkim.key, value::path(v).map(Some)),
    ),
];

/// `[dns]`.
pub const DNS: &[Key] = &[
    key(
        "dns",
        "servers",
        Default(r#"[]"#),
        "The addresses of name servers; by default those of /etc/resolv.conf.",
        |draft, v| put(&mut draft.config.dns.servers, way::servers(v)),
    ),
    key(
        "dns",
        "timeout",
        Default(r#""5s""#),
        "How long one of them may take to answer.",
        |draft, v| {
            put(
                &mut draft.config.dns.timeout,
                value::duration(v, 1..=MINUTE),
            )
        },
    ),
    key(
        "dns",
        "trust_anchor",
        Example(r#""/etc/minimta/root.key""#),
        "The keys that DNSSEC begins with, as DNSKEY records; by default those of the root of the world's DNS.",
        |draft, v| put(&mut draft.config.dns.trust_anchor, value::path(v).map(Some)),
    ),
];

const TLS_FORMS: &[(&str, Tls)] = &[
    ("implicit", Tls::Implicit),
    ("starttls", Tls::Starttls),
    ("opportunistic", Tls::Opportunistic),
    ("none", Tls::None),
];

const PROTECTION: &[(&str, Protection)] = &[
    ("opportunistic", Protection::Opportunistic),
    ("require", Protection::Require),
    ("none", Protection::None),
];

const IP: &[(&str, Ip)] = &[("any", Ip::Any), ("v4", Ip::V4), ("v6", Ip::V6)];

const MECHANISMS: &[(&str, Option<Mechanism>)] = &[
    ("auto", None),
    ("plain", Some(Mechanism::Plain)),
    ("login", Some(Mechanism::Login)),
    ("cram-md5", Some(Mechanism::CramMd5)),
    ("scram-sha-256", Some(Mechanism::ScramSha256)),
    ("xoauth2", Some(Mechanism::Xoauth2)),
    ("oauthbearer", Some(Mechanism::Oauthbearer)),
];
