//! Routes: what the tables are made of.

use std::net::IpAddr;

use ipnet::IpNet;

/// Numbers of the tables that have a meaning (`enum rt_class_t`).
pub mod table_id {
    /// Looked up when the main table has nothing.
    pub const DEFAULT: u32 = 253;
    /// Where routes go unless they say otherwise.
    pub const MAIN: u32 = 254;
    /// This machine's own addresses.
    pub const LOCAL: u32 = 255;
}

/// What becomes of packets that take the route (`RTN_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RouteKind {
    /// Forwarded to a next hop.
    Unicast,
    /// For this machine.
    Local,
    /// For everyone on the link.
    Broadcast,
    /// For a group.
    Multicast,
    /// Dropped in silence.
    Blackhole,
    /// Refused as unreachable.
    Unreachable,
    /// Refused as forbidden.
    Prohibit,
}

impl RouteKind {
    /// Whether the route names a way out.
    pub const fn has_hops(self) -> bool {
        match self {
            Self::Unicast | Self::Local | Self::Broadcast | Self::Multicast => true,
            Self::Blackhole | Self::Unreachable | Self::Prohibit => false,
        }
    }
}

/// One of a route's ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NextHop {
    /// Gateway; none when the destination is on the link. An IPv4 route may have an IPv6 gateway (RFC 8950).
    pub via: Option<IpAddr>,
    /// Port to leave by.
    pub port: u32,
    /// Share of the flows, relative to the other ways.
    pub weight: u16,
    /// Whether the packet would have to be encapsulated, which the tables know and nobody here does.
    pub encapsulated: bool,
}

impl NextHop {
    /// Straight out of a port.
    pub const fn on_link(port: u32) -> Self {
        Self { via: None, port, weight: 1, encapsulated: false }
    }

    /// To a gateway.
    pub const fn gateway(via: IpAddr, port: u32) -> Self {
        Self { via: Some(via), port, weight: 1, encapsulated: false }
    }
}

/// Who said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The configuration, or the addresses that it gives to ports.
    Config,
    /// The kernel's tables, where something of this number put it (`RTPROT_*`).
    Kernel {
        /// Who put it there.
        protocol: u8,
    },
}

impl Origin {
    /// Whether it was learned from the kernel's tables.
    pub const fn is_kernel(self) -> bool {
        match self {
            Self::Kernel { .. } => true,
            Self::Config => false,
        }
    }
}

/// What makes routes of one origin the same route. The kernel may have no two of the same key, but for
/// IPv4 routes that were appended, of which only the first is ever used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteKey {
    /// Destinations.
    pub to: IpNet,
    /// Metric.
    pub metric: u32,
    /// Table.
    pub table: u32,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Destinations.
    pub to: IpNet,
    /// What becomes of packets.
    pub kind: RouteKind,
    /// Ways, for the kinds that have them.
    pub hops: Vec<NextHop>,
    /// Among routes to the same destinations, the one with the lowest metric is active.
    pub metric: u32,
    /// Largest packet the way takes; 0 asks the port.
    pub mtu: u32,
    /// Source address for packets of this machine.
    pub source: Option<IpAddr>,
    /// Table it stands in.
    pub table: u32,
    /// Who said so. To the same destinations, what the configuration says comes before what was learned,
    /// whatever the metrics: it was said to this router, and not to the machine it runs on.
    pub origin: Origin,
}

impl Route {
    /// A route in the main table, with metric 0 and no ways yet.
    pub const fn to(to: IpNet, kind: RouteKind) -> Self {
        let origin = Origin::Config;
        Self { to, kind, hops: Vec::new(), metric: 0, mtu: 0, source: None, table: table_id::MAIN, origin }
    }

    /// What makes it the route it is.
    pub const fn key(&self) -> RouteKey {
        RouteKey { to: self.to, metric: self.metric, table: self.table }
    }

    /// A route to these destinations over one way.
    pub fn unicast(to: IpNet, hop: NextHop) -> Self {
        Self { hops: vec![hop], ..Self::to(to, RouteKind::Unicast) }
    }

    /// What the tables may take for granted.
    pub(crate) fn check(&self) -> Result<(), RouteError> {
        let to = self.to;
        if to.trunc() != to {
            return Err(RouteError::HostBits { to, network: to.trunc() });
        }
        if self.kind.has_hops() == self.hops.is_empty() {
            return Err(RouteError::Hops { to, kind: self.kind, hops: self.hops.len() });
        }
        if self.hops.iter().any(|hop| hop.weight == 0) {
            return Err(RouteError::NoWeight { to });
        }
        let foreign = |via: &IpAddr| via.is_ipv4() && to.addr().is_ipv6();
        match self.hops.iter().filter_map(|hop| hop.via).find(foreign) {
            Some(via) => Err(RouteError::Family { to, via }),
            None => Ok(()),
        }
    }
}

/// Why a change of the tables was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// The destination is not the start of its network.
    #[error("{to} has bits set behind its prefix; the network is {network}")]
    HostBits {
        /// As given.
        to: IpNet,
        /// What was probably meant.
        network: IpNet,
    },
    /// Ways are missing, or there are some where none can be.
    #[error(
        "the route to {to} is {kind:?} and has {hops} next hops; {wanted}",
        wanted = if kind.has_hops() { "it needs at least one" } else { "it can have none" }
    )]
    Hops {
        /// Destinations.
        to: IpNet,
        /// The route's kind.
        kind: RouteKind,
        /// Ways given.
        hops: usize,
    },
    /// A way has weight 0.
    #[error("a next hop of the route to {to} has weight 0; the least is 1")]
    NoWeight {
        /// Destinations.
        to: IpNet,
    },
    /// IPv6 packets cannot be sent to an IPv4 gateway.
    #[error("the route to {to} is IPv6 and its gateway {via} is IPv4; it needs an IPv6 gateway")]
    Family {
        /// Destinations.
        to: IpNet,
        /// The gateway.
        via: IpAddr,
    },
    /// There is such a route.
    #[error(
        "there is a route to {to} with metric {metric} in table {table} already; replace it, or give another metric"
    )]
    Exists {
        /// Destinations.
        to: IpNet,
        /// The metric of both.
        metric: u32,
        /// The table of both.
        table: u32,
    },
    /// There is no such route.
    #[error("there is no route to {to} in table {table}{}", metric.map_or(String::new(), |metric| format!(" with metric {metric}")))]
    Missing {
        /// Destinations.
        to: IpNet,
        /// The metric asked for, if any.
        metric: Option<u32>,
        /// The table.
        table: u32,
    },
}
