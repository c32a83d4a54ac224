//! A port of a device's queue: socket, umem, rings, binding.
//!
//! Whether the device itself reads and writes frames (zero-copy) is found by trying, and read back. Sockets of one
//! umem must agree on that (the kernel lets a sharing socket choose nothing), so a device that can where another
//! cannot registers the same memory once more: a frame's address means the same in both.

use std::collections::HashSet;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use weir_packet::Umem;
use weir_sys::errno;
use weir_sys::xdp::{BindFlags, Copying, Ring, Socket};

use super::kernel::{Attached, Kernel, KernelError, Mode};
use super::port::{Parts, XdpPort};
use super::shared::Areas;
use crate::gauges::Way;

/// Bytes of the Ethernet header and one VLAN tag, which the MTU does not count.
const LINK_HEADER: usize = 14 + 4;
/// How long to wait before a queue that is still being released is tried again.
const AGAIN: Duration = Duration::from_millis(5);
/// Packets that one wake-up sends in copy mode, where the kernel lets us choose.
const TX_BUDGET: u32 = 256;

/// Entries of the rings, each a power of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rings {
    /// Empty frames for the kernel.
    pub fill: u32,
    /// Packets arrived.
    pub rx: u32,
    /// Packets to send.
    pub tx: u32,
    /// Frames sent.
    pub completion: u32,
}

impl Default for Rings {
    fn default() -> Self {
        Rings { fill: 2048, rx: 2048, tx: 2048, completion: 2048 }
    }
}

impl Rings {
    /// Frames that a port with these rings may hold at most: what a umem should have for it.
    pub fn frames(&self) -> usize {
        (self.fill + self.tx.max(self.completion)) as usize
    }
}

/// Having the worker's calls drive the device, instead of interrupts (`SO_PREFER_BUSY_POLL`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BusyPoll {
    /// How long a call may poll (`SO_BUSY_POLL`).
    pub micros: u32,
    /// Packets a poll, at most (`SO_BUSY_POLL_BUDGET`).
    pub budget: u32,
}

impl Default for BusyPoll {
    fn default() -> Self {
        BusyPoll { micros: 20, budget: 64 }
    }
}

/// What port is wanted.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The name people know it by.
    pub name: String,
    /// The device.
    pub device: String,
    /// The queue of it.
    pub queue: u32,
    /// Entries of the rings.
    pub rings: Rings,
    /// Who moves the bytes.
    pub copying: Copying,
    /// Have the kernel say when it waits to be woken.
    pub need_wakeup: bool,
    /// Drive the device.
    pub busy_poll: Option<BusyPoll>,
    /// How long to go on trying while the queue is still being released by who had it before.
    pub patience: Duration,
}

impl Wanted {
    /// The defaults, for a queue of a device that is also called so.
    pub fn queue(device: &str, queue: u32) -> Wanted {
        Wanted {
            name: device.to_owned(),
            device: device.to_owned(),
            queue,
            rings: Rings::default(),
            copying: Copying::Best,
            need_wakeup: true,
            busy_poll: None,
            patience: Duration::from_secs(2),
        }
    }
}

/// Why there is no port.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The kernel refused.
    #[error("{0}")]
    Kernel(#[from] KernelError),
    /// A packet of the device's MTU would not fit in a frame.
    #[error(
        "{device}: its MTU of {mtu} needs frames of {needed} bytes, and {have} fit in one; packets in several \
         frames (XDP_USE_SG) are not joined: lower the MTU (ip link set {device} mtu {most}), or take frames of \
         4096 bytes"
    )]
    Mtu {
        /// The device.
        device: String,
        /// Its MTU.
        mtu: u32,
        /// Bytes that a packet may have.
        needed: usize,
        /// Bytes that fit.
        have: usize,
        /// The largest MTU that fits.
        most: usize,
    },
    /// There is no such queue.
    #[error("{device} has {queues} receive queues, counted from 0: there is no queue {queue}")]
    Queue {
        /// The device.
        device: String,
        /// What was asked for.
        queue: u32,
        /// How many there are.
        queues: u32,
    },
    /// A ring's size is not one.
    #[error("a ring of {entries} entries cannot be: a power of two, up to 65536, is wanted")]
    Ring {
        /// What was asked for.
        entries: u32,
    },
}

/// The one umem of a process, and the sockets that have it.
#[derive(Debug)]
pub struct Sharing {
    umem: Arc<Umem>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    bound: Vec<Bound>,
    /// Devices that refused zero-copy, by number.
    copy_only: HashSet<u32>,
}

#[derive(Debug)]
struct Bound {
    socket: Weak<Socket>,
    queue: (u32, u32),
    zero_copy: bool,
    need_wakeup: bool,
}

/// One way to bind.
#[derive(Debug, Clone)]
enum Plan {
    /// With the umem of a socket that is bound, on its terms.
    With(Weak<Socket>),
    /// With the memory registered for this socket.
    Own(Copying),
}

impl Sharing {
    /// No socket has it yet.
    pub fn new(umem: Arc<Umem>) -> Arc<Sharing> {
        Arc::new(Sharing { umem, known: Mutex::default() })
    }

    /// The umem.
    pub fn umem(&self) -> &Arc<Umem> {
        &self.umem
    }

    /// Lists are pushed to and filtered in single steps: whole whoever panicked meanwhile.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The ways to bind, best first.
    fn plans(&self, ifindex: u32, mode: Mode, wanted: &Wanted) -> Vec<Plan> {
        let mut known = self.known();
        known.bound.retain(|bound| bound.socket.strong_count() > 0);
        let sharing = |zero_copy: bool| {
            // Two sockets of one queue would share its fill ring: the kernel allows that, a port does not.
            let agree = move |bound: &&Bound| {
                let elsewhere = bound.queue != (ifindex, wanted.queue);
                elsewhere && bound.zero_copy == zero_copy && bound.need_wakeup == wanted.need_wakeup
            };
            let of = move |bound: &Bound| Plan::With(Weak::clone(&bound.socket));
            known.bound.iter().filter(agree).map(of).collect::<Vec<_>>()
        };
        let mut plans = Vec::new();
        let may_zero = mode == Mode::Native && !known.copy_only.contains(&ifindex);
        if wanted.copying != Copying::Copy && may_zero {
            plans.extend(sharing(true));
            plans.push(Plan::Own(Copying::ZeroCopy));
        }
        if wanted.copying != Copying::ZeroCopy {
            plans.extend(sharing(false));
            plans.push(Plan::Own(Copying::Copy));
        } else if plans.is_empty() {
            plans.push(Plan::Own(Copying::ZeroCopy));
        }
        plans
    }

    fn remember(&self, socket: &Arc<Socket>, queue: (u32, u32), zero_copy: bool, need_wakeup: bool) {
        self.known().bound.push(Bound { socket: Arc::downgrade(socket), queue, zero_copy, need_wakeup });
    }
}

/// A step that failed, and why.
type Failed = (&'static str, io::Error);

/// A socket bound to its queue, with its rings.
struct Ready {
    socket: Arc<Socket>,
    areas: Areas,
    zero_copy: bool,
}

/// Opens a port of an attached device, and has the kernel send it the packets of its queue. They are lost until
/// the port's first `receive`, which gives the kernel frames to put them into.
pub fn open(
    kernel: &dyn Kernel,
    attached: &Attached,
    sharing: &Sharing,
    wanted: &Wanted,
) -> Result<XdpPort, OpenError> {
    let frame_max = check(attached, sharing, wanted)?;
    let subject = format!("{} queue {}", wanted.device, wanted.queue);
    let ready = ready(kernel, attached, sharing, wanted, &subject)?;
    let busy_poll = match wanted.busy_poll {
        None => false,
        // What cannot be had is not an error: the port works without, and says so.
        Some(poll) => ready.socket.busy_poll(poll.micros, poll.budget).is_ok(),
    };
    // Older kernels do not know it.
    let _ = ready.socket.tx_budget(TX_BUDGET.min(wanted.rings.tx));
    kernel.install(&wanted.device, wanted.queue, ready.socket.as_fd())?;
    let queue = (attached.ifindex, wanted.queue);
    sharing.remember(&ready.socket, queue, ready.zero_copy, wanted.need_wakeup);
    Ok(XdpPort::new(Parts {
        name: wanted.name.clone(),
        index: attached.ifindex,
        queue: wanted.queue,
        frame_max,
        umem: Arc::clone(&sharing.umem),
        areas: ready.areas,
        link: ready.socket,
        way: Way {
            native: Some(attached.mode == Mode::Native),
            zero_copy: ready.zero_copy,
            need_wakeup: wanted.need_wakeup,
            busy_poll,
        },
    }))
}

/// What can be said without asking the kernel; answers how long a packet may be.
fn check(attached: &Attached, sharing: &Sharing, wanted: &Wanted) -> Result<usize, OpenError> {
    let Rings { fill, rx, tx, completion } = wanted.rings;
    for entries in [fill, rx, tx, completion] {
        if !entries.is_power_of_two() || entries > 1 << 16 {
            return Err(OpenError::Ring { entries });
        }
    }
    if wanted.queue >= attached.queues {
        let (queue, queues) = (wanted.queue, attached.queues);
        return Err(OpenError::Queue { device: wanted.device.clone(), queue, queues });
    }
    let have = sharing.umem.chunk_size().frame_max();
    let needed = attached.mtu as usize + LINK_HEADER;
    if needed > have {
        let (device, mtu, most) = (wanted.device.clone(), attached.mtu, have - LINK_HEADER);
        return Err(OpenError::Mtu { device, mtu, needed, have, most });
    }
    Ok(needed)
}

/// Tries the ways to bind, one after the other.
fn ready(
    kernel: &dyn Kernel,
    attached: &Attached,
    sharing: &Sharing,
    wanted: &Wanted,
    subject: &str,
) -> Result<Ready, OpenError> {
    let deadline = Instant::now() + wanted.patience;
    let mut last = None;
    for plan in sharing.plans(attached.ifindex, attached.mode, wanted) {
        let (doing, error) = match persist(kernel, attached.ifindex, sharing, wanted, &plan, deadline)? {
            Ok(ready) => return Ok(ready),
            Err(failed) => failed,
        };
        let errno = error.raw_os_error().unwrap_or(0);
        if matches!(plan, Plan::Own(Copying::ZeroCopy)) && errno == errno::EOPNOTSUPP {
            sharing.known().copy_only.insert(attached.ifindex);
        }
        last = Some(KernelError::of(doing, subject, &error));
        // Another way to bind would meet the same.
        if [errno::EBUSY, errno::ENODEV, errno::ENXIO, errno::ENETDOWN, errno::EPERM].contains(&errno) {
            break;
        }
    }
    // There is always one plan at least.
    let none = || KernelError::plain("binding a socket", subject, "no way to bind is left");
    Err(OpenError::Kernel(last.unwrap_or_else(none)))
}

/// Binds in one way, and goes on trying while the queue is still being released, which takes the kernel some
/// milliseconds; each time with a fresh socket.
fn persist(
    kernel: &dyn Kernel,
    ifindex: u32,
    sharing: &Sharing,
    wanted: &Wanted,
    plan: &Plan,
    deadline: Instant,
) -> Result<Result<Ready, Failed>, KernelError> {
    loop {
        let socket = Socket::from(kernel.socket()?);
        match attempt(socket, ifindex, sharing, wanted, plan) {
            Err((_, error)) if error.raw_os_error() == Some(errno::EBUSY) && Instant::now() < deadline => {
                std::thread::sleep(AGAIN);
            }
            answer => return Ok(answer),
        }
    }
}

fn attempt(
    socket: Socket,
    ifindex: u32,
    sharing: &Sharing,
    wanted: &Wanted,
    plan: &Plan,
) -> Result<Ready, Failed> {
    if let Plan::Own(_) = plan {
        let (base, len) = sharing.umem.region();
        let chunk = sharing.umem.chunk_size().bytes();
        // SAFETY: every port keeps the umem and so its memory, and its Loans stand between the rings and everyone
        // else: only lent chunks' addresses go in, and they are given back only after the kernel did, or after
        // the socket is closed (XdpPort::hang_up).
        unsafe { socket.register(base, len, chunk) }.map_err(|error| ("registering the umem", error))?;
    }
    let ring = |ring, entries| {
        let area = socket.ring(ring, entries).map_err(|error| ("setting up a ring", error))?;
        Ok(Arc::new(area))
    };
    let areas = Areas {
        fill: ring(Ring::Fill, wanted.rings.fill)?,
        completion: ring(Ring::Completion, wanted.rings.completion)?,
        rx: ring(Ring::Rx, wanted.rings.rx)?,
        tx: ring(Ring::Tx, wanted.rings.tx)?,
    };
    bind(&socket, ifindex, wanted, plan).map_err(|error| ("binding a socket", error))?;
    let zero_copy = socket.zero_copy().map_err(|error| ("asking for XDP_OPTIONS", error))?;
    Ok(Ready { socket: Arc::new(socket), areas, zero_copy })
}

fn bind(socket: &Socket, ifindex: u32, wanted: &Wanted, plan: &Plan) -> io::Result<()> {
    match plan {
        Plan::Own(copying) => {
            let flags = BindFlags { copying: *copying, need_wakeup: wanted.need_wakeup, scattered: false };
            socket.bind(ifindex, wanted.queue, flags)
        }
        Plan::With(other) => match other.upgrade() {
            Some(other) => socket.bind_shared(ifindex, wanted.queue, &other),
            None => Err(io::Error::from_raw_os_error(errno::EBADF)),
        },
    }
}
