//! The routing table and the neighbours as helpers ask for them (`bpf_fib_lookup`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use weir_vm::env::{FibAddresses, FibAnswer, FibFlags, FibGateway, FibHop, FibQuery, PortInfo};

use crate::config::{Config, RouteKind};
use crate::generation::PortPlan;

/// Why routes cannot be made of a configuration.
#[derive(Debug, thiserror::Error)]
pub enum RoutesError {
    /// A gateway is on no port's network.
    #[error(
        "route {to}: gateway {via} is on no interface's network: add its network to an interface's address, or name dev"
    )]
    Gateway {
        /// The route.
        to: IpNet,
        /// Its gateway.
        via: IpAddr,
    },
    /// A route leads nowhere.
    #[error("route {to}: it has neither via nor dev nor a type such as \"blackhole\"")]
    Nowhere {
        /// The route.
        to: IpNet,
    },
}

#[derive(Clone, Debug)]
struct Entry {
    to: IpNet,
    kind: EntryKind,
}

#[derive(Clone, Copy, Debug)]
enum EntryKind {
    Forward { ifindex: u32, gateway: Option<IpAddr> },
    Local,
    Blackhole,
    Unreachable,
    Prohibit,
}

/// Routes, neighbours and ports, built once and read by all workers.
#[derive(Debug, Default)]
pub struct Routes {
    /// Longest prefix first.
    entries: Vec<Entry>,
    neighbours: Vec<(u32, IpAddr, [u8; 6])>,
    ports: Vec<(u32, PortInfo)>,
}

impl Routes {
    /// The tables that a configuration asks for: its routes, and the networks of its ports.
    pub fn build(config: &Config, ports: &[PortPlan]) -> Result<Self, RoutesError> {
        let mut routes = Self::default();
        let ifindex = |name: &str| ports.iter().find(|port| port.name == name).map(|port| port.ifindex);
        let mut connected: Vec<(IpNet, u32)> = Vec::new();
        for port in ports {
            let info = PortInfo { mtu: port.mtu, mac: port.mac, up: true, peer: None };
            routes.ports.push((port.ifindex, info));
            for network in config.interface.get(&port.name).map_or(&[][..], |interface| &interface.address) {
                connected.push((network.trunc(), port.ifindex));
                let own = IpNet::from(network.addr());
                routes.entries.push(Entry { to: own, kind: EntryKind::Local });
                let kind = EntryKind::Forward { ifindex: port.ifindex, gateway: None };
                routes.entries.push(Entry { to: network.trunc(), kind });
            }
        }
        for route in &config.route {
            let on_link = |via: &IpAddr| connected.iter().find(|(network, _)| network.contains(via));
            let kind = match (route.kind, route.via, &route.dev) {
                (RouteKind::Blackhole, ..) => EntryKind::Blackhole,
                (RouteKind::Unreachable, ..) => EntryKind::Unreachable,
                (RouteKind::Prohibit, ..) => EntryKind::Prohibit,
                (RouteKind::Unicast, gateway, Some(dev)) => {
                    EntryKind::Forward { ifindex: ifindex(dev).unwrap_or(0), gateway }
                }
                (RouteKind::Unicast, Some(via), None) => {
                    let (_, ifindex) = on_link(&via).ok_or(RoutesError::Gateway { to: route.to, via })?;
                    EntryKind::Forward { ifindex: *ifindex, gateway: Some(via) }
                }
                (RouteKind::Unicast, None, None) => return Err(RoutesError::Nowhere { to: route.to }),
            };
            routes.entries.push(Entry { to: route.to.trunc(), kind });
        }
        routes.entries.sort_by_key(|entry| std::cmp::Reverse(entry.to.prefix_len()));
        for neighbour in &config.neighbor {
            let port = ifindex(&neighbour.dev).unwrap_or(0);
            routes.neighbours.push((port, neighbour.address, neighbour.mac.0));
        }
        Ok(routes)
    }

    /// What is known of a port.
    pub fn port(&self, ifindex: u32) -> Option<PortInfo> {
        self.ports.iter().find(|(number, _)| *number == ifindex).map(|(_, info)| *info)
    }

    /// Answers as `bpf_ipv4_fib_lookup` and `bpf_ipv6_fib_lookup` do.
    pub fn lookup(&self, query: &FibQuery) -> FibAnswer {
        if self.port(query.ifindex).is_none() {
            return FibAnswer::NoPort;
        }
        let destination = match query.addresses {
            FibAddresses::V4 { destination, .. } => IpAddr::from(Ipv4Addr::from(destination)),
            FibAddresses::V6 { destination, .. } => IpAddr::from(Ipv6Addr::from(destination)),
        };
        let found = self.entries.iter().find(|entry| entry.to.contains(&destination));
        let (ifindex, gateway) = match found.map(|entry| entry.kind) {
            None | Some(EntryKind::Local) => return FibAnswer::NotForwarded,
            Some(EntryKind::Blackhole) => return FibAnswer::Blackhole,
            Some(EntryKind::Unreachable) => return FibAnswer::Unreachable,
            Some(EntryKind::Prohibit) => return FibAnswer::Prohibit,
            Some(EntryKind::Forward { ifindex, gateway }) => (ifindex, gateway),
        };
        let Some(port) = self.port(ifindex) else { return FibAnswer::NoPort };
        let hop = gateway.unwrap_or(destination);
        let wants_neighbour = query.flags & FibFlags::SKIP_NEIGH == 0;
        let known = self.neighbours.iter().find(|(at, address, _)| *at == ifindex && *address == hop);
        FibAnswer::Forward(FibHop {
            ifindex,
            metric: 0,
            mtu: 0,
            gateway: gateway.map(|gateway| match gateway {
                IpAddr::V4(address) => FibGateway::V4(address.octets()),
                IpAddr::V6(address) => FibGateway::V6(address.octets()),
            }),
            source: None,
            neighbour: known.filter(|_| wants_neighbour).map(|(.., mac)| *mac),
            mac: port.mac,
        })
    }
}
