//! Forwarding tables and neighbours: values in, values out.
//!
//! [`Tables`] answers "where does this packet go": routes by longest prefix, the choice among several
//! next hops, the neighbour's address. It has no clock, no sockets and no threads. It is changed in
//! place by whoever owns it and read by `&self` without allocating; the engine clones it, changes
//! the clone and publishes that as part of a generation, so workers never see half a change.
//!
//! Read [`trie`] for how a lookup is fast, [`table`] for which of several routes is active, and
//! [`tables`] for what a lookup answers. [`header`] has the checks of a packet's header, [`forward()`] the
//! whole decision about it.
#![forbid(unsafe_code)]

pub mod checksum;
mod forward;
mod header;
mod neighbour;
mod port;
mod refusal;
mod route;
mod table;
mod tables;
pub mod text;
mod trie;

pub use forward::{Decision, forward};
pub use header::Header;
pub use neighbour::{Mac, Neighbour, NeighbourState, Neighbours};
pub use port::Port;
pub use refusal::Refusal;
pub use route::{NextHop, Route, RouteError, RouteKind, table_id};
pub use tables::{FibAddresses, FibAnswer, FibFlags, FibHop, FibQuery, Tables};
pub use trie::{Key, Trie};
