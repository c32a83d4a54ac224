//! A field of play in memory: weir runs live between ports that make numbered packets and ports that note which
//! arrived. Everything that can go wrong with a port can be had here, at a wish.

mod feed;
mod sink;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use weir_engine::config::Interface;
use weir_engine::generation::PortPlan;
use weir_engine::live::{Change, Desired, Device, Live, OpenError, Opener, StartOptions};
use weir_io::Port;
use weir_io::gauges::{Gauges, Held, Losses, State, Way};
use weir_packet::Umem;

use crate::net::mark::Marker;
use crate::net::tally::Tally;

/// Flows that each worker's packets are of.
pub const FLOWS: u64 = 8;

/// What a test wishes of the field; ports look at it as they go.
#[derive(Debug, Default)]
pub struct Wishes {
    /// Workers that hand packets over to another make no more of them than that one can take.
    pub paced: AtomicBool,
    /// No more packets come.
    pub quiet: AtomicBool,
    /// Milliseconds that the next call of the first worker's feed takes, once.
    pub block_ms: AtomicU64,
    /// The next so many packets find no frame.
    pub starve: AtomicU64,
    /// Sinks refuse everything, as when a consumer has stopped.
    pub stalled: AtomicBool,
    /// Every port is lost, once, and must be opened again.
    pub flaps: AtomicU64,
    /// One packet in so many is taken by a sink and not delivered; 0: none.
    pub swallow_every: AtomicU64,
    /// One frame in so many is forgotten by a sink; 0: none.
    pub leak_every: AtomicU64,
}

/// What ports of one direction show and count.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    held: AtomicUsize,
    lost: AtomicBool,
}

impl Gauges for Seen {
    fn held(&self) -> Held {
        Held { fill: self.held.load(Ordering::Relaxed), ..Held::default() }
    }

    fn losses(&self) -> Losses {
        Losses::default()
    }

    fn way(&self) -> Way {
        Way::default()
    }

    fn state(&self) -> State {
        if self.lost.load(Ordering::Relaxed) {
            State::Lost("the test pulled it".to_owned())
        } else {
            State::Up
        }
    }
}

/// The field.
#[derive(Debug)]
pub struct Field {
    workers: usize,
    /// Sinks for one worker only: the others hand over.
    one_sink: bool,
    /// What is wished.
    pub wishes: Wishes,
    /// Packets that each worker's feed has made.
    made: Vec<AtomicU64>,
    /// Packets of each worker's feed that arrived.
    delivered: Vec<AtomicU64>,
    /// What arrived, by sink.
    tallies: Vec<Mutex<Tally>>,
    /// Packets that found no frame.
    pub starved: AtomicU64,
    /// Packets that sinks refused.
    pub refused: AtomicU64,
    /// Kept so that frames which a test leaks do not end it.
    umem: Mutex<Option<Arc<Umem>>>,
}

/// What became of all packets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Made.
    pub made: u64,
    /// Arrived, each once.
    pub arrived: u64,
    /// Did not arrive.
    pub missing: u64,
    /// Of those, the ones that no program would have dropped.
    pub missing_strangely: u64,
    /// Arrived twice.
    pub duplicated: u64,
    /// Arrived after a later one of their flow.
    pub reordered: u64,
    /// Judged by two generations, or by one that was freed.
    pub mixed: u64,
    /// Judged by an earlier generation than one before them in their flow.
    pub backwards: u64,
    /// Never made.
    pub alien: u64,
    /// Packets that arrived, by the generation that judged them.
    pub marks: BTreeMap<u32, u64>,
}

impl Verdict {
    /// What must not be, in words; empty when all is well. Missing packets are for who knows how many were dropped.
    pub fn faults(&self) -> Vec<String> {
        let zeros = [
            ("duplicated", self.duplicated),
            ("reordered", self.reordered),
            ("judged by a mixed generation", self.mixed),
            ("judged by an earlier generation than those before", self.backwards),
            ("alien", self.alien),
            ("missing though no program drops them", self.missing_strangely),
        ];
        let bad = zeros.iter().filter(|(_, count)| *count > 0);
        bad.map(|(word, count)| format!("{count} packets {word}")).collect()
    }
}

/// The marking program's place in the configuration.
const CONFIG: &str = r#"
version = 1
[workers]
idle = { spin = "20us", wait = "50ms" }
[interface.in]
driver = "memory"
[interface.out]
driver = "memory"
[[program]]
name = "mark"
object = "mark.bpf.o"
prog = "enter"
scratch = ["between"]
attach = { hook = "xdp", interface = "in" }
[forward]
connect = { in = "out" }
"#;

impl Field {
    /// A field for so many workers.
    pub fn new(workers: usize, one_sink: bool) -> Arc<Self> {
        let sinks = if one_sink { 1 } else { workers };
        Arc::new(Self {
            workers,
            one_sink,
            wishes: Wishes::default(),
            made: (0..workers).map(|_| AtomicU64::new(0)).collect(),
            delivered: (0..workers).map(|_| AtomicU64::new(0)).collect(),
            tallies: (0..sinks).map(|_| Mutex::new(Tally::new((FLOWS as usize * workers) as u32))).collect(),
            starved: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            umem: Mutex::new(None),
        })
    }

    /// Starts weir on it, with this program.
    pub fn start(self: &Arc<Self>, marker: Marker, set: impl FnOnce(&mut StartOptions)) -> Result<Arc<Live>> {
        let objects = BTreeMap::from([("mark.bpf.o".into(), marker.object()?.into())]);
        let desired = Desired::from_text(Path::new("/field/weir.toml"), CONFIG.to_owned(), objects)?;
        let mut options = StartOptions::new(Arc::new(Ground(Arc::clone(self))));
        options.poison = true;
        set(&mut options);
        Ok(Live::start(desired, options)?)
    }

    /// Packets made so far.
    pub fn made(&self) -> u64 {
        self.made.iter().map(|made| made.load(Ordering::Relaxed)).sum()
    }

    /// Waits until so many more packets were made.
    pub fn let_pass(&self, packets: u64) -> Result<()> {
        let (wanted, start) = (self.made() + packets, Instant::now());
        while self.made() < wanted {
            ensure!(start.elapsed() < Duration::from_secs(60), "packets do not flow");
            std::thread::sleep(Duration::from_micros(100));
        }
        Ok(())
    }

    /// Has no more packets come, and waits until those that came are through.
    pub fn quieten(&self, live: &Live) -> Result<()> {
        self.wishes.quiet.store(true, Ordering::Relaxed);
        let start = Instant::now();
        let mut last = (0, 0);
        loop {
            std::thread::sleep(Duration::from_millis(5));
            let conservation = live.stats().conservation;
            let now = (self.made(), conservation.rx);
            if now == last && conservation.error == 0 {
                return Ok(());
            }
            ensure!(start.elapsed() < Duration::from_secs(20), "it does not come to rest: {conservation}");
            last = now;
        }
    }

    /// Keeps the umem for ever: for tests that leak frames, which the umem would not let pass.
    pub fn keep_umem(&self) {
        let umem = self.umem.lock().unwrap_or_else(PoisonError::into_inner).take();
        std::mem::forget(umem);
    }

    /// What became of all packets. `drops` says which ids some program dropped.
    pub fn verdict(&self, drops: impl Fn(u64) -> bool) -> Verdict {
        let mut verdict = Verdict { made: self.made(), ..Verdict::default() };
        let flows = FLOWS * self.workers as u64;
        let limit = self.made.iter().map(|made| made.load(Ordering::Relaxed)).max().unwrap_or(0);
        let bound = limit.div_ceil(FLOWS) * flows;
        let was_made = |id: u64| {
            let (worker, place) = ((id % flows) / FLOWS, id % FLOWS);
            let count = (id / flows) * FLOWS + place;
            (worker, count < self.made[worker as usize].load(Ordering::Relaxed))
        };
        for (sink, tally) in self.tallies.iter().enumerate() {
            let tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
            verdict.arrived += tally.distinct();
            verdict.duplicated += tally.duplicated;
            verdict.reordered += tally.reordered;
            verdict.mixed += tally.mixed;
            verdict.backwards += tally.backwards;
            verdict.alien += tally.alien;
            tally.marks().iter().for_each(|(mark, n)| *verdict.marks.entry(*mark).or_default() += n);
            for id in tally.missing(bound) {
                let (worker, made) = was_made(id);
                if made && (self.one_sink || worker as usize == sink) {
                    verdict.missing += 1;
                    verdict.missing_strangely += u64::from(!drops(id));
                }
            }
        }
        verdict
    }
}

/// Replaces the marking program.
pub fn replace(marker: Marker) -> Result<Change> {
    Ok(Change::Replace { program: "mark".into(), object: marker.object()?.into(), prog: None })
}

/// All workers' sum of the two counters that marking programs carry on: judged, dropped.
pub fn judged(live: &Live) -> Result<(u64, u64)> {
    let current = live.current();
    let maps = current.find_maps("mark.judged");
    let (_, _, map) = maps.first().context("the program counts")?;
    let sum = |key: u32| -> Result<u64> {
        let values = map.control().lookup_percpu(&key.to_le_bytes())?;
        Ok(values.iter().filter_map(|value| Some(u64::from_le_bytes(*value.first_chunk()?))).sum())
    };
    Ok((sum(0)?, sum(1)?))
}

/// The field as weir's opener sees it.
struct Ground(Arc<Field>);

impl Opener for Ground {
    fn device(&self, name: &str, _interface: &Interface) -> Result<Option<Device>, OpenError> {
        let ifindex = if name == "in" { 1 } else { 2 };
        let mac = [2, 0, 0, 0, 0, ifindex as u8];
        Ok(Some(Device { ifindex, mac, mtu: 1500, queues: self.0.workers as u32 }))
    }

    fn open(
        &self,
        _interface: &Interface,
        plan: &PortPlan,
        workers: usize,
        umem: &Arc<Umem>,
    ) -> Result<Vec<Box<dyn Port>>, OpenError> {
        if workers != self.0.workers {
            return Err(OpenError::new(&plan.name, format!("the field is for {} workers", self.0.workers)));
        }
        *self.0.umem.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(umem));
        let parts = if plan.name == "out" { self.0.tallies.len() } else { workers };
        Ok((0..parts)
            .map(|worker| -> Box<dyn Port> {
                match plan.name == "out" {
                    true => Box::new(sink::Sink::new(&self.0, worker, plan)),
                    false => Box::new(feed::Feed::new(&self.0, worker, plan)),
                }
            })
            .collect())
    }

    fn frames(&self, _interface: &Interface, workers: usize) -> usize {
        feed::STASH * workers
    }
}
