//! What a port does with each thing a kernel may do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use weir_io::afxdp::XdpPort;
use weir_io::afxdp::ring::Descriptor;
use weir_io::gauges::{Held, State};
use weir_io::{Port, Received, Refusal, Wait};
use weir_packet::{Batch, ChunkSize, Pool, Umem};
use weir_sys::errno;
use weir_sys::xdp::PKT_CONTD;

use crate::mock::{Mock, mock};

struct Table {
    umem: Arc<Umem>,
    pool: Pool,
    port: XdpPort,
    kernel: Mock,
    batch: Batch,
}

/// A port with rings of 8 and so many frames.
fn table(frames: usize) -> Table {
    let umem = Umem::new(frames, ChunkSize::Half).unwrap();
    let (port, kernel) = mock(&umem, 8);
    Table { pool: umem.pool(frames).unwrap(), umem, port, kernel, batch: Batch::new() }
}

impl Table {
    fn receive(&mut self) -> Received {
        self.port.receive(&mut self.pool, &mut self.batch, 64)
    }

    /// The first receive, which offers frames; and which.
    fn offered(&mut self) -> Vec<u64> {
        assert_eq!(self.receive(), Received::default());
        self.kernel.take_fill()
    }

    fn send(&mut self, packets: usize) -> weir_io::Sent {
        let mut batch = Batch::new();
        for number in 0..packets {
            let mut frame = self.pool.take().unwrap();
            frame.fill(&[number as u8; 60]).unwrap();
            batch.push(frame).unwrap();
        }
        self.port.send(&mut self.pool, &mut batch)
    }

    fn strange(&self) -> u64 {
        self.port.gauges().unwrap().losses().strange
    }

    fn state(&self) -> State {
        self.port.gauges().unwrap().state()
    }

    /// Closes, and sees that every frame is back.
    fn finish(mut self, held: usize) {
        self.pool.put_all(&mut self.batch);
        assert_eq!(self.port.close(&mut self.pool), held);
        assert_eq!(self.pool.free(), self.umem.chunks());
        assert_eq!(self.port.gauges().unwrap().held(), Held::default());
        assert!(matches!(self.state(), State::Lost(_)));
        assert_eq!(self.receive(), Received::default());
        assert_eq!(self.send(1).refused.count(Refusal::Down), 1);
        assert_eq!(self.port.close(&mut self.pool), 0);
    }
}

#[test]
fn packets_arrive_in_frames_that_were_offered_and_more_are_offered() {
    let mut table = table(32);
    let offered = table.offered();
    assert_eq!((offered.len(), table.pool.free()), (8, 24));
    let held = table.port.gauges().unwrap().held();
    assert_eq!(held, Held { device: 8, ..Held::default() });
    table.kernel.arrive(&offered[..3]);
    assert_eq!(table.port.wait(), Wait::Ready);
    assert_eq!(table.receive(), Received { frames: 3, ..Received::default() });
    assert!(table.batch.iter().all(|frame| frame.len() == 60 && frame.start() == 256));
    let addresses: Vec<_> = table.batch.iter().map(|frame| table.umem.address(frame).unwrap()).collect();
    assert_eq!(addresses, offered[..3]);
    assert_eq!(table.port.gauges().unwrap().held(), Held { fill: 3, device: 5, ..Held::default() });
    assert_eq!(table.port.wait(), Wait::Readable(99));
    table.finish(8);
}

#[test]
fn an_empty_pool_starves_the_fill_ring_and_refilling_goes_on_later() {
    let mut table = table(4);
    let offered = table.offered();
    assert_eq!((offered.len(), table.pool.free()), (4, 0));
    table.kernel.arrive(&offered);
    assert_eq!(table.receive().frames, 4);
    assert!(table.kernel.take_fill().is_empty());
    let spare = table.batch.pop().unwrap();
    table.pool.put(spare);
    assert_eq!((table.receive(), table.kernel.take_fill().len()), (Received::default(), 1));
    table.finish(1);
}

#[test]
fn no_more_comes_than_was_asked_for_and_the_rest_waits() {
    let mut table = table(32);
    let offered = table.offered();
    table.kernel.arrive(&offered);
    assert_eq!(table.port.receive(&mut table.pool, &mut table.batch, 5).frames, 5);
    assert_eq!(table.port.gauges().unwrap().held().rx, 3);
    assert_eq!(table.receive().frames, 3);
    table.finish(8);
}

#[test]
fn a_full_ring_refuses_and_has_room_again_when_the_kernel_took_something() {
    let mut table = table(32);
    assert_eq!((table.send(6).sent, table.port.send_room()), (6, 2));
    let sent = table.send(5);
    assert_eq!((sent.sent, sent.refused.count(Refusal::RingFull)), (2, 3));
    assert_eq!((table.port.send_room(), table.pool.free()), (0, 24));
    let packets = table.kernel.take_tx();
    assert_eq!((packets.len(), packets[0].len), (8, 60));
    // Taken, not completed: there is room, and the frames are still the kernel's.
    assert_eq!((table.port.send_room(), table.send(1).sent), (8, 1));
    let addresses: Vec<_> = packets.iter().map(|packet| packet.address).collect();
    table.kernel.complete(&addresses);
    table.port.flush(&mut table.pool);
    assert_eq!(table.pool.free(), 31);
    table.finish(1);
}

#[test]
fn completions_may_stall_and_come_in_any_order() {
    let mut table = table(32);
    assert_eq!(table.send(8).sent, 8);
    let mut addresses: Vec<_> = table.kernel.take_tx().iter().map(|packet| packet.address).collect();
    for _ in 0..10 {
        table.port.flush(&mut table.pool);
    }
    assert_eq!(table.pool.free(), 24);
    addresses.reverse();
    addresses.swap(1, 5);
    table.kernel.complete(&addresses[..3]);
    table.port.flush(&mut table.pool);
    assert_eq!(table.pool.free(), 27);
    // The rest never completes.
    table.finish(5);
}

#[test]
fn packets_that_cannot_be_sent_are_refused_by_their_reason() {
    let mut table = table(8);
    let mut batch = Batch::new();
    for len in [0, 60, 1518, 1519] {
        let mut frame = table.pool.take().unwrap();
        frame.fill(&vec![1; len]).unwrap();
        batch.push(frame).unwrap();
    }
    let sent = table.port.send(&mut table.pool, &mut batch);
    assert_eq!((sent.sent, sent.refused.total()), (2, 2));
    assert_eq!((sent.refused.count(Refusal::Failed), sent.refused.count(Refusal::TooLong)), (1, 1));
    table.finish(2);
}

#[test]
fn addresses_that_name_no_lent_frame_are_counted_and_ignored() {
    let mut table = table(16);
    let offered = table.offered();
    let elsewhere = 15 * 2048 + 256;
    assert!(!offered.contains(&elsewhere));
    table.kernel.arrive(&[u64::MAX, 16 * 2048, elsewhere, offered[0], offered[0]]);
    assert_eq!(table.receive(), Received { frames: 1, ..Received::default() });
    assert_eq!(table.strange(), 4);
    // One that reaches beyond its frame is no packet, but its frame is back.
    table.kernel.describe(Descriptor { address: offered[1], len: 1793, options: 0 });
    table.kernel.describe(Descriptor { address: offered[2] + 1500, len: u32::MAX, options: 0 });
    assert_eq!(table.receive(), Received { lost: 2, ..Received::default() });
    assert_eq!((table.strange(), table.kernel.take_fill().len()), (6, 3));
    // A frame lent to receive is not one that was sent.
    assert_eq!(table.send(1).sent, 1);
    table.kernel.complete(&[offered[3], elsewhere + 2048, u64::MAX]);
    table.port.flush(&mut table.pool);
    assert_eq!(table.strange(), 9);
    table.finish(9);
}

#[test]
fn positions_that_cannot_be_bring_nothing() {
    let mut table = table(16);
    table.offered();
    table.kernel.areas.rx.producer().store(1000, Relaxed);
    table.kernel.areas.completion.producer().store(u32::MAX, Relaxed);
    table.kernel.areas.fill.consumer().store(77, Relaxed);
    table.kernel.areas.tx.consumer().store(u32::MAX / 2, Relaxed);
    assert_eq!(table.receive(), Received::default());
    let _ = table.send(4);
    table.port.flush(&mut table.pool);
    let held = table.port.gauges().unwrap().held().total();
    assert!(held >= 8, "{held}");
    table.pool.put_all(&mut table.batch);
    table.port.close(&mut table.pool);
    assert_eq!(table.pool.free(), 16);
}

#[test]
fn packets_in_several_frames_are_dropped_whole_and_counted() {
    let mut table = table(32);
    let offered = table.offered();
    for (at, options) in [PKT_CONTD, PKT_CONTD, 0, 0].into_iter().enumerate() {
        table.kernel.describe(Descriptor { address: offered[at], len: 1000, options });
    }
    // Split over two receives.
    assert_eq!(table.port.receive(&mut table.pool, &mut table.batch, 2), Received::default());
    assert_eq!(table.receive(), Received { frames: 1, lost: 1, end: false });
    assert_eq!(table.port.gauges().unwrap().losses().scattered, 1);
    table.finish(8);
}

#[test]
fn wake_ups_go_on_while_they_get_anywhere_and_are_put_off_otherwise() {
    let mut table = table(32);
    assert_eq!(table.send(4).sent, 4);
    table.kernel.answers.tx.lock().unwrap().extend([errno::EAGAIN; 3]);
    table.port.flush(&mut table.pool);
    // The first got nowhere, so it was the last.
    assert_eq!(table.kernel.answers.woken.load(Relaxed), 1);
    for number in [errno::ENOBUFS, errno::EBUSY] {
        table.kernel.answers.tx.lock().unwrap().clear();
        table.kernel.answers.tx.lock().unwrap().push_back(number);
        table.port.flush(&mut table.pool);
        assert_eq!(table.state(), State::Up);
    }
    assert_eq!(table.port.gauges().unwrap().losses().wakeups_put_off, 3);
    assert_eq!(table.port.gauges().unwrap().losses().rx_ring_full, 7);
    table.finish(4);
}

#[test]
fn a_device_that_is_down_is_refused_until_it_is_up() {
    let mut table = table(32);
    assert_eq!(table.send(1).sent, 1);
    table.kernel.answers.tx.lock().unwrap().push_back(errno::ENETDOWN);
    *table.kernel.answers.rx.lock().unwrap() = errno::ENETDOWN;
    table.port.flush(&mut table.pool);
    assert_eq!(table.state(), State::Down("the device is down".to_owned()));
    assert_eq!((table.send(2).refused.count(Refusal::Down), table.port.wait()), (2, Wait::Later));
    (0..100).for_each(|_| assert_eq!(table.receive(), Received::default()));
    assert!(matches!(table.state(), State::Down(_)));
    *table.kernel.answers.rx.lock().unwrap() = 0;
    (0..100).for_each(|_| assert_eq!(table.receive(), Received::default()));
    assert_eq!((table.state(), table.send(2).sent), (State::Up, 2));
    table.finish(11);
}

#[test]
fn a_device_that_is_gone_is_noticed_by_who_only_listens_and_gives_back_what_it_had() {
    let mut table = table(32);
    let offered = table.offered();
    assert_eq!(table.send(3).sent, 3);
    table.kernel.arrive(&offered[..2]);
    *table.kernel.answers.rx.lock().unwrap() = errno::ENXIO;
    assert_eq!(table.receive().frames, 2);
    (0..300).for_each(|_| assert_eq!(table.receive(), Received::default()));
    assert_eq!(table.state(), State::Lost("the device has gone".to_owned()));
    assert_eq!((table.send(1).refused.count(Refusal::Down), table.port.wait()), (1, Wait::Later));
    *table.kernel.answers.rx.lock().unwrap() = 0;
    (0..300).for_each(|_| assert_eq!(table.receive(), Received::default()));
    assert!(matches!(table.state(), State::Lost(_)));
    table.finish(11);
}

#[test]
fn a_port_that_is_dropped_brings_its_frames_home() {
    let mut table = table(32);
    table.offered();
    assert_eq!(table.send(3).sent, 3);
    let Table { umem, pool, port, .. } = table;
    drop((port, pool));
    assert_eq!(umem.home(), 32);
}

#[test]
fn between_turns_the_rings_hold_what_the_pool_does_not_while_the_kernel_moves_frames() {
    let Table { umem, mut pool, mut port, mut kernel, mut batch } = table(32);
    let gauges = port.gauges().unwrap();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Relaxed) {
                while kernel.rx.room(1) == 0 && !over.load(Relaxed) {
                    std::hint::spin_loop();
                }
                if kernel.fill.waiting(1) > 0 {
                    let address = kernel.fill.read::<u64>().unwrap();
                    kernel.fill.give_back();
                    kernel.arrive(&[address]);
                }
            }
        });
        let mut packets = 0;
        let mut wrong = None;
        while packets < 20_000 && wrong.is_none() {
            packets += port.receive(&mut pool, &mut batch, 64).frames;
            pool.put_all(&mut batch);
            let free = pool.free();
            wrong = (0..8).map(|_| gauges.held()).find(|held| held.total() + free != umem.chunks());
        }
        over.store(true, Relaxed);
        assert_eq!(wrong, None, "after {packets} packets");
    });
}

#[test]
fn gauges_may_be_read_while_the_port_is_used_and_closed() {
    let mut table = table(32);
    let gauges = table.port.gauges().unwrap();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0_u64;
            loop {
                assert!(gauges.held().total() <= 32 + 32);
                assert_eq!(gauges.losses().rx_ring_full, 7);
                reads += 1;
                if matches!(gauges.state(), State::Lost(_)) {
                    return reads;
                }
            }
        });
        for _ in 0..2000 {
            let _ = table.receive();
            let offered = table.kernel.take_fill();
            let room = table.kernel.rx.room(8) as usize;
            table.kernel.arrive(&offered[..offered.len().min(room)]);
            table.pool.put_all(&mut table.batch);
        }
        table.finish(8);
        assert!(reader.join().unwrap() > 0);
    });
    assert_eq!(gauges.losses().rx_ring_full, 7);
}
