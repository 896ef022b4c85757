//! A message as a test looks at it: its fields by name, its body, with LF line ends whatever it came with.

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    text: String,
}

impl Mail {
    /// From its octets. Those that are no UTF-8 are replaced; a test that counts octets looks at the file.
    pub fn new(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes).replace("\r\n", "\n");
        Self { text }
    }

    /// The whole of it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The header, up to the blank line.
    pub fn header(&self) -> &str {
        self.split().0
    }

    /// What comes after the blank line.
    pub fn body(&self) -> &str {
        self.split().1
    }

    fn split(&self) -> (&str, &str) {
        if let Some(body) = self.text.strip_prefix('\n') {
            return ("", body);
        }
        match self.text.find("\n\n") {
            Some(at) => (&self.text[..=at], &self.text[at + 2..]),
            None => (&self.text, ""),
        }
    }

    /// The values of all fields of a name, in order, unfolded (RFC 5322 2.2.3).
    pub fn all(&self, name: &str) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        let mut inside = false;
        for line in self.header().lines() {
            if line.starts_with([' ', '\t']) {
                if let Some(last) = found.last_mut().filter(|_| inside) {
                    last.push(' ');
                    last.push_str(line.trim_start());
                }
                continue;
            }
            let value = line
                .split_once(':')
                .filter(|(n, _)| n.trim_end().eq_ignore_ascii_case(name));
            inside = value.is_some();
            found.extend(value.map(|(_, v)| v.trim_start().to_owned()));
        }
        found
    }

    /// The value of the one field of a name; `None` if there is none.
    pub fn field(&self, name: &str) -> Option<String> {
        let mut all = self.all(name);
        assert!(all.len() < 2, "{name} stands there {} times", all.len());
        all.pop()
    }
}
