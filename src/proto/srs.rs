//! The Sender Rewriting Scheme: whose mail is sent on to another domain leaves with a sender of ours, for its own
//! domain does not let us send (SPF); and a report that comes back to that sender goes on to him.
//!
//! ```text
//! bob@example.net                                       alice@here sends his mail on
//! SRS0=k4xw2q=7d=example.net=bob@here                   hash, day, domain, name
//! SRS1=9fj2ma=here==k4xw2q=7d=example.net=bob@there     carol@there sends that on: one hop more is all it grows by
//! ```
//!
//! The hash is ours, so that nobody can have us send anywhere by making up such an address; and it ends after three
//! weeks. Both are compared without case, which others do not keep. The forms are those of the paper by M. S. Wong
//! and of libsrs2; what other hosts have put into their part of an address is never looked at.

use ring::hmac;

use super::address::{Domain, Mailbox};

/// How many days an address of ours is good for: longer than others keep mail that they cannot deliver.
pub const DAYS: i64 = 21;
/// The longest local part that others have to take (RFC 5321 4.5.3.1.1).
const MAX_LOCAL: usize = 64;
/// Letters of a hash: 30 bits, for one guess a recipient.
const HASH: usize = 6;
/// The digits of days and hashes; they mean the same in either case.
const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// Days are told by two digits.
const CYCLE: i64 = 32 * 32;
const DAY: i64 = 24 * 60 * 60;

/// What our hashes are made with.
pub struct Secret(hmac::Key);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// Why an address of this form is not gone back from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// We have not made it.
    Foreign,
    /// It is too old.
    Expired,
}

impl Refusal {
    /// What a client is told.
    pub fn words(self) -> &'static str {
        match self {
            Self::Foreign => "this return address was not made here",
            Self::Expired => "this return address is too old",
        }
    }
}

/// Which of the two forms a local part has, if any.
fn form(local: &str) -> Option<(char, &str)> {
    let (tag, rest) = (local.get(..3)?, local.get(3..)?);
    let mut chars = rest.chars();
    let number = chars.next().filter(|c| matches!(c, '0' | '1'))?;
    let rest = chars.as_str();
    let is_one = tag.eq_ignore_ascii_case("SRS") && rest.starts_with(['=', '+', '-']);
    is_one.then_some((number, rest))
}

/// Whether an address has one of the two forms.
pub fn is_one(local: &str) -> bool {
    form(local).is_some()
}

impl Secret {
    /// Of any octets; the more, the better.
    pub fn new(octets: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, octets))
    }

    /// A sender as it leaves when a message that came on a day (seconds since 1970) is sent on by an address of this
    /// domain. `None`: it would be too long for others.
    pub fn forward(&self, sender: &Mailbox, domain: &Domain, came: i64) -> Option<Mailbox> {
        let local = match form(sender.local()) {
            Some(('0', rest)) => self.again(sender.domain().as_str(), rest),
            // The host that is told about is the first one; the last one's part of it is not needed any more.
            Some(_) => match once_more(sender.local()) {
                Some((_, host, rest)) => self.again(host, rest),
                None => self.first(sender, came),
            },
            None => self.first(sender, came),
        };
        let is_short = local.len() <= MAX_LOCAL;
        is_short.then(|| Mailbox::new(local, domain.clone()).ok())?
    }

    fn first(&self, sender: &Mailbox, came: i64) -> String {
        let day = came.div_euclid(DAY).rem_euclid(CYCLE);
        let day: String = [day / 32, day % 32].map(digit).iter().collect();
        let (domain, name) = (sender.domain().as_str(), sender.local());
        let hash = self.hash(&["0", &day, domain, name]);
        format!("SRS0={hash}={day}={domain}={name}")
    }

    fn again(&self, host: &str, rest: &str) -> String {
        let hash = self.hash(&["1", host, rest]);
        format!("SRS1={hash}={host}={rest}")
    }

    /// The address that such a local part of ours stands for.
    ///
    /// # Errors
    /// Why none is.
    pub fn reverse(&self, local: &str, now: i64) -> Result<Mailbox, Refusal> {
        let (number, rest) = form(local).ok_or(Refusal::Foreign)?;
        let made = |name: String, domain: &str| {
            let domain = Domain::parse(domain).map_err(|_| Refusal::Foreign)?;
            Mailbox::new(name, domain).map_err(|_| Refusal::Foreign)
        };
        if number == '1' {
            let (hash, host, rest) = once_more(local).ok_or(Refusal::Foreign)?;
            self.check(hash, &["1", host, rest])?;
            return made(format!("SRS0{rest}"), host);
        }
        let mut parts = rest.get(1..).unwrap_or_default().splitn(4, '=');
        let (Some(hash), Some(day), Some(domain), Some(name)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Refusal::Foreign);
        };
        self.check(hash, &["0", day, domain, name])?;
        let day = day
            .bytes()
            .try_fold(0, |sum, c| Some(sum * 32 + number_of(c)?))
            .ok_or(Refusal::Foreign)?;
        // A day ahead: another machine that shares the secret has another clock.
        match (now.div_euclid(DAY) - day + 1).rem_euclid(CYCLE) {
            age if age <= DAYS + 1 => made(name.to_owned(), domain),
            _ => Err(Refusal::Expired),
        }
    }

    fn hash(&self, parts: &[&str]) -> String {
        // No part but the last has such a sign in it.
        let text = parts.join("=").to_ascii_lowercase();
        let tag = hmac::sign(&self.0, text.as_bytes());
        let octets = tag.as_ref().iter().take(HASH);
        octets.map(|o| digit(i64::from(o & 31))).collect()
    }

    fn check(&self, hash: &str, parts: &[&str]) -> Result<(), Refusal> {
        let (right, hash) = (self.hash(parts), hash.to_ascii_lowercase());
        let same = hash.bytes().zip(right.bytes());
        // All of it is looked at: the time it takes tells nothing of where it differs.
        let differs = same.fold(0, |all, (a, b)| all | (a ^ b));
        match hash.len() == right.len() && differs == 0 {
            true => Ok(()),
            false => Err(Refusal::Foreign),
        }
    }
}

/// Hash, host, and what the host's own address had behind `SRS0`.
fn once_more(local: &str) -> Option<(&str, &str, &str)> {
    let (number, rest) = form(local)?;
    let (hash, rest) = rest.get(1..)?.split_once('=')?;
    let (host, rest) = rest.split_once('=')?;
    let is_whole =
        number == '1' && rest.starts_with(['=', '+', '-']) && Domain::parse(host).is_ok();
    is_whole.then_some((hash, host, rest))
}

fn digit(number: i64) -> char {
    let index = usize::try_from(number).unwrap_or_default();
    DIGITS.get(index).map_or('a', |c| char::from(*c))
}

fn number_of(digit: u8) -> Option<i64> {
    let place = DIGITS.iter().position(|d| *d == digit.to_ascii_lowercase());
    place.and_then(|place| i64::try_from(place).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn here() -> (Secret, Domain) {
        let domain = Domain::parse("here.example").unwrap();
        (Secret::new(b"of the tests"), domain)
    }

    fn mailbox(text: &str) -> Mailbox {
        Mailbox::parse(text).unwrap()
    }

    #[test]
    #[cfg_attr(miri, ignore = "ring is C and assembly")]
    fn a_sender_leaves_as_one_of_ours_and_comes_back() {
        let (secret, domain) = here();
        for sender in [
            "bob@example.net",
            "Bob.Miller+tag@example.net",
            "a=b=c@example.net",
            "\"a b\"@example.net",
            "b\u{fc}cher@example.net",
            "srs@example.net",
            "SRS0@example.net",
            "SRS2=x@example.net",
            "SRS1=x=y@example.net", // none that anybody could go back from
            "bob@[192.0.2.1]",
        ] {
            let sender = mailbox(sender);
            let leaves = secret.forward(&sender, &domain, NOW).unwrap();
            assert_eq!(leaves.domain(), &domain);
            assert!(leaves.local().starts_with("SRS0="), "{leaves}");
            for (local, expected) in [
                (leaves.local().to_owned(), sender.clone()),
                (
                    leaves.local().to_ascii_lowercase(),
                    mailbox(&sender.to_string().to_ascii_lowercase()),
                ),
            ] {
                assert_eq!(secret.reverse(&local, NOW), Ok(expected), "{local}");
            }
        }
        let upper = secret.forward(&mailbox("bob@example.net"), &domain, NOW);
        let upper = upper.unwrap().local().to_ascii_uppercase();
        assert_eq!(secret.reverse(&upper, NOW), Ok(mailbox("BOB@example.net")));
    }

    #[test]
    #[cfg_attr(miri, ignore = "ring is C and assembly")]
    fn one_that_was_sent_on_already_grows_by_one_hop_and_no_more() {
        let (secret, domain) = here();
        let first = "SRS0=abcd=xy=example.net=bob@one.example";
        let second = secret.forward(&mailbox(first), &domain, NOW).unwrap();
        assert!(second.local().starts_with("SRS1="), "{second}");
        assert!(
            second
                .local()
                .ends_with("=one.example==abcd=xy=example.net=bob")
        );
        assert_eq!(secret.reverse(second.local(), NOW), Ok(mailbox(first)));
        // A third host knows the first one still.
        let third = Domain::parse("third.example").unwrap();
        let other = Secret::new(b"of another host");
        let passed = other.forward(&second, &third, NOW).unwrap();
        assert_eq!(passed.local().len(), second.local().len());
        assert_eq!(other.reverse(passed.local(), NOW), Ok(mailbox(first)));
        // Other hosts part by other signs.
        let plus = mailbox("srs0+abcd=xy=example.net=bob@one.example");
        let passed = secret.forward(&plus, &domain, NOW).unwrap();
        let back = secret.reverse(passed.local(), NOW).unwrap();
        assert_eq!(back, mailbox("SRS0+abcd=xy=example.net=bob@one.example"));
    }

    #[test]
    #[cfg_attr(miri, ignore = "ring is C and assembly")]
    fn what_was_not_made_here_or_is_old_goes_nowhere() {
        let (secret, domain) = here();
        let good = secret.forward(&mailbox("bob@example.net"), &domain, NOW);
        let good = good.unwrap().local().to_owned();
        let other = Secret::new(b"x").forward(&mailbox("bob@example.net"), &domain, NOW);
        let once = secret.forward(&mailbox("SRS0=a=b=c.example=d@one.example"), &domain, NOW);
        let once = once.unwrap().local().to_owned();
        for local in [
            good.replace("bob", "eve"),
            good.replace("example.net", "example.com"),
            good.replace("=bob", ""),
            good.replacen("SRS0", "SRS1", 1),
            good.replacen('=', "==", 1),
            good.split_at(6).0.to_owned(),
            other.unwrap().local().to_owned(),
            once.replace("one.example", "two.example"),
            once.replace("=d", "=e"),
            once.replacen("SRS1", "SRS0", 1),
            "SRS0====".to_owned(),
            "SRS0=a=b=c=d".to_owned(),
            "SRS1=".to_owned(),
            "SRS1=\u{e9}=\u{e9}==\u{e9}".to_owned(),
            "bob".to_owned(),
        ] {
            assert_eq!(
                secret.reverse(&local, NOW),
                Err(Refusal::Foreign),
                "{local}"
            );
        }
        let later = |days: i64| secret.reverse(&good, NOW + days * DAY).is_ok();
        let good_for = (-30..60).filter(|days| later(*days));
        let (first, last) = (good_for.clone().min(), good_for.max());
        assert_eq!((first, last), (Some(-1), Some(DAYS)));
        assert_eq!(secret.reverse(&good, NOW + 22 * DAY), Err(Refusal::Expired));
    }

    #[test]
    #[cfg_attr(miri, ignore = "ring is C and assembly")]
    fn what_others_might_not_take_is_not_made() {
        let (secret, domain) = here();
        for (length, fits) in [(1, true), (37, true), (38, false), (60, false)] {
            let sender = mailbox(&format!("{}@example.net", "x".repeat(length)));
            let made = secret.forward(&sender, &domain, NOW);
            assert_eq!(made.is_some(), fits, "{length}");
        }
    }
}
