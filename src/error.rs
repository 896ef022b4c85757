//! What went wrong, as the sentence a person reads and the number a program reads.
//!
//! The kinds are those of sysexits.h, because that is what callers of `sendmail` act on: a kind says whose
//! fault it is and whether to try again. The sentence names the thing, the place and, where there is one, the
//! remedy; it is made where all three are known.

use std::fmt;
use std::io;

/// An error on its way to the user: its sysexits.h code, and the sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// 64: the command line is wrong.
    Usage(String),
    /// 65: the message is wrong, or has no recipients.
    Data(String),
    /// 67: no such user here.
    NoUser(String),
    /// 68: no such host.
    NoHost(String),
    /// 69: a service is not to be had.
    Unavailable(String),
    /// 70: a fault in minimta itself.
    Internal(String),
    /// 71: the operating system refused something that should work.
    Os(String),
    /// 73: a file or folder cannot be made.
    CannotCreate(String),
    /// 74: reading or writing failed.
    Io(String),
    /// 75: not accepted now; the same again later may work. Never said of a message that was kept.
    TempFail(String),
    /// 75 too: there is no room for it now, on the disk or in the queue.
    NoRoom(String),
    /// 77: no permission.
    NoPermission(String),
    /// 78: the configuration is wrong.
    Config(String),
}

impl Error {
    /// The exit code of sysexits.h.
    pub fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 64,
            Self::Data(_) => 65,
            Self::NoUser(_) => 67,
            Self::NoHost(_) => 68,
            Self::Unavailable(_) => 69,
            Self::Internal(_) => 70,
            Self::Os(_) => 71,
            Self::CannotCreate(_) => 73,
            Self::Io(_) => 74,
            Self::TempFail(_) | Self::NoRoom(_) => 75,
            Self::NoPermission(_) => 77,
            Self::Config(_) => 78,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Usage(s)
        | Self::Data(s)
        | Self::NoUser(s)
        | Self::NoHost(s)
        | Self::Unavailable(s)
        | Self::Internal(s)
        | Self::Os(s)
        | Self::CannotCreate(s)
        | Self::Io(s)
        | Self::TempFail(s)
        | Self::NoRoom(s)
        | Self::NoPermission(s)
        | Self::Config(s)) = self;
        f.write_str(s)
    }
}

impl std::error::Error for Error {}

/// The result of everything a user asks for.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the system in its own words, without its number.
pub fn words(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error ") {
        Some((words, _)) => words.to_lowercase(),
        None => text,
    }
}
