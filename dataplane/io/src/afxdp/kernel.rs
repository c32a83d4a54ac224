//! What only the privileged can do for ports, as a trait: done in this process by who may, or asked of another
//! process (the broker) by who may no longer.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::os::fd::{BorrowedFd, OwnedFd};

use super::punt::Punt;

/// The kernel's side of ports.
///
/// What is made here goes when its keeper goes: the program leaves the device with the last descriptor of its
/// link, so that a device is as it was found even after `kill -9`.
pub trait Kernel: Send + Sync {
    /// Puts the redirect program on a device, with an empty XSKMAP, so that packets of queues with no socket
    /// still go to the kernel. `mode`: which way in; `None` tries the driver's own and then the generic one.
    /// A device that has it already is detached first.
    fn attach(&self, device: &str, punt: &Punt, mode: Option<Mode>) -> Result<Attached, KernelError>;

    /// A new AF_XDP socket, bound to nothing, and the caller's alone: a duplicate kept elsewhere would keep its
    /// queue taken after the port was closed, and the kernel writing into frames that were given back.
    fn socket(&self) -> Result<OwnedFd, KernelError>;

    /// From now on packets of this queue go to `socket`, which is bound to it.
    fn install(&self, device: &str, queue: u32, socket: BorrowedFd<'_>) -> Result<(), KernelError>;

    /// From now on packets of this queue go to the kernel again. Nothing there is no error.
    fn remove(&self, device: &str, queue: u32) -> Result<(), KernelError>;

    /// Replaces what goes past weir on an attached device, in one step for each packet.
    fn punt(&self, device: &str, punt: &Punt) -> Result<(), KernelError>;

    /// Takes the program off a device. A device that has none, or is gone, is no error.
    fn detach(&self, device: &str) -> Result<(), KernelError>;

    /// A TAP device of this name, up, with this address and MTU; it goes with its descriptor.
    fn tap(&self, name: &str, mac: [u8; 6], mtu: u32) -> Result<OwnedFd, KernelError>;

    /// From now on the kernel takes what comes in by the TAP device of this name as if it had come in by the device
    /// itself, which has the program: its groups, its link-local addresses and the sockets that are bound to it then
    /// have a part in it.
    fn lead(&self, tap: &str, device: &str) -> Result<(), KernelError> {
        Err(KernelError::plain("leading to it", device, format!("nobody here can lead {tap} to it")))
    }

    /// Has the kernel find out who has this address (`NTF_USE`); the answer comes by netlink.
    fn resolve(&self, ifindex: u32, address: IpAddr) -> Result<(), KernelError>;
}

/// By which of the kernel's ways packets reach the redirect program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// In the driver, before a socket buffer is made (`XDP_FLAGS_DRV_MODE`).
    Native,
    /// In the stack, for any device (`XDP_FLAGS_SKB_MODE`).
    Generic,
}

impl Mode {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Mode::Native => "native",
            Mode::Generic => "generic",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// A device that has the redirect program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// Its number in the kernel.
    pub ifindex: u32,
    /// Its own hardware address.
    pub mac: [u8; 6],
    /// The longest packet it sends, without the link header.
    pub mtu: u32,
    /// How many receive queues it has: a port wants a socket on each.
    pub queues: u32,
    /// The way that it came to.
    pub mode: Mode,
    /// Why it is not the better way, when it is not.
    pub word: Option<String>,
}

/// What the kernel did not do. Made of plain values, so that it can come from another process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelError {
    /// What was being done, as in "attaching the redirect program".
    pub doing: Cow<'static, str>,
    /// To what: a device, perhaps with its queue.
    pub subject: String,
    /// The kernel's error number; 0 when it was not the kernel.
    pub errno: i32,
    /// What to know or try, when there is something.
    pub help: Option<Cow<'static, str>>,
}

impl KernelError {
    /// An error of a system call.
    pub fn of(doing: &'static str, subject: impl Into<String>, source: &io::Error) -> KernelError {
        let errno = source.raw_os_error().unwrap_or(0);
        let help = match errno {
            0 => Some(Cow::Owned(source.to_string())),
            _ => weir_sys::errno::help(errno).map(Cow::Borrowed),
        };
        KernelError { doing: Cow::Borrowed(doing), subject: subject.into(), errno, help }
    }

    /// Something that no system call said.
    pub fn plain(doing: &'static str, subject: impl Into<String>, why: impl Into<String>) -> KernelError {
        let help = Some(Cow::Owned(why.into()));
        KernelError { doing: Cow::Borrowed(doing), subject: subject.into(), errno: 0, help }
    }
}

impl fmt::Display for KernelError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.subject, self.doing)?;
        if self.errno != 0 {
            write!(out, ": {}", io::Error::from_raw_os_error(self.errno))?;
        }
        match &self.help {
            Some(help) if self.errno == 0 => write!(out, ": {help}"),
            Some(help) => write!(out, " ({help})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for KernelError {}
