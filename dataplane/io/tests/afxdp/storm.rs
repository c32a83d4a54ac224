//! A kernel that does anything at all: whatever it answers, frames are neither lost nor had twice (the umem's own
//! ledger, in test builds, looks at every change of hands).

use proptest::prelude::*;
use weir_io::Port;
use weir_io::afxdp::ring::Descriptor;
use weir_packet::{Batch, ChunkSize, Umem};
use weir_sys::errno;

use crate::mock::mock;

#[derive(Debug, Clone)]
enum Step {
    Receive(usize),
    Send(usize),
    Flush,
    /// Of the offered frames, so many arrive as packets.
    Arrive(usize),
    /// Of the taken packets, so many complete, the last taken first.
    Complete(usize),
    Describe(u64, u32, u32),
    Completion(u64),
    Wake(i32, i32),
}

fn step() -> impl Strategy<Value = Step> {
    let address = prop_oneof![0..40 * 2048_u64, any::<u64>()];
    prop_oneof![
        4 => (0..20_usize).prop_map(Step::Receive),
        3 => (0..10_usize).prop_map(Step::Send),
        3 => Just(Step::Flush),
        4 => (0..9_usize).prop_map(Step::Arrive),
        3 => (0..9_usize).prop_map(Step::Complete),
        1 => (address.clone(), prop_oneof![0..3000_u32, any::<u32>()], 0..4_u32)
            .prop_map(|(address, len, options)| Step::Describe(address, len, options)),
        1 => address.prop_map(Step::Completion),
        1 => (wake(), wake()).prop_map(|(tx, rx)| Step::Wake(tx, rx)),
    ]
}

fn wake() -> impl Strategy<Value = i32> {
    prop_oneof![
        6 => Just(0),
        1 => prop::sample::select(vec![errno::EAGAIN, errno::ENOBUFS, errno::EBUSY, errno::ENETDOWN]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_frame_is_in_one_place_after_every_step(steps in prop::collection::vec(step(), 1..80)) {
        const FRAMES: usize = 30;
        let umem = Umem::new(FRAMES, ChunkSize::Half).unwrap();
        let mut pool = umem.pool(FRAMES).unwrap();
        let (mut port, mut kernel) = mock(&umem, 8);
        let gauges = port.gauges().unwrap();
        let (mut offered, mut taken) = (Vec::new(), Vec::new());
        let mut held = Batch::new();
        for step in steps {
            match step {
                Step::Receive(max) => {
                    let before = held.len();
                    let received = port.receive(&mut pool, &mut held, max);
                    prop_assert_eq!(held.len() - before, received.frames);
                    prop_assert!(received.frames <= max);
                }
                Step::Send(count) => {
                    let mut out = Batch::new();
                    for _ in 0..count {
                        let Some(frame) = held.pop() else { break };
                        prop_assert!(out.push(frame).is_ok());
                    }
                    let len = out.len();
                    let sent = port.send(&mut pool, &mut out);
                    prop_assert_eq!(sent.sent + sent.refused.total(), len);
                    prop_assert!(out.is_empty());
                }
                Step::Flush => port.flush(&mut pool),
                Step::Arrive(count) => {
                    offered.append(&mut kernel.take_fill());
                    let count = count.min(offered.len()).min(kernel.rx.room(8) as usize);
                    let arrived: Vec<u64> = offered.drain(..count).collect();
                    kernel.arrive(&arrived);
                }
                Step::Complete(count) => {
                    taken.extend(kernel.take_tx().iter().map(|packet| packet.address));
                    for _ in 0..count.min(taken.len()).min(kernel.completion.room(8) as usize) {
                        kernel.complete(&[taken.pop().unwrap()]);
                    }
                }
                Step::Describe(address, len, options) if kernel.rx.room(8) > 0 => {
                    kernel.describe(Descriptor { address, len, options });
                }
                Step::Completion(address) if kernel.completion.room(8) > 0 => kernel.complete(&[address]),
                Step::Describe(..) | Step::Completion(_) => {}
                Step::Wake(tx, rx) => {
                    *kernel.answers.rx.lock().unwrap() = rx;
                    let mut answers = kernel.answers.tx.lock().unwrap();
                    answers.clear();
                    answers.push_back(tx);
                }
            }
            prop_assert!(pool.free() + held.len() <= FRAMES);
        }
        // Settle what the gauges say, then give all back.
        let _ = port.receive(&mut pool, &mut Batch::new(), 0);
        let lent = FRAMES - pool.free() - held.len();
        pool.put_all(&mut held);
        prop_assert_eq!(port.close(&mut pool), lent);
        prop_assert_eq!(pool.free(), FRAMES);
        prop_assert_eq!(gauges.held().total(), 0);
    }
}
