//! The command line: sendmail's single letters with their right arity, and minimta's own long options.
//!
//! Programs have passed these letters for forty years, and a letter whose arity is not known turns its value
//! into a recipient. So [`LETTERS`] knows every letter any sendmail ever had, whether minimta acts on it or not;
//! only a letter beyond them is refused, before standard input is read.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::proto::envelope::{Notify, Ret};

/// How a letter takes its value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Arity {
    /// None; other letters may follow in the same word.
    Flag,
    /// The rest of the word, or nothing; never the next word.
    Joined,
    /// The rest of the word, or the next one.
    Value,
}

use Arity::{Flag, Joined, Value};

/// A letter: how it takes its value, and what it does; `None`: accepted, and of no meaning here.
struct Letter {
    letter: char,
    arity: Arity,
    act: Option<fn(&mut Invocation, &str) -> Result<()>>,
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

const LETTERS: &[Letter] = &[
    ignored('A', Value), // -Ac, -Am: which of two configurations
    acts('B', Value, body_type),
    acts('b', Value, mode),
    acts('C', Value, |i, v| set(&mut i.config, PathBuf::from(v))),
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
    acts('V', Value, |i, v| set(&mut i.envid, v.to_owned())),
    acts('v', Flag, |i, _| to(&mut i.verbose, true)),
    ignored('X', Value), // a transcript file: never written for a caller
    ignored('x', Flag),
];

/// A long option: its name, the name of its value if it takes one, and what it does.
struct Long {
    name: &'static str,
    value: Option<&'static str>,
    act: fn(&mut Invocation, &str) -> Result<()>,
}

const LONGS: &[Long] = &[
    Long {
        name: "help",
        value: None,
        act: |i, _| to_mode(i, Mode::Help),
    },
    Long {
        name: "version",
        value: None,
        act: |i, _| to_mode(i, Mode::Version),
    },
    Long {
        name: "check",
        value: None,
        act: |i, _| to_mode(i, Mode::Check),
    },
    Long {
        name: "test",
        value: Some("ADDRESS"),
        act: |i, v| to_mode(i, Mode::Test(v.to_owned())),
    },
    Long {
        name: "dkim-key",
        value: Some("DOMAIN"),
        act: |i, v| to_mode(i, Mode::DkimKey(v.to_owned())),
    },
    Long {
        name: "password",
        value: None,
        act: |i, _| to_mode(i, Mode::Password),
    },
    Long {
        name: "import",
        value: None,
        act: |i, _| to_mode(i, Mode::Import),
    },
    Long {
        name: "status",
        value: None,
        act: |i, _| to_mode(i, Mode::Status),
    },
    Long {
        name: "prometheus",
        value: None,
        act: |i, _| to(&mut i.prometheus, true),
    },
    Long {
        name: "scram",
        value: None,
        act: |i, _| to(&mut i.scram, true),
    },
    Long {
        name: "json",
        value: None,
        act: |i, _| to(&mut i.json, true),
    },
    Long {
        name: "due",
        value: None,
        act: |i, _| to(&mut i.due, true),
    },
    Long {
        name: "show",
        value: Some("ID"),
        act: |i, v| to_mode(i, Mode::Show(v.to_owned())),
    },
    Long {
        name: "remove",
        value: None,
        act: |i, _| to_mode(i, Mode::Remove),
    },
    Long {
        name: "hold",
        value: None,
        act: |i, _| to_mode(i, Mode::Hold),
    },
    Long {
        name: "release",
        value: None,
        act: |i, _| to_mode(i, Mode::Release),
    },
];

/// Words that minimta says to itself when it starts another process of its own; no help shows them, for whoever
/// else says them is refused.
const INNER: &[Long] = &[
    Long {
        name: "as-worker",
        value: None,
        act: |i, _| {
            i.part = Part::Worker;
            Ok(())
        },
    },
    Long {
        name: "as-helper",
        value: Some("NAME"),
        act: |i, v| {
            i.part = Part::Helper(v.to_owned());
            Ok(())
        },
    },
    Long {
        name: "only",
        value: Some("ID"),
        act: |i, v| {
            i.only.push(v.to_owned());
            Ok(())
        },
    },
];

/// Which of minimta's processes this is (minimta(8), Processes).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Whoever was started by somebody else.
    Whole,
    /// The one that root's process has started as the user of the spool.
    Worker,
    /// The one that root's process has started to deliver to this user.
    Helper(String),
}

/// What minimta is called to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// `-bm`: take a message on standard input.
    Submit,
    /// `-bs`: speak SMTP on standard input and output.
    Smtp,
    /// `-bd`, `-bD`, `-q15m`: stay and listen, or run the queue.
    Daemon,
    /// `-bp`, `mailq`: list the queue.
    List,
    /// `-bi`, `newaliases`.
    Aliases,
    /// `-bv`: say where addresses would go.
    Verify,
    /// `-q`: run the queue.
    Queue,
    /// `--help`.
    Help,
    /// `--version`.
    Version,
    /// `--check`.
    Check,
    /// `--test ADDRESS`.
    Test(String),
    /// `--dkim-key DOMAIN`.
    DkimKey(String),
    /// `--password [NAME]`; the name is the argument.
    Password,
    /// `--import [FILE]`; the file is the argument.
    Import,
    /// `--status`.
    Status,
    /// `--show ID`.
    Show(String),
    /// `--remove ID...`; the ids are the arguments.
    Remove,
    /// `--hold ID...`.
    Hold,
    /// `--release ID...`.
    Release,
}

/// When the first attempt is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// `-odb`: at once, by a process that goes on when this one has ended.
    Background,
    /// `-odi`: at once, before this process ends.
    Foreground,
    /// `-odq`, `-bq`: by the next queue run.
    Queue,
}

/// Which messages of the queue are meant: all conditions hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Select {
    /// `-qI`: the queue id contains this.
    Id(String),
    /// `-qR`: a recipient contains this.
    Recipient(String),
    /// `-qS`: the sender contains this.
    Sender(String),
}

/// A command line, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// What to do.
    pub mode: Mode,
    /// Which process it is to be.
    pub part: Part,
    /// `-C`: another configuration.
    pub config: Option<PathBuf>,
    /// `-f`, `-r`: the envelope sender, as it was typed.
    pub sender: Option<String>,
    /// `-F`: the full name for a From field.
    pub full_name: Option<String>,
    /// `-t`: recipients from the header.
    pub extract: bool,
    /// No `-i`: a lone dot ends the message.
    pub dot_ends: bool,
    /// When the first attempt is made.
    pub delivery: Delivery,
    /// `-N`.
    pub notify: Option<Notify>,
    /// `-R`.
    pub ret: Option<Ret>,
    /// `-V`, as it was typed.
    pub envid: Option<String>,
    /// `-v`.
    pub verbose: bool,
    /// `--json`.
    pub json: bool,
    /// `--prometheus`.
    pub prometheus: bool,
    /// `--scram`.
    pub scram: bool,
    /// `--due`.
    pub due: bool,
    /// `-qI`, `-qR`, `-qS`.
    pub select: Vec<Select>,
    /// `--only`: the messages that root has just handed in; none: all that are selected.
    pub only: Vec<String>,
    /// `-bd`, `-bD`: a daemon listens; without it, it only runs the queue.
    pub listen: bool,
    /// The daemon goes into the background, as a system of init scripts expects it from `sendmail -bd`.
    pub detach: bool,
    /// `-q15m`: how often a daemon looks into the queue.
    pub interval: Option<Duration>,
    /// What is no option: recipients or queue ids.
    pub arguments: Vec<String>,
}

/// Reads a command line, its program name first.
///
/// # Errors
/// `Usage`, with the sentence to show.
pub fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Invocation> {
    let mut words = arguments.map(|word| {
        word.into_string()
            .map_err(|w| Error::Usage(format!("the argument {} is not UTF-8", w.to_string_lossy())))
    });
    let program = words.next().transpose()?.unwrap_or_default();
    let mut invocation = Invocation::named(program.rsplit('/').next().unwrap_or_default());
    while let Some(word) = words.next().transpose()? {
        if word == "--" {
            for rest in words.by_ref() {
                invocation.arguments.push(rest?);
            }
        } else if let Some(long) = word.strip_prefix("--") {
            long_option(&mut invocation, long, &mut words)?;
        } else if let Some(letters) = word.strip_prefix('-').filter(|l| !l.is_empty()) {
            single_letters(&mut invocation, letters, &mut words)?;
        } else {
            invocation.arguments.push(word);
        }
    }
    Ok(invocation)
}

impl Invocation {
    /// The defaults of a program of this name.
    fn named(program: &str) -> Self {
        let mode = match program {
            "mailq" => Mode::List,
            "newaliases" => Mode::Aliases,
            "smtpd" => Mode::Daemon,
            _ => Mode::Submit,
        };
        Self {
            mode,
            part: Part::Whole,
            config: None,
            sender: None,
            full_name: None,
            extract: false,
            dot_ends: true,
            delivery: Delivery::Background,
            notify: None,
            ret: None,
            envid: None,
            verbose: false,
            json: false,
            prometheus: false,
            scram: false,
            due: false,
            select: Vec::new(),
            only: Vec::new(),
            listen: program == "smtpd",
            // Only by this name: systemd, procd and a container want their daemons in the foreground.
            detach: program == "sendmail",
            interval: None,
            arguments: Vec::new(),
        }
    }
}

fn long_option(
    invocation: &mut Invocation,
    text: &str,
    words: &mut impl Iterator<Item = Result<String>>,
) -> Result<()> {
    let (name, joined) = text
        .split_once('=')
        .map_or((text, None), |(name, value)| (name, Some(value)));
    let Some(long) = LONGS.iter().chain(INNER).find(|l| l.name == name) else {
        return Err(Error::Usage(format!(
            "there is no option --{name}; minimta --help lists them"
        )));
    };
    let value = match (long.value, joined) {
        (None, None) => String::new(),
        (None, Some(_)) => return Err(Error::Usage(format!("option --{name} takes no value"))),
        (Some(_), Some(value)) => value.to_owned(),
        (Some(what), None) => next(words, &format!("--{name}"), &format!("an {what}"))?,
    };
    (long.act)(invocation, &value)
}

fn single_letters(
    invocation: &mut Invocation,
    letters: &str,
    words: &mut impl Iterator<Item = Result<String>>,
) -> Result<()> {
    let mut rest = letters.chars();
    while let Some(c) = rest.next() {
        let Some(letter) = LETTERS.iter().find(|l| l.letter == c) else {
            return Err(Error::Usage(format!(
                "there is no option -{c}; minimta --help lists them"
            )));
        };
        let value = match letter.arity {
            Flag => String::new(),
            Joined => rest.as_str().to_owned(),
            Value if rest.as_str().is_empty() => next(words, &format!("-{c}"), "a value")?,
            Value => rest.as_str().to_owned(),
        };
        if let Some(act) = letter.act {
            act(invocation, &value)?;
        }
        if letter.arity != Flag {
            return Ok(());
        }
    }
    Ok(())
}

fn next(
    words: &mut impl Iterator<Item = Result<String>>,
    option: &str,
    what: &str,
) -> Result<String> {
    words
        .next()
        .unwrap_or_else(|| Err(Error::Usage(format!("option {option} needs {what}"))))
}

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
                "there is no mode -b{value}; minimta has -bm -bs -bd -bp -bi -bv -bq"
            )));
        }
    };
    Ok(())
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

/// What `--help` prints: it fits a screen.
pub const HELP: &str = "\
minimta, a small and complete mail transfer agent

  sendmail [OPTIONS] [RECIPIENT...] < MESSAGE      take a message
      -t       recipients from To, Cc, Bcc    -i   a lone dot does not end it
      -f ADDR  envelope sender, '<>': nobody  -F   full name of the sender
      -odb     deliver in the background      -odi in the foreground
      -odq     leave it to the queue run      -V   ENVID     -R full|hdrs
      -N LIST  report: never, or success,failure,delay
  minimta -q [--due]      run the queue: all of it now, or what is due
      -qI ID  -qR RECIPIENT  -qS SENDER       only what contains this
  minimta -bd [-q15m]     listen, and deliver; -q15m alone: only deliver
  minimta -bs             speak SMTP on standard input and output
  minimta -bv ADDRESS...  say where mail would go, deliver nothing
  mailq [--json]          list the queue
  minimta --status [--json|--prometheus]  counts of the day, and what waits
  minimta --show ID | --remove ID...|ALL | --hold ID... | --release ID...
  minimta --check [ADDRESS]  look over the configuration and the system
  minimta --test ADDRESS  go the way to an address, send nothing
  minimta --import [FILE] make minimta.toml of dma, msmtp, ssmtp, nullmailer
  minimta --dkim-key DOMAIN | --password [--scram] [NAME]  make keys and logins
      -C FILE  another configuration          -v   say what is done
      --help   --version   other letters of sendmail are accepted
Manual: minimta(8), minimta.toml(5), minimta-queue(5)
";

/// Prints to standard output. A reader who has gone away is no error of ours.
pub fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Prints a line to standard error, in one piece.
pub fn complain(program: &str, text: &str) {
    let _ = std::io::stderr()
        .lock()
        .write_all(format!("{program}: {text}\n").as_bytes());
}

#[cfg(test)]
mod tests;
