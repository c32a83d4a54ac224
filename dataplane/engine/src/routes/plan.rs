//! What a configuration asks of the tables, and how to get there from what another asked.

use std::net::IpAddr;

use ipnet::IpNet;
use weir_router::{Change, Mac, NextHop, Port, Route, RouteError, RouteKind, Tables};

use crate::config::{self, Config, Gateways};
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

/// Ports, routes and neighbours that a configuration asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    ports: Vec<Port>,
    routes: Vec<Route>,
    neighbours: Vec<(u32, IpAddr, Mac)>,
}

impl Plan {
    /// What a configuration asks for. A gateway without an interface is looked for on its ports' networks, and on
    /// those that `known` has from the kernel.
    pub fn of(config: &Config, ports: &[PortPlan], known: &Tables) -> Result<Self, RoutesError> {
        let number = |name: &str| ports.iter().find(|port| port.name == name).map_or(0, |port| port.ifindex);
        let mut plan =
            Self { ports: ports.iter().map(|port| to_port(config, port)).collect(), ..Self::default() };
        for wanted in &config.route {
            let route =
                convert(wanted, &number, &|via| plan.towards(via).or_else(|| known.port_towards(via)))?;
            if plan.routes.iter().any(|earlier| earlier.key() == route.key()) {
                let Route { to, metric, table, .. } = route;
                return Err(RouteError::Exists { to, metric, table }.into());
            }
            plan.routes.push(route);
        }
        let fixed = config.neighbor.iter();
        plan.neighbours = fixed.map(|one| (number(&one.dev), one.address, one.mac.0)).collect();
        Ok(plan)
    }

    /// The port whose network has a gateway.
    fn towards(&self, gateway: IpAddr) -> Option<u32> {
        let networks = self.ports.iter().flat_map(|port| port.addresses.iter().map(move |own| (own, port)));
        let around = networks.filter(|(own, _)| own.contains(&gateway));
        around.max_by_key(|(own, _)| own.prefix_len()).map(|(_, port)| port.index)
    }

    /// All of it, for tables that have nothing of it yet.
    pub fn changes(&self) -> impl Iterator<Item = Change> {
        self.after(&Self::default()).collect::<Vec<_>>().into_iter()
    }

    /// What is to be done to tables that have what `before` asked for. What both ask for is not touched.
    pub fn after<'p>(&'p self, before: &'p Self) -> impl Iterator<Item = Change> + 'p {
        let gone = |index: &u32| !self.ports.iter().any(|port| port.index == *index);
        let fix = |(port, address, mac): (u32, IpAddr, Option<Mac>)| Change::Fix { port, address, mac };
        let lost =
            |one: &&(u32, IpAddr, Mac)| !self.neighbours.iter().any(|(p, a, _)| (*p, *a) == (one.0, one.1));
        let old_routes = before.routes.iter().filter(|route| !self.routes.contains(route));
        let old_neighbours = before.neighbours.iter().filter(lost);
        let new_ports = self.ports.iter().filter(|port| !before.ports.contains(port));
        let new_routes = self.routes.iter().filter(|route| !before.routes.contains(route));
        let new_neighbours = self.neighbours.iter().filter(|one| !before.neighbours.contains(one));
        // Old routes first, so that none stands in the way of a new one; new ones after the ports that they need.
        old_routes
            .cloned()
            .map(Change::Remove)
            .chain(old_neighbours.map(move |&(port, address, _)| fix((port, address, None))))
            .chain(before.ports.iter().map(|port| port.index).filter(gone).map(Change::NoPort))
            .chain(new_ports.cloned().map(Change::Port))
            .chain(new_routes.cloned().map(Change::Add))
            .chain(new_neighbours.map(move |&(port, address, mac)| fix((port, address, Some(mac)))))
    }
}

fn to_port(config: &Config, plan: &PortPlan) -> Port {
    Port {
        name: plan.name.clone(),
        addresses: config.interface.get(&plan.name).map_or_else(Vec::new, |one| one.address.clone()),
        ..Port::new(plan.ifindex, plan.mac, plan.mtu)
    }
}

/// A configured route as the tables take it.
fn convert(
    route: &config::Route,
    number: &dyn Fn(&str) -> u32,
    towards: &dyn Fn(IpAddr) -> Option<u32>,
) -> Result<Route, RoutesError> {
    let to = route.to.trunc();
    let kind = match route.kind {
        config::RouteKind::Unicast => RouteKind::Unicast,
        config::RouteKind::Blackhole => return Ok(Route::to(to, RouteKind::Blackhole)),
        config::RouteKind::Unreachable => return Ok(Route::to(to, RouteKind::Unreachable)),
        config::RouteKind::Prohibit => return Ok(Route::to(to, RouteKind::Prohibit)),
    };
    let hop = |via: IpAddr, dev: Option<&str>, weight: u16| {
        let port = match dev {
            Some(dev) => number(dev),
            None => towards(via).ok_or(RoutesError::Gateway { to, via })?,
        };
        Ok::<_, RoutesError>(NextHop { weight, ..NextHop::gateway(via, port) })
    };
    let dev = route.dev.as_deref();
    let hops = match (&route.via, dev) {
        (None, None) => return Err(RoutesError::Nowhere { to }),
        (None, Some(dev)) => vec![NextHop::on_link(number(dev))],
        (Some(Gateways::One(via)), dev) => vec![hop(*via, dev, 1)?],
        (Some(Gateways::Several(ways)), _) => {
            let way = |way: &config::Way| hop(way.gw, way.dev.as_deref().or(dev), way.weight);
            ways.iter().map(way).collect::<Result<_, _>>()?
        }
    };
    Ok(Route { hops, ..Route::to(to, kind) })
}
