//! TAP devices: an Ethernet device of the kernel whose other end is a file descriptor here (tun(4)).
//!
//! A device made here lives as long as a descriptor of it: closing the last takes it away, also when the process
//! is killed. One read is one frame, one write is one frame.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::device::{BadName, DeviceName, Devices, change, name_in, set_switch};

/// `TUNGETIFF`, which libc does not name everywhere.
const TUNGETIFF: libc::c_ulong = 0x8004_54d2;
const FRAME_FLAGS: libc::c_int = libc::IFF_TAP | libc::IFF_NO_PI;

/// Why there is no TAP device.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// The name cannot be one.
    #[error(transparent)]
    Name(#[from] BadName),
    /// The kernel refused a step.
    #[error("TAP {name}: {step}: {source}{}", hint(.source))]
    Step {
        /// The device.
        name: String,
        /// What was tried.
        step: &'static str,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The descriptor is of something else.
    #[error("not a TAP device's descriptor: {found}")]
    Strange {
        /// What it is.
        found: String,
    },
}

fn hint(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => " (is the tun module there? modprobe tun)",
        Some(libc::EPERM | libc::EACCES) => " (it needs CAP_NET_ADMIN and /dev/net/tun)",
        Some(libc::EBUSY) => " (another process has it)",
        Some(libc::EINVAL) => " (a device of this name that is no TAP of this kind is there)",
        _ => "",
    }
}

/// What device is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Its Ethernet address; `None` leaves the kernel's choice.
    pub mac: Option<[u8; 6]>,
    /// The longest packet it carries.
    pub mtu: u32,
    /// Whether more queues may be opened under the same name, one descriptor each.
    pub queues: Queues,
}

/// How many descriptors a device may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queues {
    /// This one.
    One,
    /// One for each call with the same name; the kernel spreads flows over them.
    Many,
}

/// One queue of a TAP device, never waiting.
#[derive(Debug)]
pub struct Tap {
    fd: OwnedFd,
    name: String,
    index: u32,
    mtu: u32,
}

/// What one read found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// A frame of so many bytes.
    Frame(usize),
    /// A frame that did not fit; it is gone.
    TooLong,
    /// Nothing now.
    Empty,
    /// The device is gone: nothing will come from this descriptor again.
    Gone,
    /// Another failure, with its errno.
    Failed(i32),
}

/// What one write came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// The kernel has the frame.
    Taken,
    /// No room now.
    Full,
    /// The device is down (`ip link set … up` brings it back).
    Down,
    /// The device is gone.
    Gone,
    /// Another failure, with its errno.
    Failed(i32),
}

impl Tap {
    /// Makes the device `name`, gives it its address and MTU, lets it take packets whose way back leads elsewhere
    /// (no reverse-path filter), keeps the kernel from talking on it unasked (no IPv6 autoconfiguration), and takes
    /// it up. Needs CAP_NET_ADMIN.
    ///
    /// The second value says what could not be done and does not stop it from working in every setting.
    pub fn open(name: &str, wanted: &Wanted) -> Result<(Tap, Vec<String>), TapError> {
        let name = DeviceName::new(name)?;
        let fd = clone_device(&name, wanted.queues)?;
        let devices = Devices::open().map_err(step(&name, "asking for devices"))?;
        if let Some(mac) = wanted.mac {
            devices.set_mac(&name, mac).map_err(step(&name, "setting its address"))?;
        }
        devices.set_mtu(&name, wanted.mtu).map_err(step(&name, "setting its MTU"))?;
        let warnings = set_switches(&name);
        devices.set_up(&name, true).map_err(step(&name, "taking it up"))?;
        let index = devices.index(&name).map_err(step(&name, "asking for its index"))?;
        Ok((Tap { fd, name: name.as_str().to_owned(), index, mtu: wanted.mtu }, warnings))
    }

    /// Takes a descriptor that another process opened, and learns from the kernel what it is. Needs no privilege.
    pub fn adopt(fd: OwnedFd) -> Result<Tap, TapError> {
        // SAFETY: as in `DeviceName::request`: zero is a value of every field.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        change(fd.as_raw_fd(), TUNGETIFF, &mut request)
            .map_err(|error| TapError::Strange { found: error.to_string() })?;
        // SAFETY: TUNGETIFF writes this field.
        let flags = libc::c_int::from(unsafe { request.ifr_ifru.ifru_flags });
        if flags & FRAME_FLAGS != FRAME_FLAGS || flags & libc::IFF_VNET_HDR != 0 {
            return Err(TapError::Strange { found: format!("a tun device with flags {flags:#x}") });
        }
        let name = DeviceName::new(&name_in(&request))?;
        stay_nonblocking(&fd).map_err(step(&name, "asking it not to wait"))?;
        let devices = Devices::open().map_err(step(&name, "asking for devices"))?;
        let index = devices.index(&name).map_err(step(&name, "asking for its index"))?;
        let mtu = devices.mtu(&name).map_err(step(&name, "asking for its MTU"))?;
        Ok(Tap { fd, name: name.as_str().to_owned(), index, mtu })
    }

    /// The device's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its number, as it was when opened.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Its MTU, as it was when opened.
    pub fn mtu(&self) -> u32 {
        self.mtu
    }

    /// Takes one frame that the kernel sent out by the device.
    #[inline]
    pub fn read(&self, into: &mut [u8]) -> Read {
        // The kernel cuts what does not fit and does not say so: one byte more than there is room for tells.
        let (room, mut spill) = (into.len(), 0_u8);
        let parts = [
            libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: room },
            libc::iovec { iov_base: std::ptr::from_mut(&mut spill).cast(), iov_len: 1 },
        ];
        // SAFETY: both parts are borrowed exclusively for the call and have the lengths given.
        match unsafe { libc::readv(self.fd.as_raw_fd(), parts.as_ptr(), 2) } {
            len @ 0.. if len as usize <= room => Read::Frame(len as usize),
            0.. => Read::TooLong,
            _ => match last_errno() {
                libc::EAGAIN | libc::EINTR => Read::Empty,
                libc::EBADFD => Read::Gone,
                errno => Read::Failed(errno),
            },
        }
    }

    /// Gives the kernel one frame, as if the device had received it.
    #[inline]
    pub fn write(&self, frame: &[u8]) -> Write {
        // SAFETY: the kernel reads `frame.len()` bytes of a slice that is borrowed for the call.
        match unsafe { libc::write(self.fd.as_raw_fd(), frame.as_ptr().cast(), frame.len()) } {
            0.. => Write::Taken,
            _ => match last_errno() {
                libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM | libc::EINTR => Write::Full,
                libc::EIO => Write::Down,
                libc::EBADFD => Write::Gone,
                errno => Write::Failed(errno),
            },
        }
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<Tap> for OwnedFd {
    fn from(tap: Tap) -> OwnedFd {
        tap.fd
    }
}

fn last_errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

fn step(name: &DeviceName, step: &'static str) -> impl Fn(io::Error) -> TapError {
    let name = name.as_str().to_owned();
    move |source| TapError::Step { name: name.clone(), step, source }
}

/// Opens the clone device and makes (or joins) the device `name`.
fn clone_device(name: &DeviceName, queues: Queues) -> Result<OwnedFd, TapError> {
    const DOOR: &CStr = c"/dev/net/tun";
    let flags = libc::O_RDWR | libc::O_NONBLOCK | libc::O_CLOEXEC;
    // SAFETY: DOOR is a C string that lives as long as the program.
    let fd = unsafe { libc::open(DOOR.as_ptr(), flags) };
    if fd < 0 {
        return Err(step(name, "opening /dev/net/tun")(io::Error::last_os_error()));
    }
    // SAFETY: the kernel opened `fd` for this call and nobody else has seen it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let many = match queues {
        Queues::One => 0,
        Queues::Many => libc::IFF_MULTI_QUEUE,
    };
    let mut request = name.request();
    request.ifr_ifru.ifru_flags = (FRAME_FLAGS | many) as libc::c_short;
    change(fd.as_raw_fd(), libc::TUNSETIFF as libc::c_ulong, &mut request)
        .map_err(step(name, "making the device"))?;
    Ok(fd)
}

fn stay_nonblocking(fd: &OwnedFd) -> io::Result<()> {
    // SAFETY: fcntl(2) with F_GETFL takes no memory of ours.
    let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) };
    // SAFETY: as above, with F_SETFL.
    if flags < 0 || unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// What a device for punted packets wants of the kernel; answers what was refused.
///
/// The filter in force is the stricter of the device's and `all` (Documentation/networking/ip-sysctl.rst). Where
/// `all` is set, the device is given 2 (loose), the largest, which wins, and asks only for some way back.
fn set_switches(name: &DeviceName) -> Vec<String> {
    let all = std::fs::read_to_string("/proc/sys/net/ipv4/conf/all/rp_filter").unwrap_or_default();
    let filter = if all.trim() == "0" || all.is_empty() { "0" } else { "2" };
    let switches = [
        ("ipv4", "rp_filter", filter),
        ("ipv6", "addr_gen_mode", "1"),
        ("ipv6", "accept_ra", "0"),
        ("ipv6", "autoconf", "0"),
    ];
    let refused = switches.into_iter().filter_map(|(family, switch, value)| {
        let error = set_switch(name, family, switch, value).err()?;
        let known = error.kind() != io::ErrorKind::NotFound || family == "ipv4";
        known.then(|| format!("TAP {}: {family} {switch} = {value} not set: {error}", name.as_str()))
    });
    refused.collect()
}
