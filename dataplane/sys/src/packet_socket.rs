//! Packet sockets (packet(7)): whole frames of a device, many with one system call.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

const ETH_P_ALL: u16 = 0x0003;
const PACKET_STATISTICS: i32 = 6;
const PACKET_QDISC_BYPASS: i32 = 20;
const PACKET_IGNORE_OUTGOING: i32 = 23;

/// Most frames of one call.
pub const FRAMES_MAX: usize = 64;

/// Room for up to [`FRAMES_MAX`] frames, and their lengths.
#[derive(Debug)]
pub struct Frames {
    bytes: Vec<u8>,
    stride: usize,
    lengths: [usize; FRAMES_MAX],
    count: usize,
}

impl Frames {
    /// Room for frames of up to `stride` bytes; what is longer is cut when received.
    pub fn new(stride: usize) -> Self {
        let stride = stride.max(64);
        Self { bytes: vec![0; stride * FRAMES_MAX], stride, lengths: [0; FRAMES_MAX], count: 0 }
    }

    /// Forgets what is in it.
    pub fn clear(&mut self) {
        self.count = 0;
    }

    /// How many frames it holds.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether there is room for no other.
    pub fn is_full(&self) -> bool {
        self.count == FRAMES_MAX
    }

    /// Appends a frame; `false`, and nothing done, when there is no room or it is too long.
    pub fn push(&mut self, frame: &[u8]) -> bool {
        if self.is_full() || frame.len() > self.stride {
            return false;
        }
        let start = self.count * self.stride;
        self.bytes[start..start + frame.len()].copy_from_slice(frame);
        self.lengths[self.count] = frame.len();
        self.count += 1;
        true
    }

    /// The frames in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let rooms = self.bytes.chunks_exact(self.stride);
        rooms.zip(&self.lengths).take(self.count).map(|(room, length)| &room[..*length])
    }
}

/// What the kernel says of a socket's receive queue (`struct tpacket_stats`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketStatistics {
    /// Frames that the device had for this socket, those dropped included.
    pub packets: u32,
    /// Frames that found the queue full.
    pub drops: u32,
}

/// A packet socket of one device of the namespace that the opening thread is in.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
}

impl PacketSocket {
    /// Opens a socket that receives every frame which comes in on `device`, and none that goes out.
    /// Needs CAP_NET_RAW.
    pub fn open(device: &str) -> io::Result<Self> {
        let index = index_of(device)?;
        // SAFETY: socket(2) takes three numbers.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel opened `fd` for this call and nobody else has seen it.
        let socket = Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } };
        socket.set(libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, &1i32)?;
        socket.set(libc::SOL_PACKET, PACKET_QDISC_BYPASS, &1i32)?;
        socket.bind(index)?;
        Ok(socket)
    }

    /// Gives the receive queue so many bytes, past the system's limit. Needs CAP_NET_ADMIN.
    pub fn receive_buffer(&self, bytes: u32) -> io::Result<()> {
        self.set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &(bytes as i32))
    }

    /// How long [`Self::receive`] waits for a first frame.
    pub fn receive_timeout(&self, limit: Duration) -> io::Result<()> {
        let time = libc::timeval {
            tv_sec: limit.as_secs() as i64,
            tv_usec: i64::from(limit.subsec_micros().max(u32::from(limit.is_zero()))),
        };
        self.set(libc::SOL_SOCKET, libc::SO_RCVTIMEO, &time)
    }

    /// Sends frames with one call; how many the device took. An error is of the first one.
    pub fn send(&self, frames: &Frames) -> io::Result<usize> {
        self.send_from(frames, 0)
    }

    /// The same, the first `skip` frames left out.
    pub fn send_from(&self, frames: &Frames, skip: usize) -> io::Result<usize> {
        let mut pieces = pieces();
        let skip = skip.min(frames.count);
        let count = frames.count - skip;
        for (piece, frame) in pieces.iter_mut().zip(frames.iter().skip(skip)) {
            *piece = libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() };
        }
        let mut messages = messages(&mut pieces);
        // SAFETY: the first `count` messages name one `iovec` each, which points into `frames`, borrowed
        // for the call; the kernel only reads what they point to and writes `msg_len` of the messages.
        let sent = unsafe { libc::sendmmsg(self.fd.as_raw_fd(), messages.as_mut_ptr(), count as u32, 0) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(sent as usize) }
    }

    /// Receives what is there, after waiting for a first frame; replaces what `frames` held. None within
    /// the time set is zero frames.
    pub fn receive(&self, frames: &mut Frames) -> io::Result<usize> {
        let mut pieces = pieces();
        for (piece, room) in pieces.iter_mut().zip(frames.bytes.chunks_exact_mut(frames.stride)) {
            *piece = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() };
        }
        let mut messages = messages(&mut pieces);
        frames.count = 0;
        // SAFETY: each message names one `iovec`, which points to a room of its own in `frames.bytes`,
        // borrowed mutably above; the kernel writes at most `iov_len` bytes to each, and `msg_len`.
        let got = unsafe {
            libc::recvmmsg(
                self.fd.as_raw_fd(),
                messages.as_mut_ptr(),
                FRAMES_MAX as u32,
                libc::MSG_WAITFORONE,
                std::ptr::null_mut(),
            )
        };
        if got < 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(0),
                _ => Err(error),
            };
        }
        frames.count = got as usize;
        for (length, message) in frames.lengths.iter_mut().zip(&messages[..frames.count]) {
            *length = (message.msg_len as usize).min(frames.stride);
        }
        Ok(frames.count)
    }

    /// What came and what was dropped since the last call of this.
    pub fn statistics(&self) -> io::Result<PacketStatistics> {
        let mut words = [0u32; 2];
        let mut length = size_of_val(&words) as libc::socklen_t;
        // SAFETY: `words` has the 8 bytes of `struct tpacket_stats` that `length` says.
        let answer = unsafe {
            libc::getsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_PACKET,
                PACKET_STATISTICS,
                words.as_mut_ptr().cast(),
                &mut length,
            )
        };
        match answer {
            0 => Ok(PacketStatistics { packets: words[0], drops: words[1] }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn set<T>(&self, level: i32, name: i32, value: &T) -> io::Result<()> {
        let size = size_of::<T>() as libc::socklen_t;
        // SAFETY: `value` is a live `T` and `size` its size; the kernel only reads it.
        let answer = unsafe {
            libc::setsockopt(self.fd.as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), size)
        };
        if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    fn bind(&self, index: u32) -> io::Result<()> {
        let address = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: ETH_P_ALL.to_be(),
            sll_ifindex: index as i32,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        let size = size_of_val(&address) as libc::socklen_t;
        // SAFETY: `address` is a `sockaddr_ll` of `size` bytes that lives here; the kernel only reads it.
        let answer = unsafe { libc::bind(self.fd.as_raw_fd(), std::ptr::from_ref(&address).cast(), size) };
        if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

/// The number of a device in the calling thread's namespace.
fn index_of(device: &str) -> io::Result<u32> {
    let name = CString::new(device)?;
    // SAFETY: `name` is a C string that lives here.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

fn pieces() -> [libc::iovec; FRAMES_MAX] {
    [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; FRAMES_MAX]
}

/// One message header for each piece.
fn messages(pieces: &mut [libc::iovec; FRAMES_MAX]) -> [libc::mmsghdr; FRAMES_MAX] {
    let first = pieces.as_mut_ptr();
    std::array::from_fn(|at| {
        // SAFETY: all of `mmsghdr` is numbers and pointers, for which zero is a value.
        let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
        message.msg_hdr.msg_iov = first.wrapping_add(at);
        message.msg_hdr.msg_iovlen = 1;
        message
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_keep_order_and_bounds() {
        let mut frames = Frames::new(64);
        for at in 0..FRAMES_MAX {
            assert!(frames.push(&[at as u8; 60]));
        }
        assert!(!frames.push(&[0; 60]), "full");
        assert!(frames.iter().enumerate().all(|(at, frame)| frame == [at as u8; 60]));
        frames.clear();
        assert!(!frames.push(&[0; 65]), "too long");
        assert!(frames.is_empty());
    }

    #[test]
    fn loopback_carries_frames() {
        let Ok(namespace) = crate::namespace::NetNamespace::create() else {
            println!("loopback_carries_frames: skipped: needs CAP_SYS_ADMIN");
            return;
        };
        std::thread::spawn(move || {
            namespace.enter().expect("it may enter");
            let missing = PacketSocket::open("nowhere").expect_err("there is no such device");
            assert_eq!(missing.raw_os_error(), Some(libc::ENODEV));
            let socket = PacketSocket::open("lo").expect("there is a loopback");
            socket.receive_timeout(Duration::from_millis(1)).expect("a time is set");
            let mut frames = Frames::new(128);
            assert!(frames.push(&[0xee; 60]));
            let down = io::ErrorKind::NetworkDown;
            assert!(socket.send(&frames).is_err(), "the device is down");
            assert_eq!(socket.receive(&mut frames).expect_err("it is still down").kind(), down);
            assert_eq!(socket.receive(&mut frames).expect("now it waits, and that is no error"), 0);
            assert_eq!(socket.statistics().expect("there are counters").drops, 0);
        })
        .join()
        .expect("the thread lives");
    }
}
