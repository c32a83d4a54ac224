//! Replay: captures go through the pipeline on all cores, and everything is counted.
//!
//! Frames are preloaded and sharded by flow, so that the packets of a flow stay in order on one
//! worker. What leaves by a port is counted and forgotten, or recorded with its verdict.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Barrier};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use weir_io::null::Null;
use weir_io::pcap::{Capture, CaptureError, Limits, Pace, Play, Script, Tally};
use weir_io::traffic::{Spec, SpecError, Traffic};
use weir_io::{Port, Received, Sent, Wait};
use weir_packet::{Batch, ChunkSize, Frame, Pool, Umem, UmemError};
use weir_sys::affinity::{self, AffinityError};
use weir_vm::Engine;

use crate::build::{self, BuildError, Built};
use crate::config::{Config, Driver, Generate};
use crate::counters::Totals;
use crate::env::{TraceLine, WorkerEnv};
use crate::generation::{PortNumber, PortPlan};
use crate::pipeline::Judgement;
use crate::routes::{Routes, RoutesError};
use crate::swap::Swap;
use crate::worker::{Recorder, Worker, WorkerCounters};

/// Frames that a worker's pool holds: several batches for each port, few enough to stay in the cache.
const POOL_FRAMES: usize = 1024;
/// Trace lines that may wait to be read.
const TRACES_MAX: usize = 4096;

/// How to replay.
#[derive(Clone, Debug)]
pub struct Options {
    /// Captures to play into the first port of the `pcap` driver, instead of its own.
    pub captures: Vec<PathBuf>,
    /// How often; `None` until the time is up.
    pub loops: Option<u64>,
    /// For how long at most.
    pub limit: Option<Duration>,
    /// How fast.
    pub pace: Pace,
    /// Whether to keep every packet with its verdict.
    pub record: bool,
    /// What runs the programs.
    pub engine: Engine,
    /// How many workers at most; the configuration's cores, or all, when absent.
    pub workers: Option<usize>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            captures: Vec::new(),
            loops: Some(1),
            limit: None,
            pace: Pace::Top,
            record: false,
            engine: Engine::default(),
            workers: None,
        }
    }
}

/// Why a replay cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The configuration makes no generation.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The routes contradict the ports.
    #[error(transparent)]
    Routes(#[from] RoutesError),
    /// A capture cannot be read.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// No port has packets to play.
    #[error(
        "nothing to play: no interface of the `pcap` driver has a file or `generate`, and no capture was named{}",
        live_hint(live)
    )]
    NothingToPlay {
        /// Interfaces with live devices, which a replay does not touch; empty without any.
        live: String,
    },
    /// Traffic cannot be made as described.
    #[error("generate: {0}")]
    Traffic(#[from] SpecError),
    /// Cores cannot be used as configured.
    #[error(transparent)]
    Affinity(#[from] AffinityError),
    /// No memory for frames.
    #[error(transparent)]
    Umem(#[from] UmemError),
}

fn live_hint(live: &str) -> String {
    if live.is_empty() {
        return String::new();
    }
    format!(
        "; {live} would take packets from live devices, which a replay leaves alone: name captures, or use `weir run`"
    )
}

/// A packet that was judged, for captures.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The port it came in by.
    pub port: PortNumber,
    /// Its number in the capture.
    pub record: u32,
    /// When, by the capture.
    pub stamp_ns: u64,
    /// Its bytes after the last stage.
    pub bytes: Vec<u8>,
    /// What became of it.
    pub judgement: Judgement,
}

/// How far a replay is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Packets received so far, all workers together.
    pub packets: u64,
    /// Packets there will be, when that is known.
    pub packets_total: Option<u64>,
    /// Since the start.
    pub elapsed: Duration,
}

/// What a replay came to.
#[derive(Debug)]
pub struct Outcome {
    /// What ran, with its counters and maps.
    pub built: Arc<BuiltParts>,
    /// Counters of each worker: of each port, in order.
    pub workers: Vec<WorkerCounters>,
    /// The cores they ran on.
    pub cores: Vec<usize>,
    /// From the first turn to the last.
    pub elapsed: Duration,
    /// What the captures held.
    pub tally: Vec<Tally>,
    /// Frames that nobody gave back: must be 0.
    pub frames_lost: usize,
    /// Packets with verdicts, by their number in the capture.
    pub recorded: Vec<Recorded>,
    /// Lines that programs traced.
    pub traces: Vec<TraceLine>,
}

/// The generation that ran, shared with its readers.
#[derive(Debug)]
pub struct BuiltParts {
    /// What workers ran.
    pub generation: Arc<crate::Generation>,
    /// The objects it came from.
    pub images: Vec<crate::Image>,
}

impl Outcome {
    /// Sums over all workers and ports.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for counters in self.workers.iter().flat_map(|worker| worker.iter()) {
            counters.add_to(&mut totals);
        }
        totals
    }

    /// Sums over all workers of one port.
    pub fn port_totals(&self, port: PortNumber) -> Totals {
        let mut totals = Totals::default();
        for worker in &self.workers {
            worker[port].add_to(&mut totals);
        }
        totals
    }
}

/// A replay that is ready to start.
pub struct Replay {
    built: Arc<BuiltParts>,
    sources: Vec<Option<Arc<Capture>>>,
    cores: Vec<usize>,
    umem: Arc<Umem>,
    routes: Arc<Routes>,
    options: Options,
}

impl Replay {
    /// Loads programs and captures.
    pub fn prepare(config: &Config, options: Options) -> Result<Self, ReplayError> {
        let cores = cores(config, &options)?;
        let Built { generation, images, .. } = build::build(config, 1, cores.len(), options.engine)?;
        // The first touch of a page costs more than thousands of packets: not while the clock runs.
        build::populate(&images, |_| true);
        let routes = Arc::new(Routes::build(config, &generation.ports)?);
        let sources = sources(config, &options, &generation)?;
        let chunk = sources.iter().flatten().map(|capture| capture.chunk_size());
        let chunk = chunk.max_by_key(|chunk| chunk.bytes()).unwrap_or(ChunkSize::Half);
        let umem = Umem::new((POOL_FRAMES + 64) * cores.len(), chunk)?;
        let built = Arc::new(BuiltParts { generation: Arc::new(generation), images });
        Ok(Self { built, sources, cores, umem, routes, options })
    }

    /// How many packets will come, when that is known.
    pub fn packets_total(&self) -> Option<u64> {
        let frames: u64 = self.sources.iter().flatten().map(|capture| capture.frames() as u64).sum();
        if self.options.limit.is_some() { None } else { Some(frames.saturating_mul(self.options.loops?)) }
    }

    /// The cores that workers will be pinned to.
    pub fn cores(&self) -> &[usize] {
        &self.cores
    }

    /// Plays it all; `progress` is told ten times a second, and stops the replay by answering false.
    pub fn run(self, mut progress: impl FnMut(Progress) -> bool) -> Result<Outcome, ReplayError> {
        let packets_total = self.packets_total();
        let stop = Arc::new(AtomicBool::new(false));
        let start_line = Arc::new(Barrier::new(self.cores.len() + 1));
        let (traces_in, traces_out) = mpsc::sync_channel(TRACES_MAX);
        let (recorded_in, recorded_out) = mpsc::channel();
        let mut workers = self.workers(&traces_in, &recorded_in)?;
        drop((traces_in, recorded_in));
        let counters: Vec<WorkerCounters> = workers.iter().map(Worker::counters).collect();
        let threads: Vec<JoinHandle<Finished>> = workers
            .drain(..)
            .zip(&self.cores)
            .map(|(worker, core)| spawn(worker, *core, &start_line, &stop))
            .collect();
        start_line.wait();
        let start = Instant::now();
        let mut traces = Vec::new();
        while !threads.iter().all(JoinHandle::is_finished) {
            std::thread::sleep(Duration::from_millis(if start.elapsed().as_millis() < 200 { 2 } else { 50 }));
            traces.extend(traces_out.try_iter());
            let packets = counters.iter().flat_map(|worker| worker.iter());
            let packets = packets.map(|port| port.received.packets.get()).sum();
            let now = Progress { packets, packets_total, elapsed: start.elapsed() };
            let over = self.options.limit.is_some_and(|limit| now.elapsed >= limit);
            if !progress(now) || over {
                stop.store(true, Ordering::Relaxed);
            }
        }
        let finished: Vec<Finished> = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect();
        traces.extend(traces_out.try_iter());
        let first = finished.iter().map(|finished| finished.start).min().unwrap_or(start);
        let last = finished.iter().map(|finished| finished.end).max().unwrap_or(start);
        Ok(Outcome {
            built: self.built,
            workers: counters,
            cores: self.cores,
            elapsed: last - first,
            tally: self.sources.iter().flatten().map(|capture| *capture.tally()).collect(),
            frames_lost: self.umem.chunks() - self.umem.home(),
            recorded: in_order(&recorded_out),
            traces,
        })
    }

    fn workers(
        &self,
        traces: &mpsc::SyncSender<TraceLine>,
        recorded: &Sender<Vec<Recorded>>,
    ) -> Result<Vec<Worker>, ReplayError> {
        let swap = Swap::new(Arc::clone(&self.built.generation), self.cores.len());
        let routes = Swap::new(Arc::clone(&self.routes), self.cores.len());
        let begin = Instant::now();
        let script = Script { loops: self.options.loops, pace: self.options.pace, begin };
        let mut shards: Vec<_> = self
            .sources
            .iter()
            .map(|source| source.as_ref().map(|capture| capture.shard(self.cores.len()).into_iter()))
            .collect();
        let mut workers = Vec::new();
        for number in 0..self.cores.len() {
            let plans = self.built.generation.ports.iter();
            let ports = plans.zip(&mut shards).map(|(plan, shards)| {
                let sink = Null::new(plan.name.clone(), plan.ifindex);
                match shards.as_mut().and_then(Iterator::next) {
                    None => Box::new(sink) as Box<dyn Port>,
                    Some(shard) => {
                        let play = Play::new(plan.name.clone(), plan.ifindex, number as u32, shard, script);
                        Box::new(PlayAndSink { play, sink: Box::new(sink) })
                    }
                }
            });
            let ports = ports.collect();
            let env = WorkerEnv::new(
                number,
                0x9e37_79b9_7f4a_7c15 ^ number as u64,
                routes.reader(number),
                self.umem.pool(0)?,
                Some(traces.clone()),
            );
            let recorder = self.options.record.then(|| {
                Box::new(Recording { records: Vec::new(), done: recorded.clone() }) as Box<dyn Recorder>
            });
            let pool = self.umem.pool(POOL_FRAMES)?;
            workers.push(Worker::new(number, swap.reader(number), ports, pool, env, recorder));
        }
        Ok(workers)
    }
}

/// When a worker's packets began and ended.
struct Finished {
    start: Instant,
    end: Instant,
}

fn spawn(
    mut worker: Worker,
    core: usize,
    start_line: &Arc<Barrier>,
    stop: &Arc<AtomicBool>,
) -> JoinHandle<Finished> {
    let (start_line, stop) = (Arc::clone(start_line), Arc::clone(stop));
    std::thread::spawn(move || {
        // A core that cannot be had was refused in `cores`; losing it since then costs speed only.
        let _ = affinity::pin(core);
        start_line.wait();
        let start = Instant::now();
        loop {
            let turn = worker.turn(weir_packet::BATCH);
            if turn.ended || stop.load(Ordering::Relaxed) {
                break;
            }
            if turn.received == 0 {
                std::hint::spin_loop();
            }
        }
        let end = Instant::now();
        worker.close();
        Finished { start, end }
    })
}

/// The cores for workers: as configured, or all there are.
fn cores(config: &Config, options: &Options) -> Result<Vec<usize>, ReplayError> {
    let allowed = affinity::allowed()?;
    let mut cores = config.workers.cores.clone().unwrap_or_else(|| allowed.clone());
    if let Some(core) = cores.iter().find(|core| !allowed.contains(core)) {
        let allowed = affinity::ranges(&allowed);
        return Err(AffinityError::NotAllowed { core: *core, allowed }.into());
    }
    cores.truncate(options.workers.unwrap_or(usize::MAX).max(1));
    Ok(cores)
}

/// What each port plays. Live devices are not touched: they give nothing, and count what they are sent; captures
/// that were named are played into the first of them when there is no interface of the `pcap` driver.
fn sources(
    config: &Config,
    options: &Options,
    generation: &crate::Generation,
) -> Result<Vec<Option<Arc<Capture>>>, ReplayError> {
    let limits = Limits::default();
    let named = (!options.captures.is_empty()).then(|| played(config)).flatten();
    let mut sources = Vec::new();
    for (plan, (name, interface)) in generation.ports.iter().zip(&config.interface) {
        let source = if named == Some(name) {
            Some(Capture::load(&options.captures, &limits)?)
        } else {
            match (interface.driver(), &interface.generate) {
                (Driver::Pcap, Some(generate)) => Some(made(generate, plan, &limits)?),
                (Driver::Pcap, None) if !interface.file.is_empty() => {
                    let files: Vec<PathBuf> =
                        interface.file.iter().map(|file| config.resolve(file)).collect();
                    Some(Capture::load(&files, &limits)?)
                }
                (Driver::Pcap, None) => None,
                (Driver::AfXdp | Driver::Tap | Driver::Null | Driver::Memory, _) => None,
            }
        };
        sources.push(source.map(Arc::new));
    }
    if sources.iter().all(Option::is_none) {
        return Err(ReplayError::NothingToPlay { live: live_names(config) });
    }
    Ok(sources)
}

/// The interface that captures of the command line are played into.
fn played(config: &Config) -> Option<&String> {
    let first = |wanted: &dyn Fn(Driver) -> bool| {
        config.interface.iter().find(|(_, interface)| wanted(interface.driver())).map(|(name, _)| name)
    };
    first(&|driver| driver == Driver::Pcap).or_else(|| first(&Driver::is_live))
}

/// The interfaces that a replay cannot receive from, as a sentence lists them; empty without any.
fn live_names(config: &Config) -> String {
    let live = config.interface.iter().filter(|(_, interface)| interface.driver().is_live());
    let names: Vec<&str> = live.map(|(name, _)| name.as_str()).collect();
    if names.is_empty() { String::new() } else { crate::config::listed(&names) }
}

/// Traffic made to a port's order.
pub(crate) fn made(generate: &Generate, plan: &PortPlan, limits: &Limits) -> Result<Capture, ReplayError> {
    let usual = Spec::default();
    let spec = Spec {
        seed: generate.seed,
        packets: generate.packets,
        flows: generate.flows.unwrap_or(usual.flows),
        clients: generate.clients.unwrap_or(usual.clients),
        servers: generate.servers.unwrap_or(usual.servers),
        packets_per_second: generate.pps.unwrap_or(usual.packets_per_second),
        router_mac: generate.to.map_or(plan.mac, |mac| mac.0),
        ..usual
    };
    Ok(Traffic::new(&spec)?.capture(limits)?)
}

/// Keeps what was judged, and hands it over when the worker ends.
struct Recording {
    records: Vec<Recorded>,
    done: Sender<Vec<Recorded>>,
}

impl Recorder for Recording {
    fn record(&mut self, port: PortNumber, frame: &Frame, judgement: &Judgement) {
        self.records.push(Recorded {
            port,
            record: frame.record,
            stamp_ns: frame.stamp_ns,
            bytes: frame.bytes().to_vec(),
            judgement: *judgement,
        });
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        // Nobody listens only when the replay itself failed.
        let _ = self.done.send(std::mem::take(&mut self.records));
    }
}

fn in_order(recorded: &Receiver<Vec<Recorded>>) -> Vec<Recorded> {
    let mut all: Vec<Recorded> = recorded.try_iter().flatten().collect();
    all.sort_by_key(|recorded| (recorded.port, recorded.record));
    all
}

/// A port that plays a shard and counts what is sent by it.
pub(crate) struct PlayAndSink {
    pub(crate) play: Play,
    pub(crate) sink: Box<dyn Port>,
}

impl Port for PlayAndSink {
    fn name(&self) -> &str {
        self.play.name()
    }

    fn index(&self) -> u32 {
        self.play.index()
    }

    fn queue(&self) -> u32 {
        self.play.queue()
    }

    fn receive(&mut self, pool: &mut Pool, batch: &mut Batch, max: usize) -> Received {
        self.play.receive(pool, batch, max)
    }

    fn send(&mut self, pool: &mut Pool, batch: &mut Batch) -> Sent {
        self.sink.send(pool, batch)
    }

    fn wait(&self) -> Wait {
        self.play.wait()
    }

    fn close(&mut self, pool: &mut Pool) -> usize {
        self.play.close(pool) + self.sink.close(pool)
    }
}
