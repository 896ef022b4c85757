//! What the tests stand on: the real program in a private system, a remote server that follows a script,
//! and readers for what they leave behind.
//!
//! Nothing here needs root, the network beyond loopback, or a fixed pause: what happens in the background is
//! waited for by its effect, and every wait ends.

pub mod between;
pub mod daemon;
pub mod disk;
pub mod dns;
pub mod house;
pub mod lmtp;
pub mod load;
pub mod mail;
pub mod milter;
pub mod queued;
pub mod quoted;
pub mod remote;
pub mod signer;
pub mod system;
pub mod talk;
pub mod tls;
pub mod web;

pub use between::{Between, Then};
pub use daemon::{Client, Daemon};
pub use dns::Dns;
pub use mail::Mail;
pub use milter::{Milter, Wants};
pub use queued::Queued;
pub use remote::{Answer, Remote, Script};
pub use system::{Ran, System, every, until};
pub use talk::Talk;
pub use web::Web;
