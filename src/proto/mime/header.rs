//! What the header of a part says of its structure (RFC 2045 5, 6; RFC 2046 5).

/// The longest value of a field that says something of the structure.
pub const MAX_VALUE: usize = 8192;
/// The longest boundary that is believed; RFC 2046 5.1.1 allows 70.
pub const MAX_BOUNDARY: usize = 200;

/// What a field of a header is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// Content-Type.
    Type,
    /// Content-Transfer-Encoding.
    Encoding,
    /// MIME-Version.
    MimeVersion,
    /// Any other.
    Other,
}

/// How a body is encoded (RFC 2045 6); the first three, in order, only say what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Encoding {
    /// Short lines of ASCII; also when nothing is said.
    SevenBit,
    /// Short lines.
    EightBit,
    /// Anything.
    Binary,
    /// Quoted-printable.
    QuotedPrintable,
    /// Base64.
    Base64,
    /// One this program does not know.
    Unknown,
}

impl Encoding {
    fn parse(text: &str) -> Self {
        // A comment may follow (RFC 2045 6.1). The hyphens are wrong, but are seen.
        let word = text.split([' ', '\t', '(', ';']).find(|w| !w.is_empty());
        match word.unwrap_or_default().to_ascii_lowercase().as_str() {
            "7bit" | "7-bit" => Self::SevenBit,
            "8bit" | "8-bit" => Self::EightBit,
            "binary" => Self::Binary,
            "quoted-printable" => Self::QuotedPrintable,
            "base64" => Self::Base64,
            _ => Self::Unknown,
        }
    }

    /// As the field says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::SevenBit => "7bit",
            Self::EightBit => "8bit",
            Self::Binary => "binary",
            Self::QuotedPrintable => "quoted-printable",
            Self::Base64 => "base64",
            Self::Unknown => "x-unknown",
        }
    }
}

/// What a part holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Octets.
    Leaf,
    /// Parts between boundaries (RFC 2046 5.1).
    Multipart,
    /// A message (RFC 2046 5.2.1).
    Message,
    /// Something that must not be changed, or that nothing is known of.
    Sealed,
}

/// What the header of a part says of its structure.
#[derive(Debug)]
pub struct Head {
    content_type: Option<String>,
    encoding: Option<String>,
    has_mime_version: bool,
    /// Why nothing below may be touched: the header is no header, or contradicts itself.
    broken: bool,
    kind: Kind,
    /// The line before this one belongs to it.
    field: Option<Field>,
}

impl Head {
    /// Before the first line.
    pub fn new() -> Self {
        Self {
            content_type: None,
            encoding: None,
            has_mime_version: false,
            broken: false,
            kind: Kind::Sealed,
            field: None,
        }
    }

    /// The field of the last line; `None` before the first.
    pub fn field(&self) -> Option<Field> {
        self.field
    }

    /// What the part holds.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// How it is encoded.
    pub fn encoding(&self) -> Encoding {
        let encoding = self.encoding.as_deref();
        encoding.map_or(Encoding::SevenBit, Encoding::parse)
    }

    /// Whether it says what it is.
    pub fn has_type(&self) -> bool {
        self.content_type.is_some()
    }

    /// Whether it has a MIME-Version.
    pub fn has_mime_version(&self) -> bool {
        self.has_mime_version
    }

    /// Takes in a line, of which `line` may be only the beginning; `None` when it is no line of a header.
    pub fn line(&mut self, line: &[u8], is_whole: bool) -> Option<Field> {
        let (field, value) = match line.first() {
            Some(b' ' | b'\t') => (self.field?, line),
            _ => {
                let colon = line.iter().position(|b| *b == b':')?;
                let (name, value) = line.split_at(colon);
                let field = field_of(name)?;
                self.begin_field(field);
                (field, value.get(1..).unwrap_or_default())
            }
        };
        self.field = Some(field);
        let kept = match field {
            Field::Type => self.content_type.as_mut(),
            Field::Encoding => self.encoding.as_mut(),
            Field::MimeVersion | Field::Other => None,
        };
        if let Some(kept) = kept {
            let value = String::from_utf8_lossy(value);
            kept.push_str(value.trim_end_matches(['\r', '\n']));
            if !is_whole || kept.len() > MAX_VALUE {
                kept.truncate(0);
                self.broken = true;
            }
        }
        Some(field)
    }

    fn begin_field(&mut self, field: Field) {
        match field {
            Field::Type => {
                self.broken |= self.content_type.is_some();
                self.content_type = Some(String::new());
            }
            Field::Encoding => {
                self.broken |= self.encoding.is_some();
                self.encoding = Some(String::new());
            }
            Field::MimeVersion => self.has_mime_version = true,
            Field::Other => {}
        }
    }

    /// At the end: settles what the part holds, and says the boundary if it is a multipart. In a digest a part
    /// without a Content-Type is a message (RFC 2046 5.1.5). Without `may_nest` nothing below is looked at.
    pub fn settle(&mut self, in_digest: bool, may_nest: bool) -> Option<String> {
        let fallback = if in_digest {
            "message/rfc822"
        } else {
            "text/plain"
        };
        let text = self.content_type.as_deref().unwrap_or(fallback);
        let (kind, parameters) = text.split_once(';').unwrap_or((text, ""));
        let kind = kind.trim().to_ascii_lowercase();
        let is_plain = self.encoding() <= Encoding::Binary;
        let boundary = boundary(parameters);
        self.kind = match kind.as_str() {
            _ if self.broken => Kind::Sealed,
            // A change would break the signature (RFC 1847 2.1).
            "multipart/signed" => Kind::Sealed,
            // A fragment of a message, or a pointer to one: always 7bit (RFC 2046 5.2.2, 5.2.3).
            "message/partial" | "message/external-body" => Kind::Sealed,
            k if k.starts_with("multipart/") => match is_plain && boundary.is_some() && may_nest {
                true => Kind::Multipart,
                false => Kind::Sealed,
            },
            "message/rfc822" if !may_nest => Kind::Sealed,
            "message/rfc822" if is_plain => Kind::Message,
            _ => Kind::Leaf,
        };
        boundary.filter(|_| self.kind == Kind::Multipart)
    }

    pub fn is_digest(&self) -> bool {
        let digest = "multipart/digest";
        let text = self.content_type.as_deref().unwrap_or_default().trim();
        text.get(..digest.len())
            .is_some_and(|t| t.eq_ignore_ascii_case(digest))
    }
}

/// The field of a name; `None` when it is none (RFC 5322 2.2). Space before the colon is old, but allowed.
fn field_of(name: &[u8]) -> Option<Field> {
    let name = name.trim_ascii_end();
    if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
        return None;
    }
    Some(match name {
        n if n.eq_ignore_ascii_case(b"Content-Type") => Field::Type,
        n if n.eq_ignore_ascii_case(b"Content-Transfer-Encoding") => Field::Encoding,
        n if n.eq_ignore_ascii_case(b"MIME-Version") => Field::MimeVersion,
        _ => Field::Other,
    })
}

/// The boundary among the parameters of a Content-Type (RFC 2045 5.1, RFC 2046 5.1.1).
fn boundary(parameters: &str) -> Option<String> {
    let mut rest = parameters;
    loop {
        rest = rest.trim_start_matches(|c: char| c == ';' || c.is_ascii_whitespace());
        let (name, after) = rest.split_once('=')?;
        let (value, after) = parameter_value(after.trim_ascii_start());
        if name.trim().eq_ignore_ascii_case("boundary") {
            let value = value.trim_end_matches([' ', '\t']);
            let fits = (1..=MAX_BOUNDARY).contains(&value.len());
            // What was not UTF-8 cannot be compared with the delimiters any more.
            return (fits && !value.contains(char::REPLACEMENT_CHARACTER))
                .then(|| value.to_owned());
        }
        rest = after;
    }
}

/// A value, quoted or not, and what follows it.
fn parameter_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text
            .find(|c: char| c == ';' || c.is_ascii_whitespace())
            .unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return (value.to_owned(), rest);
    };
    let mut value = String::new();
    let mut escaped = false;
    for (at, c) in quoted.char_indices() {
        match c {
            _ if escaped => {
                value.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return (value, quoted.get(at + 1..).unwrap_or_default()),
            _ => value.push(c),
        }
    }
    (value, "")
}
