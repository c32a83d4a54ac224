//! The whole decision for one packet: header, addresses, route, hops left, size, neighbour, in the order
//! of the kernel's `ip_rcv`, `ip_route_input` and `ip_forward`.

use std::net::IpAddr;

use crate::header::Header;
use crate::neighbour::Mac;
use crate::refusal::Refusal;
use crate::tables::{FibAnswer, FibHop, Tables};

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// One hop was taken from it; send it.
    Forward {
        /// The way.
        hop: FibHop,
        /// The neighbour to send it to.
        neighbour: Mac,
    },
    /// For this machine: its own address, a broadcast or a group, or for its kernel to forward. It was not changed.
    Deliver,
    /// Not forwarded; it was not changed.
    Refuse(Refusal),
}

/// Decides about a packet, which begins at its network header, and prepares it for sending.
pub fn forward(tables: &Tables, packet: &mut [u8], ifindex: u32) -> Decision {
    match decide(tables, packet, ifindex) {
        Ok(decision) => decision,
        Err(stop) => Decision::Refuse(stop.refusal),
    }
}

/// Why a packet goes no further, and the way it would have gone, where it came so far.
pub(crate) struct Stop {
    pub(crate) refusal: Refusal,
    pub(crate) hop: Option<FibHop>,
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, hop: None }
    }
}

pub(crate) fn decide(tables: &Tables, packet: &mut [u8], ifindex: u32) -> Result<Decision, Stop> {
    let mut header = Header::check(packet)?;
    let destination = header.addresses.destination();
    match header.check_addresses() {
        Ok(()) => {}
        Err(Refusal::LinkLocal) if is_ours(tables, destination) => return Ok(Decision::Deliver),
        Err(refusal) => return Err(refusal.into()),
    }
    if is_for_many(destination) {
        return Ok(Decision::Deliver);
    }
    let hop = match tables.lookup(&header.query(packet, ifindex)) {
        FibAnswer::Forward(hop) => hop,
        FibAnswer::NotForwarded if is_ours(tables, destination) => return Ok(Decision::Deliver),
        FibAnswer::ForwardingDisabled if is_ours(tables, destination) => return Ok(Decision::Deliver),
        FibAnswer::NotForwarded | FibAnswer::NoSourceAddress => return Err(Refusal::NoRoute.into()),
        FibAnswer::Blackhole => return Err(Refusal::Blackhole.into()),
        FibAnswer::Unreachable => return Err(Refusal::Unreachable.into()),
        FibAnswer::Prohibit => return Err(Refusal::Prohibited.into()),
        FibAnswer::ForwardingDisabled => return Err(Refusal::NotForwarding.into()),
        FibAnswer::Encapsulated => return Err(Refusal::Encapsulation.into()),
        FibAnswer::NoPort => return Err(Refusal::NoPort.into()),
    };
    if header.hops_left <= 1 {
        return Err(Refusal::HopsSpent.into());
    }
    if header.total_len > hop.mtu as usize {
        let refusal = if header.may_fragment { Refusal::Fragmentation } else { Refusal::TooBig };
        return Err(Stop { refusal, hop: Some(hop) });
    }
    let neighbour = hop.neighbour.ok_or(Stop { refusal: Refusal::NoNeighbour, hop: Some(hop) })?;
    header.spend_hop(packet)?;
    Ok(Decision::Forward { hop, neighbour })
}

/// Whether packets to the address are the host's: it is this machine's, a broadcast's or a group's, or behind a device
/// that only the kernel has.
fn is_ours(tables: &Tables, address: IpAddr) -> bool {
    is_for_many(address) || tables.is_for_host(address)
}

fn is_for_many(address: IpAddr) -> bool {
    address.is_multicast() || matches!(address, IpAddr::V4(address) if address.is_broadcast())
}
