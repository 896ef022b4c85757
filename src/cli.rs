//! The command line: sendmail's single letters with their right arity, and minimta's own long options.
//!
//! Programs have passed these letters for forty years, and a letter whose arity is not known turns its value
//! into a recipient. So [`LETTERS`] knows every letter any sendmail ever had, whether minimta acts on it or not;
//! only a letter beyond them is refused, before standard input is read.

mod options;

use std::ffi::OsString;
use std::io::{self, BufWriter, StdoutLock, Write};
use std::path::PathBuf;
use std::time::Duration;

use self::options::{Arity, INNER, LETTERS, LONGS};
use crate::error::{Error, Result, words};
use crate::proto::envelope::{Notify, Ret};
use crate::proto::outcome::one_line;

/// Which of minimta's processes this is (minimta(8), Processes).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Whoever was started by somebody else.
    Whole,
    /// The one that root's process has started as the user of the spool.
    Worker,
    /// The one that root's process has started to deliver to this user.
    Helper(String),
    /// Root's process, started for a worker that has connected.
    Home,
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
    /// `-V`, in xtext.
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
    see_that_it_fits(&invocation)?;
    Ok(invocation)
}

/// A long option that would change nothing is a slip of a person at a terminal, who would be left with a program that
/// waits for a message.
fn see_that_it_fits(invocation: &Invocation) -> Result<()> {
    let mode = &invocation.mode;
    let is_list = matches!(mode, Mode::List | Mode::Status | Mode::Verify | Mode::Check);
    let rows = [
        (
            invocation.due,
            matches!(mode, Mode::Queue | Mode::Daemon),
            "--due goes with -q",
        ),
        (
            invocation.json,
            is_list,
            "--json goes with mailq, --status, -bv and --check",
        ),
        (
            invocation.prometheus,
            *mode == Mode::Status,
            "--prometheus goes with --status",
        ),
        (
            invocation.scram,
            *mode == Mode::Password,
            "--scram goes with --password",
        ),
    ];
    if let Some((_, _, sentence)) = rows.iter().find(|(given, fits, _)| *given && !fits) {
        return Err(Error::Usage(format!("option {sentence}")));
    }
    let only = match mode {
        Mode::Show(_) => "--show prints one message",
        Mode::Test(_) => "--test takes one address",
        Mode::DkimKey(_) => "--dkim-key takes one domain",
        Mode::Status => "--status takes no argument",
        _ => return Ok(()),
    };
    match invocation.arguments.first() {
        Some(more) => {
            let more = one_line(more);
            Err(Error::Usage(format!("option {only}: what is {more} for?")))
        }
        None => Ok(()),
    }
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
        (Some(what), None) => {
            let article = if what.starts_with(['A', 'E', 'I', 'O', 'U']) {
                "an"
            } else {
                "a"
            };
            next(words, &format!("--{name}"), &format!("{article} {what}"))?
        }
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
            Arity::Flag => String::new(),
            Arity::Joined => rest.as_str().to_owned(),
            Arity::Value if rest.as_str().is_empty() => next(words, &format!("-{c}"), "a value")?,
            Arity::Value => rest.as_str().to_owned(),
        };
        if let Some(act) = letter.act {
            act(invocation, &value)?;
        }
        if letter.arity != Arity::Flag {
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
  minimta --show ID | --remove, --hold, --release ID...|ALL
  minimta --check [ADDRESS]  look over the configuration and the system
  minimta --test ADDRESS  go the way to an address, send nothing
  minimta --import [FILE] make minimta.toml of dma, msmtp, ssmtp, nullmailer
  minimta --dkim-key DOMAIN | --password [--scram] [NAME]  make keys and logins
      -C FILE  another configuration          -v   say what is done
      --help   --version   other letters of sendmail are accepted
Manual: minimta(8), minimta.toml(5), minimta-aliases(5), minimta-queue(5)
";

/// Prints to standard output.
///
/// # Errors
/// As for [`printed`].
pub fn say(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    printed(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// Prints to standard output what comes bit by bit, without a call for each bit. After one that could not be printed
/// there is no other.
pub struct Printer {
    out: BufWriter<StdoutLock<'static>>,
    done: io::Result<()>,
}

impl Printer {
    /// Nothing printed yet.
    pub fn new() -> Self {
        let out = io::stdout().lock();
        Self {
            out: BufWriter::with_capacity(32 * 1024, out),
            done: Ok(()),
        }
    }

    /// Prints some more.
    pub fn put(&mut self, text: &str) {
        if self.done.is_ok() {
            self.done = self.out.write_all(text.as_bytes());
        }
    }

    /// What came of it.
    ///
    /// # Errors
    /// As for [`printed`].
    pub fn end(mut self) -> Result<()> {
        printed(self.done.and_then(|()| self.out.flush()))
    }
}

/// What came of printing to standard output. A reader who has gone away is no error of ours.
///
/// # Errors
/// `Io` when what was asked for cannot be written where the caller wants it: he may go on as if he had it.
pub fn printed(done: io::Result<()>) -> Result<()> {
    match done {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            let why = words(&e);
            Err(Error::Io(format!("cannot write to standard output: {why}")))
        }
        _ => Ok(()),
    }
}

/// Prints a line to standard error, in one piece.
pub fn complain(program: &str, text: &str) {
    let _ = std::io::stderr()
        .lock()
        .write_all(format!("{program}: {text}\n").as_bytes());
}

#[cfg(test)]
mod tests;
