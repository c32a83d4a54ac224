//! The router's tables as helpers ask for them (`bpf_fib_lookup`), built from a configuration.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use weir_router::{
    self as tables, Neighbour, NeighbourState, NextHop, Port, Route, RouteError, RouteKind, Tables,
};
use weir_vm::env::{FibAddresses, FibAnswer, FibGateway, FibHop, FibQuery, PortInfo};

use crate::config::{self, Config};
use crate::generation::PortPlan;

/// Why routes cannot be made of a configuration.
#[derive(Debug, thiserror::Error)]
pub enum RoutesError {
    /// A gateway is on no port's network.
    #[error(
        "route {to}: gateway {via} is on no interface's network: give an interface an address of it, or name dev"
    )]
    Gateway {
        /// The route.
        to: IpNet,
        /// Its gateway.
        via: IpAddr,
    },
    /// A route leads nowhere.
    #[error("route {to}: it has neither via nor dev, nor a type such as \"blackhole\"")]
    Nowhere {
        /// The route.
        to: IpNet,
    },
    /// The tables do not take the route.
    #[error(transparent)]
    Refused(#[from] RouteError),
}

/// Routes, neighbours and ports: built once, read by all workers.
#[derive(Debug)]
pub struct Routes {
    tables: Tables,
}

impl Routes {
    /// The tables that a configuration asks for: the networks of its ports, its routes and neighbours.
    pub fn build(config: &Config, ports: &[PortPlan]) -> Result<Self, RoutesError> {
        let mut tables = Tables::new(0);
        let ifindex = |name: &str| ports.iter().find(|port| port.name == name).map_or(0, |port| port.ifindex);
        for plan in ports {
            let mut port = Port::new(plan.ifindex, plan.mac, plan.mtu);
            port.addresses = config.interface.get(&plan.name).map_or(Vec::new(), |one| one.address.clone());
            tables.set_port(port);
        }
        for route in &config.route {
            tables.add(&convert(route, &tables, &ifindex)?)?;
        }
        for neighbour in &config.neighbor {
            let known = Neighbour { mac: neighbour.mac.0, state: NeighbourState::Permanent };
            tables.set_neighbour(ifindex(&neighbour.dev), neighbour.address, known);
        }
        Ok(Self { tables })
    }

    /// What is known of a port.
    pub fn port(&self, ifindex: u32) -> Option<PortInfo> {
        let port = self.tables.port(ifindex)?;
        Some(PortInfo { mtu: port.mtu, mac: port.mac, up: port.up, peer: None })
    }

    /// Answers a helper's question.
    pub fn lookup(&self, query: &FibQuery) -> FibAnswer {
        let addresses = match query.addresses {
            FibAddresses::V4 { source, destination } => tables::FibAddresses::V4 {
                source: Ipv4Addr::from(source),
                destination: Ipv4Addr::from(destination),
            },
            FibAddresses::V6 { source, destination } => tables::FibAddresses::V6 {
                source: Ipv6Addr::from(source),
                destination: Ipv6Addr::from(destination),
            },
        };
        let question = tables::FibQuery {
            addresses,
            l4_protocol: query.l4_protocol,
            source_port: query.source_port,
            destination_port: query.destination_port,
            ifindex: query.ifindex,
            flags: query.flags,
            table: query.table,
        };
        match self.tables.lookup(&question) {
            tables::FibAnswer::Forward(hop) => FibAnswer::Forward(FibHop {
                ifindex: hop.ifindex,
                metric: hop.metric,
                mtu: hop.mtu,
                gateway: hop.gateway.map(octets),
                source: hop.source.map(octets),
                neighbour: hop.neighbour,
                mac: hop.mac,
            }),
            tables::FibAnswer::Blackhole => FibAnswer::Blackhole,
            tables::FibAnswer::Unreachable => FibAnswer::Unreachable,
            tables::FibAnswer::Prohibit => FibAnswer::Prohibit,
            tables::FibAnswer::NotForwarded => FibAnswer::NotForwarded,
            tables::FibAnswer::ForwardingDisabled => FibAnswer::ForwardingDisabled,
            tables::FibAnswer::Encapsulated => FibAnswer::Encapsulated,
            tables::FibAnswer::NoSourceAddress => FibAnswer::NoSourceAddress,
            tables::FibAnswer::NoPort => FibAnswer::NoPort,
        }
    }
}

fn octets(address: IpAddr) -> FibGateway {
    match address {
        IpAddr::V4(address) => FibGateway::V4(address.octets()),
        IpAddr::V6(address) => FibGateway::V6(address.octets()),
    }
}

/// A configured route as the tables take it; a gateway without a port is looked for on the ports' networks.
fn convert(
    route: &config::Route,
    tables: &Tables,
    ifindex: &dyn Fn(&str) -> u32,
) -> Result<Route, RoutesError> {
    let to = route.to.trunc();
    let kind = match route.kind {
        config::RouteKind::Unicast => {
            let hop = match (route.via, &route.dev) {
                (Some(via), Some(dev)) => NextHop::gateway(via, ifindex(dev)),
                (Some(via), None) => {
                    let port = tables.port_towards(via).ok_or(RoutesError::Gateway { to, via })?;
                    NextHop::gateway(via, port)
                }
                (None, Some(dev)) => NextHop::on_link(ifindex(dev)),
                (None, None) => return Err(RoutesError::Nowhere { to }),
            };
            return Ok(Route::unicast(to, hop));
        }
        config::RouteKind::Blackhole => RouteKind::Blackhole,
        config::RouteKind::Unreachable => RouteKind::Unreachable,
        config::RouteKind::Prohibit => RouteKind::Prohibit,
    };
    Ok(Route::to(to, kind))
}
