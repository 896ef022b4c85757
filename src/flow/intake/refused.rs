//! Why a message was not taken: as a reply for a client, as an error for a caller.

use crate::error::Error;
use crate::proto::replies::{self, Reply};

/// Why a message is not taken.
#[derive(Debug)]
pub enum Refused {
    /// It or its header is too long.
    TooBig(String),
    /// It has passed too many servers.
    Loop(String),
    /// Whoever it claims to be of does not answer for it, or a filter refuses it.
    Judged(Reply),
    /// It says that it is of somebody as whom this user may not send.
    NotHis(Reply, String),
    /// It vanishes, and whoever sends it is told that it was taken under this queue id.
    Discarded(String),
    /// All else: recipients, or the spool.
    Other(Error),
}

impl Refused {
    /// The reply to a client. The sentences name folders of this system: they are for its own users.
    pub fn reply(&self, own: bool) -> Reply {
        let (reply, sentence) = match self {
            Self::TooBig(sentence) => (replies::TOO_BIG, sentence.clone()),
            Self::Loop(sentence) => (replies::TOO_MANY_HOPS, sentence.clone()),
            Self::Judged(reply) | Self::NotHis(reply, _) => return reply.clone(),
            Self::Discarded(_) => return replies::OK,
            Self::Other(error @ Error::NoRoom(_)) => (replies::NO_SPACE, error.to_string()),
            Self::Other(error) => (replies::CANNOT_STORE, error.to_string()),
        };
        if own {
            reply.with_text(sentence)
        } else {
            reply
        }
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::TooBig(sentence) | Refused::Loop(sentence) => Self::Data(sentence),
            Refused::Judged(reply) | Refused::NotHis(reply, _) => Self::Data(reply.to_string()),
            Refused::Discarded(_) => Self::Data("the message is discarded".to_owned()),
            Refused::Other(error) => error,
        }
    }
}
