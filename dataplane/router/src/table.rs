//! One routing table: which of the routes to a destination is active, ready for lookup.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::neighbour::Neighbours;
use crate::port::Port;
use crate::route::{NextHop, Route, RouteKind, table_id};
use crate::trie::Trie;

/// A way of an active route.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Choice {
    pub hop: NextHop,
    /// The gateway's number among the neighbours.
    pub neighbour: Option<u32>,
    /// Flows whose hash is below this, and not below the choice before, take it.
    below: u64,
}

/// A route as lookups read it, without its destinations: a full table has few different ones, which stay
/// in the cache.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Active {
    pub kind: RouteKind,
    pub metric: u32,
    pub mtu: u32,
    pub source: Option<IpAddr>,
    choices: Vec<Choice>,
}

impl Active {
    /// The route with the ways whose ports are up; `None` when it has ways and all are down. What is the machine's own
    /// stays that when its port is down, as in the kernel: it answers for its addresses by any port.
    fn new(route: &Route, ports: &[Port], neighbours: &mut Neighbours) -> Option<Self> {
        let matters = route.kind == RouteKind::Unicast;
        let up = |hop: &&NextHop| !matters || ports.iter().any(|port| port.index == hop.port && port.up);
        let hops: Vec<NextHop> = route.hops.iter().filter(up).copied().collect();
        if hops.is_empty() && !route.hops.is_empty() {
            return None;
        }
        let total: u64 = hops.iter().map(|hop| u64::from(hop.weight)).sum();
        let mut sum = 0;
        let choices = hops.into_iter().map(|hop| {
            sum += u64::from(hop.weight);
            let neighbour = hop.via.map(|via| neighbours.number(hop.port, via));
            Choice { hop, neighbour, below: (sum << 32) / total }
        });
        let choices = choices.collect();
        let Route { kind, metric, mtu, source, .. } = *route;
        Some(Self { kind, metric, mtu, source, choices })
    }

    /// The way of a flow (RFC 2992, hash-threshold: a flow keeps its way as long as the ways stay).
    pub(crate) fn choose(&self, flow: impl FnOnce() -> u32) -> Option<&Choice> {
        match &self.choices[..] {
            [] => None,
            [only] => Some(only),
            several => {
                let hash = u64::from(flow());
                several.iter().find(|choice| hash < choice.below)
            }
        }
    }

    /// Its ways that are up.
    pub(crate) fn choices(&self) -> impl Iterator<Item = &Choice> {
        self.choices.iter()
    }

    /// The way over a port, if there is one.
    pub(crate) fn over(&self, port: u32) -> Option<&Choice> {
        self.choices.iter().find(|choice| choice.hop.port == port)
    }
}

/// A routing table. Routes of the local table come before all others to the same destination: the
/// table that lookups without a table number use holds the local and the main table's routes
/// together, as the kernel's does while there are no policy rules.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    v4: Trie<u32>,
    v6: Trie<u128>,
    active: Shared,
    /// Live routes behind the active one, best first, where there are any.
    lesser: HashMap<IpNet, Vec<u32>, foldhash::fast::RandomState>,
    /// All routes, by destination, best first.
    routes: HashMap<IpNet, Vec<Route>, foldhash::fast::RandomState>,
}

/// Active routes, each held once however many destinations have it.
#[derive(Clone, Debug, Default)]
struct Shared {
    routes: Vec<Option<Active>>,
    /// How many destinations have each.
    uses: Vec<u32>,
    numbers: HashMap<Active, u32, foldhash::fast::RandomState>,
    free: Vec<u32>,
}

impl Shared {
    fn get(&self, number: u32) -> Option<&Active> {
        self.routes.get(number as usize).and_then(Option::as_ref)
    }

    /// The number of a route, for one more destination.
    fn take(&mut self, route: Active) -> u32 {
        if let Some(&number) = self.numbers.get(&route) {
            self.uses[number as usize] += 1;
            return number;
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.routes.push(None);
            self.uses.push(0);
            self.routes.len() as u32 - 1
        });
        self.numbers.insert(route.clone(), number);
        self.routes[number as usize] = Some(route);
        self.uses[number as usize] = 1;
        number
    }

    /// One destination fewer has it.
    fn give_back(&mut self, number: u32) {
        self.uses[number as usize] -= 1;
        if self.uses[number as usize] == 0
            && let Some(route) = self.routes[number as usize].take()
        {
            self.numbers.remove(&route);
            self.free.push(number);
        }
    }
}

/// What a change needs of its surroundings: ports for liveness, neighbours for numbers.
pub(crate) struct Links<'a> {
    pub ports: &'a [Port],
    pub neighbours: &'a mut Neighbours,
}

/// The configuration's routes come first, then learned ones by metric.
fn rank(route: &Route) -> (bool, bool, u32) {
    (route.table != table_id::LOCAL, route.origin.is_kernel(), route.metric)
}

impl Table {
    /// The active route to an address.
    #[inline]
    pub(crate) fn lookup(&self, address: IpAddr) -> Option<&Active> {
        let number = match address {
            IpAddr::V4(address) => self.v4.lookup(address.to_bits())?,
            IpAddr::V6(address) => self.v6.lookup(address.to_bits())?,
        };
        self.active.get(number)
    }

    /// The route to an address that leaves by this port: the best of the longest prefix that has one. A
    /// route that refuses does so whatever the port.
    pub(crate) fn lookup_over(&self, address: IpAddr, port: u32) -> Option<&Active> {
        let leaves = |active: &&Active| !active.kind.has_hops() || active.over(port).is_some();
        let choose = |(len, number): (u32, u32)| {
            let to = IpNet::new(address, len as u8).ok()?.trunc();
            let lesser = self.lesser.get(&to).into_iter().flatten().copied();
            std::iter::once(number).chain(lesser).filter_map(|number| self.active.get(number)).find(leaves)
        };
        match address {
            IpAddr::V4(address) => self.v4.covering(address.to_bits()).find_map(choose),
            IpAddr::V6(address) => self.v6.covering(address.to_bits()).find_map(choose),
        }
    }

    /// The routes to exactly these destinations, best first.
    pub(crate) fn routes_to(&self, to: IpNet) -> &[Route] {
        self.routes.get(&to).map_or(&[], |routes| routes)
    }

    /// All routes, in no order.
    pub(crate) fn routes(&self) -> impl Iterator<Item = &Route> {
        self.routes.values().flatten()
    }

    /// Bytes that lookups may read.
    pub(crate) fn bytes(&self) -> usize {
        self.v4.bytes() + self.v6.bytes() + self.active.routes.len() * size_of::<Option<Active>>()
    }

    /// Adds a route behind those of the same rank.
    pub(crate) fn add(&mut self, route: &Route, links: &mut Links<'_>) {
        let routes = self.routes.entry(route.to).or_default();
        let at = routes.partition_point(|other| rank(other) <= rank(route));
        // Nearly all destinations have one route, and a vector would make room for four.
        routes.reserve_exact(1);
        routes.insert(at, route.clone());
        self.refresh(route.to, links);
    }

    /// Takes a route out.
    pub(crate) fn remove(&mut self, route: &Route, links: &mut Links<'_>) {
        if let Some(routes) = self.routes.get_mut(&route.to) {
            if let Some(at) = routes.iter().position(|other| other == route) {
                routes.remove(at);
            }
            if routes.is_empty() {
                self.routes.remove(&route.to);
            }
        }
        self.refresh(route.to, links);
    }

    /// Decides anew everywhere, after a port came or went.
    pub(crate) fn refresh_all(&mut self, links: &mut Links<'_>) {
        let all: Vec<IpNet> = self.routes.keys().copied().collect();
        all.into_iter().for_each(|to| self.refresh(to, links));
    }

    /// Decides which route to these destinations is active.
    fn refresh(&mut self, to: IpNet, links: &mut Links<'_>) {
        let routes = self.routes.get(&to).map_or(&[][..], |routes| routes);
        let live = routes.iter().filter_map(|route| Active::new(route, links.ports, links.neighbours));
        let new: Vec<u32> = live.map(|route| self.active.take(route)).collect();
        let old = self.number_of(to);
        match new.first() {
            Some(&best) if old != Some(best) => self.publish(to, best),
            Some(_) => {}
            None => self.withdraw(to),
        }
        let lesser = match new.get(1..) {
            Some(lesser) if !lesser.is_empty() => self.lesser.insert(to, lesser.to_vec()),
            Some(_) | None => self.lesser.remove(&to),
        };
        old.into_iter().chain(lesser.into_iter().flatten()).for_each(|number| self.active.give_back(number));
    }

    fn number_of(&self, to: IpNet) -> Option<u32> {
        match to {
            IpNet::V4(to) => self.v4.get(to.addr().to_bits(), to.prefix_len().into()),
            IpNet::V6(to) => self.v6.get(to.addr().to_bits(), to.prefix_len().into()),
        }
    }

    fn publish(&mut self, to: IpNet, number: u32) {
        match to {
            IpNet::V4(to) => self.v4.insert(to.addr().to_bits(), to.prefix_len().into(), number),
            IpNet::V6(to) => self.v6.insert(to.addr().to_bits(), to.prefix_len().into(), number),
        };
    }

    fn withdraw(&mut self, to: IpNet) {
        match to {
            IpNet::V4(to) => self.v4.remove(to.addr().to_bits(), to.prefix_len().into()),
            IpNet::V6(to) => self.v6.remove(to.addr().to_bits(), to.prefix_len().into()),
        };
    }
}
