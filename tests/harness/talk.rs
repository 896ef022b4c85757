//! A conversation with `sendmail -bs`: one command, one reply, as the frameworks hold it.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin};
use std::sync::mpsc;
use std::time::Duration;

use super::System;
use super::system::{Ran, finish};

/// A running `sendmail -bs`.
pub struct Talk {
    child: Child,
    stdin: Option<ChildStdin>,
    replies: mpsc::Receiver<String>,
}

impl Talk {
    /// Starts it with these words and reads the greeting.
    pub fn start(system: &System, args: &[&str]) -> Self {
        Self::of(system.call("sendmail").args(args).start())
    }

    /// One that was started.
    pub fn of(mut child: Child) -> Self {
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, replies) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let stdin = child.stdin.take();
        let talk = Self {
            child,
            stdin,
            replies,
        };
        assert_eq!(talk.reply()[..4], *"220 ");
        talk
    }

    /// Sends a line or several and returns the reply, its lines parted by `\n`.
    pub fn say(&mut self, text: &str) -> String {
        self.send(text);
        self.reply()
    }

    /// Sends without waiting for a reply.
    pub fn send(&mut self, text: &str) {
        let text = format!("{text}\r\n");
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(text.as_bytes()).unwrap();
    }

    /// Says each of these and expects the reply's first digits.
    pub fn steps(&mut self, steps: &[(&str, &str)]) {
        for (text, expected) in steps {
            let reply = self.say(text);
            assert!(reply.starts_with(expected), "{text}: {reply}");
        }
    }

    /// Closes its input and waits for its end.
    pub fn end(mut self) -> Ran {
        self.stdin = None;
        // The reader has standard output; it ends with the program.
        self.child.stdout = None;
        let mut ran = finish(self.child);
        ran.stdout = self.replies.iter().collect::<Vec<_>>().join("\n");
        ran
    }

    fn reply(&self) -> String {
        let mut lines = Vec::new();
        loop {
            let line = self.replies.recv_timeout(Duration::from_secs(60)).unwrap();
            let more = line.as_bytes().get(3) == Some(&b'-');
            lines.push(line);
            if !more {
                return lines.join("\n");
            }
        }
    }
}
