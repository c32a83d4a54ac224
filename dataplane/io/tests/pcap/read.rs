//! What is read: formats, byte orders, units of time, link types, and what becomes of odd records.

use std::path::PathBuf;

use weir_io::pcap::{Capture, Limits, RecordRefusal};

use crate::build::{BIG, LITTLE, Order, udp};

pub(crate) fn parse(bytes: &[u8]) -> Capture {
    Capture::parse("test.pcap", bytes, &Limits::default()).unwrap()
}

pub(crate) fn frames(capture: &Capture) -> Vec<Vec<u8>> {
    capture.slots().iter().map(|slot| capture.bytes(slot).to_vec()).collect()
}

fn stamps(capture: &Capture) -> Vec<u64> {
    (0..capture.frames() as u32).map(|number| capture.stamp_ns(number).unwrap()).collect()
}

#[test]
fn the_first_format_in_both_byte_orders_and_units() {
    for (order, magic, unit) in [
        (LITTLE, 0xa1b2_c3d4, 1000),
        (BIG, 0xa1b2_c3d4, 1000),
        (LITTLE, 0xa1b2_3c4d, 1),
        (BIG, 0xa1b2_3c4d, 1),
    ] {
        let packets = [udp(1, 0), udp(2, 22), udp(3, 700)];
        let mut file = order.legacy(magic, 1);
        for (at, packet) in packets.iter().enumerate() {
            file.extend(order.record(7 + at as u32, 5, packet, packet.len() as u32));
        }
        let capture = parse(&file);
        assert_eq!(frames(&capture), packets, "{order:?} {magic:x}");
        let second = 1_000_000_000;
        assert_eq!(stamps(&capture), [7, 8, 9].map(|at| at * second + 5 * unit));
        assert_eq!(capture.links(), [1]);
    }
}

#[test]
fn the_second_format_with_sections_of_both_orders_and_several_interfaces() {
    let packets: Vec<_> = (1..=6).map(|number| udp(number, usize::from(number))).collect();
    let file = [
        LITTLE.section(),
        LITTLE.interface(1, 0, &[(2, b"eth0"), (9, &[9]), (0, &[])]),
        LITTLE.interface(1, 0, &[(9, &[0x80 | 10]), (14, &100_i64.to_le_bytes())]),
        LITTLE.enhanced(0, 5_000_000_007, &packets[0], &[(1, b"a comment"), (2, &[1, 0, 0, 0]), (0, &[])]),
        LITTLE.block(5, &[0; 12]),
        LITTLE.enhanced(1, 1024 + 512, &packets[1], &[]),
        LITTLE.block(0x0bad_0bad, b"unknown"),
        BIG.section(),
        BIG.interface(1, 0, &[(14, &(-1_i64).to_be_bytes()), (0, &[])]),
        BIG.enhanced(0, 3_000_001, &packets[2], &[]),
        BIG.simple(&packets[3], packets[3].len() as u32),
        // The obsolete packet block: interface and drop count are two bytes each.
        BIG.block(
            2,
            &[&[0, 0, 0, 9][..], &BIG.words([0, 4_000_000, packets[4].len() as u32, 99]), &packets[4]]
                .concat(),
        ),
        LITTLE.section(),
        LITTLE.interface(1, 60, &[]),
        LITTLE.simple(&packets[5], packets[5].len() as u32),
    ]
    .concat();
    let capture = parse(&file);
    assert_eq!(frames(&capture), [&packets[..4], &packets[5..]].concat());
    let second = 1_000_000_000;
    let wanted =
        [5 * second + 7, 101 * second + second / 2, 2 * second + 1000, 2 * second + 1000, 3 * second];
    assert_eq!(stamps(&capture), wanted);
    assert_eq!(capture.tally().refused(RecordRefusal::Truncated), 1, "the obsolete block had 99 on the wire");
}

#[test]
fn odd_records_are_counted_by_name_and_nothing_is_lost() {
    let long = vec![0; 4000];
    let file = [
        LITTLE.legacy(0xa1b2_c3d4, 1),
        LITTLE.record(1, 0, &udp(1, 10), 0),
        LITTLE.record(1, 0, &[], 0),
        LITTLE.record(1, 0, &[], 60),
        LITTLE.record(1, 0, &[0; 13], 13),
        LITTLE.record(1, 0, &udp(1, 10), 1500),
        LITTLE.record(1, 0, &long, 4000),
        LITTLE.record(1, 0, &udp(2, 10), 52),
    ]
    .concat();
    let capture = parse(&file);
    let tally = capture.tally();
    let refused: Vec<_> = tally.each_refused().map(|(reason, count)| (reason.name(), count)).collect();
    assert_eq!(
        refused,
        [("record-empty", 2), ("record-runt", 1), ("record-truncated", 1), ("record-oversized", 1)]
    );
    assert_eq!((tally.records, tally.frames, tally.balances()), (7, 2, true));

    let kept = Capture::parse("x", &file, &Limits { keep_truncated: true, ..Limits::default() }).unwrap();
    assert_eq!((kept.tally().frames, kept.tally().frames_cut, kept.tally().balances()), (3, 1, true));
    assert_eq!(kept.wire_len(1), Some(1500));
}

#[test]
fn other_link_layers_are_given_an_ethernet_header() {
    let ethernet = udp(9, 30);
    let packet = &ethernet[14..];
    let sll = [&[0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 9, 0, 0, 8, 0][..], packet].concat();
    let sll2 = [&[8, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 6, 2, 0, 0, 0, 0, 9, 0, 0][..], packet].concat();
    let null = [&[2, 0, 0, 0][..], packet].concat();
    for (link, bytes, source) in [
        (101, packet, [0; 6]),
        (12, packet, [0; 6]),
        (228, packet, [0; 6]),
        (0, &null, [0; 6]),
        (108, &null, [0; 6]),
        (113, &sll, [2, 0, 0, 0, 0, 9]),
        (276, &sll2, [2, 0, 0, 0, 0, 9]),
    ] {
        let file = [BIG.legacy(0xa1b2_3c4d, link), BIG.record(1, 0, bytes, bytes.len() as u32)].concat();
        let capture = parse(&file);
        let wanted = [&[0; 6][..], &source, &[8, 0], packet].concat();
        assert_eq!(frames(&capture), [wanted], "link type {link}");
        assert_eq!(capture.tally().frames_relinked, 1);
    }
    let file = [BIG.legacy(0xa1b2_3c4d, 101), BIG.record(1, 0, &[0; 40], 40)].concat();
    assert_eq!(parse(&file).tally().refused(RecordRefusal::NoEthernet), 1);
}

#[test]
fn packed_files_read_as_the_files_they_hold() {
    let file = [LITTLE.legacy(0xa1b2_c3d4, 1), LITTLE.record(1, 2, &udp(1, 99), 141)].concat();
    let wanted = frames(&parse(&file));
    let gzip = |bytes: &[u8]| {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut packed, bytes).unwrap();
        packed.finish().unwrap()
    };
    let zstd =
        |bytes: &[u8]| ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest);
    let skippable = [&[0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
    let (front, back) = file.split_at(50);
    for (name, packed) in [
        ("plain", file.clone()),
        ("gz", gzip(&file)),
        ("two.gz", [gzip(front), gzip(back)].concat()),
        ("zst", zstd(&file)),
        ("two.zst", [zstd(front), skippable.clone(), zstd(back), skippable.clone()].concat()),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = put(&folder, name, &packed);
        let capture = Capture::load(&[&path, &path], &Limits::default()).unwrap();
        assert_eq!(frames(&capture), [wanted.clone(), wanted.clone()].concat(), "{name}");

        let small = Limits { memory_bytes: 100, ..Limits::default() };
        let words = Capture::load(&[&path], &small).unwrap_err().to_string();
        assert!(words.contains("more than 100 bytes of memory, the limit"), "{name}: {words}");

        let cut = put(&folder, &format!("cut-{name}"), &packed[..packed.len() - 12]);
        let words = Capture::load(&[&cut], &Limits::default()).map(|_| ()).map_err(|error| error.to_string());
        // A cut skippable frame at the end is the one case in which all packets are whole: it, too, is an error.
        assert!(words.is_err_and(|words| words.contains("cut-")), "{name}");
    }
}

/// A file in a folder that goes with the test.
fn put(folder: &tempfile::TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn a_file_that_cannot_be_opened_is_named() {
    let words = Capture::load(&["/no/such.pcap"], &Limits::default()).unwrap_err().to_string();
    assert_eq!(words, "/no/such.pcap: No such file or directory (os error 2)");
    let words = Capture::load(&["/tmp"], &Limits::default()).unwrap_err().to_string();
    assert!(words.starts_with("/tmp: is a directory"), "{words}");
}

#[test]
fn both_directions_of_a_flow_go_to_one_worker_in_order() {
    let mut file = LITTLE.legacy(0xa1b2_c3d4, 1);
    for round in 0..20 {
        for number in 0..50 {
            let mut packet = udp(number, 10 + round);
            if round % 2 == 1 {
                // The way back: addresses and ports change places.
                packet[26..34].rotate_left(4);
                packet[34..38].rotate_left(2);
            }
            let len = packet.len() as u32;
            file.extend(Order(false).record(1, round as u32, &packet, len));
        }
    }
    let capture = std::sync::Arc::new(parse(&file));
    let shards = capture.shard(3);
    assert_eq!(shards.iter().map(|shard| shard.slots.len()).sum::<usize>(), 1000);
    for shard in &shards {
        assert!(shard.slots.is_sorted_by_key(|slot| slot.number));
        assert_eq!(shard.slots.len() % 20, 0, "a flow of 20 packets was torn apart");
        assert!(shard.slots.len() > 100, "{} of 1000 packets", shard.slots.len());
    }
}
