//! Links: a program on a device, for as long as a descriptor of the link is open.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use super::{Command, KernelProgram, bpf, own};

/// `BPF_XDP` (`enum bpf_attach_type`).
const BPF_XDP: u32 = 37;
const BPF_TCX_INGRESS: u32 = 46;
/// `XDP_FLAGS_SKB_MODE` and `XDP_FLAGS_DRV_MODE` (linux/if_link.h).
const SKB_MODE: u32 = 1 << 1;
const DRV_MODE: u32 = 1 << 2;

#[repr(C)]
#[derive(Default)]
struct LinkCreateAttr {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct LinkUpdateAttr {
    link_fd: u32,
    new_prog_fd: u32,
    flags: u32,
    old_prog_fd: u32,
}

#[repr(C)]
struct LinkDetachAttr {
    link_fd: u32,
}

/// A link, that ends when this is dropped: at once, also when a child that was just forked still has a copy of
/// the descriptor. When the process is killed instead, the kernel ends it with its last descriptor.
#[derive(Debug)]
struct Link(OwnedFd);

impl Drop for Link {
    fn drop(&mut self) {
        let mut attr = LinkDetachAttr { link_fd: self.0.as_raw_fd() as u32 };
        // SAFETY: `LinkDetachAttr` is the link-detach part of `union bpf_attr`; it holds no pointer.
        // An error means that the device has gone already, or that the descriptor's end has to do (before 5.9).
        let _ = unsafe { bpf(Command::LinkDetach, &mut attr) };
    }
}

/// An XDP program on a device; it leaves the device when this is dropped.
#[derive(Debug)]
pub struct XdpLink {
    link: Link,
}

impl XdpLink {
    /// Puts a program on a device: in its driver (`native`), or in the stack.
    pub fn create(program: &KernelProgram, ifindex: u32, native: bool) -> io::Result<XdpLink> {
        let mut attr = LinkCreateAttr {
            prog_fd: program.fd() as u32,
            target_ifindex: ifindex,
            attach_type: BPF_XDP,
            flags: if native { DRV_MODE } else { SKB_MODE },
        };
        // SAFETY: `LinkCreateAttr` mirrors the beginning of the link-create part of `union bpf_attr`; the kernel
        // takes the rest, which is not given, as zero. It holds no pointer.
        Ok(XdpLink { link: Link(own(unsafe { bpf(Command::LinkCreate, &mut attr)? })) })
    }

    /// Puts another program in the place of the one there; each packet sees the one or the other.
    pub fn update(&self, program: &KernelProgram) -> io::Result<()> {
        let mut attr = LinkUpdateAttr {
            link_fd: self.link.0.as_raw_fd() as u32,
            new_prog_fd: program.fd() as u32,
            ..LinkUpdateAttr::default()
        };
        // SAFETY: `LinkUpdateAttr` mirrors the link-update part of `union bpf_attr`; it holds no pointer.
        unsafe { bpf(Command::LinkUpdate, &mut attr)? };
        Ok(())
    }
}

/// A tc program where packets come in by a device (tcx, Linux 6.6); it leaves with this, or with the device.
#[derive(Debug)]
pub struct IngressLink {
    _link: Link,
}

impl IngressLink {
    /// Puts a program on a device, behind those that are there.
    pub fn create(program: &KernelProgram, ifindex: u32) -> io::Result<IngressLink> {
        let mut attr = LinkCreateAttr {
            prog_fd: program.fd() as u32,
            target_ifindex: ifindex,
            attach_type: BPF_TCX_INGRESS,
            flags: 0,
        };
        // SAFETY: as for an XDP link: a part of `union bpf_attr` without pointers, whose rest the kernel takes as
        // zero, which is "no other program to stand before or behind".
        Ok(IngressLink { _link: Link(own(unsafe { bpf(Command::LinkCreate, &mut attr)? })) })
    }
}
