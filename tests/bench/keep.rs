//! Keeps a daemon for the bench, with all that it starts, and says what they cost.
//!
//! `keep COMMAND [ARGUMENT...]` starts it and answers each line of its standard input with one line:
//!
//! - `cost`: `CPU-MS PROCESSES PSS-KIB`, the processor time of all so far, and how many they are now
//! - `kill`: all of them are killed, as a crash would; `killed`
//! - `stop`: the command is asked to end, and what is left ten seconds later is killed; `CPU-MS PEAK-RSS-KIB`, and
//!   this ends
//!
//! Orphans are caught by being made children of this process; so nothing is left running. It ends when its input does.

use std::fs;
use std::io::{BufRead, Error, ErrorKind, Result, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::sys::time::TimeValLike;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

#[path = "processes.rs"]
mod processes;

use processes::descendants;

/// How long a daemon may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [program, arguments @ ..] = words.as_slice() else {
        return Err(Error::new(ErrorKind::InvalidInput, "usage: keep COMMAND"));
    };
    set_child_subreaper(true)?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    // Its output is the bench's business: what this one says goes to whoever asks.
    let child = command.stdout(Stdio::null()).spawn()?;
    let child = i32::try_from(child.id()).unwrap_or_default();
    for line in std::io::stdin().lock().lines() {
        reap();
        let answer = match line?.as_str() {
            "cost" => {
                let living = descendants();
                let pss: u64 = living.iter().map(|p| pss(p.id)).sum();
                format!("{:.1} {} {pss}", cpu()?, living.len())
            }
            "kill" => {
                kill_all();
                "killed".to_owned()
            }
            "stop" => {
                stop(child);
                let peak = getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss();
                writeln!(std::io::stdout(), "{:.1} {peak}", cpu()?)?;
                return Ok(());
            }
            _ => "what?".to_owned(),
        };
        writeln!(std::io::stdout(), "{answer}")?;
    }
    kill_all();
    Ok(())
}

/// Processor time of those that have ended and of those that live, in milliseconds.
#[allow(clippy::cast_precision_loss)] // exact up to 285 years
fn cpu() -> Result<f64> {
    /// Clock ticks a second in /proc: always 100 to programs on Linux.
    const TICK_MS: u64 = 10;
    let used = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let micros = used.user_time().num_microseconds() + used.system_time().num_microseconds();
    let living: u64 = descendants().iter().map(|p| p.ticks).sum();
    Ok(micros as f64 / 1000.0 + (living * TICK_MS) as f64)
}

/// Memory of a process: what it shares with others counts in parts.
fn pss(id: i32) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).unwrap_or_default();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.unwrap_or(0)
}

fn reap() {
    while matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(status) if status != WaitStatus::StillAlive)
    {
    }
}

fn is_empty() -> bool {
    reap();
    matches!(
        waitpid(None, Some(WaitPidFlag::WNOHANG)),
        Err(Errno::ECHILD)
    )
}

/// All at once, and those that they have started in between.
fn kill_all() {
    while !is_empty() {
        for process in descendants() {
            let _ = kill(Pid::from_raw(process.id), Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn stop(child: i32) {
    let _ = kill(Pid::from_raw(child), Signal::SIGTERM);
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE && !is_empty() {
        // Some daemons leave to an admin who else is to end.
        if begun.elapsed() > PATIENCE / 10 {
            for process in descendants() {
                let _ = kill(Pid::from_raw(process.id), Signal::SIGTERM);
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    kill_all();
}
