//! Messages about neighbours.

use std::net::IpAddr;

use netlink_packet_core::Parseable;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState as Nud,
};

use super::Skip;
use crate::change::Change;
use crate::neighbour::{Mac, Neighbour, NeighbourState};

/// What the kernel knows of a neighbour now.
pub(super) fn set(body: &[u8]) -> Result<Change, Skip> {
    let (port, address, neighbour) = read(body)?;
    Ok(Change::Neighbour { port, address, neighbour: Some(neighbour) })
}

/// A neighbour that the kernel forgot.
pub(super) fn gone(body: &[u8]) -> Result<Change, Skip> {
    let (port, address, _) = read(body)?;
    Ok(Change::Neighbour { port, address, neighbour: None })
}

fn read(body: &[u8]) -> Result<(u32, IpAddr, Neighbour), Skip> {
    let message = NeighbourMessage::parse(body).map_err(|_| Skip::Unreadable)?;
    let header = &message.header;
    // Bridges' tables come by the same messages, and so do addresses that are answered for others.
    let of_ip = matches!(header.family, AddressFamily::Inet | AddressFamily::Inet6);
    if !of_ip || header.flags.contains(NeighbourFlags::Proxy) {
        return Err(Skip::Unrelated);
    }
    let mut address = None;
    let mut mac = Mac::default();
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => address = Some(IpAddr::V4(*v4)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => address = Some(IpAddr::V6(*v6)),
            NeighbourAttribute::LinkLayerAddress(bytes) => {
                // Tunnels have link addresses of other lengths; no port is one.
                mac = Mac::try_from(&bytes[..]).map_err(|_| Skip::Unrelated)?;
            }
            _ => {}
        }
    }
    let state = state_of(header.state);
    Ok((header.ifindex, address.ok_or(Skip::Unreadable)?, Neighbour { mac, state }))
}

fn state_of(state: Nud) -> NeighbourState {
    match state {
        Nud::Reachable => NeighbourState::Reachable,
        Nud::Stale => NeighbourState::Stale,
        Nud::Delay => NeighbourState::Delay,
        Nud::Probe => NeighbourState::Probe,
        Nud::Failed => NeighbourState::Failed,
        Nud::Noarp => NeighbourState::NoArp,
        Nud::Permanent => NeighbourState::Permanent,
        // A new one that was not asked for yet, or a state of the future: not to be used.
        _ => NeighbourState::Incomplete,
    }
}
