//! The tables as people are shown them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;
use weir_router::{
    FibAddresses, FibAnswer, FibQuery, Mac, NeighbourState, NextHop, Origin, Route, RouteKind, Tables, sync,
    table_id,
};

use super::Routes;

/// A route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RouteRow {
    /// Where to.
    pub to: IpNet,
    /// `unicast`, `local`, `blackhole` …
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The ways there; several share by weight.
    pub via: Vec<HopRow>,
    /// Who said so: `config`, or by iproute2's names `kernel`, `static`, `bird` …
    pub protocol: String,
    /// `config` or `kernel`: the configuration's routes come before those of the kernel's tables.
    pub source: &'static str,
    /// Lower is better, among routes of one source.
    pub metric: u32,
    /// Largest packet the way takes; absent: the port says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// `main`, or `local` for what is the machine's own.
    pub table: &'static str,
}

/// A way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HopRow {
    /// The gateway; absent for what is on the link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// The interface, or a device that only the kernel has.
    pub interface: String,
    /// Its share.
    pub weight: u16,
}

/// A neighbour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NeighbourRow {
    /// Its address.
    pub address: IpAddr,
    /// The interface it is at.
    pub interface: String,
    /// Its link address, when it may be used.
    pub mac: Option<String>,
    /// `permanent`, `reachable`, `stale` …
    pub state: &'static str,
    /// `config` or `kernel`.
    pub source: &'static str,
}

/// Where packets to an address go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WayRow {
    /// The address.
    pub address: IpAddr,
    /// `forward`, `host`, `blackhole`, `unreachable`, `prohibit`, `no-route`.
    pub fate: &'static str,
    /// The best route that covers it, of those whose ports are up.
    pub route: Option<RouteRow>,
    /// The way that a packet without ports takes, of several.
    pub hop: Option<HopRow>,
    /// The next hop's link address, when it is known.
    pub mac: Option<String>,
}

/// How many there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// Routes by family (`ipv4`, `ipv6`), then by protocol.
    pub routes: BTreeMap<&'static str, BTreeMap<String, u64>>,
    /// Neighbours by family, then by state.
    pub neighbours: BTreeMap<&'static str, BTreeMap<&'static str, u64>>,
    /// Bytes that lookups may read, in one of the two copies.
    pub bytes: usize,
}

impl Routes {
    /// All routes, by family, destination, and which comes first.
    pub fn list(&self) -> Vec<RouteRow> {
        let mut routes: Vec<&Route> = self.tables.routes().collect();
        let order = |route: &&Route| {
            let Route { to, origin, metric, table, .. } = **route;
            (to.addr().is_ipv6(), to, table != table_id::LOCAL, origin.is_kernel(), metric)
        };
        routes.sort_by_key(order);
        routes.into_iter().map(|route| row(&self.tables, route)).collect()
    }

    /// All neighbours that anything is known of, by address.
    pub fn neighbours(&self) -> Vec<NeighbourRow> {
        let known = self.tables.neighbours().iter();
        let mut rows: Vec<NeighbourRow> = known
            .map(|(port, address, neighbour)| NeighbourRow {
                address,
                interface: name(&self.tables, port),
                mac: neighbour.state.is_valid().then(|| mac(neighbour.mac)),
                state: state_name(neighbour.state),
                source: if self.tables.is_fixed(port, address) { "config" } else { "kernel" },
            })
            .collect();
        rows.sort_by_key(|row| (row.address.is_ipv6(), row.address));
        rows
    }

    /// Where packets to an address go that come in by a port of this number; by any port when 0.
    pub fn get(&self, address: IpAddr, ifindex: u32) -> WayRow {
        let tables = &self.tables;
        let first = || tables.ports().iter().find(|port| port.attached).map_or(0, |port| port.index);
        let ifindex = if ifindex == 0 { first() } else { ifindex };
        let addresses = match address {
            IpAddr::V4(destination) => FibAddresses::V4 { source: [0; 4].into(), destination },
            IpAddr::V6(destination) => FibAddresses::V6 { source: [0; 16].into(), destination },
        };
        let query = FibQuery {
            addresses,
            l4_protocol: 0,
            source_port: 0,
            destination_port: 0,
            ifindex,
            flags: 0,
            table: 0,
        };
        let answer = tables.lookup(&query);
        let hop = match answer {
            FibAnswer::Forward(hop) => Some(hop),
            _ => None,
        };
        let fate = match answer {
            FibAnswer::Forward(_) => "forward",
            FibAnswer::Blackhole => "blackhole",
            FibAnswer::Unreachable => "unreachable",
            FibAnswer::Prohibit => "prohibit",
            _ if tables.is_for_host(address) => "host",
            _ => "no-route",
        };
        WayRow {
            address,
            fate,
            route: best(tables, address).map(|route| row(tables, route)),
            hop: hop.map(|hop| HopRow {
                gateway: hop.gateway,
                interface: name(tables, hop.ifindex),
                weight: 1,
            }),
            mac: hop.and_then(|hop| hop.neighbour).map(mac),
        }
    }

    /// How many there are.
    pub fn figures(&self) -> Figures {
        let mut figures = Figures { bytes: self.tables.bytes(), ..Figures::default() };
        for route in self.tables.routes() {
            let of_family = figures.routes.entry(family(route.to.addr())).or_default();
            *of_family.entry(protocol(route.origin)).or_default() += 1;
        }
        for (_, address, neighbour) in self.tables.neighbours().iter() {
            let of_family = figures.neighbours.entry(family(address)).or_default();
            *of_family.entry(state_name(neighbour.state)).or_default() += 1;
        }
        figures
    }
}

/// The route that covers an address, as the tables choose it.
fn best(tables: &Tables, address: IpAddr) -> Option<&Route> {
    let up = |hop: &NextHop| tables.port(hop.port).is_some_and(|port| port.up);
    let live = |route: &&Route| route.kind != RouteKind::Unicast || route.hops.iter().any(up);
    let covering = tables.routes().filter(|route| route.to.contains(&address)).filter(live);
    covering.min_by_key(|route| {
        let Route { to, origin, metric, table, .. } = **route;
        (std::cmp::Reverse(to.prefix_len()), table != table_id::LOCAL, origin.is_kernel(), metric)
    })
}

fn row(tables: &Tables, route: &Route) -> RouteRow {
    let hop =
        |hop: &NextHop| HopRow { gateway: hop.via, interface: name(tables, hop.port), weight: hop.weight };
    RouteRow {
        to: route.to,
        kind: kind_name(route.kind),
        via: route.hops.iter().map(hop).collect(),
        protocol: protocol(route.origin),
        source: if route.origin.is_kernel() { "kernel" } else { "config" },
        metric: route.metric,
        mtu: Some(route.mtu).filter(|mtu| *mtu != 0),
        table: if route.table == table_id::LOCAL { "local" } else { "main" },
    }
}

/// A port's name, or its number where there is no such port now.
fn name(tables: &Tables, index: u32) -> String {
    let name = tables.port(index).map(|port| port.name.clone()).filter(|name| !name.is_empty());
    name.unwrap_or_else(|| index.to_string())
}

fn protocol(origin: Origin) -> String {
    match origin {
        Origin::Config => "config".to_owned(),
        Origin::Kernel { protocol } => sync::protocol_name(protocol),
    }
}

fn mac(mac: Mac) -> String {
    mac.iter().enumerate().fold(String::new(), |mut text, (at, byte)| {
        let colon = if at == 0 { "" } else { ":" };
        let _ = write!(text, "{colon}{byte:02x}");
        text
    })
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "ipv4" } else { "ipv6" }
}

/// iproute2's word for a kind.
const fn kind_name(kind: RouteKind) -> &'static str {
    match kind {
        RouteKind::Unicast => "unicast",
        RouteKind::Local => "local",
        RouteKind::Broadcast => "broadcast",
        RouteKind::Multicast => "multicast",
        RouteKind::Blackhole => "blackhole",
        RouteKind::Unreachable => "unreachable",
        RouteKind::Prohibit => "prohibit",
    }
}

/// iproute2's word for a state.
const fn state_name(state: NeighbourState) -> &'static str {
    match state {
        NeighbourState::Incomplete => "incomplete",
        NeighbourState::Reachable => "reachable",
        NeighbourState::Stale => "stale",
        NeighbourState::Delay => "delay",
        NeighbourState::Probe => "probe",
        NeighbourState::Failed => "failed",
        NeighbourState::Permanent => "permanent",
        NeighbourState::NoArp => "noarp",
    }
}
