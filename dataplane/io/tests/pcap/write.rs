//! What is written can be read: by us, by pcap-parser, and by tshark where it is installed.

use std::path::Path;
use std::process::Command;

use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{Block, LegacyPcapReader, PcapBlockOwned, PcapNGReader};
use proptest::prelude::*;
use weir_io::pcap::{Direction, NgWriter, Packet, PcapWriter, Recorder, Verdict};
use weir_io::{Port, Refusal};
use weir_packet::{Batch, ChunkSize, Umem};

use crate::build::udp;
use crate::read::{frames, parse};

/// Packets as pcap-parser reads them: time in units of the file, and bytes.
fn oracle(file: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let (mut packets, mut patience) = (Vec::new(), 9);
    let mut reader: Box<dyn PcapReaderIterator> = if file.starts_with(&[0x0a, 0x0d]) {
        Box::new(PcapNGReader::new(1 << 20, file).unwrap())
    } else {
        Box::new(LegacyPcapReader::new(1 << 20, file).unwrap())
    };
    loop {
        let (offset, block) = match reader.next() {
            Ok(next) => next,
            Err(pcap_parser::PcapError::Eof) => return packets,
            Err(pcap_parser::PcapError::Incomplete(_)) if patience > 0 => {
                patience -= 1;
                reader.refill().unwrap();
                continue;
            }
            Err(error) => panic!("pcap-parser does not read what we wrote: {error:?}"),
        };
        match block {
            PcapBlockOwned::Legacy(packet) => {
                let ns = u64::from(packet.ts_sec) * 1_000_000_000 + u64::from(packet.ts_usec);
                packets.push((ns, packet.data.to_vec()));
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                let ns = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
                packets.push((ns, packet.data[..packet.caplen as usize].to_vec()));
            }
            _ => {}
        }
        reader.consume(offset);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn what_is_written_is_what_is_read(
        packets in prop::collection::vec(
            (0..4_000_000_000_u64 * 1_000_000_000, prop::collection::vec(any::<u8>(), 14..200)), 0..20),
        comment in prop::option::of(".{0,20}"),
        verdict: i32,
    ) {
        let mut ng = NgWriter::new(Vec::new(), &["eth0", "eth1"]).unwrap();
        let mut plain = PcapWriter::new(Vec::new()).unwrap();
        let verdicts = [Verdict::Xdp(1), Verdict::Tc(verdict)];
        for (at, (stamp_ns, bytes)) in packets.iter().enumerate() {
            let packet = Packet::new(*stamp_ns, bytes);
            plain.packet(&packet).unwrap();
            let interface = at as u32 % 2;
            let (direction, queue) = (Some(Direction::In), Some(3));
            let comment = comment.as_deref();
            ng.packet(&Packet { interface, direction, queue, comment, verdicts: &verdicts, ..packet }).unwrap();
        }
        for file in [ng.finish().unwrap(), plain.finish().unwrap()] {
            let capture = parse(&file);
            let bytes: Vec<_> = packets.iter().map(|(_, bytes)| bytes.clone()).collect();
            prop_assert_eq!(frames(&capture), bytes);
            for (at, (stamp_ns, _)) in packets.iter().enumerate() {
                prop_assert_eq!(capture.stamp_ns(at as u32), Some(*stamp_ns));
            }
            prop_assert_eq!(oracle(&file), packets.clone());
        }
    }
}

#[test]
fn the_recorder_writes_frames_and_stops_at_the_first_failure() {
    let umem = Umem::new(8, ChunkSize::Half).unwrap();
    let mut pool = umem.pool(8).unwrap();
    let batch = |pool: &mut weir_packet::Pool| {
        let mut batch = Batch::new();
        for number in 0..3 {
            let mut frame = pool.take().unwrap();
            frame.fill(&udp(number, 40)).unwrap();
            frame.stamp_ns = 77 + u64::from(number);
            batch.push(frame).unwrap();
        }
        batch
    };
    let mut port = Recorder::new("out", 3, Vec::new()).unwrap();
    let mut frames_out = batch(&mut pool);
    assert_eq!(port.send(&mut pool, &mut frames_out).sent, 3);
    let capture = parse(&port.finish().unwrap());
    assert_eq!(frames(&capture), [udp(0, 40), udp(1, 40), udp(2, 40)]);
    assert_eq!(capture.stamp_ns(2), Some(79));

    // Room for the header and one packet, not for two.
    let mut disk = [0_u8; 250];
    let mut port = Recorder::new("out", 3, &mut disk[..]).unwrap();
    let mut frames_out = batch(&mut pool);
    let sent = port.send(&mut pool, &mut frames_out);
    assert_eq!((sent.sent, sent.refused.count(Refusal::Failed), pool.free()), (1, 2, 8));
    assert!(port.finish().is_err());
}

#[test]
fn tshark_reads_verdicts_comments_and_times() {
    let Ok(found) = Command::new("tshark").arg("--version").output() else {
        eprintln!("skipped: tshark is not installed");
        return;
    };
    assert!(found.status.success());
    let mut ng = NgWriter::new(Vec::new(), &["wan", "lan"]).unwrap();
    let bytes = udp(1, 20);
    let packet = Packet {
        interface: 1,
        direction: Some(Direction::In),
        verdicts: &[Verdict::Xdp(1), Verdict::Tc(-1)],
        comment: Some("xdp-drop"),
        ..Packet::new(1_700_000_000_123_456_789, &bytes)
    };
    ng.packet(&packet).unwrap();
    let path = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&path, ng.finish().unwrap()).unwrap();
    let shown = tshark(path.path(), &["-V"]);
    for wanted in [
        "Interface name: lan",
        "1700000000.123456789",
        "Direction: Inbound",
        "xdp-drop",
        "eBPF XDP: XDP_DROP (1)",
        "eBPF TC: TC_ACT_UNSPEC (-1)",
    ] {
        assert!(shown.contains(wanted), "no {wanted:?} in\n{shown}");
    }
    assert!(!shown.to_lowercase().contains("malformed"), "{shown}");
}

fn tshark(path: &Path, arguments: &[&str]) -> String {
    let output = Command::new("tshark").arg("-r").arg(path).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn capinfos_reads_plain_pcap() {
    if Command::new("capinfos").arg("--version").output().is_err() {
        eprintln!("skipped: capinfos is not installed");
        return;
    }
    let mut plain = PcapWriter::new(Vec::new()).unwrap();
    for number in 0..3_u16 {
        plain.packet(&Packet::new(1_700_000_000_000_000_001 + u64::from(number), &udp(number, 20))).unwrap();
    }
    let path = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&path, plain.finish().unwrap()).unwrap();
    let asked = ["-T", "-M", "-t", "-E", "-c", "-d", "-S", "-a", "-e"];
    let shown = Command::new("capinfos").args(asked).arg(path.path()).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    for wanted in ["nsecpcap", "ether", "\t3\t", "\t186\t", "1700000000.000000001", "1700000000.000000003"] {
        assert!(shown.contains(wanted), "no {wanted:?} in\n{shown}");
    }
}
