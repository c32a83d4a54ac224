//! Network namespaces: made, entered by one thread, and gone with their last holder.
//!
//! A namespace made here has no name: the kernel keeps it as long as a descriptor, a thread or a
//! process holds it, and takes its devices away with it, however this process ends.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

/// A network namespace, held.
#[derive(Debug)]
pub struct NetNamespace {
    fd: OwnedFd,
}

impl NetNamespace {
    /// The one that the calling thread is in.
    pub fn current() -> io::Result<Self> {
        Self::open(Path::new("/proc/thread-self/ns/net"))
    }

    /// The one behind a path: `/run/netns/NAME`, `/proc/PID/ns/net`.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { fd: File::open(path)?.into() })
    }

    /// A new one with nothing in it but a loopback device that is down. Needs CAP_SYS_ADMIN; the calling
    /// thread stays where it is.
    pub fn create() -> io::Result<Self> {
        let maker = std::thread::spawn(|| {
            // SAFETY: unshare(2) touches no memory of ours; this thread ends right after, so no other
            // code meets the namespace that it left.
            match unsafe { libc::unshare(libc::CLONE_NEWNET) } {
                0 => Self::current(),
                _ => Err(io::Error::last_os_error()),
            }
        });
        maker.join().unwrap_or_else(|_| Err(io::Error::other("the thread that made a namespace died")))
    }

    /// Moves the calling thread, and no other, into it. Threads and processes that it starts later are
    /// born there.
    pub fn enter(&self) -> io::Result<()> {
        // SAFETY: setns(2) takes a descriptor, which `self` keeps open, and touches no memory of ours.
        match unsafe { libc::setns(self.fd.as_raw_fd(), libc::CLONE_NEWNET) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl AsFd for NetNamespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Has the process that `command` becomes killed when the *thread* that starts it ends (prctl(2),
/// `PR_SET_PDEATHSIG`), so that nothing outlives who asked for it.
pub fn end_with_this_thread(command: &mut Command) {
    // SAFETY: between fork and exec the closure makes one system call without memory, and reads errno:
    // both are allowed there (signal-safety(7)).
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        });
    }
}

/// Sends a signal to a process of ours.
pub fn signal(pid: u32, number: Signal) -> io::Result<()> {
    let pid = i32::try_from(pid).ok().filter(|pid| *pid > 1);
    let pid = pid.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no process has this number"))?;
    // SAFETY: kill(2) takes two numbers; `pid` is a single process, not a group and not init.
    match unsafe { libc::kill(pid, number as i32) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Signals that are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Signal {
    /// Please end.
    Term = libc::SIGTERM,
    /// The user wants it to end.
    Interrupt = libc::SIGINT,
    /// Ends at once.
    Kill = libc::SIGKILL,
    /// Stands still.
    Stop = libc::SIGSTOP,
    /// Goes on.
    Continue = libc::SIGCONT,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_namespace_has_only_a_loopback() {
        let Ok(namespace) = NetNamespace::create() else {
            println!("a_new_namespace_has_only_a_loopback: skipped: needs CAP_SYS_ADMIN");
            return;
        };
        let devices = std::thread::spawn(move || {
            namespace.enter()?;
            std::fs::read_to_string("/proc/thread-self/net/dev")
        });
        let devices = devices.join().expect("the thread lives").expect("it may enter");
        let names: Vec<&str> = devices.lines().skip(2).filter_map(|line| line.split(':').next()).collect();
        assert_eq!(names.iter().map(|name| name.trim()).collect::<Vec<_>>(), ["lo"]);
    }

    #[test]
    fn no_group_and_no_init_is_signalled() {
        for pid in [0, 1, u32::MAX] {
            assert!(signal(pid, Signal::Continue).is_err(), "{pid}");
        }
    }
}
