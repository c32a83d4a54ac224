//! Link headers of frames that the host lane sends, and fragments.

use weir_packet::{Frame, Pool};
use weir_router::{Mac, Refusal, fragments};

/// Bytes of an Ethernet header without tags.
pub(super) const ETHERNET: usize = 14;
/// More fragments than a packet of 64 KiB has on a link of 1280 bytes. Links that take less get no more.
const FRAGMENTS_MAX: usize = 64;

/// The Ethernet header of a frame with an IP packet in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    to: Mac,
    from: Mac,
    kind: [u8; 2],
}

impl Link {
    /// `None` for what is not IP, or has a tag.
    pub(super) fn of(frame: &[u8]) -> Option<Self> {
        let header: &[u8; ETHERNET] = frame.first_chunk()?;
        let [a, b, c, d, e, f, g, h, i, j, k, l, kind @ ..] = *header;
        let is_ip = matches!(kind, [0x08, 0x00] | [0x86, 0xdd]);
        is_ip.then_some(Self { to: [a, b, c, d, e, f], from: [g, h, i, j, k, l], kind })
    }

    /// Whether the frame was for this port: its own address, or everyone's. What was for another (on a device that hears
    /// everything) is not forwarded.
    pub(super) fn is_ours(self, own: Mac) -> bool {
        self.to == own || self.is_to_many()
    }

    /// Whether it was for more than one.
    pub(super) const fn is_to_many(self) -> bool {
        self.to[0] & 1 != 0
    }

    /// Whether its sender is one, whom an answer can be sent to.
    pub(super) fn has_sender(self) -> bool {
        self.from[0] & 1 == 0 && self.from != Mac::default()
    }

    /// Writes the header of an answer, which goes to whoever sent this.
    pub(super) fn write_reply(self, own: Mac, header: &mut [u8]) {
        for (place, byte) in header.iter_mut().zip(self.from.into_iter().chain(own).chain(self.kind)) {
            *place = byte;
        }
    }
}

/// Writes the addresses of the next link.
pub(super) fn set_link(frame: &mut Frame, to: Mac, from: Mac) {
    for (place, byte) in frame.bytes_mut().iter_mut().zip(to.into_iter().chain(from)) {
        *place = byte;
    }
}

/// Cuts the packet of a frame, and hands the fragments on in order: the first in the packet's own frame, the others in
/// frames of the pool. When there are too few, nothing is handed on.
pub(super) fn cut(
    mut frame: Frame,
    mtu: usize,
    pool: &mut Pool,
    mut each: impl FnMut(Frame),
) -> Result<(), (Frame, Refusal)> {
    let mut others = [const { None }; FRAGMENTS_MAX];
    let first = match pieces(frame.bytes(), mtu, pool, &mut others) {
        Ok(first) => first,
        Err(refusal) => {
            others.into_iter().flatten().for_each(|made| pool.put(made));
            return Err((frame, refusal));
        }
    };
    // The first piece's header takes the place of the packet's, which is as long.
    let start = frame.start();
    frame.set_range(start..start + ETHERNET + first.len);
    let packet = frame.bytes_mut().get_mut(ETHERNET..).unwrap_or_default();
    packet
        .iter_mut()
        .zip(first.header.iter().take(first.header_len))
        .for_each(|(place, byte)| *place = *byte);
    each(frame);
    others.into_iter().flatten().for_each(each);
    Ok(())
}

/// What the packet's own frame becomes.
struct First {
    header: [u8; 60],
    header_len: usize,
    len: usize,
}

/// Fills frames with all fragments but the first. On an error some may be filled.
fn pieces(bytes: &[u8], mtu: usize, pool: &mut Pool, others: &mut [Option<Frame>]) -> Result<First, Refusal> {
    let (link, packet) = bytes.split_at_checked(ETHERNET).ok_or(Refusal::TooShort)?;
    let mut pieces = fragments(packet, mtu)?;
    let piece = pieces.next().ok_or(Refusal::TooShort)?;
    let mut first = First { header: [0; 60], header_len: piece.header().len(), len: piece.len() };
    first.header.iter_mut().zip(piece.header()).for_each(|(place, byte)| *place = *byte);
    let mut places = others.iter_mut();
    for piece in pieces {
        let place = places.next().ok_or(Refusal::Fragmentation)?;
        let frame = place.insert(pool.take().ok_or(Refusal::Fragmentation)?);
        if !fill(frame, &[link, piece.header(), piece.payload]) {
            return Err(Refusal::Fragmentation);
        }
    }
    Ok(first)
}

/// Fills a frame with several pieces; answers whether they fit.
fn fill(frame: &mut Frame, pieces: &[&[u8]]) -> bool {
    let len: usize = pieces.iter().map(|piece| piece.len()).sum();
    if len > frame.capacity() {
        return false;
    }
    let start = frame.start();
    frame.set_range(start..start + len);
    let mut rest = frame.bytes_mut();
    for piece in pieces {
        let (place, after) = rest.split_at_mut(piece.len());
        place.copy_from_slice(piece);
        rest = after;
    }
    true
}
