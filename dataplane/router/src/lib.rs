//! Forwarding tables and neighbours: values in, values out.
//!
//! [`Tables`] answers "where does this packet go": routes by longest prefix, the choice among several
//! next hops, the neighbour's address. It has no clock, no sockets and no threads. It is changed in
//! place by whoever owns it and read by `&self` without allocating; the engine keeps two copies, changes the one that
//! no worker reads and publishes that, so workers never see half a change.
//!
//! Read [`trie`] for how a lookup is fast, [`table`] for which of several routes is active, and
//! [`tables`] for what a lookup answers. [`sync`] turns the kernel's messages into [`Change`]s. [`header`] has the
//! checks of a packet's header, [`forward()`] the whole decision about it, and [`exception()`] what becomes of what
//! has no way, with [`icmp`] for its sender.
#![forbid(unsafe_code)]

mod bucket;
mod change;
pub mod checksum;
mod exception;
mod forward;
mod fragment;
mod header;
pub mod icmp;
mod neighbour;
mod port;
mod refusal;
mod route;
pub mod sync;
mod table;
mod tables;
pub mod text;
mod trie;

pub use bucket::Bucket;
pub use change::{Change, Link};
pub use exception::{Exception, exception};
pub use forward::{Decision, forward};
pub use fragment::{Fragment, fragments};
pub use header::Header;
pub use neighbour::{Mac, Neighbour, NeighbourState, Neighbours};
pub use port::Port;
pub use refusal::Refusal;
pub use route::{NextHop, Origin, Route, RouteError, RouteKey, RouteKind, table_id};
pub use tables::{FibAddresses, FibAnswer, FibFlags, FibHop, FibQuery, Tables};
pub use trie::{Key, Trie};
