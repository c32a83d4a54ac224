//! The kernel's side of ports, done in this process: for who has the privileges.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use weir_sys::bpf::{IngressLink, KernelMap, KernelProgram, LoadAttr, MapAttr, XdpLink};
use weir_sys::device::{DeviceName, Devices};
use weir_sys::errno;
use weir_sys::netlink::{Netlink, Request};
use weir_sys::survey;
use weir_sys::tap::{Queues, Tap, Wanted};
use weir_sys::xdp::Socket;

use super::kernel::{Attached, Kernel, KernelError, Mode};
use super::program;
use super::punt::Punt;

/// `BPF_PROG_TYPE_XDP`, `BPF_PROG_TYPE_SCHED_CLS`, `BPF_MAP_TYPE_XSKMAP`, `BPF_MAP_TYPE_HASH` (linux/bpf.h).
const PROG_TYPE_XDP: u32 = 6;
const PROG_TYPE_SCHED_CLS: u32 = 3;
const MAP_TYPE_XSKMAP: u32 = 17;
const MAP_TYPE_HASH: u32 = 1;
/// Receive queues of a device, at most: larger answers are some driver's mistake.
const QUEUES_MAX: u32 = 1024;
/// How long the kernel may take over a request.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// Own addresses of a box, at most.
const ADDRESSES_MAX: u32 = 4096;

/// Asks the kernel itself.
#[derive(Debug, Default)]
pub struct Direct {
    devices: Mutex<HashMap<String, Redirected>>,
    /// TAP devices that lead to a device, by name. What is left of one that has gone does nothing.
    leading: Mutex<HashMap<String, IngressLink>>,
}

/// A device with the program on it. The link is first, so that the device is clean before the maps go.
#[derive(Debug)]
struct Redirected {
    link: XdpLink,
    sockets: KernelMap,
    ifindex: u32,
    mode: Mode,
}

impl Direct {
    /// Raises the locked-memory limit as far as it goes, which umems count against.
    pub fn new() -> Direct {
        weir_sys::limits::raise_locked_memory();
        Direct::default()
    }

    /// Each change under the lock is one insertion or removal, so a panic elsewhere leaves it whole.
    fn devices(&self) -> MutexGuard<'_, HashMap<String, Redirected>> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kernel for Direct {
    fn attach(&self, device: &str, punt: &Punt, mode: Option<Mode>) -> Result<Attached, KernelError> {
        self.detach(device)?;
        let facts = Facts::ask(device)?;
        let sockets = MapAttr {
            kind: MAP_TYPE_XSKMAP,
            key_size: 4,
            value_size: 4,
            max_entries: facts.queues,
            ..MapAttr::default()
        };
        let sockets = KernelMap::create(&sockets)
            .map_err(|error| KernelError::of("making its table of sockets", device, &error))?;
        let program = load(device, punt, &sockets)?;
        let (link, mode, word) = link(device, &program, facts.ifindex, mode)?;
        self.devices().insert(device.to_owned(), Redirected { link, sockets, ifindex: facts.ifindex, mode });
        let Facts { ifindex, mac, mtu, queues } = facts;
        Ok(Attached { ifindex, mac, mtu, queues, mode, word })
    }

    fn socket(&self) -> Result<OwnedFd, KernelError> {
        let socket = Socket::new().map_err(|error| KernelError::of("making it", "AF_XDP socket", &error))?;
        Ok(socket.into())
    }

    fn install(&self, device: &str, queue: u32, socket: BorrowedFd<'_>) -> Result<(), KernelError> {
        let devices = self.devices();
        let Some(redirected) = devices.get(device) else { return Err(not_attached(device)) };
        let fd = socket.as_raw_fd().to_ne_bytes();
        redirected.sockets.update(&queue.to_ne_bytes(), &fd, 0).map_err(|error| {
            KernelError::of("sending its packets to a socket", format!("{device} queue {queue}"), &error)
        })
    }

    fn remove(&self, device: &str, queue: u32) -> Result<(), KernelError> {
        let devices = self.devices();
        let Some(redirected) = devices.get(device) else { return Ok(()) };
        match redirected.sockets.delete(&queue.to_ne_bytes()) {
            Ok(()) => Ok(()),
            // The kernel takes a socket out by itself when it is closed.
            Err(error) if matches!(error.raw_os_error(), Some(errno::ENOENT | errno::EINVAL)) => Ok(()),
            Err(error) => {
                let subject = format!("{device} queue {queue}");
                Err(KernelError::of("sending its packets to the kernel", subject, &error))
            }
        }
    }

    fn punt(&self, device: &str, punt: &Punt) -> Result<(), KernelError> {
        let devices = self.devices();
        let Some(redirected) = devices.get(device) else { return Err(not_attached(device)) };
        let program = load(device, punt, &redirected.sockets)?;
        let changed = redirected.link.update(&program);
        changed.map_err(|error| KernelError::of("changing what is punted", device, &error))
    }

    fn detach(&self, device: &str) -> Result<(), KernelError> {
        self.devices().remove(device);
        Ok(())
    }

    fn tap(&self, name: &str, mac: [u8; 6], mtu: u32) -> Result<OwnedFd, KernelError> {
        let wanted = Wanted { mac: Some(mac), mtu, queues: Queues::One };
        match Tap::open(name, &wanted) {
            Ok((tap, _)) => Ok(tap.into()),
            Err(error) => Err(KernelError::plain("making a TAP device", name, error.to_string())),
        }
    }

    fn lead(&self, tap: &str, device: &str) -> Result<(), KernelError> {
        let doing = "leading to it what comes in by a TAP device";
        let devices = self.devices();
        let Some(Redirected { ifindex, mode, .. }) = devices.get(device) else {
            return Err(not_attached(device));
        };
        if *mode == Mode::Generic {
            // The generic program sees what is redirected to its device: packets would come to weir again.
            return Err(KernelError::plain(doing, device, "its program is attached in generic mode"));
        }
        let failed = |error: &io::Error| KernelError::of(doing, device, error);
        let from = DeviceName::new(tap).map_err(|bad| KernelError::plain(doing, tap, bad.to_string()))?;
        let from =
            Devices::open().and_then(|devices| devices.index(&from)).map_err(|error| failed(&error))?;
        let insns = program::leading(*ifindex);
        let attr =
            LoadAttr { kind: PROG_TYPE_SCHED_CLS, insns: &insns, license: "GPL", ..LoadAttr::default() };
        let program = KernelProgram::load(&attr)
            .map_err(|error| KernelError::plain(doing, device, error.to_string()))?;
        let link = IngressLink::create(&program, from).map_err(|error| failed(&error))?;
        let mut leading = self.leading.lock().unwrap_or_else(PoisonError::into_inner);
        leading.insert(tap.to_owned(), link);
        Ok(())
    }

    fn resolve(&self, ifindex: u32, address: IpAddr) -> Result<(), KernelError> {
        let failed =
            |error| KernelError::of("asking for a neighbour", format!("{address} on link {ifindex}"), &error);
        let mut kernel = Netlink::open(&[]).map_err(failed)?;
        kernel.set_patience(ANSWER_MAX).map_err(failed)?;
        kernel.request(&Request::use_neighbour(ifindex, address)).map_err(failed)
    }
}

/// What the kernel tells anyone of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Its number.
    pub ifindex: u32,
    /// Its own hardware address.
    pub mac: [u8; 6],
    /// The longest packet it sends, without the link header.
    pub mtu: u32,
    /// How many receive queues it has.
    pub queues: u32,
}

impl Facts {
    /// Asks; this needs no privilege.
    pub fn ask(device: &str) -> Result<Facts, KernelError> {
        let name = DeviceName::new(device)
            .map_err(|bad| KernelError::plain("looking it up", device, bad.to_string()))?;
        let failed = |error| KernelError::of("looking it up", device, &error);
        let devices = Devices::open().map_err(failed)?;
        Ok(Facts {
            ifindex: devices.index(&name).map_err(failed)?,
            mac: devices.mac(&name).map_err(failed)?,
            mtu: devices.mtu(&name).map_err(failed)?,
            queues: queues(device),
        })
    }
}

/// Receive queues. Drivers that tell ethtool nothing (TAP's) are looked up in sysfs, which shows the namespace it
/// was mounted in, and may not have the device; each has one at least.
fn queues(device: &str) -> u32 {
    let told = survey::channels(device).map_or(0, |channels| channels.rx.saturating_add(channels.combined));
    if told > 0 {
        return told.min(QUEUES_MAX);
    }
    let listed = std::fs::read_dir(format!("/sys/class/net/{device}/queues")).into_iter().flatten().flatten();
    let receiving = listed.filter(|entry| entry.file_name().to_string_lossy().starts_with("rx-")).count();
    (receiving as u32).clamp(1, QUEUES_MAX)
}

fn not_attached(device: &str) -> KernelError {
    KernelError::plain("looking for the redirect program", device, "it was never attached, or detached since")
}

/// Loads the program for what is punted, with a new table of addresses.
fn load(device: &str, punt: &Punt, sockets: &KernelMap) -> Result<KernelProgram, KernelError> {
    let failed = |error: &io::Error| KernelError::of("making its table of addresses", device, error);
    let attr = MapAttr {
        kind: MAP_TYPE_HASH,
        key_size: 16,
        value_size: 1,
        max_entries: ADDRESSES_MAX,
        ..MapAttr::default()
    };
    let addresses = KernelMap::create(&attr).map_err(|error| failed(&error))?;
    for address in &punt.addresses {
        addresses.update(&program::key(*address), &[1], 0).map_err(|error| failed(&error))?;
    }
    let insns = program::bytes(punt, sockets.fd() as u32, addresses.fd() as u32);
    let attr = LoadAttr { kind: PROG_TYPE_XDP, insns: &insns, license: "GPL", ..LoadAttr::default() };
    // The program holds its maps from here on.
    KernelProgram::load(&attr)
        .map_err(|error| KernelError::of("loading the redirect program", device, &error.source))
}

/// Attaches the program, the better way first unless one is asked for.
fn link(
    device: &str,
    program: &KernelProgram,
    ifindex: u32,
    wanted: Option<Mode>,
) -> Result<(XdpLink, Mode, Option<String>), KernelError> {
    let failed = |error: &io::Error| KernelError::of("attaching the redirect program", device, error);
    let first = wanted.unwrap_or(Mode::Native);
    let refusal = match XdpLink::create(program, ifindex, first == Mode::Native) {
        Ok(link) => return Ok((link, first, None)),
        Err(refusal) => refusal,
    };
    // What another's program or a lack of rights refuses, the generic way would refuse as well.
    let hopeless = [errno::EPERM, errno::EBUSY, errno::EEXIST, errno::ENODEV];
    if wanted.is_some() || refusal.raw_os_error().is_some_and(|number| hopeless.contains(&number)) {
        return Err(failed(&refusal));
    }
    let link = XdpLink::create(program, ifindex, false).map_err(|error| failed(&error))?;
    let word = match refusal.raw_os_error().and_then(errno::help) {
        Some(help) => format!("the driver refused native mode: {refusal} ({help})"),
        None => format!("the driver refused native mode: {refusal}"),
    };
    Ok((link, Mode::Generic, Some(word)))
}
