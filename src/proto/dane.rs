//! DANE: what TLSA records say about a server's certificate (RFC 6698; for mail RFC 7672, RFC 7671).

use super::order;

use ring::digest;

/// One TLSA record, as it came.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tlsa {
    /// What the record names: an authority (2) or the server's own certificate (3); for mail 0 and 1 mean nothing.
    pub usage: u8,
    /// The whole certificate (0), or its key (1).
    pub selector: u8,
    /// As it is (0), its SHA-256 (1) or SHA-512 (2).
    pub matching: u8,
    /// What the selected part must match.
    pub data: Vec<u8>,
}

impl Tlsa {
    /// As a zone file has it: `3 1 1 0123...`.
    pub fn text(&self) -> String {
        let data: String = self.data.iter().map(|o| format!("{o:02x}")).collect();
        format!("{} {} {} {data}", self.usage, self.selector, self.matching)
    }

    /// Whether it names an authority that must have signed the certificate (DANE-TA).
    pub fn is_authority(&self) -> bool {
        self.usage == 2
    }

    /// Whether it can match any certificate at all (RFC 7672 3.1).
    fn is_usable(&self) -> bool {
        let length = match self.matching {
            0 => !self.data.is_empty(),
            1 => self.data.len() == digest::SHA256_OUTPUT_LEN,
            2 => self.data.len() == digest::SHA512_OUTPUT_LEN,
            _ => false,
        };
        matches!(self.usage, 2 | 3) && matches!(self.selector, 0 | 1) && length
    }

    /// Whether it is about this certificate, whose key (SubjectPublicKeyInfo) is `key`. Both are in DER.
    pub fn matches(&self, certificate: &[u8], key: &[u8]) -> bool {
        let part = match self.selector {
            0 => certificate,
            _ => key,
        };
        let hashed = |algorithm| digest::digest(algorithm, part).as_ref() == self.data;
        match self.matching {
            0 => part == self.data,
            1 => hashed(&digest::SHA256),
            2 => hashed(&digest::SHA512),
            _ => false,
        }
    }
}

/// What a server has to show.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dane {
    /// One of these must match; never empty.
    pub records: Vec<Tlsa>,
    /// The name the records stand under, which is asked for (RFC 7672 8.1), and the domain the mail is for: a
    /// certificate that an authority has signed must have one of them (RFC 7672 3.2.3).
    pub names: Vec<String>,
}

/// Those that count: of two hashes of the same kind of thing the weaker one does not (RFC 7671 9). When none is left
/// although there were some, the server has to encrypt, and nobody can tell who it is.
pub fn usable(records: Vec<Tlsa>) -> Vec<Tlsa> {
    let mut records: Vec<Tlsa> = records.into_iter().filter(Tlsa::is_usable).collect();
    let strong: Vec<(u8, u8)> = records
        .iter()
        .filter(|r| r.matching == 2)
        .map(|r| (r.usage, r.selector))
        .collect();
    records.retain(|r| r.matching != 1 || !strong.contains(&(r.usage, r.selector)));
    order::sort(&mut records, &Tlsa::cmp);
    records.dedup();
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `3 1 1 HEX`, with the hex digits of as many octets as are asked for.
    fn record(text: &str, length: usize) -> Tlsa {
        let mut numbers = text.split(' ').map(|n| n.parse().unwrap());
        let mut next = || numbers.next().unwrap();
        Tlsa {
            usage: next(),
            selector: next(),
            matching: next(),
            data: vec![7; length],
        }
    }

    #[test]
    fn only_what_can_match_counts() {
        // A record, the octets it holds, and whether it counts for mail.
        let rows = [
            ("3 1 1", 32, true),
            ("3 0 2", 64, true),
            ("2 0 0", 900, true),
            ("2 1 1", 32, true),
            ("3 1 1", 31, false),
            ("3 1 2", 32, false),
            ("3 1 0", 0, false),
            ("3 1 3", 32, false),
            ("3 2 1", 32, false),
            ("4 1 1", 32, false),
            ("0 1 1", 32, false), // PKIX-TA and PKIX-EE: RFC 7672 3.1.3
            ("1 1 1", 32, false),
            ("255 255 255", 32, false),
        ];
        for (text, length, counts) in rows {
            let found = usable(vec![record(text, length)]);
            assert_eq!(found.len(), usize::from(counts), "{text} of {length}");
        }
    }

    #[test]
    fn the_stronger_hash_decides() {
        let all = vec![
            record("3 1 1", 32),
            record("3 1 2", 64),
            record("2 1 1", 32),
        ];
        let left: Vec<(u8, u8)> = usable(all).iter().map(|r| (r.usage, r.matching)).collect();
        assert_eq!(left, [(2, 1), (3, 2)]);
    }

    #[test]
    #[cfg_attr(miri, ignore = "ring is C and assembly")]
    fn the_selected_part_is_compared() {
        let hash = |algorithm, octets: &[u8]| digest::digest(algorithm, octets).as_ref().to_vec();
        let rows = [
            ("3 0 0", b"cert".to_vec(), true),
            ("3 1 0", b"cert".to_vec(), false),
            ("3 1 0", b"key".to_vec(), true),
            ("3 0 1", hash(&digest::SHA256, b"cert"), true),
            ("3 1 1", hash(&digest::SHA256, b"key"), true),
            ("3 1 1", hash(&digest::SHA256, b"cert"), false),
            ("2 1 2", hash(&digest::SHA512, b"key"), true),
            ("2 1 2", hash(&digest::SHA256, b"key"), false),
        ];
        for (text, data, expected) in rows {
            let tlsa = Tlsa {
                data,
                ..record(text, 0)
            };
            assert_eq!(tlsa.matches(b"cert", b"key"), expected, "{text}");
        }
    }
}
