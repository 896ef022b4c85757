//! Why a handshake failed: a sentence with its remedy for the person here, and a word for the reports to the other side.

use std::io;

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

use crate::host::words;
use crate::proto::date::Stamp;

/// Before this second of 1970 and later, a clock was never set: minimta is younger.
const CLOCK_IS_SET: i64 = 1_704_067_200; // 2024-01-01

/// What reports to the other side call a handshake that failed (RFC 8460 4.3).
pub fn fault(error: &io::Error) -> &'static str {
    use CertificateError as E;
    let inner = error.get_ref().and_then(|e| e.downcast_ref::<Error>());
    match inner {
        Some(Error::InvalidCertificate(error)) => match error {
            E::ExpiredContext { .. }
            | E::Expired
            | E::NotValidYetContext { .. }
            | E::NotValidYet => "certificate-expired",
            E::NotValidForNameContext { .. } | E::NotValidForName => "certificate-host-mismatch",
            E::UnknownIssuer | E::BadSignature => "certificate-not-trusted",
            _ => "validation-failure",
        },
        _ => "validation-failure",
    }
}

/// What can be done when the TLS of a server is not as it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// The keys of `[smarthost]` can be set: who has named the server here has perhaps not told all of it.
    Keys,
    /// Only who runs the server can mend it.
    Theirs,
}

/// Why a handshake failed and what to do about it, for the words after "TLS failed: ". `now`: seconds since
/// 1970, by the clock that the certificate was compared with.
pub fn explain(error: &io::Error, now: i64, remedy: Remedy) -> String {
    let inner = error.get_ref().and_then(|e| e.downcast_ref::<Error>());
    match inner {
        Some(Error::InvalidCertificate(e)) => explain_certificate(e, now, remedy),
        Some(Error::General(sentence)) => sentence.clone(),
        Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => match remedy {
            Remedy::Keys => {
                "it does not answer with TLS; is the port right, or does it want tls = \"starttls\"?"
            }
            Remedy::Theirs => "it does not answer with TLS",
        }
        .to_owned(),
        Some(Error::PeerIncompatible(_)) => TOO_OLD.to_owned(),
        Some(Error::AlertReceived(alert)) => match alert {
            AlertDescription::ProtocolVersion
            | AlertDescription::HandshakeFailure
            | AlertDescription::InsufficientSecurity => TOO_OLD.to_owned(),
            AlertDescription::CertificateRequired => {
                "it wants a certificate of ours, and minimta has none to show".to_owned()
            }
            _ => "it broke off the handshake with an alert".to_owned(),
        },
        Some(other) => other.to_string(),
        None => match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                "it closed the connection during the handshake".to_owned()
            }
            io::ErrorKind::TimedOut => "it did not finish the handshake in time".to_owned(),
            _ => words(error),
        },
    }
}

const TOO_OLD: &str = "it refused the handshake; perhaps it knows no TLS as new as 1.2, or none of its ciphers is safe";

fn explain_certificate(error: &CertificateError, now: i64, remedy: Remedy) -> String {
    let date = |time: &UnixTime| {
        let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        Stamp::utc(seconds).iso8601()
    };
    let clock = if now < CLOCK_IS_SET {
        let now = Stamp::utc(now).iso8601();
        format!("; but the clock here says {now}: set it, and try again")
    } else {
        String::new()
    };
    match error {
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("its certificate has expired on {}{clock}", date(not_after))
        }
        CertificateError::Expired => format!("its certificate has expired{clock}"),
        CertificateError::NotValidYetContext { not_before, .. } => {
            let from = date(not_before);
            format!("its certificate is not valid before {from}{clock}")
        }
        CertificateError::NotValidYet => format!("its certificate is not valid yet{clock}"),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            let names = match error {
                CertificateError::NotValidForNameContext { presented, .. } => names(presented),
                _ => String::new(),
            };
            let what = match remedy {
                Remedy::Keys => "set host to a name that it has",
                Remedy::Theirs => "who runs the server has to get one for the name it goes by",
            };
            format!("its certificate is for another name{names}; {what}")
        }
        // A bad signature: an authority of the same name, and another key.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            let what = match remedy {
                Remedy::Keys => {
                    "set ca_file to its authority's certificate, or fingerprint to its own"
                }
                Remedy::Theirs => {
                    "who runs the server has to show one of a known authority, with its whole chain"
                }
            };
            format!("no authority that is trusted here has signed its certificate; {what}")
        }
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            let what = match remedy {
                Remedy::Keys => "set fingerprint to trust just this one",
                Remedy::Theirs => "who runs the server has to get one for the server",
            };
            format!("it shows the certificate of an authority as its own; {what}")
        }
        other => format!("its certificate is not good: {other}{clock}"),
    }
}

/// The first few names of a certificate, in brackets, as they may be shown; nothing of one without names.
fn names(presented: &[String]) -> String {
    const MAX: usize = 3;
    let shown = presented.iter().take(MAX);
    let shown: Vec<&str> = shown
        .map(|name| name.strip_prefix("DnsName(\"").unwrap_or(name))
        .map(|name| name.strip_suffix("\")").unwrap_or(name))
        .collect();
    let more = if presented.len() > MAX { ", ..." } else { "" };
    match shown.as_slice() {
        [] => String::new(),
        shown => format!(" ({}{more})", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_never_set_is_told() {
        let expired = CertificateError::NotValidYet;
        assert_eq!(
            explain_certificate(&expired, 3600, Remedy::Keys),
            "its certificate is not valid yet; but the clock here says 1970-01-01T01:00:00Z: set it, and try again"
        );
        assert_eq!(
            explain_certificate(&expired, CLOCK_IS_SET, Remedy::Keys),
            "its certificate is not valid yet"
        );
    }

    /// A server that the DNS of a domain names has no key in the configuration that could be set.
    #[test]
    fn only_a_remedy_that_there_is_is_named() {
        let rows = [
            (
                Error::InvalidCertificate(CertificateError::NotValidForName),
                "set host",
            ),
            (
                Error::InvalidCertificate(CertificateError::UnknownIssuer),
                "set ca_file",
            ),
            (
                Error::InvalidMessage(InvalidMessage::InvalidContentType),
                "want tls = \"starttls\"",
            ),
        ];
        for (error, remedy) in rows {
            let error = io::Error::other(error);
            let [ours, theirs] =
                [Remedy::Keys, Remedy::Theirs].map(|r| explain(&error, CLOCK_IS_SET, r));
            assert!(ours.contains(remedy), "{ours}");
            assert!(
                !theirs.contains("set ") && !theirs.contains(" = "),
                "{theirs}"
            );
            assert_eq!(ours.split(';').next(), theirs.split(';').next());
        }
    }
}
