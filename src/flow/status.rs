//! `--status`: what has come and gone in the last day, and what waits; for people, for programs, and for Prometheus.

use std::fmt::Write as _;

use super::admin::{self, duration};
use super::{Context, deliver, tlsrpt};
use crate::cli::{Invocation, say};
use crate::error::{Error, Result};
use crate::host::clock;
use crate::json::Json;
use crate::proto::date::Stamp;
use crate::proto::day::Day;

/// What there is to say.
struct Status {
    now: i64,
    day: Day,
    waiting: usize,
    held: usize,
    oldest: Option<i64>,
    late: bool,
    /// The smarthosts of the configuration, and when each took mail last.
    hosts: Vec<(String, Option<i64>)>,
    /// Sessions with TLS, of today, that were good and that were not, where they are counted for reports.
    tls: Option<(u64, u64)>,
}

/// Says it. Returned is whether a message has waited for longer than `[queue] warn_after`.
///
/// # Errors
/// Those of reading the spool; `Usage` when two forms are wanted; `NoPermission` for whoever sees only his own mail.
pub fn run(context: &Context, call: &Invocation) -> Result<bool> {
    if !admin::sees_all(context) && deliver::owner(context).is_some() {
        let why = "--status counts the mail of all, and is for root and the user of the spool; mailq lists your own";
        return Err(Error::NoPermission(why.to_owned()));
    }
    let status = look(context)?;
    say(&match (call.json, call.prometheus) {
        (true, true) => {
            let why = "--json and --prometheus are two forms of one thing; name one";
            return Err(Error::Usage(why.to_owned()));
        }
        (true, false) => format!("{}\n", as_json(&status)),
        (false, true) => as_prometheus(&status),
        (false, false) => as_text(&status),
    })?;
    Ok(status.late)
}

fn look(context: &Context) -> Result<Status> {
    let now = clock::now();
    let sum = admin::sum(context)?;
    let day = context.ledger.day();
    let mut hosts: Vec<(String, Option<i64>)> = Vec::new();
    for smarthost in &context.config.smarthosts {
        if !hosts.iter().any(|(host, _)| *host == smarthost.host) {
            let last = day.last.get(&smarthost.host).copied();
            hosts.push((smarthost.host.clone(), last));
        }
    }
    Ok(Status {
        now,
        day,
        waiting: sum.count.saturating_sub(sum.held),
        held: sum.held,
        oldest: sum.oldest,
        late: sum.is_late(context),
        hosts,
        tls: tlsrpt::today(&context.config),
    })
}

fn as_text(status: &Status) -> String {
    let mut text = String::from("last day    ");
    let counts = status.day.sum().named();
    let counts: Vec<String> = counts
        .iter()
        .map(|(name, n)| format!("{n} {name}"))
        .collect();
    let _ = writeln!(text, "{}", counts.join(", "));
    let _ = write!(
        text,
        "queue       {} waiting, {} on hold",
        status.waiting, status.held
    );
    if let Some(age) = status.oldest {
        let late = if status.late { ", too long" } else { "" };
        let _ = write!(text, "; the oldest has waited for {}{late}", duration(age));
    }
    text.push('\n');
    for (host, last) in &status.hosts {
        let said = last.map_or_else(
            || "has taken no mail yet".to_owned(),
            |at| {
                let ago = duration(status.now.saturating_sub(at));
                format!(
                    "took mail {ago} ago, {}",
                    clock::local(at).short(status.now)
                )
            },
        );
        let _ = writeln!(text, "smarthost   {host} {said}");
    }
    if let Some((good, bad)) = status.tls {
        let all = good.saturating_add(bad);
        let _ = writeln!(
            text,
            "TLS         {all} connections since midnight (UTC), {bad} of them not as they should be"
        );
    }
    text
}

/// A count that cannot be below nothing.
fn number(n: i64) -> Json {
    Json::Number(u64::try_from(n).unwrap_or(0))
}

fn as_json(status: &Status) -> Json {
    let counts = status.day.sum().named();
    let counts = counts.map(|(name, n)| (name, Json::Number(n)));
    let count = |n: usize| Json::Number(n as u64);
    let hosts = status.hosts.iter().map(|(host, last)| {
        let last = last.map_or(Json::Null, |at| Json::text(&Stamp::utc(at).iso8601()));
        Json::Object(vec![("host", Json::text(host)), ("last_success", last)])
    });
    Json::Object(vec![
        ("last_day", Json::Object(counts.to_vec())),
        (
            "queue",
            Json::Object(vec![
                ("waiting", count(status.waiting)),
                ("on_hold", count(status.held)),
                ("oldest_seconds", status.oldest.map_or(Json::Null, number)),
                ("late", if status.late { Json::True } else { Json::False }),
            ]),
        ),
        ("smarthosts", Json::Array(hosts.collect())),
        (
            "tls_today",
            status.tls.map_or(Json::Null, |(good, bad)| {
                Json::Object(vec![
                    ("good", Json::Number(good)),
                    ("bad", Json::Number(bad)),
                ])
            }),
        ),
    ])
}

/// The text format of Prometheus: what it is, of which type, and its values. All are gauges, for a day passes.
fn as_prometheus(status: &Status) -> String {
    let mut text = String::new();
    let mut head = |name: &str, help: &str, values: &[(String, i64)]| {
        let _ = writeln!(text, "# HELP minimta_{name} {help}");
        let _ = writeln!(text, "# TYPE minimta_{name} gauge");
        for (labels, value) in values {
            let _ = writeln!(text, "minimta_{name}{labels} {value}");
        }
    };
    let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let counts = status.day.sum().named();
    let counts: Vec<_> = counts
        .iter()
        .map(|(name, n)| (format!("{{event=\"{name}\"}}"), signed(*n)))
        .collect();
    head(
        "last_day",
        "What has come and gone in the last 24 hours.",
        &counts,
    );
    let count = |state: &str, n: usize| (format!("{{state=\"{state}\"}}"), signed(n as u64));
    head(
        "queue_messages",
        "Messages in the queue.",
        &[count("waiting", status.waiting), count("hold", status.held)],
    );
    let none = String::new;
    head(
        "queue_oldest_seconds",
        "For how long the oldest message has waited; 0 when none waits.",
        &[(none(), status.oldest.unwrap_or(0))],
    );
    head(
        "queue_late",
        "Whether that is longer than warn_after.",
        &[(none(), i64::from(status.late))],
    );
    // The names of hosts have neither quotes nor backslashes.
    let hosts: Vec<_> = status
        .hosts
        .iter()
        .filter_map(|(host, last)| Some((format!("{{host=\"{host}\"}}"), (*last)?)))
        .collect();
    head(
        "smarthost_last_success_timestamp_seconds",
        "When a smarthost took mail last.",
        &hosts,
    );
    if let Some((good, bad)) = status.tls {
        let count = |result: &str, n: u64| (format!("{{result=\"{result}\"}}"), signed(n));
        head(
            "tls_today",
            "Connections to the mail servers of others since midnight (UTC), by how TLS went.",
            &[count("good", good), count("bad", bad)],
        );
    }
    text
}
