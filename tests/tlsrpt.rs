//! Domains that ask for it are told once a day how TLS with their servers went (TLS-RPT, RFC 8460).

use std::fs;
use std::net::TcpListener;

use crate::crash::{at_each_step, faulted};
use crate::harness::system::HOST_OF_REPORTS;
use crate::harness::tls::Authority;
use crate::harness::{Daemon, Dns, Remote, Script, System, Web, until};

const MESSAGE: &str = "Subject: x\n\nhello\n";
const ZONE: &str = "example.net MX 10 mail.example.net\nmail.example.net A 127.0.0.2\n\
                    _smtp._tls.example.net TXT v=TLSRPTv1; rua=mailto:tls@example.org,https://nowhere.example/\n\
                    silent.example MX 10 mail.example.net\n\
                    example.org MX 10 mail.example.net\n";

fn send(system: &System, to: &str) {
    system.accept(&["-odq", to], MESSAGE);
    system.accept(&["-q"], "");
}

fn reporting(name: &str, dns: &Dns, remote: &Remote) -> System {
    let keys = "tls_reports = \"postmaster@pi.example\"\nmta_sts_port = 9";
    System::direct(name, dns, remote)
        .with("", &format!("hostname = \"{HOST_OF_REPORTS}\""))
        .with("remote", keys)
}

/// A day by its number since 1970, as it is written (the algorithm of H. Hinnant).
fn day(number: u64) -> String {
    let (z, days) = (number + 719_468, |era: u64| era * 146_097);
    let era = z / 146_097;
    let doe = z - days(era);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{:02}", doy - (153 * mp + 2) / 5 + 1)
}

/// The lines of the one file of counts, sorted, without the policy of DANE, which has the key in it.
pub fn counts(system: &System) -> Vec<String> {
    let found = fs::read_dir(system.path("spool/state/tls"))
        .into_iter()
        .flatten();
    let paths: Vec<_> = found.map(|e| e.unwrap().path()).collect();
    let text: String = paths
        .iter()
        .map(|p| fs::read_to_string(p).unwrap())
        .collect();
    let mut lines: Vec<String> = text.lines().map(|l| l.replace('\t', " ")).collect();
    lines.sort();
    lines
}

/// What was wrong at one address is told, though another one has taken the mail.
#[test]
fn each_address_is_counted() {
    let good = Authority::new().certify(&["mail.example.net"]);
    let remotes = Remote::several(&[Script::new(), Script::new().starttls(good)]);
    let dns = Dns::start(&format!("{ZONE}mail.example.net A 127.0.0.3\n"));
    let system = reporting("tls-addresses", &dns, &remotes[0]).with("remote", "tls = \"require\"");
    send(&system, "x@example.net");
    assert_eq!(remotes[1].received().len(), 1);
    let found = counts(&system).join("\n");
    for line in ["ok 1", "starttls-not-supported 1"] {
        let line = format!("no-policy-found  mail.example.net {line}");
        assert!(found.contains(&line), "{line}: {found}");
    }
}

#[test]
fn each_connection_is_counted_by_what_was_demanded_and_how_it_went() {
    let authority = Authority::new();
    let good = authority.certify(&["mail.example.net"]);
    let other = Authority::new().certify(&["mail.example.net"]);
    let rows = [
        (
            Script::new().starttls(good.clone()),
            None,
            "no-policy-found  mail.example.net ok 1",
        ),
        (
            Script::new(),
            None,
            "no-policy-found  mail.example.net starttls-not-supported 1",
        ),
        (
            Script::new()
                .starttls(good.clone())
                .on("STARTTLS", "454 4.7.0 not now"),
            None,
            "no-policy-found  mail.example.net starttls-not-supported 1",
        ),
        (
            Script::new().starttls(good.clone()),
            Some(&good),
            " mail.example.net ok 1",
        ),
        (
            Script::new().starttls(good.clone()),
            Some(&other),
            " mail.example.net validation-failure 1",
        ),
        (
            Script::new(),
            Some(&good),
            " mail.example.net starttls-not-supported 1",
        ),
    ];
    for (script, tlsa, expected) in rows {
        let remotes = Remote::several(&[script]);
        let dns = match tlsa {
            None => Dns::start(ZONE),
            Some(acceptor) => {
                let (port, tlsa) = (remotes[0].address.port(), acceptor.tlsa());
                Dns::signed(&format!("{ZONE}_{port}._tcp.mail.example.net TLSA {tlsa}"))
            }
        };
        let system = reporting("tlsrpt-counts", &dns, &remotes[0]);
        send(&system, "x@example.net");
        let counts = counts(&system);
        assert_eq!(counts.len(), 1, "{counts:?} {}", system.log());
        let begin = if tlsa.is_some() {
            "example.net tlsa 3 "
        } else {
            "example.net "
        };
        assert!(
            counts[0].starts_with(begin) && counts[0].ends_with(expected),
            "{counts:?}"
        );
    }
    // Nobody has asked for it.
    let remotes = Remote::several(&[Script::new()]);
    let dns = Dns::start(ZONE);
    let system = System::direct("tlsrpt-off", &dns, &remotes[0]);
    send(&system, "x@example.net");
    assert!(counts(&system).is_empty());
}

/// Under a policy that is only being tested, mail goes out whatever the certificate is; the report tells of it, and
/// `--status` does.
#[test]
fn what_a_policy_in_testing_would_have_refused_is_counted() {
    let authority = Authority::new();
    let good = authority.certify(&["mail.example.net"]);
    let ok = "mail.example.net ok 1";
    let rows = [
        (Script::new().starttls(good.clone()), "mail.example.net", ok),
        (
            Script::new().starttls(authority.certify_until(&["mail.example.net"], 2001)),
            "mail.example.net",
            "mail.example.net certificate-expired 1",
        ),
        (
            Script::new().starttls(authority.certify(&["elsewhere.example"])),
            "mail.example.net",
            "mail.example.net certificate-host-mismatch 1",
        ),
        (
            Script::new().starttls(Authority::new().certify(&["mail.example.net"])),
            "mail.example.net",
            "mail.example.net certificate-not-trusted 1",
        ),
        (
            Script::new(),
            "mail.example.net",
            "mail.example.net starttls-not-supported 1",
        ),
        (
            Script::new().starttls(good),
            "*.example.org",
            "mail.example.net validation-failure 1",
        ),
    ];
    for (script, mx, expected) in rows {
        let remotes = Remote::several(&[script]);
        let site = authority.certify(&["mta-sts.example.net"]);
        let policy = format!("version: STSv1\nmode: testing\nmx: {mx}\nmax_age: 86400\n");
        let web = Web::start(
            &site,
            &format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n{policy}"),
        );
        let dns = Dns::start(&format!(
            "{ZONE}_mta-sts.example.net TXT v=STSv1; id=1\nmta-sts.example.net A 127.0.0.9"
        ));
        let system = trusting("tlsrpt-testing", &dns, &remotes[0], &authority, web.port);
        send(&system, "x@example.net");
        assert_eq!(remotes[0].received().len(), 1, "{}", system.log());
        let begin = "example.net sts version: STSv1|mode: testing|mx: ";
        let counts = counts(&system);
        assert_eq!(counts.len(), 1, "{counts:?}");
        assert!(
            counts[0].starts_with(begin) && counts[0].ends_with(expected),
            "{counts:?} for {expected}"
        );
        let (good, bad) = (usize::from(expected == ok), usize::from(expected != ok));
        let said = system.run(&["--status"], "").stdout;
        let line = format!(
            "TLS         1 connections since midnight (UTC), {bad} of them not as they should be\n"
        );
        assert!(said.ends_with(&line), "{said}");
        let said = system.run(&["--status", "--json"], "").stdout;
        let part = format!("\"tls_today\":{{\"good\":{good},\"bad\":{bad}}}");
        assert!(said.contains(&part), "{said}");
        let said = system.run(&["--status", "--prometheus"], "").stdout;
        for (result, n) in [("good", good), ("bad", bad)] {
            let line = format!("\nminimta_tls_today{{result=\"{result}\"}} {n}\n");
            assert!(said.contains(&line), "{said}");
        }
    }
}

/// As [`reporting`], with web servers that this authority vouches for.
fn trusting(name: &str, dns: &Dns, remote: &Remote, authority: &Authority, port: u16) -> System {
    let system =
        System::direct(name, dns, remote).with("", &format!("hostname = \"{HOST_OF_REPORTS}\""));
    authority.write(&system.path("ca.pem"));
    let keys = format!(
        "tls_reports = \"postmaster@pi.example\"\nmta_sts_port = {port}\nca_file = {:?}",
        system.path("ca.pem").display().to_string()
    );
    system.with("remote", &keys)
}

/// Counts of yesterday.
fn write_counts(system: &System) -> String {
    let folder = system.path("spool/state/tls");
    fs::create_dir_all(&folder).unwrap();
    let day = yesterday();
    fs::write(folder.join(&day), COUNTS).unwrap();
    day
}

/// Yesterday, as the file of its counts is called. A day that begins before it is read makes it no younger.
pub fn yesterday() -> String {
    let now = std::time::SystemTime::now();
    let now = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    day(now / (24 * 3600) - 1)
}

const COUNTS: &str = "example.net\tno-policy-found\t\tmail.example.net\tok\t3\n\
                      example.net\tno-policy-found\t\tmail.example.net\tok\t4\n\
                      silent.example\tno-policy-found\t\tmail.example.net\tok\t1\n";

/// A report goes to the domain's web server, and what that says is told.
#[test]
fn a_day_becomes_a_report_to_a_web_server() {
    let authority = Authority::new();
    let site = authority.certify(&["reports.example"]);
    let remotes = Remote::several(&[Script::new()]);
    let zone = "_smtp._tls.example.net TXT v=TLSRPTv1; rua=https://reports.examplePORT/v1/tls?x=1\n\
                reports.example A 127.0.0.9\n";
    let rows = [
        ("HTTP/1.1 201 Created\r\n\r\n", ""),
        ("HTTP/1.0 200\r\n\r\n", ""),
        (
            "HTTP/1.1 503 Not now\r\n\r\n",
            "the report about TLS to example.net: reports.example: it answers with \"HTTP/1.1 503 Not now\"",
        ),
        (
            "HTTP/1.1 301 Moved\r\nLocation: https://elsewhere.example/\r\n\r\n",
            "it answers with \"HTTP/1.1 301 Moved\"",
        ),
    ];
    // The record may name a port; else it is the usual one.
    for ((answer, told), names) in rows.into_iter().zip([true, false, true, false]) {
        let web = Web::start(&site, answer);
        let port = web.port;
        let (named, usual) = match names {
            true => (format!(":{port}"), 9),
            false => (String::new(), port),
        };
        let dns = Dns::start(&zone.replace("PORT", &named));
        let system = trusting("tlsrpt-post", &dns, &remotes[0], &authority, usual);
        let day = write_counts(&system);
        system.accept(&["-q"], "");
        let waits = system.path("spool/state/tls").join(day).exists();
        assert!(!waits, "{}", system.log());
        let asked = web.requests();
        assert_eq!(asked.len(), 1, "{}", system.log());
        let (header, body) = &asked[0];
        for line in [
            "POST /v1/tls?x=1 HTTP/1.1",
            &format!("Host: reports.example:{port}"),
            "Content-Type: application/tlsrpt+gzip",
        ] {
            assert!(header.lines().any(|l| l == line), "{line}: {header}");
        }
        if let Some(json) = unpacked(&system, body) {
            let whole = json.contains("\"total-successful-session-count\":7");
            assert!(
                whole && json.starts_with('{') && json.ends_with('}'),
                "{json}"
            );
        }
        let log = system.log();
        match told {
            "" => assert!(!log.contains("report about TLS"), "{log}"),
            told => assert!(log.replace("\\\"", "\"").contains(told), "{log}"),
        }
    }
}

/// Somebody else's web server that takes a connection and says nothing: the mail goes on.
#[test]
fn no_receiver_of_reports_holds_up_the_queue() {
    let web = TcpListener::bind("127.0.0.9:0").unwrap();
    let remotes = Remote::several(&[Script::new()]);
    let names = [
        "one.example",
        "two.example",
        "three.example",
        "four.example",
    ];
    let wants =
        |name: &&str| format!("_smtp._tls.{name} TXT v=TLSRPTv1; rua=https://reports.example/\n");
    let wanted: String = names.iter().map(wants).collect();
    let dns = Dns::start(&format!("{ZONE}{wanted}reports.example A 127.0.0.9\n"));
    let port = web.local_addr().unwrap().port();
    let system = trusting("tlsrpt-silence", &dns, &remotes[0], &Authority::new(), port).listens();
    let folder = system.path("spool/state/tls");
    fs::create_dir_all(&folder).unwrap();
    let count = |name: &&str| format!("{name}\tno-policy-found\t\tmail.example.net\tok\t1\n");
    let counts: String = names.iter().map(count).collect();
    fs::write(folder.join(yesterday()), counts).unwrap();
    let _daemon = Daemon::start(&system);
    let _silence = web.accept().unwrap();
    system.accept(&["x@example.net"], MESSAGE);
    until("the message has arrived", || {
        remotes[0].received().len() == 1
    });
}

/// What others open such files with, if it is installed.
fn unpacked(system: &System, gzip: &[u8]) -> Option<String> {
    let path = system.path("report.gz");
    fs::write(&path, gzip).unwrap();
    let ran = std::process::Command::new("gzip")
        .args(["-d", "-c"])
        .stdin(fs::File::open(&path).unwrap())
        .output()
        .ok()?;
    assert!(ran.status.success());
    Some(String::from_utf8(ran.stdout).unwrap())
}

#[test]
fn a_day_becomes_a_report_by_mail() {
    let remotes = Remote::several(&[Script::new()]);
    let dns = Dns::start(ZONE);
    let system = reporting("tlsrpt-report", &dns, &remotes[0]);
    let folder = system.path("spool/state/tls");
    let day = write_counts(&system);
    let counts = COUNTS;
    fs::write(folder.join("2001-01-01"), counts).unwrap();
    fs::write(folder.join("notes"), "kept").unwrap();
    system.accept(&["-q"], "");
    let left: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(left, ["notes"]);
    assert!(
        system.log().contains("nowhere.example: it has no address"),
        "{}",
        system.log()
    );
    system.accept(&["-q"], "");
    let received = remotes[0].received();
    assert_eq!(received.len(), 1, "{}", system.log());
    assert!(
        received[0]
            .from
            .starts_with("MAIL FROM:<postmaster@pi.example>"),
        "{}",
        received[0].from
    );
    let mail = received[0].mail();
    for (field, value) in [
        ("From", "<postmaster@pi.example>"),
        ("To", "<tls@example.org>"),
        ("TLS-Report-Domain", "example.net"),
        ("TLS-Required", "No"),
    ] {
        assert_eq!(mail.field(field).as_deref(), Some(value));
    }
    let kind = mail.field("Content-Type").unwrap();
    assert!(
        kind.starts_with("multipart/report; report-type=\"tlsrpt\";"),
        "{kind}"
    );
    let text = mail.text();
    let (_, rest) = text.split_once("json.gz\"\n\n").unwrap();
    let (base64, _) = rest.split_once("\n--").unwrap();
    use base64::Engine as _;
    let gzip = base64::engine::general_purpose::STANDARD
        .decode(base64.replace('\n', ""))
        .unwrap();
    if let Some(json) = unpacked(&system, &gzip) {
        assert!(
            json.contains(&format!("\"start-datetime\":\"{day}T00:00:00Z\"")),
            "{json}"
        );
        assert!(
            json.contains("\"total-successful-session-count\":7"),
            "{json}"
        );
        assert!(!json.contains("silent.example"), "{json}");
    }
}

/// When the queue has no room for another report, those that are in it already are not made again.
#[test]
fn no_report_is_sent_twice_when_one_cannot_be_queued() {
    let names = ["a.example", "b.example", "c.example"];
    let wants = |name: &&str| format!("_smtp._tls.{name} TXT v=TLSRPTv1; rua=mailto:tls@{name}\n");
    let wanted: String = names.iter().map(wants).collect();
    let mx = names.map(|name| format!("{name} MX 10 mail.example.net\n"));
    let dns = Dns::start(&format!("{ZONE}{wanted}{}", mx.concat()));
    let count = |name: &&str| format!("{name}\tno-policy-found\t\tmail.example.net\tok\t1\n");
    let counts: String = names.iter().map(count).collect();
    let steps = at_each_step("ENOSPC", |fault| {
        let remotes = Remote::several(&[Script::new()]);
        let system = reporting("tlsrpt-room", &dns, &remotes[0]);
        let folder = system.path("spool/state/tls");
        fs::create_dir_all(&folder).unwrap();
        let day = folder.join(yesterday());
        fs::write(&day, &counts).unwrap();
        let run = system.call("sendmail").args(&["-q"]);
        let ran = run.env("MINIMTA_FAULT", fault).run();
        for _ in 0..2 {
            system.accept(&["-q"], "");
        }
        let received = remotes[0].received().into_iter();
        let mut told: Vec<_> = received
            .filter_map(|r| r.mail().field("TLS-Report-Domain"))
            .collect();
        told.sort();
        assert_eq!(told, names, "{fault} {}", system.log());
        assert!(!day.exists(), "{fault}");
        faulted(&ran)
    });
    assert!(steps >= 12, "{steps}");
}
