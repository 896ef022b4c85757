//! MAIL and RCPT (RFC 5321 4.1.1.2, 4.1.1.3): a transaction begins and grows, in [`super::Stage`]s that allow it.

use super::super::address::ReversePath;
use super::super::command::Rcpt;
use super::super::parameters::MailParameters;
use super::super::replies::{self, Reply};
use super::super::transaction::{Client, Transaction};
use super::{Policy, Session, Then, say};

impl Session {
    pub(super) fn mail(
        &mut self,
        sender: ReversePath,
        parameters: MailParameters,
        policy: &mut dyn Policy,
    ) -> (Reply, Then) {
        let Some(hello) = self.hello.clone() else {
            return self.untimely(self.hello_first());
        };
        let size = parameters.size.unwrap_or(0);
        if size > self.size_limit() {
            return say(replies::TOO_BIG);
        }
        let transaction = Transaction {
            client: Client {
                name: hello.name,
                extended: hello.extended,
                lmtp: self.settings.lmtp,
                tls: self.tls,
                user: self.user.clone(),
                mechanism: self.mechanism.filter(|_| self.user.is_some()),
            },
            sender,
            parameters,
            recipients: Vec::new(),
            accepted: 0,
        };
        let allowed = policy.sender(&transaction);
        match allowed.and_then(|()| policy.space(size)) {
            Err(reply) => {
                self.told = true;
                say(reply)
            }
            Ok(()) => {
                self.transaction = Some(transaction);
                say(replies::SENDER_OK)
            }
        }
    }

    pub(super) fn rcpt(&mut self, rcpt: Rcpt, policy: &mut dyn Policy) -> (Reply, Then) {
        let Some(transaction) = self.transaction.as_mut() else {
            return self.untimely(replies::MAIL_FIRST);
        };
        let recipient = rcpt.recipient;
        let ascii =
            recipient.address.is_ascii() && recipient.orcpt.as_ref().is_none_or(|o| o.is_ascii());
        if !ascii && !transaction.parameters.smtputf8 {
            return say(replies::NEEDS_SMTPUTF8);
        }
        if transaction.accepted >= self.settings.max_recipients {
            return say(replies::TOO_MANY_RECIPIENTS);
        }
        let mut known = transaction.recipients.iter_mut();
        match known.find(|known| known.address == recipient.address) {
            Some(known) => {
                known.ask_for(&recipient);
            }
            None => {
                // A postmaster must be reachable whatever else is refused (RFC 5321 4.5.1).
                if !rcpt.postmaster
                    && let Err(reply) = policy.recipient(transaction, &recipient)
                {
                    self.told = true;
                    return say(reply);
                }
                transaction.recipients.push(recipient);
            }
        }
        transaction.accepted += 1;
        say(replies::RECIPIENT_OK)
    }
}
