//! TLS as it is asked for, and logins: what goes to whom, and what is never said.

use super::script::*;
use super::*;

/// An authority, and a good server of its own.
static SAFE: LazyLock<(Authority, Server)> = LazyLock::new(|| {
    let authority = Authority::new();
    let server = authority.server("127.0.0.1", 2090);
    (authority, server)
});

pub fn safe(tls: Tls) -> Case<'static> {
    let mut case = case();
    case.tls = tls;
    case.fingerprint = Some(SAFE.1.fingerprint);
    case.server = Some(SAFE.1.clone());
    case
}

/// As [`safe`], with the authority trusted instead of the certificate.
fn safe_by_authority(tls: Tls) -> Case<'static> {
    let name = format!("minimta-{}-{tls:?}.pem", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, &SAFE.0.pem).unwrap();
    let mut case = safe(tls);
    case.fingerprint = None;
    case.ca_file = Some(Temporary(path));
    case
}

const REST: &str = "MAIL|250 ok|RCPT|250 ok|DATA|354 go|(message)|250 2.0.0 as 1|QUIT|221 bye";

#[test]
fn mail_goes_through_tls_as_it_is_asked_to() {
    let implicit = format!("(TLS)|220 mx|EHLO|250 mx|{REST}");
    assert_eq!(
        safe(Tls::Implicit).play(&[&implicit]).outcomes,
        ["= 250 2.0.0 as 1"]
    );
    // What was offered in the clear is forgotten.
    let upgraded = format!(
        "220 mx|EHLO|250-mx|250-PIPELINING|250 STARTTLS|STARTTLS|220 go|(TLS)|EHLO|250 mx|{REST}"
    );
    for tls in [Tls::Starttls, Tls::Opportunistic] {
        assert_eq!(safe(tls).play(&[&upgraded]).outcomes, ["= 250 2.0.0 as 1"]);
    }
    let plain = format!("220 mx|EHLO|250-mx|250 STARTTLS|{REST}");
    assert_eq!(
        safe(Tls::None).play(&[&plain]).outcomes,
        ["= 250 2.0.0 as 1"]
    );
    let plain = format!("220 mx|EHLO|250 mx|{REST}");
    assert_eq!(
        safe(Tls::Opportunistic).play(&[&plain]).outcomes,
        ["= 250 2.0.0 as 1"]
    );
}

#[test]
fn without_the_tls_that_is_required_nothing_is_sent() {
    // K25, K28, K1; and a port that wants TLS or does not.
    let rows: &[(Tls, &str, &str)] = &[
        (
            Tls::Starttls,
            "220 mx|EHLO|250 mx|QUIT|221 bye",
            "~ 4.7.4 the server does not offer STARTTLS",
        ),
        (
            Tls::Starttls,
            "220 mx|EHLO|502 no|QUIT|221 bye",
            "~ 502 no (at EHLO)",
        ), // K4
        (
            Tls::Starttls,
            "220 mx|EHLO|250-mx|250 STARTTLS|STARTTLS|454 4.7.0 ill|QUIT|221 bye",
            "~ 454 4.7.0 ill (at STARTTLS)",
        ),
        (
            Tls::Starttls,
            "220 mx|EHLO|250-mx|250 STARTTLS|STARTTLS|220 go|(some)",
            "~ 4.7.0 TLS failed: it closed the connection during the handshake",
        ),
        // An alert "protocol version" of TLS 1.0.
        (
            Tls::Starttls,
            "220 mx|EHLO|250-mx|250 STARTTLS|STARTTLS|220 go|(some)|=\u{15}\u{3}\u{1}\0\u{2}\u{2}\u{46}|(wait)",
            "~ 4.7.0 TLS failed: it refused the handshake",
        ),
        (
            Tls::Starttls,
            "220 mx|EHLO|250-mx|250 STARTTLS|STARTTLS|=220 go\r\n250 fake\r\n|(wait)",
            "~ 4.7.0 TLS failed: more was sent in the clear than was asked for",
        ),
        (
            Tls::Implicit,
            "220 mx|(wait)",
            "~ 4.7.0 TLS failed: it does not answer with TLS; is the port right",
        ),
    ];
    for (tls, script, expected) in rows {
        let played = safe(*tls).play(&[script]);
        assert!(
            played.outcomes[0].starts_with(expected),
            "{:?}",
            played.outcomes
        );
    }
}

#[test]
fn opportunistic_tls_goes_on_without() {
    let begin = "220 mx|EHLO|250-mx|250 STARTTLS|STARTTLS";
    // K28: on the same connection when the server says that it cannot.
    let refused = format!("{begin}|454 ill|{REST}");
    assert_eq!(
        safe(Tls::Opportunistic).play(&[&refused]).outcomes,
        ["= 250 2.0.0 as 1"]
    );
    // K25: on a new one after a broken handshake.
    let broken = format!("{begin}|220 go");
    let clear = format!("220 mx|EHLO|250-mx|250 STARTTLS|{REST}");
    assert_eq!(
        safe(Tls::Opportunistic).play(&[&broken, &clear]).outcomes,
        ["= 250 2.0.0 as 1"]
    );
    // So after one that breaks once it is done, and after a server that goes at the word.
    for rest in [
        "|220 go|(TLS)",
        "|220 go|(TLS)|EHLO",
        "",
        "|421 4.3.2 closing",
    ] {
        let lost = format!("{begin}{rest}");
        let played = safe(Tls::Opportunistic).play(&[&lost, &clear]);
        assert_eq!(played.outcomes, ["= 250 2.0.0 as 1"], "{lost}");
        assert!(played.trace.contains("; once more without TLS"), "{lost}");
        // Nor is anything sent so where TLS is required.
        let played = safe(Tls::Starttls).play(&[&lost]);
        assert!(played.outcomes[0].starts_with('~'), "{lost}");
    }
    // Any certificate will do.
    let mut other = safe(Tls::Opportunistic);
    other.server = Some(Authority::new().server("elsewhere.example", 2001));
    let script = format!("{begin}|220 go|(TLS)|EHLO|250 mx|{REST}");
    assert_eq!(other.play(&[&script]).outcomes, ["= 250 2.0.0 as 1"]);
}

fn login(mechanism: Option<Mechanism>) -> Option<Login> {
    Some(Login {
        user: "me".to_owned(),
        password: Password::Command(["printf", "sesame\\n"].map(str::to_owned).to_vec()),
        mechanism,
    })
}

#[test]
fn the_password_goes_only_to_whom_it_belongs() {
    let mut case = safe_by_authority(Tls::Implicit);
    case.login = login(None);
    let script = format!("(TLS)|220 mx|EHLO|250-mx|250 AUTH PLAIN|AUTH|235 ok|{REST}");
    assert_eq!(case.play(&[&script]).outcomes, ["= 250 2.0.0 as 1"]);
    // K26: a certificate for another name, of another authority, of the past.
    let wrong = [
        SAFE.0.server("elsewhere.example", 2090),
        SAFE.0.server("127.0.0.1", 2001),
        Authority::new().server("127.0.0.1", 2090),
    ];
    for server in wrong {
        case.server = Some(server);
        let played = case.play(&["(TLS)"]);
        assert!(
            played.outcomes[0].starts_with("~ 4.7.0 TLS failed: "),
            "{:?}",
            played.outcomes
        );
        assert_eq!(played.heard, [""; 0]);
    }
    // Nor in the clear to another machine, or to just anybody who does TLS: see proto/sasl.rs, choose().
}

#[test]
fn a_login_that_fails_defers() {
    const HELLO: &str = "(TLS)|220 mx|EHLO|250-mx|250 AUTH PLAIN LOGIN CRAM-MD5";
    let plain = "AUTH PLAIN AG1lAHNlc2FtZQ==";
    let rows: &[(Option<Mechanism>, String, &str)] = &[
        (
            None,
            format!("{HELLO}|{plain}|235 ok|{REST}"),
            "= 250 2.0.0 as 1",
        ),
        (
            Some(Mechanism::Login),
            format!(
                "{HELLO}|AUTH LOGIN|334 VXNlcm5hbWU6|bWU=|334 UGFzc3dvcmQ6|c2VzYW1l|235 ok|{REST}"
            ),
            "= 250 2.0.0 as 1",
        ),
        (
            Some(Mechanism::CramMd5),
            format!("{HELLO}|AUTH CRAM-MD5|334 PHg+|bWUg|235 ok|{REST}"),
            "= 250 2.0.0 as 1",
        ),
        // K12.
        (
            None,
            format!("{HELLO}|{plain}|535 5.7.8 wrong|QUIT|221 bye"),
            "~ 535 5.7.8 wrong (at AUTH PLAIN as me)",
        ),
        (
            None,
            format!("{HELLO}|{plain}|454 4.7.0 ill|QUIT|221 bye"),
            "~ 454 4.7.0 ill (at AUTH PLAIN as me)",
        ),
        (
            None,
            format!("{HELLO}|{plain}|535 not AG1lAHNlc2FtZQ== nor sesame|QUIT|221 bye"),
            "~ 535 not ... nor ... (at AUTH PLAIN as me)",
        ),
        (
            None,
            format!("{HELLO}|{plain}|334 x|*|501 5.7.0 sesame|QUIT|221 bye"),
            "~ 4.7.0 AUTH PLAIN: the server goes on asking when everything is said",
        ),
        (
            Some(Mechanism::Login),
            format!(
                "{HELLO}|AUTH LOGIN|334 x|bWU=|334 x|c2VzYW1l|334 x|*|501 5.7.0 as you like|QUIT|221 bye"
            ),
            "~ 4.7.0 AUTH LOGIN: the server goes on asking",
        ),
        (
            Some(Mechanism::CramMd5),
            format!("{HELLO}|AUTH CRAM-MD5|334 %|*|334 x|QUIT|221 bye"),
            "~ 4.7.0 AUTH CRAM-MD5: the server sent a challenge that is not base64",
        ),
        (
            Some(Mechanism::CramMd5),
            format!("{HELLO}|AUTH CRAM-MD5|334 %|*"),
            "~ 4.7.0 AUTH CRAM-MD5: the server sent a challenge that is not base64",
        ),
        (
            None,
            format!("{HELLO}|{plain}"),
            "~ 4.4.2 AUTH PLAIN: the server closed the connection",
        ),
        (
            Some(Mechanism::Xoauth2),
            format!("{HELLO}|QUIT|221 bye"),
            "~ 4.7.0 cannot log in as me: the server offers AUTH with PLAIN, LOGIN, CRAM-MD5, and not XOAUTH2",
        ),
        (
            None,
            "(TLS)|220 mx|EHLO|250 mx|QUIT|221 bye".to_owned(),
            "~ 4.7.0 cannot log in as me: the server offers no AUTH",
        ),
        (
            None,
            "(TLS)|220 mx|EHLO|502 no|QUIT|221 bye".to_owned(),
            "~ 502 no (at EHLO)",
        ), // K4
    ];
    for (mechanism, script, expected) in rows {
        let mut case = safe(Tls::Implicit);
        case.login = login(*mechanism);
        let played = case.play(&[script]);
        assert!(
            played.outcomes[0].starts_with(expected),
            "{:?}",
            played.outcomes
        );
        for secret in ["sesame", "AG1lAHNlc2FtZQ", "c2VzYW1l", "bWUg"] {
            assert!(!format!("{:?}", played.outcomes).contains(secret));
            let shown = played.trace.lines().filter(|l| l.starts_with('>')); // not what the server quotes
            assert!(
                !shown.collect::<String>().contains(secret),
                "{}",
                played.trace
            );
        }
    }
    let mut case = safe(Tls::Implicit);
    case.login = login(None);
    if let Some(login) = &mut case.login {
        login.password = Password::File("/nowhere/password".into());
    }
    let played = case.play(&[&format!("{HELLO}|QUIT|221 bye")]);
    assert_eq!(
        played.outcomes,
        ["~ 4.3.5 cannot read password_file /nowhere/password: no such file or directory"]
    );
}

/// A password is not tried at each address of a host, or the account is locked; what may go well at the next one is.
#[test]
fn a_login_goes_on_to_the_next_address_or_not() {
    const HELLO: &str = "(TLS)|220 mx|EHLO|250-mx|250 AUTH PLAIN|AUTH";
    let good = format!("{HELLO}|235 ok|{REST}");
    let rows = [
        ("|535 5.7.8 wrong|QUIT|221 bye", false, "~ 535 5.7.8"),
        ("|454 4.7.0 ill|QUIT|221 bye", true, "= 250"),
        ("|421 4.3.2 closing|QUIT|221 bye", true, "= 250"),
        ("", true, "= 250"),
    ];
    for (said, goes_on, expected) in rows {
        let mut case = safe(Tls::Implicit);
        (case.login, case.addresses) = (login(None), 2);
        let first = format!("{HELLO}{said}");
        let scripts = [first.as_str(), &good];
        let played = case.play(if goes_on { &scripts } else { &scripts[..1] });
        let outcome = &played.outcomes[0];
        assert!(outcome.starts_with(expected), "{said}: {outcome}");
    }
}

#[test]
fn the_dialogue_is_shown_without_the_password() {
    let mut case = safe(Tls::Implicit);
    case.login = login(None);
    let script = format!("(TLS)|220 mx|EHLO|250-mx|250 AUTH PLAIN|AUTH|235 2.7.0 ok|{REST}");
    let trace = case.play(&[&script]).trace;
    let expected = "= TLS begins\n< 220 mx\n> EHLO pi.example\n< 250-mx\n< 250 AUTH PLAIN\n> AUTH PLAIN ...\n\
                        < 235 2.7.0 ok\n> MAIL FROM:<a@b.example>\n< 250 ok\n> RCPT TO:<r1@c.example>\n< 250 ok\n> DATA\n\
                        < 354 go\n> (the message)\n> .\n< 250 2.0.0 as 1\n> QUIT\n< 221 bye\n";
    assert!(trace.ends_with(expected), "{trace}");
}
