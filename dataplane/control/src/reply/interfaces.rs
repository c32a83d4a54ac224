//! Answers about interfaces, routes and neighbours.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The interfaces.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Interfaces {
    /// `weir.v1.interfaces`.
    pub schema: String,
    /// Each of them.
    pub interfaces: Vec<Interface>,
}

/// An interface, and how it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Interface {
    /// Its name in the configuration.
    pub name: String,
    /// The kernel's name of its device.
    pub device: Option<String>,
    /// What stands behind it: `af_xdp`, `tap`, `pcap`, `null`, `memory`.
    pub driver: String,
    /// The number that programs see.
    pub ifindex: u32,
    /// Its link address.
    pub mac: String,
    /// Most bytes of a packet without its link header.
    pub mtu: u32,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// `up` or `down`.
    pub state: String,
    /// Why it is down.
    pub reason: Option<String>,
    /// Where the kernel's program runs: `native` or `generic`.
    pub mode: Option<String>,
    /// Whether packets are not copied between driver and weir.
    pub zero_copy: Option<bool>,
    /// Its queues.
    pub queues: Vec<Queue>,
    /// How often it was opened again.
    pub reopened: u64,
}

/// A queue of an interface.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Queue {
    /// Its number.
    pub queue: u32,
    /// The worker that serves it.
    pub worker: u32,
    /// Frames in the fill ring.
    pub fill: u64,
    /// Frames in the receive ring.
    pub rx: u64,
    /// Frames in the transmit ring.
    pub tx: u64,
    /// Frames in the completion ring.
    pub completion: u64,
    /// `struct xdp_statistics`, by its names.
    pub xsk: std::collections::BTreeMap<String, u64>,
}

/// Routes, longest prefix last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Routes {
    /// `weir.v1.routes`.
    pub schema: String,
    /// How many there are in all.
    pub total: u64,
    /// Each of them, as far as `limit` goes.
    pub routes: Vec<Route>,
}

/// A route.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Route {
    /// Where to: a prefix.
    pub to: String,
    /// `unicast`, `local`, `blackhole` …
    #[serde(rename = "type")]
    pub kind: String,
    /// The ways there; several share by weight.
    pub via: Vec<Hop>,
    /// Who said so: `config`, `connected`, `kernel`, `static`, `bird` …
    pub protocol: String,
    /// Lower is better.
    pub metric: u32,
}

/// A way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Hop {
    /// The gateway; absent for what is on the link.
    pub gateway: Option<String>,
    /// The interface.
    pub interface: String,
    /// Its share.
    pub weight: u32,
}

/// Where a packet to an address would go.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RouteAnswer {
    /// `weir.v1.route`.
    pub schema: String,
    /// The address.
    pub address: String,
    /// `forward`, `host`, `blackhole`, `unreachable`, `prohibit` or `no-route`.
    #[serde(default)]
    pub fate: String,
    /// The route that covers it; absent when none does.
    pub route: Option<Route>,
    /// The next hop's link address, when it is known.
    pub mac: Option<String>,
}

/// A static route to add.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRoute {
    /// Where to: a prefix.
    pub to: String,
    /// The gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
    /// The interface, for routes without a gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dev: Option<String>,
    /// `unicast` when absent.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<RouteKind>,
}

/// What a route does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "iproute2's words")]
pub enum RouteKind {
    #[default]
    Unicast,
    Blackhole,
    Unreachable,
    Prohibit,
}

/// The neighbours.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Neighbors {
    /// `weir.v1.neighbors`.
    pub schema: String,
    /// Each of them.
    pub neighbors: Vec<Neighbor>,
}

/// A neighbour.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Neighbor {
    /// Its address.
    pub address: String,
    /// The interface it is at.
    pub interface: String,
    /// Its link address, when it is known.
    pub mac: Option<String>,
    /// `permanent`, `reachable`, `stale` …
    pub state: String,
}
