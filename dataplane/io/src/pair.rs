//! Two ports joined by memory: what one sends, the other receives. For tests, and for chaining workers there.
//!
//! The two ends may be on different threads and their pools of different umems, as two hosts' are; so a packet
//! crosses by a copy, and each end keeps its own frames. The queue between is a plain locked deque with a length:
//! this port is for being right, not fast.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use weir_packet::{Batch, Pool};

use crate::port::{Port, Received, Refusal, Sent, Wait};

/// One direction: packets under way, and whether both ends are still there.
#[derive(Debug, Default)]
struct Way {
    packets: VecDeque<Packet>,
    down: bool,
}

#[derive(Debug)]
struct Packet {
    bytes: Box<[u8]>,
    stamp_ns: u64,
    record: u32,
    hash: u32,
}

/// One end of a pair.
#[derive(Debug)]
pub struct End {
    name: String,
    index: u32,
    depth: usize,
    frame_max: usize,
    inward: Arc<Mutex<Way>>,
    outward: Arc<Mutex<Way>>,
}

/// Makes two ends with interface indexes `index` and `index + 1`; each way holds at most `depth` packets.
pub fn pair(name: &str, index: u32, depth: usize) -> (End, End) {
    let (there, back) = (Arc::default(), Arc::default());
    let end = |side: u32, inward: &Arc<_>, outward: &Arc<_>| End {
        name: format!("{name}{side}"),
        index: index + side,
        depth,
        frame_max: usize::from(u16::MAX),
        inward: Arc::clone(inward),
        outward: Arc::clone(outward),
    };
    (end(0, &there, &back), end(1, &back, &there))
}

impl End {
    /// The same end under another name and number.
    pub fn named(mut self, name: &str, index: u32) -> End {
        name.clone_into(&mut self.name);
        self.index = index;
        self
    }

    /// Refuses to send frames longer than `bytes` from now on.
    pub fn limit(&mut self, bytes: usize) {
        self.frame_max = bytes;
    }

    fn hang_up(&self) {
        hold(&self.inward).down = true;
        hold(&self.outward).down = true;
    }
}

/// Locks a way. Each step on it is a single push or pop, so a panic elsewhere leaves it whole.
fn hold(way: &Mutex<Way>) -> MutexGuard<'_, Way> {
    way.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Port for End {
    fn name(&self) -> &str {
        &self.name
    }

    fn index(&self) -> u32 {
        self.index
    }

    fn frame_max(&self) -> usize {
        self.frame_max
    }

    fn receive(&mut self, pool: &mut Pool, batch: &mut Batch, max: usize) -> Received {
        let mut received = Received::default();
        let mut way = hold(&self.inward);
        while received.frames < max && batch.room() > 0 {
            let Some(packet) = way.packets.pop_front() else {
                received.end = way.down;
                break;
            };
            match admit(pool, batch, &packet) {
                true => received.frames += 1,
                false => received.lost += 1,
            }
        }
        received
    }

    fn send(&mut self, pool: &mut Pool, batch: &mut Batch) -> Sent {
        let mut sent = Sent::default();
        let mut way = hold(&self.outward);
        for frame in batch.drain() {
            let refusal = if way.down {
                Some(Refusal::Down)
            } else if frame.len() > self.frame_max {
                Some(Refusal::TooLong)
            } else if way.packets.len() >= self.depth {
                Some(Refusal::RingFull)
            } else {
                None
            };
            match refusal {
                Some(reason) => sent.refused.add(reason),
                None => {
                    sent.sent += 1;
                    let (stamp_ns, record, hash) = (frame.stamp_ns, frame.record, frame.hash);
                    way.packets.push_back(Packet { bytes: frame.bytes().into(), stamp_ns, record, hash });
                }
            }
            pool.put(frame);
        }
        sent
    }

    fn send_room(&self) -> usize {
        self.depth.saturating_sub(hold(&self.outward).packets.len())
    }

    fn wait(&self) -> Wait {
        let way = hold(&self.inward);
        match (way.packets.is_empty(), way.down) {
            (false, _) => Wait::Ready,
            (true, true) => Wait::End,
            (true, false) => Wait::Later,
        }
    }

    fn close(&mut self, _pool: &mut Pool) -> usize {
        self.hang_up();
        0
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.hang_up();
    }
}

/// Puts a packet into a frame and the frame into the batch, which has room; false when there is no frame for it.
fn admit(pool: &mut Pool, batch: &mut Batch, packet: &Packet) -> bool {
    let Some(mut frame) = pool.take() else { return false };
    if frame.fill(&packet.bytes).is_err() {
        pool.put(frame);
        return false;
    }
    (frame.stamp_ns, frame.record, frame.hash) = (packet.stamp_ns, packet.record, packet.hash);
    match batch.push(frame) {
        Ok(()) => true,
        Err(frame) => {
            pool.put(frame);
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::Refused;
    use weir_packet::{ChunkSize, Umem};

    fn batch(pool: &mut Pool, packets: &[&[u8]]) -> Batch {
        let mut batch = Batch::new();
        for packet in packets {
            let mut frame = pool.take().unwrap();
            frame.fill(packet).unwrap();
            batch.push(frame).unwrap();
        }
        batch
    }

    fn pool(frames: usize) -> Pool {
        Umem::new(frames, ChunkSize::Half).unwrap().pool(frames).unwrap()
    }

    #[test]
    fn what_one_end_sends_the_other_receives_in_order() {
        let (mut ours, mut theirs) = (pool(8), pool(8));
        let (mut here, mut there) = pair("mem", 7, 16);
        let mut out = batch(&mut ours, &[b"one", b"two", b"three"]);
        assert_eq!(here.send(&mut ours, &mut out), Sent { sent: 3, refused: Refused::default() });
        assert_eq!((ours.free(), there.wait(), there.index()), (8, Wait::Ready, 8));

        let mut arrived = Batch::new();
        assert_eq!(
            there.receive(&mut theirs, &mut arrived, 2),
            Received { frames: 2, ..Received::default() }
        );
        assert_eq!(
            there.receive(&mut theirs, &mut arrived, 64),
            Received { frames: 1, ..Received::default() }
        );
        let bytes: Vec<_> = arrived.iter().map(|frame| frame.bytes()).collect();
        assert_eq!(bytes, [b"one" as &[u8], b"two", b"three"]);
        theirs.put_all(&mut arrived);
        assert_eq!(there.wait(), Wait::Later);
    }

    #[test]
    fn what_cannot_be_sent_is_refused_with_its_reason() {
        let mut frames = pool(8);
        let (mut here, there) = pair("mem", 1, 2);
        here.limit(4);
        let mut out = batch(&mut frames, &[b"a", b"too long", b"b", b"c"]);
        let sent = here.send(&mut frames, &mut out);
        assert_eq!((sent.sent, here.send_room(), frames.free()), (2, 0, 8));
        assert_eq!(sent.refused.each().collect::<Vec<_>>(), [(Refusal::RingFull, 1), (Refusal::TooLong, 1)]);
        drop(there);
        let mut out = batch(&mut frames, &[b"d"]);
        assert_eq!(here.send(&mut frames, &mut out).refused, Refused::all(Refusal::Down, 1));
        assert_eq!(here.wait(), Wait::End);
    }

    #[test]
    fn packets_without_a_frame_are_lost_and_counted() {
        let (mut ours, mut theirs) = (pool(4), pool(1));
        let (mut here, mut there) = pair("mem", 1, 16);
        let mut out = batch(&mut ours, &[b"1", b"2", b"3"]);
        assert_eq!(here.send(&mut ours, &mut out).sent, 3);
        let mut arrived = Batch::new();
        assert_eq!(
            there.receive(&mut theirs, &mut arrived, 64),
            Received { frames: 1, lost: 2, ..Received::default() }
        );
        theirs.put_all(&mut arrived);
    }
}
