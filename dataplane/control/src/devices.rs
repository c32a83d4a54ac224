//! The ports of a daemon: devices of the kernel by AF_XDP and TAP, and what needs no kernel.
//!
//! Whatever takes a privilege is asked of a [`Kernel`]: this process while it has some, the broker afterwards.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use weir_engine::config::{Config, Driver, Interface, Mode, PuntWord, Queues};
use weir_engine::generation::PortPlan;
use weir_engine::live::{Device, Offline, OpenError, Opener};
use weir_io::Port;
use weir_io::afxdp::{
    self, Attached, BusyPoll, Copying, Kernel, KernelError, Mode as Way, Punt, PuntRule, Rings, Sharing,
};
use weir_io::multi::Multi;
use weir_io::tap::Tap;
use weir_packet::Umem;
use weir_sys::device::{DeviceName, Devices as Names};
use weir_sys::errno;

/// Longest name of a device (`IFNAMSIZ`, less the zero at its end).
const NAME_MAX: usize = 15;

/// How long a device may still be another's: of a weir that was killed the moment before, whose broker ends a little
/// after it.
const RELEASED_WITHIN: Duration = Duration::from_secs(2);
/// How long to wait before asking again.
const AGAIN: Duration = Duration::from_millis(10);

/// Opens the ports of a configuration.
pub struct Devices {
    kernel: Arc<dyn Kernel>,
    offline: Offline,
    known: Mutex<Known>,
}

/// What was found out so far.
#[derive(Default)]
struct Known {
    /// Devices with the redirect program, by the interface's name.
    attached: BTreeMap<String, Attached>,
    /// TAP devices made and not yet opened as ports, by the interface's name.
    taps: BTreeMap<String, OwnedFd>,
    /// The box's own addresses.
    addresses: Vec<IpAddr>,
    sharing: Option<Arc<Sharing>>,
}

impl std::fmt::Debug for Devices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Devices({} attached)", self.known().attached.len())
    }
}

impl Devices {
    /// For the interfaces of this configuration.
    pub fn new(config: &Config, kernel: Arc<dyn Kernel>) -> Arc<Self> {
        let addresses = config.interface.values().flat_map(|interface| &interface.address);
        let addresses = addresses.map(|network| network.addr()).collect();
        let known = Mutex::new(Known { addresses, ..Known::default() });
        Arc::new(Self { kernel, offline: Offline::new(config), known })
    }

    /// Who is asked for what takes a privilege.
    pub fn kernel(&self) -> &Arc<dyn Kernel> {
        &self.kernel
    }

    /// The box's own addresses have changed: what goes past weir to them follows.
    pub fn set_addresses(&self, config: &Config, addresses: &[IpAddr]) -> Result<(), KernelError> {
        let mut known = self.known();
        if known.addresses == addresses {
            return Ok(());
        }
        known.addresses = addresses.to_vec();
        let attached: Vec<String> = known.attached.keys().cloned().collect();
        drop(known);
        for name in attached {
            let Some(interface) = config.interface.get(&name) else { continue };
            let punt = punt(interface, addresses);
            if let (true, Some(device)) = (punt.reads_addresses(), &interface.device) {
                self.kernel.punt(device, &punt)?;
            }
        }
        Ok(())
    }

    /// Each value in it is replaced in one step, so a panic elsewhere leaves it whole.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one umem's sockets.
    fn sharing(&self, umem: &Arc<Umem>) -> Arc<Sharing> {
        let mut known = self.known();
        match &known.sharing {
            Some(sharing) if Arc::ptr_eq(sharing.umem(), umem) => Arc::clone(sharing),
            Some(_) | None => {
                let sharing = Sharing::new(Arc::clone(umem));
                known.sharing = Some(Arc::clone(&sharing));
                sharing
            }
        }
    }

    fn attach(&self, name: &str, interface: &Interface) -> Result<Device, OpenError> {
        let device = device(name, interface)?;
        let punt = punt(interface, &self.known().addresses);
        let way = match interface.mode {
            Mode::Auto | Mode::Copy => None,
            Mode::Zerocopy => Some(Way::Native),
            Mode::Generic => Some(Way::Generic),
        };
        let attached = patiently(RELEASED_WITHIN, || self.kernel.attach(device, &punt, way));
        let attached = attached.map_err(|error| refused(name, &error))?;
        let Attached { ifindex, mac, mtu, .. } = attached;
        if let Some(word) = &attached.word {
            tracing::warn!(interface = name, device, mode = %attached.mode, "{word}");
        }
        let queues = queues(interface, &attached).len() as u32;
        self.known().attached.insert(name.to_owned(), attached);
        Ok(Device { ifindex, mac, mtu, queues })
    }

    fn make_tap(&self, name: &str, interface: &Interface) -> Result<Device, OpenError> {
        let device = device(name, interface)?;
        let mac = interface.mac.map_or_else(|| local_mac(device), |mac| mac.0);
        let mtu = interface.mtu();
        let fd = self.kernel.tap(device, mac, mtu).map_err(|error| refused(name, &error))?;
        let ifindex = ifindex(device).map_err(|source| OpenError::passing(name, source.to_string()))?;
        self.known().taps.insert(name.to_owned(), fd);
        Ok(Device { ifindex, mac, mtu, queues: 1 })
    }

    fn open_sockets(
        &self,
        interface: &Interface,
        plan: &PortPlan,
        workers: usize,
        umem: &Arc<Umem>,
    ) -> Result<Vec<Box<dyn Port>>, OpenError> {
        let device = device(&plan.name, interface)?;
        let attached = self.known().attached.get(&plan.name).cloned();
        let attached = attached.ok_or_else(|| OpenError::passing(&plan.name, "it is not attached"))?;
        let sharing = self.sharing(umem);
        let queues = queues(interface, &attached);
        let owners = workers.min(queues.len()).max(1);
        let mut parts: Vec<Vec<Box<dyn Port>>> = (0..owners).map(|_| Vec::new()).collect();
        for (at, queue) in queues.into_iter().enumerate() {
            let wanted = afxdp::Wanted {
                name: plan.name.clone(),
                rings: rings(interface),
                copying: match interface.mode {
                    Mode::Auto => Copying::Best,
                    Mode::Zerocopy => Copying::ZeroCopy,
                    Mode::Copy | Mode::Generic => Copying::Copy,
                },
                busy_poll: interface.busy_poll.map(|span| BusyPoll {
                    micros: u32::try_from(span.0.as_micros()).unwrap_or(u32::MAX),
                    ..BusyPoll::default()
                }),
                ..afxdp::Wanted::queue(device, queue)
            };
            let port = afxdp::open(&*self.kernel, &attached, &sharing, &wanted);
            let port = port.map_err(|error| unopened(&plan.name, &error))?;
            let way = port.way();
            tracing::info!(
                interface = plan.name,
                device,
                queue,
                mode = %attached.mode,
                zero_copy = way.zero_copy,
                need_wakeup = way.need_wakeup,
                busy_poll = way.busy_poll,
                "port open",
            );
            parts[at % owners].push(Box::new(port));
        }
        Ok(parts.into_iter().filter_map(Multi::of).collect())
    }

    /// The port of a TAP device that [`Opener::device`] made.
    fn open_tap(&self, plan: &PortPlan) -> Result<Vec<Box<dyn Port>>, OpenError> {
        let fd = self.known().taps.remove(&plan.name);
        let fd = fd.ok_or_else(|| OpenError::passing(&plan.name, "its TAP device is not made"))?;
        let tap = Tap::adopt(fd, 0).map_err(|error| OpenError::passing(&plan.name, error.to_string()))?;
        Ok(vec![Box::new(tap)])
    }
}

impl Opener for Devices {
    fn device(&self, name: &str, interface: &Interface) -> Result<Option<Device>, OpenError> {
        match interface.driver() {
            Driver::AfXdp => self.attach(name, interface).map(Some),
            Driver::Tap => self.make_tap(name, interface).map(Some),
            Driver::Pcap | Driver::Null | Driver::Memory => Ok(None),
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
            Driver::AfXdp => self.open_sockets(interface, plan, workers, umem),
            Driver::Tap => self.open_tap(plan),
            Driver::Pcap | Driver::Null | Driver::Memory => self.offline.open(interface, plan, workers, umem),
        }
    }

    /// A TAP device beside each device of the kernel: what the pipeline passes goes in there, and the kernel
    /// takes it for its own, since the address is the same. What it answers leaves by the device itself.
    fn host(
        &self,
        interface: &Interface,
        plan: &PortPlan,
        workers: usize,
    ) -> Result<Vec<Box<dyn Port>>, OpenError> {
        if interface.driver() != Driver::AfXdp {
            return Ok(Vec::new());
        }
        let name = host_name(&plan.name);
        let made = self.kernel.tap(&name, plan.mac, plan.mtu);
        let fd = made.map_err(|error| OpenError::passing(&plan.name, error.to_string()))?;
        // Without this the kernel still takes what is for its own addresses, but neither for groups nor for
        // sockets that are bound to the device.
        if let Err(error) = self.kernel.lead(&name, device(&plan.name, interface)?) {
            tracing::warn!(
                interface = plan.name,
                "what is passed to the host seems to come by {name}: {error}"
            );
        }
        let mut ports: Vec<Box<dyn Port>> = Vec::new();
        for _ in 0..workers {
            // Frames are written whole, so that workers may share the device.
            let fd = fd.try_clone().map_err(|source| OpenError::passing(&plan.name, source.to_string()))?;
            let tap = Tap::adopt(fd, 0).map_err(|error| OpenError::passing(&plan.name, error.to_string()))?;
            ports.push(Box::new(tap));
        }
        Ok(ports)
    }

    fn addresses(&self, config: &Config, own: &[IpAddr]) -> Result<(), OpenError> {
        self.set_addresses(config, own).map_err(|error| refused("punt", &error))
    }

    fn frames(&self, interface: &Interface, workers: usize) -> usize {
        if interface.driver() != Driver::AfXdp {
            return self.offline.frames(interface, workers);
        }
        let known = self.known();
        let attached =
            known.attached.values().find(|attached| ifindex_of(interface) == Some(attached.ifindex));
        let queues = attached.map_or(workers, |attached| queues(interface, attached).len());
        queues * rings(interface).frames()
    }
}

/// The TAP device of an interface, as long as names may be.
pub fn host_name(interface: &str) -> String {
    format!("weir-{interface}").chars().take(NAME_MAX).collect()
}

fn device<'i>(name: &str, interface: &'i Interface) -> Result<&'i str, OpenError> {
    let wanted = || {
        let driver = interface.driver().name();
        OpenError::new(name, format!("driver \"{driver}\" wants a device: add device = \"eth0\""))
    };
    interface.device.as_deref().ok_or_else(wanted)
}

fn ifindex(device: &str) -> std::io::Result<u32> {
    let name = DeviceName::new(device).map_err(std::io::Error::other)?;
    Names::open()?.index(&name)
}

fn ifindex_of(interface: &Interface) -> Option<u32> {
    ifindex(interface.device.as_deref()?).ok()
}

fn rings(interface: &Interface) -> Rings {
    let usual = Rings::default();
    interface.ring.map_or(usual, |ring| Rings { fill: ring, rx: ring, tx: ring, completion: ring })
}

/// The queues that are wanted; [`afxdp::open`] says which of them are not there.
fn queues(interface: &Interface, attached: &Attached) -> Vec<u32> {
    match &interface.queues {
        Queues::All => (0..attached.queues).collect(),
        Queues::Some(numbers) => numbers.clone(),
    }
}

fn punt(interface: &Interface, addresses: &[IpAddr]) -> Punt {
    let mut punt = Punt { addresses: addresses.to_vec(), ..Punt::nothing() };
    for word in &interface.punt {
        match *word {
            PuntWord::Arp => punt.add(PuntRule::Arp),
            PuntWord::Nd => punt.add(PuntRule::Nd),
            PuntWord::Local => punt.add(PuntRule::Local),
            PuntWord::Bgp => punt.add(PuntRule::Port(afxdp::punt::Transport::Tcp, 179)),
            PuntWord::Bfd => {
                for port in [3784, 4784] {
                    punt.add(PuntRule::Port(afxdp::punt::Transport::Udp, port));
                }
            }
            PuntWord::Tcp(port) => punt.add(PuntRule::Port(afxdp::punt::Transport::Tcp, port)),
            PuntWord::Udp(port) => punt.add(PuntRule::Port(afxdp::punt::Transport::Udp, port)),
        }
    }
    punt
}

/// A local address (IEEE 802c) for a device of ours, the same each time for the same name.
fn local_mac(device: &str) -> [u8; 6] {
    // FNV-1a: any spread will do, since names differ.
    let hash = device
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    let [a, b, c, d, e, ..] = hash.to_be_bytes();
    [2, a, b, c, d, e]
}

/// Asks until the answer is another than that somebody else has it, or the time is over.
fn patiently<T>(limit: Duration, mut ask: impl FnMut() -> Result<T, KernelError>) -> Result<T, KernelError> {
    let until = Instant::now() + limit;
    loop {
        match ask() {
            Err(error) if error.errno == errno::EBUSY && Instant::now() < until => std::thread::sleep(AGAIN),
            answer => return answer,
        }
    }
}

/// Whether an error of the kernel may pass by itself: the device is away, down or still being released.
fn refused(name: &str, error: &KernelError) -> OpenError {
    let text = error.to_string();
    match error.errno {
        errno::EBUSY | errno::ENETDOWN | errno::ENODEV | errno::ENXIO => OpenError::passing(name, text),
        _ => OpenError::new(name, text),
    }
}

fn unopened(name: &str, error: &afxdp::OpenError) -> OpenError {
    match error {
        afxdp::OpenError::Kernel(error) => refused(name, error),
        afxdp::OpenError::Mtu { .. } | afxdp::OpenError::Queue { .. } | afxdp::OpenError::Ring { .. } => {
            OpenError::new(name, error.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_our_devices_fit() {
        assert_eq!(host_name("wan"), "weir-wan");
        assert_eq!(host_name("a-very-long-interface"), "weir-a-very-lon");
        assert_eq!(local_mac("tap0"), local_mac("tap0"));
        assert!(local_mac("tap0") != local_mac("tap1") && local_mac("tap0")[0] == 2);
    }

    #[test]
    fn a_device_that_is_still_taken_is_asked_for_again() {
        let refusal =
            |errno| Err(KernelError::of("attaching", "eth0", &std::io::Error::from_raw_os_error(errno)));
        let mut asked = 0;
        let freed = patiently(Duration::from_secs(60), || {
            asked += 1;
            if asked < 3 { refusal(errno::EBUSY) } else { Ok(asked) }
        });
        assert_eq!(freed.unwrap(), 3);
        let taken = patiently(Duration::from_millis(1), || refusal(errno::EBUSY));
        assert_eq!(taken.unwrap_err().errno, errno::EBUSY);
        let mut asked = 0;
        let gone = patiently(Duration::from_secs(60), || {
            asked += 1;
            refusal(errno::ENODEV)
        });
        assert!(gone.unwrap_err().errno == errno::ENODEV && asked == 1);
    }

    #[test]
    fn punt_words_become_rules() {
        let text = "version = 1\n[interface.wan]\ndevice = \"eth0\"\npunt = [\"arp\", \"bfd\", \"tcp:22\"]\n";
        let config = Config::parse(std::path::Path::new("weir.toml"), text).unwrap();
        let punt = punt(&config.interface["wan"], &["192.0.2.1".parse().unwrap()]);
        assert!(punt.arp && !punt.nd && !punt.local && punt.reads_addresses());
        assert_eq!(punt.ports.iter().map(|(_, port)| *port).collect::<Vec<_>>(), [3784, 4784, 22]);
    }
}
