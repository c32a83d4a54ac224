//! From other link layers to Ethernet: frames captured without an Ethernet header are given one.
//!
//! Taken as they are: ETHERNET (1). Given a header, with zeroes for addresses nobody knows: RAW (101, and BSD's 12),
//! IPV4 (228), IPV6 (229), NULL (0) and LOOP (108), LINUX_SLL (113), LINUX_SLL2 (276). Others are refused in words.

/// Bytes of an Ethernet header.
pub(crate) const ETHERNET: usize = 14;

/// What becomes of a packet of some link type.
pub(crate) enum Linked<'a> {
    /// It is an Ethernet frame.
    Whole(&'a [u8]),
    /// It becomes one with this header in front of these bytes.
    Behind([u8; ETHERNET], &'a [u8]),
    /// No EtherType can be told.
    Nothing,
}

/// Whether packets of this link type are taken.
pub(crate) fn known(link: u16) -> bool {
    matches!(link, 0 | 1 | 12 | 101 | 108 | 113 | 228 | 229 | 276)
}

/// Makes an Ethernet frame of a packet whose link type is known.
pub(crate) fn ethernet(link: u16, bytes: &[u8]) -> Linked<'_> {
    let behind = match link {
        1 => return Linked::Whole(bytes),
        // The address family is a number of the capturing machine; the version nibble says the same.
        0 | 108 => bytes.get(4..).and_then(by_version),
        113 => cooked(bytes, 14, 6, 16),
        276 => cooked(bytes, 0, 12, 20),
        _ => by_version(bytes),
    };
    behind.map_or(Linked::Nothing, |(header, packet)| Linked::Behind(header, packet))
}

fn by_version(packet: &[u8]) -> Option<([u8; ETHERNET], &[u8])> {
    let ethertype = match packet.first()? >> 4 {
        4 => 0x0800_u16,
        6 => 0x86dd,
        _ => return None,
    };
    Some((header([0; 6], ethertype), packet))
}

/// Linux's cooked captures: where the protocol, the sender's address and the packet are.
fn cooked(bytes: &[u8], protocol: usize, address: usize, packet: usize) -> Option<([u8; ETHERNET], &[u8])> {
    let packet = bytes.get(packet..)?;
    let ethertype = u16::from_be_bytes(*bytes.get(protocol..)?.first_chunk()?);
    // Below 0x600 it is no EtherType but one of Linux's own numbers (ETH_P_802_2 and others).
    if ethertype < 0x600 {
        return None;
    }
    Some((header(*bytes.get(address..)?.first_chunk()?, ethertype), packet))
}

fn header(source: [u8; 6], ethertype: u16) -> [u8; ETHERNET] {
    let mut header = [0; ETHERNET];
    header[6..12].copy_from_slice(&source);
    header[12..].copy_from_slice(&ethertype.to_be_bytes());
    header
}
