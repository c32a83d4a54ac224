//! The router's tables as helpers ask for them (`bpf_fib_lookup`).
//!
//! What a configuration asks for is [`plan`]ned as changes; [`live`] keeps the tables of a running weir, which the
//! configuration and the kernel change together, the latter by [`mirror`]; [`list`] shows them to people.

pub mod list;
pub mod live;
pub mod mirror;
pub mod plan;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weir_router::{self as tables, Change, Tables};
use weir_vm::env::{FibAddresses, FibAnswer, FibGateway, FibHop, FibQuery, PortInfo};

use crate::config::Config;
use crate::generation::PortPlan;

pub use plan::{Plan, RoutesError};

/// Routes, neighbours and ports: read by all workers.
#[derive(Clone, Debug)]
pub struct Routes {
    tables: Tables,
}

impl Routes {
    /// Tables with nothing in them. The seed spreads flows over several ways: a number that nobody can guess keeps
    /// others from crowding one way, a fixed one makes a run like another.
    pub fn new(seed: u64) -> Self {
        Self { tables: Tables::new(seed) }
    }

    /// The tables that a configuration asks for: the networks of its ports, its routes and neighbours. Flows are
    /// spread the same way each time.
    pub fn build(config: &Config, ports: &[PortPlan]) -> Result<Self, RoutesError> {
        let mut routes = Self::new(0);
        let plan = Plan::of(config, ports, &routes.tables)?;
        plan.changes().for_each(|change| routes.tables.apply(&change));
        Ok(routes)
    }

    /// The tables themselves.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Makes some changes, in order.
    pub fn apply<'c>(&mut self, changes: impl IntoIterator<Item = &'c Change>) {
        changes.into_iter().for_each(|change| self.tables.apply(change));
    }

    /// The machine's own addresses, in order: the configuration's and those that the kernel's devices have.
    pub fn own_addresses(&self) -> Vec<IpAddr> {
        let all = self.tables.ports().iter().flat_map(tables::Port::all_addresses);
        let own: std::collections::BTreeSet<IpAddr> = all.map(ipnet::IpNet::addr).collect();
        own.into_iter().collect()
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
