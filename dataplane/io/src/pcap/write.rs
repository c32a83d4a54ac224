//! Capture files out: pcapng with what became of each packet, and plain pcap.
//!
//! Both in little-endian order with nanosecond times. A pcapng packet tells its direction (`epb_flags`), the
//! verdict (`epb_verdict`, as xdpdump writes it and Wireshark shows it) and, in a comment, why it was dropped.

use std::io::{self, Write};

use crate::pcap::ng::SECTION;

const ETHERNET_LINK: u16 = 1;

const OPTION_COMMENT: u16 = 1;
const IF_NAME: u16 = 2;
const IF_TSRESOL: u16 = 9;
const SHB_USERAPPL: u16 = 4;
const EPB_FLAGS: u16 = 2;
const EPB_QUEUE: u16 = 6;
const EPB_VERDICT: u16 = 7;

/// Which way a packet went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// It arrived at the interface.
    In,
    /// It left by the interface.
    Out,
}

/// What a program answered, as `epb_verdict` tells it: an octet for who, then the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// `TC_ACT_*` of a tc program (Linux_eBPF_TC, type 1).
    Tc(i32),
    /// `XDP_*` of an XDP program (Linux_eBPF_XDP, type 2).
    Xdp(u32),
}

impl Verdict {
    fn encode(self) -> [u8; 9] {
        let (who, value) = match self {
            Verdict::Tc(action) => (1, i64::from(action) as u64),
            Verdict::Xdp(action) => (2, u64::from(action)),
        };
        let mut encoded = [who; 9];
        encoded[1..].copy_from_slice(&value.to_le_bytes());
        encoded
    }
}

/// One packet to write.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    /// Number of the interface, as named when the file was begun.
    pub interface: u32,
    /// When, in nanoseconds since 1970.
    pub stamp_ns: u64,
    /// Bytes on the wire; taken as `bytes.len()` when that is more.
    pub wire_len: u32,
    /// The packet.
    pub bytes: &'a [u8],
    /// Which way it went, when known.
    pub direction: Option<Direction>,
    /// The queue it was received on, when known.
    pub queue: Option<u32>,
    /// What programs answered, in order.
    pub verdicts: &'a [Verdict],
    /// Anything else, such as the reason of a drop.
    pub comment: Option<&'a str>,
}

impl<'a> Packet<'a> {
    /// A packet of interface 0 about which no more is known.
    pub fn new(stamp_ns: u64, bytes: &'a [u8]) -> Packet<'a> {
        Packet {
            interface: 0,
            stamp_ns,
            wire_len: bytes.len() as u32,
            bytes,
            direction: None,
            queue: None,
            verdicts: &[],
            comment: None,
        }
    }
}

/// Writes pcapng. Give it something buffered.
#[derive(Debug)]
pub struct NgWriter<W> {
    out: W,
    interfaces: u32,
    // The body of the block being made; kept to be used again.
    body: Vec<u8>,
}

impl<W: Write> NgWriter<W> {
    /// Begins a file: a section by `weir`, and Ethernet interfaces of these names, numbered from 0.
    pub fn new<S: AsRef<str>>(out: W, interfaces: &[S]) -> io::Result<NgWriter<W>> {
        let mut writer = NgWriter { out, interfaces: interfaces.len() as u32, body: Vec::new() };
        writer.section()?;
        for name in interfaces {
            writer.interface(name.as_ref())?;
        }
        Ok(writer)
    }

    fn section(&mut self) -> io::Result<()> {
        self.body.extend(0x1a2b_3c4d_u32.to_le_bytes());
        self.body.extend(1_u16.to_le_bytes());
        self.body.extend(0_u16.to_le_bytes());
        self.body.extend(u64::MAX.to_le_bytes());
        self.option(SHB_USERAPPL, concat!("weir ", env!("CARGO_PKG_VERSION")).as_bytes());
        self.option(0, &[]);
        self.block(u32::from_le_bytes(SECTION))
    }

    fn interface(&mut self, name: &str) -> io::Result<()> {
        self.body.extend(ETHERNET_LINK.to_le_bytes());
        self.body.extend([0; 2]);
        self.body.extend(0_u32.to_le_bytes());
        self.option(IF_NAME, cut(name).as_bytes());
        self.option(IF_TSRESOL, &[9]);
        self.option(0, &[]);
        self.block(1)
    }

    /// Writes one packet as an enhanced packet block.
    ///
    /// # Panics
    /// When there is no interface of its number.
    pub fn packet(&mut self, packet: &Packet<'_>) -> io::Result<()> {
        assert!(packet.interface < self.interfaces, "interface {} of {}", packet.interface, self.interfaces);
        let captured = packet.bytes.len() as u32;
        let (high, low) = ((packet.stamp_ns >> 32) as u32, packet.stamp_ns as u32);
        for word in [packet.interface, high, low, captured, packet.wire_len.max(captured)] {
            self.body.extend(word.to_le_bytes());
        }
        self.body.extend(packet.bytes);
        self.pad();
        self.packet_options(packet);
        self.block(6)
    }

    fn packet_options(&mut self, packet: &Packet<'_>) {
        let before = self.body.len();
        if let Some(comment) = packet.comment {
            self.option(OPTION_COMMENT, cut(comment).as_bytes());
        }
        if let Some(direction) = packet.direction {
            let bits: u32 = match direction {
                Direction::In => 1,
                Direction::Out => 2,
            };
            self.option(EPB_FLAGS, &bits.to_le_bytes());
        }
        if let Some(queue) = packet.queue {
            self.option(EPB_QUEUE, &queue.to_le_bytes());
        }
        for verdict in packet.verdicts {
            self.option(EPB_VERDICT, &verdict.encode());
        }
        if self.body.len() > before {
            self.option(0, &[]);
        }
    }

    fn option(&mut self, code: u16, value: &[u8]) {
        self.body.extend(code.to_le_bytes());
        self.body.extend((value.len() as u16).to_le_bytes());
        self.body.extend(value);
        self.pad();
    }

    fn pad(&mut self) {
        self.body.resize(self.body.len().next_multiple_of(4), 0);
    }

    fn block(&mut self, kind: u32) -> io::Result<()> {
        let len = (self.body.len() as u32 + 12).to_le_bytes();
        self.out.write_all(&kind.to_le_bytes())?;
        self.out.write_all(&len)?;
        self.out.write_all(&self.body)?;
        self.body.clear();
        self.out.write_all(&len)
    }

    /// Hands on what is buffered.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Ends the file and gives back what it was written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}

/// As much of a text as an option holds, ending between characters.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(usize::from(u16::MAX))]
}

/// Writes plain pcap: Ethernet, nanoseconds. Give it something buffered.
#[derive(Debug)]
pub struct PcapWriter<W> {
    out: W,
}

impl<W: Write> PcapWriter<W> {
    /// Begins a file.
    pub fn new(mut out: W) -> io::Result<PcapWriter<W>> {
        out.write_all(&0xa1b2_3c4d_u32.to_le_bytes())?;
        out.write_all(&2_u16.to_le_bytes())?;
        out.write_all(&4_u16.to_le_bytes())?;
        for word in [0, 0, 262_144, u32::from(ETHERNET_LINK)] {
            out.write_all(&word.to_le_bytes())?;
        }
        Ok(PcapWriter { out })
    }

    /// Writes one packet. Times end in the year 2106: later ones are written as the last there is.
    pub fn packet(&mut self, packet: &Packet<'_>) -> io::Result<()> {
        let seconds = u32::try_from(packet.stamp_ns / 1_000_000_000).unwrap_or(u32::MAX);
        let nanoseconds = (packet.stamp_ns % 1_000_000_000) as u32;
        let captured = packet.bytes.len() as u32;
        for word in [seconds, nanoseconds, captured, packet.wire_len.max(captured)] {
            self.out.write_all(&word.to_le_bytes())?;
        }
        self.out.write_all(packet.bytes)
    }

    /// Ends the file and gives back what it was written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}
