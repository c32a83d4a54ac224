//! ICMP errors about packets that are not forwarded (RFC 792 and 1812; RFC 4443), and when there must be none.
//!
//! An answer is a packet from its network header on, written where the caller says. Whether it may be sent at this
//! moment is for a [`crate::Bucket`] to say; what becomes of the packet it is about is the caller's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::checksum::{Sum, checksum};
use crate::header::Header;
use crate::tables::{FibAddresses, Tables};

/// Longest IPv4 error (RFC 1812, section 4.3.2.3).
const V4_MAX: usize = 576;
/// Longest IPv6 error: what every link takes (RFC 4443, section 2.4 (c)).
const V6_MAX: usize = 1280;
/// Bytes that an answer needs at most.
pub const ANSWER_MAX: usize = V6_MAX;
const HOPS: u8 = 64;
const V4_HEADER: usize = 20;
const V6_HEADER: usize = 40;
const ICMP_HEADER: usize = 8;
const PROTOCOL_V4: u8 = 1;
const PROTOCOL_V6: u8 = 58;
/// Precedence "internetwork control" (RFC 1812, section 4.3.2.5).
const PRECEDENCE: u8 = 0xc0;
const TOS: u8 = 0x1e;
const DONT_FRAGMENT: [u8; 2] = [0x40, 0];
const FRAGMENT_OFFSET: u16 = 0x1fff;
/// Informational messages of ICMPv6 have this bit.
const INFORMATIONAL: u8 = 0x80;
const V6_REDIRECT: u8 = 137;

/// Why a packet is answered with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// Its time to live or hop limit is used up.
    HopsSpent,
    /// No route leads to its destination.
    NoRoute,
    /// A route says that the destination cannot be reached.
    Unreachable,
    /// The next hop did not say its link address.
    NoNeighbour,
    /// A route forbids the destination.
    Prohibited,
    /// Its source is valid on its link only, and its destination is beyond.
    BeyondScope,
    /// It is larger than the way takes, and may not be fragmented.
    TooBig {
        /// What the way takes.
        mtu: u32,
    },
}

/// Type and code, and the word behind the checksum.
type Words = (u8, u8, u32);

impl Problem {
    /// RFC 792 and RFC 1812, section 5.2.7.1. There is no word for a source beyond its scope.
    const fn v4(self) -> Option<Words> {
        Some(match self {
            Self::HopsSpent => (11, 0, 0),
            Self::NoRoute => (3, 0, 0),
            Self::Unreachable | Self::NoNeighbour => (3, 1, 0),
            Self::Prohibited => (3, 13, 0),
            // RFC 1191, section 4: 16 bits.
            Self::TooBig { mtu } => (3, 4, if mtu > 0xffff { 0xffff } else { mtu }),
            Self::BeyondScope => return None,
        })
    }

    /// RFC 4443, section 3. A route that says unreachable is told as none, as Linux does.
    const fn v6(self) -> Words {
        match self {
            Self::HopsSpent => (3, 0, 0),
            Self::NoRoute | Self::Unreachable => (1, 0, 0),
            Self::Prohibited => (1, 1, 0),
            Self::BeyondScope => (1, 2, 0),
            Self::NoNeighbour => (1, 3, 0),
            Self::TooBig { mtu } => (2, 0, mtu),
        }
    }

    /// Whether a packet to a group is told as well (RFC 4443, section 2.4 (e.3)), so that its sender learns the
    /// path's size.
    const fn concerns_groups(self) -> bool {
        match self {
            Self::TooBig { .. } => true,
            Self::HopsSpent
            | Self::NoRoute
            | Self::Unreachable
            | Self::NoNeighbour
            | Self::Prohibited
            | Self::BeyondScope => false,
        }
    }
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// The packet's header is not sound.
    Malformed,
    /// It is an error itself, or a redirect.
    AboutError,
    /// It is a later fragment, whose first one is answered.
    Fragment,
    /// It was sent to many, on the link or by its address.
    ToMany,
    /// Its source is no single host.
    NoSender,
    /// There is no such message.
    NoMessage,
    /// This router has no address to answer from.
    NoAddress,
    /// The answer does not fit where it was to be written.
    NoRoom,
}

/// Writes the error about a packet, which begins at its network header and came in by the port `ifindex`. Answers how
/// long it is, or why there must be none. `to_many` is whether the link's header was addressed to more than us.
pub fn answer(
    tables: &Tables,
    ifindex: u32,
    packet: &[u8],
    to_many: bool,
    problem: Problem,
    out: &mut [u8],
) -> Result<usize, Silence> {
    let header = Header::check(packet).map_err(|_| Silence::Malformed)?;
    let packet = packet.get(..header.total_len).ok_or(Silence::Malformed)?;
    match header.addresses {
        FibAddresses::V4 { source, destination } => {
            let words = problem.v4().ok_or(Silence::NoMessage)?;
            allow_v4(&header, packet, source, destination, to_many)?;
            let own = own_address(tables, ifindex, IpAddr::V4(source)).ok_or(Silence::NoAddress)?;
            let IpAddr::V4(own) = own else { return Err(Silence::NoAddress) };
            write_v4(own, source, packet, words, out)
        }
        FibAddresses::V6 { source, destination } => {
            allow_v6(packet, source, destination, to_many && !problem.concerns_groups(), problem)?;
            let own = own_address(tables, ifindex, IpAddr::V6(source)).ok_or(Silence::NoAddress)?;
            let IpAddr::V6(own) = own else { return Err(Silence::NoAddress) };
            write_v6(own, source, packet, problem.v6(), out)
        }
    }
}

/// RFC 1812, section 4.3.2.7.
fn allow_v4(
    header: &Header,
    packet: &[u8],
    source: Ipv4Addr,
    destination: Ipv4Addr,
    to_many: bool,
) -> Result<(), Silence> {
    if to_many || destination.is_broadcast() || destination.is_multicast() {
        return Err(Silence::ToMany);
    }
    if !is_host_v4(source) {
        return Err(Silence::NoSender);
    }
    let offset = packet.get(6..8).and_then(|word| word.first_chunk()).copied().map_or(0, u16::from_be_bytes);
    if offset & FRAGMENT_OFFSET != 0 {
        return Err(Silence::Fragment);
    }
    let kind = packet.get(header.header_len).copied();
    // Unreachable, quench, redirect, time exceeded, parameter problem; and types not known today.
    let is_error = |kind: u8| matches!(kind, 3..=5 | 11 | 12 | 19..);
    match (header.protocol, kind) {
        (PROTOCOL_V4, None) => Err(Silence::AboutError),
        (PROTOCOL_V4, Some(kind)) if is_error(kind) => Err(Silence::AboutError),
        _ => Ok(()),
    }
}

/// RFC 4443, section 2.4 (e).
fn allow_v6(
    packet: &[u8],
    source: Ipv6Addr,
    destination: Ipv6Addr,
    to_many: bool,
    problem: Problem,
) -> Result<(), Silence> {
    if to_many || destination.is_multicast() && !problem.concerns_groups() {
        return Err(Silence::ToMany);
    }
    if source.is_unspecified() || source.is_loopback() || source.is_multicast() {
        return Err(Silence::NoSender);
    }
    match last_v6(packet) {
        Last::Message(kind) if kind & INFORMATIONAL == 0 || kind == V6_REDIRECT => Err(Silence::AboutError),
        Last::Hidden => Err(Silence::AboutError),
        Last::Message(_) | Last::Other => Ok(()),
    }
}

/// What an IPv6 packet carries behind its extension headers.
enum Last {
    /// An ICMPv6 message of this type.
    Message(u8),
    /// An ICMPv6 message whose type is not in this packet: it may be an error.
    Hidden,
    /// Something else.
    Other,
}

/// Walks the extension headers (RFC 8200, section 4) as far as they are in the packet.
fn last_v6(packet: &[u8]) -> Last {
    let byte = |at: usize| packet.get(at).copied();
    let Some(mut next) = byte(6) else { return Last::Other };
    let mut at = V6_HEADER;
    loop {
        let (Some(following), Some(len)) = (byte(at), byte(at + 1)) else {
            return if next == PROTOCOL_V6 { Last::Hidden } else { Last::Other };
        };
        let len = usize::from(len);
        match next {
            PROTOCOL_V6 => return Last::Message(following),
            // Hop-by-hop, routing, destination options.
            0 | 43 | 60 => at += 8 * (len + 1),
            // Authentication.
            51 => at += 4 * (len + 2),
            44 => {
                let offset = [byte(at + 2).unwrap_or(0), byte(at + 3).unwrap_or(0)];
                let is_first = u16::from_be_bytes(offset) & 0xfff8 == 0;
                if !is_first {
                    return if following == PROTOCOL_V6 { Last::Hidden } else { Last::Other };
                }
                at += 8;
            }
            _ => return Last::Other,
        }
        next = following;
    }
}

/// Whether an address can be that of one host on a network.
fn is_host_v4(address: Ipv4Addr) -> bool {
    let first = address.octets()[0];
    first != 0 && first < 224 && !address.is_loopback()
}

/// The address to answer from: one of the port's that the packet came in by (so that a traceroute shows the way that was
/// taken), else of another port's. A broadcast address as the source is found out here: no network's host has it.
fn own_address(tables: &Tables, ifindex: u32, towards: IpAddr) -> Option<IpAddr> {
    let port = tables.port(ifindex);
    let beyond = |address: &IpAddr| match address {
        IpAddr::V4(_) => true,
        IpAddr::V6(address) => !address.is_unicast_link_local() || is_link_local(towards),
    };
    let is_broadcast = |towards: IpAddr| {
        let own = tables.ports().iter().flat_map(|port| port.all_addresses());
        own.filter_map(|own| match own {
            ipnet::IpNet::V4(own) if own.prefix_len() < 31 => Some(own),
            ipnet::IpNet::V4(_) | ipnet::IpNet::V6(_) => None,
        })
        .any(|own| IpAddr::V4(own.broadcast()) == towards || IpAddr::V4(own.network()) == towards)
    };
    if is_broadcast(towards) {
        return None;
    }
    let others = tables.ports().iter().filter_map(|port| port.source_for(towards));
    port.and_then(|port| port.source_for(towards)).filter(beyond).or_else(|| others.clone().find(beyond))
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

fn write_v4(
    own: Ipv4Addr,
    to: Ipv4Addr,
    packet: &[u8],
    words: Words,
    out: &mut [u8],
) -> Result<usize, Silence> {
    let quoted = packet.get(..packet.len().min(V4_MAX - V4_HEADER - ICMP_HEADER)).unwrap_or(packet);
    let len = V4_HEADER + ICMP_HEADER + quoted.len();
    let out = out.get_mut(..len).ok_or(Silence::NoRoom)?;
    let (header, message) = out.split_at_mut(V4_HEADER);
    let tos = packet.get(1).map_or(PRECEDENCE, |tos| tos & TOS | PRECEDENCE);
    header.fill(0);
    // It is never fragmented, so it needs no identification (RFC 6864).
    place(header, 0, &[0x45, tos]);
    place(header, 2, &(len as u16).to_be_bytes());
    place(header, 6, &DONT_FRAGMENT);
    place(header, 8, &[HOPS, PROTOCOL_V4]);
    place(header, 12, &own.octets());
    place(header, 16, &to.octets());
    let sum = checksum(header);
    place(header, 10, &sum.to_be_bytes());
    write_message(message, words, quoted);
    let sum = checksum(message);
    place(message, 2, &sum.to_be_bytes());
    Ok(len)
}

fn write_v6(
    own: Ipv6Addr,
    to: Ipv6Addr,
    packet: &[u8],
    words: Words,
    out: &mut [u8],
) -> Result<usize, Silence> {
    let quoted = packet.get(..packet.len().min(V6_MAX - V6_HEADER - ICMP_HEADER)).unwrap_or(packet);
    let payload = ICMP_HEADER + quoted.len();
    let out = out.get_mut(..V6_HEADER + payload).ok_or(Silence::NoRoom)?;
    let (header, message) = out.split_at_mut(V6_HEADER);
    header.fill(0);
    place(header, 0, &[0x60]);
    place(header, 4, &(payload as u16).to_be_bytes());
    place(header, 6, &[PROTOCOL_V6, HOPS]);
    place(header, 8, &own.octets());
    place(header, 24, &to.octets());
    write_message(message, words, quoted);
    // RFC 8200, section 8.1: the addresses, the length and the protocol are under the checksum.
    let sum = Sum::default()
        .add(&own.octets())
        .add(&to.octets())
        .add(&(payload as u32).to_be_bytes())
        .add(&[0, 0, 0, PROTOCOL_V6])
        .add(message)
        .finish();
    place(message, 2, &sum.to_be_bytes());
    Ok(V6_HEADER + payload)
}

/// All but the checksum, which stays zero.
fn write_message(message: &mut [u8], (kind, code, word): Words, quoted: &[u8]) {
    place(message, 0, &[kind, code, 0, 0]);
    place(message, 4, &word.to_be_bytes());
    place(message, ICMP_HEADER, quoted);
}

fn place(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}
