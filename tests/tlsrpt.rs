//! Domains that ask for it are told once a day how TLS with their servers went (TLS-RPT, RFC 8460).

use std::fs;
use std::io::Read;

use crate::harness::tls::Authority;
use crate::harness::{Dns, Remote, Script, System};

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
    System::direct(name, dns, remote).with("remote", keys)
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
fn counts(system: &System) -> Vec<String> {
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

#[test]
fn a_day_becomes_a_report_by_mail() {
    let remotes = Remote::several(&[Script::new()]);
    let dns = Dns::start(ZONE);
    let system = reporting("tlsrpt-report", &dns, &remotes[0]);
    let folder = system.path("spool/state/tls");
    fs::create_dir_all(&folder).unwrap();
    let counts = "example.net\tno-policy-found\t\tmail.example.net\tok\t3\n\
                  example.net\tno-policy-found\t\tmail.example.net\tok\t4\n\
                  silent.example\tno-policy-found\t\tmail.example.net\tok\t1\n";
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let day = day(now / (24 * 3600) - 2);
    fs::write(folder.join(&day), counts).unwrap();
    fs::write(folder.join("2001-01-01"), counts).unwrap();
    fs::write(folder.join("notes"), "kept").unwrap();
    // The hour of the night before which reports wait is this host's own.
    let seconds = now % (24 * 3600);
    system.accept(&["-q"], "");
    if folder.join(&day).exists() {
        assert!(seconds < 4 * 3600, "{}", system.log());
        return;
    }
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
    fs::write(system.path("report.gz"), gzip).unwrap();
    // What others open such files with.
    let unpacked = std::process::Command::new("gzip")
        .args(["-d", "-c"])
        .stdin(fs::File::open(system.path("report.gz")).unwrap())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .map(|mut gzip| {
            let mut text = String::new();
            gzip.stdout
                .take()
                .unwrap()
                .read_to_string(&mut text)
                .unwrap();
            gzip.wait().unwrap();
            text
        });
    if let Ok(json) = unpacked {
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
