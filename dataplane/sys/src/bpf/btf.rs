//! Type information given to the kernel, which maps with special fields and callbacks need.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use super::{Command, bpf, own};

#[repr(C)]
struct BtfLoadAttr {
    btf: u64,
    log_buf: u64,
    btf_size: u32,
    log_size: u32,
    log_level: u32,
}

/// BTF that the kernel checked and keeps; let go when dropped.
#[derive(Debug)]
pub struct KernelBtf {
    fd: OwnedFd,
}

impl KernelBtf {
    /// Loads raw BTF, as it stands in an object's `.BTF` section.
    pub fn load(bytes: &[u8]) -> io::Result<Self> {
        let mut attr = BtfLoadAttr {
            btf: bytes.as_ptr() as u64,
            log_buf: 0,
            btf_size: bytes.len() as u32,
            log_size: 0,
            log_level: 0,
        };
        // SAFETY: `BtfLoadAttr` mirrors the BTF-load part of `union bpf_attr`; `bytes` is only read
        // and has the size given; no log is asked for.
        let fd = unsafe { bpf(Command::BtfLoad, &mut attr)? };
        Ok(Self { fd: own(fd) })
    }

    /// The descriptor.
    pub fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}
