//! Every read and write of the program brings a few octets only, and every other one is interrupted first: no call of
//! a system has to do more than that.

use std::process::Command;

use crate::harness::load::{body, is_of};
use crate::harness::system::{Call, me};
use crate::harness::{Daemon, Remote, Script, System, until};

/// What stands between the program and the C library; `None` where it cannot be made.
fn between(system: &System) -> Option<String> {
    let library = system.path("pieces.so").display().to_string();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/harness/pieces.c");
    let made = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o", &library, source, "-ldl"])
        .output();
    match made {
        Ok(made) if made.status.success() => Some(library),
        other => {
            println!("faults: passed over: no library can be made: {other:?}");
            None
        }
    }
}

#[test]
#[ignore = "make faults"]
fn what_comes_in_pieces_is_whole() {
    let remote = Remote::start(Script::new());
    let system = System::listening("pieces").with("smarthost", &remote.smarthost());
    let Some(library) = between(&system) else {
        return;
    };
    let call = |args: &[&str]| -> Call {
        let call = system.call("sendmail").args(args);
        call.env("LD_PRELOAD", &library)
    };
    let text = |name: &str| {
        format!(
            "Message-ID: <{name}@load.example>\nSubject: {name}\n\n{}",
            body(name)
        )
    };
    let ran = call(&["-i", "-odq", &me(), "one@example.net"])
        .stdin(text("first"))
        .run();
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let ran = call(&["-q"]).run();
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert!(system.queue().is_empty(), "{}", system.log());
    let daemon = Daemon::of(&system, || call(&["-bD"]).start());
    for to in [me(), "two@example.net".to_owned()] {
        let mut client = daemon.client();
        client.steps(&[("EHLO x.example", "250")]);
        let said = client.deliver(&to, &text("second").replace('\n', "\r\n"));
        assert!(said.starts_with("250 2.0.0 queued"), "{said}");
    }
    until("all is delivered", || system.queue().is_empty());
    daemon.stop();
    let mut found = system.mailbox();
    found.extend(remote.received().iter().map(|r| r.mail()));
    for (name, number) in [("first", 2), ("second", 2)] {
        let whole = found.iter().filter(|m| is_of(m, name)).count();
        assert_eq!(whole, number, "{name}");
    }
    assert_eq!(found.len(), 4);
}
