//! Sockets between the processes of minimta: packets with a short text, and perhaps a descriptor.
//!
//! Whoever is at the other end may be anybody's puppet: a packet that is longer than [`MOST`], is no text or brings
//! more than one descriptor is an error, and its descriptors are closed.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
    connect, recvmsg, sendmsg, socket_with, socketpair,
};

/// The longest text of a packet, octets.
pub const MOST: usize = 4096;
/// Descriptors there is room for: one that is wanted, and one that gives away whoever sends too many.
const ROOM: usize = 2;

/// One end of a line over which packets go.
#[derive(Debug)]
pub struct Channel(OwnedFd);

/// What came in a packet.
#[derive(Debug)]
pub struct Packet {
    /// Its text.
    pub text: String,
    /// A descriptor that came with it.
    pub descriptor: Option<OwnedFd>,
}

impl Channel {
    /// Both ends of a new line; a program that is started gets neither, unless it is given one.
    ///
    /// # Errors
    /// What the system says.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
        let (one, other) = socketpair(AddressFamily::UNIX, kind, flags, None)?;
        Ok((Self(one), Self(other)))
    }

    /// The end that this process was started with, as its standard input.
    ///
    /// # Errors
    /// What the system says; standard input may be no such line, which the first packet shows.
    pub fn on_standard_input() -> io::Result<Self> {
        std::io::stdin().as_fd().try_clone_to_owned().map(Self)
    }

    /// Connects to a socket in the file system, behind which root is. That may take so long, and each packet that is sent
    /// then.
    ///
    /// # Errors
    /// What the system says; `PermissionDenied` when somebody else is behind it.
    pub fn connect(path: &Path, limit: Duration) -> io::Result<Self> {
        let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
        let line = Self(socket_with(AddressFamily::UNIX, kind, flags, None)?);
        set_socket_timeout(&line.0, Timeout::Send, Some(limit))?;
        connect(&line.0, &SocketAddrUnix::new(path)?)?;
        match line.peer()? {
            0 => Ok(line),
            _ => Err(io::ErrorKind::PermissionDenied.into()),
        }
    }

    /// The user at the other end, as the kernel knows him: who connected, or who listened.
    ///
    /// # Errors
    /// What the system says; it is no such socket.
    pub fn peer(&self) -> io::Result<u32> {
        Ok(getsockopt(&self.0, PeerCredentials)?.uid())
    }

    /// From now on, how long a packet is waited for.
    ///
    /// # Errors
    /// What the system says.
    pub fn set_patience(&self, limit: Duration) -> io::Result<()> {
        Ok(set_socket_timeout(&self.0, Timeout::Recv, Some(limit))?)
    }

    /// From now on, how long a packet may take to find room.
    ///
    /// # Errors
    /// What the system says.
    pub fn set_haste(&self, limit: Duration) -> io::Result<()> {
        Ok(set_socket_timeout(&self.0, Timeout::Send, Some(limit))?)
    }

    /// The same end once more.
    ///
    /// # Errors
    /// What the system says.
    pub fn another(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// Whether nobody has the other end any more.
    pub fn is_hung_up(&self) -> bool {
        let mut watched = [PollFd::new(self.0.as_fd(), PollFlags::empty())];
        let seen = poll(&mut watched, PollTimeout::ZERO);
        let flags = watched[0].revents().unwrap_or(PollFlags::empty());
        seen.is_ok() && flags.contains(PollFlags::POLLHUP)
    }

    /// Sends a packet.
    ///
    /// # Errors
    /// What the system says; the other end may be gone.
    pub fn send(&self, text: &str, descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let descriptors: Vec<BorrowedFd<'_>> = descriptor.into_iter().collect();
        // There is room for one, so it is taken.
        if !descriptors.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
        }
        let text = [IoSlice::new(text.as_bytes())];
        sendmsg(&self.0, &text, &mut ancillary, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// The next packet; `None`: the other end is gone.
    ///
    /// # Errors
    /// What the system says; `InvalidData` for a packet that is none of ours.
    pub fn receive(&self) -> io::Result<Option<Packet>> {
        let mut block = [0; MOST];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(ROOM))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let mut into = [IoSliceMut::new(&mut block)];
            match recvmsg(&self.0, &mut into, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
                Err(rustix::io::Errno::INTR) => {}
                received => break received?,
            }
        };
        let mut descriptors = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(more) = message {
                descriptors.extend(more);
            }
        }
        let cut = ReturnFlags::TRUNC | ReturnFlags::CTRUNC;
        let garbage = || io::Error::from(io::ErrorKind::InvalidData);
        if received.flags.intersects(cut) || descriptors.len() > 1 {
            return Err(garbage());
        }
        let text = block.get(..received.bytes).unwrap_or_default();
        let text = std::str::from_utf8(text).map_err(|_| garbage())?.to_owned();
        let descriptor = descriptors.pop();
        // Nobody sends an empty packet.
        Ok((!text.is_empty() || descriptor.is_some()).then_some(Packet { text, descriptor }))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for Channel {
    fn from(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }
}

impl From<Channel> for OwnedFd {
    fn from(channel: Channel) -> Self {
        channel.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn a_packet_brings_its_text_and_its_descriptor() {
        let (here, there) = Channel::pair().unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        here.send("with", Some(writer.as_fd())).unwrap();
        here.send("without", None).unwrap();
        drop((writer, here));
        let packet = there.receive().unwrap().unwrap();
        assert_eq!(packet.text, "with");
        let mut file = std::fs::File::from(packet.descriptor.unwrap());
        file.write_all(b"through it").unwrap();
        drop(file);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through it");
        let packet = there.receive().unwrap().unwrap();
        assert!(packet.text == "without" && packet.descriptor.is_none());
        assert!(there.receive().unwrap().is_none());
    }

    #[test]
    fn each_end_knows_who_is_at_the_other() {
        let us = nix::unistd::geteuid().as_raw();
        let (here, there) = Channel::pair().unwrap();
        assert_eq!((here.peer().unwrap(), there.peer().unwrap()), (us, us));
        let scratch = crate::host::mailbox::scratch::Scratch::new("channel-peer");
        let path = scratch.path("home");
        let limit = Duration::from_millis(100);
        let gone = Channel::connect(&path, limit).unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::NotFound);
        let kind = SocketType::SEQPACKET;
        let listener = socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap();
        rustix::net::bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let connected = Channel::connect(&path, limit);
        // Behind it is whoever runs this test.
        match us {
            0 => connected.unwrap().send("hello", None).unwrap(),
            _ => assert_eq!(
                connected.unwrap_err().kind(),
                io::ErrorKind::PermissionDenied
            ),
        }
        // Nobody lets that one in, so that there is no place for another.
        let full = Channel::connect(&path, limit).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn what_is_no_packet_of_ours_is_refused() {
        let (here, there) = Channel::pair().unwrap();
        let refused = |there: &Channel| there.receive().unwrap_err().kind();
        here.send(&"x".repeat(MOST + 1), None).unwrap();
        assert_eq!(refused(&there), io::ErrorKind::InvalidData);
        let raw = |octets: &[u8]| {
            rustix::net::send(here.as_fd(), octets, SendFlags::NOSIGNAL).unwrap();
        };
        raw(b"\xff\xfe");
        assert_eq!(refused(&there), io::ErrorKind::InvalidData);
        for count in [2, 5] {
            let many = vec![here.as_fd(); count];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(5))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            assert!(ancillary.push(SendAncillaryMessage::ScmRights(&many)));
            let text = [IoSlice::new(b"many")];
            sendmsg(here.as_fd(), &text, &mut ancillary, SendFlags::NOSIGNAL).unwrap();
            assert_eq!(refused(&there), io::ErrorKind::InvalidData, "{count}");
        }
        there.set_patience(Duration::from_millis(1)).unwrap();
        assert_eq!(refused(&there), io::ErrorKind::WouldBlock);
    }

    /// As long as anybody has it, it is not.
    #[test]
    fn it_shows_when_the_other_end_is_closed() {
        let (here, there) = Channel::pair().unwrap();
        let (ours, theirs) = (here.another().unwrap(), there.another().unwrap());
        here.send("unread", None).unwrap();
        drop(there);
        assert!(!here.is_hung_up());
        drop(theirs);
        assert!(here.is_hung_up() && ours.is_hung_up());
    }
}
