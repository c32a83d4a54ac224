//! AF_XDP ports on veth, without an engine: a loop that carries frames from one to the other, under a flood of
//! numbered packets, while rings starve, the loop stands still, links flap, a peer vanishes. Frames are counted to
//! the last.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use weir_io::afxdp::{Direct, Kernel as _, Punt, Rings, Sharing, Wanted, XdpPort, open};
use weir_io::gauges::{Losses, State};
use weir_io::port::Port as _;
use weir_packet::{Batch, ChunkSize, Pool, Umem};
use weir_tests::net::{Flood, Outcome, Topology, full_scale, skip};

/// What a test tells the loop, and what the loop says meanwhile.
#[derive(Default)]
struct Told {
    /// The loop goes round: the kernel has frames.
    goes: AtomicBool,
    stop: AtomicBool,
    /// Stand still for so many milliseconds.
    pause: AtomicU64,
    /// How often a port was opened again.
    reopened: AtomicU64,
    /// Why one could not be, the last time.
    refusal: Mutex<String>,
}

/// What the loop did.
#[derive(Clone, Copy, Debug, Default)]
struct Did {
    received: u64,
    sent: u64,
    refused: u64,
    lost: u64,
    losses: [Losses; 2],
}

struct Loop {
    kernel: Direct,
    sharing: Arc<Sharing>,
    pool: Pool,
    rings: Rings,
    frames: usize,
}

const DEVICES: [&str; 2] = ["wan", "lan"];

impl Loop {
    fn new(rings: Rings, frames: usize) -> Result<Self> {
        let umem = Umem::new(frames, ChunkSize::Half)?;
        let pool = umem.pool(frames)?;
        Ok(Self { kernel: Direct::new(), sharing: Sharing::new(umem), pool, rings, frames })
    }

    fn open(&self, device: &str) -> Result<XdpPort> {
        let attached = self.kernel.attach(device, &Punt::nothing(), None)?;
        let wanted = Wanted { rings: self.rings, ..Wanted::queue(device, 0) };
        Ok(open(&self.kernel, &attached, &self.sharing, &wanted)?)
    }

    /// Carries frames until told to stop; then every frame is back.
    fn run(mut self, told: &Told) -> Result<Did> {
        let mut ports = [self.open(DEVICES[0])?, self.open(DEVICES[1])?];
        let mut did = Did::default();
        let mut batch = Batch::default();
        while !told.stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(told.pause.swap(0, Ordering::Relaxed)));
            let mut idle = true;
            for (from, to) in [(0, 1), (1, 0)] {
                let got = ports[from].receive(&mut self.pool, &mut batch, 64);
                did.received += got.frames as u64;
                did.lost += got.lost as u64;
                idle &= got.frames == 0;
                let sent = ports[to].send(&mut self.pool, &mut batch);
                did.sent += sent.sent as u64;
                did.refused += sent.refused.total() as u64;
                ports[to].flush(&mut self.pool);
            }
            told.goes.store(true, Ordering::Relaxed);
            if idle {
                std::thread::yield_now();
                self.mend(&mut ports, &mut did, told);
            }
        }
        for (at, port) in ports.iter_mut().enumerate() {
            did.take(at, port);
            port.close(&mut self.pool);
        }
        ensure!(self.pool.free() == self.frames, "{} of {} frames are back", self.pool.free(), self.frames);
        ensure!(self.sharing.umem().home() == 0 || self.sharing.umem().home() == self.frames);
        Ok(did)
    }

    /// Opens a port that is lost again, if its device is there.
    fn mend(&mut self, ports: &mut [XdpPort; 2], did: &mut Did, told: &Told) {
        for (at, port) in ports.iter_mut().enumerate() {
            let lost = port.gauges().is_some_and(|gauges| matches!(gauges.state(), State::Lost(_)));
            if lost {
                did.take(at, port);
                port.close(&mut self.pool);
                self.kernel.detach(DEVICES[at]).ok();
                match self.open(DEVICES[at]) {
                    Ok(new) => {
                        *port = new;
                        told.reopened.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(error) => {
                        *told.refusal.lock().unwrap_or_else(PoisonError::into_inner) = format!("{error:#}");
                    }
                }
            }
        }
    }
}

impl Did {
    /// Takes down what a port lost before it is closed.
    fn take(&mut self, at: usize, port: &XdpPort) {
        let Some(gauges) = port.gauges() else { return };
        let losses = gauges.losses();
        self.losses[at].rx_dropped += losses.rx_dropped;
        self.losses[at].rx_ring_full += losses.rx_ring_full;
        self.losses[at].fill_empty += losses.fill_empty;
        self.losses[at].strange += losses.strange;
    }

    /// Sender, kernel and loop count on their own; their figures must meet.
    fn balance(&self, outcome: &Outcome) -> Result<()> {
        let Did { received, sent, refused, losses, .. } = *self;
        ensure!(received == sent + refused, "{self:?}");
        ensure!(losses.iter().all(|losses| losses.strange == 0), "{self:?}");
        let there = received + losses[0].rx_dropped + losses[0].rx_ring_full;
        let others = there.checked_sub(outcome.sent);
        ensure!(others.is_some_and(|others| others < 100), "sent {}, there were {there}", outcome.sent);
        let extra = sent.checked_sub(outcome.tally.distinct());
        ensure!(extra.is_some_and(|extra| extra < 100), "loop sent {sent}; {}", outcome.line());
        Ok(())
    }
}

/// Runs the loop in the box while a test does what it does.
fn with_loop<T>(
    topology: &Topology,
    rings: Rings,
    frames: usize,
    test: impl FnOnce(&Told) -> Result<T>,
) -> Result<(T, Did)> {
    let told = Told::default();
    std::thread::scope(|scope| {
        let carrier = scope.spawn(|| topology.weir.inside(|| Loop::new(rings, frames)?.run(&told)));
        while !told.goes.load(Ordering::Relaxed) && !carrier.is_finished() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let outcome = test(&told);
        told.stop.store(true, Ordering::Relaxed);
        let did = carrier.join().map_err(|_| anyhow!("the loop died"))??;
        let outcome = outcome.with_context(|| format!("beside the loop, which met {:?}", told.refusal));
        Ok((outcome?, did.context("in the loop")?))
    })
}

fn sound(outcome: &Outcome) -> Result<()> {
    let tally = &outcome.tally;
    ensure!(outcome.unread == 0, "void: {}", outcome.line());
    ensure!(tally.duplicated + tally.reordered + tally.alien == 0, "{}", outcome.line());
    Ok(())
}

#[test]
fn nothing_is_lost_between_ports() -> Result<()> {
    if skip("nothing_is_lost_between_ports") {
        return Ok(());
    }
    let topology = Topology::build()?;
    let packets = if full_scale() { 10_000_000 } else { 200_000 };
    let flood = Flood::new(topology.flows(8)?);
    let (outcome, did) = with_loop(&topology, Rings::default(), 16384, |_| {
        flood.run((&topology.a, "a0"), (&topology.b, "b0"), packets)
    })?;
    println!("ports: {}; {did:?}", outcome.line());
    sound(&outcome)?;
    ensure!(outcome.lost() == 0, "{}", outcome.line());
    did.balance(&outcome)
}

#[test]
fn starved_rings_lose_packets_but_no_frame() -> Result<()> {
    if skip("starved_rings_lose_packets_but_no_frame") {
        return Ok(());
    }
    let topology = Topology::build()?;
    let rings = Rings { fill: 64, rx: 64, tx: 64, completion: 64 };
    let flood = Flood { window: 4096, ..Flood::new(topology.flows(8)?).impatient() };
    let (outcome, did) = with_loop(&topology, rings, 128, |told| {
        let running = flood.start((&topology.a, "a0"), (&topology.b, "b0"))?;
        for _ in 0..10 {
            told.pause.store(20, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(40));
        }
        running.stop()
    })?;
    println!("starved: {}; {did:?}", outcome.line());
    sound(&outcome)?;
    ensure!(outcome.lost() > 0 && did.losses[0].fill_empty > 0, "it did not starve: {did:?}");
    did.balance(&outcome)
}

#[test]
fn flaps_and_a_lost_peer_cost_no_frame() -> Result<()> {
    if skip("flaps_and_a_lost_peer_cost_no_frame") {
        return Ok(());
    }
    let topology = Topology::build()?;
    let flood = Flood::new(topology.flows(8)?).impatient();
    let (outcome, did) = with_loop(&topology, Rings::default(), 16384, |_| {
        let running = flood.start((&topology.a, "a0"), (&topology.b, "b0"))?;
        let resumes = |what: &str| -> Result<()> {
            let before = running.progress();
            let limit = std::time::Instant::now() + Duration::from_secs(10);
            while running.progress() < before + 4096 {
                ensure!(std::time::Instant::now() < limit, "nothing arrives after {what}");
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        };
        for flap in 0..if full_scale() { 200 } else { 8 } {
            let (host, device) = match flap % 4 {
                0 => (&topology.weir, "wan"),
                1 => (&topology.weir, "lan"),
                2 => (&topology.a, "a0"),
                _ => (&topology.b, "b0"),
            };
            host.run(&format!("ip link set {device} down"))?;
            std::thread::sleep(Duration::from_millis(flap * 5 % 30));
            host.run(&format!("ip link set {device} up"))?;
            resumes(device)?;
        }
        running.stop()
    })?;
    println!("flaps: {}; {did:?}", outcome.line());
    sound(&outcome)?;

    let ((), did) = with_loop(&topology, Rings::default(), 16384, |told| {
        for _ in 0..3 {
            flood.run((&topology.a, "a0"), (&topology.b, "b0"), 5000)?;
            let before = told.reopened.load(Ordering::Relaxed);
            topology.b.run("ip link del b0")?;
            topology.wire("b0", "lan", 1500)?;
            topology.b.until("the port is opened again", Duration::from_secs(10), |_| {
                Ok(told.reopened.load(Ordering::Relaxed) > before)
            })?;
        }
        Ok(())
    })?;
    println!("peer deleted: {did:?}");
    ensure!(did.received >= 15000, "{did:?}");
    Ok(())
}
