//! Where a password is read from, each time it is needed: a file that only those it belongs to can read, or what
//! a program prints. In both, the password is the first line, of any octets. Errors are sentences; none of them
//! has anything of the password in it.

use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use super::{secret, words};
use crate::proto::outcome::one_line;

/// The most that is read of a file or program, octets; tokens have a few thousand.
const MAX: u64 = 64 * 1024;
/// The most that is kept of what a program complains, octets.
const MAX_COMPLAINT: u64 = 1024;
/// The most that is read and thrown away after it, so that a program need not die of a closed pipe, octets.
const MAX_THROWN_AWAY: u64 = 1024 * 1024;

/// Reads a password file. It is refused if others could read it, too.
pub fn from_file(path: &Path) -> Result<Vec<u8>, String> {
    let shown = path.display();
    let (file, about) = secret::open("password_file", path)?;
    let mode = about.mode() & 0o777;
    let ours = [nix::unistd::getegid().as_raw(), 0];
    if mode & 0o070 != 0 && !ours.contains(&about.gid()) {
        let group = about.gid();
        return Err(format!(
            "password_file {shown} can be read by group {group}, which is not minimta's (mode {mode:04o}); run: \
             chmod 0600 {shown}"
        ));
    }
    let mut bytes = Vec::new();
    file.take(MAX)
        .read_to_end(&mut bytes)
        .map_err(|e| secret::unreadable("password_file", path, &e))?;
    first_line(&super::without_mark(bytes))
        .ok_or_else(|| format!("password_file {shown} has no password in its first line"))
}

/// Runs a program, without a shell, and reads the first line it prints. It must end well, and within `limit`.
pub fn from_command(command: &[String], limit: Duration) -> Result<Vec<u8>, String> {
    let Some((program, arguments)) = command.split_first() else {
        return Err("password_command has no words".to_owned());
    };
    let cannot = |e: io::Error| format!("cannot run password_command {program}: {}", words(&e));
    let deadline = Instant::now() + limit;
    let mut process = super::other::command(program);
    if super::privilege::has_group() {
        // The caller of a program with a group of its own says nothing to others that have it, too.
        process
            .env_clear()
            .env("PATH", super::children::PATH)
            .current_dir("/");
    }
    process
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = super::other::start(&mut process).map_err(cannot)?;
    let printed = collect(child.stdout.take(), MAX);
    let complained = collect(child.stderr.take(), MAX_COMPLAINT);
    let ended = (|| {
        let printed = printed?.recv_timeout(limit).ok();
        Ok((printed, end(&mut child, deadline)?))
    })();
    // After this it has ended, one way or another; an error means that it had before.
    let _ = child.kill();
    let _ = child.wait();
    match ended.map_err(cannot)? {
        (Some(printed), Some(status)) if status.success() => first_line(&printed)
            .ok_or_else(|| format!("password_command {program} printed no password")),
        (None, Some(status)) if status.success() => {
            let seconds = limit.as_secs();
            Err(format!(
                "password_command {program} did not close its output within {seconds} seconds"
            ))
        }
        (_, Some(status)) => {
            // A grandchild that goes on may hold the pipe open: what it will say is not waited for.
            let complaint = complained.map_err(cannot)?;
            let complaint = complaint.recv_timeout(Duration::from_secs(1));
            let complaint = complaint.unwrap_or_default();
            let complaint = one_line(String::from_utf8_lossy(&complaint).trim());
            let how = ending(status);
            Err(match complaint.as_str() {
                "" => format!("password_command {program} {how}"),
                words => format!("password_command {program} {how}: {words}"),
            })
        }
        (_, None) => {
            let seconds = limit.as_secs();
            Err(format!(
                "password_command {program} did not end within {seconds} seconds"
            ))
        }
    }
}

/// Reads a pipe to its end in the background, and keeps its first `most` octets.
fn collect(pipe: Option<impl Read + Send + 'static>, most: u64) -> io::Result<Receiver<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new().spawn(move || {
        let mut kept = Vec::new();
        if let Some(mut pipe) = pipe {
            // An error is the pipe's end.
            let _ = pipe.by_ref().take(most).read_to_end(&mut kept);
            let _ = io::copy(&mut pipe.take(MAX_THROWN_AWAY), &mut io::sink());
        }
        // Nobody may wait for it any more.
        let _ = sender.send(kept);
    })?;
    Ok(receiver)
}

/// How it has ended, for the words after its name.
fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with status {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "failed".to_owned(),
    }
}

/// Waits until the program has ended, and how; `None`: it had its time.
fn end(child: &mut Child, deadline: Instant) -> io::Result<Option<ExitStatus>> {
    const PAUSE: Duration = Duration::from_millis(10);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        thread::sleep(PAUSE);
    }
}

/// The first line without its line end, unless it is empty.
fn first_line(bytes: &[u8]) -> Option<Vec<u8>> {
    let line = bytes.split(|b| *b == b'\n').next()?;
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    (!line.is_empty()).then(|| line.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn only_a_file_that_others_cannot_read_is_used() {
        let folder = std::env::temp_dir().join(format!("minimta-password-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("password");
        // What is in the file, its mode; the password, or a part of the refusal.
        type Row = (&'static [u8], u32, Result<&'static [u8], &'static str>);
        let rows: &[Row] = &[
            (b"secret\n", 0o600, Ok(b"secret")),
            (b"secret", 0o640, Ok(b"secret")),
            (b" s\xff\0# e \r\nmore\n", 0o600, Ok(b" s\xff\0# e ")),
            (b"\xef\xbb\xbfsecret\r\n", 0o600, Ok(b"secret")),
            (
                b"\xef\xbb\xbf\n",
                0o600,
                Err("no password in its first line"),
            ),
            (b"secret\n", 0o644, Err("mode 0644); run: chmod 0640 ")),
            (b"secret\n", 0o602, Err("can be read by everybody")),
            (b"\nsecret\n", 0o600, Err("no password in its first line")),
            (b"", 0o600, Err("no password in its first line")),
        ];
        for (content, mode, expected) in rows {
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(*mode)).unwrap();
            match (from_file(&path), expected) {
                (Ok(password), Ok(expected)) => assert_eq!(password, *expected),
                (Err(error), Err(expected)) => {
                    assert!(
                        error.contains(expected) && !error.contains("secret"),
                        "{error}"
                    );
                }
                (got, _) => panic!("{got:?} instead of {expected:?}"),
            }
        }
        assert!(
            from_file(&folder.join("absent"))
                .unwrap_err()
                .contains("no such file")
        );
        assert!(from_file(&folder).is_err());
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_program_must_end_well_and_in_time() {
        let run = |script: &str, limit: u64| {
            let command = ["/bin/sh", "-c", script].map(str::to_owned);
            from_command(&command, Duration::from_millis(limit))
        };
        assert_eq!(run("printf 'a b\\nmore\\n'", 30_000).unwrap(), b"a b");
        // More than a pipe holds, behind the first line.
        assert_eq!(
            run("echo x; head -c 300000 /dev/zero", 30_000).unwrap(),
            b"x"
        );
        let error = run("echo no key >&2; exit 2", 30_000).unwrap_err();
        assert!(error.ends_with("sh ended with status 2: no key"), "{error}");
        let error = run("echo right; exit 3", 30_000).unwrap_err();
        assert!(error.ends_with("sh ended with status 3"), "{error}");
        let error = run("kill -9 $$", 30_000).unwrap_err();
        assert!(error.ends_with("sh was ended by signal 9"), "{error}");
        assert!(
            run("exit 0", 30_000)
                .unwrap_err()
                .contains("printed no password")
        );
        assert!(
            run("exec sleep 60", 50)
                .unwrap_err()
                .contains("did not end")
        );
        // One that prints for ever.
        assert!(
            run("exec cat /dev/zero", 30_000)
                .unwrap_err()
                .contains(" ended ")
        );
        // Another process has its output, when it has long ended well.
        assert!(
            run("sleep 2 & echo right", 50)
                .unwrap_err()
                .contains("did not ")
        );
        assert!(from_command(&["/nowhere/x".to_owned()], Duration::ZERO).is_err());
        assert!(from_command(&[], Duration::ZERO).is_err());
    }
}
