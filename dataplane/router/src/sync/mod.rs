//! The kernel's tables, mirrored: netlink messages in, [`Change`]s out.
//!
//! [`read`] understands the messages of notifications and dumps alike. A dump is gathered in a [`Snapshot`], whose
//! differences from the tables bring them up to date: at the start, after notifications were lost, and now and
//! then to see whether the mirror is true. Nothing here has a socket or a clock.
//!
//! What is not followed is counted by [`Skipped`] and never guessed: routes that depend on the type of service or the
//! source, multicast routes, routes of a type not known here.

mod link;
mod neighbour;
mod protocol;
mod route;
mod snapshot;

use netlink_packet_core::NetlinkBuffer;

use crate::change::Change;
use crate::route::{RouteKey, table_id};

pub use protocol::{protocol_name, protocol_number};
pub use snapshot::Snapshot;

const HEADER: usize = 16;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_APPEND: u16 = 0x800;
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_NEWNEIGH: u16 = 28;
const RTM_DELNEIGH: u16 = 29;
const RTM_NEWNEXTHOP: u16 = 104;
const RTM_DELNEXTHOP: u16 = 105;

/// Which of the kernel's routes are followed. Those of the local table always are: they say what is the host's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The table; its routes stand in the main table here.
    pub table: u32,
    /// Who put them there (`RTPROT_*`); empty is everyone.
    pub protocols: Vec<u8>,
}

impl Default for Filter {
    fn default() -> Self {
        Self { table: table_id::MAIN, protocols: Vec::new() }
    }
}

impl Filter {
    /// Only what says which packets are the host's.
    pub const fn host_only() -> Self {
        // No route is in the table of this number (`RT_TABLE_UNSPEC`).
        Self { table: 0, protocols: Vec::new() }
    }
}

/// Messages that led to no change, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Not understood: shorter than they say, or with attributes of another shape.
    pub unreadable: u64,
    /// Routes of a kind that the tables cannot hold.
    pub unsupported: u64,
}

/// What some messages came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// In order.
    pub changes: Vec<Change>,
    /// What was left out.
    pub skipped: Skipped,
    /// The kernel took routes out without a word, or may have: its routes must be looked at anew. It tells
    /// nobody of IPv4 routes that go with a device or a source address (`fib_flush`, net/ipv4/fib_frontend.c).
    pub look_again: bool,
    /// IPv4 routes of which the kernel has several with one key now.
    pub doubled: Vec<RouteKey>,
}

/// Why a message led to no change.
enum Skip {
    /// It is of no concern.
    Unrelated,
    Unreadable,
    Unsupported,
}

/// Reads whole messages, such as a socket gives at once. Whatever the bytes, it ends and does not panic.
pub fn read(mut bytes: &[u8], filter: &Filter, reading: &mut Reading) {
    while !bytes.is_empty() {
        let Some((message, rest)) = split(bytes) else {
            reading.skipped.unreadable += 1;
            return;
        };
        bytes = rest;
        match one(message, filter, reading) {
            Ok(()) | Err(Skip::Unrelated) => {}
            Err(Skip::Unreadable) => reading.skipped.unreadable += 1,
            Err(Skip::Unsupported) => reading.skipped.unsupported += 1,
        }
    }
}

/// A message's type, flags and body.
struct Message<'b> {
    kind: u16,
    flags: u16,
    body: &'b [u8],
}

fn split(bytes: &[u8]) -> Option<(Message<'_>, &[u8])> {
    let message = NetlinkBuffer::new_checked(bytes).ok()?;
    let len = message.length() as usize;
    let body = bytes.get(HEADER..len)?;
    let rest = bytes.get(len.next_multiple_of(4)..).unwrap_or(&[]);
    Some((Message { kind: message.message_type(), flags: message.flags(), body }, rest))
}

fn one(message: Message<'_>, filter: &Filter, reading: &mut Reading) -> Result<(), Skip> {
    let Message { kind, flags, body } = message;
    let change = match kind {
        RTM_NEWROUTE => {
            let change = route::added(body, flags & NLM_F_REPLACE != 0, filter)?;
            return added(change, flags, reading);
        }
        RTM_DELROUTE => route::removed(body, filter)?,
        RTM_NEWNEIGH => neighbour::set(body)?,
        RTM_DELNEIGH => neighbour::gone(body)?,
        RTM_NEWLINK => {
            reading.look_again = true;
            Change::Link(link::link(body)?)
        }
        RTM_DELLINK => {
            reading.look_again = true;
            Change::NoLink(link::link(body)?.index)
        }
        RTM_NEWADDR => {
            let (index, address) = link::address(body)?;
            Change::Address(index, address)
        }
        RTM_DELADDR => {
            reading.look_again = true;
            let (index, address) = link::address(body)?;
            Change::NoAddress(index, address)
        }
        // A route names its object by number and, unless net.ipv4.nexthop_compat_mode is 0, has its ways as well.
        RTM_NEWNEXTHOP | RTM_DELNEXTHOP => {
            reading.look_again = true;
            return Ok(());
        }
        _ => return Err(Skip::Unrelated),
    };
    reading.changes.push(change);
    Ok(())
}

/// A notification says by its flags whether a route stands beside others of its key (`fib_table_insert`,
/// net/ipv4/fib_trie.c): it is neither the only one nor in the place of one. IPv6 has several ways in one route instead.
fn added(change: Change, flags: u16, reading: &mut Reading) -> Result<(), Skip> {
    let is_beside = flags & (NLM_F_CREATE | NLM_F_EXCL | NLM_F_REPLACE) == NLM_F_CREATE;
    reading.changes.push(match change {
        Change::Learn(route) if is_beside && route.to.addr().is_ipv4() => {
            reading.doubled.push(route.key());
            if flags & NLM_F_APPEND != 0 { Change::LearnLast(route) } else { Change::Learn(route) }
        }
        other => other,
    });
    Ok(())
}
