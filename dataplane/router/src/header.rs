//! What a router checks of a packet's network header (RFC 1812, section 5.2.2; RFC 8200), and the one
//! thing it changes there.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::checksum::{adjust, checksum};
use crate::refusal::Refusal;
use crate::tables::{FibAddresses, FibQuery};

const V4_HEADER: usize = 20;
const V6_HEADER: usize = 40;
const V4_TTL: usize = 8;
const V4_CHECKSUM: usize = 10;
const V6_HOP_LIMIT: usize = 7;
const DONT_FRAGMENT: u16 = 0x4000;
/// More fragments, or not the first.
const FRAGMENT: u16 = 0x3fff;
const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_LOOSE_ROUTE: u8 = 131;
const OPTION_STRICT_ROUTE: u8 = 137;
/// Protocols whose first four bytes are two ports: TCP, UDP, DCCP, SCTP, UDP-Lite.
const WITH_PORTS: [u8; 5] = [6, 17, 33, 132, 136];

/// A network header that was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Source and destination.
    pub addresses: FibAddresses,
    /// Layer-4 protocol, or the first extension header of IPv6.
    pub protocol: u8,
    /// Bytes of the header with its options, without IPv6 extension headers.
    pub header_len: usize,
    /// Bytes of the packet from this header on; bytes behind it are the link's padding.
    pub total_len: usize,
    /// TTL or hop limit.
    pub hops_left: u8,
    /// Whether routers may fragment it.
    pub may_fragment: bool,
    /// Whether it is a fragment (IPv4), which may lack the ports.
    pub is_fragment: bool,
}

/// Bytes at a place, when they are there.
fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_be_bytes)
}

impl Header {
    /// Checks the header at the start of `packet`, which begins at the network layer.
    pub fn check(packet: &[u8]) -> Result<Self, Refusal> {
        match packet.first().map(|first| first >> 4) {
            None => Err(Refusal::TooShort),
            Some(4) => Self::check_v4(packet),
            Some(6) => Self::check_v6(packet),
            Some(_) => Err(Refusal::Version),
        }
    }

    fn check_v4(packet: &[u8]) -> Result<Self, Refusal> {
        let fixed: [u8; V4_HEADER] = array(packet, 0).ok_or(Refusal::TooShort)?;
        let header_len = usize::from(fixed[0] & 0x0f) * 4;
        if header_len < V4_HEADER {
            return Err(Refusal::HeaderLength);
        }
        let total_len = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
        if total_len < header_len || total_len > packet.len() {
            return Err(Refusal::TotalLength);
        }
        let header = packet.get(..header_len).ok_or(Refusal::HeaderLength)?;
        if checksum(header) != 0 {
            return Err(Refusal::Checksum);
        }
        check_options(header.get(V4_HEADER..).unwrap_or(&[]))?;
        let fragment = u16::from_be_bytes([fixed[6], fixed[7]]);
        let address = |at: usize| Ipv4Addr::new(fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]);
        Ok(Self {
            addresses: FibAddresses::V4 { source: address(12), destination: address(16) },
            protocol: fixed[9],
            header_len,
            total_len,
            hops_left: fixed[V4_TTL],
            may_fragment: fragment & DONT_FRAGMENT == 0,
            is_fragment: fragment & FRAGMENT != 0,
        })
    }

    fn check_v6(packet: &[u8]) -> Result<Self, Refusal> {
        let fixed: [u8; V6_HEADER] = array(packet, 0).ok_or(Refusal::TooShort)?;
        let total_len = V6_HEADER + usize::from(u16::from_be_bytes([fixed[4], fixed[5]]));
        if total_len > packet.len() {
            return Err(Refusal::TotalLength);
        }
        let address =
            |at: usize| array::<16>(&fixed, at).map(Ipv6Addr::from).unwrap_or(Ipv6Addr::UNSPECIFIED);
        Ok(Self {
            addresses: FibAddresses::V6 { source: address(8), destination: address(24) },
            protocol: fixed[6],
            header_len: V6_HEADER,
            total_len,
            hops_left: fixed[V6_HOP_LIMIT],
            may_fragment: false,
            is_fragment: false,
        })
    }

    /// The question of where this packet goes. All fragments of a packet ask without ports, so that they
    /// take one way.
    pub fn query(&self, packet: &[u8], ifindex: u32) -> FibQuery {
        let has_ports = WITH_PORTS.contains(&self.protocol) && !self.is_fragment;
        let port = |at| word(packet, self.header_len + at).filter(|_| has_ports).unwrap_or(0);
        FibQuery {
            addresses: self.addresses,
            l4_protocol: self.protocol,
            source_port: port(0),
            destination_port: port(2),
            ifindex,
            flags: 0,
            table: 0,
        }
    }

    /// Takes one hop from the packet that this header was checked in, and adjusts the checksum. A packet
    /// with none to spare is refused and left as it is.
    pub fn spend_hop(&mut self, packet: &mut [u8]) -> Result<(), Refusal> {
        if self.hops_left <= 1 {
            return Err(Refusal::HopsSpent);
        }
        let left = self.hops_left - 1;
        match self.addresses {
            FibAddresses::V4 { .. } => {
                let old = word(packet, V4_TTL).ok_or(Refusal::TooShort)?;
                let sum = word(packet, V4_CHECKSUM).ok_or(Refusal::TooShort)?;
                let new = old.wrapping_sub(0x0100);
                write(packet, V4_TTL, new.to_be_bytes());
                write(packet, V4_CHECKSUM, adjust(sum, old, new).to_be_bytes());
            }
            FibAddresses::V6 { .. } => write(packet, V6_HOP_LIMIT, [left]),
        }
        self.hops_left = left;
        Ok(())
    }

    /// Whether the addresses may travel beyond a link at all (RFC 1812, section 5.3.7; RFC 6890;
    /// RFC 4291). Groups and broadcasts as destinations are not judged here.
    pub fn check_addresses(&self) -> Result<(), Refusal> {
        let (bad_source, bad_destination, on_link) = match self.addresses {
            FibAddresses::V4 { source, destination } => {
                let never = |address: Ipv4Addr| address.octets()[0] == 0 || address.is_loopback();
                let reserved = |address: Ipv4Addr| address.octets()[0] >= 240;
                (
                    never(source) || reserved(source) || source.is_multicast(),
                    never(destination) || reserved(destination) && !destination.is_broadcast(),
                    source.is_link_local() || destination.is_link_local(),
                )
            }
            FibAddresses::V6 { source, destination } => {
                let never = |address: Ipv6Addr| {
                    address.is_unspecified() || address.is_loopback() || address.to_ipv4_mapped().is_some()
                };
                let on_link = source.is_unicast_link_local() || destination.is_unicast_link_local();
                (never(source) || source.is_multicast(), never(destination), on_link)
            }
        };
        match (bad_source, bad_destination, on_link) {
            (true, _, _) => Err(Refusal::MartianSource),
            (_, true, _) => Err(Refusal::MartianDestination),
            (_, _, true) => Err(Refusal::LinkLocal),
            (false, false, false) => Ok(()),
        }
    }
}

fn write<const N: usize>(packet: &mut [u8], at: usize, bytes: [u8; N]) {
    if let Some(place) = packet.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *place = bytes;
    }
}

/// IPv4 options must fill their space, and must not choose the way (RFC 7126 asks routers to drop those).
fn check_options(mut options: &[u8]) -> Result<(), Refusal> {
    while let Some((&kind, rest)) = options.split_first() {
        options = match kind {
            OPTION_END => return Ok(()),
            OPTION_NOP => rest,
            OPTION_LOOSE_ROUTE | OPTION_STRICT_ROUTE => return Err(Refusal::SourceRouted),
            _ => {
                let len = usize::from(*rest.first().ok_or(Refusal::Options)?);
                if len < 2 {
                    return Err(Refusal::Options);
                }
                options.get(len..).ok_or(Refusal::Options)?
            }
        };
    }
    Ok(())
}
