//! Fragments: whatever the packet and the room, they are sound, fit, and make the packet again.

use proptest::prelude::*;
use weir_router::checksum::checksum;
use weir_router::{Header, fragments};

/// A packet with some options, of which those with the highest bit go into every fragment.
fn packet(payload: usize, options: &[u8], offset: u16, more: bool) -> Vec<u8> {
    let header_len = 20 + options.len().next_multiple_of(4);
    let word = offset | if more { 0x2000 } else { 0 };
    let mut packet = vec![0x40 | (header_len / 4) as u8, 0];
    packet.extend(((header_len + payload) as u16).to_be_bytes());
    packet.extend([0x12, 0x34]);
    packet.extend(word.to_be_bytes());
    packet.extend([64, 17, 0, 0, 192, 0, 2, 9, 10, 0, 0, 1]);
    packet.extend(options);
    packet.resize(header_len, 0);
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend((0..payload).map(|at| at as u8));
    packet
}

proptest! {
    #[test]
    fn fragments_make_the_packet_again(
        payload in 1usize..4000,
        mtu in 68usize..1500,
        offset in 0u16..1000,
        more in any::<bool>(),
        // Router alert (copied), timestamp (not), nothing.
        options in prop::sample::select(vec![&[][..], &[148, 4, 0, 0], &[68, 4, 5, 0, 148, 4, 0, 0, 1]]),
    ) {
        let payload = if more { payload.next_multiple_of(8) } else { payload };
        let whole = packet(payload, options, offset, more);
        let header_len = usize::from(whole[0] & 15) * 4;
        let pieces: Vec<_> = fragments(&whole, mtu).unwrap().collect();
        let mut again = Vec::new();
        for (number, piece) in pieces.iter().enumerate() {
            let bytes = [piece.header(), piece.payload].concat();
            let header = Header::check(&bytes).unwrap();
            prop_assert!(bytes.len() <= mtu && piece.len() == bytes.len() && !piece.is_empty());
            prop_assert_eq!(header.total_len, bytes.len());
            prop_assert_eq!(&bytes[4..6], &[0x12, 0x34]);
            let word = u16::from_be_bytes([bytes[6], bytes[7]]);
            prop_assert_eq!(usize::from(word & 0x1fff), usize::from(offset) + again.len() / 8);
            let last = number + 1 == pieces.len();
            prop_assert_eq!(word & 0x2000 != 0, !last || more);
            let kept = bytes[20..header.header_len].contains(&148);
            prop_assert_eq!(kept, options.contains(&148), "an option to be copied");
            prop_assert!(number != 0 || bytes[20..header.header_len] == whole[20..header_len]);
            again.extend_from_slice(piece.payload);
        }
        prop_assert_eq!(again, &whole[header_len..]);
    }

    #[test]
    fn any_bytes_are_refused_or_cut(bytes in prop::collection::vec(any::<u8>(), 0..100), mtu in 0usize..100) {
        if let Ok(pieces) = fragments(&bytes, mtu) {
            prop_assert!(pieces.count() <= bytes.len());
        }
    }
}

#[test]
fn what_must_not_be_cut_is_refused() {
    let mut whole = packet(1000, &[], 0, false);
    assert!(fragments(&whole, 27).is_err(), "no room for eight bytes");
    whole[6] = 0x40;
    whole[10..12].fill(0);
    let sum = checksum(&whole[..20]);
    whole[10..12].copy_from_slice(&sum.to_be_bytes());
    assert!(fragments(&whole, 500).is_err(), "its sender forbids it");
}
