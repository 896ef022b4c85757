//! `--status`: the counts of the day, the age of the queue, and what a monitor hears.

use crate::harness::{Remote, Script, System};

const MESSAGE: &str = "Subject: x\n\nhello\n";

#[test]
fn the_day_is_counted_by_all_who_have_a_part_in_it() {
    let remote = Remote::start(Script::new().on("RCPT TO:<no@", "550 5.1.1 nobody"));
    let system = System::relaying("status", &remote);
    let fresh = system.run(&["--status"], "");
    assert_eq!(
        (fresh.code, fresh.stdout.as_str()),
        (
            0,
            "last day    0 accepted, 0 delivered, 0 deferred, 0 failed, 0 rejected\n\
             queue       0 waiting, 0 on hold\n\
             smarthost   127.0.0.1 has taken no mail yet\n"
        ),
        "{fresh:?}"
    );
    // One process accepts, another delivers.
    for to in ["a@example.net", "b@example.net", "c@example.net"] {
        system.accept(&["-odq", to], MESSAGE);
    }
    system.accept(&["-q"], "");
    let ran = system.run(&["--status"], "");
    assert!(
        ran.stdout
            .starts_with("last day    3 accepted, 3 delivered, 0 deferred, 0 failed, 0 rejected\n"),
        "{ran:?}"
    );
    assert!(
        ran.stdout.contains("\nsmarthost   127.0.0.1 took mail "),
        "{ran:?}"
    );
    let json = system.run(&["--status", "--json"], "").stdout;
    assert!(
        json.starts_with(
            "{\"last_day\":{\"accepted\":3,\"delivered\":3,\"deferred\":0,\"failed\":0,\"rejected\":0},\
             \"queue\":{\"waiting\":0,\"on_hold\":0,\"oldest_seconds\":null,\"late\":false},\
             \"smarthosts\":[{\"host\":\"127.0.0.1\",\"last_success\":\"20"
        ),
        "{json}"
    );
    let text = system.run(&["--status", "--prometheus"], "").stdout;
    for line in [
        "# TYPE minimta_last_day gauge",
        "minimta_last_day{event=\"accepted\"} 3",
        "minimta_queue_messages{state=\"waiting\"} 0",
        "minimta_queue_oldest_seconds 0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}: {text}");
    }
    let last = "minimta_smarthost_last_success_timestamp_seconds{host=\"127.0.0.1\"} ";
    let line = text.lines().find_map(|l| l.strip_prefix(last));
    assert!(line.is_some_and(|n| n.parse::<u64>().is_ok()), "{text}");
    let both = system.run(&["--status", "--json", "--prometheus"], "");
    assert_eq!((both.code, both.stdout.as_str()), (64, ""), "{both:?}");
}

#[test]
fn a_monitor_hears_of_mail_that_waits_for_too_long() {
    let system = System::offline("late");
    system.accept(&["-odq", "a@example.net"], MESSAGE);
    system.accept(&["-q"], "");
    let ran = system.run(&["--status"], "");
    assert_eq!(ran.code, 0);
    assert!(
        ran.stdout.contains("1 accepted, 0 delivered, 1 deferred"),
        "{ran:?}"
    );
    assert!(
        ran.stdout
            .contains("queue       1 waiting, 0 on hold; the oldest has waited for"),
        "{ran:?}"
    );
    system.backdate(5);
    let ran = system.run(&["--status"], "");
    assert_eq!(ran.code, 75);
    assert!(
        ran.stdout
            .contains("the oldest has waited for 5h, too long\n"),
        "{ran:?}"
    );
    let text = system.run(&["--status", "--prometheus"], "").stdout;
    assert!(text.contains("\nminimta_queue_late 1\n"), "{text}");
    // What is on hold waits for nobody.
    system.accept(&["--hold", "ALL"], "");
    let ran = system.run(&["--status"], "");
    assert_eq!(ran.code, 0);
    assert!(
        ran.stdout.contains("queue       0 waiting, 1 on hold\n"),
        "{ran:?}"
    );
}

/// What was set aside for its own sake is a monitor's business, unlike what an admin holds.
#[test]
fn a_monitor_hears_of_mail_that_a_queue_run_has_set_aside() {
    let remote = Remote::start(Script::new().once("RCPT TO:<bad@", "550 5.1.1 no such user"));
    for damage in ["", "jello", "none"] {
        // No domain is ours, so there is no postmaster either who could be told.
        let system = System::relaying("aside-late", &remote).with("", "domains = []");
        let to = if damage.is_empty() { "bad@" } else { "a@" };
        let to = format!("{to}example.net");
        system.accept(&["-odq", "-f", "<>", &to], MESSAGE);
        system.backdate(5);
        let file = system.path("spool/new").join(&system.names("new")[0]);
        match damage {
            "none" => {
                // Of it only the name says when it came.
                let old = "1k0ysgq5kccddek00";
                let long_ago = system.path("spool/new").join(old);
                std::fs::rename(&file, &long_ago).unwrap();
                std::fs::write(long_ago, "").unwrap();
                // It could be one that is being written.
                system.accept(&["--hold", old], "");
            }
            "jello" => {
                let text = std::fs::read_to_string(&file).unwrap();
                std::fs::write(&file, text.replace("hello", damage)).unwrap();
            }
            _ => {}
        }
        system.accept(&["-q"], "");
        assert_eq!(system.names("hold").len(), 1, "{}", system.log());
        let ran = system.run(&["--status"], "");
        assert_eq!(ran.code, 75, "{damage} {ran:?}");
        let said = "queue       0 waiting, 1 on hold; the oldest has waited for ";
        assert!(ran.stdout.contains(said), "{damage} {ran:?}");
        assert!(ran.stdout.contains(", too long\n"), "{damage} {ran:?}");
        let text = system.run(&["--status", "--prometheus"], "").stdout;
        assert!(text.contains("\nminimta_queue_late 1\n"), "{text}");
        assert_eq!(system.run(&["-bp"], "").code, 75, "{damage}");
    }
}
