//! Messages about routes.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::Parseable;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteLwEnCapType, RouteMessage, RouteMetric, RouteNextHop,
    RouteType, RouteVia,
};

use super::{Filter, Skip};
use crate::change::Change;
use crate::route::{NextHop, Origin, Route, RouteKind, table_id};

/// A route that the kernel has now. One that is not followed but took the place of another leaves none there.
pub(super) fn added(body: &[u8], replaces: bool, filter: &Filter) -> Result<Change, Skip> {
    let read = read(body, filter)?;
    match read.route {
        Ok(route) if read.followed => Ok(Change::Learn(route)),
        Ok(route) if replaces => Ok(Change::Supersede(route.key())),
        Ok(_) => Err(Skip::Unrelated),
        Err(_) if !read.followed => Err(Skip::Unrelated),
        Err(skip) => Err(skip),
    }
}

/// A route that the kernel no longer has.
pub(super) fn removed(body: &[u8], filter: &Filter) -> Result<Change, Skip> {
    let read = read(body, filter)?;
    if read.followed { read.route.map(Change::Unlearn) } else { Err(Skip::Unrelated) }
}

struct Read {
    /// Whether its protocol is one that is followed.
    followed: bool,
    route: Result<Route, Skip>,
}

fn read(body: &[u8], filter: &Filter) -> Result<Read, Skip> {
    let message = RouteMessage::parse(body).map_err(|_| Skip::Unreadable)?;
    let header = &message.header;
    let family = match header.address_family {
        AddressFamily::Inet => Family::V4,
        AddressFamily::Inet6 => Family::V6,
        _ => return Err(Skip::Unrelated),
    };
    let long = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    let table = match long.unwrap_or(u32::from(header.table)) {
        table if table == table_id::LOCAL => table_id::LOCAL,
        table if table == filter.table => table_id::MAIN,
        _ => return Err(Skip::Unrelated),
    };
    // What the kernel notes of a destination, such as a path's MTU, is not a route.
    if header.flags.contains(RouteFlags::Cloned) {
        return Err(Skip::Unrelated);
    }
    let protocol = u8::from(header.protocol);
    let followed =
        table == table_id::LOCAL || filter.protocols.is_empty() || filter.protocols.contains(&protocol);
    Ok(Read { followed, route: route(&message, family, table, protocol) })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

/// What the attributes say, before it is put together.
#[derive(Default)]
struct Parts {
    destination: Option<IpAddr>,
    way: Way,
    ways: Vec<NextHop>,
    metric: u32,
    mtu: u32,
    source: Option<IpAddr>,
}

/// A single way, as attributes of the route or of one of several.
#[derive(Default)]
struct Way {
    via: Option<IpAddr>,
    port: Option<u32>,
    encapsulated: bool,
}

impl Way {
    fn take(&mut self, attribute: &RouteAttribute) -> Result<(), Skip> {
        match attribute {
            RouteAttribute::Gateway(address) => self.via = Some(ip(address)?),
            RouteAttribute::Via(RouteVia::Inet(address)) => self.via = Some(IpAddr::V4(*address)),
            RouteAttribute::Via(RouteVia::Inet6(address)) => self.via = Some(IpAddr::V6(*address)),
            RouteAttribute::Via(_) => return Err(Skip::Unsupported),
            RouteAttribute::Oif(port) => self.port = Some(*port),
            RouteAttribute::EncapType(kind) => self.encapsulated = *kind != RouteLwEnCapType::None,
            _ => {}
        }
        Ok(())
    }

    fn hop(&self, port: u32, weight: u16) -> NextHop {
        let via = self.via.filter(|via| !via.is_unspecified());
        NextHop { via, port, weight, encapsulated: self.encapsulated }
    }
}

fn route(message: &RouteMessage, family: Family, table: u32, protocol: u8) -> Result<Route, Skip> {
    let header = &message.header;
    // A type of service or a source chooses among routes in ways that the tables do not know.
    if header.tos != 0 || header.source_prefix_length != 0 {
        return Err(Skip::Unsupported);
    }
    let kind = kind_of(header.kind)?;
    let parts = parts(message)?;
    let nowhere = match family {
        Family::V4 => IpAddr::from([0; 4]),
        Family::V6 => IpAddr::from([0; 16]),
    };
    let address = parts.destination.unwrap_or(nowhere);
    if address.is_ipv4() != nowhere.is_ipv4() {
        return Err(Skip::Unreadable);
    }
    let to = IpNet::new(address, header.destination_prefix_length).map_err(|_| Skip::Unreadable)?.trunc();
    let hops = match (kind.has_hops(), parts.ways.is_empty(), parts.way.port) {
        (false, _, _) => Vec::new(),
        (true, false, _) => parts.ways,
        (true, true, Some(port)) => vec![parts.way.hop(port, 1)],
        // Its ways are an object's, and the kernel was told not to repeat them.
        (true, true, None) => return Err(Skip::Unsupported),
    };
    let origin = Origin::Kernel { protocol };
    let route =
        Route { to, kind, hops, metric: parts.metric, mtu: parts.mtu, source: parts.source, table, origin };
    route.check().map_err(|_| Skip::Unsupported)?;
    Ok(route)
}

fn kind_of(kind: RouteType) -> Result<RouteKind, Skip> {
    Ok(match kind {
        RouteType::Unicast => RouteKind::Unicast,
        RouteType::Local | RouteType::Anycast => RouteKind::Local,
        RouteType::Broadcast => RouteKind::Broadcast,
        RouteType::Multicast => RouteKind::Multicast,
        RouteType::BlackHole => RouteKind::Blackhole,
        // The next policy rule would be asked, and without rules there is none.
        RouteType::Unreachable | RouteType::Throw => RouteKind::Unreachable,
        RouteType::Prohibit => RouteKind::Prohibit,
        _ => return Err(Skip::Unsupported),
    })
}

fn parts(message: &RouteMessage) -> Result<Parts, Skip> {
    let mut parts = Parts::default();
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => parts.destination = Some(ip(address)?),
            RouteAttribute::Priority(metric) => parts.metric = *metric,
            RouteAttribute::PrefSource(address) => parts.source = Some(ip(address)?),
            RouteAttribute::Metrics(metrics) => {
                let mtu = |metric: &RouteMetric| match metric {
                    RouteMetric::Mtu(mtu) => Some(*mtu),
                    _ => None,
                };
                parts.mtu = metrics.iter().find_map(mtu).unwrap_or(0);
            }
            RouteAttribute::MultiPath(ways) => {
                parts.ways = ways.iter().map(way).collect::<Result<_, _>>()?;
            }
            other => parts.way.take(other)?,
        }
    }
    Ok(parts)
}

/// One way of several; its weight is carried less one.
fn way(hop: &RouteNextHop) -> Result<NextHop, Skip> {
    let mut way = Way::default();
    for attribute in &hop.attributes {
        way.take(attribute)?;
    }
    Ok(way.hop(hop.interface_index, u16::from(hop.hops) + 1))
}

fn ip(address: &RouteAddress) -> Result<IpAddr, Skip> {
    match address {
        RouteAddress::Inet(address) => Ok(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Ok(IpAddr::V6(*address)),
        _ => Err(Skip::Unsupported),
    }
}
