//! All tables of a router, and the answer to "where does this packet go".
//!
//! The checks and their order are those of `bpf_ipv4_fib_lookup` and `bpf_ipv6_fib_lookup`
//! (net/core/filter.c, kernel 6.18), as far as they concern routes; what the helper does with its
//! parameters (MTU check, which fields it writes) is the helper's. Policy rules are not here: a lookup
//! without `DIRECT` asks the local and main tables, then the default one.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::neighbour::{Mac, Neighbour, NeighbourState, Neighbours};
use crate::port::Port;
use crate::route::{Route, RouteError, RouteKey, RouteKind, table_id};
use crate::table::{Active, Choice, Links, Table};

/// `BPF_FIB_LOOKUP_*` flags.
#[derive(Clone, Copy, Debug)]
pub struct FibFlags;

#[allow(missing_docs, reason = "kernel names")]
impl FibFlags {
    pub const DIRECT: u32 = 1 << 0;
    pub const OUTPUT: u32 = 1 << 1;
    pub const SKIP_NEIGH: u32 = 1 << 2;
    pub const TBID: u32 = 1 << 3;
    pub const SRC: u32 = 1 << 4;
    pub const MARK: u32 = 1 << 5;
}

/// Source and destination of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the family's name is all there is to say")]
pub enum FibAddresses {
    V4 { source: Ipv4Addr, destination: Ipv4Addr },
    V6 { source: Ipv6Addr, destination: Ipv6Addr },
}

impl FibAddresses {
    /// Where the packet goes.
    pub const fn destination(&self) -> IpAddr {
        match *self {
            Self::V4 { destination, .. } => IpAddr::V4(destination),
            Self::V6 { destination, .. } => IpAddr::V6(destination),
        }
    }

    /// Whether either is an IPv6 address that is never forwarded, whatever the routes say: of a group,
    /// of the link, or loopback (`rt6_need_strict`).
    fn stay_on_link(&self) -> bool {
        let strict = |address: Ipv6Addr| {
            address.is_multicast() || address.is_unicast_link_local() || address.is_loopback()
        };
        match *self {
            Self::V4 { .. } => false,
            Self::V6 { source, destination } => strict(source) || strict(destination),
        }
    }
}

/// A question: what of a packet may matter to its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FibQuery {
    /// Source and destination.
    pub addresses: FibAddresses,
    /// Layer-4 protocol; 0 when unknown.
    pub l4_protocol: u8,
    /// Source port; 0 when there is none.
    pub source_port: u16,
    /// Destination port; 0 when there is none.
    pub destination_port: u16,
    /// Port it came in by; with [`FibFlags::OUTPUT`], port to leave by.
    pub ifindex: u32,
    /// [`FibFlags`]. A mark has no meaning without policy rules.
    pub flags: u32,
    /// Table to look in, with [`FibFlags::DIRECT`] and [`FibFlags::TBID`].
    pub table: u32,
}

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FibHop {
    /// Port to leave by.
    pub ifindex: u32,
    /// That port's link address.
    pub mac: Mac,
    /// The neighbour's link address; unknown when it is not resolved, or with [`FibFlags::SKIP_NEIGH`].
    pub neighbour: Option<Mac>,
    /// Gateway, when the destination is not on the link.
    pub gateway: Option<IpAddr>,
    /// Largest packet that fits, by the route or else the port.
    pub mtu: u32,
    /// The route's metric.
    pub metric: u32,
    /// Source address for packets of this machine, with [`FibFlags::SRC`].
    pub source: Option<IpAddr>,
}

/// The answer; the refusals are `BPF_FIB_LKUP_RET_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FibAnswer {
    /// Forward there. (Whether a missing neighbour or a small MTU forbids it is for the asker.)
    Forward(FibHop),
    /// Dropped in silence.
    Blackhole,
    /// Refused as unreachable.
    Unreachable,
    /// Refused as forbidden.
    Prohibit,
    /// No route, or not one that forwards: for this machine, a broadcast, a group.
    NotForwarded,
    /// The port it came in by does not forward.
    ForwardingDisabled,
    /// The way asks for encapsulation.
    Encapsulated,
    /// No source address could be found, with [`FibFlags::SRC`].
    NoSourceAddress,
    /// There is no such port (`-ENODEV`).
    NoPort,
}

/// Ports, routes and neighbours.
#[derive(Clone, Debug)]
pub struct Tables {
    /// Local and main table together: what nearly all lookups read.
    merged: Table,
    /// Each table by itself, for lookups that name one.
    each: BTreeMap<u32, Table>,
    /// By number.
    ports: Vec<Port>,
    neighbours: Neighbours,
    /// Those that the configuration gave, which the kernel does not change.
    fixed: HashSet<(u32, IpAddr), foldhash::fast::RandomState>,
    /// Spreads flows over ways differently on each router.
    seed: u64,
}

impl Tables {
    /// No ports, no routes. The seed decides which flow takes which of several ways; routers in a row
    /// should have different ones, or the second sees only what the first's choice left.
    ///
    /// The loopback networks are there from the start: no default route may lead packets to them out.
    pub fn new(seed: u64) -> Self {
        let mut tables = Self {
            merged: Table::default(),
            each: BTreeMap::new(),
            ports: Vec::new(),
            neighbours: Neighbours::default(),
            fixed: HashSet::default(),
            seed,
        };
        let networks = [
            IpNet::new_assert(Ipv4Addr::LOCALHOST.into(), 8).trunc(),
            IpNet::from(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        ];
        for to in networks {
            tables.add_unchecked(&Route { table: table_id::LOCAL, ..Route::to(to, RouteKind::Local) });
        }
        tables
    }

    /// The ports, by number.
    pub fn ports(&self) -> &[Port] {
        &self.ports
    }

    /// The port of this number.
    pub fn port(&self, index: u32) -> Option<&Port> {
        let at = self.ports.binary_search_by_key(&index, |port| port.index).ok()?;
        self.ports.get(at)
    }

    /// The neighbours.
    pub fn neighbours(&self) -> &Neighbours {
        &self.neighbours
    }

    /// Sets what is known of a neighbour.
    pub fn set_neighbour(&mut self, port: u32, address: IpAddr, neighbour: Neighbour) -> Option<Neighbour> {
        self.neighbours.set(port, address, neighbour)
    }

    /// Forgets a neighbour.
    pub fn forget_neighbour(&mut self, port: u32, address: IpAddr) -> Option<Neighbour> {
        self.neighbours.forget(port, address)
    }

    /// Sets what the configuration says of a neighbour: nothing learned takes its place. With `None` it has
    /// nothing more to say.
    pub fn fix_neighbour(&mut self, port: u32, address: IpAddr, mac: Option<Mac>) {
        match mac {
            Some(mac) => {
                self.fixed.insert((port, address));
                self.set_neighbour(port, address, Neighbour { mac, state: NeighbourState::Permanent });
            }
            None => {
                self.fixed.remove(&(port, address));
                self.forget_neighbour(port, address);
            }
        }
    }

    /// Whether the configuration speaks for a neighbour.
    pub fn is_fixed(&self, port: u32, address: IpAddr) -> bool {
        self.fixed.contains(&(port, address))
    }

    /// Adds a port or replaces the one of its number, with the routes that its addresses bring.
    pub fn set_port(&mut self, port: Port) {
        let old = self.take_port(port.index);
        let same_ways = old.is_some_and(|old| old.up == port.up);
        let at = self.ports.partition_point(|other| other.index < port.index);
        let routes = port.routes();
        self.ports.insert(at, port);
        routes.iter().for_each(|route| self.add_unchecked(route));
        if !same_ways {
            self.refresh_all();
        }
    }

    /// Takes a port away. Routes over it stay, and sleep until it comes back.
    pub fn remove_port(&mut self, index: u32) -> Option<Port> {
        let port = self.take_port(index)?;
        self.refresh_all();
        Some(port)
    }

    /// Takes a port out with its own routes; what others' routes make of it is for the caller.
    fn take_port(&mut self, index: u32) -> Option<Port> {
        let at = self.ports.binary_search_by_key(&index, |port| port.index).ok()?;
        let routes = self.ports.get(at)?.routes();
        // While the port is still there, so that routes beside the leaving ones are not put to sleep.
        routes.iter().for_each(|route| self.remove_unchecked(route));
        Some(self.ports.remove(at))
    }

    /// Takes the whole of a learned route, in place of the one with its key.
    pub(crate) fn learn(&mut self, route: &Route) {
        if let Some(old) = self.learned(&route.key()).cloned() {
            if old == *route {
                return;
            }
            self.remove_unchecked(&old);
        }
        self.add_unchecked(route);
    }

    /// Forgets a learned route, if there is one of this key.
    pub(crate) fn unlearn(&mut self, key: &RouteKey) -> Option<Route> {
        let old = self.learned(key).cloned()?;
        self.remove_unchecked(&old);
        Some(old)
    }

    /// The learned route of this key.
    pub fn learned(&self, key: &RouteKey) -> Option<&Route> {
        let routes = self.each.get(&key.table)?.routes_to(key.to);
        routes.iter().find(|route| route.metric == key.metric && route.origin.is_kernel())
    }

    /// Adds a route; there must be none with the same destinations, metric and table.
    pub fn add(&mut self, route: &Route) -> Result<(), RouteError> {
        route.check()?;
        let Route { to, metric, table, .. } = *route;
        if self.find(to, Some(metric), table).is_some() {
            return Err(RouteError::Exists { to, metric, table });
        }
        self.add_unchecked(route);
        Ok(())
    }

    /// Adds a route in place of the one with the same destinations, metric and table, which is returned.
    pub fn replace(&mut self, route: &Route) -> Result<Option<Route>, RouteError> {
        route.check()?;
        let old = self.find(route.to, Some(route.metric), route.table).cloned();
        if let Some(old) = &old {
            self.remove_unchecked(old);
        }
        self.add_unchecked(route);
        Ok(old)
    }

    /// Takes a route out and returns it: the one of this metric, or the best.
    pub fn remove(&mut self, to: IpNet, metric: Option<u32>, table: u32) -> Result<Route, RouteError> {
        let missing = RouteError::Missing { to, metric, table };
        let route = self.find(to, metric, table).cloned().ok_or(missing)?;
        self.remove_unchecked(&route);
        Ok(route)
    }

    fn find(&self, to: IpNet, metric: Option<u32>, table: u32) -> Option<&Route> {
        let routes = self.each.get(&table)?.routes_to(to);
        let wanted = |route: &&Route| metric.is_none_or(|metric| metric == route.metric);
        routes.iter().filter(|route| !route.origin.is_kernel()).find(wanted)
    }

    /// All routes, in no order.
    pub fn routes(&self) -> impl Iterator<Item = &Route> {
        self.each.values().flat_map(Table::routes)
    }

    /// The port whose network has this address: where a gateway given without a port is.
    pub fn port_towards(&self, gateway: IpAddr) -> Option<u32> {
        let networks =
            self.ports.iter().flat_map(|port| port.all_addresses().map(move |own| (own, port.index)));
        networks
            .filter(|(own, _)| own.contains(&gateway))
            .max_by_key(|(own, _)| own.prefix_len())
            .map(|(_, port)| port)
    }

    /// Bytes that lookups may read.
    pub fn bytes(&self) -> usize {
        self.merged.bytes() + self.each.values().map(Table::bytes).sum::<usize>()
    }

    fn add_unchecked(&mut self, route: &Route) {
        let Self { merged, each, ports, neighbours, .. } = self;
        let mut links = Links { ports, neighbours };
        each.entry(route.table).or_default().add(route, &mut links);
        if is_merged(route.table) {
            merged.add(route, &mut links);
        }
    }

    fn remove_unchecked(&mut self, route: &Route) {
        let Self { merged, each, ports, neighbours, .. } = self;
        let mut links = Links { ports, neighbours };
        if let Some(table) = each.get_mut(&route.table) {
            table.remove(route, &mut links);
        }
        if is_merged(route.table) {
            merged.remove(route, &mut links);
        }
    }

    fn refresh_all(&mut self) {
        let Self { merged, each, ports, neighbours, .. } = self;
        let mut links = Links { ports, neighbours };
        each.values_mut().chain([merged]).for_each(|table| table.refresh_all(&mut links));
    }

    /// Where a packet goes.
    pub fn lookup(&self, query: &FibQuery) -> FibAnswer {
        if query.addresses.stay_on_link() {
            return FibAnswer::NotForwarded;
        }
        match self.port(query.ifindex) {
            None => return FibAnswer::NoPort,
            Some(port) if !port.forwarding => return FibAnswer::ForwardingDisabled,
            Some(_) => {}
        }
        let Some(route) = self.route(query) else { return FibAnswer::NotForwarded };
        match route.kind {
            RouteKind::Blackhole => FibAnswer::Blackhole,
            RouteKind::Unreachable => FibAnswer::Unreachable,
            RouteKind::Prohibit => FibAnswer::Prohibit,
            RouteKind::Local | RouteKind::Broadcast | RouteKind::Multicast => FibAnswer::NotForwarded,
            RouteKind::Unicast => self.forward(query, route),
        }
    }

    /// Whether packets to an address are not this router's to forward, but the machine's it runs on: to one of its
    /// own addresses, a broadcast, a group, or over a device that only the kernel has.
    pub fn is_for_host(&self, address: IpAddr) -> bool {
        let elsewhere = |active: &Active| {
            active.choices().any(|choice| self.port(choice.hop.port).is_some_and(|port| !port.attached))
        };
        self.merged.lookup(address).is_some_and(|active| match active.kind {
            RouteKind::Local | RouteKind::Broadcast | RouteKind::Multicast => true,
            RouteKind::Unicast => elsewhere(active),
            RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit => false,
        })
    }

    /// The route in the tables that the flags name.
    fn route(&self, query: &FibQuery) -> Option<&Active> {
        let destination = query.addresses.destination();
        if query.flags & FibFlags::DIRECT != 0 {
            let number = if query.flags & FibFlags::TBID != 0 { query.table } else { table_id::MAIN };
            // Without policy rules the kernel's IPv4 local and main tables share one trie (fib_trie_unmerge).
            if is_merged(number) && destination.is_ipv4() {
                return route_in(&self.merged, query, destination);
            }
            return route_in(self.each.get(&number)?, query, destination);
        }
        route_in(&self.merged, query, destination)
            .or_else(|| route_in(self.each.get(&table_id::DEFAULT)?, query, destination))
    }

    fn forward(&self, query: &FibQuery, route: &Active) -> FibAnswer {
        let choice = match query.flags & FibFlags::OUTPUT {
            0 => route.choose(|| flow_hash(self.seed, query)),
            _ => match query.addresses {
                FibAddresses::V4 { .. } => route.over(query.ifindex),
                FibAddresses::V6 { .. } => {
                    route.over(query.ifindex).or_else(|| route.choose(|| flow_hash(self.seed, query)))
                }
            },
        };
        let Some((choice, port)) = choice.and_then(|choice| Some((choice, self.port(choice.hop.port)?)))
        else {
            return FibAnswer::NotForwarded;
        };
        if !port.attached {
            return FibAnswer::NotForwarded;
        }
        if choice.hop.encapsulated {
            return FibAnswer::Encapsulated;
        }
        let target = choice.hop.via.unwrap_or(query.addresses.destination());
        let source = match query.flags & FibFlags::SRC {
            0 => None,
            _ => match source_for(route, port, query, target) {
                None => return FibAnswer::NoSourceAddress,
                some => some,
            },
        };
        FibAnswer::Forward(FibHop {
            ifindex: port.index,
            mac: port.mac,
            neighbour: self.neighbour(query, choice, target),
            gateway: choice.hop.via,
            mtu: if route.mtu != 0 { route.mtu } else { port.mtu },
            metric: route.metric,
            source,
        })
    }

    fn neighbour(&self, query: &FibQuery, choice: &Choice, target: IpAddr) -> Option<Mac> {
        if query.flags & FibFlags::SKIP_NEIGH != 0 {
            return None;
        }
        match choice.neighbour {
            Some(number) => self.neighbours.mac_of(number),
            None => self.neighbours.mac(choice.hop.port, target),
        }
    }
}

fn is_merged(table: u32) -> bool {
    table == table_id::LOCAL || table == table_id::MAIN
}

/// The route in one table. A port to leave by restricts IPv4 (`fib_lookup_good_nhc`); for IPv6 it is only
/// preferred among the ways of the longest match (`rt6_score_route`, not strict).
fn route_in<'a>(table: &'a Table, query: &FibQuery, destination: IpAddr) -> Option<&'a Active> {
    if query.flags & FibFlags::OUTPUT != 0 && destination.is_ipv4() {
        return table.lookup_over(destination, query.ifindex);
    }
    table.lookup(destination)
}

/// The route's source, or one of the port's. IPv4 without any sends from 0.0.0.0, as `inet_select_addr`.
fn source_for(route: &Active, port: &Port, query: &FibQuery, target: IpAddr) -> Option<IpAddr> {
    let own = |target| route.source.or_else(|| port.source_for(target));
    match query.addresses {
        FibAddresses::V4 { destination, .. } => {
            let target = if target.is_ipv4() { target } else { IpAddr::V4(destination) };
            Some(own(target).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)))
        }
        FibAddresses::V6 { .. } => own(target),
    }
}

/// A hash of addresses, protocol and ports. Fragments without ports must be asked about without
/// ports by all means, or one packet's pieces take different ways.
fn flow_hash(seed: u64, query: &FibQuery) -> u32 {
    let (source, destination) = match query.addresses {
        FibAddresses::V4 { source, destination } => (source.to_bits().into(), destination.to_bits().into()),
        FibAddresses::V6 { source, destination } => (source.to_bits(), destination.to_bits()),
    };
    let ports = u64::from(query.source_port) << 16 | u64::from(query.destination_port);
    let words = [source as u64, (source >> 64) as u64, destination as u64, (destination >> 64) as u64];
    let start = seed ^ (ports << 8 | u64::from(query.l4_protocol));
    words.into_iter().fold(mix(start), |hash, word| mix(hash ^ word)) as u32
}

/// The finish of splitmix64: every input bit moves about half of the output's.
const fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
