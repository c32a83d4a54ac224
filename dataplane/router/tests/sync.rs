//! The kernel's messages, as changes of the tables; and bytes that are no messages.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{Emitable, NetlinkHeader};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState as Nud,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteNextHop, RouteProtocol, RouteType,
};
use proptest::prelude::*;
use weir_router::sync::{Filter, Reading, Snapshot, protocol_name, protocol_number, read};
use weir_router::{
    Change, FibAddresses, FibAnswer, FibHop, FibQuery, NeighbourState, NextHop, Port, Route, RouteKind,
    Tables,
};

const NEW_LINK: u16 = 16;
const DEL_LINK: u16 = 17;
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;
const DEL_ROUTE: u16 = 25;
const NEW_NEIGHBOUR: u16 = 28;
const DEL_NEIGHBOUR: u16 = 29;
const REPLACE: u16 = 0x100;

const LAN: u32 = 7;
const WAN: u32 = 8;
/// A device that only the kernel has.
const ELSEWHERE: u32 = 9;

fn message(kind: u16, flags: u16, body: &dyn Emitable) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.length = (16 + body.buffer_len()) as u32;
    header.message_type = kind;
    header.flags = flags;
    let mut bytes = vec![0; (header.length as usize).next_multiple_of(4)];
    header.emit(&mut bytes[..16]);
    body.emit(&mut bytes[16..header.length as usize]);
    bytes
}

/// `struct ifinfomsg` and a name, an MTU and a link address.
fn link(kind: u16, index: u32, name: &str, up: bool) -> Vec<u8> {
    let mut body = vec![0, 0, 1, 0];
    body.extend_from_slice(&index.to_ne_bytes());
    body.extend_from_slice(&u32::from(up).to_ne_bytes());
    body.extend_from_slice(&[0; 4]);
    let mut attribute = |kind: u16, value: &[u8]| {
        body.extend_from_slice(&(4 + value.len() as u16).to_ne_bytes());
        body.extend_from_slice(&kind.to_ne_bytes());
        body.extend_from_slice(value);
        body.resize(body.len().next_multiple_of(4), 0);
    };
    attribute(3, format!("{name}\0").as_bytes());
    attribute(4, &1500u32.to_ne_bytes());
    attribute(1, &[2, 0, 0, 0, 0, index as u8]);
    let mut bytes = ((16 + body.len()) as u32).to_ne_bytes().to_vec();
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&[0; 10]);
    bytes.extend_from_slice(&body);
    bytes
}

fn route(to: &str, attributes: &[RouteAttribute]) -> RouteMessage {
    let to: ipnet::IpNet = to.parse().unwrap();
    let mut route = RouteMessage::default();
    route.header.address_family =
        if to.addr().is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    route.header.destination_prefix_length = to.prefix_len();
    route.header.table = 254;
    route.header.protocol = RouteProtocol::Static;
    route.header.kind = RouteType::Unicast;
    if to.prefix_len() > 0 {
        route.attributes.push(RouteAttribute::Destination(to.addr().into()));
    }
    route.attributes.extend_from_slice(attributes);
    route
}

fn via(gateway: &str) -> RouteAttribute {
    RouteAttribute::Gateway(RouteAddress::from(gateway.parse::<IpAddr>().unwrap()))
}

fn way(gateway: &str, port: u32, weight: u8) -> RouteNextHop {
    let mut hop = RouteNextHop::default();
    hop.interface_index = port;
    hop.hops = weight - 1;
    hop.attributes.push(via(gateway));
    hop
}

fn neighbour(address: &str, port: u32, state: Nud) -> NeighbourMessage {
    let address: IpAddr = address.parse().unwrap();
    let mut neighbour = NeighbourMessage::default();
    neighbour.header.family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    neighbour.header.ifindex = port;
    neighbour.header.state = state;
    neighbour.attributes.push(NeighbourAttribute::Destination(match address {
        IpAddr::V4(address) => NeighbourAddress::Inet(address),
        IpAddr::V6(address) => NeighbourAddress::Inet6(address),
    }));
    neighbour.attributes.push(NeighbourAttribute::LinkLayerAddress(vec![2, 0, 0, 0, 9, 9]));
    neighbour
}

/// A router with two ports, and what it heard.
struct Mirror {
    tables: Tables,
    filter: Filter,
}

impl Mirror {
    fn new(filter: Filter) -> Self {
        let mut tables = Tables::new(0);
        tables.set_port(Port::new(LAN, [2, 0, 0, 0, 0, 7], 1500));
        tables.set_port(Port::new(WAN, [2, 0, 0, 0, 0, 8], 1500));
        let mut mirror = Self { tables, filter };
        mirror.hear(link(NEW_LINK, ELSEWHERE, "docker0", true));
        mirror
    }

    fn hear(&mut self, bytes: Vec<u8>) -> Reading {
        let mut reading = Reading::default();
        read(&bytes, &self.filter, &mut reading);
        reading.changes.iter().for_each(|change| self.tables.apply(change));
        reading
    }

    fn lookup(&self, to: &str) -> FibAnswer {
        let addresses = match to.parse().unwrap() {
            IpAddr::V4(destination) => FibAddresses::V4 { source: Ipv4Addr::new(192, 0, 2, 9), destination },
            IpAddr::V6(destination) => {
                FibAddresses::V6 { source: "2001:db8::9".parse().unwrap(), destination }
            }
        };
        self.tables.lookup(&FibQuery {
            addresses,
            l4_protocol: 0,
            source_port: 0,
            destination_port: 0,
            ifindex: LAN,
            flags: 0,
            table: 0,
        })
    }

    /// Where packets go: the port and the gateway.
    fn way(&self, to: &str) -> Option<(u32, Option<IpAddr>)> {
        match self.lookup(to) {
            FibAnswer::Forward(FibHop { ifindex, gateway, .. }) => Some((ifindex, gateway)),
            _ => None,
        }
    }
}

fn gateway(text: &str) -> Option<IpAddr> {
    Some(text.parse().unwrap())
}

#[test]
fn a_route_is_learned_replaced_and_forgotten() {
    let mut mirror = Mirror::new(Filter::default());
    let first = route("198.51.100.0/24", &[via("192.0.2.1"), RouteAttribute::Oif(LAN)]);
    mirror.hear(message(NEW_ROUTE, 0, &first));
    assert_eq!(mirror.way("198.51.100.7"), Some((LAN, gateway("192.0.2.1"))));
    let second = route("198.51.100.0/24", &[via("203.0.113.1"), RouteAttribute::Oif(WAN)]);
    mirror.hear(message(NEW_ROUTE, REPLACE, &second));
    assert_eq!(mirror.way("198.51.100.7"), Some((WAN, gateway("203.0.113.1"))));
    mirror.hear(message(DEL_ROUTE, 0, &second));
    assert_eq!(mirror.lookup("198.51.100.7"), FibAnswer::NotForwarded);
    mirror.hear(message(DEL_ROUTE, 0, &second));
}

#[test]
fn the_lowest_metric_is_used_and_the_next_takes_over() {
    let mut mirror = Mirror::new(Filter::default());
    let with = |metric, port| {
        route("2001:db8:5::/48", &[RouteAttribute::Priority(metric), RouteAttribute::Oif(port)])
    };
    mirror.hear(message(NEW_ROUTE, 0, &with(1024, LAN)));
    mirror.hear(message(NEW_ROUTE, 0, &with(100, WAN)));
    assert_eq!(mirror.way("2001:db8:5::1"), Some((WAN, None)));
    mirror.hear(message(DEL_ROUTE, 0, &with(100, WAN)));
    assert_eq!(mirror.way("2001:db8:5::1"), Some((LAN, None)));
}

#[test]
fn the_configurations_route_comes_before_the_kernels_whatever_its_metric() {
    let mut mirror = Mirror::new(Filter::default());
    let own =
        Route { metric: 500, ..Route::unicast("198.51.100.0/24".parse().unwrap(), NextHop::on_link(WAN)) };
    mirror.tables.apply(&Change::Add(own.clone()));
    mirror.hear(message(NEW_ROUTE, 0, &route("198.51.100.0/24", &[RouteAttribute::Oif(LAN)])));
    assert_eq!(mirror.way("198.51.100.7"), Some((WAN, None)));
    mirror.hear(message(NEW_ROUTE, 0, &route("198.51.100.0/25", &[RouteAttribute::Oif(LAN)])));
    assert_eq!(mirror.way("198.51.100.7"), Some((LAN, None)), "a longer prefix is another destination");
    mirror.tables.apply(&Change::Remove(own));
    assert_eq!(mirror.way("198.51.100.200"), Some((LAN, None)));
}

#[test]
fn several_ways_share_by_weight_and_leave_one_by_one() {
    let mut mirror = Mirror::new(Filter::default());
    let ways = vec![way("192.0.2.1", LAN, 3), way("203.0.113.1", WAN, 1)];
    let reading =
        mirror.hear(message(NEW_ROUTE, 0, &route("198.51.100.0/24", &[RouteAttribute::MultiPath(ways)])));
    let [Change::Learn(learned)] = &reading.changes[..] else { panic!("{reading:?}") };
    assert_eq!(learned.hops.iter().map(|hop| hop.weight).collect::<Vec<_>>(), [3, 1]);

    let ways = vec![way("2001:db8::1", LAN, 1), way("2001:db8:1::1", WAN, 1)];
    mirror.hear(message(NEW_ROUTE, 0, &route("2001:db8:7::/48", &[RouteAttribute::MultiPath(ways)])));
    let one = route("2001:db8:7::/48", &[via("2001:db8::1"), RouteAttribute::Oif(LAN)]);
    mirror.hear(message(DEL_ROUTE, 0, &one));
    assert_eq!(mirror.way("2001:db8:7::1"), Some((WAN, gateway("2001:db8:1::1"))));
    let other = route("2001:db8:7::/48", &[via("2001:db8:1::1"), RouteAttribute::Oif(WAN)]);
    mirror.hear(message(DEL_ROUTE, 0, &other));
    assert_eq!(mirror.way("2001:db8:7::1"), None);
}

#[test]
fn refusing_routes_and_sizes_are_kept() {
    let mut mirror = Mirror::new(Filter::default());
    for (to, kind, answer) in [
        ("198.51.100.0/24", RouteType::BlackHole, FibAnswer::Blackhole),
        ("203.0.113.0/24", RouteType::Unreachable, FibAnswer::Unreachable),
        ("2001:db8:bad::/48", RouteType::Prohibit, FibAnswer::Prohibit),
        ("192.0.2.1/32", RouteType::Local, FibAnswer::NotForwarded),
    ] {
        let mut refusing = route(to, &[RouteAttribute::Oif(LAN)]);
        refusing.header.kind = kind;
        mirror.hear(message(NEW_ROUTE, 0, &refusing));
        let network: ipnet::IpNet = to.parse().unwrap();
        assert_eq!(mirror.lookup(&network.addr().to_string()), answer);
    }
    assert!(mirror.tables.is_for_host("192.0.2.1".parse().unwrap()));
    let mtu = RouteAttribute::Metrics(vec![RouteMetric::Mtu(1280)]);
    mirror.hear(message(NEW_ROUTE, 0, &route("10.0.0.0/8", &[RouteAttribute::Oif(WAN), mtu])));
    assert!(matches!(mirror.lookup("10.1.2.3"), FibAnswer::Forward(FibHop { mtu: 1280, .. })));
}

#[test]
fn only_the_tables_and_protocols_asked_for_are_followed() {
    let filter = Filter { table: 100, protocols: vec![protocol_number("bird").unwrap()] };
    let mut mirror = Mirror::new(filter);
    let from = |table: u8, protocol| {
        let mut route = route("198.51.100.0/24", &[RouteAttribute::Oif(WAN)]);
        (route.header.table, route.header.protocol) = (table, protocol);
        route
    };
    mirror.hear(message(NEW_ROUTE, 0, &from(254, RouteProtocol::Bird)));
    mirror.hear(message(NEW_ROUTE, 0, &from(100, RouteProtocol::Static)));
    assert_eq!(mirror.way("198.51.100.7"), None);
    mirror.hear(message(NEW_ROUTE, 0, &from(100, RouteProtocol::Bird)));
    assert_eq!(mirror.way("198.51.100.7"), Some((WAN, None)));
    mirror.hear(message(NEW_ROUTE, REPLACE, &from(100, RouteProtocol::Static)));
    assert_eq!(mirror.way("198.51.100.7"), None, "the kernel has another in its place");
    assert_eq!((protocol_name(12), protocol_name(77)), ("bird".to_owned(), "77".to_owned()));
    assert_eq!((protocol_number("77"), protocol_number("brid")), (Some(77), None));
}

#[test]
fn what_leaves_by_a_device_of_the_kernel_alone_is_left_to_it() {
    let mut mirror = Mirror::new(Filter::default());
    mirror.hear(message(NEW_ROUTE, 0, &route("0.0.0.0/0", &[RouteAttribute::Oif(WAN)])));
    mirror.hear(message(NEW_ROUTE, 0, &route("172.17.0.0/16", &[RouteAttribute::Oif(ELSEWHERE)])));
    assert_eq!(mirror.lookup("172.17.0.2"), FibAnswer::NotForwarded, "and not by the default route");
    assert!(mirror.tables.is_for_host("172.17.0.2".parse().unwrap()));
    assert!(!mirror.tables.is_for_host("172.18.0.2".parse().unwrap()));
    let reading = mirror.hear(link(DEL_LINK, ELSEWHERE, "docker0", false));
    assert!(reading.look_again, "the kernel says nothing of the routes that went with it");
    assert_eq!(mirror.way("172.17.0.2"), Some((WAN, None)));
}

#[test]
fn devices_and_addresses_are_followed() {
    let mut mirror = Mirror::new(Filter::default());
    mirror.hear(message(NEW_ROUTE, 0, &route("198.51.100.0/24", &[RouteAttribute::Oif(WAN)])));
    assert!(mirror.hear(link(NEW_LINK, WAN, "eth1", false)).look_again);
    assert_eq!(mirror.way("198.51.100.7"), None);
    mirror.hear(link(NEW_LINK, WAN, "eth1", true));
    assert_eq!(mirror.way("198.51.100.7"), Some((WAN, None)));
    let mut address = AddressMessage::default();
    address.header.family = AddressFamily::Inet;
    address.header.prefix_len = 24;
    address.header.index = WAN;
    address.attributes.push(AddressAttribute::Address(IpAddr::from([203, 0, 113, 2])));
    mirror.hear(message(NEW_ADDRESS, 0, &address));
    let port = mirror.tables.port(WAN).unwrap();
    assert_eq!(port.source_for(IpAddr::from([203, 0, 113, 9])), gateway("203.0.113.2"));
}

#[test]
fn neighbours_are_followed_but_not_where_the_configuration_speaks() {
    let mut mirror = Mirror::new(Filter::default());
    let at = "192.0.2.1".parse().unwrap();
    let state = |mirror: &Mirror| mirror.tables.neighbours().get(LAN, at).map(|known| known.state);
    for (nud, known) in [
        (Nud::Incomplete, NeighbourState::Incomplete),
        (Nud::Reachable, NeighbourState::Reachable),
        (Nud::Stale, NeighbourState::Stale),
        (Nud::Failed, NeighbourState::Failed),
    ] {
        mirror.hear(message(NEW_NEIGHBOUR, 0, &neighbour("192.0.2.1", LAN, nud)));
        assert_eq!(state(&mirror), Some(known));
    }
    mirror.hear(message(DEL_NEIGHBOUR, 0, &neighbour("192.0.2.1", LAN, Nud::Failed)));
    assert_eq!(state(&mirror), None);
    mirror.tables.apply(&Change::Fix { port: LAN, address: at, mac: Some([2; 6]) });
    mirror.hear(message(NEW_NEIGHBOUR, 0, &neighbour("192.0.2.1", LAN, Nud::Failed)));
    assert_eq!(state(&mirror), Some(NeighbourState::Permanent));
}

#[test]
fn a_dump_mends_what_notifications_did_not_tell() {
    let mut mirror = Mirror::new(Filter::default());
    mirror.hear(message(NEW_ROUTE, 0, &route("198.51.100.0/24", &[RouteAttribute::Oif(WAN)])));
    mirror.hear(message(NEW_ROUTE, 0, &route("10.0.0.0/8", &[RouteAttribute::Oif(WAN)])));
    mirror.hear(message(NEW_NEIGHBOUR, 0, &neighbour("192.0.2.1", LAN, Nud::Reachable)));
    let mut snapshot = Snapshot::default();
    let dump = [
        link(NEW_LINK, LAN, "eth0", true),
        link(NEW_LINK, WAN, "eth1", true),
        message(NEW_ROUTE, 0, &route("10.0.0.0/8", &[RouteAttribute::Oif(LAN)])),
        message(NEW_ROUTE, 0, &route("2001:db8::/32", &[RouteAttribute::Oif(LAN)])),
    ];
    dump.iter().for_each(|bytes| snapshot.take(bytes, &mirror.filter));
    let changes = snapshot.route_differences(&mirror.tables);
    assert_eq!(changes.len(), 3, "one gone, one changed, one new: {changes:?}");
    changes.iter().for_each(|change| mirror.tables.apply(change));
    assert!(snapshot.route_differences(&mirror.tables).is_empty());
    assert_eq!(mirror.way("10.1.1.1"), Some((LAN, None)));
    assert_eq!(mirror.way("198.51.100.7"), None);
    snapshot.other_differences(&mirror.tables).iter().for_each(|change| mirror.tables.apply(change));
    assert!(snapshot.other_differences(&mirror.tables).is_empty());
    assert_eq!(mirror.tables.neighbours().iter().count(), 0);
    assert!(mirror.tables.port(ELSEWHERE).is_none());
}

#[test]
fn what_cannot_be_followed_is_counted() {
    let mut mirror = Mirror::new(Filter::default());
    let mut by_service = route("198.51.100.0/24", &[RouteAttribute::Oif(WAN)]);
    by_service.header.tos = 0x10;
    let reading = mirror.hear(message(NEW_ROUTE, 0, &by_service));
    assert_eq!((reading.skipped.unsupported, reading.changes.len()), (1, 0));
    let without_ways = route("198.51.100.0/24", &[RouteAttribute::NhId(5)]);
    assert_eq!(mirror.hear(message(NEW_ROUTE, 0, &without_ways)).skipped.unsupported, 1);
    let mut short = message(NEW_ROUTE, 0, &route("198.51.100.0/24", &[]));
    short.truncate(20);
    assert_eq!(mirror.hear(short).skipped.unreadable, 1);
    assert_eq!(mirror.tables.routes().filter(|route| route.kind == RouteKind::Unicast).count(), 0);
}

/// Messages to damage.
fn sound() -> Vec<Vec<u8>> {
    let ways = vec![way("2001:db8::1", LAN, 1), way("2001:db8:1::1", WAN, 1)];
    let mtu = RouteAttribute::Metrics(vec![RouteMetric::Mtu(1280)]);
    let source = RouteAttribute::PrefSource(RouteAddress::Inet(Ipv4Addr::new(192, 0, 2, 1)));
    vec![
        link(NEW_LINK, LAN, "eth0", true),
        message(NEW_ROUTE, 0, &route("198.51.100.0/24", &[via("192.0.2.1"), RouteAttribute::Oif(LAN), mtu])),
        message(NEW_ROUTE, 0, &route("2001:db8:7::/48", &[RouteAttribute::MultiPath(ways)])),
        message(DEL_ROUTE, 0, &route("198.51.100.0/24", &[RouteAttribute::Oif(LAN), source])),
        message(NEW_NEIGHBOUR, 0, &neighbour("192.0.2.1", LAN, Nud::Stale)),
        message(NEW_NEIGHBOUR, 0, &neighbour(&Ipv6Addr::LOCALHOST.to_string(), LAN, Nud::Stale)),
    ]
}

fn cases() -> u32 {
    std::env::var("WEIR_SYNC_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(3000)
}

fn hear_all(bytes: &[u8]) {
    let mut mirror = Mirror::new(Filter::default());
    mirror.hear(bytes.to_vec());
    mirror.lookup("198.51.100.7");
    mirror.lookup("2001:db8:7::1");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read_to_their_end(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        hear_all(&bytes);
    }

    /// A header that is right, so that the body is looked at.
    #[test]
    fn any_body_is_read_to_its_end(
        kind in prop::sample::select(vec![16u16, 17, 20, 21, 24, 25, 28, 29]),
        family in prop::sample::select(vec![0u8, 2, 7, 10, 28]),
        body in prop::collection::vec(any::<u8>(), 0..160),
    ) {
        let mut bytes = ((16 + body.len()) as u32).to_ne_bytes().to_vec();
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&[0; 10]);
        bytes.extend_from_slice(&body);
        if let Some(first) = bytes.get_mut(16) {
            *first = family;
        }
        hear_all(&bytes);
    }

    #[test]
    fn damaged_messages_are_read_to_their_end(
        which in 0..6usize,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        cuts in any::<bool>(),
    ) {
        let mut bytes = sound().swap_remove(which);
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if cuts {
            bytes.truncate(cut.index(bytes.len()));
        }
        hear_all(&bytes);
    }
}
