//! Has another process not hear the kernel: its netlink socket throws away all that it is notified of.

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use socket2::{SockFilter, Socket};

/// The socket by which a process hears of routes, held by this one too.
pub struct Deaf(Socket);

impl Deaf {
    /// From now on the process hears nothing of routes, and is not told so: no notification counts as lost.
    pub fn make(process: u32) -> Result<Self> {
        let inodes = listening(process)?;
        for entry in std::fs::read_dir(format!("/proc/{process}/fd"))? {
            let entry = entry?;
            let target = std::fs::read_link(entry.path()).unwrap_or_default();
            if !inodes.iter().any(|inode| target.to_string_lossy() == format!("socket:[{inode}]")) {
                continue;
            }
            let number = entry.file_name().to_string_lossy().parse()?;
            let pid =
                i32::try_from(process).ok().and_then(Pid::from_raw).context("a process has a number")?;
            let process = pidfd_open(pid, PidfdFlags::empty())?;
            let socket = Socket::from(pidfd_getfd(&process, number, PidfdGetfdFlags::empty())?);
            // `return 0`: keep no byte of any message.
            const RETURN: u16 = 0x06;
            socket.attach_filter(&[SockFilter::new(RETURN, 0, 0, 0)])?;
            return Ok(Self(socket));
        }
        bail!("process {process} listens to no netlink socket")
    }

    /// It hears again what comes from now on.
    pub fn heal(self) -> Result<()> {
        Ok(self.0.detach_filter()?)
    }
}

/// Inodes of the sockets in a process's network that listen to groups of rtnetlink.
fn listening(process: u32) -> Result<Vec<String>> {
    let table = std::fs::read_to_string(format!("/proc/{process}/net/netlink"))?;
    let rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
    let listens =
        |row: &Vec<&str>| row.get(1) == Some(&"0") && row.get(3).is_some_and(|groups| *groups != "00000000");
    Ok(rows.filter(listens).filter_map(|row| row.last().map(ToString::to_string)).collect())
}
