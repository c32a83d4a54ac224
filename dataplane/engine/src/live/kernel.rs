//! Ports of a machine's devices: AF_XDP and TAP by the kernel, everything else as [`Offline`] has it.

use std::sync::{Arc, Mutex, PoisonError};

use weir_io::Port;
use weir_io::afxdp::{
    self, Attached, BusyPoll, Copying, Facts, Kernel, KernelError, Punt, Rings, Sharing, Wanted,
};
use weir_io::multi::Multi;
use weir_io::tap::Tap;
use weir_packet::Umem;

use super::open::{Device, Offline, OpenError, Opener};
use crate::config::{Driver, Interface, Mode, Queues};
use crate::generation::PortPlan;

/// Opens ports by what the kernel offers, asked directly or by way of a broker.
pub struct KernelPorts {
    kernel: Arc<dyn Kernel>,
    offline: Offline,
    /// The one umem of the process, and the sockets on it.
    sharing: Mutex<Option<Arc<Sharing>>>,
}

impl KernelPorts {
    /// Asks this kernel for devices.
    pub fn new(kernel: Arc<dyn Kernel>, offline: Offline) -> Self {
        Self { kernel, offline, sharing: Mutex::new(None) }
    }

    fn sharing(&self, umem: &Arc<Umem>) -> Arc<Sharing> {
        let mut known = self.sharing.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.get_or_insert_with(|| Sharing::new(Arc::clone(umem)));
        assert!(Arc::ptr_eq(known.umem(), umem), "a process has one umem");
        Arc::clone(known)
    }

    fn afxdp(
        &self,
        interface: &Interface,
        plan: &PortPlan,
        workers: usize,
        umem: &Arc<Umem>,
    ) -> Result<Vec<Box<dyn Port>>, OpenError> {
        let refused = |error: KernelError| refusal(&plan.name, &error);
        let device = device_of(&plan.name, interface)?;
        let (mode, copying) = match interface.mode {
            Mode::Auto => (None, Copying::Best),
            Mode::Zerocopy => (Some(afxdp::Mode::Native), Copying::ZeroCopy),
            Mode::Copy => (Some(afxdp::Mode::Native), Copying::Copy),
            Mode::Generic => (Some(afxdp::Mode::Generic), Copying::Copy),
        };
        let attached = self.kernel.attach(device, &punt(&plan.name, interface)?, mode).map_err(refused)?;
        let opened = self.queues(interface, plan, workers, umem, (device, &attached, copying));
        if opened.is_err() {
            // What is left half-way would take the device's packets and give them to nobody.
            self.kernel.detach(device).map_err(refused)?;
        }
        opened
    }

    /// A port for each worker that has a queue: queue `q` belongs to worker `q % workers`.
    fn queues(
        &self,
        interface: &Interface,
        plan: &PortPlan,
        workers: usize,
        umem: &Arc<Umem>,
        (device, attached, copying): (&str, &Attached, Copying),
    ) -> Result<Vec<Box<dyn Port>>, OpenError> {
        let sharing = self.sharing(umem);
        let queues = queues(&plan.name, interface, attached.queues)?;
        let mut by_worker: Vec<Vec<Box<dyn Port>>> = Vec::new();
        for (at, queue) in queues.into_iter().enumerate() {
            let wanted = Wanted {
                name: plan.name.clone(),
                rings: rings(interface),
                copying,
                busy_poll: interface.busy_poll.map(|span| BusyPoll {
                    micros: span.0.as_micros().try_into().unwrap_or(u32::MAX),
                    ..BusyPoll::default()
                }),
                ..Wanted::queue(device, queue)
            };
            let port =
                afxdp::open(&*self.kernel, attached, &sharing, &wanted).map_err(|error| match &error {
                    afxdp::OpenError::Kernel(error) => refusal(&plan.name, error),
                    afxdp::OpenError::Mtu { .. }
                    | afxdp::OpenError::Queue { .. }
                    | afxdp::OpenError::Ring { .. } => OpenError::new(&plan.name, error.to_string()),
                })?;
            if at < workers.max(1) {
                by_worker.push(Vec::new());
            }
            by_worker[at % workers.max(1)].push(Box::new(port));
        }
        Ok(by_worker.into_iter().filter_map(Multi::of).collect())
    }

    fn tap(&self, interface: &Interface, plan: &PortPlan) -> Result<Box<dyn Port>, OpenError> {
        let name = interface.device.as_deref().unwrap_or(&plan.name);
        let fd = self.kernel.tap(name, plan.mac, plan.mtu).map_err(|error| refusal(&plan.name, &error))?;
        match Tap::adopt(fd, 0) {
            Ok(tap) => Ok(Box::new(tap)),
            Err(error) => Err(OpenError::new(&plan.name, error.to_string())),
        }
    }
}

impl Opener for KernelPorts {
    fn device(&self, name: &str, interface: &Interface) -> Result<Option<Device>, OpenError> {
        match interface.driver() {
            Driver::AfXdp => {
                let facts = Facts::ask(device_of(name, interface)?).map_err(|error| refusal(name, &error))?;
                let queues = queues(name, interface, facts.queues)?.len() as u32;
                let Facts { ifindex, mac, mtu, .. } = facts;
                Ok(Some(Device { ifindex, mac, mtu, queues }))
            }
            Driver::Tap | Driver::Pcap | Driver::Null | Driver::Memory => {
                self.offline.device(name, interface)
            }
        }
    }

    fn open(
        &self,
        interface: &Interface,
        plan: &PortPlan,
        workers: usize,
        umem: &Arc<Umem>,
    ) -> Result<Vec<Box<dyn Port>>, OpenError> {
        match interface.driver() {
            Driver::AfXdp => self.afxdp(interface, plan, workers, umem),
            Driver::Tap => Ok(vec![self.tap(interface, plan)?]),
            Driver::Pcap | Driver::Null | Driver::Memory => self.offline.open(interface, plan, workers, umem),
        }
    }

    fn frames(&self, interface: &Interface, workers: usize) -> usize {
        let queues = |device: &String| {
            let found = Facts::ask(device).ok().map(|facts| queues("", interface, facts.queues));
            found.and_then(Result::ok).map_or(workers, |queues| queues.len())
        };
        match interface.driver() {
            Driver::AfXdp => rings(interface).frames() * interface.device.as_ref().map_or(workers, queues),
            Driver::Tap | Driver::Pcap | Driver::Null | Driver::Memory => {
                self.offline.frames(interface, workers)
            }
        }
    }
}

fn device_of<'a>(name: &str, interface: &'a Interface) -> Result<&'a str, OpenError> {
    interface.device.as_deref().ok_or_else(|| OpenError::new(name, "driver \"af_xdp\" needs a device"))
}

fn rings(interface: &Interface) -> Rings {
    match interface.ring {
        None => Rings::default(),
        Some(entries) => Rings { fill: entries, rx: entries, tx: entries, completion: entries },
    }
}

/// The queues that are wanted, of those there are.
fn queues(name: &str, interface: &Interface, there: u32) -> Result<Vec<u32>, OpenError> {
    match &interface.queues {
        Queues::All => Ok((0..there.max(1)).collect()),
        Queues::Some(wanted) => match wanted.iter().find(|queue| **queue >= there) {
            None => Ok(wanted.clone()),
            Some(queue) => Err(OpenError::new(
                name,
                format!("its device has {there} receive queues, counted from 0: there is no queue {queue}"),
            )),
        },
    }
}

/// What the kernel keeps of what comes in, as the configuration says.
fn punt(name: &str, interface: &Interface) -> Result<Punt, OpenError> {
    let words: Vec<String> = interface.punt.iter().map(ToString::to_string).collect();
    let addresses: Vec<_> = interface.address.iter().map(ipnet::IpNet::addr).collect();
    Punt::from_words(&words, &addresses).map_err(|error| OpenError::new(name, error.to_string()))
}

/// What the kernel said; what may pass by itself is told from what will not.
fn refusal(name: &str, error: &KernelError) -> OpenError {
    use weir_sys::errno::{EBUSY, ENETDOWN, ENODEV, ENXIO};
    let passing = [EBUSY, ENETDOWN, ENODEV, ENXIO].contains(&error.errno);
    OpenError { interface: name.to_owned(), text: error.to_string(), passing }
}
