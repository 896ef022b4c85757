//! The keys of this machine: its name, its mailboxes, its queue, its limits and its log.

use log::LevelFilter;

use super::super::value::{self, DAY, GIB, KIB};
use super::super::{FirstTry, way};
use super::Shown::{Default, Example};
use super::{Key, key, put};
use crate::proto::envelope::MAX_RECIPIENTS;

/// Before the first table.
pub const TOP: &[Key] = &[
    key(
        "",
        "hostname",
        Example(r#""pi.example.org""#),
        "What this machine calls itself; by default its fully qualified name.",
        |draft, v| put(&mut draft.hostname, value::host_name(v).map(Some)),
    ),
    key(
        "",
        "domains",
        Example(r#"["pi.example.org", "localhost"]"#),
        "Mail for these is delivered here; by default the host name and localhost.",
        |draft, v| put(&mut draft.domains, value::domains(v).map(Some)),
    ),
    key(
        "",
        "user",
        Default(r#""minimta""#),
        "Whom minimta works as when root starts it; the spool and the run folder are this user's. Root's own name: as root.",
        |draft, v| put(&mut draft.config.user, value::user(v)),
    ),
    key(
        "",
        "jail",
        Default("true"),
        "Whether the process that meets mail and the network shuts itself out of files and calls that it does not need (Landlock, seccomp; on Linux).",
        |draft, v| put(&mut draft.config.jail, value::flag(v)),
    ),
];

/// `[local]`.
pub const LOCAL: &[Key] = &[
    key(
        "local",
        "mailbox",
        Default(r#""~/Maildir/""#),
        "A path that ends in / is a Maildir, any other an mbox; ~ is the home, %u the name of the user. Or |command, run as the user; or lmtp: and a server's socket, or its host:port.",
        |draft, v| put(&mut draft.config.local.mailbox, way::mailbox(v)),
    ),
    key(
        "local",
        "aliases",
        Default(r#""/etc/aliases""#),
        "Whom mail for a name is for: aliases(5), in the form of sendmail. Without the file there are none.",
        |draft, v| put(&mut draft.config.local.aliases, value::path(v)),
    ),
    key(
        "local",
        "alias_user",
        Default(r#""nobody""#),
        "As whom commands run and files are written that the alias file names; never root.",
        |draft, v| put(&mut draft.config.local.alias_user, value::alias_user(v)),
    ),
    key(
        "local",
        "forward",
        Default("true"),
        "Whether users, but not root, may send their mail elsewhere with a file ~/.forward.",
        |draft, v| put(&mut draft.config.local.forward, value::flag(v)),
    ),
    key(
        "local",
        "srs",
        Default("true"),
        "Whether mail from elsewhere that is sent on to another domain leaves with a sender of this machine (SRS), so that SPF lets it pass.",
        |draft, v| put(&mut draft.config.local.srs, value::flag(v)),
    ),
    key(
        "local",
        "delimiter",
        Default(r#""+""#),
        "What separates a name from a detail that its user may add: alice+shop is alice. Empty for nothing.",
        |draft, v| put(&mut draft.config.local.delimiter, value::delimiter(v)),
    ),
    key(
        "local",
        "unknown_user",
        Default(r#""refuse""#),
        "Who gets mail for names that nobody has: an address, a user or an alias; or refuse.",
        |draft, v| put(&mut draft.config.local.unknown_user, value::unknown_user(v)),
    ),
];

/// `[queue]`.
pub const QUEUE: &[Key] = &[
    key(
        "queue",
        "spool",
        Default(r#""/var/spool/minimta""#),
        "The folder of the queue; it must survive a power cut.",
        |draft, v| put(&mut draft.config.queue.spool, value::path(v)),
    ),
    key(
        "queue",
        "first_try",
        Default(r#""spool""#),
        "Where a message is when it is acknowledged: spool; or direct: with its only next hop when that takes it at once, and in the spool when not.",
        |draft, v| {
            put(
                &mut draft.config.queue.first_try,
                value::choice(v, FIRST_TRY),
            )
        },
    ),
    key(
        "queue",
        "retry_first",
        Default(r#""5m""#),
        "How long after a first failure the second attempt is due; then the times grow.",
        |draft, v| {
            put(
                &mut draft.config.queue.retry_first,
                value::duration(v, 1..=30 * DAY),
            )
        },
    ),
    key(
        "queue",
        "retry_max",
        Default(r#""4h""#),
        "The longest time between two attempts.",
        |draft, v| {
            put(
                &mut draft.config.queue.retry_max,
                value::duration(v, 1..=30 * DAY),
            )
        },
    ),
    key(
        "queue",
        "warn_after",
        Default(r#""4h""#),
        "When the sender is told of a delay; as long as give_up_after: never.",
        |draft, v| {
            put(
                &mut draft.config.queue.warn_after,
                value::duration(v, 0..=365 * DAY),
            )
        },
    ),
    key(
        "queue",
        "give_up_after",
        Default(r#""5d""#),
        "When a message that cannot be delivered goes back to its sender.",
        |draft, v| {
            put(
                &mut draft.config.queue.give_up_after,
                value::duration(v, 0..=365 * DAY),
            )
        },
    ),
    key(
        "queue",
        "min_free",
        Default(r#""16M""#),
        "What is left free on the file system; no message is accepted below it.",
        |draft, v| {
            put(
                &mut draft.config.queue.min_free,
                value::size(v, 0..=1024 * GIB),
            )
        },
    ),
    key(
        "queue",
        "max_messages",
        Default("10000"),
        "How many messages may wait; no more are accepted then. The last tenth is for root and the network.",
        |draft, v| {
            put(
                &mut draft.config.queue.max_messages,
                value::number(v, 1..=10_000_000),
            )
        },
    ),
    key(
        "queue",
        "workers",
        Default("4"),
        "How many deliveries to other hosts run at once; three times as many write to mailboxes.",
        |draft, v| put(&mut draft.config.queue.workers, value::number(v, 1..=100)),
    ),
    key(
        "queue",
        "per_destination",
        Default("2"),
        "How many connections go to one host at once.",
        |draft, v| {
            put(
                &mut draft.config.queue.per_destination,
                value::number(v, 1..=100),
            )
        },
    ),
    key(
        "queue",
        "run",
        Default(r#""/run/minimta""#),
        "The folder in which a running daemon is found and woken; it may be empty after a restart.",
        |draft, v| put(&mut draft.config.queue.run, value::path(v)),
    ),
];

/// `[submit]`.
pub const SUBMIT: &[Key] = &[key(
    "submit",
    "collapse",
    Default(r#""0s""#),
    "For how long what repeats a message of sendmail, but for digits, is held back, to go once and with its number; 0s: not at all.",
    |draft, v| {
        put(
            &mut draft.config.submit.collapse,
            value::duration(v, 0..=DAY),
        )
    },
)];

/// `[limits]`.
pub const LIMITS: &[Key] = &[
    key(
        "limits",
        "message_size",
        Default(r#""25M""#),
        "The largest message that is accepted.",
        |draft, v| {
            put(
                &mut draft.config.limits.message_size,
                value::size(v, KIB..=1024 * GIB),
            )
        },
    ),
    key(
        "limits",
        "recipients",
        Default("1000"),
        "How many recipients one message may have.",
        |draft, v| {
            put(
                &mut draft.config.limits.recipients,
                value::number(v, 1..=MAX_RECIPIENTS),
            )
        },
    ),
    key(
        "limits",
        "hops",
        Default("100"),
        "How many Received lines a message may have; with more it is in a loop.",
        |draft, v| put(&mut draft.config.limits.hops, value::number(v, 1..=1000)),
    ),
    key(
        "limits",
        "command_timeout",
        Default(r#""5m""#),
        "How long one command of a session may take, with the silence before it.",
        |draft, v| {
            put(
                &mut draft.config.limits.command_timeout,
                value::duration(v, 1..=DAY),
            )
        },
    ),
    key(
        "limits",
        "data_timeout",
        Default(r#""10m""#),
        "How long one message of a session may take.",
        |draft, v| {
            put(
                &mut draft.config.limits.data_timeout,
                value::duration(v, 1..=DAY),
            )
        },
    ),
    key(
        "limits",
        "errors",
        Default("10"),
        "How many bad commands a session may send before it is closed.",
        |draft, v| put(&mut draft.config.limits.errors, value::number(v, 1..=1000)),
    ),
    key(
        "limits",
        "connections_per_minute",
        Default(r#"0"#),
        "How many connections one stranger may make in a minute; 0: any number.",
        |draft, v| {
            put(
                &mut draft.config.limits.connections_per_minute,
                value::number(v, 0..=100_000),
            )
        },
    ),
    key(
        "limits",
        "client_messages_per_hour",
        Default(r#"0"#),
        "How many messages one stranger may send in an hour; 0: any number.",
        |draft, v| {
            put(
                &mut draft.config.limits.client_messages_per_hour,
                value::number(v, 0..=1_000_000),
            )
        },
    ),
    key(
        "limits",
        "user_messages_per_hour",
        Default(r#"0"#),
        "How many messages one user who has logged in may send in an hour; 0: any number.",
        |draft, v| {
            put(
                &mut draft.config.limits.user_messages_per_hour,
                value::number(v, 0..=1_000_000),
            )
        },
    ),
];

/// `[log]`.
pub const LOG: &[Key] = &[
    key(
        "log",
        "to",
        Default(r#""auto""#),
        "Where its lines go: auto (syslog; stderr under a supervisor or at a terminal), syslog, stderr or a file.",
        |draft, v| put(&mut draft.config.log.to, value::log_to(v)),
    ),
    key(
        "log",
        "level",
        Default(r#""info""#),
        "The least that is logged: off, error, warn, info, debug or trace.",
        |draft, v| put(&mut draft.config.log.level, value::choice(v, LEVELS)),
    ),
];

const FIRST_TRY: &[(&str, FirstTry)] = &[("spool", FirstTry::Spool), ("direct", FirstTry::Direct)];

const LEVELS: &[(&str, LevelFilter)] = &[
    ("off", LevelFilter::Off),
    ("error", LevelFilter::Error),
    ("warn", LevelFilter::Warn),
    ("info", LevelFilter::Info),
    ("debug", LevelFilter::Debug),
    ("trace", LevelFilter::Trace),
];
