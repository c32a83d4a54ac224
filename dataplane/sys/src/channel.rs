//! A pair of connected sockets that carry whole messages and descriptors between two processes
//! (`SOCK_SEQPACKET`, `SCM_RIGHTS`; unix(7)).
//!
//! Every wait has a deadline, every message a length that the reader chose, and descriptors nobody asked for are
//! closed.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// The most descriptors that one message brings.
pub const DESCRIPTORS_MAX: usize = 1;

/// Room for the control part of a message: a header and [`DESCRIPTORS_MAX`] descriptors, aligned as the kernel
/// aligns it.
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

// SAFETY: CMSG_SPACE computes with its argument, and touches no memory.
const CONTROL: usize = unsafe { libc::CMSG_SPACE((DESCRIPTORS_MAX * size_of::<i32>()) as u32) } as usize;

/// One end.
#[derive(Debug)]
pub struct Channel {
    fd: OwnedFd,
}

/// One message, as it came.
#[derive(Debug)]
pub struct Message {
    /// How many bytes of the buffer it filled.
    pub len: usize,
    /// The descriptor that came with it, closed on exec.
    pub descriptor: Option<OwnedFd>,
}

/// Why no message came or went.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The other end is closed: its process has ended, or wants no more.
    #[error("the other end has gone")]
    Gone,
    /// Nothing happened in time.
    #[error("no answer within {} s", .limit.as_secs_f32())]
    Late {
        /// The time there was.
        limit: Duration,
    },
    /// A message longer than the buffer, or with more descriptors than one may have.
    #[error("a message larger than any that is meant")]
    TooLarge,
    /// The kernel refused.
    #[error("{0}")]
    Kernel(#[source] io::Error),
}

impl Channel {
    /// Two ends, each closed on exec.
    pub fn pair() -> io::Result<(Channel, Channel)> {
        let mut fds = [0; 2];
        let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
        // SAFETY: the kernel writes two descriptors into the array of two.
        if unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: both were opened just now for this call, and each is owned once.
        let [left, right] = fds.map(|fd| Channel { fd: unsafe { OwnedFd::from_raw_fd(fd) } });
        Ok((left, right))
    }

    /// Takes a descriptor for an end, when it is a socket of this kind.
    pub fn adopt(fd: OwnedFd) -> io::Result<Channel> {
        let kind = option(&fd, libc::SO_TYPE)?;
        let family = option(&fd, libc::SO_DOMAIN)?;
        if (family, kind) != (libc::AF_UNIX, libc::SOCK_SEQPACKET) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a unix socket that carries whole messages",
            ));
        }
        Ok(Channel { fd })
    }

    /// Sends one message, with a copy of `descriptor`.
    pub fn send(
        &self,
        bytes: &[u8],
        descriptor: Option<BorrowedFd<'_>>,
        limit: Duration,
    ) -> Result<(), ChannelError> {
        let end = Instant::now() + limit;
        loop {
            match self.try_send(bytes, descriptor) {
                Ok(len) if len == bytes.len() => return Ok(()),
                Ok(_) => return Err(ChannelError::TooLarge),
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => self.wait(libc::POLLOUT, Some((end, limit)))?,
                    Some(libc::EINTR) => {}
                    Some(libc::EPIPE | libc::ECONNRESET) => return Err(ChannelError::Gone),
                    _ => return Err(ChannelError::Kernel(error)),
                },
            }
        }
    }

    /// Waits for one message; without a limit, as long as the other end lives.
    pub fn receive(&self, buffer: &mut [u8], limit: Option<Duration>) -> Result<Message, ChannelError> {
        let deadline = limit.map(|limit| (Instant::now() + limit, limit));
        loop {
            match self.try_receive(buffer) {
                Ok(message) => return Ok(message),
                Err(ChannelError::Kernel(error)) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => self.wait(libc::POLLIN, deadline)?,
                    Some(libc::EINTR) => {}
                    Some(libc::ECONNRESET) => return Err(ChannelError::Gone),
                    _ => return Err(ChannelError::Kernel(error)),
                },
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether the other end has been closed.
    pub fn is_gone(&self) -> bool {
        let mut asked = libc::pollfd { fd: self.fd.as_raw_fd(), events: 0, revents: 0 };
        // SAFETY: one pollfd, borrowed exclusively for the call.
        let found = unsafe { libc::poll(&raw mut asked, 1, 0) };
        found > 0 && asked.revents & (libc::POLLHUP | libc::POLLERR | libc::POLLNVAL) != 0
    }

    /// The socket, for another process to inherit.
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// The socket, to wait for.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        use std::os::fd::AsFd as _;
        self.fd.as_fd()
    }

    fn try_send(&self, bytes: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<usize> {
        let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let mut control = Control([0; CONTROL]);
        // SAFETY: msghdr is plain numbers and pointers, for which zero is a value.
        let mut header: libc::msghdr = unsafe { mem::zeroed() };
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        if let Some(descriptor) = descriptor {
            header.msg_control = control.0.as_mut_ptr().cast();
            header.msg_controllen = CONTROL;
            // SAFETY: the control part has CONTROL bytes, room for one header with one descriptor (CMSG_SPACE),
            // and is aligned to 8 as cmsghdr wants; CMSG_FIRSTHDR is therefore not null and CMSG_DATA has 4 bytes.
            unsafe {
                let first = libc::CMSG_FIRSTHDR(&raw const header);
                (*first).cmsg_level = libc::SOL_SOCKET;
                (*first).cmsg_type = libc::SCM_RIGHTS;
                (*first).cmsg_len = libc::CMSG_LEN(size_of::<i32>() as u32) as usize;
                libc::CMSG_DATA(first).cast::<i32>().write_unaligned(descriptor.as_raw_fd());
            }
        }
        let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
        // SAFETY: the header leads to `part` (which leads to `bytes`) and `control`, all borrowed for the call.
        match unsafe { libc::sendmsg(self.fd.as_raw_fd(), &raw const header, flags) } {
            sent @ 0.. => Ok(sent as usize),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn try_receive(&self, buffer: &mut [u8]) -> Result<Message, ChannelError> {
        let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        let mut control = Control([0; CONTROL]);
        // SAFETY: as in `try_send`.
        let mut header: libc::msghdr = unsafe { mem::zeroed() };
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        header.msg_control = control.0.as_mut_ptr().cast();
        // Without the padding, which would hold a second descriptor that nobody takes: more are cut, and closed.
        // SAFETY: CMSG_LEN computes with its argument, and touches no memory.
        header.msg_controllen = unsafe { libc::CMSG_LEN(size_of::<i32>() as u32) } as usize;
        let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
        // SAFETY: the header leads to `part` (which leads to `buffer`) and `control`, borrowed for the call, and
        // says how long each is.
        let len = unsafe { libc::recvmsg(self.fd.as_raw_fd(), &raw mut header, flags) };
        if len < 0 {
            return Err(ChannelError::Kernel(io::Error::last_os_error()));
        }
        // Taken before anything is refused, so that it is closed then.
        let descriptor = taken(&header);
        if header.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0 {
            return Err(ChannelError::TooLarge);
        }
        // No message of ours is empty: this is the end of the stream.
        if len == 0 {
            return Err(ChannelError::Gone);
        }
        Ok(Message { len: len as usize, descriptor })
    }

    fn wait(&self, events: i16, deadline: Option<(Instant, Duration)>) -> Result<(), ChannelError> {
        let timeout_ms = match deadline {
            None => -1,
            Some((end, limit)) => match end.checked_duration_since(Instant::now()) {
                Some(left) => left.as_millis().min(i32::MAX as u128) as i32 + 1,
                None => return Err(ChannelError::Late { limit }),
            },
        };
        let mut wanted = libc::pollfd { fd: self.fd.as_raw_fd(), events, revents: 0 };
        // SAFETY: one pollfd, borrowed exclusively for the call. What it answers does not matter: the caller tries
        // again, and the deadline is looked at before each wait.
        unsafe { libc::poll(&raw mut wanted, 1, timeout_ms) };
        Ok(())
    }
}

/// The descriptor in a received control part.
fn taken(header: &libc::msghdr) -> Option<OwnedFd> {
    // SAFETY: the kernel left `msg_controllen` valid bytes behind `msg_control`; CMSG_FIRSTHDR answers null when
    // there is no whole header in them.
    let first = unsafe { libc::CMSG_FIRSTHDR(header) };
    // SAFETY: not null, so a whole header, aligned as `Control` is.
    let about = unsafe { first.as_ref() }?;
    // SAFETY: CMSG_LEN computes with its argument, and touches no memory.
    let whole = unsafe { libc::CMSG_LEN(size_of::<i32>() as u32) } as usize;
    if (about.cmsg_level, about.cmsg_type) != (libc::SOL_SOCKET, libc::SCM_RIGHTS) || about.cmsg_len < whole {
        return None;
    }
    // SAFETY: `cmsg_len` says that at least 4 bytes of data follow the header.
    let fd = unsafe { libc::CMSG_DATA(first).cast::<i32>().read_unaligned() };
    // SAFETY: the kernel made this descriptor for this message, and it is owned once, here.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn option(fd: &OwnedFd, name: i32) -> io::Result<i32> {
    let (mut value, mut len) = (0_i32, size_of::<i32>() as libc::socklen_t);
    let to = (&raw mut value).cast();
    // SAFETY: the kernel writes at most `len` bytes, the size of `value`, which lives here.
    match unsafe { libc::getsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, name, to, &raw mut len) } {
        0 => Ok(value),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    const SOON: Duration = Duration::from_millis(20);

    #[test]
    fn messages_keep_their_edges_and_bring_descriptors() {
        let (left, right) = Channel::pair().unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        left.send(b"one", Some(file.as_fd()), SOON).unwrap();
        left.send(b"three", None, SOON).unwrap();
        let mut buffer = [0; 16];
        let first = right.receive(&mut buffer, Some(SOON)).unwrap();
        assert_eq!((first.len, &buffer[..3], first.descriptor.is_some()), (3, b"one" as &[u8], true));
        let second = right.receive(&mut buffer, Some(SOON)).unwrap();
        assert_eq!((second.len, &buffer[..5], second.descriptor.is_some()), (5, b"three" as &[u8], false));
        assert!(matches!(right.receive(&mut buffer, Some(SOON)), Err(ChannelError::Late { .. })));
        assert!(!right.is_gone());
        drop(left);
        assert!(right.is_gone());
        assert!(matches!(right.receive(&mut buffer, None), Err(ChannelError::Gone)));
        assert!(matches!(right.send(b"x", None, SOON), Err(ChannelError::Gone)));
    }

    #[test]
    fn too_much_is_refused_and_a_full_channel_is_late() {
        let (left, right) = Channel::pair().unwrap();
        left.send(&[7; 64], None, SOON).unwrap();
        assert!(matches!(right.receive(&mut [0; 16], Some(SOON)), Err(ChannelError::TooLarge)));
        let full = (0..10_000).find_map(|_| left.send(&[7; 4096], None, SOON).err());
        assert!(matches!(full, Some(ChannelError::Late { .. })), "{full:?}");
    }

    #[test]
    fn other_descriptors_are_no_channel() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(Channel::adopt(file.into()).is_err());
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(Channel::adopt(socket.into()).is_err());
        let (left, _right) = Channel::pair().unwrap();
        assert!(Channel::adopt(left.into_fd()).is_ok());
    }
}
