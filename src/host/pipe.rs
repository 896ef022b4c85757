//! Delivery to a command: it gets the message on its standard input, and its exit code says what became of it.
//!
//! The command is run by /bin/sh, in this process's right, in a process group of its own, and with an environment of
//! exactly what the caller names. It may take so long and no longer; what it prints is kept as far as it is worth
//! reading. A command that does not read all of the message is in its right. One whose message breaks off is killed
//! before it could take what it has for the whole, even when this process is killed first ([`super::guard`]).
//!
//! The exit code is one of sysexits.h. 75 (and 71, 74: the system's fault) and a signal mean later; so do 126 and 127,
//! by which the shell says that it found no such command, for that is mended rather than meant.

use std::io::{self, PipeWriter, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::guard::Guard;
use super::{other, words};
use crate::proto::data::LocalEnds;
use crate::proto::reply::Enhanced;

/// Octets read of the message at a time.
const BLOCK: usize = 64 * 1024;
/// The most that is kept of what a command prints, octets.
const MAX_PRINTED: usize = 1024;
/// How often it is looked whether a command has ended that has closed its output before.
const LOOK: Duration = Duration::from_millis(200);

/// A command to deliver to.
#[derive(Debug)]
pub struct Pipe<'a> {
    /// The line for the shell.
    pub command: &'a str,
    /// Its whole environment.
    pub environment: &'a [(&'a str, String)],
    /// The folder it is started in.
    pub folder: &'a Path,
    /// How long it may take.
    pub limit: Duration,
}

/// A command that runs.
struct Started {
    child: Child,
    /// That of the guard; 0: it is the first of its own.
    group: i32,
    stdin: PipeWriter,
    guard: Option<Guard>,
}

/// What a command made of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The status for journal and report: class 2, 4 or 5.
    pub enhanced: Enhanced,
    /// What happened, and what the command printed if it did not take the message.
    pub sentence: String,
}

impl Pipe<'_> {
    /// Hands a message over. When its end is an error, the command is killed before it could take it for whole.
    pub fn deliver(&self, message: &mut dyn Read) -> Ended {
        match self.start().and_then(|started| self.feed(started, message)) {
            Ok(ended) => ended,
            Err(error) => Ended {
                enhanced: Enhanced(4, 3, 0),
                sentence: format!("cannot run the command {}: {}", self.command, words(&error)),
            },
        }
    }

    fn start(&self) -> io::Result<Started> {
        let (input, stdin) = io::pipe()?;
        // Where none can be had the command is run all the same; it is this process that is not to be killed then.
        let guard = Guard::start(&stdin).ok();
        let group = guard.as_ref().and_then(Guard::group).unwrap_or(0);
        let mut command = other::command("/bin/sh");
        command
            .args(["-c", self.command])
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(self.folder)
            .process_group(group)
            .stdin(input);
        // Both of its outputs are one pipe to us.
        let (reader, writer) = io::pipe()?;
        command.stdout(writer.try_clone()?).stderr(writer);
        let mut child = other::start(&mut command)?;
        set_nonblocking(&stdin)?;
        set_nonblocking(&reader)?;
        child.stderr = Some(OwnedFd::from(reader).into());
        Ok(Started {
            child,
            group,
            stdin,
            guard,
        })
    }

    fn feed(&self, started: Started, message: &mut dyn Read) -> io::Result<Ended> {
        let Started {
            mut child,
            group,
            stdin,
            guard,
        } = started;
        let deadline = Instant::now() + self.limit;
        let mut printed = Vec::new();
        // Its input ends when the message has ended, or after the command: what breaks off must not look like a whole.
        let mut stdin = Some(stdin);
        let fed = self.write(&mut child, &mut stdin, message, &mut printed, deadline);
        let status = match fed {
            Ok(true) => {
                if let Some(guard) = guard {
                    guard.release();
                }
                drop(stdin.take());
                wait(&mut child, &mut printed, deadline)
            }
            Ok(false) => Ok(None),
            Err(error) => Err(error),
        };
        if !matches!(status, Ok(Some(_))) {
            kill(&mut child, group);
        }
        Ok(match status? {
            Some(status) => self.verdict(status, &printed),
            None => Ended {
                enhanced: Enhanced(4, 3, 0),
                sentence: format!(
                    "the command {} did not end within {} seconds",
                    self.command,
                    self.limit.as_secs()
                ),
            },
        })
    }

    /// Writes the message, and reads what the command prints meanwhile, so that neither waits for the other. Returned is
    /// whether it was done in time.
    fn write(
        &self,
        child: &mut Child,
        stdin: &mut Option<PipeWriter>,
        message: &mut dyn Read,
        printed: &mut Vec<u8>,
        deadline: Instant,
    ) -> io::Result<bool> {
        let mut ends = LocalEnds::new(false);
        let mut block = vec![0; BLOCK];
        let mut out = Vec::new();
        loop {
            let read = match message.read(&mut block) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            out.clear();
            match read {
                0 => ends.finish(&mut out),
                // read is at most the block's length.
                read => ends.feed(block.get(..read).unwrap_or_default(), &mut out),
            }
            let mut rest = out.as_slice();
            while let Some(pipe) = stdin.as_mut().filter(|_| !rest.is_empty()) {
                match io::Write::write(pipe, rest) {
                    Ok(n) => rest = rest.get(n..).unwrap_or_default(),
                    // It does not want to know more; the message is still read to its end, to see that it was whole.
                    Err(e) if e.kind() == io::ErrorKind::BrokenPipe => *stdin = None,
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                        let left = deadline.saturating_duration_since(Instant::now());
                        if left.is_zero() {
                            return Ok(false);
                        }
                        let output = child.stderr.as_ref().map(AsFd::as_fd);
                        let mut watched = vec![PollFd::new(pipe.as_fd(), PollFlags::POLLOUT)];
                        watched.extend(output.map(|o| PollFd::new(o, PollFlags::POLLIN)));
                        pause(&mut watched, left)?;
                        drop(watched);
                        listen(child, printed);
                    }
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => return Err(e),
                }
            }
            if read == 0 {
                return Ok(true);
            }
        }
    }

    fn verdict(&self, status: ExitStatus, printed: &[u8]) -> Ended {
        let what = match (status.code(), status.signal()) {
            (Some(0), _) => {
                return Ended {
                    enhanced: Enhanced(2, 0, 0),
                    sentence: format!("command {}", self.command),
                };
            }
            (Some(code), _) => format!("ended with exit code {code}"),
            (None, signal) => format!("was ended by signal {}", signal.unwrap_or_default()),
        };
        let printed = String::from_utf8_lossy(printed);
        let said = match printed.trim() {
            "" => String::new(),
            said => format!(": {said}"),
        };
        Ended {
            enhanced: status.code().map_or(Enhanced(4, 3, 0), enhanced),
            sentence: format!("the command {} {what}{said}", self.command),
        }
    }
}

/// The status for an exit code other than 0.
fn enhanced(code: i32) -> Enhanced {
    match code {
        71 | 74 | 75 | 126 | 127 => Enhanced(4, 3, 0),
        65 => Enhanced(5, 6, 0),
        67 => Enhanced(5, 1, 1),
        68 => Enhanced(5, 1, 2),
        69 => Enhanced(5, 2, 1),
        73 => Enhanced(5, 2, 0),
        76 => Enhanced(5, 5, 0),
        77 => Enhanced(5, 7, 0),
        78 => Enhanced(5, 3, 5),
        _ => Enhanced(5, 3, 0),
    }
}

/// Waits until the command has ended; `None`: it had its time. Its output is read to its end, which mostly comes
/// with it; but a process it left behind may keep it open.
fn wait(
    child: &mut Child,
    printed: &mut Vec<u8>,
    deadline: Instant,
) -> io::Result<Option<ExitStatus>> {
    loop {
        listen(child, printed);
        if let Some(status) = child.try_wait()? {
            listen(child, printed);
            return Ok(Some(status));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        let output = child.stderr.as_ref().map(AsFd::as_fd);
        let mut watched: Vec<_> = output
            .map(|o| PollFd::new(o, PollFlags::POLLIN))
            .into_iter()
            .collect();
        pause(&mut watched, left.min(LOOK))?;
    }
}

/// Reads what the command has printed, and forgets what is beyond its bound; at its end the pipe is closed.
fn listen(child: &mut Child, printed: &mut Vec<u8>) {
    let mut block = [0; 4096];
    while let Some(output) = child.stderr.as_mut() {
        match output.read(&mut block) {
            Ok(0) => child.stderr = None,
            Ok(n) => {
                let room = MAX_PRINTED.saturating_sub(printed.len()).min(n);
                printed.extend_from_slice(block.get(..room).unwrap_or_default());
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

fn pause(watched: &mut [PollFd<'_>], most: Duration) -> io::Result<()> {
    let most = u16::try_from(most.as_millis().max(1)).unwrap_or(u16::MAX);
    match poll(watched, PollTimeout::from(most)) {
        Ok(_) | Err(nix::Error::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Ends the command with all that it has started and kept in its group. It was not waited for, so that the group is there.
fn kill(child: &mut Child, group: i32) {
    let first = i32::try_from(child.id()).ok();
    if let Some(group) = Some(group).filter(|g| *g > 0).or(first) {
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

fn set_nonblocking(pipe: &impl AsFd) -> io::Result<()> {
    fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(command: &str, message: &mut dyn Read) -> Ended {
        let environment = [
            ("PATH", "/usr/bin:/bin".to_owned()),
            ("SENDER", "a@b".to_owned()),
        ];
        let pipe = Pipe {
            command,
            environment: &environment,
            folder: Path::new("/"),
            limit: Duration::from_secs(20),
        };
        pipe.deliver(message)
    }

    fn said(command: &str) -> (String, String) {
        let mut message = &b"Subject: x\r\n\r\n.\r\nbody\r\n"[..];
        let ended = run(command, &mut message);
        (ended.enhanced.to_string(), ended.sentence)
    }

    /// J11
    #[test]
    fn the_exit_code_is_the_verdict() {
        let rows = [
            ("cat >/dev/null", "2.0.0", "command cat >/dev/null"),
            ("true", "2.0.0", "command true"),
            (
                "exit 75",
                "4.3.0",
                "the command exit 75 ended with exit code 75",
            ),
            (
                "exit 67",
                "5.1.1",
                "the command exit 67 ended with exit code 67",
            ),
            (
                "exit 1",
                "5.3.0",
                "the command exit 1 ended with exit code 1",
            ),
            (
                "echo full >&2; exit 73",
                "5.2.0",
                "the command echo full >&2; exit 73 ended with exit code 73: full",
            ),
            (
                "kill -9 $$",
                "4.3.0",
                "the command kill -9 $$ was ended by signal 9",
            ),
            // Its environment is what it was given, its input the message with the line ends of this system.
            (
                r#"test "$(env | grep -v '^\(_\|SHLVL\|PWD\|OLDPWD\)=' | sort | tr '\n' ' ')" = "PATH=/usr/bin:/bin SENDER=a@b " && test "$(cat | wc -c)" -eq 19"#,
                "2.0.0",
                "",
            ),
        ];
        for (command, enhanced, sentence) in rows {
            let (found, words) = said(command);
            assert_eq!(found, enhanced, "{command}: {words}");
            assert!(words.starts_with(sentence), "{words}");
        }
        let (enhanced, _) = said("/no/such/command");
        assert_eq!(enhanced, "4.3.0");
    }

    /// J11, J14
    #[test]
    fn what_a_command_prints_or_does_not_read_blocks_nothing() {
        let large = "0123456789abcdef\r\n".repeat(100_000);
        for command in [
            "exit 0",
            "head -c 100 >/dev/null",
            "cat; cat /dev/zero | head -c 1000000",
            "head -c 1000000 /dev/zero; cat >/dev/null",
            "exec <&-; sleep 0.1",
            "exec >&- 2>&-; cat >/dev/null",
            // It ends, though what it has started keeps its output open.
            "sleep 5 & cat >/dev/null",
        ] {
            let begun = Instant::now();
            let ended = run(command, &mut large.as_bytes());
            assert_eq!(ended.enhanced, Enhanced(2, 0, 0), "{command}: {ended:?}");
            assert!(begun.elapsed() < Duration::from_secs(4), "{command}");
        }
    }

    /// J11
    #[test]
    fn a_command_has_its_time_and_no_more() {
        let pipe = Pipe {
            command: "trap '' TERM; sleep 60 & sleep 60",
            environment: &[("PATH", "/usr/bin:/bin".to_owned())],
            folder: Path::new("/"),
            limit: Duration::from_millis(50),
        };
        for size in [10, 1_000_000] {
            let ended = pipe.deliver(&mut vec![b'x'; size].as_slice());
            assert_eq!(ended.enhanced, Enhanced(4, 3, 0));
            assert!(ended.sentence.contains("did not end within 0 seconds"));
        }
    }

    #[test]
    fn a_message_that_turns_out_to_be_damaged_is_not_ended() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::InvalidData.into())
            }
        }
        let folder = super::super::mailbox::scratch::Scratch::new("pipe-broken");
        std::fs::create_dir_all(folder.path("")).unwrap();
        let file = folder.path("file");
        // The shell itself does it, as fast as it can be done once its input has ended.
        let command = format!("while read line; do :; done; : >{}", file.display());
        for _ in 0..50 {
            let mut message = b"Subject: x\r\n".chain(Broken);
            let ended = run(&command, &mut message);
            assert_eq!(ended.enhanced, Enhanced(4, 3, 0));
            assert!(!file.exists());
        }
    }
}
