//! Decisions about packets: each refusal has a packet that earns it, and a twin that does not.

use std::sync::LazyLock;

use proptest::prelude::*;
use weir_router::checksum::checksum;
use weir_router::{
    Decision, Neighbour, NeighbourState, NextHop, Port, Refusal, Route, RouteKind, Tables, forward, text,
};

const WAN: u32 = 2;
const LAN: u32 = 3;
/// A port that is there and does not forward.
const CLOSED: u32 = 4;

static TABLES: LazyLock<Tables> = LazyLock::new(tables);

fn tables() -> Tables {
    let mut tables = Tables::new(7);
    let port = |index: u32| Port::new(index, [2, 0, 0, 0, 0, index as u8], 1500);
    let interface = |text| text::interface(text).unwrap();
    tables.set_port(
        port(WAN).with_address(interface("203.0.113.2/30")).with_address(interface("2001:db8::2/64")),
    );
    tables.set_port(port(LAN).with_address(interface("192.0.2.1/24")).with_address(interface("fe80::1/64")));
    tables.set_port(Port { forwarding: false, ..port(CLOSED) });
    let gateway = text::address("203.0.113.1").unwrap();
    let tunnel = NextHop { encapsulated: true, ..NextHop::on_link(WAN) };
    let small = Route {
        mtu: 100,
        ..Route::unicast(text::destination("10.1.0.0/16").unwrap(), NextHop::gateway(gateway, WAN))
    };
    for route in [
        Route::unicast(text::destination("10.0.0.0/8").unwrap(), NextHop::gateway(gateway, WAN)),
        small,
        Route::unicast(text::destination("10.5.0.0/16").unwrap(), tunnel),
        Route::unicast(text::destination("2001:db8:1::/48").unwrap(), NextHop::gateway(gateway_v6(), WAN)),
        Route::to(text::destination("10.2.0.0/16").unwrap(), RouteKind::Blackhole),
        Route::to(text::destination("10.3.0.0/16").unwrap(), RouteKind::Unreachable),
        Route::to(text::destination("10.4.0.0/16").unwrap(), RouteKind::Prohibit),
    ] {
        tables.add(&route).unwrap();
    }
    let known = Neighbour { mac: [9; 6], state: NeighbourState::Reachable };
    tables.set_neighbour(WAN, gateway, known);
    tables.set_neighbour(WAN, gateway_v6(), known);
    tables
}

fn gateway_v6() -> std::net::IpAddr {
    text::address("2001:db8::1").unwrap()
}

/// A UDP packet with 100 bytes of payload: TTL 64, no options, may be fragmented.
fn v4(source: &str, destination: &str) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 120, 0, 1, 0, 0, 64, 17, 0, 0];
    for address in [source, destination] {
        let address: std::net::Ipv4Addr = address.parse().unwrap();
        packet.extend(address.octets());
    }
    packet.resize(120, 0xaa);
    seal(packet)
}

/// The packet with a right header checksum.
fn seal(mut packet: Vec<u8>) -> Vec<u8> {
    packet[10..12].fill(0);
    let header_len = usize::from(packet[0] & 15) * 4;
    let sum = checksum(&packet[..header_len]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet
}

fn v6(source: &str, destination: &str) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, 80, 17, 64];
    for address in [source, destination] {
        let address: std::net::Ipv6Addr = address.parse().unwrap();
        packet.extend(address.octets());
    }
    packet.resize(120, 0xbb);
    packet
}

fn good() -> Vec<u8> {
    v4("192.0.2.9", "10.0.0.1")
}

fn with(packet: Vec<u8>, changes: &[(usize, u8)]) -> Vec<u8> {
    let mut packet = packet;
    changes.iter().for_each(|&(at, byte)| packet[at] = byte);
    packet
}

/// A packet with options, padded with no-operations.
fn with_options(options: &[u8]) -> Vec<u8> {
    let mut packet = with(good(), &[(0, 0x48)]);
    packet[20..32].fill(1);
    packet[20..20 + options.len()].copy_from_slice(options);
    seal(packet)
}

fn refusal(mut packet: Vec<u8>, port: u32) -> Option<Refusal> {
    let before = packet.clone();
    match forward(&TABLES, &mut packet, port) {
        Decision::Refuse(refusal) => {
            assert_eq!(packet, before, "a refused packet is left as it is");
            Some(refusal)
        }
        Decision::Forward { .. } | Decision::Deliver => None,
    }
}

#[test]
fn each_refusal_is_earned() {
    use Refusal::*;
    let from = |source| v4(source, "10.0.0.1");
    let to = |destination| v4("192.0.2.9", destination);
    let v6_to = |destination| v6("2001:db8:2::1", destination);
    let big = seal(with(to("10.1.0.1"), &[(6, 0)]));
    let cases = [
        (TooShort, vec![], LAN),
        (TooShort, good()[..19].to_vec(), LAN),
        (TooShort, v6_to("2001:db8:1::1")[..39].to_vec(), LAN),
        (Version, with(good(), &[(0, 0x55)]), LAN),
        (HeaderLength, with(good(), &[(0, 0x44)]), LAN),
        (TotalLength, seal(with(good(), &[(3, 121)])), LAN),
        (TotalLength, seal(with(good(), &[(3, 19)])), LAN),
        (TotalLength, with(v6_to("2001:db8:1::1"), &[(5, 81)]), LAN),
        (Checksum, with(good(), &[(11, good()[11] ^ 1)]), LAN),
        (
            Options,
            with_options(&[7])
                .into_iter()
                .enumerate()
                .map(|(at, byte)| if at == 21 { 1 } else { byte })
                .collect(),
            LAN,
        ),
        (Options, with_options(&[7, 13, 4]), LAN),
        (SourceRouted, with_options(&[131, 7, 4, 10, 0, 0, 1]), LAN),
        (SourceRouted, with_options(&[137, 7, 4, 10, 0, 0, 1]), LAN),
        (MartianSource, from("127.0.0.1"), LAN),
        (MartianSource, from("0.0.0.0"), LAN),
        (MartianSource, from("0.1.2.3"), LAN),
        (MartianSource, from("224.0.0.1"), LAN),
        (MartianSource, from("240.0.0.1"), LAN),
        (MartianSource, from("255.255.255.255"), LAN),
        (MartianSource, v6("ff02::1", "2001:db8:1::1"), LAN),
        (MartianSource, v6("::", "2001:db8:1::1"), LAN),
        (MartianSource, v6("::1", "2001:db8:1::1"), LAN),
        (MartianSource, v6("::ffff:1.2.3.4", "2001:db8:1::1"), LAN),
        (MartianDestination, to("127.0.0.1"), LAN),
        (MartianDestination, to("0.0.0.0"), LAN),
        (MartianDestination, to("240.0.0.1"), LAN),
        (MartianDestination, v6_to("::1"), LAN),
        (LinkLocal, from("169.254.1.1"), LAN),
        (LinkLocal, to("169.254.1.1"), LAN),
        (LinkLocal, v6("fe80::9", "2001:db8:1::1"), LAN),
        (LinkLocal, v6_to("fe80::9"), LAN),
        (HopsSpent, seal(with(good(), &[(8, 1)])), LAN),
        (HopsSpent, seal(with(good(), &[(8, 0)])), LAN),
        (HopsSpent, with(v6_to("2001:db8:1::1"), &[(7, 1)]), LAN),
        (NoRoute, to("11.0.0.1"), LAN),
        (Blackhole, to("10.2.0.1"), LAN),
        (Unreachable, to("10.3.0.1"), LAN),
        (Prohibited, to("10.4.0.1"), LAN),
        (NotForwarding, good(), CLOSED),
        (NoPort, good(), 99),
        (Encapsulation, to("10.5.0.1"), LAN),
        (TooBig, seal(with(big.clone(), &[(6, 0x40)])), LAN),
        (Fragmentation, big, LAN),
        (NoNeighbour, to("192.0.2.77"), LAN),
    ];
    for (expected, packet, port) in &cases {
        assert_eq!(refusal(packet.clone(), *port), Some(*expected), "{packet:02x?}");
    }
    for reason in Refusal::ALL {
        assert!(cases.iter().any(|(expected, ..)| expected == reason), "no packet earns {reason:?}");
    }
}

#[test]
fn twins_pass() {
    for packet in [
        good(),
        seal(with(good(), &[(8, 2)])),
        with_options(&[7, 12, 4]),
        with_options(&[0, 7]),
        v6("2001:db8:2::1", "2001:db8:1::1"),
        with(v6("2001:db8:2::1", "2001:db8:1::1"), &[(7, 2)]),
    ] {
        assert_eq!(refusal(packet.clone(), LAN), None, "{packet:02x?}");
    }
}

#[test]
fn what_is_for_this_machine_is_delivered_untouched() {
    for (packet, port) in [
        (seal(with(v4("192.0.2.9", "192.0.2.1"), &[(8, 1)])), LAN),
        (v4("192.0.2.9", "203.0.113.2"), LAN),
        (v4("192.0.2.9", "192.0.2.255"), LAN),
        (v4("192.0.2.9", "255.255.255.255"), LAN),
        (v4("192.0.2.9", "224.0.0.5"), LAN),
        (v4("192.0.2.9", "203.0.113.2"), CLOSED),
        (v6("fe80::9", "fe80::1"), LAN),
        (v6("fe80::9", "ff02::1"), LAN),
    ] {
        let mut after = packet.clone();
        assert_eq!(forward(&TABLES, &mut after, port), Decision::Deliver, "{packet:02x?}");
        assert_eq!(after, packet);
    }
}

#[test]
fn a_forwarded_packet_has_one_hop_less_and_a_right_checksum() {
    for ttl in 2..=255 {
        let packet = seal(with(good(), &[(8, ttl)]));
        let mut after = packet.clone();
        let decision = forward(&TABLES, &mut after, LAN);
        assert!(matches!(decision, Decision::Forward { hop, neighbour: [9, ..] } if hop.ifindex == WAN));
        assert_eq!(after, seal(with(packet, &[(8, ttl - 1)])));
    }
    let packet = v6("2001:db8:2::1", "2001:db8:1::1");
    let mut after = packet.clone();
    assert!(matches!(forward(&TABLES, &mut after, LAN), Decision::Forward { .. }));
    assert_eq!(after, with(packet, &[(7, 63)]));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever comes in, there is an answer, and only a forwarded packet is changed.
    #[test]
    fn hostile_bytes_get_an_answer(first in 0x40u8..0x70, rest in prop::collection::vec(any::<u8>(), 0..80)) {
        let mut packet = vec![first];
        packet.extend(rest);
        if packet.len() >= 60 && first >> 4 == 4 && first & 15 >= 5 {
            packet = seal(packet);
        }
        let before = packet.clone();
        let decision = forward(&TABLES, &mut packet, LAN);
        let forwarded = matches!(decision, Decision::Forward { .. });
        prop_assert!(forwarded || packet == before);
    }
}
