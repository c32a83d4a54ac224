//! Opens ports by the kernel, and what needs no kernel without.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use weir_engine::config::{self, Config, Driver, Interface, PuntWord, Queues};
use weir_engine::generation::PortPlan;
use weir_engine::live::{Device, Offline, OpenError, Opener};
use weir_io::Port;
use weir_io::afxdp::{
    self, Attached, BusyPoll, Copying, Kernel, KernelError, Mode, Punt, PuntRule, Rings, Sharing, Wanted,
};
use weir_io::multi::Multi;
use weir_io::tap::Tap;
use weir_packet::Umem;

/// The daemon's opener.
pub(super) struct KernelOpener {
    kernel: Arc<dyn Kernel>,
    offline: Offline,
    /// The box's own addresses.
    addresses: Vec<IpAddr>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Devices that were attached for a question, and not opened yet.
    attached: BTreeMap<String, Attached>,
    sharing: Option<Arc<Sharing>>,
}

impl KernelOpener {
    pub(super) fn new(config: &Config, kernel: Arc<dyn Kernel>) -> Self {
        let addresses =
            config.interface.values().flat_map(|interface| &interface.address).map(|net| net.addr());
        Self {
            kernel,
            offline: Offline::new(config),
            addresses: addresses.collect(),
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attach(&self, name: &str, interface: &Interface) -> Result<Attached, OpenError> {
        let device = interface.device.as_deref().ok_or_else(|| OpenError::new(name, "it has no device"))?;
        let mode = match interface.mode {
            config::Mode::Auto => None,
            config::Mode::Zerocopy | config::Mode::Copy => Some(Mode::Native),
            config::Mode::Generic => Some(Mode::Generic),
        };
        let attached = self.kernel.attach(device, &self.punt(interface), mode);
        let attached = attached.map_err(|error| refused(name, &error))?;
        if let Some(word) = &attached.word {
            tracing::warn!(interface = name, mode = attached.mode.name(), "{word}");
        }
        Ok(attached)
    }

    fn punt(&self, interface: &Interface) -> Punt {
        let mut punt = Punt { addresses: self.addresses.clone(), ..Punt::nothing() };
        for word in &interface.punt {
            rules(*word).into_iter().for_each(|rule| punt.add(rule));
        }
        punt
    }

    fn sharing(&self, umem: &Arc<Umem>) -> Arc<Sharing> {
        Arc::clone(self.state().sharing.get_or_insert_with(|| Sharing::new(Arc::clone(umem))))
    }

    /// A port of each queue, put together for the workers that serve them: queue q is of worker q % workers.
    fn af_xdp(
        &self,
        interface: &Interface,
        plan: &PortPlan,
        workers: usize,
        umem: &Arc<Umem>,
    ) -> Result<Vec<Box<dyn Port>>, OpenError> {
        let known = self.state().attached.remove(&plan.name);
        let attached = known.map_or_else(|| self.attach(&plan.name, interface), Ok)?;
        let sharing = self.sharing(umem);
        let mut by_worker: Vec<Vec<Box<dyn Port>>> = (0..workers).map(|_| Vec::new()).collect();
        for (number, queue) in queues(interface, attached.queues).into_iter().enumerate() {
            let wanted = wanted(interface, plan, queue);
            let port = afxdp::open(&*self.kernel, &attached, &sharing, &wanted);
            let port = port.map_err(|error| match error {
                afxdp::OpenError::Kernel(error) => refused(&plan.name, &error),
                other => OpenError::new(&plan.name, other.to_string()),
            })?;
            by_worker[number % workers].push(Box::new(port));
        }
        Ok(by_worker.into_iter().filter_map(Multi::of).collect())
    }

    fn tap(&self, interface: &Interface, plan: &PortPlan) -> Result<Vec<Box<dyn Port>>, OpenError> {
        let device = interface.device.as_deref().unwrap_or(&plan.name);
        let fd = self.kernel.tap(device, plan.mac, plan.mtu).map_err(|error| refused(&plan.name, &error))?;
        let tap = Tap::adopt(fd, 0).map_err(|error| OpenError::new(&plan.name, error.to_string()))?;
        Ok(vec![Box::new(tap)])
    }
}

/// What a word of the configuration has the kernel keep.
fn rules(word: PuntWord) -> Vec<PuntRule> {
    use weir_io::afxdp::punt::Transport;
    match word {
        PuntWord::Arp => vec![PuntRule::Arp],
        PuntWord::Nd => vec![PuntRule::Nd],
        PuntWord::Local => vec![PuntRule::Local],
        PuntWord::Bgp => PuntRule::parse("bgp").unwrap_or_default(),
        PuntWord::Bfd => PuntRule::parse("bfd").unwrap_or_default(),
        PuntWord::Tcp(port) => vec![PuntRule::Port(Transport::Tcp, port)],
        PuntWord::Udp(port) => vec![PuntRule::Port(Transport::Udp, port)],
    }
}

fn queues(interface: &Interface, there: u32) -> Vec<u32> {
    match &interface.queues {
        Queues::All => (0..there).collect(),
        Queues::Some(queues) => queues.clone(),
    }
}

fn wanted(interface: &Interface, plan: &PortPlan, queue: u32) -> Wanted {
    let usual = Rings::default();
    let rings =
        interface.ring.map_or(usual, |ring| Rings { fill: ring, rx: ring, tx: ring, completion: ring });
    let copying = match interface.mode {
        config::Mode::Auto => Copying::Best,
        config::Mode::Zerocopy => Copying::ZeroCopy,
        config::Mode::Copy | config::Mode::Generic => Copying::Copy,
    };
    let busy_poll =
        interface.busy_poll.map(|time| BusyPoll { micros: time.0.as_micros() as u32, ..BusyPoll::default() });
    let device = interface.device.as_deref().unwrap_or(&plan.name);
    Wanted { name: plan.name.clone(), rings, copying, busy_poll, ..Wanted::queue(device, queue) }
}

/// What the kernel said, and whether it may say otherwise later: the device is away, down or busy.
fn refused(name: &str, error: &KernelError) -> OpenError {
    use weir_sys::errno;
    let passing = [errno::ENODEV, errno::ENXIO, errno::ENETDOWN, errno::EBUSY].contains(&error.errno);
    OpenError { passing, ..OpenError::new(name, error.to_string()) }
}

impl Opener for KernelOpener {
    fn device(&self, name: &str, interface: &Interface) -> Result<Option<Device>, OpenError> {
        if interface.driver() != Driver::AfXdp {
            return Ok(None);
        }
        let attached = self.attach(name, interface)?;
        let device = Device {
            ifindex: attached.ifindex,
            mac: attached.mac,
            mtu: attached.mtu,
            queues: queues(interface, attached.queues).len() as u32,
        };
        self.state().attached.insert(name.to_owned(), attached);
        Ok(Some(device))
    }

    fn open(
        &self,
        interface: &Interface,
        plan: &PortPlan,
        workers: usize,
        umem: &Arc<Umem>,
    ) -> Result<Vec<Box<dyn Port>>, OpenError> {
        match interface.driver() {
            Driver::AfXdp => self.af_xdp(interface, plan, workers, umem),
            Driver::Tap => self.tap(interface, plan),
            Driver::Pcap | Driver::Null | Driver::Memory => self.offline.open(interface, plan, workers, umem),
        }
    }
}
