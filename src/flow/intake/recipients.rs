//! The recipients of a message that comes in: each once; what is no address, and who does not exist here, is told.

use super::{Error, Intake};
use crate::cli::complain;
use crate::flow::{expand, hops};
use crate::proto::address::Mailbox;
use crate::proto::envelope::Recipient;
use crate::proto::header::{Found, Header};
use crate::proto::outcome::one_line;
use crate::proto::route::Hop;

impl Intake<'_> {
    /// Adds recipients, each once, and remembers what is no address. When there are too many already, nobody has to wait
    /// for a look whether one more is new.
    pub(in crate::flow) fn add(&mut self, found: Found) {
        let limit = self.context.config.limits.recipients;
        let recipients = &mut self.envelope.recipients;
        for address in found.good {
            if recipients.len() > limit || !recipients.iter().any(|r| r.address == address) {
                recipients.push(Recipient {
                    notify: self.notify,
                    ..Recipient::plain(address)
                });
            }
        }
        let sentence = |text: &String, why| format!("{text} is not a valid address: {why}");
        self.bad.extend(
            found
                .bad
                .into_iter()
                .map(|(text, why)| (text.clone(), sentence(&text, why))),
        );
    }

    /// Whether there is anybody to send to; with the header, if recipients were taken from it.
    pub(in crate::flow) fn check_recipients(&self, header: Option<&Header>) -> Result<(), Error> {
        let limit = self.context.config.limits.recipients;
        let recipients = &self.envelope.recipients;
        let all = recipients.len() + self.bad.len();
        match (recipients.len(), self.bad.first()) {
            (0, Some((_, why))) => Err(Error::Data(why.clone())),
            (0, None) if let Some(header) = header => {
                let fields = match header.is_resent() {
                    true => {
                        "Resent-To, Resent-Cc or Resent-Bcc, which stand for To, Cc and Bcc in a message with Resent- fields"
                    }
                    false => "To, Cc or Bcc",
                };
                Err(Error::Data(format!(
                    "no recipients: none on the command line, none in {fields}"
                )))
            }
            (0, None) => Err(Error::Usage(
                "no recipients: name them, or use -t to take them from the header".to_owned(),
            )),
            _ if all > limit => Err(Error::Data(format!(
                "{all} recipients are more than the {limit} that [limits] recipients allows"
            ))),
            // A user who does not exist is no reason to refuse the others; but alone, he is.
            _ if self.bad.is_empty() && recipients.iter().all(|r| self.is_unknown(&r.address)) => {
                let names: Vec<&str> = recipients.iter().map(|r| r.address.local()).collect();
                Err(Error::NoUser(format!(
                    "there is no user {} here",
                    names.join(", ")
                )))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn is_unknown(&self, address: &Mailbox) -> bool {
        hops::of(self.context, address) == Hop::Local
            && matches!(expand::is_known(self.context, address), Ok(false))
    }

    /// What is no address is named on standard error, and kept as a recipient that fails, so that its report takes
    /// the way of all reports.
    pub(super) fn keep_bad(&mut self) {
        for (text, why) in &mut self.bad {
            complain(&self.context.program, why);
            if let Ok(address) = Mailbox::new(one_line(text), self.context.config.hostname.clone())
            {
                *text = address.to_string();
                self.envelope.recipients.push(Recipient {
                    notify: self.notify,
                    ..Recipient::plain(address)
                });
            }
        }
        for recipient in &self.envelope.recipients {
            if !self.is_bad(&recipient.address) && self.is_unknown(&recipient.address) {
                complain(
                    &self.context.program,
                    &format!("there is no user {} here", recipient.address.local()),
                );
            }
        }
    }

    pub(super) fn is_bad(&self, address: &Mailbox) -> bool {
        let mut bad = self.bad.iter();
        bad.any(|(text, _)| *text == address.to_string())
    }
}
