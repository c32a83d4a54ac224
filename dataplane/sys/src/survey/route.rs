//! Two questions over netlink: a link with its XDP program (rtnetlink), and what XDP its driver can do
//! (the generic family `netdev`, Linux 6.3).

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

/// A device as `ip link show` knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Most bytes of a packet without its link header.
    pub mtu: u32,
    /// The device at the other end, or below it: of a veth pair the peer.
    pub lower: Option<u32>,
    /// Whether it is up by the administrator's word.
    pub up: bool,
    /// Whether it runs: it is up and something is at the other end.
    pub running: bool,
    /// Kind of a device made by software: `veth`, `vlan`, `bridge` …
    pub kind: Option<String>,
    /// Which network namespace the other end is in, when it is not ours.
    pub peer_namespace: Option<i32>,
    /// The device it is a part of: a bridge or a bond.
    pub master: Option<u32>,
    /// The XDP program attached to it: its number and how it runs.
    pub xdp: Option<(u32, XdpMode)>,
}

/// How an attached program runs (`XDP_ATTACHED_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// In the driver.
    Native,
    /// After the kernel has made a socket buffer.
    Generic,
    /// On the card.
    Offload,
    /// Several at once.
    Several,
}

/// What XDP a driver can do (`NETDEV_XDP_ACT_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XdpFeatures {
    /// Programs in the driver: drop, pass, send back.
    pub basic: bool,
    /// It can redirect away from it.
    pub redirect: bool,
    /// It takes what others redirect to it, as it is set up now.
    pub transmit: bool,
    /// AF_XDP without copying.
    pub zero_copy: bool,
    /// Packets in several buffers.
    pub multi_buffer: bool,
}

const GET_LINK: u16 = 18;
const GET_FAMILY: u8 = 3;
const GET_DEVICE: u8 = 1;
/// `GENL_ID_CTRL`.
const CONTROL: u16 = 16;
const HEADER: usize = 16;
const NESTED: u16 = 0x3fff;

/// The device with this number.
pub fn link(ifindex: u32) -> io::Result<Link> {
    let mut body = vec![0; 16]; // struct ifinfomsg
    body[4..8].copy_from_slice(&ifindex.to_ne_bytes());
    read_link(&exchange(libc::NETLINK_ROUTE, GET_LINK, &body)?)
}

/// The device of this name.
pub fn link_named(name: &str) -> io::Result<Link> {
    if name.is_empty() || name.len() >= libc::IFNAMSIZ || name.contains('\0') {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    let mut body = vec![0; 16]; // struct ifinfomsg
    put(&mut body, libc::IFLA_IFNAME, &[name.as_bytes(), b"\0"].concat());
    read_link(&exchange(libc::NETLINK_ROUTE, GET_LINK, &body)?)
}

fn read_link(answer: &[u8]) -> io::Result<Link> {
    let payload = answer.get(16..).ok_or(io::ErrorKind::UnexpectedEof)?;
    let flags = word(answer, 8).unwrap_or_default();
    let mut link = Link {
        index: word(answer, 4).unwrap_or_default(),
        up: flags & libc::IFF_UP as u32 != 0,
        running: flags & libc::IFF_RUNNING as u32 != 0,
        ..Link::default()
    };
    for (kind, data) in attributes(payload) {
        match kind {
            libc::IFLA_IFNAME => link.name = text(data),
            libc::IFLA_MTU => link.mtu = word(data, 0).unwrap_or_default(),
            libc::IFLA_LINK => link.lower = word(data, 0).filter(|lower| *lower != 0),
            libc::IFLA_MASTER => link.master = word(data, 0),
            libc::IFLA_LINK_NETNSID => link.peer_namespace = word(data, 0).map(|id| id as i32),
            libc::IFLA_LINKINFO => {
                let named = attributes(data).find(|(kind, _)| *kind == libc::IFLA_INFO_KIND);
                link.kind = named.map(|(_, name)| text(name));
            }
            libc::IFLA_XDP => link.xdp = xdp(data),
            _ => {}
        }
    }
    Ok(link)
}

fn xdp(data: &[u8]) -> Option<(u32, XdpMode)> {
    const ATTACHED: u16 = 2;
    const PROGRAM: u16 = 4;
    let find = |wanted| attributes(data).find(|(kind, _)| *kind == wanted).map(|(_, data)| data);
    let mode = match find(ATTACHED)?.first()? {
        1 => XdpMode::Native,
        2 => XdpMode::Generic,
        3 => XdpMode::Offload,
        4 => XdpMode::Several,
        _ => return None,
    };
    Some((find(PROGRAM).and_then(|data| word(data, 0)).unwrap_or_default(), mode))
}

/// What XDP the driver of this device can do; an error before Linux 6.3.
pub fn xdp_features(ifindex: u32) -> io::Result<XdpFeatures> {
    const FAMILY_NAME: u16 = 2;
    const FAMILY_ID: u16 = 1;
    const IFINDEX: u16 = 1;
    const FEATURES: u16 = 3;
    let answer = generic(CONTROL, GET_FAMILY, FAMILY_NAME, b"netdev\0\0")?;
    let family = attribute(&answer, FAMILY_ID)?;
    let family = u16::from_ne_bytes([family[0], *family.get(1).ok_or(io::ErrorKind::UnexpectedEof)?]);
    let answer = generic(family, GET_DEVICE, IFINDEX, &ifindex.to_ne_bytes())?;
    let features = word(attribute(&answer, FEATURES)?, 0).unwrap_or_default();
    let has = |bit: u32| features >> bit & 1 == 1;
    Ok(XdpFeatures {
        basic: has(0),
        redirect: has(1),
        transmit: has(2),
        zero_copy: has(3),
        multi_buffer: has(5),
    })
}

/// One question of a generic family with one attribute.
fn generic(family: u16, command: u8, kind: u16, data: &[u8]) -> io::Result<Vec<u8>> {
    let mut body = vec![command, 1, 0, 0]; // struct genlmsghdr
    put(&mut body, kind, data);
    exchange(libc::NETLINK_GENERIC, family, &body)
}

/// Adds an attribute.
fn put(body: &mut Vec<u8>, kind: u16, data: &[u8]) {
    body.extend((4 + data.len() as u16).to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(data);
    body.resize(body.len().next_multiple_of(4), 0);
}

/// An attribute of a generic answer.
fn attribute(answer: &[u8], wanted: u16) -> io::Result<&[u8]> {
    let payload = answer.get(4..).unwrap_or_default();
    let found = attributes(payload).find(|(kind, data)| *kind == wanted && !data.is_empty());
    found.map(|(_, data)| data).ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))
}

/// Sends one question and waits for its one answer, at most a second.
fn exchange(protocol: i32, kind: u16, body: &[u8]) -> io::Result<Vec<u8>> {
    const REQUEST: u16 = 1;
    let socket = super::open(libc::AF_NETLINK, libc::SOCK_RAW, protocol)?;
    let mut message = Vec::with_capacity(HEADER + body.len());
    message.extend(((HEADER + body.len()) as u32).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(REQUEST.to_ne_bytes());
    message.extend([1, 0, 0, 0, 0, 0, 0, 0]); // sequence, sender
    message.extend(body);
    // SAFETY: the kernel reads `message.len()` bytes of `message`.
    let sent = unsafe { libc::send(socket.as_raw_fd(), message.as_ptr().cast(), message.len(), 0) };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    let answer = receive(&socket)?;
    let len = word(&answer, 0).unwrap_or_default() as usize;
    let body = answer.get(HEADER..len).ok_or(io::ErrorKind::UnexpectedEof)?;
    if u16::from_ne_bytes([answer[4], answer[5]]) == libc::NLMSG_ERROR as u16 {
        let errno = word(body, 0).unwrap_or_default() as i32;
        return Err(io::Error::from_raw_os_error(-errno));
    }
    Ok(body.to_vec())
}

fn receive(socket: &OwnedFd) -> io::Result<Vec<u8>> {
    let mut wait = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: `wait` is one pollfd.
    match unsafe { libc::poll(&mut wait, 1, 1000) } {
        0 => return Err(io::ErrorKind::TimedOut.into()),
        1 => {}
        _ => return Err(io::Error::last_os_error()),
    }
    let mut answer = vec![0u8; 32 << 10];
    // SAFETY: the kernel writes at most `answer.len()` bytes into `answer`.
    let len = unsafe { libc::recv(socket.as_raw_fd(), answer.as_mut_ptr().cast(), answer.len(), 0) };
    if len < 0 {
        return Err(io::Error::last_os_error());
    }
    if len < HEADER as isize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    answer.truncate(len as usize);
    Ok(answer)
}

/// Attributes one after another; ends where they make no sense.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = u16::from_ne_bytes([*bytes.first()?, *bytes.get(1)?]) as usize;
        let kind = u16::from_ne_bytes([*bytes.get(2)?, *bytes.get(3)?]) & NESTED;
        let data = bytes.get(4..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, data))
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn text(data: &[u8]) -> String {
    let end = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    String::from_utf8_lossy(&data[..end]).into_owned()
}
