//! One queue of a device: frames go round through its four rings.
//!
//! ```text
//!   pool ─ refill ─→ fill ring ─→ kernel ─→ rx ring ─ receive ─→ batch      `inward` has what is between
//!   batch ─ send ─→ tx ring ─→ kernel ─→ completion ring ─ gather ─→ pool    `outward` has what is between
//! ```
//!
//! What the kernel answers is checked, never believed: an address that names no frame which it was lent is counted
//! (`strange`) and ignored. A device that goes down makes the port refuse until it is up again; one that is gone
//! makes it useless for good, and what it had comes back by [`Port::close`].

use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use weir_packet::{Batch, Frame, Loans, Pool, Umem, Unsettled, prefetch};
use weir_sys::xdp::PKT_CONTD;

use super::link::{Link, Woken, woken};
use super::ring::{Consumer, Descriptor, Producer};
use super::shared::{Areas, Shared};
use crate::gauges::{Gauges, State, Way};
use crate::port::{Port, Received, Refusal, Refused, Sent, Wait};

/// After so many receives in a row that brought nothing, the kernel is asked whether the device is still there.
const QUIET_MAX: u32 = 256;
/// The same while it is known to be down.
const QUIET_MAX_DOWN: u32 = 8;
/// Wake-ups in a row, each of which sent something, before the worker goes on to other things.
const WAKEUPS_MAX: usize = 16;
/// How long closing waits for another thread that reads the gauges just then.
const READERS_MAX: Duration = Duration::from_secs(1);
/// How long a driver may still write into frames after its socket was closed: the kernel takes the queue apart
/// later, on a work queue (net/xdp/xsk_buff_pool.c, `xp_put_pool`). In copy mode closing itself waits.
const SETTLING: Duration = Duration::from_millis(20);

/// Whether the kernel's side works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Up,
    /// The device is down; the socket is bound to it still.
    Down,
    /// The socket is bound to nothing; what is in its rings may still be read.
    Lost,
    /// The rings are no more.
    Closed,
}

/// What a port is made of.
#[derive(Debug)]
pub struct Parts {
    /// The name people know it by.
    pub name: String,
    /// The interface's number.
    pub index: u32,
    /// The queue's.
    pub queue: u32,
    /// The longest packet that goes out.
    pub frame_max: usize,
    /// Where its frames live.
    pub umem: Arc<Umem>,
    /// The rings' memory.
    pub areas: Areas,
    /// The kernel, or who plays it.
    pub link: Arc<dyn Link>,
    /// What was agreed with it.
    pub way: Way,
}

/// One queue of a device.
#[derive(Debug)]
pub struct XdpPort {
    // Touched per packet.
    rx: Consumer,
    fill: Producer,
    tx: Producer,
    completion: Consumer,
    inward: Loans,
    outward: Loans,
    fill_max: usize,
    frame_max: usize,
    /// Between the descriptors of a packet that comes in several.
    amid_scattered: bool,
    standing: Standing,
    quiet: u32,
    way: Way,
    // Touched per turn, or less.
    link: Option<Arc<dyn Link>>,
    shared: Arc<Shared>,
    name: String,
    index: u32,
    queue: u32,
}

impl XdpPort {
    /// A port of its parts; its frames come with the first `receive`.
    pub fn new(parts: Parts) -> XdpPort {
        let Parts { name, index, queue, frame_max, umem, areas, link, way } = parts;
        let frame_max = frame_max.min(umem.chunk_size().frame_max());
        let shared = Arc::new(Shared::new(areas.clone(), way, Arc::clone(&link)));
        XdpPort {
            rx: Consumer::new(areas.rx),
            fill_max: areas.fill.entries() as usize,
            fill: Producer::new(areas.fill),
            tx: Producer::new(areas.tx),
            completion: Consumer::new(areas.completion),
            inward: Loans::new(&umem),
            outward: Loans::new(&umem),
            frame_max,
            amid_scattered: false,
            standing: Standing::Up,
            quiet: 0,
            way,
            link: Some(link),
            shared,
            name,
            index,
            queue,
        }
    }

    /// How packets come and go.
    pub fn way(&self) -> Way {
        self.way
    }

    /// One packet of the receive ring; `None` when it is no packet for anyone.
    #[inline]
    fn admit(&mut self, descriptor: Descriptor, pool: &mut Pool, lost: &mut usize) -> Option<Frame> {
        let Descriptor { address, len, options } = descriptor;
        let whole = options & PKT_CONTD == 0 && !self.amid_scattered;
        match self.inward.settle_packet(address, len) {
            Ok(frame) if whole => Some(frame),
            Ok(frame) => {
                self.amid_scattered = options & PKT_CONTD != 0;
                if !self.amid_scattered {
                    Shared::add(&self.shared.scattered, 1);
                    *lost += 1;
                }
                pool.put(frame);
                None
            }
            Err(Unsettled::Beyond(frame)) => {
                Shared::add(&self.shared.strange, 1);
                *lost += 1;
                pool.put(frame);
                None
            }
            Err(Unsettled::NotLent) => {
                Shared::add(&self.shared.strange, 1);
                None
            }
        }
    }

    /// Tops the fill ring up, as far as the pool has frames.
    #[inline]
    fn refill(&mut self, pool: &mut Pool) {
        let wanted = self.fill_max - self.inward.count().min(self.fill_max);
        if wanted == 0 || matches!(self.standing, Standing::Lost | Standing::Closed) {
            return;
        }
        let room = (self.fill.room(wanted as u32) as usize).min(wanted);
        let mut filled = 0;
        while filled < room {
            let Some(frame) = pool.take() else { break };
            self.fill.write(self.inward.lend(frame));
            filled += 1;
        }
        if filled > 0 {
            self.fill.publish();
            if self.way.need_wakeup && self.fill.needs_wakeup() {
                self.ask();
            }
        }
    }

    /// Brings back to the pool what the kernel has sent.
    #[inline]
    fn gather(&mut self, pool: &mut Pool) {
        if self.outward.count() == 0 {
            return;
        }
        let done = self.completion.waiting(1);
        for _ in 0..done {
            match self.completion.read::<u64>().and_then(|address| self.outward.settle(address)) {
                Some(frame) => pool.put(frame),
                None => Shared::add(&self.shared.strange, 1),
            }
        }
        if done > 0 {
            self.completion.give_back();
        }
    }

    /// Nothing came: perhaps the kernel wants to be asked, or the device has gone.
    fn nothing_came(&mut self) {
        self.quiet += 1;
        let patience = if self.standing == Standing::Up { QUIET_MAX } else { QUIET_MAX_DOWN };
        if self.way.busy_poll || self.quiet >= patience {
            self.ask();
        }
    }

    fn ask(&mut self) {
        self.quiet = 0;
        if let Some(link) = &self.link {
            let woken = woken(link.wake_rx());
            self.heed(woken);
        }
    }

    /// Has the kernel send, again and again while that gets anywhere.
    fn push(&mut self) {
        for _ in 0..WAKEUPS_MAX {
            let Some(link) = &self.link else { return };
            let before = self.tx.taken();
            let woken = woken(link.wake_tx());
            self.heed(woken);
            if woken != Woken::Again || self.tx.taken() == before {
                return;
            }
        }
    }

    /// Keeps in mind what an answer says of the device.
    fn heed(&mut self, woken: Woken) {
        let standing = match woken {
            Woken::Done => Standing::Up,
            Woken::Again | Woken::Later => {
                Shared::add(&self.shared.put_off, 1);
                Standing::Up
            }
            Woken::Down(_) => Standing::Down,
            Woken::Lost(_) => Standing::Lost,
        };
        let over = matches!(self.standing, Standing::Lost | Standing::Closed);
        if standing != self.standing && !over {
            self.standing = standing;
            self.shared.set_state(State::from(woken));
        }
    }

    /// Puts one frame into the transmit ring, or says why not and gives it back.
    #[inline]
    fn load(&mut self, frame: Frame, room: &mut u32) -> Result<(), (Refusal, Frame)> {
        let len = frame.len();
        if len > self.frame_max {
            return Err((Refusal::TooLong, frame));
        }
        // The kernel takes no empty packet, and would not give its frame back.
        if len == 0 {
            return Err((Refusal::Failed, frame));
        }
        if *room == 0 {
            return Err((Refusal::RingFull, frame));
        }
        *room -= 1;
        if !self.way.zero_copy {
            // The kernel reads it next, to copy it, out of the cache of the core that received it: asked for now,
            // the misses of a batch overlap. 0.82 instead of 0.79 Mpps between two veths (2026-11-21); fetching
            // all headers before judging instead gave nothing, and took a tenth from programs that read none.
            prefetch::read(frame.bytes());
        }
        self.tx.write(Descriptor { address: self.outward.lend(frame), len: len as u32, options: 0 });
        Ok(())
    }

    fn account(&self) {
        self.shared.lent.store(self.inward.count() + self.outward.count(), Relaxed);
    }

    /// Ends the kernel's side. False when something keeps the socket open, so that the kernel may still write.
    fn hang_up(&mut self) -> bool {
        self.standing = Standing::Closed;
        self.shared.unlink();
        let Some(link) = self.link.take() else { return true };
        self.shared.set_state(State::Lost("closed".to_owned()));
        let others = Arc::downgrade(&link);
        drop(link);
        let deadline = Instant::now() + READERS_MAX;
        while others.strong_count() > 0 {
            if Instant::now() > deadline {
                return false;
            }
            std::thread::yield_now();
        }
        // The last hold on the socket: in copy mode the kernel waits here until no packet is on its way in.
        if !self.shared.areas().let_go() {
            return false;
        }
        if self.way.zero_copy {
            std::thread::sleep(SETTLING);
        }
        true
    }
}

impl Port for XdpPort {
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
        self.frame_max
    }

    fn receive(&mut self, pool: &mut Pool, batch: &mut Batch, max: usize) -> Received {
        let mut received = Received::default();
        if self.standing == Standing::Closed {
            return received;
        }
        if self.shared.is_in_doubt() {
            self.ask();
        }
        let wanted = max.min(batch.room()) as u32;
        let waiting = self.rx.waiting(wanted).min(wanted);
        self.rx.fetch::<Descriptor>(waiting);
        for _ in 0..waiting {
            let Some(descriptor) = self.rx.read() else { break };
            let Some(frame) = self.admit(descriptor, pool, &mut received.lost) else { continue };
            match batch.push(frame) {
                Ok(()) => received.frames += 1,
                Err(frame) => pool.put(frame),
            }
        }
        match waiting {
            0 => self.nothing_came(),
            _ => {
                self.rx.give_back();
                self.quiet = 0;
            }
        }
        self.refill(pool);
        self.account();
        received
    }

    fn send(&mut self, pool: &mut Pool, batch: &mut Batch) -> Sent {
        let count = batch.len() as u32;
        if self.shared.is_in_doubt() {
            self.ask();
        }
        if self.standing != Standing::Up {
            pool.put_all(batch);
            return Sent { sent: 0, refused: Refused::all(Refusal::Down, count as usize) };
        }
        let mut room = self.tx.room(count);
        if room < count {
            self.push();
            self.gather(pool);
            room = self.tx.room(count);
        }
        let mut sent = Sent::default();
        for frame in batch.drain() {
            match self.load(frame, &mut room) {
                Ok(()) => sent.sent += 1,
                Err((refusal, frame)) => {
                    sent.refused.add(refusal);
                    pool.put(frame);
                }
            }
        }
        self.tx.publish();
        self.account();
        sent
    }

    fn send_room(&self) -> usize {
        match self.standing {
            Standing::Up => self.tx.room_now() as usize,
            // It refuses, and says so: nothing is gained by waiting.
            Standing::Down | Standing::Lost | Standing::Closed => self.tx.area().entries() as usize,
        }
    }

    fn flush(&mut self, pool: &mut Pool) {
        if self.outward.count() == 0 || self.standing == Standing::Closed {
            return;
        }
        if self.standing != Standing::Lost
            && self.tx.is_waiting()
            && (!self.way.need_wakeup || self.tx.needs_wakeup())
        {
            self.push();
        }
        self.gather(pool);
        self.account();
    }

    fn unsent(&self) -> usize {
        match self.standing {
            Standing::Closed => 0,
            Standing::Up | Standing::Down | Standing::Lost => self.tx.area().waiting() as usize,
        }
    }

    fn wait(&self) -> Wait {
        match (self.standing, &self.link) {
            (Standing::Closed, _) => Wait::Later,
            _ if self.rx.is_waiting() => Wait::Ready,
            (Standing::Up, Some(link)) if !self.way.busy_poll => {
                link.readable().map_or(Wait::Later, Wait::Readable)
            }
            _ => Wait::Later,
        }
    }

    fn gauges(&self) -> Option<Arc<dyn Gauges>> {
        Some(Arc::clone(&self.shared) as Arc<dyn Gauges>)
    }

    fn close(&mut self, pool: &mut Pool) -> usize {
        if self.standing == Standing::Closed || !self.hang_up() {
            return 0;
        }
        let count = self.inward.settle_all(|frame| pool.put(frame))
            + self.outward.settle_all(|frame| pool.put(frame));
        self.account();
        count
    }
}

impl Drop for XdpPort {
    fn drop(&mut self) {
        let clean = match self.standing {
            // What `close` could not give back then cannot be given back now.
            Standing::Closed => self.inward.count() + self.outward.count() == 0,
            Standing::Up | Standing::Down | Standing::Lost => self.hang_up(),
        };
        if clean {
            self.inward.home();
            self.outward.home();
        } else {
            // Somebody keeps the socket open, so the kernel may still write: the frames, and with them the
            // umem, stay where they are.
            mem::forget(Arc::clone(self.inward.umem()));
        }
    }
}
