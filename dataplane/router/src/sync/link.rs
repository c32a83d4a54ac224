//! Messages about devices and their addresses.

use ipnet::IpNet;
use netlink_packet_core::{NlasIterator, Parseable};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};

use super::Skip;
use crate::change::Link;
use crate::neighbour::Mac;

/// `struct ifinfomsg` (linux/rtnetlink.h): family, padding, type, index, flags, change.
const LINK_HEADER: usize = 16;
const IFF_UP: u32 = 1;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const AF_UNSPEC: u8 = 0;

/// A device. Four of its some sixty attributes matter, and a kernel newer than the crate that knows them all must
/// not keep us from reading those, so they are picked out here.
pub(super) fn link(body: &[u8]) -> Result<Link, Skip> {
    let header: &[u8; LINK_HEADER] = body.first_chunk().ok_or(Skip::Unreadable)?;
    // Bridges tell of their ports by the same messages.
    if header[0] != AF_UNSPEC {
        return Err(Skip::Unrelated);
    }
    let word = |at: usize| header.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes);
    let index = word(4).ok_or(Skip::Unreadable)?;
    let flags = word(8).ok_or(Skip::Unreadable)?;
    let mut link = Link { index, name: String::new(), up: flags & IFF_UP != 0, mtu: 0, mac: Mac::default() };
    for attribute in NlasIterator::new(body.get(LINK_HEADER..).unwrap_or(&[])) {
        let attribute = attribute.map_err(|_| Skip::Unreadable)?;
        let value = attribute.value();
        match attribute.kind() {
            IFLA_ADDRESS => link.mac = Mac::try_from(value).unwrap_or_default(),
            IFLA_MTU => link.mtu = value.try_into().map(u32::from_ne_bytes).map_err(|_| Skip::Unreadable)?,
            IFLA_IFNAME => {
                let name = value.split(|byte| *byte == 0).next().unwrap_or(&[]);
                link.name = String::from_utf8_lossy(name).into_owned();
            }
            _ => {}
        }
    }
    Ok(link)
}

/// A device's number, and an address of its own with the length of its network's prefix.
pub(super) fn address(body: &[u8]) -> Result<(u32, IpNet), Skip> {
    let message = AddressMessage::parse(body).map_err(|_| Skip::Unreadable)?;
    let header = &message.header;
    if !matches!(header.family, AddressFamily::Inet | AddressFamily::Inet6) {
        return Err(Skip::Unrelated);
    }
    // On a link of two, the one attribute is the other end and the other our own.
    let (mut own, mut other) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => own = Some(*address),
            AddressAttribute::Address(address) => other = Some(*address),
            _ => {}
        }
    }
    let address = own.or(other).ok_or(Skip::Unreadable)?;
    let network = IpNet::new(address, header.prefix_len).map_err(|_| Skip::Unreadable)?;
    Ok((header.index, network))
}
