//! IPv4 fragmentation (RFC 791, section 3.2; RFC 1812, section 5.2.6): what a router does with a packet that is too
//! large for its way and may be cut.

use crate::checksum::checksum;
use crate::header::Header;
use crate::refusal::Refusal;
use crate::tables::FibAddresses;

const V4_HEADER: usize = 20;
const HEADER_MAX: usize = 60;
const MORE: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;
const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
/// Options with this bit are repeated in every fragment.
const COPIED: u8 = 0x80;

/// One fragment: its header, and its part of the payload.
#[derive(Clone, Copy, Debug)]
pub struct Fragment<'p> {
    header: [u8; HEADER_MAX],
    header_len: usize,
    /// Its part of the packet's payload.
    pub payload: &'p [u8],
}

impl Fragment<'_> {
    /// Its header, complete.
    pub fn header(&self) -> &[u8] {
        self.header.get(..self.header_len).unwrap_or(&[])
    }

    /// Bytes of it in all.
    pub fn len(&self) -> usize {
        self.header_len + self.payload.len()
    }

    /// Whether it has no byte of payload, which no fragment is made without.
    pub fn is_empty(&self) -> bool {
        self.payload.is_empty()
    }
}

/// Cuts an IPv4 packet, which begins at its network header, into fragments of at most `mtu` bytes, in order. The
/// packet's hop is taken already. A packet that must not be cut, or for which there is no room at all, is refused.
pub fn fragments(packet: &[u8], mtu: usize) -> Result<impl Iterator<Item = Fragment<'_>>, Refusal> {
    let header = Header::check(packet)?;
    if !matches!(header.addresses, FibAddresses::V4 { .. }) || !header.may_fragment {
        return Err(Refusal::TooBig);
    }
    let packet = packet.get(..header.total_len).ok_or(Refusal::TotalLength)?;
    let (head, payload) = packet.split_at_checked(header.header_len).ok_or(Refusal::HeaderLength)?;
    // The first one has all options, so what fits behind them fits in every other.
    let room = mtu.saturating_sub(head.len()) / 8 * 8;
    if room == 0 {
        return Err(Refusal::TooBig);
    }
    let word = head.get(6..8).and_then(|word| word.first_chunk()).copied().map_or(0, u16::from_be_bytes);
    let (base, more) = (word & OFFSET, word & MORE);
    let chunks = payload.chunks(room);
    let count = chunks.len();
    Ok(chunks.enumerate().map(move |(number, payload)| {
        let offset = base + (number * room / 8) as u16;
        let more = if number + 1 < count { MORE } else { more };
        let (header, header_len) = head_of(head, number == 0, payload.len(), more | offset & OFFSET);
        Fragment { header, header_len, payload }
    }))
}

fn head_of(head: &[u8], first: bool, payload: usize, flags: u16) -> ([u8; HEADER_MAX], usize) {
    let mut header = [0; HEADER_MAX];
    let len = match first {
        true => copy(&mut header, 0, head),
        false => {
            let (fixed, options) = head.split_at_checked(V4_HEADER).unwrap_or((head, &[]));
            let end = copy(&mut header, 0, fixed);
            let end = copied_options(options).fold(end, |end, option| copy(&mut header, end, option));
            end.next_multiple_of(4)
        }
    };
    header[0] = 0x40 | (len / 4) as u8;
    copy(&mut header, 2, &((len + payload) as u16).to_be_bytes());
    copy(&mut header, 6, &flags.to_be_bytes());
    copy(&mut header, 10, &[0, 0]);
    let sum = checksum(header.get(..len).unwrap_or(&[]));
    copy(&mut header, 10, &sum.to_be_bytes());
    (header, len)
}

/// The options that go into every fragment. The header was checked: they fill their space.
fn copied_options(mut options: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        loop {
            let len = match *options.first()? {
                OPTION_END => return None,
                OPTION_NOP => 1,
                _ => usize::from(*options.get(1)?).max(2),
            };
            let (option, rest) = options.split_at_checked(len)?;
            options = rest;
            if option.first().is_some_and(|kind| kind & COPIED != 0) {
                return Some(option);
            }
        }
    })
}

/// Copies some bytes, and answers where they end.
fn copy(header: &mut [u8; HEADER_MAX], at: usize, bytes: &[u8]) -> usize {
    if let Some(place) = header.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
    at + bytes.len()
}
