//! A port of a TAP device: what the host's kernel sends out by it arrives here, what is sent here the kernel receives.
//!
//! One read is one frame, so this port is for the host's own traffic (punts, a management link), not for speed. It
//! keeps no frame between calls. When the device vanishes the port is down for good and says so; whoever made it
//! may make another.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use weir_packet::{Batch, Frame, HEADROOM, Pool};
use weir_sys::tap::{Read, Tap as Device, TapError, Wanted, Write};

use crate::gauges::{Gauges, Held, Losses, State, Way};
use crate::port::{Port, Received, Refusal, Sent, Wait};

/// Ethernet header and one VLAN tag: what a frame may have beyond the device's MTU.
const LINK_HEADER: usize = 14 + 4;

/// One queue of a TAP device.
#[derive(Debug)]
pub struct Tap {
    device: Device,
    queue: u32,
    frame_max: usize,
    seen: Arc<Seen>,
    failed: Option<i32>,
}

/// What other threads read. Only the port writes it.
#[derive(Debug, Default)]
struct Seen {
    gone: AtomicBool,
    too_long: AtomicU64,
}

impl Gauges for Seen {
    fn held(&self) -> Held {
        Held::default()
    }

    fn losses(&self) -> Losses {
        Losses { rx_dropped: self.too_long.load(Ordering::Relaxed), ..Losses::default() }
    }

    fn way(&self) -> Way {
        Way::default()
    }

    fn state(&self) -> State {
        match self.gone.load(Ordering::Relaxed) {
            true => State::Lost("the TAP device is gone".to_owned()),
            false => State::Up,
        }
    }
}

impl Tap {
    /// Makes the device and a port of it; the second value says what the kernel refused and can be lived without.
    pub fn open(name: &str, wanted: &Wanted) -> Result<(Tap, Vec<String>), TapError> {
        let (device, warnings) = Device::open(name, wanted)?;
        Ok((Tap::new(device, 0), warnings))
    }

    /// A port of a descriptor that another process opened (a broker, a service manager).
    pub fn adopt(fd: OwnedFd, queue: u32) -> Result<Tap, TapError> {
        Ok(Tap::new(Device::adopt(fd)?, queue))
    }

    /// A port of this device, as its queue number `queue`.
    pub fn new(device: Device, queue: u32) -> Tap {
        let frame_max = device.mtu() as usize + LINK_HEADER;
        Tap { device, queue, frame_max, seen: Arc::default(), failed: None }
    }

    /// Whether the device has vanished.
    pub fn is_gone(&self) -> bool {
        self.seen.gone.load(Ordering::Relaxed)
    }

    /// The errno of the last read or write that failed for no reason a port has a name for.
    pub fn failed(&self) -> Option<i32> {
        self.failed
    }

    fn refusal(&mut self, frame: &Frame) -> Option<Refusal> {
        if self.is_gone() {
            return Some(Refusal::Down);
        }
        if frame.len() > self.frame_max {
            return Some(Refusal::TooLong);
        }
        match self.device.write(frame.bytes()) {
            Write::Taken => None,
            Write::Full => Some(Refusal::RingFull),
            Write::Down => Some(Refusal::Down),
            Write::Gone => {
                self.seen.gone.store(true, Ordering::Relaxed);
                Some(Refusal::Down)
            }
            Write::Failed(errno) => {
                self.failed = Some(errno);
                Some(Refusal::Failed)
            }
        }
    }
}

impl Port for Tap {
    fn name(&self) -> &str {
        self.device.name()
    }

    fn index(&self) -> u32 {
        self.device.index()
    }

    fn queue(&self) -> u32 {
        self.queue
    }

    fn frame_max(&self) -> usize {
        self.frame_max
    }

    fn receive(&mut self, pool: &mut Pool, batch: &mut Batch, max: usize) -> Received {
        let mut received = Received::default();
        // Each round reads once, so that many frames too long for us cannot keep the worker here.
        for _ in 0..max.min(batch.room()) {
            if self.is_gone() {
                break;
            }
            // Without a frame the packet stays where it is: the kernel's queue is longer than ours.
            let Some(mut frame) = pool.take() else { break };
            match read(&self.device, &mut frame) {
                Read::Frame(_) => match batch.push(frame) {
                    Ok(()) => received.frames += 1,
                    Err(frame) => pool.put(frame),
                },
                Read::TooLong => {
                    pool.put(frame);
                    received.lost += 1;
                    self.seen.too_long.fetch_add(1, Ordering::Relaxed);
                }
                Read::Empty => {
                    pool.put(frame);
                    break;
                }
                Read::Gone => {
                    pool.put(frame);
                    self.seen.gone.store(true, Ordering::Relaxed);
                }
                Read::Failed(errno) => {
                    pool.put(frame);
                    self.failed = Some(errno);
                    break;
                }
            }
        }
        received
    }

    fn send(&mut self, pool: &mut Pool, batch: &mut Batch) -> Sent {
        let mut sent = Sent::default();
        for frame in batch.drain() {
            match self.refusal(&frame) {
                None => sent.sent += 1,
                Some(reason) => sent.refused.add(reason),
            }
            pool.put(frame);
        }
        sent
    }

    fn wait(&self) -> Wait {
        match self.is_gone() {
            true => Wait::Later,
            false => Wait::Readable(self.device.as_fd().as_raw_fd()),
        }
    }

    fn gauges(&self) -> Option<Arc<dyn Gauges>> {
        Some(Arc::<Seen>::clone(&self.seen))
    }

    fn close(&mut self, _pool: &mut Pool) -> usize {
        self.seen.gone.store(true, Ordering::Relaxed);
        0
    }
}

/// Reads one frame to behind the headroom.
fn read(device: &Device, frame: &mut Frame) -> Read {
    let (room, _) = frame.room_mut();
    let read = device.read(&mut room[HEADROOM..]);
    if let Read::Frame(len) = read {
        frame.set_range(HEADROOM..HEADROOM + len);
    }
    read
}
