//! What each primitive means, in loads and comparisons: libpcap's `gencode.c` for Ethernet.
//!
//! `link` is where the type of what follows is in the frame: 12, and 4 more behind each `vlan`.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use super::eval::{Arith, Expr, From, Operator, Relation, Size};
use super::names::{Family, Proto};

/// Which end of a packet an address or port is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Source,
    Destination,
    Either,
    Both,
}

const FRAGMENT: u8 = 44;

fn load(from: From, at: u32, size: Size) -> Arith {
    Arith::Load { from, index: Box::new(Arith::Number(at)), size }
}

fn is(left: Arith, value: u32) -> Expr {
    Expr::Compare(left, Relation::Equal, Arith::Number(value))
}

fn masked(left: Arith, mask: u32, value: u32) -> Expr {
    let left = match mask {
        u32::MAX => left,
        mask => Arith::Binary(Operator::And, Box::new(left), Box::new(Arith::Number(mask))),
    };
    is(left, value & mask)
}

/// The test at one end or both.
fn at_ends(direction: Direction, test: impl Fn(u32) -> Expr, source: u32, destination: u32) -> Expr {
    match direction {
        Direction::Source => test(source),
        Direction::Destination => test(destination),
        Direction::Both => test(source).and(test(destination)),
        Direction::Either => test(source).or(test(destination)),
    }
}

/// What is behind the link header is of this type.
pub(super) fn link_type(link: u32, ethertype: u16) -> Expr {
    is(load(From::Frame(link), 0, Size::Half), ethertype.into())
}

fn ip4(link: u32) -> Expr {
    link_type(link, 0x0800)
}

fn ip6(link: u32) -> Expr {
    link_type(link, 0x86dd)
}

/// A byte behind the link header.
fn byte(link: u32, at: u32) -> Arith {
    load(From::Frame(link + 2), at, Size::Byte)
}

/// An IPv4 address or network, in IPv4 or ARP headers, or in all of them when nothing says which.
pub(super) fn net4(
    link: u32,
    proto: Option<Proto>,
    direction: Direction,
    address: Ipv4Addr,
    mask: u32,
) -> Option<Expr> {
    let within = |ethertype, source, destination| {
        let test = |at| masked(load(From::Frame(link + 2), at, Size::Word), mask, address.to_bits());
        link_type(link, ethertype).and(at_ends(direction, test, source, destination))
    };
    match proto {
        None => Some(within(0x0800, 12, 16).or(within(0x0806, 14, 24)).or(within(0x8035, 14, 24))),
        Some(Proto::Ip) => Some(within(0x0800, 12, 16)),
        Some(Proto::Arp) => Some(within(0x0806, 14, 24)),
        Some(Proto::Rarp) => Some(within(0x8035, 14, 24)),
        Some(_) => None,
    }
}

/// An IPv6 address or network.
pub(super) fn net6(
    link: u32,
    proto: Option<Proto>,
    direction: Direction,
    address: Ipv6Addr,
    length: u32,
) -> Option<Expr> {
    if !matches!(proto, None | Some(Proto::Ip6)) {
        return None;
    }
    let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
    let word = |bits: u128, at: u32| (bits >> (96 - 32 * at)) as u32;
    let test = |at: u32| {
        let part = |part: u32| {
            let place = load(From::Frame(link + 2), at + 4 * part, Size::Word);
            masked(place, word(mask, part), word(address.to_bits(), part))
        };
        part(0).and(part(1)).and(part(2)).and(part(3))
    };
    Some(ip6(link).and(at_ends(direction, test, 8, 24)))
}

/// A link address.
pub(super) fn ether(direction: Direction, [a, b, c, d, e, f]: [u8; 6]) -> Expr {
    let test = |at| {
        let high = is(load(From::Frame(0), at, Size::Word), u32::from_be_bytes([a, b, c, d]));
        high.and(is(load(From::Frame(0), at + 4, Size::Half), u16::from_be_bytes([e, f]).into()))
    };
    at_ends(direction, test, 6, 0)
}

/// What is above IP has this number.
pub(super) fn above_ip(link: u32, number: u32, family: Family) -> Expr {
    let v4 = || ip4(link).and(is(byte(link, 9), number));
    // Behind a fragment header too; other headers are not looked behind.
    let v6 = || {
        let behind_fragment = is(byte(link, 6), FRAGMENT.into()).and(is(byte(link, 40), number));
        ip6(link).and(is(byte(link, 6), number).or(behind_fragment))
    };
    match family {
        Family::V4 => v4(),
        Family::V6 => v6(),
        Family::Both => v4().or(v6()),
    }
}

/// A protocol by its keyword alone.
pub(super) fn proto(link: u32, proto: Proto) -> Option<Expr> {
    let by_type = proto.ethertype().map(|ethertype| link_type(link, ethertype));
    by_type.or_else(|| proto.above_ip().map(|(number, family)| above_ip(link, number.into(), family)))
}

/// Not a fragment, or the first one: only then are there ports.
fn first_fragment(link: u32) -> Expr {
    let flags = load(From::Frame(link + 2), 6, Size::Half);
    masked(flags, 0x1fff, 0)
}

/// Ports of TCP, UDP or SCTP, or of any of them.
pub(super) fn ports(
    link: u32,
    proto: Option<Proto>,
    direction: Direction,
    ports: &RangeInclusive<u16>,
) -> Option<Expr> {
    let numbers: &[u8] = match proto {
        None => &[6, 17, 132],
        Some(Proto::Tcp) => &[6],
        Some(Proto::Udp) => &[17],
        Some(Proto::Sctp) => &[132],
        Some(_) => return None,
    };
    let (first, last) = (u32::from(*ports.start()), u32::from(*ports.end()));
    let within = |place: Arith| match first == last {
        true => is(place, first),
        false => {
            let least = Expr::Compare(place.clone(), Relation::AtLeast, Arith::Number(first));
            least.and(Expr::Compare(place, Relation::Greater, Arith::Number(last)).negated())
        }
    };
    let any_of = |place: &Arith| {
        let each = numbers.iter().map(|number| is(place.clone(), (*number).into()));
        each.reduce(Expr::or)
    };
    let test4 = |at| within(load(From::BehindIp4(link + 2), at, Size::Half));
    let test6 = |at| within(load(From::Frame(link + 42), at, Size::Half));
    let v4 =
        ip4(link).and(any_of(&byte(link, 9))?).and(first_fragment(link)).and(at_ends(direction, test4, 0, 2));
    let v6 = ip6(link).and(any_of(&byte(link, 6))?).and(at_ends(direction, test6, 0, 2));
    Some(v4.or(v6))
}

/// A VLAN tag, of this number.
pub(super) fn vlan(link: u32, number: Option<u16>) -> Expr {
    let tag = link_type(link, 0x8100).or(link_type(link, 0x88a8)).or(link_type(link, 0x9100));
    match number {
        None => tag,
        Some(number) => tag.and(masked(load(From::Frame(link + 2), 0, Size::Half), 0x0fff, number.into())),
    }
}

/// Frames to all.
pub(super) fn broadcast() -> Expr {
    ether(Direction::Destination, [0xff; 6])
}

/// Packets to many.
pub(super) fn multicast(link: u32, proto: Option<Proto>) -> Option<Expr> {
    match proto {
        None | Some(Proto::Ether) => Some(masked(load(From::Frame(0), 0, Size::Byte), 1, 0).negated()),
        Some(Proto::Ip) => {
            let first = Expr::Compare(byte(link, 16), Relation::AtLeast, Arith::Number(224));
            Some(ip4(link).and(first))
        }
        Some(Proto::Ip6) => Some(ip6(link).and(is(byte(link, 24), 255))),
        Some(_) => None,
    }
}

/// How long a packet is.
pub(super) fn length(at_least: bool, than: u32) -> Expr {
    match at_least {
        true => Expr::Compare(Arith::Length, Relation::AtLeast, Arith::Number(than)),
        false => Expr::Compare(Arith::Length, Relation::Greater, Arith::Number(than)).negated(),
    }
}

/// Bytes of a protocol's header, and what must hold for there to be one.
pub(super) fn field(link: u32, proto: Proto, index: Arith, size: Size) -> (Arith, Option<Expr>) {
    let load = |from| Arith::Load { from, index: Box::new(index.clone()), size };
    match proto {
        Proto::Ether => (load(From::Frame(0)), None),
        Proto::Ip | Proto::Ip6 | Proto::Arp | Proto::Rarp => {
            (load(From::Frame(link + 2)), self::proto(link, proto))
        }
        Proto::Icmp6 => (load(From::Frame(link + 42)), Some(ip6(link).and(is(byte(link, 6), 58)))),
        Proto::Tcp
        | Proto::Udp
        | Proto::Sctp
        | Proto::Icmp
        | Proto::Igmp
        | Proto::Pim
        | Proto::Vrrp
        | Proto::Ah
        | Proto::Esp => {
            let there = self::proto(link, proto).map(|is| ip4(link).and(is).and(first_fragment(link)));
            (load(From::BehindIp4(link + 2)), there)
        }
    }
}
