//! The flow key: the same in both directions, told by etherparse as oracle, and never a panic.

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice, VlanId};
use proptest::prelude::*;
use weir_packet::{FlowHash, FlowKey, flow};

const HASH: [u64; 2] = [1, 2];

/// What a packet is made of; its reverse has the ends exchanged.
#[derive(Debug, Clone)]
struct Made {
    macs: [[u8; 6]; 2],
    addresses: [[u8; 16]; 2],
    ports: [u16; 2],
    six: bool,
    upper: Upper,
    tags: usize,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Upper {
    Tcp,
    Udp,
    Echo,
}

impl Made {
    fn reversed(&self) -> Made {
        let mut back = self.clone();
        back.macs.reverse();
        back.addresses.reverse();
        back.ports.reverse();
        back
    }

    fn bytes(&self, reply: bool) -> Vec<u8> {
        let [from, to] = self.addresses;
        let four = |address: [u8; 16]| [address[0], address[1], address[2], address[3]];
        let tag = VlanId::try_new(7).unwrap();
        let begin = PacketBuilder::ethernet2(self.macs[0], self.macs[1]);
        let step = match (self.tags, self.six) {
            (0, false) => begin.ipv4(four(from), four(to), 9),
            (0, true) => begin.ipv6(from, to, 9),
            (1, false) => begin.single_vlan(tag).ipv4(four(from), four(to), 9),
            (1, true) => begin.single_vlan(tag).ipv6(from, to, 9),
            (_, false) => begin.double_vlan(tag, tag).ipv4(four(from), four(to), 9),
            (_, true) => begin.double_vlan(tag, tag).ipv6(from, to, 9),
        };
        let mut packet = Vec::new();
        let payload = b"payload";
        match (self.upper, self.six, reply) {
            (Upper::Tcp, ..) => step.tcp(self.ports[0], self.ports[1], 1, 2).write(&mut packet, payload),
            (Upper::Udp, ..) => step.udp(self.ports[0], self.ports[1]).write(&mut packet, payload),
            (Upper::Echo, false, false) => {
                step.icmpv4_echo_request(self.ports[0], 3).write(&mut packet, payload)
            }
            (Upper::Echo, false, true) => {
                step.icmpv4_echo_reply(self.ports[1], 3).write(&mut packet, payload)
            }
            (Upper::Echo, true, false) => {
                step.icmpv6_echo_request(self.ports[0], 3).write(&mut packet, payload)
            }
            (Upper::Echo, true, true) => step.icmpv6_echo_reply(self.ports[1], 3).write(&mut packet, payload),
        }
        .unwrap();
        packet
    }
}

fn made() -> impl Strategy<Value = Made> {
    let upper = prop::sample::select(vec![Upper::Tcp, Upper::Udp, Upper::Echo]);
    (any::<[[u8; 6]; 2]>(), any::<[[u8; 16]; 2]>(), any::<[u16; 2]>(), any::<bool>(), upper, 0..3_usize)
        .prop_map(|(macs, addresses, ports, six, upper, tags)| Made {
            macs,
            addresses,
            ports,
            six,
            upper,
            tags,
        })
}

/// Address and port of both ends, the smaller first.
type Ends = [(Vec<u8>, u16); 2];

/// Ends and protocol as etherparse sees them, for a packet that is not a fragment.
fn oracle(packet: &[u8]) -> Option<(Ends, u8)> {
    let sliced = SlicedPacket::from_ethernet(packet).ok()?;
    let (from, to, protocol) = match sliced.net? {
        NetSlice::Ipv4(ip) => {
            let header = ip.header();
            (header.source().to_vec(), header.destination().to_vec(), ip.payload().ip_number.0)
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header();
            (header.source().to_vec(), header.destination().to_vec(), ip.payload().ip_number.0)
        }
        _ => return None,
    };
    let (source, destination) = match sliced.transport {
        Some(TransportSlice::Tcp(tcp)) => (tcp.source_port(), tcp.destination_port()),
        Some(TransportSlice::Udp(udp)) => (udp.source_port(), udp.destination_port()),
        _ => (0, 0),
    };
    let mut ends = [(from, source), (to, destination)];
    ends.sort();
    Some((ends, protocol))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn both_directions_have_one_key(made in made()) {
        // An echo's identifier is the same both ways.
        let mut made = made;
        if made.upper == Upper::Echo {
            made.ports[1] = made.ports[0];
        }
        let (there, back) = (made.bytes(false), made.reversed().bytes(true));
        prop_assert_eq!(FlowKey::of(&there), FlowKey::of(&back));
        let hash = FlowHash::new(HASH);
        prop_assert_eq!(hash.hash(&there), hash.hash(&back));
        prop_assert_ne!(hash.hash(&there), 0);
    }

    #[test]
    fn ends_and_protocol_are_those_etherparse_sees(made in made()) {
        let packet = made.bytes(false);
        let key = FlowKey::of(&packet);
        let (mut ends, protocol) = oracle(&packet).unwrap();
        let len = if made.six { 16 } else { 4 };
        let mut found = key.ends.map(|(address, port)| (address[..len].to_vec(), port));
        found.sort();
        if made.upper == Upper::Echo {
            ends[0].1 = made.ports[0];
            ends[1].1 = made.ports[0];
        }
        prop_assert_eq!((found, key.protocol), (ends, protocol));
    }

    #[test]
    fn flows_that_differ_have_other_keys(made in made(), bit in 0..16_u32) {
        let mut other = made.clone();
        other.ports[0] ^= 1 << bit;
        let same = made.ports == [other.ports[1], other.ports[0]] && made.addresses[0] == made.addresses[1];
        prop_assert!(same || FlowKey::of(&made.bytes(false)) != FlowKey::of(&other.bytes(false)));
    }

    #[test]
    fn any_bytes_have_a_key(bytes in prop::collection::vec(any::<u8>(), 0..120), six: bool, tags in 0..6_usize) {
        let _ = FlowKey::of(&bytes);
        let mut frame = vec![2; 12];
        for _ in 0..tags {
            frame.extend([0x81, 0, 0, 1]);
        }
        frame.extend(if six { [0x86, 0xdd] } else { [8, 0] });
        frame.extend(&bytes);
        let _ = FlowKey::of(&frame);
        if let Some(first) = frame.get_mut(14 + tags * 4) {
            *first = if six { 0x60 } else { 0x45 };
            let _ = FlowKey::of(&frame);
        }
    }
}

fn sample(six: bool, upper: Upper) -> Vec<u8> {
    let made = Made {
        macs: [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]],
        addresses: [[10; 16], [20; 16]],
        ports: [1000, 2000],
        six,
        upper,
        tags: 0,
    };
    made.bytes(false)
}

#[test]
fn all_fragments_of_a_datagram_meet_whatever_they_carry() {
    let whole = sample(false, Upper::Udp);
    let fragment = |bits: u16, fill: u8| {
        let mut packet = whole.clone();
        packet[20..22].copy_from_slice(&bits.to_be_bytes());
        packet[34..].fill(fill);
        FlowKey::of(&packet)
    };
    let first = fragment(0x2000, 1);
    assert_eq!(first, fragment(0x2010, 2));
    assert_eq!(first, fragment(0x0020, 3));
    assert_ne!(first, FlowKey::of(&whole));
    // "Don't fragment" is no fragment.
    let mut kept = whole.clone();
    kept[20..22].copy_from_slice(&0x4000_u16.to_be_bytes());
    assert_eq!(FlowKey::of(&kept), FlowKey::of(&whole));
}

#[test]
fn ipv6_extension_headers_are_walked_and_fragments_meet() {
    let whole = sample(true, Upper::Tcp);
    let with = |next: u8, extension: &[u8]| {
        let mut packet = whole[..54].to_vec();
        packet[20] = next;
        packet.extend(extension);
        packet.extend(&whole[54..]);
        FlowKey::of(&packet)
    };
    let plain = FlowKey::of(&whole);
    assert_eq!(plain, with(0, &[6, 0, 1, 4, 0, 0, 0, 0]), "hop-by-hop");
    assert_eq!(plain, with(60, &[[43, 0, 1, 4, 0, 0, 0, 0], [6, 0, 0, 0, 0, 0, 0, 0]].concat()), "two");
    assert_eq!(plain, with(51, &[&[6, 4][..], &[0; 22]].concat()), "authentication");
    let first = with(44, &[6, 0, 0, 1, 0, 0, 0, 9]);
    assert_eq!(first, with(44, &[6, 0, 1, 0, 0, 0, 0, 9]));
    assert_eq!(first.protocol, 6);
    assert_ne!(first, plain);
    let endless: Vec<u8> = [0, 0, 1, 4, 0, 0, 0, 0].repeat(40);
    assert_eq!(with(0, &endless).protocol, 0);
}

#[test]
fn headers_that_cannot_be_fall_back_to_mac_addresses() {
    let good = sample(false, Upper::Tcp);
    for (at, value) in [(14, 0x55), (14, 0x44), (14, 0x4f)] {
        let mut bad = good[..40].to_vec();
        bad[at] = value;
        let key = FlowKey::of(&bad);
        assert_eq!((key.protocol, key.ethertype), (0, 0x0800));
        assert_eq!(key.ends[0].0[..6], [2, 0, 0, 0, 0, 1]);
        let mut back = bad.clone();
        back[..12].rotate_left(6);
        assert_eq!(FlowKey::of(&back), key);
    }
}

#[test]
fn flows_spread_evenly_and_a_key_moves_them() {
    let mut counts = [[0_usize; 8]; 2];
    let mut moved = 0;
    let (hash, other) = (FlowHash::new(HASH), FlowHash::new([3, 4]));
    let mut packet = sample(false, Upper::Udp);
    for port in 0..8000_u16 {
        packet[34..36].copy_from_slice(&port.to_be_bytes());
        let shares = [hash, other].map(|hash| flow::share(hash.hash(&packet), 8));
        counts[0][shares[0]] += 1;
        counts[1][shares[1]] += 1;
        moved += usize::from(shares[0] != shares[1]);
    }
    assert!(counts.as_flattened().iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    assert!((6500..7500).contains(&moved), "{moved} of 8000 flows moved");
}
