//! Signals that are not for this process.

use std::io;

/// Has the endings that a terminal or a service manager sends to a whole group (`SIGINT`, `SIGTERM`, `SIGHUP`,
/// `SIGQUIT`) pass this process by: it ends with another, which is told itself.
pub fn ignore_endings() -> io::Result<()> {
    for number in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT] {
        // SAFETY: SIG_IGN is a disposition, not a function of ours.
        if unsafe { libc::signal(number, libc::SIG_IGN) } == libc::SIG_ERR {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
