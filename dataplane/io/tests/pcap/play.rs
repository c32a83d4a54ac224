//! Playing a capture into frames: all of it, in order, at the pace asked for, and nothing lost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_io::null::Null;
use weir_io::pcap::{Capture, Pace, Play, Script, Shard};
use weir_io::{Port, Wait};
use weir_packet::{BATCH, Batch, ChunkSize, Pool, Umem};

use crate::build::{LITTLE, udp};
use crate::read::parse;

fn capture(frames: u16, payload: usize) -> Arc<Capture> {
    let mut file = LITTLE.legacy(0xa1b2_3c4d, 1);
    for number in 0..frames {
        let packet = udp(number, payload);
        // A millisecond apart.
        file.extend(LITTLE.record(1, u32::from(number) * 1_000_000, &packet, packet.len() as u32));
    }
    Arc::new(parse(&file))
}

fn whole(capture: &Arc<Capture>) -> Shard {
    capture.shard(1).remove(0)
}

fn pool(frames: usize) -> Pool {
    Umem::new(frames, ChunkSize::Half).unwrap().pool(frames).unwrap()
}

#[test]
fn every_loop_gives_every_frame_in_order() {
    let capture = capture(100, 30);
    let mut pool = pool(48);
    let mut port = Play::new("pcap", 1, 0, whole(&capture), Script { loops: Some(3), ..Script::once() });
    let (mut batch, mut numbers) = (Batch::new(), Vec::new());
    loop {
        let received = port.receive(&mut pool, &mut batch, BATCH);
        assert_eq!((received.frames, received.lost), (batch.len(), 0));
        for frame in &batch {
            let slot = capture.slots()[frame.record as usize];
            assert_eq!(frame.bytes(), capture.bytes(&slot));
            assert_eq!(Some(frame.stamp_ns), capture.stamp_ns(frame.record));
            assert_eq!(frame.hash, slot.hash);
            numbers.push(frame.record);
        }
        pool.put_all(&mut batch);
        if received.end {
            break;
        }
    }
    assert_eq!(numbers, [(0..100), (0..100), (0..100)].into_iter().flatten().collect::<Vec<_>>());
    assert_eq!((port.wait(), port.frames(), pool.free()), (Wait::End, 300, 48));
    assert_eq!(port.receive(&mut pool, &mut batch, BATCH).frames, 0);
}

#[test]
fn without_frames_the_capture_waits_and_loses_nothing() {
    let capture = capture(10, 30);
    let mut pool = pool(4);
    let mut port = Play::new("pcap", 1, 0, whole(&capture), Script::once());
    let mut batch = Batch::new();
    assert_eq!(port.receive(&mut pool, &mut batch, BATCH).frames, 4);
    let none = port.receive(&mut pool, &mut batch, BATCH);
    assert_eq!((none.frames, none.lost, none.end), (0, 0, false));
    pool.put_all(&mut batch);
    assert_eq!(port.receive(&mut pool, &mut batch, BATCH).frames, 4);
    assert_eq!(batch.iter().map(|frame| frame.record).collect::<Vec<_>>(), [4, 5, 6, 7]);
    pool.put_all(&mut batch);
}

#[test]
fn frames_longer_than_a_chunk_are_lost_by_count() {
    let capture = capture(5, 2000);
    assert_eq!(capture.chunk_size(), ChunkSize::Page);
    let mut pool = pool(8);
    let mut port = Play::new("pcap", 1, 0, whole(&capture), Script::once());
    let received = port.receive(&mut pool, &mut Batch::new(), BATCH);
    assert_eq!((received.frames, received.lost, received.end, pool.free()), (0, 5, true, 8));
}

#[test]
fn a_pace_is_kept() {
    let capture = capture(100, 30);
    // 99 ms by its own times; at 1000 a second the hundredth is due after 99 ms as well; 72 + 24 bytes a frame
    // are 768 bits, so 76.8 Mbit/s make 100 kpps.
    for (pace, wanted_ms) in [
        (Pace::Stamps { speed: 2.0 }, 49),
        (Pace::Packets { per_second: 2000.0 }, 49),
        (Pace::Bits { per_second: 2000.0 * 768.0 }, 49),
    ] {
        let begin = Instant::now();
        let mut pool = pool(64);
        let script = Script { loops: Some(1), pace, begin };
        let mut ports: Vec<_> = (0..)
            .zip(capture.shard(2))
            .map(|(queue, shard)| Play::new("p", 1, queue, shard, script))
            .collect();
        let (mut batch, mut frames) = (Batch::new(), 0);
        while ports.iter().any(|port| port.wait() != Wait::End) {
            for port in &mut ports {
                frames += port.receive(&mut pool, &mut batch, BATCH).frames;
                pool.put_all(&mut batch);
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        let took = begin.elapsed();
        assert_eq!(frames, 100);
        assert!(took >= Duration::from_millis(wanted_ms - 2), "{pace:?} took {took:?}");
    }
}

/// Run by hand: `cargo test --release -p weir-io --test pcap -- --ignored --nocapture rate`.
#[test]
#[ignore = "a measurement, for a quiet machine and a release build"]
fn rate_of_the_capture_source_on_one_core() {
    for (frames, payload) in [(1000, 18), (60_000, 18), (60_000, 470), (60_000, 1458)] {
        let mut file = LITTLE.legacy(0xa1b2_3c4d, 1);
        for number in 0..frames {
            let packet = udp((number % 60_000) as u16, payload);
            file.extend(LITTLE.record(1, number, &packet, packet.len() as u32));
        }
        let capture = Arc::new(parse(&file));
        let umem = Umem::new(4096, ChunkSize::Half).unwrap();
        umem.populate();
        for shards in [1, 2] {
            let mut pool = umem.pool(512).unwrap();
            let script = Script { loops: None, ..Script::once() };
            let mut port = Play::new("pcap", 1, 0, capture.shard(shards).remove(0), script);
            let mut sink = Null::new("null", 2);
            let mut batch = Batch::new();
            // The best of several short runs: others use this machine too.
            let mpps = (0..12).map(|_| {
                let (begin, before) = (Instant::now(), sink.frames());
                while begin.elapsed() < Duration::from_millis(40) {
                    for _ in 0..64 {
                        let _ = port.receive(&mut pool, &mut batch, BATCH);
                        let _ = sink.send(&mut pool, &mut batch);
                    }
                }
                (sink.frames() - before) as f64 / begin.elapsed().as_secs_f64() / 1e6
            });
            let mpps = mpps.fold(0.0, f64::max);
            let len = payload + 42;
            println!(
                "{frames:>6} frames of {len:>4} bytes, 1 of {shards} shards, {:?}: {mpps:6.1} Mpps, {:.2} GB/s",
                capture.pages(),
                mpps * len as f64 / 1e3
            );
        }
    }
}
