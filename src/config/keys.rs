//! The keys: one row each, in the order of `etc/minimta.toml` and of minimta.toml(5).
//!
//! A key is added by a row here, a field in `config.rs` and, because the tests ask for them, its lines in the
//! sample and its entry in the manual.

use log::LevelFilter;

use super::document::Value;
use super::reader::Draft;
use super::value::{self, DAY, GIB, KIB, MINUTE, Wrong};
use super::{Down, FirstTry, Ip, Judgement, Tls, way};
use crate::proto::route::Protection;
use crate::proto::sasl::Mechanism;

/// A key.
pub struct Key {
    /// The table it stands in; empty: before the first one.
    pub section: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What the sample shows.
    pub shown: Shown,
    /// What it is for, in one sentence: the line above it in the sample.
    pub doc: &'static str,
    /// Reads the value and puts it in its place.
    pub set: fn(&mut Draft, &Value) -> Result<(), Wrong>,
}

/// A value in TOML.
pub enum Shown {
    /// To write it is the same as to leave the key out.
    Default(&'static str),
    /// Without the key there is none, or it follows from something else.
    Example(&'static str),
}

impl Shown {
    /// The TOML text.
    pub fn text(&self) -> &'static str {
        match self {
            Self::Default(text) | Self::Example(text) => text,
        }
    }
}

/// Every key there is.
pub const KEYS: &[Key] = &[
    Key {
        section: "",
        name: "hostname",
        shown: Shown::Example(r#""pi.example.org""#),
        doc: "What this machine calls itself; by default its fully qualified name.",
        set: |draft, v| {
            draft.hostname = Some(value::domain(v)?);
            Ok(())
        },
    },
    Key {
        section: "",
        name: "domains",
        shown: Shown::Example(r#"["pi.example.org", "localhost"]"#),
        doc: "Mail for these is delivered here; by default the host name and localhost.",
        set: |draft, v| {
            draft.domains = Some(value::domains(v)?);
            Ok(())
        },
    },
    Key {
        section: "",
        name: "user",
        shown: Shown::Default(r#""minimta""#),
        doc: "Whom minimta works as when root starts it; the spool and the run folder are this user's. Root's own name: as root.",
        set: |draft, v| {
            draft.config.user = value::user(v)?;
            Ok(())
        },
    },
    Key {
        section: "",
        name: "jail",
        shown: Shown::Default("true"),
        doc: "Whether the process that meets mail and the network shuts itself out of files and calls that it does not need (Landlock, seccomp; on Linux).",
        set: |draft, v| {
            draft.config.jail = value::flag(v)?;
            Ok(())
        },
    },
    Key {
        section: "smarthost",
        name: "host",
        shown: Shown::Example(r#""smtp.example.org""#),
        doc: "A name or an address, tried as it is, without an MX look-up. The one key that must be there.",
        set: |draft, v| {
            draft.smarthost.host = Some(value::host(v)?);
            Ok(())
        },
    },
    Key {
        section: "smarthost",
        name: "port",
        shown: Shown::Default("465"),
        doc: r#"The port there: 465, or 587 with tls = "starttls", or 25 with "opportunistic" and "none"."#,
        set: |draft, v| {
            draft.smarthost.port = Some(value::number(v, 1..=65535)?);
            Ok(())
        },
    },
    Key {
        section: "smarthost",
        name: "tls",
        shown: Shown::Default(r#""implicit""#),
        doc: "How the way there is protected: implicit, starttls, opportunistic or none; by default implicit on port 465, starttls on others.",
        set: |draft, v| {
            draft.smarthost.tls = Some(value::choice(v, TLS)?);
            Ok(())
        },
    },
    Key {
        section: "smarthost",
        name: "verify",
        shown: Shown::Default("true"),
        doc: "Whether the name and the chain of its certificate are checked.",
        set: |draft, v| {
            draft.smarthost.verify = Some(value::flag(v)?);
            Ok(())
        },
    },
    Key {
        section: "smarthost",
        name: "ca_file",
        shown: Shown::Example(r#""/etc/ssl/own-ca.pem""#),
        doc: "The authorities to trust, in PEM; by default those of the system.",
        set: |draft, v| {
            draft.smarthost.ca_file = Some(value::path(v)?);
            Ok(())
        },
    },
    Key {
        section: "smarthost",
        name: "fingerprint",
        shown: Shown::Example(
            r#""sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff""#,
        ),
        doc: "The SHA-256 of the one certificate to trust, instead of any authority.",
        set: |draft, v| {
            draft.smarthost.fingerprint = Some(value::fingerprint(v)?);
            Ok(())
        },
    },
    Key {
        section: "smarthost",
        name: "user",
        shown: Shown::Example(r#""me@example.org""#),
        doc: "Who logs in there; by default nobody.",
        set: |draft, v| {
            draft.smarthost.user = Some(value::text(v)?);
            Ok(())
        },
    },
    Key {
        section: "smarthost",
        name: "password_file",
        shown: Shown::Example(r#""/etc/minimta/password""#),
        doc: "A file whose first line is the password or token; refused when others can read it.",
        set: |draft, v| {
            draft.smarthost.password_file = Some(value::path(v)?);
            Ok(())
        },
    },
    Key {
        section: "smarthost",
        name: "password_command",
        shown: Shown::Example(r#"["/usr/bin/pass", "mail"]"#),
        doc: "Or a program that prints the password or token as its first line; it is run without a shell.",
        set: |draft, v| {
            draft.smarthost.password_command = Some(value::words(v)?);
            Ok(())
        },
    },
    Key {
        section: "smarthost",
        name: "auth",
        shown: Shown::Default(r#""auto""#),
        doc: "How to log in: auto (the best that is offered), plain, login, cram-md5, scram-sha-256, xoauth2 or oauthbearer.",
        set: |draft, v| {
            draft.smarthost.auth = Some(value::choice(v, MECHANISMS)?);
            Ok(())
        },
    },
    Key {
        section: "smarthost",
        name: "from",
        shown: Shown::Example(r#""me@example.org""#),
        doc: "All mail leaves as this address, in the envelope and in From, whatever it was sent as.",
        set: |draft, v| {
            draft.smarthost.from = Some(value::address(v)?);
            Ok(())
        },
    },
    Key {
        section: "route",
        name: "domain",
        shown: Shown::Example(r#""lan.example""#),
        doc: "For recipients at this domain; with a dot before it, at all below it.",
        set: |draft, v| {
            draft.route.domain = Some(way::pattern(v)?);
            Ok(())
        },
    },
    Key {
        section: "route",
        name: "sender",
        shown: Shown::Example(r#""me@work.example""#),
        doc: "For mail of this sender that leaves; with domain as well, both must fit.",
        set: |draft, v| {
            draft.route.sender = Some(value::address(v)?);
            Ok(())
        },
    },
    Key {
        section: "route",
        name: "via",
        shown: Shown::Example(r#""10.0.0.5:2525""#),
        doc: "Where it goes: a host, with or without a port, lmtp: and a socket, mx, local, or refuse with a code and a text.",
        set: |draft, v| {
            draft.route.via = Some(way::via(v)?);
            Ok(())
        },
    },
    Key {
        section: "route",
        name: "tls",
        shown: Shown::Example(r#""require""#),
        doc: "As tls of the section remote, for this route alone.",
        set: |draft, v| {
            draft.route.tls = Some(value::choice(v, PROTECTION)?);
            Ok(())
        },
    },
    Key {
        section: "rewrite",
        name: "masquerade",
        shown: Shown::Example(r#"{ "router.lan" = "example.org" }"#),
        doc: "Domains of senders, and what others see instead.",
        set: |draft, v| {
            draft.config.rewrite.leaving.masquerade = way::masquerade(v)?;
            Ok(())
        },
    },
    Key {
        section: "rewrite",
        name: "senders",
        shown: Shown::Example(r#"{ "root" = "me@example.org" }"#),
        doc: "Senders, with or without a domain, and what others see instead.",
        set: |draft, v| {
            draft.config.rewrite.leaving.senders = way::senders(v)?;
            Ok(())
        },
    },
    Key {
        section: "rewrite",
        name: "add_domain",
        shown: Shown::Default("true"),
        doc: r#"Whether names without a domain, as in "To: root", get the host name."#,
        set: |draft, v| {
            draft.config.rewrite.add_domain = value::flag(v)?;
            Ok(())
        },
    },
    Key {
        section: "listen",
        name: "smtp",
        shown: Shown::Default(r#"["127.0.0.1:25", "[::1]:25"]"#),
        doc: "For other servers and for this machine: [\"0.0.0.0:25\", \"[::]:25\"] takes mail from the world.",
        set: |draft, v| {
            draft.config.listen.smtp = value::endpoints(v)?;
            Ok(())
        },
    },
    Key {
        section: "listen",
        name: "submission",
        shown: Shown::Default("[]"),
        doc: "For the mail programs of users, who must say STARTTLS and log in; the usual port is 587.",
        set: |draft, v| {
            draft.config.listen.submission = value::endpoints(v)?;
            Ok(())
        },
    },
    Key {
        section: "listen",
        name: "submissions",
        shown: Shown::Default("[]"),
        doc: "The same with TLS from the first octet; the usual port is 465.",
        set: |draft, v| {
            draft.config.listen.submissions = value::endpoints(v)?;
            Ok(())
        },
    },
    Key {
        section: "listen",
        name: "lmtp",
        shown: Shown::Default("[]"),
        doc: "For another mail server that hands over mail for here, such as \"unix:/run/minimta/lmtp\".",
        set: |draft, v| {
            draft.config.listen.lmtp = value::endpoints(v)?;
            Ok(())
        },
    },
    Key {
        section: "listen",
        name: "max_connections",
        shown: Shown::Default("50"),
        doc: "How many sessions there are at once; whoever comes then is told to try later.",
        set: |draft, v| {
            draft.config.listen.max_connections = value::number(v, 1..=10_000)?;
            Ok(())
        },
    },
    Key {
        section: "listen",
        name: "max_connections_per_client",
        shown: Shown::Default("10"),
        doc: "How many of them one client may have; a network of IPv6 (/64) is one client.",
        set: |draft, v| {
            draft.config.listen.max_connections_per_client = value::number(v, 1..=10_000)?;
            Ok(())
        },
    },
    Key {
        section: "listen",
        name: "proxy_protocol",
        shown: Shown::Default("[]"),
        doc: "Networks whose PROXY header is believed, and expected: those of the proxies in front.",
        set: |draft, v| {
            draft.config.listen.proxy_protocol = value::networks(v)?;
            Ok(())
        },
    },
    Key {
        section: "tls",
        name: "certificate",
        shown: Shown::Example(r#""/etc/minimta/tls/cert.pem""#),
        doc: "Its certificate, with its chain behind it, in PEM; by default a self-signed one is made.",
        set: |draft, v| {
            draft.certificate = Some(value::path(v)?);
            Ok(())
        },
    },
    Key {
        section: "tls",
        name: "key",
        shown: Shown::Example(r#""/etc/minimta/tls/key.pem""#),
        doc: "The certificate's key, in PEM; refused when everybody can read it. By default it stands in the file of the certificate.",
        set: |draft, v| {
            draft.key = Some(value::path(v)?);
            Ok(())
        },
    },
    Key {
        section: "access",
        name: "relay_from",
        shown: Shown::Default(r#"["127.0.0.0/8", "::1/128"]"#),
        doc: "The clients that may send anywhere without logging in, as networks.",
        set: |draft, v| {
            draft.config.access.relay_from = value::networks(v)?;
            Ok(())
        },
    },
    Key {
        section: "access",
        name: "relay_to",
        shown: Shown::Default("[]"),
        doc: "Domains whose mail is taken from everybody and passed on: those this machine is the backup MX for.",
        set: |draft, v| {
            draft.config.access.relay_to = value::domains(v)?;
            Ok(())
        },
    },
    Key {
        section: "access",
        name: "users_file",
        shown: Shown::Default(r#""/etc/minimta/users""#),
        doc: "Who may log in: a line name:hash each, the hash from minimta --password. Without the file nobody may.",
        set: |draft, v| {
            draft.config.access.users_file = value::path(v)?;
            Ok(())
        },
    },
    Key {
        section: "access",
        name: "dnsbl",
        shown: Shown::Default(r#"[]"#),
        doc: "Lists of addresses in DNS from which strangers' mail is refused, each with what it counts, 1 by default.",
        set: |draft, v| {
            draft.config.access.dnsbl = value::lists(v)?;
            Ok(())
        },
    },
    Key {
        section: "access",
        name: "dnsbl_score",
        shown: Shown::Default(r#"1"#),
        doc: "From which sum on a client is refused; a list that counts less than 0 speaks for it.",
        set: |draft, v| {
            draft.config.access.dnsbl_score = value::number(v, 1..=255)?;
            Ok(())
        },
    },
    Key {
        section: "access",
        name: "greylist",
        shown: Shown::Default(r#"false"#),
        doc: "Whether mail from strangers is taken only when they come again, unless SPF or a list speaks for them.",
        set: |draft, v| {
            draft.config.access.greylist = value::flag(v)?;
            Ok(())
        },
    },
    Key {
        section: "access",
        name: "greylist_delay",
        shown: Shown::Default(r#""1m""#),
        doc: "How long after the first time they may come again.",
        set: |draft, v| {
            draft.config.access.greylist_delay = value::duration(v, 0..=DAY)?;
            Ok(())
        },
    },
    Key {
        section: "access",
        name: "helo",
        shown: Shown::Default(r#""mark""#),
        doc: "What becomes of mail from strangers that give a name which cannot be theirs: off, mark (in the log) or refuse.",
        set: |draft, v| {
            draft.config.access.helo = value::choice(v, JUDGEMENT)?;
            Ok(())
        },
    },
    Key {
        section: "access",
        name: "greeting_delay",
        shown: Shown::Default(r#""0s""#),
        doc: "How long strangers must wait for the greeting; who speaks before it is sent away.",
        set: |draft, v| {
            draft.config.access.greeting_delay = value::duration(v, 0..=MINUTE)?;
            Ok(())
        },
    },
    Key {
        section: "access",
        name: "spf",
        shown: Shown::Default(r#""mark""#),
        doc: "What becomes of mail from strangers whose address is not among those its sender allows: off, mark or refuse.",
        set: |draft, v| {
            draft.config.access.spf = value::choice(v, JUDGEMENT)?;
            Ok(())
        },
    },
    Key {
        section: "access",
        name: "dmarc",
        shown: Shown::Default(r#""mark""#),
        doc: "What becomes of mail from strangers that the domain in From does not answer for, and asks to refuse: off, mark or refuse.",
        set: |draft, v| {
            draft.config.access.dmarc = value::choice(v, JUDGEMENT)?;
            Ok(())
        },
    },
    Key {
        section: "local",
        name: "mailbox",
        shown: Shown::Default(r#""~/Maildir/""#),
        doc: "A path that ends in / is a Maildir, any other an mbox; ~ is the home, %u the name of the user. Or |command, run as the user; or lmtp: and a server's socket, or its host:port.",
        set: |draft, v| {
            draft.config.local.mailbox = way::mailbox(v)?;
            Ok(())
        },
    },
    Key {
        section: "local",
        name: "aliases",
        shown: Shown::Default(r#""/etc/aliases""#),
        doc: "Whom mail for a name is for: aliases(5), in the form of sendmail. Without the file there are none.",
        set: |draft, v| {
            draft.config.local.aliases = value::path(v)?;
            Ok(())
        },
    },
    Key {
        section: "local",
        name: "alias_user",
        shown: Shown::Default(r#""nobody""#),
        doc: "As whom commands run and files are written that the alias file names; never root.",
        set: |draft, v| {
            draft.config.local.alias_user = value::alias_user(v)?;
            Ok(())
        },
    },
    Key {
        section: "local",
        name: "forward",
        shown: Shown::Default("true"),
        doc: "Whether users, but not root, may send their mail elsewhere with a file ~/.forward.",
        set: |draft, v| {
            draft.config.local.forward = value::flag(v)?;
            Ok(())
        },
    },
    Key {
        section: "local",
        name: "srs",
        shown: Shown::Default("true"),
        doc: "Whether mail from elsewhere that is sent on to another domain leaves with a sender of this machine (SRS), so that SPF lets it pass.",
        set: |draft, v| {
            draft.config.local.srs = value::flag(v)?;
            Ok(())
        },
    },
    Key {
        section: "local",
        name: "delimiter",
        shown: Shown::Default(r#""+""#),
        doc: "What separates a name from a detail that its user may add: alice+shop is alice. Empty for nothing.",
        set: |draft, v| {
            draft.config.local.delimiter = value::delimiter(v)?;
            Ok(())
        },
    },
    Key {
        section: "local",
        name: "unknown_user",
        shown: Shown::Default(r#""refuse""#),
        doc: "Who gets mail for names that nobody has: an address, a user or an alias; or refuse.",
        set: |draft, v| {
            draft.config.local.unknown_user = value::unknown_user(v)?;
            Ok(())
        },
    },
    Key {
        section: "remote",
        name: "port",
        shown: Shown::Default(r#"25"#),
        doc: "The port of mail servers; another one is for tests.",
        set: |draft, v| {
            draft.config.remote.port = value::number(v, 1..=65535)?;
            Ok(())
        },
    },
    Key {
        section: "remote",
        name: "tls",
        shown: Shown::Default(r#""opportunistic""#),
        doc: "How the way there is protected: opportunistic (when it is offered), require or none.",
        set: |draft, v| {
            draft.config.remote.tls = value::choice(v, PROTECTION)?;
            Ok(())
        },
    },
    Key {
        section: "remote",
        name: "ip",
        shown: Shown::Default(r#""any""#),
        doc: "Which addresses of them are used: any, v4 or v6.",
        set: |draft, v| {
            draft.config.remote.ip = value::choice(v, IP)?;
            Ok(())
        },
    },
    Key {
        section: "remote",
        name: "bind",
        shown: Shown::Default(r#"[]"#),
        doc: "The addresses of this machine that connections come from, one of each kind; by default the system chooses.",
        set: |draft, v| {
            draft.config.remote.bind = way::bind(v)?;
            Ok(())
        },
    },
    Key {
        section: "remote",
        name: "dane",
        shown: Shown::Default("true"),
        doc: "Whether TLSA records that DNSSEC vouches for decide which certificate a mail server must have (DANE).",
        set: |draft, v| {
            draft.config.remote.dane = value::flag(v)?;
            Ok(())
        },
    },
    Key {
        section: "remote",
        name: "mta_sts",
        shown: Shown::Default("true"),
        doc: "Whether the policy that a domain has on its web server decides which mail servers get its mail (MTA-STS).",
        set: |draft, v| {
            draft.config.remote.mta_sts = value::flag(v)?;
            Ok(())
        },
    },
    Key {
        section: "remote",
        name: "mta_sts_port",
        shown: Shown::Default("443"),
        doc: "The port of these web servers; another one is for tests.",
        set: |draft, v| {
            draft.config.remote.mta_sts_port = value::number(v, 1..=65535)?;
            Ok(())
        },
    },
    Key {
        section: "remote",
        name: "ca_file",
        shown: Shown::Example(r#""/etc/ssl/own-ca.pem""#),
        doc: "The authorities that MTA-STS trusts, in PEM; by default the system's.",
        set: |draft, v| {
            draft.config.remote.ca_file = Some(value::path(v)?);
            Ok(())
        },
    },
    Key {
        section: "remote",
        name: "tls_reports",
        shown: Shown::Example(r#""postmaster@example.org""#),
        doc: "The address in whose name domains that ask for it are told once a day how TLS with their servers went (TLS-RPT); by default they are not.",
        set: |draft, v| {
            draft.config.remote.tls_reports = Some(value::address(v)?);
            Ok(())
        },
    },
    Key {
        section: "dkim",
        name: "domain",
        shown: Shown::Example(r#""example.org""#),
        doc: "Mail from this domain, and from those below it without a key of their own, is signed.",
        set: |draft, v| {
            draft.dkim.domain = Some(value::domain(v)?);
            Ok(())
        },
    },
    Key {
        section: "dkim",
        name: "selector",
        shown: Shown::Default(r#""minimta""#),
        doc: "Which of the keys of the domain it is: the public half stands in DNS at SELECTOR._domainkey.DOMAIN.",
        set: |draft, v| {
            draft.dkim.selector = Some(value::selector(v)?);
            Ok(())
        },
    },
    Key {
        section: "dkim",
        name: "key",
        shown: Shown::Example(r#""/etc/minimta/dkim.pem""#),
        doc: "The file of the private key, in PEM, RSA or Ed25519; refused when everybody can read it. minimta --dkim-key makes one.",
        set: |draft, v| {
            draft.dkim.key = Some(value::path(v)?);
            Ok(())
        },
    },
    Key {
        section: "milter",
        name: "socket",
        shown: Shown::Example(r#""unix:/run/rspamd/milter.sock""#),
        doc: "Where a filter listens that is shown what comes by SMTP, such as rspamd: host:port, or unix: and a path.",
        set: |draft, v| {
            draft.milter.socket = Some(way::address(v)?);
            Ok(())
        },
    },
    Key {
        section: "milter",
        name: "timeout",
        shown: Shown::Default(r#""1m""#),
        doc: "How long it may take for an answer.",
        set: |draft, v| {
            draft.milter.timeout = Some(value::duration(v, 1..=10 * MINUTE)?);
            Ok(())
        },
    },
    Key {
        section: "milter",
        name: "down",
        shown: Shown::Default(r#""tempfail""#),
        doc: "What becomes of mail while it does not answer: tempfail (it is to come again) or accept (it is taken as if there were no filter).",
        set: |draft, v| {
            draft.milter.down = Some(value::choice(v, DOWN)?);
            Ok(())
        },
    },
    Key {
        section: "queue",
        name: "spool",
        shown: Shown::Default(r#""/var/spool/minimta""#),
        doc: "The folder of the queue; it must survive a power cut.",
        set: |draft, v| {
            draft.config.queue.spool = value::path(v)?;
            Ok(())
        },
    },
    Key {
        section: "queue",
        name: "first_try",
        shown: Shown::Default(r#""spool""#),
        doc: "Where a message is when it is acknowledged: spool; or direct: with its only next hop when that takes it at once, and in the spool when not.",
        set: |draft, v| {
            draft.config.queue.first_try = value::choice(v, FIRST_TRY)?;
            Ok(())
        },
    },
    Key {
        section: "queue",
        name: "retry_first",
        shown: Shown::Default(r#""5m""#),
        doc: "How long after a first failure the second attempt is due; then the times grow.",
        set: |draft, v| {
            draft.config.queue.retry_first = value::duration(v, 1..=30 * DAY)?;
            Ok(())
        },
    },
    Key {
        section: "queue",
        name: "retry_max",
        shown: Shown::Default(r#""4h""#),
        doc: "The longest time between two attempts.",
        set: |draft, v| {
            draft.config.queue.retry_max = value::duration(v, 1..=30 * DAY)?;
            Ok(())
        },
    },
    Key {
        section: "queue",
        name: "warn_after",
        shown: Shown::Default(r#""4h""#),
        doc: "When the sender is told of a delay; as long as give_up_after: never.",
        set: |draft, v| {
            draft.config.queue.warn_after = value::duration(v, 0..=365 * DAY)?;
            Ok(())
        },
    },
    Key {
        section: "queue",
        name: "give_up_after",
        shown: Shown::Default(r#""5d""#),
        doc: "When a message that cannot be delivered goes back to its sender.",
        set: |draft, v| {
            draft.config.queue.give_up_after = value::duration(v, 0..=365 * DAY)?;
            Ok(())
        },
    },
    Key {
        section: "queue",
        name: "min_free",
        shown: Shown::Default(r#""16M""#),
        doc: "What is left free on the file system; no message is accepted below it.",
        set: |draft, v| {
            draft.config.queue.min_free = value::size(v, 0..=1024 * GIB)?;
            Ok(())
        },
    },
    Key {
        section: "queue",
        name: "max_messages",
        shown: Shown::Default("10000"),
        doc: "How many messages may wait; no more are accepted then.",
        set: |draft, v| {
            draft.config.queue.max_messages = value::number(v, 1..=10_000_000)?;
            Ok(())
        },
    },
    Key {
        section: "queue",
        name: "workers",
        shown: Shown::Default("4"),
        doc: "How many deliveries to other hosts run at once; twice as many write to mailboxes.",
        set: |draft, v| {
            draft.config.queue.workers = value::number(v, 1..=100)?;
            Ok(())
        },
    },
    Key {
        section: "queue",
        name: "per_destination",
        shown: Shown::Default("2"),
        doc: "How many connections go to one host at once.",
        set: |draft, v| {
            draft.config.queue.per_destination = value::number(v, 1..=100)?;
            Ok(())
        },
    },
    Key {
        section: "queue",
        name: "run",
        shown: Shown::Default(r#""/run/minimta""#),
        doc: "The folder in which a running daemon is found and woken; it may be empty after a restart.",
        set: |draft, v| {
            draft.config.queue.run = value::path(v)?;
            Ok(())
        },
    },
    Key {
        section: "submit",
        name: "collapse",
        shown: Shown::Default(r#""0s""#),
        doc: "For how long what repeats a message of sendmail, but for digits, is held back, to go once and with its number; 0s: not at all.",
        set: |draft, v| {
            draft.config.submit.collapse = value::duration(v, 0..=DAY)?;
            Ok(())
        },
    },
    Key {
        section: "limits",
        name: "message_size",
        shown: Shown::Default(r#""25M""#),
        doc: "The largest message that is accepted.",
        set: |draft, v| {
            draft.config.limits.message_size = value::size(v, KIB..=1024 * GIB)?;
            Ok(())
        },
    },
    Key {
        section: "limits",
        name: "recipients",
        shown: Shown::Default("1000"),
        doc: "How many recipients one message may have.",
        set: |draft, v| {
            draft.config.limits.recipients = value::number(v, 1..=100_000)?;
            Ok(())
        },
    },
    Key {
        section: "limits",
        name: "hops",
        shown: Shown::Default("100"),
        doc: "How many Received lines a message may have; with more it is in a loop.",
        set: |draft, v| {
            draft.config.limits.hops = value::number(v, 1..=1000)?;
            Ok(())
        },
    },
    Key {
        section: "limits",
        name: "command_timeout",
        shown: Shown::Default(r#""5m""#),
        doc: "How long one command of a session may take, with the silence before it.",
        set: |draft, v| {
            draft.config.limits.command_timeout = value::duration(v, 1..=DAY)?;
            Ok(())
        },
    },
    Key {
        section: "limits",
        name: "data_timeout",
        shown: Shown::Default(r#""10m""#),
        doc: "How long one message of a session may take.",
        set: |draft, v| {
            draft.config.limits.data_timeout = value::duration(v, 1..=DAY)?;
            Ok(())
        },
    },
    Key {
        section: "limits",
        name: "errors",
        shown: Shown::Default("10"),
        doc: "How many bad commands a session may send before it is closed.",
        set: |draft, v| {
            draft.config.limits.errors = value::number(v, 1..=1000)?;
            Ok(())
        },
    },
    Key {
        section: "limits",
        name: "connections_per_minute",
        shown: Shown::Default(r#"0"#),
        doc: "How many connections one stranger may make in a minute; 0: any number.",
        set: |draft, v| {
            draft.config.limits.connections_per_minute = value::number(v, 0..=100_000)?;
            Ok(())
        },
    },
    Key {
        section: "limits",
        name: "client_messages_per_hour",
        shown: Shown::Default(r#"0"#),
        doc: "How many messages one stranger may send in an hour; 0: any number.",
        set: |draft, v| {
            draft.config.limits.client_messages_per_hour = value::number(v, 0..=1_000_000)?;
            Ok(())
        },
    },
    Key {
        section: "limits",
        name: "user_messages_per_hour",
        shown: Shown::Default(r#"0"#),
        doc: "How many messages one user who has logged in may send in an hour; 0: any number.",
        set: |draft, v| {
            draft.config.limits.user_messages_per_hour = value::number(v, 0..=1_000_000)?;
            Ok(())
        },
    },
    Key {
        section: "dns",
        name: "servers",
        shown: Shown::Default(r#"[]"#),
        doc: "The addresses of name servers; by default those of /etc/resolv.conf.",
        set: |draft, v| {
            draft.config.dns.servers = way::servers(v)?;
            Ok(())
        },
    },
    Key {
        section: "dns",
        name: "timeout",
        shown: Shown::Default(r#""5s""#),
        doc: "How long one of them may take to answer.",
        set: |draft, v| {
            draft.config.dns.timeout = value::duration(v, 1..=MINUTE)?;
            Ok(())
        },
    },
    Key {
        section: "dns",
        name: "trust_anchor",
        shown: Shown::Example(r#""/etc/minimta/root.key""#),
        doc: "The keys that DNSSEC begins with, as DNSKEY records; by default those of the root of the world's DNS.",
        set: |draft, v| {
            draft.config.dns.trust_anchor = Some(value::path(v)?);
            Ok(())
        },
    },
    Key {
        section: "log",
        name: "to",
        shown: Shown::Default(r#""auto""#),
        doc: "Where its lines go: auto (syslog; stderr under a supervisor or at a terminal), syslog, stderr or a file.",
        set: |draft, v| {
            draft.config.log.to = value::log_to(v)?;
            Ok(())
        },
    },
    Key {
        section: "log",
        name: "level",
        shown: Shown::Default(r#""info""#),
        doc: "The least that is logged: off, error, warn, info, debug or trace.",
        set: |draft, v| {
            draft.config.log.level = value::choice(v, LEVELS)?;
            Ok(())
        },
    },
];

/// The names of the tables, in order.
pub fn sections() -> Vec<&'static str> {
    let mut sections: Vec<&str> = KEYS.iter().map(|key| key.section).collect();
    sections.dedup();
    sections.retain(|section| !section.is_empty());
    sections
}

/// The key of a name in a table.
pub fn find(section: &str, name: &str) -> Option<&'static Key> {
    KEYS.iter()
        .find(|key| key.section == section && key.name == name)
}

const TLS: &[(&str, Tls)] = &[
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

const FIRST_TRY: &[(&str, FirstTry)] = &[("spool", FirstTry::Spool), ("direct", FirstTry::Direct)];

const DOWN: &[(&str, Down)] = &[("tempfail", Down::Tempfail), ("accept", Down::Accept)];

const JUDGEMENT: &[(&str, Judgement)] = &[
    ("off", Judgement::Off),
    ("mark", Judgement::Mark),
    ("refuse", Judgement::Refuse),
];

const MECHANISMS: &[(&str, Option<Mechanism>)] = &[
    ("auto", None),
    ("plain", Some(Mechanism::Plain)),
    ("login", Some(Mechanism::Login)),
    ("cram-md5", Some(Mechanism::CramMd5)),
    ("scram-sha-256", Some(Mechanism::ScramSha256)),
    ("xoauth2", Some(Mechanism::Xoauth2)),
    ("oauthbearer", Some(Mechanism::Oauthbearer)),
];

const LEVELS: &[(&str, LevelFilter)] = &[
    ("off", LevelFilter::Off),
    ("error", LevelFilter::Error),
    ("warn", LevelFilter::Warn),
    ("info", LevelFilter::Info),
    ("debug", LevelFilter::Debug),
    ("trace", LevelFilter::Trace),
];
