//! Frames that are wrong, each in one known way.

use etherparse::TcpHeader;

use crate::traffic::chance::Chance;
use crate::traffic::frames::{self, Ends};
use crate::traffic::spec::Spec;

/// Where the IPv4 header of an untagged frame begins, and the TCP header behind it.
const IP: usize = 14;
const TCP: usize = IP + 20;

/// One way to be wrong.
pub(crate) struct Flaw {
    /// What tests and tables call it.
    pub name: &'static str,
    make: fn(&mut Vec<u8>),
}

/// All of them. Each begins with a good TCP segment over IPv4, untagged, with 100 bytes of data.
pub(crate) const FLAWS: [Flaw; 13] = [
    Flaw { name: "version 5", make: |frame| frame[IP] = 0x55 },
    Flaw { name: "header length 4 words", make: |frame| frame[IP] = 0x44 },
    Flaw {
        name: "header beyond the packet",
        make: |frame| {
            frame[IP] = 0x4f;
            frame.truncate(IP + 40);
        },
    },
    Flaw { name: "no IP header", make: |frame| frame.truncate(IP) },
    Flaw { name: "cut IP header", make: |frame| frame.truncate(IP + 11) },
    Flaw { name: "cut TCP header", make: |frame| frame.truncate(TCP + 5) },
    Flaw { name: "wrong IP checksum", make: |frame| frame[IP + 10] ^= 0x5a },
    Flaw { name: "wrong TCP checksum", make: |frame| frame[TCP + 16] ^= 0x5a },
    Flaw { name: "total length beyond the packet", make: |frame| rewrite(frame, IP + 2, &[0x05, 0xdc]) },
    // RFC 1858: the first fragment ends within the TCP header, before its flags.
    Flaw {
        name: "tiny fragment",
        make: |frame| {
            frame.truncate(TCP + 8);
            rewrite(frame, IP + 2, &[0, 28, 0, 9, 0x20, 0]);
        },
    },
    Flaw { name: "TTL 0", make: |frame| rewrite(frame, IP + 8, &[0]) },
    Flaw { name: "SYN and FIN", make: |frame| frame[TCP + 13] = 0x03 },
    Flaw {
        name: "TCP offset beyond the packet",
        make: |frame| {
            frame[TCP + 12] = 0xf0;
            frame.truncate(TCP + 24);
        },
    },
];

/// Changes bytes of the IP header, and its checksum with them.
fn rewrite(frame: &mut [u8], at: usize, bytes: &[u8]) {
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    frame[IP + 10..IP + 12].fill(0);
    let (pairs, _) = frame[IP..IP + 20].as_chunks::<2>();
    let sum: u32 = pairs.iter().map(|pair| u32::from(u16::from_be_bytes(*pair))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !((folded & 0xffff) + (folded >> 16)) as u16;
    frame[IP + 10..IP + 12].copy_from_slice(&checksum.to_be_bytes());
}

/// Writes a frame with a flaw.
pub(crate) fn write(spec: &Spec, flaw: &Flaw, chance: &mut Chance, out: &mut Vec<u8>) {
    let client = chance.below(u64::from(spec.clients)) as u32;
    let server = chance.below(u64::from(spec.servers)) as u32;
    let ends = Ends::new(spec, client, server, false, None, false);
    let mut header = TcpHeader::new(1024 + chance.below(60_000) as u16, 80, chance.next() as u32, 8192);
    (header.ack, header.acknowledgment_number) = (true, chance.next() as u32);
    frames::tcp(&ends, header, &[b'x'; 100], out);
    (flaw.make)(out);
}
