//! The port that plays a capture: each frame is copied from the capture into a frame of the pool.

use std::fmt;
use std::time::Instant;

use weir_packet::{Batch, Pool, prefetch};

use crate::pcap::capture::Shard;
use crate::pcap::pace::{Pace, WIRE_OVERHEAD};
use crate::port::{Port, Received, Refusal, Refused, Sent, Wait};

/// How many frames ahead the source is fetched into the cache, all lines of each: the processor's own prefetcher
/// stops at pages and loses its way where flows are dealt to other workers, which long frames feel most.
/// `rate_of_the_capture_source_on_one_core` in this crate's tests measures it.
const AHEAD: usize = 8;

/// How a shard is played.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Script {
    /// How often in all; `None` is for ever.
    pub loops: Option<u64>,
    /// How fast. A rate is for the whole capture: a shard plays its share of it.
    pub pace: Pace,
    /// When the playing begins: give all shards of a capture the same.
    pub begin: Instant,
}

impl Script {
    /// Once, as fast as possible, from now.
    pub fn once() -> Script {
        Script { loops: Some(1), pace: Pace::Top, begin: Instant::now() }
    }
}

/// Plays one shard. What is sent to it is refused: a capture has no way in.
pub struct Play {
    name: String,
    index: u32,
    queue: u32,
    script: Script,
    shard: Shard,
    first_ns: u64,
    // Time from the first frame to the first of the next loop.
    loop_ns: u64,
    // Per batch from here on.
    next: usize,
    loops_done: u64,
    frames: u64,
    bits: u64,
}

impl Play {
    /// A port that plays `shard`; its number is the queue.
    pub fn new(name: impl Into<String>, index: u32, queue: u32, shard: Shard, script: Script) -> Play {
        let capture = &shard.capture;
        let times = || (0..capture.frames() as u32).filter_map(|number| capture.stamp_ns(number));
        let first_ns = times().min().unwrap_or(0);
        let span_ns = times().max().unwrap_or(0) - first_ns;
        // As if the next loop's first frame came after one mean gap.
        let gap_ns = span_ns / (capture.frames() as u64).saturating_sub(1).max(1);
        let share = shard.slots.len() as f64 / capture.frames().max(1) as f64;
        let script = Script { pace: script.pace.part(share), ..script };
        let (name, loop_ns) = (name.into(), span_ns + gap_ns);
        let (next, loops_done, frames, bits) = (0, 0, 0, 0);
        Play { name, index, queue, script, shard, first_ns, loop_ns, next, loops_done, frames, bits }
    }

    /// Frames played so far.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Whole loops played so far.
    pub fn loops_done(&self) -> u64 {
        self.loops_done
    }

    /// Nothing more will come.
    pub fn ended(&self) -> bool {
        self.shard.slots.is_empty() || self.script.loops.is_some_and(|loops| self.loops_done >= loops)
    }

    fn elapsed_ns(&self) -> u64 {
        u64::try_from(self.script.begin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// When the next frame is due.
    fn due_ns(&self) -> u64 {
        let number = self.shard.slots[self.next].number;
        let stamp_ns = self.shard.capture.stamp_ns(number).unwrap_or(0) - self.first_ns;
        let stamp_ns = stamp_ns.saturating_add(self.loop_ns.saturating_mul(self.loops_done));
        self.script.pace.due_ns(self.frames, self.bits, stamp_ns)
    }

    /// How many of the next frames, at most `max` and within this loop, may go now.
    #[inline]
    fn due(&self, max: usize, elapsed_ns: u64) -> usize {
        match self.script.pace {
            Pace::Top => max.min(self.shard.slots.len() - self.next),
            // One at a time: at a given rate there is time to look.
            _ => usize::from(max > 0 && self.due_ns() <= elapsed_ns),
        }
    }

    /// Copies the next `count` frames, which are in this loop. Answers how many there were frames for.
    #[inline]
    fn run(&mut self, pool: &mut Pool, batch: &mut Batch, count: usize) -> Run {
        let Shard { capture, slots } = &self.shard;
        let mut run = Run { frames: 0, lost: 0, bytes: 0 };
        for at in self.next..self.next + count {
            let slot = slots[at];
            if let Some(ahead) = slots.get(at + AHEAD) {
                capture.lines(ahead).iter().for_each(prefetch::read);
            }
            // Without a frame the capture waits: nothing is lost.
            let Some(mut frame) = pool.take() else { break };
            run.bytes += slot.len() as u64;
            let filled = frame.fill_lines(capture.lines(&slot), slot.len());
            frame.record = slot.number;
            frame.hash = slot.hash;
            frame.stamp_ns = capture.stamp_ns(slot.number).unwrap_or(0);
            // A frame too long for the umem's chunks is lost; a batch without room cannot be, see `receive`.
            let refused = if filled.is_ok() { batch.push(frame).err() } else { Some(frame) };
            match refused {
                None => run.frames += 1,
                Some(frame) => {
                    pool.put(frame);
                    run.lost += 1;
                }
            }
        }
        run
    }

    /// Notes what was played, and begins the next loop when this one is done.
    #[inline]
    fn note(&mut self, run: &Run) {
        let played = run.frames + run.lost;
        self.frames += played as u64;
        self.bits += (run.bytes + played as u64 * WIRE_OVERHEAD) * 8;
        self.next += played;
        if self.next == self.shard.slots.len() {
            self.next = 0;
            self.loops_done += 1;
        }
    }
}

/// What one run through the slots gave.
struct Run {
    frames: usize,
    lost: usize,
    bytes: u64,
}

impl Port for Play {
    fn name(&self) -> &str {
        &self.name
    }

    fn index(&self) -> u32 {
        self.index
    }

    fn queue(&self) -> u32 {
        self.queue
    }

    fn frame_max(&self) -> usize {
        0
    }

    fn receive(&mut self, pool: &mut Pool, batch: &mut Batch, max: usize) -> Received {
        let mut received = Received::default();
        let mut room = max.min(batch.room());
        let elapsed_ns = if self.script.pace == Pace::Top { 0 } else { self.elapsed_ns() };
        while room > 0 && !self.ended() {
            let count = self.due(room, elapsed_ns);
            let run = self.run(pool, batch, count);
            self.note(&run);
            received.frames += run.frames;
            received.lost += run.lost;
            room -= run.frames + run.lost;
            if count == 0 || run.frames + run.lost < count {
                break;
            }
        }
        received.end = self.ended();
        received
    }

    fn send(&mut self, pool: &mut Pool, batch: &mut Batch) -> Sent {
        let refused = Refused::all(Refusal::Down, batch.len());
        pool.put_all(batch);
        Sent { sent: 0, refused }
    }

    fn send_room(&self) -> usize {
        0
    }

    fn wait(&self) -> Wait {
        if self.ended() {
            Wait::End
        } else if self.due(1, self.elapsed_ns()) > 0 {
            Wait::Ready
        } else {
            Wait::Later
        }
    }

    fn close(&mut self, _pool: &mut Pool) -> usize {
        self.script.loops = Some(0);
        0
    }
}

impl fmt::Debug for Play {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Play({} of {:?}, {} played)", self.name, self.shard.capture, self.frames)
    }
}
