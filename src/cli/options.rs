//! Every option there is, in tables: sendmail's single letters, minimta's long names, and what each does.

use std::path::PathBuf;
use std::time::Duration;

use super::{Delivery, Invocation, Mode, Part, Select};
use crate::error::{Error, Result};
use crate::proto::envelope::{Notify, Ret};
use crate::proto::outcome::one_line;
use crate::proto::parameters::{MAX_ENVID, is_envid};
use crate::proto::xtext;

/// How a letter takes its value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Arity {
    /// None; other letters may follow in the same word.
    Flag,
    /// The rest of the word, or nothing; never the next word.
    Joined,
    /// The rest of the word, or the next one.
    Value,
}

use Arity::{Flag, Joined, Value};

/// A letter: how it takes its value, and what it does; `None`: accepted, and of no meaning here.
pub struct Letter {
    pub letter: char,
    pub arity: Arity,
    pub act: Option<fn(&mut Invocation, &str) -> Result<()>>,
}

const fn acts(letter: char, arity: Arity, act: fn(&mut Invocation, &str) -> Result<()>) -> Letter {
    Letter {
        letter,
        arity,
        act: Some(act),
    }
}

const fn ignored(letter: char, arity: Arity) -> Letter {
    Letter {
        letter,
        arity,
        act: None,
    }
}

/// The letters.
pub const LETTERS: &[Letter] = &[
    ignored('A', Value), // -Ac, -Am: which of two configurations
    acts('B', Value, body_type),
    acts('b', Value, mode),
    acts('C', Value, config),
    ignored('D', Value), // debug file: never written for a caller
    ignored('d', Joined),
    ignored('E', Flag),
    ignored('e', Value),
    acts('F', Value, |i, v| set(&mut i.full_name, v.to_owned())),
    acts('f', Value, |i, v| set(&mut i.sender, v.to_owned())),
    ignored('G', Flag),
    ignored('h', Value),
    acts('I', Flag, |i, _| to_mode(i, Mode::Aliases)),
    acts('i', Flag, |i, _| to(&mut i.dot_ends, false)),
    ignored('J', Flag),
    ignored('L', Value), // the syslog name is ours: a caller must not forge another program's lines
    ignored('M', Value),
    ignored('m', Flag),
    acts('N', Value, notify),
    ignored('n', Flag),
    acts('O', Value, long_o),
    acts('o', Value, short_o),
    ignored('p', Value),
    acts('q', Joined, queue),
    acts('R', Value, ret),
    acts('r', Value, |i, v| set(&mut i.sender, v.to_owned())),
    ignored('s', Flag),
    ignored('T', Value),
    acts('t', Flag, |i, _| to(&mut i.extract, true)),
    ignored('U', Flag),
    acts('V', Value, envid),
    acts('v', Flag, |i, _| to(&mut i.verbose, true)),
    ignored('X', Value), // a transcript file: never written for a caller
    ignored('x', Flag),
];

/// A long option: its name, the name of its value if it takes one, and what it does.
pub struct Long {
    pub name: &'static str,
    pub value: Option<&'static str>,
    pub act: fn(&mut Invocation, &str) -> Result<()>,
}

const fn long(
    name: &'static str,
    value: Option<&'static str>,
    act: fn(&mut Invocation, &str) -> Result<()>,
) -> Long {
    Long { name, value, act }
}

/// The long options.
pub const LONGS: &[Long] = &[
    long("help", None, |i, _| to_mode(i, Mode::Help)),
    long("version", None, |i, _| to_mode(i, Mode::Version)),
    long("check", None, |i, _| to_mode(i, Mode::Check)),
    long("test", Some("ADDRESS"), |i, v| {
        to_mode(i, Mode::Test(v.to_owned()))
    }),
    long("dkim-key", Some("DOMAIN"), |i, v| {
        to_mode(i, Mode::DkimKey(v.to_owned()))
    }),
    long("password", None, |i, _| to_mode(i, Mode::Password)),
    long("import", None, |i, _| to_mode(i, Mode::Import)),
    long("status", None, |i, _| to_mode(i, Mode::Status)),
    long("prometheus", None, |i, _| to(&mut i.prometheus, true)),
    long("scram", None, |i, _| to(&mut i.scram, true)),
    long("json", None, |i, _| to(&mut i.json, true)),
    long("due", None, |i, _| to(&mut i.due, true)),
    long("show", Some("ID"), |i, v| {
        to_mode(i, Mode::Show(v.to_owned()))
    }),
    long("remove", None, |i, _| to_mode(i, Mode::Remove)),
    long("hold", None, |i, _| to_mode(i, Mode::Hold)),
    long("release", None, |i, _| to_mode(i, Mode::Release)),
];

/// Words that minimta says to itself when it starts another process of its own; no help shows them, for whoever
/// else says them is refused.
pub const INNER: &[Long] = &[
    long("as-worker", None, |i, _| {
        i.part = Part::Worker;
        Ok(())
    }),
    long("as-helper", Some("NAME"), |i, v| {
        i.part = Part::Helper(v.to_owned());
        Ok(())
    }),
    long("as-home", None, |i, _| {
        i.part = Part::Home;
        Ok(())
    }),
    long("only", Some("ID"), |i, v| {
        i.only.push(v.to_owned());
        Ok(())
    }),
];

#[expect(
    clippy::unnecessary_wraps,
    reason = "one signature for all that options do"
)]
fn set<T>(place: &mut Option<T>, value: T) -> Result<()> {
    *place = Some(value);
    Ok(())
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "one signature for all that options do"
)]
fn to(place: &mut bool, value: bool) -> Result<()> {
    *place = value;
    Ok(())
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "one signature for all that options do"
)]
fn to_mode(invocation: &mut Invocation, mode: Mode) -> Result<()> {
    invocation.mode = mode;
    Ok(())
}

/// `-b`: the mode letters of sendmail.
fn mode(invocation: &mut Invocation, value: &str) -> Result<()> {
    invocation.mode = match value {
        "m" => Mode::Submit,
        "s" => Mode::Smtp,
        "d" | "D" => {
            invocation.listen = true;
            invocation.detach &= value == "d";
            Mode::Daemon
        }
        "p" => Mode::List,
        "i" => Mode::Aliases,
        "v" => Mode::Verify,
        "q" => {
            invocation.delivery = Delivery::Queue;
            Mode::Submit
        }
        _ => {
            return Err(Error::Usage(format!(
                "there is no mode -b{value}; minimta has -bm -bs -bd -bD -bp -bi -bv -bq"
            )));
        }
    };
    Ok(())
}

/// `-C`: the configuration, in place of that of the system.
fn config(invocation: &mut Invocation, value: &str) -> Result<()> {
    match value {
        "" => Err(Error::Usage(
            "option -C takes the path of a configuration, and was given an empty one".to_owned(),
        )),
        path => set(&mut invocation.config, PathBuf::from(path)),
    }
}

/// `-B`: nothing depends on what the caller believes; minimta looks at the message itself.
fn body_type(_: &mut Invocation, value: &str) -> Result<()> {
    match value.to_ascii_uppercase().as_str() {
        "7BIT" | "8BITMIME" => Ok(()),
        _ => Err(Error::Usage(format!(
            "option -B takes 7BIT or 8BITMIME, not {value}"
        ))),
    }
}

fn notify(invocation: &mut Invocation, value: &str) -> Result<()> {
    let wrong = || {
        Error::Usage(format!(
            "option -N takes never, or a list of success, failure and delay, not {value}"
        ))
    };
    set(
        &mut invocation.notify,
        Notify::parse(value).ok_or_else(wrong)?,
    )
}

fn ret(invocation: &mut Invocation, value: &str) -> Result<()> {
    let wrong = || Error::Usage(format!("option -R takes full or hdrs, not {value}"));
    set(&mut invocation.ret, Ret::parse(value).ok_or_else(wrong)?)
}

/// `-V`; an empty one is none. What a server would refuse is refused here, where somebody hears of it.
fn envid(invocation: &mut Invocation, value: &str) -> Result<()> {
    let xtext = xtext::encode(value);
    if !value.is_empty() && !is_envid(&xtext) {
        return Err(Error::Usage(format!(
            "option -V takes at most {MAX_ENVID} printable ASCII characters, each space, + and = counting as three, not {}",
            one_line(value)
        )));
    }
    invocation.envid = Some(xtext).filter(|envid| !envid.is_empty());
    Ok(())
}

/// `-oX`: the old one-letter options; those without a meaning here are accepted.
fn short_o(invocation: &mut Invocation, value: &str) -> Result<()> {
    match value {
        "i" => invocation.dot_ends = false,
        "db" => invocation.delivery = Delivery::Background,
        "di" => invocation.delivery = Delivery::Foreground,
        "dq" | "dd" => invocation.delivery = Delivery::Queue,
        _ => {}
    }
    Ok(())
}

/// `-O Name=value`: the long names of the same.
fn long_o(invocation: &mut Invocation, value: &str) -> Result<()> {
    let (name, value) = value.split_once('=').unwrap_or((value, ""));
    let first = value.get(..1).unwrap_or_default().to_ascii_lowercase();
    match name.to_ascii_lowercase().as_str() {
        "ignoredots" => invocation.dot_ends = matches!(first.as_str(), "f" | "n" | "0"),
        "deliverymode" => return short_o(invocation, &format!("d{first}")),
        _ => {}
    }
    Ok(())
}

/// `-q`: bare, with an interval, or with a selection.
fn queue(invocation: &mut Invocation, value: &str) -> Result<()> {
    let mut rest = value.chars();
    match (rest.next(), rest.as_str()) {
        // -qf (in the foreground) is how it runs anyway; -qp is for those who keep a runner.
        (None, _) | (Some('f' | 'p'), "") => {}
        (Some('I'), text) => invocation.select.push(Select::Id(text.to_owned())),
        (Some('R'), text) => invocation.select.push(Select::Recipient(text.to_owned())),
        (Some('S'), text) => invocation.select.push(Select::Sender(text.to_owned())),
        (Some(c), _) if c.is_ascii_digit() => {
            invocation.interval = Some(interval(value)?);
            return to_mode(invocation, Mode::Daemon);
        }
        _ => {
            return Err(Error::Usage(format!(
                "there is no option -q{value}; minimta has -q, -qI, -qR, -qS and -q15m"
            )));
        }
    }
    // `-bp -qRfoo` lists a part of the queue; -bd -q keeps the daemon.
    if !matches!(invocation.mode, Mode::List | Mode::Daemon) {
        invocation.mode = Mode::Queue;
    }
    Ok(())
}

/// `15m`, `1h30m`, `90s`; a number alone means minutes, as it does for sendmail.
fn interval(text: &str) -> Result<Duration> {
    let wrong = || {
        Error::Usage(format!(
            "option -q takes a time such as 15m or 1h30m, not {text}"
        ))
    };
    let (mut seconds, mut number) = (0_u64, String::new());
    for c in text
        .chars()
        .chain(text.ends_with(|c: char| c.is_ascii_digit()).then_some('m'))
    {
        if c.is_ascii_digit() {
            number.push(c);
            continue;
        }
        let unit = match c {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            'w' => 604_800,
            _ => return Err(wrong()),
        };
        let value: u64 = number.parse().map_err(|_| wrong())?;
        number.clear();
        seconds = value
            .checked_mul(unit)
            .and_then(|more| seconds.checked_add(more))
            .filter(|all| *all <= 604_800 * 52)
            .ok_or_else(wrong)?;
    }
    if seconds == 0 {
        return Err(wrong());
    }
    Ok(Duration::from_secs(seconds))
}
