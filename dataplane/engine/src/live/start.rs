//! From a configuration to running workers.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime};

use weir_io::Port;
use weir_packet::{ChunkSize, HEADROOM, Umem, UmemError};
use weir_sys::affinity::{self, AffinityError};
use weir_vm::Engine as VmEngine;

use super::apply::{Changer, Mutant, effective, etag, own_maps, proven};
use super::change::{ChangeError, Desired};
use super::event::{Events, What};
use super::follow;
use super::history::{History, PastState};
use super::open::{Device, OpenError, Opener};
use super::stats::SwapStats;
use super::supervise::{self, PortWatch};
use super::thread::{self, Orders};
use super::{Current, Engine, Limits, Live, Staff, Threads};
use crate::build::{self, BuildError, Built};
use crate::config::{Config, Driver};
use crate::env::{TraceLine, WorkerEnv};
use crate::generation::PortPlan;
use crate::handoff::{HANDOFF_DEPTH, Inbox, handoff};
use crate::host::{Behind, Host, Setup};
use crate::mailbox::Mailbox;
use crate::observe::Observers;
use crate::routes::live::Live as LiveRoutes;
use crate::routes::mirror::{FollowError, Resolve};
use crate::routes::{Routes, RoutesError};
use crate::snapshot::{Store, StoreError};
use crate::swap::Swap;
use crate::worker::Worker;

/// Frames that a worker's pool is kept at.
const POOL_FRAMES: usize = 1024;
/// Trace lines that may wait to be read.
const TRACES_MAX: usize = 4096;

/// What each worker's thread does first, such as giving up privileges. Its error ends the worker.
pub type WorkerStart = Arc<dyn Fn(usize) -> Result<(), String> + Send + Sync>;

/// How to start.
#[derive(Clone)]
pub struct StartOptions {
    /// Opens the ports.
    pub opener: Arc<dyn Opener>,
    /// What runs the programs.
    pub engine: VmEngine,
    /// How long waits may take.
    pub limits: Limits,
    /// What each worker's thread does first.
    pub begin: Option<WorkerStart>,
    /// Has the kernel ask for a neighbour whose link address is wanted; absent: nobody asks.
    pub resolve: Option<Resolve>,
    /// For random numbers of programs, and for spreading flows.
    pub seed: u64,
    /// Whether maps that end with their generation are overwritten before they are freed, so that using them
    /// later shows. For tests.
    pub poison: bool,
    #[doc(hidden)]
    pub mutant: Mutant,
}

impl StartOptions {
    /// The usual ones.
    pub fn new(opener: Arc<dyn Opener>) -> Self {
        let seed = random_seed();
        Self {
            opener,
            engine: VmEngine::default(),
            limits: Limits::default(),
            begin: None,
            resolve: None,
            seed,
            poison: false,
            mutant: Mutant::None,
        }
    }
}

/// A number that nobody can guess, if the system has one.
fn random_seed() -> u64 {
    let mut bytes = [0; 8];
    match getrandom::fill(&mut bytes) {
        Ok(()) => u64::from_ne_bytes(bytes),
        Err(_) => 0x9e37_79b9_7f4a_7c15,
    }
}

/// Why it cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is refused.
    #[error(transparent)]
    Config(#[from] ChangeError),
    /// It makes no generation.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// Its routes contradict its ports.
    #[error(transparent)]
    Routes(#[from] RoutesError),
    /// Cores cannot be used as configured.
    #[error(transparent)]
    Affinity(#[from] AffinityError),
    /// No memory for frames.
    #[error(transparent)]
    Umem(#[from] UmemError),
    /// A port cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The kernel's routes cannot be followed.
    #[error(transparent)]
    Follow(#[from] FollowError),
    /// Maps cannot be kept where the configuration wants them.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A thread or a descriptor cannot be had.
    #[error("{what}: {source}")]
    System {
        /// For what.
        what: &'static str,
        /// Why not.
        source: std::io::Error,
    },
}

/// Ports of one worker, by number; `None` where it has no queue.
type WorkerPorts = Vec<Option<Box<dyn Port>>>;

pub(super) fn start(desired: Desired, options: StartOptions) -> Result<Arc<Live>, StartError> {
    let devices = devices(&desired.config, &*options.opener)?;
    let config = effective(&desired.config, &devices);
    let cores = cores(&config, &devices)?;
    let built = build::build_with(
        &config,
        &build::Options {
            number: 1,
            workers: cores.len(),
            engine: options.engine,
            objects: Some(&desired.objects),
            ..build::Options::default()
        },
    )?;
    build::populate(&built.images, |_| true);
    let routes = LiveRoutes::new(Routes::new(options.seed), cores.len());
    follow(&routes, &config, &built.generation.ports)?;
    let umem = Umem::new(frames(&config, &*options.opener, cores.len()), chunk(&config))?;
    let (opened, watches) = open_all(&config, &built.generation.ports, cores.len(), &umem, &*options.opener)?;
    let (engine, bell, traces, store) =
        assemble(desired, config, devices, built, &cores, routes, umem, watches, options)?;
    let current = engine.current();
    let behind =
        follow::all_behind(&current.config, &current.generation.ports, cores.len(), &*engine.options.opener)?;
    let mirror = follow::begin(&engine)?;
    let workers = employ(&engine, opened, behind, &traces)?;
    let keeper = store.map(|store| super::keep::begin(&engine, store)).transpose();
    let keeper =
        keeper.map_err(|source| StartError::System { what: "the thread that keeps maps", source })?;
    let engine_for_supervisor = Arc::clone(&engine);
    let supervisor = std::thread::Builder::new()
        .name("weir-super".to_owned())
        .spawn(move || supervise::run(&engine_for_supervisor, &bell))
        .map_err(|source| StartError::System { what: "the supervisor's thread", source })?;
    engine.events.tell(What::Started { generation: 1, workers: cores.len() });
    let threads = Mutex::new(Threads { workers, supervisor: Some(supervisor), keeper, mirror });
    Ok(Arc::new(Live { engine, threads }))
}

/// What the devices say of themselves.
pub(super) fn devices(config: &Config, opener: &dyn Opener) -> Result<BTreeMap<String, Device>, OpenError> {
    let mut devices = BTreeMap::new();
    for (name, interface) in &config.interface {
        devices.extend(opener.device(name, interface)?.map(|device| (name.clone(), device)));
    }
    Ok(devices)
}

/// The tables follow the configuration; nobody reads them yet, so nothing waits.
fn follow(routes: &LiveRoutes, config: &Config, ports: &[PortPlan]) -> Result<(), RoutesError> {
    match routes.configure(config, ports) {
        Err(crate::routes::live::ConfigureError::Routes(error)) => Err(error),
        Ok(()) | Err(crate::routes::live::ConfigureError::Waiting(_)) => Ok(()),
    }
}

/// The cores for workers: as configured or all there are, but no more than a port has queues to feed.
fn cores(config: &Config, devices: &BTreeMap<String, Device>) -> Result<Vec<usize>, AffinityError> {
    let allowed = affinity::allowed()?;
    let mut cores = config.workers.cores.clone().unwrap_or_else(|| allowed.clone());
    if let Some(core) = cores.iter().find(|core| !allowed.contains(core)) {
        return Err(AffinityError::NotAllowed { core: *core, allowed: affinity::ranges(&allowed) });
    }
    let queues = |(name, interface): (&String, &crate::config::Interface)| {
        match (devices.get(name), interface.driver()) {
            (Some(device), _) => device.queues as usize,
            // A capture is cut into as many parts as there are workers, unless it writes one file.
            (None, Driver::Pcap) if interface.write.is_none() => usize::MAX,
            (None, _) => 1,
        }
    };
    cores.truncate(config.interface.iter().map(queues).max().unwrap_or(1).max(1));
    Ok(cores)
}

/// Frames of the process: what rings hold when full, what workers work with, and what is on its way between them.
fn frames(config: &Config, opener: &dyn Opener, workers: usize) -> usize {
    let rings: usize = config.interface.values().map(|interface| opener.frames(interface, workers)).sum();
    let handed = if workers > 1 { config.interface.len() * workers * HANDOFF_DEPTH } else { 0 };
    config.workers.frames.unwrap_or(rings + handed + workers * (2 * POOL_FRAMES + 256))
}

fn chunk(config: &Config) -> ChunkSize {
    let longest = config.interface.values().map(|interface| interface.mtu() as usize + 22).max().unwrap_or(0);
    let captures = config.interface.values().any(|interface| interface.driver() == Driver::Pcap);
    if longest > ChunkSize::Half.bytes() - HEADROOM || captures { ChunkSize::Page } else { ChunkSize::Half }
}

/// Opens every port: for each worker its own, and for the supervisor who has which.
fn open_all(
    config: &Config,
    plans: &[PortPlan],
    workers: usize,
    umem: &Arc<Umem>,
    opener: &dyn Opener,
) -> Result<(Vec<WorkerPorts>, Vec<PortWatch>), OpenError> {
    let mut by_worker: Vec<WorkerPorts> = (0..workers).map(|_| Vec::new()).collect();
    let mut watches = Vec::new();
    for plan in plans {
        let ports = opener.open(&config.interface[&plan.name], plan, workers, umem)?;
        if ports.is_empty() {
            return Err(OpenError::new(&plan.name, "its opener gave no port"));
        }
        watches.push(PortWatch::new(&plan.name, ports.len().min(workers)));
        let mut ports = ports.into_iter();
        by_worker.iter_mut().for_each(|worker| worker.push(ports.next()));
    }
    Ok((by_worker, watches))
}

type Assembled = (Arc<Engine>, crossbeam_channel::Receiver<()>, mpsc::SyncSender<TraceLine>, Option<Store>);

#[allow(
    clippy::too_many_arguments,
    reason = "the parts of one whole, each made by another step of the start"
)]
fn assemble(
    desired: Desired,
    config: Config,
    devices: BTreeMap<String, Device>,
    built: Built,
    cores: &[usize],
    routes: Arc<LiveRoutes>,
    umem: Arc<Umem>,
    ports: Vec<PortWatch>,
    options: StartOptions,
) -> Result<Assembled, StartError> {
    let (bell, bell_rings) = crossbeam_channel::bounded(1);
    let (traces, traces_out) = mpsc::sync_channel(TRACES_MAX);
    let Built { generation, images, entries } = built;
    let generation = Arc::new(generation);
    let mut swaps = SwapStats::default();
    proven(&images, &mut swaps.verified);
    let desired = Arc::new(desired);
    let mut current = Current {
        number: 1,
        generation: Arc::clone(&generation),
        own: own_maps(&config, &images, &entries),
        images,
        entries,
        etag: etag(1, &desired),
        desired: Arc::clone(&desired),
        config,
        edits: Vec::new(),
        since: SystemTime::now(),
        what: "started".to_owned(),
    };
    let (store, restoration) = super::keep::read_back(&current)?;
    current.what += &restoration.words();
    let what = current.what.clone();
    let current = Arc::new(current);
    let mut history = History::default();
    history.add((1, what, None), desired, Vec::new(), PastState::Kept);
    let plans: Vec<(String, u32)> =
        generation.ports.iter().map(|plan| (plan.name.clone(), plan.ifindex)).collect();
    let staff = cores.iter().map(|core| {
        let mailbox = Mailbox::new()
            .map_err(|source| StartError::System { what: "an event for a worker's mailbox", source })?;
        let shared = Worker::seen_from_outside(plans.len());
        Ok(Staff { core: *core, shared, mailbox, health: Arc::default(), said: Arc::default() })
    });
    let staff = staff.collect::<Result<Vec<_>, StartError>>()?;
    let engine = Engine {
        generations: Swap::new(generation, cores.len()),
        umem,
        routes,
        wants: follow::wants(),
        mirrored: OnceLock::new(),
        observers: Observers::new(),
        workers: staff,
        ports,
        current: Mutex::new(current),
        history: Mutex::new(history),
        change: Mutex::new(Changer::new(cores.len(), devices)),
        probation: Mutex::new(None),
        events: Events::default(),
        snapshots: Mutex::default(),
        restoration,
        swaps: Mutex::new(swaps),
        routes_seen: Mutex::default(),
        traces: Mutex::new(traces_out),
        started: Instant::now(),
        stopping: AtomicBool::new(false),
        bell,
        options,
    };
    Ok((Arc::new(engine), bell_rings, traces, store))
}

/// Gives every worker its ports and rings, and starts its thread.
fn employ(
    engine: &Arc<Engine>,
    opened: Vec<WorkerPorts>,
    behind: Vec<Vec<Behind>>,
    traces: &mpsc::SyncSender<TraceLine>,
) -> Result<Vec<JoinHandle<Option<Worker>>>, StartError> {
    let current = engine.current();
    let count = engine.workers.len();
    let mut inboxes: Vec<Vec<Inbox>> = (0..count).map(|_| Vec::new()).collect();
    let mut workers = Vec::new();
    for (number, ports) in opened.into_iter().enumerate() {
        let (mut whole, mut handed) = (Vec::new(), Vec::new());
        for (at, (port, plan)) in ports.into_iter().zip(&current.generation.ports).enumerate() {
            whole.push(match port {
                Some(port) => port,
                None => {
                    let owner = number % engine.ports[at].owners;
                    let mailbox = &engine.workers[owner].mailbox;
                    let (sender, inbox, count) = handoff(&plan.name, plan.ifindex, at, mailbox);
                    inboxes[owner].push(inbox);
                    handed.push(count);
                    Box::new(sender)
                }
            });
        }
        workers.push((whole, handed));
    }
    let mut threads = Vec::new();
    let setup = Setup::of(&current.config.router, Arc::clone(&engine.wants));
    let each = workers.into_iter().zip(inboxes).zip(behind).enumerate();
    for (number, (((ports, handed), inboxes), behind)) in each {
        let staff = &engine.workers[number];
        let env = WorkerEnv::new(
            number,
            engine.options.seed ^ (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            engine.routes.reader(number),
            engine.umem.pool(0)?,
            Some(traces.clone()),
        );
        let pool = engine.umem.pool(POOL_FRAMES.min(engine.umem.home()))?;
        let worker = Worker::new(number, engine.generations.reader(number), ports, pool, env, None)
            .seen_as(&staff.shared)
            .watched_by(&engine.observers)
            .with_host(Host::new(setup.clone(), behind))
            .with_rings(inboxes, handed);
        let orders = Orders {
            number,
            core: staff.core,
            idle: current.config.workers.idle,
            mailbox: Arc::clone(&staff.mailbox),
            health: Arc::clone(&staff.health),
            begin: engine.options.begin.clone(),
        };
        staff.said.say(worker.statement());
        let thread = thread::spawn(worker, orders);
        threads.push(thread.map_err(|source| StartError::System { what: "a worker's thread", source })?);
    }
    Ok(threads)
}
