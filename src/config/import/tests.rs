//! The folders of `tests/imports`: each holds what a program was told, as its users write it, and in `expected` what
//! minimta makes of it, which is a configuration.

use std::fs;

use super::*;

fn system() -> System<'static> {
    System {
        hostname: &|| "pi.example.org".to_owned(),
    }
}

/// What is made of a file of a case; the files beside it are found, whatever path leads to them.
fn converted(folder: &Path, name: &str) -> Result<String> {
    let text = fs::read_to_string(folder.join(name)).unwrap();
    // The name alone, so that no path of this machine stands in what is expected.
    let path = Path::new("/etc/other").join(name);
    let read = |path: &Path| Ok(fs::read_to_string(folder.join(path.file_name().unwrap())).ok());
    let kind = Kind::of(&path, &text).unwrap();
    convert(kind, &path, &text, &read, &system())
}

#[test]
fn what_others_were_told_becomes_a_configuration() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/imports");
    let mut count = 0;
    for case in fs::read_dir(cases).unwrap() {
        let case = case.unwrap().path();
        let name = ["dma.conf", "msmtprc", "config", "ssmtp.conf", "remotes"]
            .into_iter()
            .find(|name| case.join(name).exists())
            .unwrap();
        let made = converted(&case, name).unwrap();
        assert!(!made.contains("SECRET"), "{made}");
        let expected = case.join("expected");
        if std::env::var_os("MINIMTA_WRITE_EXPECTED").is_some() {
            fs::write(&expected, &made).unwrap();
        }
        assert_eq!(made, fs::read_to_string(expected).unwrap(), "{case:?}");
        count += 1;
    }
    assert!(count >= 10, "{count}");
}

/// What cannot be a configuration is shown with what is wrong, and not as good.
#[test]
fn a_value_that_minimta_refuses_is_told() {
    let read = |_: &Path| Ok(None);
    let made = |kind, text| convert(kind, Path::new("/etc/x"), text, &read, &system());
    let said = made(Kind::Ssmtp, "mailhub=two words\n").unwrap_err();
    assert_eq!(said.code(), 78);
    let said = said.to_string();
    for words in [
        "/etc/x says something",
        "host = \"two words\"",
        "What is wrong with that:",
    ] {
        assert!(said.contains(words), "{said}");
    }
    // A file cannot break out of its comment or its quotes.
    let made = made(
        Kind::Msmtp,
        "host a\npassword x\nuser \"q\\\"\nauth on\nfoo\u{b}bar x\n",
    )
    .unwrap();
    assert!(made.contains("user = \"q\\\\\""), "{made}");
    assert!(made.contains("# - foo?bar: has no counterpart"), "{made}");
}

/// Nobody else minds; a configuration that has it would be refused.
#[test]
fn a_name_that_is_an_address_is_left_out_and_told() {
    let read = |_: &Path| Ok(None);
    for name in ["192.0.2.1", "foo.123", "[192.0.2.1]"] {
        let text = format!("mailhub=mail.example.org\nhostname={name}\n");
        let made = convert(Kind::Ssmtp, Path::new("/etc/x"), &text, &read, &system()).unwrap();
        let told = format!("# - its name for this machine, {name}, is no host name");
        assert!(made.contains(&told), "{made}");
    }
}

#[test]
fn a_file_is_known_by_its_name_or_by_what_it_says() {
    let rows = [
        ("/etc/dma/dma.conf", "", Some(Kind::Dma)),
        ("/root/.msmtprc", "", Some(Kind::Msmtp)),
        ("/etc/nullmailer/remotes", "", Some(Kind::Nullmailer)),
        ("/backup/ssmtp.conf.old", "", Some(Kind::Ssmtp)),
        ("/tmp/a", "# x\n mailhub = y\n", Some(Kind::Ssmtp)),
        ("/tmp/a", "SMARTHOST y\n", Some(Kind::Dma)),
        ("/tmp/a", "account x\nhost y\n", Some(Kind::Msmtp)),
        ("/tmp/a", "relayhost = y\n", None),
    ];
    for (path, text, kind) in rows {
        assert_eq!(Kind::of(Path::new(path), text), kind, "{path} {text}");
    }
}

/// nullmailer of Debian has its name from /etc/mailname; a folder that was copied from elsewhere has nothing to do with the
/// one of this machine.
#[test]
fn the_name_that_debian_gives_is_that_of_an_installed_nullmailer() {
    let read = |path: &Path| {
        Ok(match path.to_str().unwrap() {
            "/etc/mailname" => Some("mail.example.com\n".to_owned()),
            path if path.ends_with("/me") => Some("box.lan\n".to_owned()),
            _ => None,
        })
    };
    for (folder, name) in [("/etc/nullmailer", "mail.example.com"), ("/srv", "box.lan")] {
        let path = Path::new(folder).join("remotes");
        let made = convert(Kind::Nullmailer, &path, "mail.lan\n", &read, &system()).unwrap();
        assert!(
            made.contains(&format!("\nhostname = \"{name}\"\n")),
            "{made}"
        );
    }
}

/// `defaultdomain` is for a name without a dot; a row has `me`, `defaulthost`, `defaultdomain`, and what senders are at.
#[test]
fn nullmailer_completes_a_name_without_a_dot() {
    let rows = [
        ("box.lan", "", "lan.example", None),
        ("box", "", "lan.example", Some("box.lan.example")),
        ("box.lan", "hub", "lan.example", Some("hub.lan.example")),
        ("box.lan", "example.org", "lan.example", Some("example.org")),
        ("box.lan", "example.org", "", Some("example.org")),
        ("box.lan", "", "", None),
    ];
    for (me, host, domain, seen) in rows {
        let read = |path: &Path| {
            let files = [("me", me), ("defaulthost", host), ("defaultdomain", domain)];
            let found = files.into_iter().find(|(name, _)| path.ends_with(name));
            Ok(found.map(|(_, text)| text.to_owned()))
        };
        let path = Path::new("/etc/x/remotes");
        let made = convert(Kind::Nullmailer, path, "mail.lan\n", &read, &system()).unwrap();
        let line = seen.map(|seen| format!("masquerade = {{ \"{me}\" = \"{seen}\" }}"));
        let masquerade = made.lines().find(|line| line.starts_with("masquerade"));
        assert_eq!(masquerade, line.as_deref(), "{made}");
    }
}
