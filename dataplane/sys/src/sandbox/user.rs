//! Becoming another user for good (setresuid(2)), all threads of the process together.

use std::ffi::{CStr, CString};
use std::io;
use std::mem;

/// A user to become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its name.
    pub name: String,
    /// Its number.
    pub uid: u32,
    /// Its group's number.
    pub gid: u32,
}

/// Why this process is not another user's.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// Nobody has this name.
    #[error("there is no user `{name}` (useradd --system {name})")]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// The kernel refused, or the user database could not be read.
    #[error("cannot become user `{name}`: {step}: {source}")]
    Step {
        /// What was asked for.
        name: String,
        /// What was tried.
        step: &'static str,
        /// What the kernel answered.
        source: io::Error,
    },
    /// Root's number came back: nothing was gained.
    #[error("`{name}` is root under another name")]
    Root {
        /// What was asked for.
        name: String,
    },
}

impl User {
    /// Looks a name up in the user database.
    pub fn find(name: &str) -> Result<User, UserError> {
        let unknown = || UserError::Unknown { name: name.to_owned() };
        let wanted = CString::new(name).map_err(|_| unknown())?;
        let mut buffer = vec![0; 16 << 10];
        let mut found = std::ptr::null_mut();
        // SAFETY: passwd is numbers and pointers, for which zero is a value.
        let mut entry: libc::passwd = unsafe { mem::zeroed() };
        // SAFETY: all pointers are of values that live here; the kernel's library writes within `entry` and the
        // buffer, whose length it is told.
        let answer = unsafe {
            let (to, len) = (buffer.as_mut_ptr(), buffer.len());
            libc::getpwnam_r(wanted.as_ptr(), &raw mut entry, to, len, &raw mut found)
        };
        match (answer, found.is_null()) {
            (0, false) => {}
            (0 | libc::ENOENT | libc::ESRCH, true) => return Err(unknown()),
            (errno, _) => return Err(step(name, "looking it up")(io::Error::from_raw_os_error(errno))),
        }
        // SAFETY: `found` is not null, so `entry` is filled, and its name is a C string inside the buffer.
        let known = unsafe { CStr::from_ptr(entry.pw_name) }.to_string_lossy().into_owned();
        Ok(User { name: known, uid: entry.pw_uid, gid: entry.pw_gid })
    }
}

/// Whether this process is root's.
pub fn is_root() -> bool {
    // SAFETY: geteuid(2) takes nothing and always succeeds.
    unsafe { libc::geteuid() == 0 }
}

/// Becomes this user. The effective capabilities are gone afterwards; the permitted ones stay until
/// [`super::enter`] drops them, which is why `CAP_IPC_LOCK` may still be kept.
pub fn switch_to(user: &User) -> Result<(), UserError> {
    if user.uid == 0 {
        return Err(UserError::Root { name: user.name.clone() });
    }
    let done = |answer: i32, what| match answer {
        0 => Ok(()),
        _ => Err(step(&user.name, what)(io::Error::last_os_error())),
    };
    // SAFETY: prctl(2) with PR_SET_KEEPCAPS takes numbers.
    done(unsafe { libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0) }, "keeping capabilities")?;
    // SAFETY: no groups at all: the pointer is not followed.
    done(unsafe { libc::setgroups(0, std::ptr::null()) }, "leaving root's groups")?;
    // SAFETY: three numbers.
    done(unsafe { libc::setresgid(user.gid, user.gid, user.gid) }, "taking its group")?;
    // SAFETY: three numbers.
    done(unsafe { libc::setresuid(user.uid, user.uid, user.uid) }, "taking its number")
}

fn step(name: &str, step: &'static str) -> impl Fn(io::Error) -> UserError {
    let name = name.to_owned();
    move |source| UserError::Step { name: name.clone(), step, source }
}
