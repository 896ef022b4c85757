//! A queue file read by the words of the design, not by the program's own code: what is promised of the file
//! is what a person with `less` finds in it.

use super::Mail;

/// A queue file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queued {
    /// The spool's folder it lies in.
    pub folder: &'static str,
    /// Its name.
    pub id: String,
    /// The lines between the first and the blank one.
    pub envelope: Vec<String>,
    /// The message as it will be sent.
    pub message: Vec<u8>,
    /// The lines after the message.
    pub journal: Vec<String>,
}

impl Queued {
    /// Reads a file that must be whole: first line, length and checksum are checked.
    pub fn parse(folder: &'static str, id: &str, bytes: &[u8]) -> Self {
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).unwrap().to_owned();
        let end = bytes
            .windows(2)
            .position(|two| two == b"\n\n")
            .expect("a blank line");
        let head = text(&bytes[..end]);
        let mut envelope: Vec<String> = head.lines().map(str::to_owned).collect();
        assert_eq!(envelope.remove(0), "minimta-queue 1");
        let (size, crc32) = {
            let line = envelope
                .iter()
                .find_map(|l| l.strip_prefix("message "))
                .expect("a message line");
            let words: Vec<&str> = line.split(' ').collect();
            (words[0].parse::<usize>().unwrap(), words[2].to_owned())
        };
        let message = bytes[end + 2..end + 2 + size].to_vec();
        assert_eq!(format!("{:08x}", crc32fast::hash(&message)), crc32, "{id}");
        let journal = text(&bytes[end + 2 + size..]);
        Self {
            folder,
            id: id.to_owned(),
            envelope,
            message,
            journal: journal.lines().map(str::to_owned).collect(),
        }
    }

    /// The values of an envelope field, in order.
    pub fn all(&self, name: &str) -> Vec<String> {
        let values = self.envelope.iter().filter_map(|l| l.split_once(' '));
        values
            .filter(|(n, _)| *n == name)
            .map(|(_, v)| v.to_owned())
            .collect()
    }

    /// The value of the one envelope field of a name.
    pub fn field(&self, name: &str) -> Option<String> {
        let mut all = self.all(name);
        assert!(all.len() < 2, "{name} stands there {} times", all.len());
        all.pop()
    }

    /// The sender, in brackets.
    pub fn sender(&self) -> String {
        self.field("from").expect("a sender")
    }

    /// The recipients without brackets and parameters.
    pub fn recipients(&self) -> Vec<String> {
        let bare = |value: String| {
            let path = value.split("> ").next().unwrap_or_default();
            path.trim_start_matches('<')
                .trim_end_matches('>')
                .to_owned()
        };
        self.all("to").into_iter().map(bare).collect()
    }

    /// The message to look at.
    pub fn mail(&self) -> Mail {
        Mail::new(&self.message)
    }
}
