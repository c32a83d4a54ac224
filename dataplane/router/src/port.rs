//! Ports as the router sees them, and the routes that their addresses bring.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

use crate::neighbour::Mac;
use crate::route::{NextHop, Route, RouteKind, table_id};

/// Metric of the connected routes that the kernel makes for IPv6 (`IP6_RT_PRIO_ADDRCONF`).
const CONNECTED_METRIC_V6: u32 = 256;

/// A port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its number (`ifindex`).
    pub index: u32,
    /// Its link address.
    pub mac: Mac,
    /// Most bytes of a packet without its link header.
    pub mtu: u32,
    /// Whether it carries packets; routes over a port that does not are not active.
    pub up: bool,
    /// Whether packets that come in here may be forwarded.
    pub forwarding: bool,
    /// Its addresses, each with the length of its network's prefix. The first is the primary one.
    pub addresses: Vec<IpNet>,
    /// Whether packets can leave by it at all. What is not attached is a device of the kernel alone: routes
    /// over it are known, so that no shorter one takes their packets, and the kernel is left to follow them.
    pub attached: bool,
    /// Its name.
    pub name: String,
    /// Addresses that the kernel's device has. They bring no routes: the kernel's own are learned with its others.
    pub learned: Vec<IpNet>,
}

impl Port {
    /// A port that is up, attached, forwards, and has no addresses yet.
    pub fn new(index: u32, mac: Mac, mtu: u32) -> Self {
        Self {
            index,
            mac,
            mtu,
            up: true,
            forwarding: true,
            addresses: Vec::new(),
            attached: true,
            name: String::new(),
            learned: Vec::new(),
        }
    }

    /// All its addresses, the configuration's first.
    pub fn all_addresses(&self) -> impl Iterator<Item = &IpNet> {
        self.addresses.iter().chain(&self.learned)
    }

    /// The same with an address.
    #[must_use]
    pub fn with_address(mut self, address: IpNet) -> Self {
        self.addresses.push(address);
        self
    }

    /// The address to send from towards `target`: one of the same network, or else the first of
    /// the family that reaches beyond the link.
    pub fn source_for(&self, target: IpAddr) -> Option<IpAddr> {
        let of_family = || self.all_addresses().filter(|own| own.addr().is_ipv4() == target.is_ipv4());
        let beyond =
            |own: &&IpNet| !matches!(own.addr(), IpAddr::V6(address) if address.is_unicast_link_local());
        let chosen = of_family()
            .find(|own| own.contains(&target))
            .or_else(|| of_family().find(beyond))
            .or_else(|| of_family().next())?;
        Some(chosen.addr())
    }

    /// The routes that come with the addresses: to the networks, and to the port itself. As in the
    /// kernel (`fib_add_ifaddr`, `addrconf_join_anycast`), an IPv4 network of more than two addresses has a
    /// broadcast address, and an IPv6 network an address of its routers and the groups.
    pub(crate) fn routes(&self) -> Vec<Route> {
        let mut routes = Vec::new();
        for own in &self.addresses {
            let hop = vec![NextHop::on_link(self.index)];
            let local = Route { hops: hop.clone(), ..Route::to(IpNet::from(own.addr()), RouteKind::Local) };
            routes.push(Route { table: table_id::LOCAL, ..local });
            if own.prefix_len() < own.max_prefix_len() {
                let metric = if own.addr().is_ipv6() { CONNECTED_METRIC_V6 } else { 0 };
                let source = Some(own.addr()).filter(IpAddr::is_ipv4);
                let connected = Route::to(own.trunc(), RouteKind::Unicast);
                routes.push(Route { metric, source, hops: hop.clone(), ..connected });
            }
            match own {
                IpNet::V4(own) if own.prefix_len() < 31 => {
                    let to = IpNet::from(IpAddr::V4(own.broadcast()));
                    let broadcast = Route { hops: hop, ..Route::to(to, RouteKind::Broadcast) };
                    routes.push(Route { table: table_id::LOCAL, ..broadcast });
                }
                IpNet::V6(own) if own.prefix_len() < 127 && self.forwarding => {
                    // The anycast address of the network's routers (RFC 4291, section 2.6.1).
                    let to = IpNet::from(IpAddr::V6(own.network()));
                    let anycast = Route { hops: hop, ..Route::to(to, RouteKind::Local) };
                    routes.push(Route { table: table_id::LOCAL, ..anycast });
                }
                IpNet::V4(_) | IpNet::V6(_) => {}
            }
        }
        if self.addresses.iter().any(|own| own.addr().is_ipv6()) {
            let groups = IpNet::new_assert(IpAddr::V6(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0)), 8);
            let hops = vec![NextHop::on_link(self.index)];
            let groups = Route { hops, ..Route::to(groups, RouteKind::Multicast) };
            routes.push(Route { table: table_id::LOCAL, metric: CONNECTED_METRIC_V6, ..groups });
        }
        routes
    }
}
