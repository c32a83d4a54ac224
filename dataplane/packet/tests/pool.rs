//! Frames against a model: whatever is done, every chunk is in one place, and each frame keeps its own bytes.

use std::collections::HashSet;

use proptest::prelude::*;
use weir_packet::{Batch, ChunkSize, Frame, HEADROOM, Pool, Umem};

const CHUNKS: usize = 24;

#[derive(Debug, Clone)]
enum Step {
    /// Take a frame from this pool and write this into it.
    Take(bool, u8, usize),
    /// Give the frame at this place back to this pool.
    Put(prop::sample::Index, bool),
    /// Take this many into a batch and give the batch back to the other pool.
    Batch(bool, usize),
    /// Level this pool.
    Level(bool, usize),
    /// Move the frame's packet within its room.
    Shift(prop::sample::Index, usize, usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (any::<bool>(), any::<u8>(), 0..1900_usize).prop_map(|(side, fill, len)| Step::Take(side, fill, len)),
        (any::<prop::sample::Index>(), any::<bool>()).prop_map(|(at, side)| Step::Put(at, side)),
        (any::<bool>(), 0..70_usize).prop_map(|(side, count)| Step::Batch(side, count)),
        (any::<bool>(), 0..CHUNKS).prop_map(|(side, wanted)| Step::Level(side, wanted)),
        (any::<prop::sample::Index>(), 0..2049_usize, 0..2049_usize)
            .prop_map(|(at, a, b)| Step::Shift(at, a, b)),
    ]
}

fn batch(pools: &mut [Pool; 2], side: bool, count: usize) {
    let mut batch = Batch::new();
    for _ in 0..count {
        let Some(frame) = pools[usize::from(side)].take() else { break };
        if let Err(frame) = batch.push(frame) {
            pools[usize::from(side)].put(frame);
        }
    }
    pools[usize::from(!side)].put_all(&mut batch);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_chunk_is_in_one_place(steps in prop::collection::vec(step(), 0..80)) {
        let umem = Umem::new(CHUNKS, ChunkSize::Half).unwrap();
        let mut pools = [umem.pool(10).unwrap(), umem.pool(10).unwrap()];
        let mut held: Vec<(Frame, Vec<u8>)> = Vec::new();
        for step in steps {
            match step {
                Step::Take(side, fill, len) => {
                    let Some(mut frame) = pools[usize::from(side)].take() else { continue };
                    let bytes = vec![fill; len];
                    let filled = frame.fill(&bytes);
                    prop_assert_eq!(filled.is_ok(), len <= 2048 - HEADROOM);
                    held.push((frame, if filled.is_ok() { bytes } else { Vec::new() }));
                }
                Step::Put(at, side) if !held.is_empty() => {
                    let (frame, _) = held.swap_remove(at.index(held.len()));
                    pools[usize::from(side)].put(frame);
                }
                Step::Batch(side, count) => batch(&mut pools, side, count),
                Step::Level(side, wanted) => {
                    pools[usize::from(side)].level(wanted);
                }
                Step::Shift(at, a, b) if !held.is_empty() => {
                    let at = at.index(held.len());
                    let (frame, bytes) = &mut held[at];
                    let range = a.min(b)..a.max(b);
                    frame.set_range(range.clone());
                    let (room, found) = frame.room_mut();
                    prop_assert_eq!((room.len(), found), (2048, range.clone()));
                    room[range.clone()].fill(a as u8);
                    *bytes = vec![a as u8; range.len()];
                }
                Step::Put(..) | Step::Shift(..) => {}
            }
            prop_assert_eq!(umem.home() + pools[0].free() + pools[1].free() + held.len(), CHUNKS);
            let chunks: HashSet<_> = held.iter().map(|(frame, _)| umem.address(frame).unwrap() / 2048).collect();
            prop_assert_eq!(chunks.len(), held.len());
            for (frame, bytes) in &held {
                prop_assert_eq!(frame.bytes(), &bytes[..]);
            }
        }
        for (frame, _) in held {
            pools[0].put(frame);
        }
    }
}
