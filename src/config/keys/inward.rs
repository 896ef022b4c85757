//! The keys of mail that comes in: where it is listened for, from whom it is taken, and how strangers' mail is judged.

use super::super::value::{self, DAY, MINUTE};
use super::super::{Down, Judgement, way};
use super::Shown::{Default, Example};
use super::{Key, key, put};

/// `[listen]`.
pub const LISTEN: &[Key] = &[
    key(
        "listen",
        "smtp",
        Default(r#"["127.0.0.1:25", "[::1]:25"]"#),
        "For other servers and for this machine: [\"0.0.0.0:25\", \"[::]:25\"] takes mail from the world.",
        |draft, v| put(&mut draft.config.listen.smtp, value::endpoints(v)),
    ),
    key(
        "listen",
        "submission",
        Default("[]"),
        "For the mail programs of users, who must say STARTTLS and log in; the usual port is 587.",
        |draft, v| put(&mut draft.config.listen.submission, value::endpoints(v)),
    ),
    key(
        "listen",
        "submissions",
        Default("[]"),
        "The same with TLS from the first octet; the usual port is 465.",
        |draft, v| put(&mut draft.config.listen.submissions, value::endpoints(v)),
    ),
    key(
        "listen",
        "lmtp",
        Default("[]"),
        "For another mail server that hands over mail for here, such as \"unix:/run/minimta/lmtp\".",
        |draft, v| put(&mut draft.config.listen.lmtp, value::endpoints(v)),
    ),
    key(
        "listen",
        "max_connections",
        Default("50"),
        "How many sessions there are at once; whoever comes then is told to try later.",
        |draft, v| {
            put(
                &mut draft.config.listen.max_connections,
                value::number(v, 1..=10_000),
            )
        },
    ),
    key(
        "listen",
        "max_connections_per_client",
        Default("10"),
        "How many of them one client may have; a network of IPv6 (/64) is one client.",
        |draft, v| {
            put(
                &mut draft.config.listen.max_connections_per_client,
                value::number(v, 1..=10_000),
            )
        },
    ),
    key(
        "listen",
        "proxy_protocol",
        Default("[]"),
        "Networks whose PROXY header is believed, and expected: those of the proxies in front.",
        |draft, v| put(&mut draft.config.listen.proxy_protocol, value::networks(v)),
    ),
];

/// `[tls]`.
pub const TLS: &[Key] = &[
    key(
        "tls",
        "certificate",
        Example(r#""/etc/minimta/tls/cert.pem""#),
        "Its certificate, with its chain behind it, in PEM; by default a self-signed one is made.",
        |draft, v| put(&mut draft.certificate, value::path(v).map(Some)),
    ),
    key(
        "tls",
        "key",
        Example(r#""/etc/minimta/tls/key.pem""#),
        "The certificate's key, in PEM; refused when everybody can read it. By default it stands in the file of the certificate.",
        |draft, v| put(&mut draft.key, value::path(v).map(Some)),
    ),
];

/// `[access]`.
pub const ACCESS: &[Key] = &[
    key(
        "access",
        "relay_from",
        Default(r#"["127.0.0.0/8", "::1/128"]"#),
        "The clients that may send anywhere without logging in, as networks.",
        |draft, v| put(&mut draft.config.access.relay_from, value::networks(v)),
    ),
    key(
        "access",
        "relay_to",
        Default("[]"),
        "Domains whose mail is taken from everybody and passed on: those this machine is the backup MX for.",
        |draft, v| put(&mut draft.config.access.relay_to, value::domains(v)),
    ),
    key(
        "access",
        "users_file",
        Default(r#""/etc/minimta/users""#),
        "Who may log in: a line name:hash each, the hash from minimta --password. Without the file nobody may.",
        |draft, v| put(&mut draft.config.access.users_file, value::path(v)),
    ),
    key(
        "access",
        "dnsbl",
        Default(r#"[]"#),
        "Lists of addresses in DNS from which strangers' mail is refused, each with what it counts, 1 by default.",
        |draft, v| put(&mut draft.config.access.dnsbl, value::lists(v)),
    ),
    key(
        "access",
        "dnsbl_score",
        Default(r#"1"#),
        "From which sum on a client is refused; a list that counts less than 0 speaks for it.",
        |draft, v| {
            put(
                &mut draft.config.access.dnsbl_score,
                value::number(v, 1..=255),
            )
        },
    ),
    key(
        "access",
        "greylist",
        Default(r#"false"#),
        "Whether mail from strangers is taken only when they come again, unless SPF or a list speaks for them.",
        |draft, v| put(&mut draft.config.access.greylist, value::flag(v)),
    ),
    key(
        "access",
        "greylist_delay",
        Default(r#""1m""#),
        "How long after the first time they may come again.",
        |draft, v| {
            put(
                &mut draft.config.access.greylist_delay,
                value::duration(v, 0..=DAY),
            )
        },
    ),
    key(
        "access",
        "helo",
        Default(r#""mark""#),
        "What becomes of mail from strangers that give a name which cannot be theirs: off, mark (in the log) or refuse.",
        |draft, v| put(&mut draft.config.access.helo, value::choice(v, JUDGEMENT)),
    ),
    key(
        "access",
        "greeting_delay",
        Default(r#""0s""#),
        "How long strangers must wait for the greeting; who speaks before it is sent away.",
        |draft, v| {
            put(
                &mut draft.config.access.greeting_delay,
                value::duration(v, 0..=MINUTE),
            )
        },
    ),
    key(
        "access",
        "spf",
        Default(r#""mark""#),
        "What becomes of mail from strangers whose address is not among those its sender allows: off, mark or refuse.",
        |draft, v| put(&mut draft.config.access.spf, value::choice(v, JUDGEMENT)),
    ),
    key(
        "access",
        "dmarc",
        Default(r#""mark""#),
        "What becomes of mail from strangers that the domain in From does not answer for, and asks to refuse: off, mark or refuse.",
        |draft, v| put(&mut draft.config.access.dmarc, value::choice(v, JUDGEMENT)),
    ),
];

/// `[milter]`.
pub const MILTER: &[Key] = &[
    key(
        "milter",
        "socket",
        Example(r#""unix:/run/rspamd/milter.sock""#),
        "Where a filter listens that is shown what comes by SMTP, such as rspamd: host:port, or unix: and a path.",
        |draft, v| put(&mut draft.milter.socket, way::address(v).map(Some)),
    ),
    key(
        "milter",
        "timeout",
        Default(r#""1m""#),
        "How long it may take for an answer.",
        |draft, v| {
            put(
                &mut draft.milter.timeout,
                value::duration(v, 1..=10 * MINUTE).map(Some),
            )
        },
    ),
    key(
        "milter",
        "down",
        Default(r#""tempfail""#),
        "What becomes of mail while it does not answer: tempfail (it is to come again) or accept (it is taken as if there were no filter).",
        |draft, v| put(&mut draft.milter.down, value::choice(v, DOWN).map(Some)),
    ),
];

const DOWN: &[(&str, Down)] = &[("tempfail", Down::Tempfail), ("accept", Down::Accept)];

const JUDGEMENT: &[(&str, Judgement)] = &[
    ("off", Judgement::Off),
    ("mark", Judgement::Mark),
    ("refuse", Judgement::Refuse),
];
