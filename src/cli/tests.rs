//! Command lines as callers write them: what each word means, and what is refused with which sentence.

use super::*;

fn read(line: &[&str]) -> Result<Invocation> {
    parse(line.iter().map(OsString::from))
}

#[test]
fn no_value_of_an_option_becomes_a_recipient() {
    for letter in LETTERS.iter().filter(|l| l.arity == Arity::Value) {
        let value = match letter.letter {
            'b' => "m",
            'B' => "8BITMIME",
            'N' => "never",
            'R' => "hdrs",
            _ => "value",
        };
        for words in [
            vec![format!("-{}{value}", letter.letter)],
            vec![format!("-{}", letter.letter), value.into()],
        ] {
            let mut line = vec!["sendmail"];
            line.extend(words.iter().map(String::as_str));
            line.push("a@b.example");
            assert_eq!(read(&line).unwrap().arguments, ["a@b.example"], "{line:?}");
        }
        let alone = read(&["sendmail", "a@b.example", &format!("-{}", letter.letter)]);
        assert_eq!(
            alone,
            Err(Error::Usage(format!(
                "option -{} needs a value",
                letter.letter
            )))
        );
    }
}

#[test]
fn a_bare_q_or_d_does_not_swallow_the_next_word() {
    assert_eq!(read(&["sendmail", "-q", "a"]).unwrap().arguments, ["a"]);
    assert_eq!(read(&["sendmail", "-d", "a"]).unwrap().arguments, ["a"]);
    assert!(read(&["sendmail", "-d0.1", "a"]).unwrap().arguments == ["a"]);
}

#[test]
fn the_name_of_the_program_chooses_the_mode() {
    let rows = [
        (&["/usr/bin/mailq"][..], Mode::List),
        (&["newaliases"], Mode::Aliases),
        (&["smtpd"], Mode::Daemon),
        (&["/usr/lib/sendmail"], Mode::Submit),
        (&["anything"], Mode::Submit),
        (&["mailq", "-q"], Mode::List),
        (&["sendmail", "-bp", "-qRx"], Mode::List),
        (&["minimta", "-q"], Mode::Queue),
        (&["minimta", "-q15m"], Mode::Daemon),
        (&["minimta", "-qRx"], Mode::Queue),
        (&["sendmail", "-bs", "-i"], Mode::Smtp),
        (&["sendmail", "-b", "v"], Mode::Verify),
        (&["minimta", "--test", "a@b"], Mode::Test("a@b".to_owned())),
        (&["minimta", "--test=a@b"], Mode::Test("a@b".to_owned())),
        (&[], Mode::Submit),
    ];
    for (line, mode) in rows {
        assert_eq!(read(line).unwrap().mode, mode, "{line:?}");
    }
}

#[test]
fn a_daemon_listens_detaches_and_looks_as_it_is_told() {
    // The words; whether it listens, whether it goes into the background, how often it looks.
    let rows: &[(&[&str], bool, bool, Option<u64>)] = &[
        (&["minimta", "-bd"], true, false, None),
        (&["smtpd"], true, false, None),
        (
            &["/usr/sbin/sendmail", "-bd", "-q15m"],
            true,
            true,
            Some(900),
        ),
        (&["sendmail", "-bD", "-q1h30m"], true, false, Some(5400)),
        (&["sendmail", "-q30"], false, true, Some(1800)),
        (&["minimta", "-q90s", "-bd"], true, false, Some(90)),
    ];
    for (line, listen, detach, seconds) in rows {
        let i = read(line).unwrap();
        assert_eq!(
            (i.mode, i.listen, i.detach),
            (Mode::Daemon, *listen, *detach),
            "{line:?}"
        );
        assert_eq!(i.interval, seconds.map(Duration::from_secs), "{line:?}");
    }
    for wrong in [
        "-q0",
        "-q5x",
        "-q5m5",
        "-q999999999999999999999m",
        "-q9999d",
    ] {
        let said = read(&["minimta", wrong]);
        if wrong == "-q5m5" {
            assert_eq!(said.unwrap().interval, Some(Duration::from_secs(600)));
        } else {
            assert!(matches!(said, Err(Error::Usage(_))), "{wrong}");
        }
    }
}

#[test]
fn letters_run_together_and_options_follow_recipients() {
    let i = read(&["sendmail", "-ti", "user", "-f", "x@y", "--", "-o"]).unwrap();
    assert!(i.extract && !i.dot_ends);
    assert_eq!(i.sender.as_deref(), Some("x@y"));
    assert_eq!(i.arguments, ["user", "-o"]); // I18
    let i = read(&[
        "sendmail",
        "-f",
        "",
        "-odq",
        "-Nsuccess,delay",
        "-oem",
        "-O",
        "DeliveryMode=i",
    ])
    .unwrap();
    assert_eq!(
        (i.sender.as_deref(), i.delivery),
        (Some(""), Delivery::Foreground)
    );
    assert_eq!(
        i.notify,
        Some(Notify {
            success: true,
            failure: false,
            delay: true
        })
    );
}

#[test]
fn what_no_sendmail_ever_had_is_refused_with_a_sentence() {
    let rows = [
        (
            &["sendmail", "-Z"][..],
            "there is no option -Z; minimta --help lists them",
        ),
        (
            &["sendmail", "-tiZ"],
            "there is no option -Z; minimta --help lists them",
        ),
        (
            &["sendmail", "--frob"],
            "there is no option --frob; minimta --help lists them",
        ),
        (&["sendmail", "--json=1"], "option --json takes no value"),
        (&["sendmail", "--show"], "option --show needs an ID"),
        (
            &["minimta", "--dkim-key"],
            "option --dkim-key needs a DOMAIN",
        ),
        (&["minimta", "--due"], "option --due goes with -q"),
        (
            &["minimta", "--json", "--test", "a@b.example"],
            "option --json goes with mailq, --status, -bv and --check",
        ),
        (
            &["mailq", "--prometheus"],
            "option --prometheus goes with --status",
        ),
        (
            &["minimta", "--scram"],
            "option --scram goes with --password",
        ),
        (
            &["sendmail", "-bx"],
            "there is no mode -bx; minimta has -bm -bs -bd -bD -bp -bi -bv -bq",
        ),
        (
            &["minimta", "-C", "", "-bp"],
            "option -C takes the path of a configuration, and was given an empty one",
        ),
        (
            &["sendmail", "-qX"],
            "there is no option -qX; minimta has -q, -qI, -qR, -qS and -q15m",
        ),
        (
            &["sendmail", "-N", "x"],
            "option -N takes never, or a list of success, failure and delay, not x",
        ),
        (
            &["sendmail", "-R", "x"],
            "option -R takes full or hdrs, not x",
        ),
        (
            &["sendmail", "-V", "x\ny"],
            "option -V takes at most 100 printable ASCII characters, each space, + and = counting as three, not x y",
        ),
        (
            &["sendmail", "-V\u{e9}"],
            "option -V takes at most 100 printable ASCII characters, each space, + and = counting as three, not \u{e9}",
        ),
        (
            &["minimta", "--show", "a", "b"],
            "option --show prints one message: what is b for?",
        ),
        (
            &["minimta", "c", "--test", "a"],
            "option --test takes one address: what is c for?",
        ),
        (
            &["sendmail", "-B", "x"],
            "option -B takes 7BIT or 8BITMIME, not x",
        ),
    ];
    for (line, sentence) in rows {
        assert_eq!(
            read(line),
            Err(Error::Usage(sentence.to_owned())),
            "{line:?}"
        );
    }
}

/// RFC 3461 4.4: what a server would refuse as ENVID is not taken.
#[test]
fn an_envelope_id_is_printable_and_short() {
    let (most, long) = ("n".repeat(100), "n".repeat(101));
    let rows = [
        ("", Some(None)),
        ("QQ 1+", Some(Some("QQ+201+2B"))),
        (&most, Some(Some(&*most))),
        (&long, None),
        ("x\u{7f}", None),
    ];
    for (typed, envid) in rows {
        let found = read(&["sendmail", "-V", typed]).ok().map(|i| i.envid);
        assert_eq!(found, envid.map(|e| e.map(str::to_owned)), "{typed:?}");
    }
}

#[test]
fn help_fits_a_screen() {
    assert!(HELP.lines().count() <= 24);
    assert!(HELP.lines().all(|l| l.chars().count() < 80));
    for long in LONGS {
        assert!(
            HELP.contains(&format!("--{}", long.name)),
            "--{}",
            long.name
        );
    }
}
