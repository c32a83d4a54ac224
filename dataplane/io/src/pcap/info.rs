//! What a capture holds, in numbers: what `weir pcap info` prints.

use std::collections::{BTreeMap, HashSet};

use weir_packet::FlowKey;

use crate::pcap::capture::Capture;
use crate::pcap::record::Tally;

/// Upper ends of the classes of frame lengths, as remote monitoring counts them (RFC 2819, without the check
/// sequence); the last class has none.
pub const SIZE_CLASSES: [usize; 6] = [60, 123, 251, 507, 1019, 1514];

/// Packets and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Share {
    /// Packets.
    pub packets: u64,
    /// Bytes of them.
    pub bytes: u64,
}

/// What a capture holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Info {
    /// What became of the records.
    pub tally: Tally,
    /// Link types of the records (LINKTYPE_ values).
    pub links: Vec<u16>,
    /// All frames.
    pub all: Share,
    /// By protocol: `IPv4 TCP`, `IPv6 UDP`, `ARP`, `0x88cc` …, most packets first.
    pub protocols: Vec<(String, Share)>,
    /// Frames with a VLAN tag.
    pub tagged: u64,
    /// Frames by length; class `i` ends with `SIZE_CLASSES[i]` bytes, the last one is open.
    pub sizes: [u64; SIZE_CLASSES.len() + 1],
    /// Shortest and longest frame; 0 when there is none.
    pub lengths: (usize, usize),
    /// Flows, both directions of one counted once.
    pub flows: u64,
    /// Earliest and latest time in nanoseconds since 1970; 0 when there is no frame.
    pub times_ns: (u64, u64),
}

impl Info {
    /// Looks at every frame once.
    pub fn of(capture: &Capture) -> Info {
        let mut protocols = BTreeMap::<(u16, u8), Share>::new();
        let (mut flows, mut all) = (HashSet::new(), Share::default());
        let mut sizes = [0; SIZE_CLASSES.len() + 1];
        let mut tagged = 0;
        for slot in capture.slots() {
            let bytes = capture.bytes(slot);
            let key = FlowKey::of(bytes);
            for share in [&mut all, protocols.entry((key.ethertype, key.protocol)).or_default()] {
                share.packets += 1;
                share.bytes += bytes.len() as u64;
            }
            sizes[SIZE_CLASSES.partition_point(|end| *end < bytes.len())] += 1;
            tagged += u64::from(matches!(bytes.get(12..14), Some([0x81, 0] | [0x88, 0xa8] | [0x91, 0])));
            flows.insert(key);
        }
        let times = || (0..capture.frames() as u32).filter_map(|number| capture.stamp_ns(number));
        let shortest = capture.slots().iter().map(|slot| slot.len()).min().unwrap_or(0);
        let mut protocols: Vec<_> = protocols
            .into_iter()
            .map(|((ethertype, protocol), share)| (name(ethertype, protocol), share))
            .collect();
        protocols.sort_by_key(|(_, share)| std::cmp::Reverse(share.packets));
        Info {
            tally: *capture.tally(),
            links: capture.links().to_vec(),
            all,
            protocols,
            tagged,
            sizes,
            lengths: (shortest, capture.frame_longest()),
            flows: flows.len() as u64,
            times_ns: (times().min().unwrap_or(0), times().max().unwrap_or(0)),
        }
    }

    /// From the earliest to the latest frame, in nanoseconds.
    pub fn duration_ns(&self) -> u64 {
        self.times_ns.1 - self.times_ns.0
    }

    /// Packets a second; `None` when all came at once.
    pub fn packets_per_second(&self) -> Option<f64> {
        self.per_second(self.all.packets)
    }

    /// Bits a second, as captured; `None` when all came at once.
    pub fn bits_per_second(&self) -> Option<f64> {
        self.per_second(self.all.bytes * 8)
    }

    fn per_second(&self, count: u64) -> Option<f64> {
        let duration_ns = self.duration_ns();
        (duration_ns > 0).then(|| count as f64 * 1e9 / duration_ns as f64)
    }
}

/// What people call a protocol.
fn name(ethertype: u16, protocol: u8) -> String {
    let family = match ethertype {
        0x0800 => "IPv4",
        0x86dd => "IPv6",
        0x0806 => return "ARP".to_owned(),
        0x8847 => return "MPLS".to_owned(),
        0x88cc => return "LLDP".to_owned(),
        other => return format!("{other:#06x}"),
    };
    match protocol {
        1 => format!("{family} ICMP"),
        6 => format!("{family} TCP"),
        17 => format!("{family} UDP"),
        47 => format!("{family} GRE"),
        50 => format!("{family} ESP"),
        58 => format!("{family} ICMPv6"),
        89 => format!("{family} OSPF"),
        132 => format!("{family} SCTP"),
        // Protocol 0 comes of a header that cannot be, too: the flow is then told by MAC addresses.
        0 => format!("{family} bad header or protocol 0"),
        other => format!("{family} protocol {other}"),
    }
}
