//! SPF (RFC 7208): whether a domain lets this address send mail in its name.
//!
//! A record is read whole before anything in it counts, so that a broken one never half-works. Whatever it leads to is
//! bounded: ten terms that ask DNS, two answers of nothing, ten names of an address or of exchangers.

mod macros;
mod record;

use std::net::IpAddr;

use self::macros::{Part, dotted, escaped};
use self::record::{Mechanism, Record, covers, version};
use super::mx::NoAnswer;
use super::names::{Names, confirmed};
use super::results::Word;

/// Terms that ask DNS (RFC 7208 4.6.4).
const MAX_LOOKUPS: usize = 10;
/// Answers without a record.
const MAX_VOID: usize = 2;
/// Exchangers of one domain.
const MAX_EXCHANGERS: usize = 10;
/// The longest record that is read. A thousand terms lead nowhere honest.
const MAX_RECORD: usize = 8 * 1024;
/// The longest name.
const MAX_NAME: usize = 253;

/// Who sends.
#[derive(Debug, Clone, Copy)]
pub struct Client<'a> {
    /// From where.
    pub address: IpAddr,
    /// What it called itself.
    pub helo: &'a str,
    /// The local part of the sender; `postmaster` where there is none.
    pub local: &'a str,
    /// The domain of the sender.
    pub domain: &'a str,
}

/// What a domain says of a client, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The result.
    pub word: Word,
    /// The term that decided, or what is wrong.
    pub why: String,
}

/// Whether the sender's domain lets the client send (RFC 7208 4).
pub fn check(client: Client<'_>, names: &mut dyn Names) -> Answer {
    let client = Client {
        address: client.address.to_canonical(),
        ..client
    };
    let mut check = Check {
        client,
        names,
        lookups: 0,
        voids: 0,
        own: None,
    };
    match check.host(client.domain) {
        Ok(answer) => answer,
        Err(Stop(word, why)) => Answer { word, why },
    }
}

/// What ends a check at once.
struct Stop(Word, String);

fn broken(why: impl Into<String>) -> Stop {
    Stop(Word::Permerror, why.into())
}

struct Check<'c, 'n> {
    client: Client<'c>,
    names: &'n mut dyn Names,
    lookups: usize,
    voids: usize,
    /// The names of the client, once they were asked for: a record may name them as often as it has room.
    own: Option<Vec<String>>,
}

impl Check<'_, '_> {
    fn host(&mut self, domain: &str) -> Result<Answer, Stop> {
        let none = |why: &str| Answer {
            word: Word::None,
            why: why.to_owned(),
        };
        if !is_name(domain) {
            return Ok(none("there is no such domain"));
        }
        let records = match self.names.txt(domain) {
            Ok(records) => records,
            Err(NoAnswer::Temporary(why)) => return Err(Stop(Word::Temperror, why)),
            Err(_) => Vec::new(),
        };
        let mut records = records.iter().filter_map(|r| version(r));
        let Some(text) = records.next() else {
            return Ok(none("the domain has no record"));
        };
        if records.next().is_some() {
            return Err(broken(format!("{domain} has two records")));
        }
        let record = Record::parse(text).map_err(broken)?;
        for directive in &record.directives {
            if self.matches(&directive.mechanism, domain)? {
                return Ok(Answer {
                    word: directive.result,
                    why: format!("{domain}: {}", directive.text),
                });
            }
        }
        let Some(redirect) = &record.redirect else {
            return Ok(Answer {
                word: Word::Neutral,
                why: format!("{domain} says nothing about this address"),
            });
        };
        self.count()?;
        let target = self.expand(redirect, domain)?;
        let answer = self.host(&target)?;
        match answer.word {
            Word::None => Err(broken(format!(
                "{domain} leads to {target}, which has no record"
            ))),
            _ => Ok(answer),
        }
    }

    fn matches(&mut self, mechanism: &Mechanism, domain: &str) -> Result<bool, Stop> {
        let address = self.client.address;
        Ok(match mechanism {
            Mechanism::All => true,
            Mechanism::Net(net, bits) => covers(*net, *bits, *bits, address),
            Mechanism::Include(spec) => {
                self.count()?;
                let target = self.expand(spec, domain)?;
                match self.host(&target)?.word {
                    Word::Pass => true,
                    Word::None => {
                        return Err(broken(format!("{target} is included, and has no record")));
                    }
                    _ => false,
                }
            }
            Mechanism::A(spec, v4, v6) => {
                self.count()?;
                let target = self.target(spec.as_deref(), domain)?;
                let found = self.addresses(&target, address.is_ipv6())?;
                found.iter().any(|a| covers(*a, *v4, *v6, address))
            }
            Mechanism::Mx(spec, v4, v6) => {
                self.count()?;
                let target = self.target(spec.as_deref(), domain)?;
                let answer = self.names.mx(&target);
                let found = self.or_void(answer)?;
                if found.len() > MAX_EXCHANGERS {
                    return Err(broken(format!(
                        "{target} has more than {MAX_EXCHANGERS} exchangers"
                    )));
                }
                for exchanger in found.iter().filter(|e| !e.name.is_empty()) {
                    let found = self.addresses(&exchanger.name, address.is_ipv6())?;
                    if found.iter().any(|a| covers(*a, *v4, *v6, address)) {
                        return Ok(true);
                    }
                }
                false
            }
            Mechanism::Ptr(spec) => {
                self.count()?;
                let target = self.target(spec.as_deref(), domain)?.to_ascii_lowercase();
                self.own().iter().any(|name| is_below(name, &target))
            }
            Mechanism::Exists(spec) => {
                self.count()?;
                let target = self.expand(spec, domain)?;
                !self.addresses(&target, false)?.is_empty()
            }
        })
    }

    fn count(&mut self) -> Result<(), Stop> {
        self.lookups += 1;
        if self.lookups > MAX_LOOKUPS {
            return Err(broken(format!(
                "more than {MAX_LOOKUPS} look-ups are asked for"
            )));
        }
        Ok(())
    }

    fn addresses(&mut self, name: &str, v6: bool) -> Result<Vec<IpAddr>, Stop> {
        let answer = if is_name(name) {
            self.names.addresses(name, v6)
        } else {
            Err(NoAnswer::NoSuchDomain)
        };
        self.or_void(answer)
    }

    /// The records of an answer. That there are none is allowed twice (RFC 7208 4.6.4).
    fn or_void<T>(&mut self, answer: Result<Vec<T>, NoAnswer>) -> Result<Vec<T>, Stop> {
        match answer {
            Ok(found) => Ok(found),
            Err(NoAnswer::Temporary(why)) => Err(Stop(Word::Temperror, why)),
            Err(_) => {
                self.voids += 1;
                if self.voids > MAX_VOID {
                    return Err(broken(format!("more than {MAX_VOID} names lead nowhere")));
                }
                Ok(Vec::new())
            }
        }
    }

    /// The names of the client. Whatever is wrong with them, they are no match (RFC 7208 5.5).
    fn own(&mut self) -> &[String] {
        let (names, address) = (&mut *self.names, self.client.address);
        self.own
            .get_or_insert_with(|| confirmed(names, address).unwrap_or_default())
    }

    fn target(&mut self, spec: Option<&[Part]>, domain: &str) -> Result<String, Stop> {
        spec.map_or(Ok(domain.to_owned()), |spec| self.expand(spec, domain))
    }

    /// The name that a domain-spec means (RFC 7208 7).
    fn expand(&mut self, spec: &[Part], domain: &str) -> Result<String, Stop> {
        let mut out = String::new();
        for part in spec {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Macro(macro_) => {
                    let value = self.value(macro_.letter, domain);
                    let value = macro_.transform(&value);
                    out.push_str(&if macro_.escaped {
                        escaped(&value)
                    } else {
                        value
                    });
                }
            }
            if out.len() > MAX_RECORD {
                return Err(broken("a name is too long"));
            }
        }
        let mut name = out.strip_suffix('.').unwrap_or(&out);
        // Of a name that is too long, the beginning goes, label by label (RFC 7208 7.3).
        while name.len() > MAX_NAME {
            match name.split_once('.') {
                Some((_, rest)) => name = rest,
                None => return Err(broken("a name is too long")),
            }
        }
        Ok(name.to_owned())
    }

    fn value(&mut self, letter: char, domain: &str) -> String {
        let client = self.client;
        match letter {
            's' => format!("{}@{}", client.local, client.domain),
            'l' => client.local.to_owned(),
            'o' => client.domain.to_owned(),
            'd' => domain.to_owned(),
            'i' => dotted(client.address),
            'h' => client.helo.to_owned(),
            'v' if client.address.is_ipv6() => "ip6".to_owned(),
            'v' => "in-addr".to_owned(),
            'p' => {
                let found = self.own();
                let own = found.iter().find(|name| is_below(name, domain));
                own.or(found.first())
                    .cloned()
                    .unwrap_or_else(|| "unknown".to_owned())
            }
            _ => String::new(),
        }
    }
}

fn is_below(name: &str, domain: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let rest = name.strip_suffix(domain);
    rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Whether a name can be asked for, and is a whole one.
fn is_name(name: &str) -> bool {
    let is_label = |label: &str| {
        let odd = |c: char| c.is_control() || c.is_whitespace();
        (1..=63).contains(&label.len()) && !label.contains(odd)
    };
    name.len() <= MAX_NAME && name.contains('.') && name.split('.').all(is_label)
}

#[cfg(test)]
mod tests;
