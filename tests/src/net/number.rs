//! A packet that says which one it is, and what judged it.
//!
//! ```text
//! Ethernet | IPv4 or IPv6 | UDP | magic 8 | flow 4 | first mark 4 | second mark 4 | zero 4 | id 8 | padding
//! ```
//!
//! Numbers of the payload are little-endian, as programs on x86-64 write them. Ids count every packet of
//! a flood in the order of sending; flow `f` of `n` has the ids `f`, `f + n`, `f + 2n` … Programs under
//! test write their generation's number into the marks: one when judging begins, one when it ends.

use std::net::IpAddr;

/// What the payload starts with.
pub const MAGIC: &[u8; 8] = b"weirnumb";
/// Bytes of the payload without padding.
pub const PAYLOAD_BYTES: usize = 32;
const ETHERNET_BYTES: usize = 14;
const UDP_BYTES: usize = 8;

/// What programs wrote into a packet; 0 is "nobody".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// By the program that was entered first.
    pub first: u32,
    /// By the one that judged.
    pub second: u32,
}

/// Which packet it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    /// Its flow.
    pub flow: u32,
    /// Its place in the order of sending, over all flows.
    pub id: u64,
    /// What judged it.
    pub mark: Mark,
}

impl Number {
    /// Finds the number in a frame, if it is one of ours and whole.
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let start = payload(frame)?;
        let payload = frame.get(start..start + PAYLOAD_BYTES)?;
        let word = |at: usize| Some(u32::from_le_bytes(payload.get(at..at + 4)?.try_into().ok()?));
        (payload.get(..8)? == MAGIC).then_some(())?;
        let id = u64::from_le_bytes(payload.get(24..32)?.try_into().ok()?);
        Some(Self { flow: word(8)?, id, mark: Mark { first: word(12)?, second: word(16)? } })
    }

    /// Writes flow and id into a frame made by [`template`].
    pub fn emit(frame: &mut [u8], flow: u32, id: u64) {
        if let Some(start) = payload(frame) {
            frame[start + 8..start + 12].copy_from_slice(&flow.to_le_bytes());
            frame[start + 24..start + 32].copy_from_slice(&id.to_le_bytes());
        }
    }
}

/// Where the payload of a UDP frame starts.
fn payload(frame: &[u8]) -> Option<usize> {
    let (header, protocol) = match frame.get(12..14)? {
        [0x08, 0x00] => (usize::from(*frame.get(14)? & 15) * 4, *frame.get(23)?),
        [0x86, 0xdd] => (40, *frame.get(20)?),
        _ => return None,
    };
    (protocol == 17).then_some(ETHERNET_BYTES + header + UDP_BYTES)
}

/// Ends of a flow.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// Link addresses: from, to.
    pub link: ([u8; 6], [u8; 6]),
    /// Addresses of one family: from, to.
    pub address: (IpAddr, IpAddr),
    /// Ports: from, to.
    pub port: (u16, u16),
}

/// A frame of so many bytes (as short as numbering allows, if that is more) that only wants its number.
/// The UDP checksum is left out, so that marks need not mend it.
pub fn template(ends: &Ends, bytes: usize) -> Vec<u8> {
    let mut frame = Vec::with_capacity(bytes);
    frame.extend(ends.link.1);
    frame.extend(ends.link.0);
    let header = if ends.address.0.is_ipv4() { 20 } else { 40 };
    let least = ETHERNET_BYTES + header + UDP_BYTES + PAYLOAD_BYTES;
    let udp = bytes.max(least) - ETHERNET_BYTES - header;
    match ends.address {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let total = (udp + header) as u16;
            let mut ip = [0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            ip[2..4].copy_from_slice(&total.to_be_bytes());
            ip[12..16].copy_from_slice(&from.octets());
            ip[16..20].copy_from_slice(&to.octets());
            let sum = checksum(&ip);
            ip[10..12].copy_from_slice(&sum.to_be_bytes());
            frame.extend([0x08, 0x00]);
            frame.extend(ip);
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend((udp as u16).to_be_bytes());
            frame.extend([17, 64]);
            frame.extend(from.octets());
            frame.extend(to.octets());
        }
        (from, to) => panic!("{from} and {to} are of two families"),
    }
    frame.extend(ends.port.0.to_be_bytes());
    frame.extend(ends.port.1.to_be_bytes());
    frame.extend((udp as u16).to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(MAGIC);
    frame.resize(ETHERNET_BYTES + header + udp, 0);
    frame
}

/// RFC 1071, over an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks_exact(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_the_way() {
        for (from, to, least) in [("10.0.0.1", "10.0.0.2", 74), ("fd00::1", "fd00::2", 94)] {
            let address = (from.parse().expect("an address"), to.parse().expect("an address"));
            let ends = Ends { link: ([2; 6], [4; 6]), address, port: (1000, 9) };
            let mut frame = template(&ends, 60);
            assert_eq!(frame.len(), least);
            Number::emit(&mut frame, 7, u64::MAX - 1);
            let number = Number { flow: 7, id: u64::MAX - 1, mark: Mark::default() };
            assert_eq!(Number::parse(&frame), Some(number));
            assert_eq!(Number::parse(&frame[..frame.len() - 1]), None, "cut");
            assert_eq!(template(&ends, 1514).len(), 1514);
        }
    }
}
