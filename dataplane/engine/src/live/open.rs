//! Who opens ports: the daemon by the kernel, tests by what they inject, files and memory by [`Offline`].

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use weir_io::Port;
use weir_io::null::Null;
use weir_io::pair::{End, pair};
use weir_io::pcap::{Capture, Limits, Pace, Play, Recorder, Script};
use weir_packet::Umem;

use crate::config::{Config, Driver, Interface};
use crate::generation::PortPlan;
use crate::replay::{PlayAndSink, made};

/// Packets that one end of a wire in memory may have sent before the other took them.
const WIRE_DEPTH: usize = 4096;

/// What a device says of itself before it is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its number.
    pub ifindex: u32,
    /// Its link address.
    pub mac: [u8; 6],
    /// Most bytes of a packet without its link header.
    pub mtu: u32,
    /// Its receive queues.
    pub queues: u32,
}

/// Why a port cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("interface {interface}: {text}")]
pub struct OpenError {
    /// Which interface.
    pub interface: String,
    /// What was found, wanted, and what to try.
    pub text: String,
    /// Whether it may work later without anyone's help: the device is away or busy.
    pub passing: bool,
}

impl OpenError {
    /// For a reason that stays.
    pub fn new(interface: &str, text: impl Into<String>) -> Self {
        Self { interface: interface.to_owned(), text: text.into(), passing: false }
    }

    /// For a reason that may pass.
    pub fn passing(interface: &str, text: impl Into<String>) -> Self {
        Self { passing: true, ..Self::new(interface, text) }
    }
}

/// Opens ports, at the start and whenever one has failed. Called from several threads, never from a worker.
pub trait Opener: Send + Sync {
    /// What the device of an interface says of itself; `None` for those that have none.
    fn device(&self, name: &str, interface: &Interface) -> Result<Option<Device>, OpenError> {
        let _ = (name, interface);
        Ok(None)
    }

    /// Opens the port of an interface: one for each worker, in their order, or fewer. Workers beyond those send
    /// by one that has a port. None of the ports holds a frame of `umem` yet: they take them as they go, from
    /// the pool that each call hands them.
    fn open(
        &self,
        interface: &Interface,
        plan: &PortPlan,
        workers: usize,
        umem: &Arc<Umem>,
    ) -> Result<Vec<Box<dyn Port>>, OpenError>;

    /// Opens the way of an interface to the host: where packets go that are meant for it. One port for each
    /// worker, or none at all when there is no host to give them to.
    fn host(
        &self,
        interface: &Interface,
        plan: &PortPlan,
        workers: usize,
    ) -> Result<Vec<Box<dyn Port>>, OpenError> {
        let _ = (interface, plan, workers);
        Ok(Vec::new())
    }

    /// Is told of the machine's own addresses, at first and whenever they change.
    fn addresses(&self, config: &Config, own: &[IpAddr]) -> Result<(), OpenError> {
        let _ = (config, own);
        Ok(())
    }

    /// Frames that the port of an interface may hold in its rings, all workers together.
    fn frames(&self, interface: &Interface, workers: usize) -> usize {
        match interface.driver() {
            // The fill ring and the transmit ring, full, on each queue.
            Driver::AfXdp => 2 * interface.ring.unwrap_or(2048) as usize * workers,
            Driver::Tap | Driver::Pcap | Driver::Null | Driver::Memory => 0,
        }
    }
}

/// Opens what needs no kernel: captures, wires in memory, and nothing at all.
#[derive(Debug, Default)]
pub struct Offline {
    folder: PathBuf,
    /// The ends of wires whose first end was opened already, by the interface they are for.
    ends: Mutex<BTreeMap<String, End>>,
}

impl Offline {
    /// For the interfaces of this configuration.
    pub fn new(config: &Config) -> Self {
        Self { folder: config.folder.clone(), ends: Mutex::default() }
    }

    fn memory(&self, interface: &Interface, plan: &PortPlan) -> Box<dyn Port> {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(peer) = &interface.peer else {
            return Box::new(Null::new(plan.name.clone(), plan.ifindex));
        };
        if let Some(end) = ends.remove(&plan.name) {
            return Box::new(end.named(&plan.name, plan.ifindex));
        }
        let (here, there) = pair(&plan.name, plan.ifindex, WIRE_DEPTH);
        ends.insert(peer.clone(), there);
        Box::new(here.named(&plan.name, plan.ifindex))
    }

    fn pcap(
        &self,
        interface: &Interface,
        plan: &PortPlan,
        workers: usize,
    ) -> Result<Vec<Box<dyn Port>>, OpenError> {
        let error = |text: String| OpenError::new(&plan.name, text);
        let out = interface.write.as_ref().map(|path| self.folder.join(path));
        let sinks = if out.is_some() { 1 } else { workers };
        let source = self.source(interface, plan).map_err(error)?;
        let mut shards = source.map(Arc::new).map_or(Vec::new(), |capture| capture.shard(sinks)).into_iter();
        let script = Script { loops: Some(1), pace: Pace::Stamps { speed: 1.0 }, begin: Instant::now() };
        let mut ports: Vec<Box<dyn Port>> = Vec::new();
        for number in 0..sinks {
            let sink: Box<dyn Port> = match &out {
                None => Box::new(Null::new(plan.name.clone(), plan.ifindex)),
                Some(path) => {
                    let file = std::fs::File::create(path);
                    let file = file.map_err(|source| error(format!("{}: {source}", path.display())))?;
                    let out = std::io::BufWriter::new(file);
                    let recorder = Recorder::new(plan.name.clone(), plan.ifindex, out);
                    Box::new(recorder.map_err(|source| error(format!("{}: {source}", path.display())))?)
                }
            };
            ports.push(match shards.next() {
                None => sink,
                Some(shard) => {
                    let play = Play::new(plan.name.clone(), plan.ifindex, number as u32, shard, script);
                    Box::new(PlayAndSink { play, sink })
                }
            });
        }
        Ok(ports)
    }

    fn source(&self, interface: &Interface, plan: &PortPlan) -> Result<Option<Capture>, String> {
        let limits = Limits::default();
        let capture = if let Some(generate) = &interface.generate {
            made(generate, plan, &limits).map_err(|error| error.to_string())?
        } else if interface.file.is_empty() {
            return Ok(None);
        } else {
            let files: Vec<PathBuf> = interface.file.iter().map(|file| self.folder.join(file)).collect();
            Capture::load(&files, &limits).map_err(|error| error.to_string())?
        };
        Ok(Some(capture))
    }
}

impl Opener for Offline {
    fn open(
        &self,
        interface: &Interface,
        plan: &PortPlan,
        workers: usize,
        _umem: &Arc<Umem>,
    ) -> Result<Vec<Box<dyn Port>>, OpenError> {
        match interface.driver() {
            Driver::Null => {
                let null = |_| Box::new(Null::new(plan.name.clone(), plan.ifindex)) as Box<dyn Port>;
                Ok((0..workers).map(null).collect())
            }
            Driver::Memory => Ok(vec![self.memory(interface, plan)]),
            Driver::Pcap => self.pcap(interface, plan, workers),
            Driver::AfXdp | Driver::Tap => Err(OpenError::new(
                &plan.name,
                format!(
                    "driver \"{}\" needs the kernel, which this opener does not ask",
                    interface.driver().name()
                ),
            )),
        }
    }
}
