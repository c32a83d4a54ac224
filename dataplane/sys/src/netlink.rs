//! A blocking socket to the kernel's routing tables (rtnetlink(7)): requests, dumps and notifications, as bytes.
//!
//! Who asks for a dump and who listens for changes use a socket each, so that answers and notifications never mix.
//! What the bytes mean is the router's. The socket is of the network namespace of the thread that opens it.

use std::io;
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// Dumps come in parts of at most 32 KiB (`netlink_dump`, net/netlink/af_netlink.c).
const BUFFER: usize = 64 * 1024;
/// Bytes the kernel may keep for a listener: some 100,000 routes' notifications.
const BACKLOG: libc::c_int = 32 * 1024 * 1024;
const HEADER: usize = size_of::<libc::nlmsghdr>();
/// A dump that is disturbed more often than this is given up.
const DUMPS_MAX: usize = 5;

/// Groups of notifications (`RTNLGRP_*`) that a mirror of the routing tables listens to.
pub const ROUTING_GROUPS: &[u32] = &[
    libc::RTNLGRP_LINK,
    libc::RTNLGRP_NEIGH,
    libc::RTNLGRP_IPV4_IFADDR,
    libc::RTNLGRP_IPV6_IFADDR,
    libc::RTNLGRP_IPV4_ROUTE,
    libc::RTNLGRP_IPV6_ROUTE,
    libc::RTNLGRP_NEXTHOP,
];

/// What there is to dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dump {
    /// Devices.
    Links,
    /// Addresses of both families.
    Addresses,
    /// Routes of both families, of all tables.
    Routes,
    /// Neighbours of both families.
    Neighbours,
}

impl Dump {
    /// Request type, and the length of the header that the kernel's strict reading wants behind it.
    const fn request(self) -> (u16, usize) {
        match self {
            Self::Links => (libc::RTM_GETLINK, 16),
            Self::Addresses => (libc::RTM_GETADDR, 8),
            Self::Routes => (libc::RTM_GETROUTE, 12),
            Self::Neighbours => (libc::RTM_GETNEIGH, 12),
        }
    }
}

/// What a listener heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// So many bytes of whole messages.
    Messages(usize),
    /// Nothing, for as long as it was willing to wait.
    Silence,
    /// Notifications were lost: only a fresh dump tells what is.
    Overrun,
}

/// A socket of family `NETLINK_ROUTE`.
#[derive(Debug)]
pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
    buffer: Box<[u8]>,
}

impl Netlink {
    /// A socket that hears of these groups; none, for one that asks.
    pub fn open(groups: &[u32]) -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // SAFETY: no pointers.
        let fd = unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel opened `fd` for this call and nobody else has seen it.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        let netlink = Self { socket, sequence: 0, buffer: vec![0; BUFFER].into() };
        netlink.bind()?;
        // A larger backlog than net.core.rmem_max needs CAP_NET_ADMIN; without it, as much as is allowed.
        if netlink.set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &BACKLOG).is_err() {
            netlink.set(libc::SOL_SOCKET, libc::SO_RCVBUF, &BACKLOG)?;
        }
        for group in groups {
            netlink.set(libc::SOL_NETLINK, libc::NETLINK_ADD_MEMBERSHIP, &group.cast_signed())?;
        }
        Ok(netlink)
    }

    fn bind(&self) -> io::Result<()> {
        // SAFETY: all-zero is a valid sockaddr_nl: the kernel chooses the port.
        let mut address: libc::sockaddr_nl = unsafe { MaybeUninit::zeroed().assume_init() };
        address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
        let size = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
        // SAFETY: `address` is a sockaddr_nl of `size` bytes, read during the call only.
        let result = unsafe { libc::bind(self.fd(), (&raw const address).cast(), size) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    fn set<T>(&self, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
        let size = size_of::<T>() as libc::socklen_t;
        // SAFETY: `value` is readable for `size` bytes, and read during the call only.
        let result =
            unsafe { libc::setsockopt(self.fd(), level, name, std::ptr::from_ref(value).cast(), size) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// How long [`Netlink::receive`] and each part of a dump wait at most.
    pub fn set_patience(&self, limit: Duration) -> io::Result<()> {
        // All zero would mean for ever.
        let limit = limit.max(Duration::from_micros(1));
        let time = libc::timeval {
            tv_sec: limit.as_secs() as libc::time_t,
            tv_usec: libc::suseconds_t::from(limit.subsec_micros()),
        };
        self.set(libc::SOL_SOCKET, libc::SO_RCVTIMEO, &time)
    }

    /// Waits for notifications; [`Netlink::messages`] has them then.
    pub fn receive(&mut self) -> io::Result<Heard> {
        self.receive_with(0)
    }

    /// Notifications that are there already; does not wait.
    pub fn receive_now(&mut self) -> io::Result<Heard> {
        self.receive_with(libc::MSG_DONTWAIT)
    }

    /// The bytes of the last [`Heard::Messages`].
    pub fn messages(&self, heard: usize) -> &[u8] {
        self.buffer.get(..heard).unwrap_or(&[])
    }

    fn receive_with(&mut self, flags: libc::c_int) -> io::Result<Heard> {
        // SAFETY: all-zero is a valid sockaddr_nl.
        let mut from: libc::sockaddr_nl = unsafe { MaybeUninit::zeroed().assume_init() };
        let mut size = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
        // SAFETY: the buffer is writable for its length and `from` for `size` bytes; both outlive the call.
        let got = unsafe {
            libc::recvfrom(
                self.fd(),
                self.buffer.as_mut_ptr().cast(),
                self.buffer.len(),
                flags | libc::MSG_TRUNC,
                (&raw mut from).cast(),
                &raw mut size,
            )
        };
        if got < 0 {
            let error = io::Error::last_os_error();
            return match error.raw_os_error() {
                Some(libc::EAGAIN | libc::EINTR) => Ok(Heard::Silence),
                Some(libc::ENOBUFS) => Ok(Heard::Overrun),
                _ => Err(error),
            };
        }
        // Other processes may write to the port; only the kernel (port 0) knows about routes.
        if from.nl_pid != 0 {
            return Ok(Heard::Messages(0));
        }
        let got = got as usize;
        Ok(if got > self.buffer.len() { Heard::Overrun } else { Heard::Messages(got) })
    }

    fn send(&mut self, kind: u16, flags: libc::c_int, body: &[u8]) -> io::Result<u32> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = Vec::with_capacity(HEADER + body.len());
        message.extend_from_slice(&((HEADER + body.len()) as u32).to_ne_bytes());
        message.extend_from_slice(&kind.to_ne_bytes());
        message.extend_from_slice(&((flags | libc::NLM_F_REQUEST) as u16).to_ne_bytes());
        message.extend_from_slice(&self.sequence.to_ne_bytes());
        message.extend_from_slice(&0u32.to_ne_bytes());
        message.extend_from_slice(body);
        // SAFETY: the message is readable for its length, and read during the call only.
        let sent = unsafe { libc::send(self.fd(), message.as_ptr().cast(), message.len(), 0) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(self.sequence) }
    }

    /// Hands every message of a dump to `each`, header and all. When the tables changed meanwhile
    /// (`NLM_F_DUMP_INTR`) some may be missing or there twice: then `each` is told `None`, to forget what it was
    /// given, and the dump begins anew.
    pub fn dump(&mut self, what: Dump, mut each: impl FnMut(Option<&[u8]>)) -> io::Result<()> {
        for _ in 0..DUMPS_MAX {
            if self.dump_once(what, &mut each)? {
                return Ok(());
            }
            each(None);
        }
        Err(io::Error::new(
            io::ErrorKind::Interrupted,
            format!("the kernel's tables changed during each of {DUMPS_MAX} dumps ({what:?})"),
        ))
    }

    /// One dump; answers whether it was undisturbed.
    fn dump_once(&mut self, what: Dump, each: &mut impl FnMut(Option<&[u8]>)) -> io::Result<bool> {
        let (kind, header) = what.request();
        let sequence = self.send(kind, libc::NLM_F_DUMP, &vec![0; header])?;
        let mut whole = true;
        loop {
            let heard = match self.receive()? {
                Heard::Messages(heard) => heard,
                Heard::Silence => return Err(io::Error::from(io::ErrorKind::TimedOut)),
                Heard::Overrun => return Ok(false),
            };
            for message in messages(self.messages(heard)) {
                // What is left of an earlier dump that was given up.
                if message.sequence != sequence {
                    continue;
                }
                whole &= message.flags & libc::NLM_F_DUMP_INTR as u16 == 0;
                match libc::c_int::from(message.kind) {
                    libc::NLMSG_DONE => return Ok(whole),
                    libc::NLMSG_ERROR => return message.error().map(|()| whole),
                    _ => each(Some(message.bytes)),
                }
            }
        }
    }

    /// Sends a request that asks for an answer of yes or no, and waits for it.
    pub fn request(&mut self, request: &Request) -> io::Result<()> {
        let sequence = self.send(request.kind, request.flags | libc::NLM_F_ACK, &request.body)?;
        loop {
            let heard = match self.receive()? {
                Heard::Messages(heard) => heard,
                Heard::Silence => return Err(io::Error::from(io::ErrorKind::TimedOut)),
                Heard::Overrun => return Err(io::Error::from_raw_os_error(libc::ENOBUFS)),
            };
            for message in messages(self.messages(heard)) {
                if message.sequence == sequence && libc::c_int::from(message.kind) == libc::NLMSG_ERROR {
                    return message.error();
                }
            }
        }
    }
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Something the kernel is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    kind: u16,
    flags: libc::c_int,
    body: Vec<u8>,
}

impl Request {
    /// Uses a neighbour, as a packet to it would (`NTF_USE`): an unknown one is asked for by ARP or ND, a stale one
    /// is confirmed soon, a reachable one is left alone.
    pub fn use_neighbour(ifindex: u32, address: IpAddr) -> Self {
        let octets = match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        // struct ndmsg: family, padding, ifindex, state, flags, type.
        let mut body = vec![family as u8, 0, 0, 0];
        body.extend_from_slice(&ifindex.to_ne_bytes());
        body.extend_from_slice(&libc::NUD_NONE.to_ne_bytes());
        body.extend_from_slice(&[libc::NTF_USE, 0]);
        // Its one attribute.
        body.extend_from_slice(&(4 + octets.len() as u16).to_ne_bytes());
        body.extend_from_slice(&libc::NDA_DST.to_ne_bytes());
        body.extend_from_slice(&octets);
        Self { kind: libc::RTM_NEWNEIGH, flags: libc::NLM_F_CREATE | libc::NLM_F_REPLACE, body }
    }
}

/// A message and its header's fields.
struct Message<'b> {
    kind: u16,
    flags: u16,
    sequence: u32,
    bytes: &'b [u8],
}

impl Message<'_> {
    /// What a message of type `NLMSG_ERROR` says: a negative number, or 0 for yes.
    fn error(&self) -> io::Result<()> {
        match word(self.bytes, HEADER).map(u32::cast_signed) {
            Some(0) => Ok(()),
            Some(number) => Err(io::Error::from_raw_os_error(number.saturating_neg())),
            None => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
        }
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

/// The messages in some bytes; what is not a whole one ends them.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let len = word(bytes, 0)? as usize;
        let (kind_and_flags, sequence) = (word(bytes, 4)?, word(bytes, 8)?);
        let message = bytes.get(..len).filter(|_| len >= HEADER)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        let [a, b, c, d] = kind_and_flags.to_ne_bytes();
        let (kind, flags) = (u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d]));
        Some(Message { kind, flags, sequence, bytes: message })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anyone_may_dump_and_listen() {
        let mut ask = Netlink::open(&[]).unwrap();
        ask.set_patience(Duration::from_secs(5)).unwrap();
        for what in [Dump::Links, Dump::Addresses, Dump::Routes, Dump::Neighbours] {
            let mut count = 0;
            ask.dump(what, |message| count += usize::from(message.is_some())).unwrap();
            // Every namespace has its loopback device; it may be down and without addresses.
            assert!(count > 0 || what != Dump::Links);
        }
        let mut listen = Netlink::open(ROUTING_GROUPS).unwrap();
        listen.set_patience(Duration::from_millis(1)).unwrap();
        assert!(matches!(listen.receive().unwrap(), Heard::Silence | Heard::Messages(_)));
    }

    #[test]
    fn a_refused_request_says_why() {
        let mut ask = Netlink::open(&[]).unwrap();
        ask.set_patience(Duration::from_secs(5)).unwrap();
        let nowhere = Request::use_neighbour(0x7fff_fff0, IpAddr::from([192, 0, 2, 1]));
        let error = ask.request(&nowhere).unwrap_err().raw_os_error();
        assert!(matches!(error, Some(libc::ENODEV | libc::EPERM)), "{error:?}");
    }

    #[test]
    fn messages_end_where_they_are_broken() {
        let mut bytes = Vec::new();
        for len in [16u32, 20, 15] {
            bytes.extend_from_slice(&len.to_ne_bytes());
            bytes.resize(bytes.len() + len.next_multiple_of(4) as usize - 4, 0);
        }
        let lens: Vec<usize> = messages(&bytes).map(|message| message.bytes.len()).collect();
        assert_eq!(lens, [16, 20]);
    }
}
