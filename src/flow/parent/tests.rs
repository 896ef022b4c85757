//! What root's process answers, and to whom.

use std::process::{Child, Command};

use super::*;
use crate::cli;
use crate::config::{Config, System};

/// A household whose worker does nothing, and the worker's end of the line.
fn household(context: &Context) -> (Household, Channel) {
    let (line, end) = Channel::pair().unwrap();
    let household = Household {
        program: "minimta".to_owned(),
        charge: Charge::of(context),
        ear: Ear::new().unwrap(),
        line,
        worker: Worker::parse(&sleeper().id().to_string()),
        passed_on: None,
        staff: Staff::default(),
    };
    (household, end)
}

fn sleeper() -> Child {
    Command::new("sleep").arg("60").spawn().unwrap()
}

/// How its worker has ended, which it does now.
fn ending(household: &Household) -> Ended {
    let worker = household.worker.as_ref().unwrap();
    loop {
        if let Some(ended) = worker.try_wait().unwrap() {
            return ended;
        }
        std::thread::yield_now();
    }
}

fn context() -> Context {
    let system = System {
        hostname: &String::new,
    };
    let config = Config::parse(b"user = \"root\"", None, &system).unwrap();
    Context::new(config, "minimta", &cli::parse(std::iter::empty()).unwrap())
}

#[test]
fn a_worker_that_sends_garbage_is_ended_and_nobody_else() {
    let context = context();
    let mut rows: Vec<Vec<u8>> = [
        "",
        "user ",
        "user a b",
        "root ",
        "nobody\n",
        "helper",
        "user ../x",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    rows.remove(0);
    let mut state = 4711_u64;
    for length in [1, 7, 64, 500, 4000] {
        let random = (0..length).map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            b'!' + (state >> 56) as u8 % 90
        });
        rows.push(random.collect());
    }
    for row in rows {
        let (mut household, end) = household(&context);
        end.send(&String::from_utf8_lossy(&row), None).unwrap();
        assert!(!household.answer(), "{row:?}");
        assert_eq!(ending(&household), Ended::Signal(9), "{row:?}");
        assert!(household.staff.is_empty());
    }
    // A good request with something in its hands is none.
    let (mut household, end) = household(&context);
    end.send("nobody", Some(end.as_fd())).unwrap();
    assert!(!household.answer());
    assert_eq!(ending(&household), Ended::Signal(9));
}

#[test]
fn a_request_that_cannot_be_met_is_answered() {
    let context = context();
    let (mut household, end) = household(&context);
    for (request, answer) in [
        ("user no-such-user", "no there is no user no-such-user"),
        (
            "user root",
            "no the account root is not a person's, so that nothing is delivered in its right",
        ),
        (
            "user daemon",
            "no the account daemon is not a person's, so that nothing is delivered in its right",
        ),
    ] {
        end.send(request, None).unwrap();
        assert!(household.answer());
        let packet = end.receive().unwrap().unwrap();
        assert!(packet.descriptor.is_none());
        assert_eq!(packet.text, answer);
    }
    drop(end);
    assert!(!household.answer());
    household.worker.as_ref().unwrap().kill();
    assert_eq!(ending(&household), Ended::Signal(9));
}

/// What is taken over may ask and ask, and hear nothing: root's process goes on to hear signals.
#[test]
fn a_worker_that_does_not_read_is_ended() {
    let context = context();
    let (mut household, end) = household(&context);
    household.line.set_haste(Duration::from_millis(1)).unwrap();
    end.set_haste(Duration::from_millis(1)).unwrap();
    // Its requests find no room, either, unless they are read.
    while end.send("user no-such-user", None).is_ok() && household.answer() {}
    assert_eq!(ending(&household), Ended::Signal(9));
}

#[test]
fn a_configuration_keeps_its_place_for_those_who_stand_elsewhere() {
    let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
    let here = std::path::absolute("m.toml").unwrap();
    let rows = [
        ("-C m.toml -bD", format!("-C {} -bD", here.display())),
        ("-Cm.toml -bD", format!("-C{} -bD", here.display())),
        ("-vCm.toml -q", format!("-vC{} -q", here.display())),
        ("-C /m.toml -q", "-C /m.toml -q".to_owned()),
        ("-q", "-q".to_owned()),
    ];
    for (typed, expected) in rows {
        let line = std::iter::once("minimta".into()).chain(words(typed));
        let mut call = crate::cli::parse(line).unwrap();
        call.config = call.config.map(|path| std::path::absolute(path).unwrap());
        let settled: Vec<OsString> = words(typed)
            .into_iter()
            .map(|word| settled(word, &call))
            .collect();
        assert_eq!(settled, words(&expected), "{typed}");
    }
}
