//! bpf(2), raw: maps and programs of the kernel, held by file descriptors.
//!
//! The kernel is the oracle of the tests and runs the small redirect program of AF_XDP ports. Kinds,
//! types and flags are the kernel's numbers; bytes are the kernel's bytes.

mod btf;
mod link;
mod map;
mod prog;

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

pub use btf::KernelBtf;
pub use link::{IngressLink, XdpLink};
pub use map::{KernelMap, MapAttr};
pub use prog::{KernelProgram, LoadAttr, LoadError, TestRun, TestRunOutput};

/// Commands of bpf(2) that weir uses (`enum bpf_cmd`).
#[derive(Clone, Copy)]
#[repr(i32)]
enum Command {
    MapCreate = 0,
    MapLookup = 1,
    MapUpdate = 2,
    MapDelete = 3,
    MapNextKey = 4,
    ProgLoad = 5,
    ProgTestRun = 10,
    BtfLoad = 18,
    MapLookupAndDelete = 21,
    MapFreeze = 22,
    LinkCreate = 28,
    LinkUpdate = 29,
    LinkDetach = 34,
}

/// Why the kernel cannot be asked, or `Ok` when it can: whether this process may create a map.
pub fn available() -> Result<(), String> {
    let probe = MapAttr { kind: 2, key_size: 4, value_size: 4, max_entries: 1, ..MapAttr::default() };
    match KernelMap::create(&probe) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("bpf(2) answers: {error}; it needs CAP_BPF (or root)")),
    }
}

/// One call of bpf(2) with an attribute of the shape that the command expects.
///
/// # Safety
/// `A` must be the prefix of `union bpf_attr` that `command` reads, and every pointer in it valid for
/// what the kernel reads and writes through it during the call.
unsafe fn bpf<A>(command: Command, attr: &mut A) -> io::Result<i32> {
    let size = size_of::<A>() as u32;
    // SAFETY: the caller vouches for the attribute's shape and pointers; the kernel writes only
    // within the `size` bytes of it, which `attr` borrows exclusively.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command as i32, std::ptr::from_mut(attr), size) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

/// Takes ownership of a descriptor that bpf(2) just answered with.
fn own(fd: i32) -> OwnedFd {
    // SAFETY: the kernel opened `fd` for this call and nobody else has seen it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Number of CPUs the kernel may ever have: per-CPU map values come as so many copies.
pub fn possible_cpus() -> usize {
    let list = std::fs::read_to_string("/sys/devices/system/cpu/possible").unwrap_or_default();
    let last = list.trim().rsplit(['-', ',']).next().and_then(|last| last.parse::<usize>().ok());
    last.map_or(1, |last| last + 1)
}
