//! What is asked of DNS about who sends a message; [`Names`] answers.

use std::net::IpAddr;

use super::mx::{Exchanger, NoAnswer};

/// Answers from DNS. What a name server says is a stranger's word: whoever answers bounds how much of it there is and
/// how long it takes.
pub trait Names {
    /// The text records of a name, each in one piece.
    fn txt(&mut self, name: &str) -> Result<Vec<String>, NoAnswer>;
    /// The addresses of a name, of IPv6 or of IPv4.
    fn addresses(&mut self, name: &str, v6: bool) -> Result<Vec<IpAddr>, NoAnswer>;
    /// The mail exchangers of a domain.
    fn mx(&mut self, domain: &str) -> Result<Vec<Exchanger>, NoAnswer>;
    /// The names of an address.
    fn pointer(&mut self, address: IpAddr) -> Result<Vec<String>, NoAnswer>;
}

/// The most names of an address that are looked at (RFC 7208 5.5).
pub const MAX_POINTERS: usize = 10;

/// Octets of a name, with a dot at its end (RFC 1035 2.3.4).
const MAX_NAME: usize = 254;

/// The names of an address that are its own: each leads back to it (RFC 8601 3: iprev).
///
/// # Errors
/// Why its names cannot be told.
pub fn confirmed(names: &mut dyn Names, address: IpAddr) -> Result<Vec<String>, NoAnswer> {
    let address = address.to_canonical();
    let mut found = names.pointer(address)?;
    // The root is no host's name, and what is longer is none.
    found.retain(|name| (1..=MAX_NAME).contains(&name.len()));
    found.truncate(MAX_POINTERS);
    let mut trouble = None;
    found.retain(|name| match names.addresses(name, address.is_ipv6()) {
        Ok(addresses) => addresses.contains(&address),
        Err(why @ NoAnswer::Temporary(_)) => {
            trouble = Some(why);
            false
        }
        Err(_) => false,
    });
    match trouble {
        Some(why) if found.is_empty() => Err(why),
        _ => Ok(found),
    }
}

/// Zones as a text, a record a line, for tests: `name TYPE value`; `name ! TEMP` answers nothing.
#[cfg(test)]
#[derive(Debug, Default)]
pub struct Zone {
    lines: Vec<(String, String, String)>,
    /// The questions so far.
    pub asked: Vec<String>,
}

#[cfg(test)]
impl Zone {
    /// Reads the lines.
    pub fn new(text: &str) -> Self {
        let line = |line: &str| {
            let (name, rest) = line.trim().split_once(' ')?;
            let (kind, value) = rest.trim().split_once(' ')?;
            Some((
                name.to_lowercase(),
                kind.to_owned(),
                value.trim().to_owned(),
            ))
        };
        Self {
            lines: text.lines().filter_map(line).collect(),
            asked: Vec::new(),
        }
    }

    /// Of records, each a name, a type and a value.
    pub fn of(records: &[[String; 3]]) -> Self {
        let line =
            |[name, kind, value]: &[String; 3]| (name.to_lowercase(), kind.clone(), value.clone());
        Self {
            lines: records.iter().map(line).collect(),
            asked: Vec::new(),
        }
    }

    fn find(&mut self, name: &str, kind: &str) -> Result<Vec<String>, NoAnswer> {
        self.asked.push(format!("{kind} {name}"));
        let name = name.to_lowercase();
        let here: Vec<_> = self.lines.iter().filter(|(n, ..)| *n == name).collect();
        if here.iter().any(|(_, k, _)| k == "!") {
            return Err(NoAnswer::Temporary("silence".to_owned()));
        }
        let values: Vec<String> = here
            .iter()
            .filter(|(_, k, _)| k == kind)
            .map(|(.., value)| value.clone())
            .collect();
        match (here.is_empty(), values.is_empty()) {
            (true, _) => Err(NoAnswer::NoSuchDomain),
            (_, true) => Err(NoAnswer::NoData),
            _ => Ok(values),
        }
    }
}

#[cfg(test)]
impl Names for Zone {
    fn txt(&mut self, name: &str) -> Result<Vec<String>, NoAnswer> {
        self.find(name, "TXT")
    }

    fn addresses(&mut self, name: &str, v6: bool) -> Result<Vec<IpAddr>, NoAnswer> {
        let found = self.find(name, if v6 { "AAAA" } else { "A" })?;
        Ok(found.iter().map(|a| a.parse().unwrap()).collect())
    }

    fn mx(&mut self, domain: &str) -> Result<Vec<Exchanger>, NoAnswer> {
        let exchanger = |value: &String| {
            let (preference, name) = value.split_once(' ').unwrap();
            Exchanger {
                preference: preference.parse().unwrap(),
                name: name.trim_end_matches('.').to_owned(),
            }
        };
        Ok(self.find(domain, "MX")?.iter().map(exchanger).collect())
    }

    fn pointer(&mut self, address: IpAddr) -> Result<Vec<String>, NoAnswer> {
        self.find(&address.to_string(), "PTR")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An address with names of every kind, and a name server that is asked for hosts alone.
    struct Odd;

    impl Names for Odd {
        fn txt(&mut self, _: &str) -> Result<Vec<String>, NoAnswer> {
            Err(NoAnswer::NoData)
        }

        fn mx(&mut self, _: &str) -> Result<Vec<Exchanger>, NoAnswer> {
            Err(NoAnswer::NoData)
        }

        fn addresses(&mut self, name: &str, v6: bool) -> Result<Vec<IpAddr>, NoAnswer> {
            assert!(!v6);
            match name {
                "mx.example.org" => Ok(vec!["192.0.2.1".parse().unwrap()]),
                "other.example.org" => Ok(vec!["192.0.2.9".parse().unwrap()]),
                _ => panic!("{name:?} was asked for"),
            }
        }

        fn pointer(&mut self, _: IpAddr) -> Result<Vec<String>, NoAnswer> {
            let names = ["", &"x".repeat(300), "other.example.org", "mx.example.org"];
            Ok(names.map(str::to_owned).to_vec())
        }
    }

    #[test]
    fn only_a_host_is_asked_whether_the_address_is_its_own() {
        let address = "::ffff:192.0.2.1".parse().unwrap();
        assert_eq!(confirmed(&mut Odd, address).unwrap(), ["mx.example.org"]);
    }
}
