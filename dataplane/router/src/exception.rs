//! What becomes of a packet that the fast path gave up on: the slow path's decision, as a value.
//!
//! The fast path passes on what it does not forward, for whatever reason; the whole question is asked again here.
//! So a packet may turn out to have a way after all, when the tables changed in between.

use std::net::IpAddr;

use crate::forward::{Decision, decide};
use crate::header::Header;
use crate::icmp::Problem;
use crate::neighbour::Mac;
use crate::refusal::Refusal;
use crate::tables::{FibAddresses, FibHop, Tables};

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exception {
    /// It has a way. One hop was taken from it; send it.
    Forward {
        /// The way.
        hop: FibHop,
        /// The neighbour to send it to.
        neighbour: Mac,
    },
    /// It has a way that takes it in pieces only, and may be cut. One hop was taken from it.
    Cut {
        /// The way.
        hop: FibHop,
        /// The neighbour to send it to.
        neighbour: Mac,
    },
    /// It has a way, and the next hop's link address is to be found out first. It was not changed.
    Resolve {
        /// The port it leaves by.
        port: u32,
        /// Whose link address is wanted.
        address: IpAddr,
    },
    /// It is for this machine, or for its kernel to forward. It was not changed.
    Deliver,
    /// It is dropped, and its sender is told. It was not changed.
    Answer(Refusal, Problem),
    /// It is dropped in silence.
    Drop(Refusal),
}

/// Decides about a packet, which begins at its network header and came in by the port of this number.
pub fn exception(tables: &Tables, packet: &mut [u8], ifindex: u32) -> Exception {
    let stop = match decide(tables, packet, ifindex) {
        Ok(Decision::Forward { hop, neighbour }) => return Exception::Forward { hop, neighbour },
        Ok(Decision::Deliver) => return Exception::Deliver,
        Ok(Decision::Refuse(refusal)) => return Exception::Drop(refusal),
        Err(stop) => stop,
    };
    let refusal = stop.refusal;
    let answer = |problem| Exception::Answer(refusal, problem);
    match (refusal, stop.hop) {
        (Refusal::HopsSpent, _) => answer(Problem::HopsSpent),
        (Refusal::NoRoute, _) => answer(Problem::NoRoute),
        (Refusal::Unreachable, _) => answer(Problem::Unreachable),
        (Refusal::Prohibited, _) => answer(Problem::Prohibited),
        (Refusal::LinkLocal, _) => beyond_scope(packet),
        (Refusal::TooBig, Some(hop)) => answer(Problem::TooBig { mtu: hop.mtu }),
        (Refusal::Fragmentation, Some(hop)) => match hop.neighbour {
            Some(neighbour) => match spend_hop(packet) {
                Ok(()) => Exception::Cut { hop, neighbour },
                Err(refusal) => Exception::Drop(refusal),
            },
            None => resolve(packet, &hop),
        },
        (Refusal::NoNeighbour, Some(hop)) => resolve(packet, &hop),
        (
            Refusal::TooShort
            | Refusal::Version
            | Refusal::HeaderLength
            | Refusal::TotalLength
            | Refusal::Checksum
            | Refusal::Options
            | Refusal::SourceRouted
            | Refusal::MartianSource
            | Refusal::MartianDestination
            | Refusal::Blackhole
            | Refusal::NotForwarding
            | Refusal::NoPort
            | Refusal::Encapsulation
            | Refusal::TooBig
            | Refusal::Fragmentation
            | Refusal::NoNeighbour,
            _,
        ) => Exception::Drop(refusal),
    }
}

fn spend_hop(packet: &mut [u8]) -> Result<(), Refusal> {
    Header::check(packet)?.spend_hop(packet)
}

/// Whose link address is wanted. A neighbour that failed is asked again for each packet, as Linux does
/// (`__neigh_event_send`): it may have come back.
fn resolve(packet: &[u8], hop: &FibHop) -> Exception {
    let Ok(header) = Header::check(packet) else { return Exception::Drop(Refusal::NoNeighbour) };
    let address = hop.gateway.unwrap_or(header.addresses.destination());
    Exception::Resolve { port: hop.ifindex, address }
}

/// IPv6 has a message for a source that is only valid on its link (RFC 4443, section 3.1, code 2).
fn beyond_scope(packet: &[u8]) -> Exception {
    let link_local = Refusal::LinkLocal;
    match Header::check(packet).map(|header| header.addresses) {
        Ok(FibAddresses::V6 { source, destination })
            if source.is_unicast_link_local() && !destination.is_unicast_link_local() =>
        {
            Exception::Answer(link_local, Problem::BeyondScope)
        }
        _ => Exception::Drop(link_local),
    }
}
