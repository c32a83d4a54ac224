//! The broker as a process: what it gives up before its first request, and when it ends.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use weir_sys::channel::Channel;
use weir_sys::sandbox::{self, Files, Keep, Plan, Report, Role};
use weir_sys::signal;

use super::server::{Ended, serve};
use crate::afxdp::Direct;

/// What the broker still needs of the file system: the door to TAP devices, their switches, and how many queues a
/// device has whose driver does not say.
fn files() -> Files {
    let paths = |paths: &[&str]| paths.iter().map(PathBuf::from).collect();
    Files {
        read: paths(&["/sys/class/net", "/sys/devices"]),
        write: paths(&["/dev/net/tun", "/proc/sys/net/ipv4/conf", "/proc/sys/net/ipv6/conf"]),
        listen: Vec::new(),
    }
}

/// Serves the daemon at the other end of `socket` until it has gone. `told` hears what the sandbox came to; without
/// `sandboxed` there is none.
///
/// Everything made on the way goes with this process: links leave their devices, TAP devices vanish unless the
/// daemon still has them.
pub fn run(socket: OwnedFd, sandboxed: bool, told: impl FnOnce(Option<&Report>)) -> io::Result<Ended> {
    let channel = Channel::adopt(socket)?;
    signal::ignore_endings()?;
    let kernel = Direct::new();
    if sandboxed {
        let report = sandbox::enter(&Plan { keep: Keep::Network, files: files(), ..Plan::new(Role::Broker) });
        told(Some(&report));
    } else {
        told(None);
    }
    Ok(serve(&channel, &kernel))
}
