//! Which packets belong together: a keyed hash of a packet's flow, the same in both directions.
//!
//! | the packet | what is hashed |
//! |---|---|
//! | TCP, UDP, UDP-Lite, DCCP, SCTP | addresses, protocol, ports |
//! | ICMP and ICMPv6 echo | addresses, protocol, identifier |
//! | any fragment | addresses, protocol: later fragments have no ports, and all should meet |
//! | other IP, or cut off before the ports | addresses, protocol |
//! | not IP, or an IP header that cannot be | MAC addresses, EtherType |
//!
//! VLAN tags are stepped over and not hashed, as receive-side scaling does. The hash is for spreading flows over
//! workers and tables; its key is secret where strangers choose the packets, and fixed where runs must repeat.

/// How many VLAN tags are stepped over; a frame with more is hashed by its MAC addresses.
const TAGS_MAX: usize = 4;

/// How many IPv6 extension headers are stepped over; more, and only addresses are hashed.
const EXTENSIONS_MAX: usize = 8;

/// What tells a flow from others. Two packets of one flow, in either direction, have equal keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// The smaller and the larger end: address (padded with zeroes) and port.
    pub ends: [([u8; 16], u16); 2],
    /// IP protocol (0 when it is not IP).
    pub protocol: u8,
    /// EtherType behind the tags: tells the families apart.
    pub ethertype: u16,
}

impl FlowKey {
    /// The key of an Ethernet frame; of any bytes at all.
    #[inline]
    pub fn of(frame: &[u8]) -> FlowKey {
        let (ethertype, payload) = untagged(frame);
        let found = match ethertype {
            0x0800 => ipv4(payload),
            0x86dd => ipv6(payload),
            _ => None,
        };
        found.unwrap_or_else(|| ethernet(frame, ethertype))
    }

    fn new(ethertype: u16, protocol: u8, from: ([u8; 16], u16), to: ([u8; 16], u16)) -> FlowKey {
        FlowKey { ends: if from <= to { [from, to] } else { [to, from] }, protocol, ethertype }
    }
}

/// The keyed hash.
///
/// Every word is mixed with a secret of its own before it is multiplied. With public constants there, as in the
/// common fast hashes, a stranger can choose addresses that make a factor zero and the rest count for nothing.
#[derive(Debug, Clone, Copy)]
pub struct FlowHash {
    secrets: [u64; 8],
}

impl FlowHash {
    /// The hash for a key. Same key, same hashes, on any machine.
    pub fn new(key: [u64; 2]) -> FlowHash {
        let mut state = key[0];
        let mut secrets = [0; 8];
        for (at, secret) in secrets.iter_mut().enumerate() {
            state = splitmix(state.wrapping_add(key[at & 1]));
            *secret = state;
        }
        FlowHash { secrets }
    }

    /// The flow hash of an Ethernet frame; never 0, which means "not computed" in a frame's handle.
    #[inline]
    pub fn hash(&self, frame: &[u8]) -> u32 {
        self.hash_key(&FlowKey::of(frame))
    }

    /// The hash of a key.
    #[inline]
    pub fn hash_key(&self, key: &FlowKey) -> u32 {
        let [(low, low_port), (high, high_port)] = key.ends;
        let s = &self.secrets;
        let rest = u64::from(low_port)
            | u64::from(high_port) << 16
            | u64::from(key.ethertype) << 32
            | u64::from(key.protocol) << 48;
        let folded = fold(word(&low, 0) ^ s[0], word(&low, 8) ^ s[1])
            ^ fold(word(&high, 0) ^ s[2], word(&high, 8) ^ s[3]).rotate_left(29)
            ^ fold(rest ^ s[4], s[5]).rotate_left(47);
        let hash = (fold(folded ^ s[6], s[7]) >> 16) as u32;
        hash.max(1)
    }
}

/// One of `n` equal shares for a hash, without division.
#[inline]
pub fn share(hash: u32, n: usize) -> usize {
    ((u64::from(hash) * n as u64) >> 32) as usize
}

fn splitmix(state: u64) -> u64 {
    let mixed = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[inline]
fn word(address: &[u8; 16], at: usize) -> u64 {
    let value = u128::from_le_bytes(*address);
    (value >> (at * 8)) as u64
}

#[inline]
fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Steps over VLAN tags: the EtherType behind them and what follows it.
#[inline]
fn untagged(frame: &[u8]) -> (u16, &[u8]) {
    let mut at = 12;
    for _ in 0..=TAGS_MAX {
        match be16(frame, at) {
            Some(0x8100 | 0x88a8 | 0x9100) => at += 4,
            Some(ethertype) => return (ethertype, &frame[at + 2..]),
            None => break,
        }
    }
    (0, &[])
}

fn ethernet(frame: &[u8], ethertype: u16) -> FlowKey {
    let mac = |at: usize| {
        let mut address = [0; 16];
        let there = frame.get(at..).unwrap_or_default();
        let len = there.len().min(6);
        address[..len].copy_from_slice(&there[..len]);
        (address, 0)
    };
    FlowKey::new(ethertype, 0, mac(0), mac(6))
}

#[inline]
fn ipv4(packet: &[u8]) -> Option<FlowKey> {
    let header: &[u8; 20] = packet.first_chunk()?;
    let header_len = usize::from(header[0] & 15) * 4;
    if header[0] >> 4 != 4 || header_len < 20 || packet.len() < header_len {
        return None;
    }
    let end = |at: usize| {
        let mut address = [0; 16];
        address[..4].copy_from_slice(&header[at..at + 4]);
        address
    };
    let protocol = header[9];
    // RFC 791: the "more fragments" bit and the offset, both zero in a whole datagram.
    let whole = u16::from_be_bytes([header[6], header[7]]) & 0x3fff == 0;
    let ports = if whole { ports(protocol, &packet[header_len..]) } else { (0, 0) };
    Some(FlowKey::new(0x0800, protocol, (end(12), ports.0), (end(16), ports.1)))
}

#[inline]
fn ipv6(packet: &[u8]) -> Option<FlowKey> {
    let header: &[u8; 40] = packet.first_chunk()?;
    if header[0] >> 4 != 6 {
        return None;
    }
    let (from, to) = (*header[8..].first_chunk()?, *header[24..].first_chunk()?);
    let (protocol, ports) = upper(header[6], &packet[40..]);
    Some(FlowKey::new(0x86dd, protocol, (from, ports.0), (to, ports.1)))
}

/// Walks IPv6 extension headers (RFC 8200, section 4) to the upper protocol and its ports.
///
/// A fragment's protocol is the one its fragment header names: the same in all fragments of a packet, even when
/// the first has more extension headers behind.
#[inline]
fn upper(first: u8, payload: &[u8]) -> (u8, (u16, u16)) {
    let (mut protocol, mut rest) = (first, payload);
    for _ in 0..=EXTENSIONS_MAX {
        let len = match (protocol, rest) {
            (0 | 43 | 60, [_, units, ..]) => 8 + usize::from(*units) * 8,
            // The authentication header counts in other units (RFC 4302, section 2.2).
            (51, [_, units, ..]) => 8 + usize::from(*units) * 4,
            (44, [next, ..]) => return (*next, (0, 0)),
            (0 | 43 | 44 | 51 | 60, _) => return (protocol, (0, 0)),
            _ => return (protocol, ports(protocol, rest)),
        };
        let Some(behind) = rest.get(len..) else { return (protocol, (0, 0)) };
        (protocol, rest) = (rest[0], behind);
    }
    (protocol, (0, 0))
}

/// Source and destination port, or what stands for them.
#[inline]
fn ports(protocol: u8, segment: &[u8]) -> (u16, u16) {
    let found = match protocol {
        6 | 17 | 33 | 132 | 136 => be16(segment, 0).zip(be16(segment, 2)),
        // Echo request and reply (RFC 792, RFC 4443): one identifier for both directions.
        1 if matches!(segment, [0 | 8, ..]) => be16(segment, 4).map(|id| (id, id)),
        58 if matches!(segment, [128 | 129, ..]) => be16(segment, 4).map(|id| (id, id)),
        _ => None,
    };
    found.unwrap_or_default()
}
