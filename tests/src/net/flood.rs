//! Numbered packets from one device to another, counted at both ends by packet sockets.
//!
//! The sender never has more than a window of packets on the way (it knows how far the receiver is), so
//! that queues of the kernel do not overflow and each loss is the fault of what is tested. What a device
//! refuses (a full ring, a link that is down) is sent again: a number counts as sent when the device took it.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use weir_sys::packet_socket::{FRAMES_MAX, Frames, PacketSocket};

use super::namespace::Namespace;
use super::number::{Ends, Number, template};
use super::tally::Tally;

/// A flow of a flood.
pub type Flow = Ends;

/// What to send.
#[derive(Clone, Debug)]
pub struct Flood {
    /// The flows; they take turns.
    pub flows: Vec<Flow>,
    /// Bytes of a frame.
    pub bytes: usize,
    /// Most packets on the way.
    pub window: u64,
    /// How long a full window holds the sender up at most; then what is missing is taken for lost.
    pub patience: Duration,
    /// Packets a second; as fast as it goes when absent.
    pub rate: Option<u64>,
    /// How long the receiver waits for stragglers after the last was sent.
    pub linger: Duration,
    /// Cores for sender and receiver.
    pub cores: Option<(usize, usize)>,
}

/// What became of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Ids below this were sent.
    pub sent: u64,
    /// How often a device refused a packet, which was then sent again.
    pub refused: u64,
    /// How often the window stayed full for longer than the patience, and the sender went on nevertheless.
    pub stalls: u64,
    /// What arrived.
    pub tally: Tally,
    /// Frames that the receiving socket had no room for: our own loss, which makes a run void.
    pub unread: u64,
    /// From the first to the last packet sent.
    pub took: Duration,
}

impl Outcome {
    /// Packets that did not arrive.
    pub fn lost(&self) -> u64 {
        self.sent - self.tally.distinct()
    }

    /// Packets sent in a second.
    pub fn rate(&self) -> f64 {
        self.sent as f64 / self.took.as_secs_f64()
    }

    /// The figures in a line.
    pub fn line(&self) -> String {
        let Tally { duplicated, reordered, mixed, backwards, alien, .. } = self.tally;
        format!(
            "sent {} at {:.0} kpps: lost {}, duplicated {duplicated}, reordered {reordered}, mixed {mixed}, \
             backwards {backwards}, alien {alien}; refused {}, stalls {}, unread {}",
            self.sent,
            self.rate() / 1e3,
            self.lost(),
            self.refused,
            self.stalls,
            self.unread
        )
    }
}

/// A flood under way.
pub struct Running {
    shared: Arc<Shared>,
    sender: JoinHandle<Result<(u64, u64, Duration)>>,
    receiver: JoinHandle<Result<(Tally, u64)>>,
}

#[derive(Default)]
struct Shared {
    /// No more shall be sent.
    stop: AtomicBool,
    /// The sender has ended, and this long ago the receiver may end.
    ended: AtomicBool,
    sent: AtomicU64,
    /// One more than the highest id that arrived.
    progress: AtomicU64,
}

impl Flood {
    /// Frames of the least size, a window of 512, as fast as it goes.
    pub fn new(flows: Vec<Flow>) -> Self {
        let (patience, linger) = (Duration::from_secs(1), Duration::from_millis(200));
        Self { flows, bytes: 60, window: 512, patience, rate: None, linger, cores: None }
    }

    /// For a way that loses packets by itself: the sender does not wait for them.
    pub fn impatient(self) -> Self {
        Self { patience: Duration::from_millis(20), ..self }
    }

    /// Sends so many packets, and waits for what comes.
    pub fn run(&self, from: (&Namespace, &str), to: (&Namespace, &str), packets: u64) -> Result<Outcome> {
        self.begin(from, to, Some(packets))?.wait()
    }

    /// Sends until [`Running::stop`].
    pub fn start(&self, from: (&Namespace, &str), to: (&Namespace, &str)) -> Result<Running> {
        self.begin(from, to, None)
    }

    fn begin(
        &self,
        from: (&Namespace, &str),
        to: (&Namespace, &str),
        packets: Option<u64>,
    ) -> Result<Running> {
        let open = |(host, device): (&Namespace, &str)| {
            let socket = host.inside(|| PacketSocket::open(device))?;
            socket.with_context(|| format!("a packet socket of {device} in {}", host.name()))
        };
        let (out, back) = (open(from)?, open(to)?);
        back.receive_buffer(256 << 20)?;
        back.receive_timeout(Duration::from_millis(5))?;
        let shared = Arc::new(Shared::default());
        let receiver = {
            let (flood, shared) = (self.clone(), Arc::clone(&shared));
            std::thread::Builder::new()
                .name("receiver".into())
                .spawn(move || flood.receive(&back, &shared))?
        };
        let sender = {
            let (flood, shared) = (self.clone(), Arc::clone(&shared));
            let limit = packets.unwrap_or(u64::MAX);
            std::thread::Builder::new().name("sender".into()).spawn(move || {
                let outcome = flood.send(&out, &shared, limit);
                shared.ended.store(true, Ordering::Release);
                outcome
            })?
        };
        Ok(Running { shared, sender, receiver })
    }

    fn send(&self, socket: &PacketSocket, shared: &Shared, limit: u64) -> Result<(u64, u64, Duration)> {
        pin(self.cores.map(|cores| cores.0));
        let mut templates: Vec<Vec<u8>> = self.flows.iter().map(|flow| template(flow, self.bytes)).collect();
        let mut frames = Frames::new(self.bytes.max(128));
        let (mut next, mut refused, mut stalls) = (0u64, 0u64, 0u64);
        let start = Instant::now();
        while next < limit && !shared.stop.load(Ordering::Relaxed) {
            stalls += u64::from(!self.wait_for_room(shared, next, start));
            frames.clear();
            let batch = (limit - next).min(FRAMES_MAX as u64);
            for id in next..next + batch {
                let flow = (id % templates.len() as u64) as usize;
                Number::emit(&mut templates[flow], flow as u32, id);
                frames.push(&templates[flow]);
            }
            next += batch;
            // Before the first is on its way, so that none arrives which was not yet sent.
            shared.sent.store(next, Ordering::Release);
            refused += send_all(socket, &frames, shared)?;
        }
        Ok((refused, stalls, start.elapsed()))
    }

    /// Waits until the window and the rate allow another batch; `false` when patience ended first.
    fn wait_for_room(&self, shared: &Shared, next: u64, start: Instant) -> bool {
        if let Some(rate) = self.rate {
            let due = Duration::from_nanos((next as u128 * 1_000_000_000 / u128::from(rate.max(1))) as u64);
            if let Some(early) = due.checked_sub(start.elapsed()) {
                std::thread::sleep(early);
            }
        }
        let mut waiting = None;
        while next + FRAMES_MAX as u64 > shared.progress.load(Ordering::Acquire) + self.window.max(64) {
            if waiting.get_or_insert_with(Instant::now).elapsed() > self.patience {
                // What is missing is taken for lost, or else every batch would wait for it.
                shared.progress.fetch_max(next, Ordering::AcqRel);
                return false;
            }
            std::thread::yield_now();
        }
        true
    }

    fn receive(&self, socket: &PacketSocket, shared: &Shared) -> Result<(Tally, u64)> {
        pin(self.cores.map(|cores| cores.1));
        let mut tally = Tally::new(self.flows.len() as u32);
        let mut frames = Frames::new(128);
        let mut quiet: Option<Instant> = None;
        let mut unread = 0;
        loop {
            let ended = shared.ended.load(Ordering::Acquire);
            let got = receive(socket, &mut frames)?;
            let sent = shared.sent.load(Ordering::Acquire);
            let mut highest = 0;
            for number in frames.iter().filter_map(Number::parse) {
                tally.note(&number, sent);
                highest = highest.max(number.id + 1);
            }
            if highest <= sent {
                shared.progress.fetch_max(highest, Ordering::AcqRel);
            }
            if got > 0 || !ended {
                quiet = None;
            } else if quiet.get_or_insert_with(Instant::now).elapsed() >= self.linger {
                unread += u64::from(socket.statistics()?.drops);
                return Ok((tally, unread));
            }
        }
    }
}

impl Running {
    /// How many were sent so far.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Acquire)
    }

    /// One more than the highest number that arrived so far.
    pub fn progress(&self) -> u64 {
        self.shared.progress.load(Ordering::Acquire)
    }

    /// Whether it still sends: `false` also when a socket failed.
    pub fn runs(&self) -> bool {
        !self.shared.ended.load(Ordering::Acquire)
    }

    /// Ends sending, and waits for what is on the way.
    pub fn stop(self) -> Result<Outcome> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.wait()
    }

    fn wait(self) -> Result<Outcome> {
        let sender = self.sender.join().map_err(|_| anyhow!("the sender died"))?;
        let receiver = self.receiver.join().map_err(|_| anyhow!("the receiver died"))?;
        let (refused, stalls, took) = sender.context("sending")?;
        let (tally, unread) = receiver.context("receiving")?;
        let sent = self.shared.sent.load(Ordering::Acquire);
        Ok(Outcome { sent, refused, stalls, tally, unread, took })
    }
}

/// Sends each frame until the device takes it; how often it refused.
fn send_all(socket: &PacketSocket, frames: &Frames, shared: &Shared) -> Result<u64> {
    let (mut done, mut refused) = (0, 0);
    while done < frames.len() {
        match socket.send_from(frames, done) {
            Ok(count) => done += count,
            Err(error) => {
                let again = matches!(error.kind(), ErrorKind::NetworkDown | ErrorKind::Interrupted)
                    || error.raw_os_error() == Some(ENOBUFS);
                // A device that is gone for good ends the flood only when it is told to end.
                if !again || shared.stop.load(Ordering::Relaxed) && error.kind() == ErrorKind::NetworkDown {
                    return Err(error.into());
                }
                refused += 1;
                if error.kind() == ErrorKind::NetworkDown {
                    std::thread::sleep(Duration::from_millis(1));
                } else {
                    std::thread::yield_now();
                }
            }
        }
    }
    Ok(refused)
}

const ENOBUFS: i32 = 105;

/// Receives; a link that goes down is no end.
fn receive(socket: &PacketSocket, frames: &mut Frames) -> Result<usize> {
    match socket.receive(frames) {
        Err(error) if error.kind() == ErrorKind::NetworkDown => {
            frames.clear();
            Ok(0)
        }
        other => Ok(other?),
    }
}

fn pin(core: Option<usize>) {
    if let Some(core) = core {
        // On a machine with fewer cores the flood is only slower.
        weir_sys::affinity::pin(core).ok();
    }
}
