//! Files that are not what they say: each gives one clear error, and no bytes whatever bring a panic.

use proptest::prelude::*;
use weir_io::pcap::{Capture, Limits, NgWriter, Packet};

use crate::build::{BIG, LITTLE, udp};

fn error(bytes: &[u8]) -> String {
    Capture::parse("bad.pcap", bytes, &Limits::default()).unwrap_err().to_string()
}

#[test]
fn the_first_format() {
    let header = LITTLE.legacy(0xa1b2_c3d4, 1);
    let cases: [(Vec<u8>, &str); 8] = [
        (vec![], "byte 0: found 0 bytes, wanted a pcap or pcapng file, plain or packed with gzip or zstd"),
        (
            b"\x7fELF and so on".to_vec(),
            "byte 0: found 0x7f454c46, wanted a pcap or pcapng file, plain or packed with gzip or zstd",
        ),
        (header[..20].to_vec(), "byte 0: found 20 bytes, wanted a file header of 24"),
        (
            [&header[..4], &[3, 0, 0, 0], &header[8..]].concat(),
            "byte 4: found pcap version 3, wanted version 2",
        ),
        (
            [&header[..], &[0; 15]].concat(),
            "byte 24: found 15 bytes, wanted a record header of 16, or the end of the file",
        ),
        (
            [&header[..], &LITTLE.words([1, 0, 100, 100]), &[0; 60]].concat(),
            "byte 40: found 60 bytes to the end of the file, wanted a packet of 100",
        ),
        (
            [&header[..], &LITTLE.words([1, 0, 0xffff_ffff, 60])].concat(),
            "byte 32: found a captured length of 4294967295, wanted at most 1048576",
        ),
        (
            [LITTLE.legacy(0xa1b2_c3d4, 127), LITTLE.record(0, 0, &[0; 60], 60)].concat(),
            "byte 24: found a packet of link type 127, wanted Ethernet (1), raw IP (101, 228, 229), NULL (0), \
             LOOP (108), LINUX_SLL (113) or SLL2 (276)",
        ),
    ];
    for (bytes, wanted) in cases {
        assert_eq!(error(&bytes), format!("bad.pcap: {wanted}"));
    }
}

#[test]
fn the_second_format() {
    let (section, interface) = (BIG.section(), BIG.interface(1, 0, &[]));
    let with = |block: Vec<u8>| [&section[..], &interface, &block].concat();
    let mut other_order = section.clone();
    other_order[8..12].copy_from_slice(b"abcd");
    let mut version = section.clone();
    version[13] = 9;
    let mut again = BIG.simple(&[0; 20], 20);
    let end = again.len() - 1;
    again[end] = 99;
    let cases: [(Vec<u8>, &str); 10] = [
        (
            section[..9].to_vec(),
            "byte 8: found the end of the file, wanted the byte-order magic 0x1a2b3c4d, either way round",
        ),
        (other_order, "byte 8: found 0x61626364, wanted the byte-order magic 0x1a2b3c4d, either way round"),
        (version, "byte 12: found version 9, wanted pcapng version 1"),
        (
            [&section[..], &BIG.enhanced(0, 0, &[0; 20], &[])].concat(),
            "byte 28: found a packet of interface 0, wanted an interface description before the first packet",
        ),
        (
            with(BIG.enhanced(7, 0, &[0; 20], &[])),
            "byte 48: found a packet of interface 7, wanted one of the section's 1, from 0",
        ),
        (with(vec![0; 7]), "byte 48: found 7 bytes, wanted a block of at least 12, or the end of the file"),
        (
            with(BIG.words([6, 13, 0, 0]).clone()),
            "byte 52: found a block length of 13, wanted a multiple of 4, from 12",
        ),
        (
            with(BIG.words([6, 400, 0, 0])),
            "byte 48: found 16 bytes to the end of the file, wanted a block of 400",
        ),
        (with(again), "byte 80: found 99 as the length again, wanted 36"),
        (
            with(BIG.block(6, &BIG.words([0, 0, 0, 100, 100, 1, 2, 3]))),
            "byte 76: found 12 bytes left in the block, wanted a packet of 100",
        ),
    ];
    for (bytes, wanted) in cases {
        assert_eq!(error(&bytes), format!("bad.pcap: {wanted}"));
    }
    assert_eq!(
        error(&with(BIG.block(6, &[0; 16]))),
        "bad.pcap: byte 48: found 16 bytes in a block, wanted packet of at least 20"
    );
}

/// Files to damage: both formats, both orders, several blocks.
fn files() -> Vec<Vec<u8>> {
    let mut ng = NgWriter::new(Vec::new(), &["a", "b"]).unwrap();
    for number in 0..3 {
        let packet = udp(number, 20);
        let packet = Packet { interface: 1, comment: Some("why"), ..Packet::new(5, &packet) };
        ng.packet(&packet).unwrap();
    }
    let record = |packet: &[u8]| LITTLE.record(9, 9, packet, packet.len() as u32);
    vec![
        ng.finish().unwrap(),
        [LITTLE.legacy(0xa1b2_c3d4, 1), record(&udp(1, 1)), record(&udp(2, 80))].concat(),
        [
            BIG.section(),
            BIG.interface(113, 64, &[(9, &[3]), (14, &[0xff; 8])]),
            BIG.simple(&udp(1, 30), 72),
            BIG.enhanced(0, u64::MAX, &udp(1, 30), &[(1, b"x")]),
            LITTLE.section(),
            LITTLE.interface(276, 0, &[(9, &[0xff])]),
            LITTLE.enhanced(0, u64::MAX, &udp(1, 30), &[]),
        ]
        .concat(),
    ]
}

/// The bytes give a capture whose records are all accounted for, or an error; both are found out without panic.
fn survive(bytes: &[u8]) {
    for keep_truncated in [false, true] {
        let limits = Limits { keep_truncated, memory_bytes: 1 << 20, ..Limits::default() };
        if let Ok(capture) = Capture::parse("x", bytes, &limits) {
            assert!(capture.tally().balances());
            assert_eq!(capture.frames() as u64, capture.tally().frames);
            assert!(capture.slots().iter().all(|slot| !capture.bytes(slot).is_empty()));
        }
    }
}

/// How many cases each property is tried with; `WEIR_CASES` asks for more.
fn cases() -> u32 {
    std::env::var("WEIR_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(2000)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn damaged_files_never_panic(
        which in 0..3_usize,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
        shorten: bool,
    ) {
        let mut file = files().swap_remove(which);
        for (at, byte) in damage {
            let at = at.index(file.len());
            file[at] = byte;
        }
        if shorten {
            file.truncate(cut.index(file.len() + 1));
        }
        survive(&file);
    }

    #[test]
    fn any_bytes_behind_a_magic_never_panic(
        magic in 0..6_usize,
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let magics = [
            LITTLE.legacy(0xa1b2_c3d4, 1),
            BIG.legacy(0xa1b2_3c4d, 113),
            LITTLE.section(),
            [BIG.section(), BIG.interface(1, 0, &[])].concat(),
            vec![0x1f, 0x8b],
            vec![0x28, 0xb5, 0x2f, 0xfd],
        ];
        survive(&[&magics[magic][..], &bytes].concat());
    }

    #[test]
    fn numbers_at_their_ends_never_panic(
        which in 0..3_usize,
        at in any::<prop::sample::Index>(),
        value in prop::sample::select(vec![0, 1, 4, 12, 0x7fff_ffff, 0x8000_0000, 0xffff_fffc, 0xffff_ffff]),
        big: bool,
    ) {
        let mut file = files().swap_remove(which);
        let at = at.index(file.len() / 4) * 4;
        file[at..at + 4].copy_from_slice(&(if big { BIG } else { LITTLE }).word(value));
        survive(&file);
    }
}
