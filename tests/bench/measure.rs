//! What a command costs, with everything it leaves running behind it.
//!
//! `measure [--settle] RUNS INPUT COMMAND [ARGUMENT...]` runs it so often, one after the other, with the file INPUT
//! as standard input, and prints one line:
//!
//! `WALL-MEAN WALL-MIN CPU-MEAN CPU-MIN ALL-MEAN RSS-KIB EXIT`
//!
//! Times are milliseconds: WALL until the command itself has ended, ALL until its last descendant has, CPU of all of
//! them together. RSS is the greatest resident size that any of them reached; it cannot be less than what this
//! process has itself, about 2 MiB, as a child begins with that. EXIT is the first exit code that was not 0.
//!
//! Orphans are caught by being made children of this process. A program that leaves one behind to sleep until its
//! next try would never be done: with `--settle`, what sleeps and takes no processor time for a while is killed.

use std::fs::File;
use std::io::{Error, ErrorKind, Result, Write};
use std::process::{Command, ExitStatus, Stdio};
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

use processes::{Process, descendants};

/// How long a process must have slept to be taken for one that waits for its next try.
const SETTLED: Duration = Duration::from_millis(60);

fn main() -> Result<()> {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let settle = words.first().is_some_and(|w| w == "--settle");
    if settle {
        words.remove(0);
    }
    let [runs, input, program, arguments @ ..] = words.as_slice() else {
        return Err(wrong(
            "usage: measure [--settle] RUNS INPUT COMMAND [ARGUMENT...]",
        ));
    };
    let runs: u32 = runs.parse().map_err(|_| wrong("RUNS is not a number"))?;
    set_child_subreaper(true)?;
    let mut costs = Vec::new();
    for _ in 0..runs {
        let mut command = Command::new(program);
        command.args(arguments).stdin(File::open(input)?);
        costs.push(run(command.stdout(Stdio::null()), settle)?);
    }
    let mean = |of: fn(&Cost) -> f64| costs.iter().map(of).sum::<f64>() / f64::from(runs);
    let least = |of: fn(&Cost) -> f64| costs.iter().map(of).fold(f64::MAX, f64::min);
    let failed = costs.iter().find(|c| !c.exit.success()).map(|c| c.exit);
    writeln!(
        std::io::stdout(),
        "{:.3} {:.3} {:.3} {:.3} {:.3} {} {}",
        mean(|c| c.wall),
        least(|c| c.wall),
        mean(|c| c.cpu),
        least(|c| c.cpu),
        mean(|c| c.all),
        getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss(),
        failed.map_or(0, |e| e.code().unwrap_or(-1)),
    )
}

/// One run; times in milliseconds.
struct Cost {
    wall: f64,
    cpu: f64,
    all: f64,
    exit: ExitStatus,
}

fn run(command: &mut Command, settle: bool) -> Result<Cost> {
    let (before, start) = (cpu()?, Instant::now());
    let exit = command.spawn()?.wait()?;
    let wall = start.elapsed();
    let all = if settle {
        until_settled(start)?
    } else {
        while !matches!(waitpid(None, None), Err(Errno::ECHILD)) {}
        start.elapsed()
    };
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    Ok(Cost {
        wall: ms(wall),
        cpu: cpu()? - before,
        all: ms(all),
        exit,
    })
}

/// Until no descendant does anything more; those that are left are then killed.
fn until_settled(start: Instant) -> Result<Duration> {
    let (mut state, mut since) = (Vec::new(), start);
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Err(Errno::ECHILD) => return Ok(since.duration_since(start)),
            Ok(WaitStatus::StillAlive) => {}
            _ => continue,
        }
        let now = children();
        if now != state || now.iter().any(|c| !c.asleep) {
            (state, since) = (now, Instant::now());
        } else if since.elapsed() > SETTLED {
            for child in now {
                // A child that is not waited for keeps its id, so that no other process can be hit.
                kill(Pid::from_raw(child.id), Signal::SIGKILL)?;
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Those whose parent is this process.
fn children() -> Vec<Process> {
    let us = i32::try_from(std::process::id()).unwrap_or_default();
    let mut all = descendants();
    all.retain(|p| p.parent == us);
    all
}

/// Processor time of all children that have ended, in milliseconds.
#[allow(clippy::cast_precision_loss)] // exact up to 285 years
fn cpu() -> Result<f64> {
    let used = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let micros = used.user_time().num_microseconds() + used.system_time().num_microseconds();
    Ok(micros as f64 / 1000.0)
}

fn wrong(sentence: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, sentence)
}
