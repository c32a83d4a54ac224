//! What lookups answer, case by case as the kernel's FIB would.

use std::net::IpAddr;

use weir_router::{
    FibAddresses, FibAnswer, FibFlags, FibHop, FibQuery, Neighbour, NeighbourState, NextHop, Port, Route,
    RouteError, RouteKind, Tables, table_id, text,
};

const WAN: u32 = 2;
const LAN: u32 = 3;
const GATEWAY_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x77];

fn to(text: &str) -> ipnet::IpNet {
    text::destination(text).unwrap()
}

fn at(text: &str) -> IpAddr {
    text::address(text).unwrap()
}

fn reachable(mac: [u8; 6]) -> Neighbour {
    Neighbour { mac, state: NeighbourState::Reachable }
}

/// Two ports, a default route, and some of every kind.
fn tables() -> Tables {
    let mut tables = Tables::new(7);
    let wan = Port::new(WAN, [2, 0, 0, 0, 0, 2], 1500);
    let wan = wan.with_address(text::interface("203.0.113.2/30").unwrap());
    tables.set_port(wan.with_address(text::interface("2001:db8::2/64").unwrap()));
    let lan = Port::new(LAN, [2, 0, 0, 0, 0, 3], 9000);
    tables.set_port(lan.with_address(text::interface("192.0.2.1/24").unwrap()));
    tables.add(&Route::unicast(to("0.0.0.0/0"), NextHop::gateway(at("203.0.113.1"), WAN))).unwrap();
    tables.add(&Route::unicast(to("2001:db8:1::/48"), NextHop::gateway(at("2001:db8::1"), WAN))).unwrap();
    for (text, kind) in [
        ("198.51.100.0/26", RouteKind::Blackhole),
        ("198.51.100.64/26", RouteKind::Unreachable),
        ("198.51.100.128/26", RouteKind::Prohibit),
        ("2001:db8:dead::/48", RouteKind::Prohibit),
    ] {
        tables.add(&Route::to(to(text), kind)).unwrap();
    }
    tables.set_neighbour(WAN, at("203.0.113.1"), reachable(GATEWAY_MAC));
    tables
}

fn query(source: &str, destination: &str) -> FibQuery {
    let addresses = match (at(source), at(destination)) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => FibAddresses::V4 { source, destination },
        (IpAddr::V6(source), IpAddr::V6(destination)) => FibAddresses::V6 { source, destination },
        _ => panic!("two families"),
    };
    FibQuery {
        addresses,
        l4_protocol: 17,
        source_port: 1,
        destination_port: 2,
        ifindex: LAN,
        flags: 0,
        table: 0,
    }
}

fn v4(destination: &str) -> FibQuery {
    query("192.0.2.9", destination)
}

fn hop(answer: FibAnswer) -> FibHop {
    match answer {
        FibAnswer::Forward(hop) => hop,
        refused => panic!("{refused:?}"),
    }
}

#[test]
fn through_the_gateway() {
    let expected = FibHop {
        ifindex: WAN,
        mac: [2, 0, 0, 0, 0, 2],
        neighbour: Some(GATEWAY_MAC),
        gateway: Some(at("203.0.113.1")),
        mtu: 1500,
        metric: 0,
        source: None,
    };
    assert_eq!(hop(tables().lookup(&v4("8.8.8.8"))), expected);
}

#[test]
fn each_kind_has_its_answer() {
    let tables = tables();
    let answer = |destination| tables.lookup(&v4(destination));
    assert_eq!(answer("198.51.100.1"), FibAnswer::Blackhole);
    assert_eq!(answer("198.51.100.65"), FibAnswer::Unreachable);
    assert_eq!(answer("198.51.100.129"), FibAnswer::Prohibit);
    assert_eq!(answer("192.0.2.1"), FibAnswer::NotForwarded, "this machine");
    assert_eq!(answer("192.0.2.255"), FibAnswer::NotForwarded, "broadcast");
    assert_eq!(answer("127.0.0.1"), FibAnswer::NotForwarded, "loopback");
    let v6 = |destination| tables.lookup(&query("2001:db8:2::1", destination));
    assert_eq!(v6("2001:db8:dead::1"), FibAnswer::Prohibit);
    assert_eq!(v6("2001:db8::2"), FibAnswer::NotForwarded, "this machine");
    assert_eq!(v6("2001:db8::"), FibAnswer::NotForwarded, "the network's routers");
    assert_eq!(v6("ff02::1"), FibAnswer::NotForwarded, "a group");
    assert_eq!(v6("2400::1"), FibAnswer::NotForwarded, "no route");
    assert_eq!(hop(v6("2001:db8:1::9")).gateway, Some(at("2001:db8::1")));
    assert_eq!(hop(v6("2001:db8::9")).metric, 256, "connected");
}

#[test]
fn a_port_says_whether_it_forwards() {
    let mut tables = tables();
    let lan = tables.port(LAN).unwrap().clone();
    tables.set_port(Port { forwarding: false, ..lan });
    assert_eq!(tables.lookup(&v4("8.8.8.8")), FibAnswer::ForwardingDisabled);
    assert_eq!(tables.lookup(&FibQuery { ifindex: 99, ..v4("8.8.8.8") }), FibAnswer::NoPort);
}

#[test]
fn neighbours_on_the_link_and_their_states() {
    let mut tables = tables();
    assert_eq!(hop(tables.lookup(&v4("192.0.2.7"))).neighbour, None);
    for (state, usable) in [
        (NeighbourState::Incomplete, false),
        (NeighbourState::Reachable, true),
        (NeighbourState::Stale, true),
        (NeighbourState::Delay, true),
        (NeighbourState::Probe, true),
        (NeighbourState::Failed, false),
        (NeighbourState::Permanent, true),
        (NeighbourState::NoArp, true),
    ] {
        tables.set_neighbour(LAN, at("192.0.2.7"), Neighbour { mac: [9; 6], state });
        let hop = hop(tables.lookup(&v4("192.0.2.7")));
        assert_eq!(hop.neighbour.is_some(), usable, "{state:?}");
        assert_eq!((hop.gateway, hop.mtu), (None, 9000));
    }
    let skip = FibQuery { flags: FibFlags::SKIP_NEIGH, ..v4("192.0.2.7") };
    assert_eq!(hop(tables.lookup(&skip)).neighbour, None);
    tables.forget_neighbour(WAN, at("203.0.113.1"));
    assert_eq!(hop(tables.lookup(&v4("8.8.8.8"))).neighbour, None);
}

#[test]
fn direct_and_tbid_name_tables() {
    let mut tables = tables();
    let direct = FibQuery { flags: FibFlags::DIRECT, ..v4("192.0.2.1") };
    assert_eq!(tables.lookup(&direct), FibAnswer::NotForwarded, "IPv4: the tables are one");
    let direct = FibQuery { flags: FibFlags::DIRECT, ..query("2001:db8:2::1", "2001:db8::2") };
    assert_eq!(hop(tables.lookup(&direct)).ifindex, WAN, "IPv6: the connected route of the main table");
    let named = FibQuery { flags: FibFlags::DIRECT | FibFlags::TBID, table: 100, ..v4("8.8.8.8") };
    assert_eq!(tables.lookup(&named), FibAnswer::NotForwarded, "there is no such table");
    let route = Route::unicast(to("8.0.0.0/8"), NextHop::on_link(LAN));
    tables.add(&Route { table: 100, mtu: 1280, ..route }).unwrap();
    assert_eq!(hop(tables.lookup(&named)).mtu, 1280);
    assert_eq!(hop(tables.lookup(&v4("8.8.8.8"))).ifindex, WAN, "others do not see it");
    tables.remove(to("0.0.0.0/0"), None, table_id::MAIN).unwrap();
    let fallback = Route::unicast(to("0.0.0.0/0"), NextHop::on_link(LAN));
    tables.add(&Route { table: table_id::DEFAULT, ..fallback }).unwrap();
    assert_eq!(hop(tables.lookup(&v4("9.9.9.9"))).ifindex, LAN);
}

#[test]
fn output_names_the_port_to_leave_by() {
    let mut tables = tables();
    tables.add(&Route::unicast(to("10.0.0.0/8"), NextHop::on_link(LAN))).unwrap();
    assert_eq!(hop(tables.lookup(&v4("10.1.1.1"))).ifindex, LAN);
    let output = FibQuery { flags: FibFlags::OUTPUT, ifindex: WAN, ..v4("10.1.1.1") };
    assert_eq!(
        hop(tables.lookup(&output)).gateway,
        Some(at("203.0.113.1")),
        "the next shorter over that port"
    );
    let mut two = Route::unicast(to("11.0.0.0/8"), NextHop::on_link(LAN));
    two.hops.push(NextHop::gateway(at("203.0.113.1"), WAN));
    tables.add(&two).unwrap();
    for port in [LAN, WAN] {
        let output = FibQuery { flags: FibFlags::OUTPUT, ifindex: port, ..v4("11.1.1.1") };
        assert_eq!(hop(tables.lookup(&output)).ifindex, port);
    }
}

#[test]
fn source_addresses() {
    let mut tables = tables();
    let source = |tables: &Tables, query: FibQuery| {
        tables.lookup(&FibQuery { flags: query.flags | FibFlags::SRC, ..query })
    };
    assert_eq!(hop(source(&tables, v4("8.8.8.8"))).source, Some(at("203.0.113.2")));
    assert_eq!(hop(source(&tables, v4("192.0.2.8"))).source, Some(at("192.0.2.1")));
    let set = Route::unicast(to("8.8.0.0/16"), NextHop::gateway(at("203.0.113.1"), WAN));
    tables.add(&Route { source: Some(at("192.0.2.1")), ..set }).unwrap();
    assert_eq!(hop(source(&tables, v4("8.8.8.8"))).source, Some(at("192.0.2.1")));
    tables.add(&Route::unicast(to("2001:db8:5::/48"), NextHop::on_link(LAN))).unwrap();
    let query = query("2001:db8:2::1", "2001:db8:5::1");
    assert_eq!(source(&tables, query), FibAnswer::NoSourceAddress, "that port has no IPv6 address");
}

#[test]
fn encapsulation_is_refused_by_name() {
    let mut tables = tables();
    let tunnel = NextHop { encapsulated: true, ..NextHop::on_link(WAN) };
    tables.add(&Route::unicast(to("10.0.0.0/8"), tunnel)).unwrap();
    assert_eq!(tables.lookup(&v4("10.0.0.1")), FibAnswer::Encapsulated);
}

#[test]
fn an_ipv4_route_over_an_ipv6_gateway() {
    let mut tables = tables();
    let gateway = at("2001:db8::1");
    tables.add(&Route::unicast(to("10.0.0.0/8"), NextHop::gateway(gateway, WAN))).unwrap();
    tables.set_neighbour(WAN, gateway, reachable([6; 6]));
    let hop = hop(tables.lookup(&v4("10.0.0.1")));
    assert_eq!((hop.gateway, hop.neighbour), (Some(gateway), Some([6; 6])));
}

#[test]
fn flows_spread_by_weight_and_keep_their_way() {
    let mut tables = tables();
    let mut route = Route::unicast(to("10.0.0.0/8"), NextHop { weight: 3, ..NextHop::on_link(LAN) });
    route.hops.push(NextHop::gateway(at("203.0.113.1"), WAN));
    tables.add(&route).unwrap();
    let flow = |port| FibQuery { source_port: port, ..v4("10.9.9.9") };
    let mut over_lan = 0;
    for port in 0..4000 {
        let way = hop(tables.lookup(&flow(port))).ifindex;
        assert_eq!(way, hop(tables.lookup(&flow(port))).ifindex);
        over_lan += u32::from(way == LAN);
    }
    assert!((2850..3150).contains(&over_lan), "{over_lan} of 4000, wanted 3000");
}

#[test]
fn metrics_order_routes_and_ports_wake_them() {
    let mut tables = tables();
    let first = Route { metric: 10, ..Route::unicast(to("10.0.0.0/8"), NextHop::on_link(LAN)) };
    let second = Route { metric: 20, ..Route::unicast(to("10.0.0.0/8"), NextHop::on_link(WAN)) };
    tables.add(&second).unwrap();
    tables.add(&first).unwrap();
    let metric = |tables: &Tables| hop(tables.lookup(&FibQuery { ifindex: WAN, ..v4("10.1.1.1") })).metric;
    assert_eq!(metric(&tables), 10);
    let lan = tables.port(LAN).unwrap().clone();
    tables.set_port(Port { up: false, ..lan.clone() });
    assert_eq!(metric(&tables), 20, "the port of the better one is down");
    tables.set_port(lan);
    assert_eq!(metric(&tables), 10);
    assert_eq!(tables.remove(to("10.0.0.0/8"), None, table_id::MAIN), Ok(first));
    assert_eq!(metric(&tables), 20);
    tables.remove_port(WAN);
    assert_eq!(tables.lookup(&v4("10.1.1.1")), FibAnswer::NotForwarded);
    assert!(tables.routes().any(|route| *route == second), "it sleeps");
}

#[test]
fn changes_that_cannot_be() {
    let mut tables = tables();
    let hop = NextHop::on_link(LAN);
    let mut says = |route: Route| tables.add(&route).unwrap_err().to_string();
    let network = "10.1.2.3/8".parse().unwrap();
    assert_eq!(
        says(Route::unicast(network, hop)),
        "10.1.2.3/8 has bits set behind its prefix; the network is 10.0.0.0/8"
    );
    let empty = Route::to(to("10.0.0.0/8"), RouteKind::Unicast);
    assert_eq!(says(empty), "the route to 10.0.0.0/8 is Unicast and has 0 next hops; it needs at least one");
    let full = Route { kind: RouteKind::Blackhole, ..Route::unicast(to("10.0.0.0/8"), hop) };
    assert_eq!(says(full), "the route to 10.0.0.0/8 is Blackhole and has 1 next hops; it can have none");
    let light = Route::unicast(to("10.0.0.0/8"), NextHop { weight: 0, ..hop });
    assert_eq!(says(light), "a next hop of the route to 10.0.0.0/8 has weight 0; the least is 1");
    let foreign = Route::unicast(to("2001:db8:7::/48"), NextHop::gateway(at("192.0.2.1"), LAN));
    let wanted =
        "the route to 2001:db8:7::/48 is IPv6 and its gateway 192.0.2.1 is IPv4; it needs an IPv6 gateway";
    assert_eq!(says(foreign), wanted);
    let again = Route::unicast(to("0.0.0.0/0"), hop);
    let wanted = "there is a route to 0.0.0.0/0 with metric 0 in table 254 already; replace it, or give another metric";
    assert_eq!(says(again.clone()), wanted);
    assert!(tables.replace(&again).unwrap().is_some());
    let missing = tables.remove(to("10.0.0.0/8"), Some(5), table_id::MAIN).unwrap_err();
    assert_eq!(missing.to_string(), "there is no route to 10.0.0.0/8 in table 254 with metric 5");
    assert!(matches!(missing, RouteError::Missing { .. }));
}

#[test]
fn a_gateway_is_found_by_its_network() {
    assert_eq!(tables().port_towards(at("203.0.113.1")), Some(WAN));
    assert_eq!(tables().port_towards(at("192.0.2.200")), Some(LAN));
    assert_eq!(tables().port_towards(at("10.0.0.1")), None);
}
