//! One flow under way: what it says next.
//!
//! ```text
//!  TCP   SYN · SYN,ACK · ACK · data and acknowledgements, either way … · FIN · ACK · FIN · ACK
//!  UDP   DNS-like question and answer, or datagrams either way
//!  ICMP  echo request · reply · request · reply …
//! ```

use etherparse::{TcpHeader, TcpOptionElement, TcpOptions};

use crate::traffic::chance::Chance;
use crate::traffic::frames::{self, Ends};
use crate::traffic::spec::{Sizes, Spec};

/// Segments of a TCP flow beside its data: three to open and four to close.
const CLOSING: u32 = 4;
pub(crate) const FRAMING: u32 = 3 + CLOSING;

/// Datagrams or echoes in a flow that is not TCP.
const EXCHANGES_MAX: u64 = 32;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Tcp { next: [u32; 2] },
    Dns,
    Datagrams { port: u16 },
    Echo,
}

/// A flow: who speaks, and how far they are.
#[derive(Debug, Clone)]
pub(crate) struct Conversation {
    client: u32,
    server: u32,
    port: u16,
    six: bool,
    vlan: Option<u16>,
    kind: Kind,
    /// Packets said so far.
    said: u32,
    /// Packets in all, unless cut short.
    length: u32,
}

/// The ports that servers listen on, by popularity.
const TCP_PORTS: [(u16, f64); 6] = [(443, 60.0), (80, 20.0), (22, 5.0), (8080, 5.0), (25, 5.0), (3306, 5.0)];

impl Conversation {
    /// Begins a flow by chance.
    pub(crate) fn begin(spec: &Spec, chance: &mut Chance) -> Conversation {
        let kind = match chance.pick(&spec.protocols) {
            0 => Kind::Tcp { next: [chance.next() as u32, chance.next() as u32] },
            1 if spec.sizes == Sizes::Imix && chance.happens(0.6) => Kind::Dns,
            1 => Kind::Datagrams { port: if chance.happens(0.7) { 443 } else { 5004 } },
            _ => Kind::Echo,
        };
        let length = match kind {
            // Exponential lengths: many short flows, few long ones.
            Kind::Tcp { .. } => FRAMING + chance.gap(f64::from(spec.segments_mean)).min(1e6) as u32,
            Kind::Dns => 2,
            Kind::Datagrams { .. } | Kind::Echo => 2 + 2 * chance.below(EXCHANGES_MAX / 2) as u32,
        };
        Conversation {
            client: chance.below(u64::from(spec.clients)) as u32,
            server: chance.below(u64::from(spec.servers)) as u32,
            port: 32_768 + chance.below(28_232) as u16,
            six: chance.happens(spec.ipv6),
            vlan: chance.happens(spec.vlan).then(|| 10 + chance.below(4) as u16 * 10),
            kind,
            said: 0,
            length,
        }
    }

    /// The ends as seen from one side.
    pub(crate) fn ends(&self, spec: &Spec, back: bool) -> Ends {
        Ends::new(spec, self.client, self.server, self.six, self.vlan, back)
    }

    /// Packets that must still come, so that nobody is left waiting: all that closes an open TCP flow.
    pub(crate) fn owed(&self) -> u32 {
        match self.kind {
            Kind::Tcp { .. } if self.said > 0 => {
                let opening = 3_u32.saturating_sub(self.said);
                opening + CLOSING.min(self.length - self.said)
            }
            Kind::Tcp { .. } | Kind::Dns | Kind::Datagrams { .. } | Kind::Echo => 0,
        }
    }

    /// Leaves out all that is not owed.
    pub(crate) fn hurry(&mut self) {
        self.length = self.said + self.owed();
    }

    /// Whether it is TCP and has not begun: what must not begin when there is no room to end it.
    pub(crate) fn is_unopened_tcp(&self) -> bool {
        self.said == 0 && matches!(self.kind, Kind::Tcp { .. })
    }

    /// Whether all has been said.
    pub(crate) fn ended(&self) -> bool {
        self.said >= self.length
    }

    /// Writes the next packet.
    pub(crate) fn next(&mut self, spec: &Spec, chance: &mut Chance, out: &mut Vec<u8>) {
        match self.kind {
            Kind::Tcp { next } => {
                let next = self.segment(spec, chance, next, out);
                self.kind = Kind::Tcp { next };
            }
            Kind::Dns => self.dns(spec, chance, out),
            Kind::Datagrams { port } => {
                let back = self.said % 2 == 1;
                let ends = self.ends(spec, back);
                let payload = filling(size(spec.sizes, chance), ends.header_len() + 8, chance);
                frames::udp(&ends, turn([self.port, port], back), &payload, out);
            }
            Kind::Echo => {
                let back = self.said % 2 == 1;
                let ends = self.ends(spec, back);
                // A reply says what the request said, so both are as long as chance tells from their number.
                let mut chance = Chance::new(u64::from(self.port) << 32 | u64::from(self.said / 2));
                let payload = filling(size(spec.sizes, &mut chance), ends.header_len() + 8, &mut chance);
                frames::echo(&ends, back, self.port, (self.said / 2) as u16, &payload, out);
            }
        }
        self.said += 1;
    }

    /// The next TCP segment; gives the sequence numbers that come next on both sides.
    fn segment(&self, spec: &Spec, chance: &mut Chance, next: [u32; 2], out: &mut Vec<u8>) -> [u32; 2] {
        let (syn, fin, back) = match (self.said, self.length - self.said) {
            (0, _) => (true, false, false),
            (1, _) => (true, false, true),
            (2, _) => (false, false, false),
            (_, 4) => (false, true, false),
            (_, 3) => (false, false, true),
            (_, 2) => (false, true, true),
            (_, 1) => (false, false, false),
            // Servers say more than clients.
            _ => (false, false, chance.happens(0.7)),
        };
        let side = usize::from(back);
        let ends = self.ends(spec, back);
        let mut header = TcpHeader::new(self.port, self.service(), next[side], 64_240);
        (header.source_port, header.destination_port) = turn([self.port, self.service()], back).into();
        (header.syn, header.fin, header.ack) = (syn, fin, self.said > 0);
        if header.ack {
            header.acknowledgment_number = next[1 - side];
        }
        let mut payload = Vec::new();
        if syn {
            let options = [
                TcpOptionElement::MaximumSegmentSize(if self.six { 1440 } else { 1460 }),
                TcpOptionElement::SelectiveAcknowledgementPermitted,
                TcpOptionElement::WindowScale(7),
            ];
            header.options = TcpOptions::try_from_elements(&options).unwrap_or_default();
        } else if self.said > 2 && self.length - self.said > CLOSING {
            payload = filling(size(spec.sizes, chance), ends.header_len() + header.header_len(), chance);
            header.psh = !payload.is_empty();
        }
        frames::tcp(&ends, header, &payload, out);
        let mut after = next;
        after[side] = next[side].wrapping_add(payload.len() as u32 + u32::from(syn) + u32::from(fin));
        after
    }

    /// The server's port, by a chance that is the flow's own.
    fn service(&self) -> u16 {
        let weights = TCP_PORTS.map(|(_, weight)| weight);
        TCP_PORTS[Chance::new(u64::from(self.server) << 16 | u64::from(self.port)).pick(&weights)].0
    }

    /// A question for a name made of the flow's numbers, and its answer (RFC 1035).
    fn dns(&self, spec: &Spec, chance: &mut Chance, out: &mut Vec<u8>) {
        let back = self.said % 2 == 1;
        let label = format!("host-{}-{}", self.client, self.port);
        let mut message = self.port.to_be_bytes().to_vec();
        message.extend(if back { [0x81, 0x80] } else { [1, 0] });
        message.extend([0, 1, 0, u8::from(back), 0, 0, 0, 0]);
        message.push(label.len() as u8);
        message.extend(label.as_bytes());
        message.extend(b"\x07example\x04test\0\0\x01\0\x01");
        if back {
            // The name by reference, type A, class IN, an hour, four bytes of address.
            message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 14, 16, 0, 4, 203, 0, 113]);
            message.push(chance.next() as u8);
        }
        frames::udp(&self.ends(spec, back), turn([self.port, 53], back), &message, out);
    }
}

fn turn(ports: [u16; 2], back: bool) -> [u16; 2] {
    if back { [ports[1], ports[0]] } else { ports }
}

/// The length of the next frame.
fn size(sizes: Sizes, chance: &mut Chance) -> usize {
    match sizes {
        Sizes::Imix => [60, 590, 1514][chance.pick(&[7.0, 4.0, 1.0])],
        Sizes::Fixed(len) => len,
    }
}

/// Payload that makes a frame `size` bytes long; none when the headers do that.
fn filling(size: usize, headers: usize, chance: &mut Chance) -> Vec<u8> {
    let first = chance.next() as u8;
    (0..size.saturating_sub(headers)).map(|at| first.wrapping_add(at as u8)).collect()
}
