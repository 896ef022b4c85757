//! The groups of commands: RSET, MAIL, the RCPTs and DATA, as many at a time as the server takes (RFC 2920).

use super::super::letter::rcpt;
use super::{Command, Phase, Standing, Transaction};

/// The most commands that wait for a reply at once: their replies fit into the smallest receive buffer, so that
/// the server is never kept from reading on because we do not read (RFC 2920 3.1).
const MAX_GROUP: usize = 100;
/// A group is not made longer than this, octets: it fits into the send buffer, so that writing it never blocks.
pub(super) const MAX_GROUP_OCTETS: usize = 8 * 1024;

impl Transaction<'_> {
    pub(super) fn write_group(&mut self, out: &mut Vec<u8>) {
        if !self.mail_sent && std::mem::take(&mut self.reset_first) {
            self.write(out, Command::Reset, "RSET");
            if !self.capabilities.pipelining {
                return;
            }
        }
        if !self.mail_sent {
            self.mail_sent = true;
            let mut named = self
                .unnamed
                .iter()
                .filter_map(|i| self.letter.recipients.get(*i));
            let ascii = named.all(|recipient| recipient.address.is_ascii());
            let text = self.letter.mail(self.capabilities, ascii);
            self.write(out, Command::Mail, &text);
            if !self.capabilities.pipelining {
                return;
            }
        }
        while self.waiting.len() < MAX_GROUP && out.len() < MAX_GROUP_OCTETS {
            let Some(index) = self.unnamed.pop_front() else {
                return self.write_data(out);
            };
            let Some(recipient) = self.letter.recipients.get(index) else {
                continue;
            };
            self.write(
                out,
                Command::Rcpt(index),
                &rcpt(recipient, self.capabilities),
            );
            if !self.capabilities.pipelining {
                return;
            }
        }
    }

    /// DATA, unless it is known already that nobody will be there to have the message.
    fn write_data(&mut self, out: &mut Vec<u8>) {
        self.phase = Phase::Over;
        if self.has(&Standing::Accepted) || self.has(&Standing::Open) {
            self.write(out, Command::Data, "DATA");
        }
    }

    fn write(&mut self, out: &mut Vec<u8>, command: Command, text: &str) {
        out.extend_from_slice(text.as_bytes());
        out.extend_from_slice(b"\r\n");
        self.waiting.push_back(command);
    }
}
