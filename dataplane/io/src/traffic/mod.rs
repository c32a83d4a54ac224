//! Traffic made to order: realistic, and the same again for the same seed.
//!
//! Flows are drawn by Zipf's law, and each says what comes next in it: TCP opens, transfers with sequence numbers
//! that fit, and closes; DNS asks and answers; echoes are replied to. Some packets are fragments, some are wrong in
//! known ways, and all others have right checksums. When the wanted number of packets is near, no flow is
//! begun that could not be ended, so a capture holds whole TCP flows only.

mod chance;
mod conversation;
mod frames;
mod malformed;
mod spec;

use std::io::{self, Write};

use chance::{Chance, Zipf};
use conversation::{Conversation, FRAMING};
pub use spec::{Sizes, Spec, SpecError};

use weir_packet::frame::LINE;

use crate::pcap::{Capture, CaptureError, Limits, NgWriter, Packet, PcapWriter};

/// Bytes behind the IP header in each piece of a fragmented datagram: a multiple of 8 that fits 1500 with IPv6.
const FRAGMENT_CUT: usize = 1440;

/// The traffic of one description, packet by packet.
pub struct Traffic {
    spec: Spec,
    chance: Chance,
    zipf: Zipf,
    flows: Vec<Conversation>,
    left: u64,
    /// Packets that open TCP flows still need to be closed.
    owed: u64,
    /// Where to look first for an open flow when all must be closed.
    closing: usize,
    /// Fragments that wait for their turn.
    pending: Vec<Vec<u8>>,
    now_ns: f64,
    frame: Vec<u8>,
}

impl Traffic {
    /// Begins, if the description can be.
    pub fn new(spec: &Spec) -> Result<Traffic, SpecError> {
        spec.check()?;
        let mut chance = Chance::new(spec.seed);
        let flows = (0..spec.flows).map(|_| Conversation::begin(spec, &mut chance)).collect();
        Ok(Traffic {
            zipf: Zipf::new(spec.flows, spec.zipf),
            flows,
            chance,
            left: spec.packets,
            owed: 0,
            closing: 0,
            pending: Vec::new(),
            now_ns: 0.0,
            frame: Vec::new(),
            spec: spec.clone(),
        })
    }

    /// The next packet and its time in nanoseconds since 1970; `None` when all have been made.
    pub fn next_packet(&mut self) -> Option<(u64, &[u8])> {
        self.left = self.left.checked_sub(1)?;
        self.now_ns += self.chance.gap(1e9 / self.spec.packets_per_second);
        self.make();
        Some((self.spec.start_ns.saturating_add(self.now_ns as u64), &self.frame))
    }

    /// Makes the next frame; `left` no longer counts it.
    fn make(&mut self) {
        if let Some(fragment) = self.pending.pop() {
            self.frame = fragment;
            return;
        }
        // Nothing that is not owed fits any more.
        if self.owed > self.left {
            return self.close();
        }
        if self.chance.happens(self.spec.malformed) {
            let flaw = &malformed::FLAWS[self.chance.below(malformed::FLAWS.len() as u64) as usize];
            return malformed::write(&self.spec, flaw, &mut self.chance, &mut self.frame);
        }
        if self.owed + 2 <= self.left && self.chance.happens(self.spec.fragments) {
            return self.fragmented();
        }
        let at = self.zipf.draw(&mut self.chance);
        self.say(at);
    }

    /// Lets flow `at` say what is next; a TCP flow that could not be ended gives its place to one that owes nothing.
    fn say(&mut self, at: usize) {
        if self.flows[at].is_unopened_tcp() && self.owed + u64::from(FRAMING) > self.left + 1 {
            let mut spec = self.spec.clone();
            // Without other kinds of flows in the description, echoes fill what is left.
            spec.protocols = match self.spec.protocols {
                [_, 0.0, 0.0] => [0.0, 0.0, 1.0],
                [_, udp, icmp] => [0.0, udp, icmp],
            };
            self.flows[at] = Conversation::begin(&spec, &mut self.chance);
        }
        let flow = &mut self.flows[at];
        let owed_before = u64::from(flow.owed());
        flow.next(&self.spec, &mut self.chance, &mut self.frame);
        self.owed = self.owed + u64::from(flow.owed()) - owed_before;
        if flow.ended() {
            *flow = Conversation::begin(&self.spec, &mut self.chance);
        }
    }

    /// Says what the next open flow owes.
    fn close(&mut self) {
        // `owed` is more than nothing, so an open flow stands somewhere from here on: none opens any more.
        while self.flows[self.closing].owed() == 0 {
            self.closing = (self.closing + 1) % self.flows.len();
        }
        self.flows[self.closing].hurry();
        self.say(self.closing);
    }

    /// Makes a UDP datagram too long for one packet; its first fragment goes now.
    fn fragmented(&mut self) {
        let spec = &self.spec;
        let ends = Conversation::begin(spec, &mut self.chance).ends(spec, false);
        let len = FRAGMENT_CUT + 8 + self.chance.below(FRAGMENT_CUT as u64 - 16) as usize;
        let payload: Vec<_> = (0..len).map(|at| at as u8).collect();
        let ports = [1024 + self.chance.below(60_000) as u16, 5004];
        let id = self.chance.next() as u32;
        self.pending = frames::fragments(&ends, ports, &payload, id, FRAGMENT_CUT);
        self.pending.reverse();
        if let Some(first) = self.pending.pop() {
            self.frame = first;
        }
    }

    /// Writes all that is left as pcapng, and gives back what it was written to.
    pub fn write_pcapng<W: Write>(mut self, out: W) -> io::Result<W> {
        let mut writer = NgWriter::new(out, &["weir-gen"])?;
        while let Some((stamp_ns, bytes)) = self.next_packet() {
            writer.packet(&Packet::new(stamp_ns, bytes))?;
        }
        writer.finish()
    }

    /// Writes all that is left as plain pcap, and gives back what it was written to.
    pub fn write_pcap<W: Write>(mut self, out: W) -> io::Result<W> {
        let mut writer = PcapWriter::new(out)?;
        while let Some((stamp_ns, bytes)) = self.next_packet() {
            writer.packet(&Packet::new(stamp_ns, bytes))?;
        }
        writer.finish()
    }

    /// All that is left as a capture in memory, without a file between.
    pub fn capture(self, limits: &Limits) -> Result<Capture, CaptureError> {
        // No frame takes less than this, so what cannot fit is not even made.
        let least = self.spec.packets.saturating_mul(LINE as u64);
        if least > limits.memory_bytes {
            return Err(CaptureError::TooLarge {
                file: "generated traffic".into(),
                limit: limits.memory_bytes,
            });
        }
        let source = |source| CaptureError::Read { file: "generated traffic".into(), source };
        let file = self.write_pcap(Vec::new()).map_err(source)?;
        Capture::parse("generated traffic", &file, limits)
    }
}

/// The ways in which malformed packets are wrong, by name.
pub fn flaws() -> impl Iterator<Item = &'static str> {
    malformed::FLAWS.iter().map(|flaw| flaw.name)
}
