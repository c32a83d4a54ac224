//! Which cores this process may use, and staying on one of them.
//!
//! Pinning is checked by asking the kernel afterwards: a container or a cpuset may say yes and mean no.

use std::io;
use std::mem;

/// Cores beyond this number are not seen: the size of the C library's `cpu_set_t`.
pub const CORES_MAX: usize = libc::CPU_SETSIZE as usize;

/// Why a thread could not be put on a core.
#[derive(Debug, thiserror::Error)]
pub enum AffinityError {
    /// The kernel did not say which cores there are.
    #[error("cannot ask which cores are allowed: {0}")]
    Ask(#[source] io::Error),
    /// This core is not among those allowed.
    #[error("core {core} is not allowed: this process may use {allowed}")]
    NotAllowed {
        /// What was asked for.
        core: usize,
        /// The cores there are, as ranges.
        allowed: String,
    },
    /// The kernel refused.
    #[error("cannot pin this thread to core {core}: {source}")]
    Refused {
        /// What was asked for.
        core: usize,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The kernel agreed, and the thread may still run elsewhere.
    #[error("pinning to core {core} had no effect: the thread may still run on {allowed}")]
    Ignored {
        /// What was asked for.
        core: usize,
        /// Where the thread may run, as ranges.
        allowed: String,
    },
}

/// The cores the calling thread may run on, ascending.
pub fn allowed() -> Result<Vec<usize>, AffinityError> {
    // SAFETY: cpu_set_t is an array of integers, for which all zeroes is a value (the empty set).
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: the kernel writes at most size_of_val(&set) bytes into `set`, which lives here.
    let answer = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &mut set) };
    if answer != 0 {
        return Err(AffinityError::Ask(io::Error::last_os_error()));
    }
    // SAFETY: CPU_ISSET reads bit `core` of `set`, and core < CPU_SETSIZE, the number of bits in it.
    Ok((0..CORES_MAX).filter(|core| unsafe { libc::CPU_ISSET(*core, &set) }).collect())
}

/// Keeps the calling thread on `core` from now on.
pub fn pin(core: usize) -> Result<(), AffinityError> {
    let cores = allowed()?;
    if !cores.contains(&core) {
        return Err(AffinityError::NotAllowed { core, allowed: ranges(&cores) });
    }
    // SAFETY: as in `allowed`.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: core < CORES_MAX, since `allowed` gives no other and it contains this one.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: the kernel reads size_of_val(&set) bytes of `set`, which lives here.
    if unsafe { libc::sched_setaffinity(0, size_of_val(&set), &set) } != 0 {
        return Err(AffinityError::Refused { core, source: io::Error::last_os_error() });
    }
    let now = allowed()?;
    if now != [core] {
        return Err(AffinityError::Ignored { core, allowed: ranges(&now) });
    }
    Ok(())
}

/// Core numbers as people write them: `0-3,8`.
pub fn ranges(cores: &[usize]) -> String {
    let mut text = String::new();
    let mut rest = cores;
    while let Some(first) = rest.first() {
        let run = rest.iter().enumerate().take_while(|(at, core)| **core == first + at).count();
        let comma = if text.is_empty() { "" } else { "," };
        text += &match run {
            1 => format!("{comma}{first}"),
            _ => format!("{comma}{first}-{}", first + run - 1),
        };
        rest = &rest[run..];
    }
    if text.is_empty() { "no core".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_can_be_pinned_to_each_allowed_core() {
        for core in allowed().unwrap() {
            std::thread::spawn(move || {
                pin(core).unwrap();
                assert_eq!(allowed().unwrap(), [core]);
            })
            .join()
            .unwrap();
        }
    }

    #[test]
    fn a_core_that_is_not_there_is_named() {
        let words = pin(CORES_MAX + 7).unwrap_err().to_string();
        assert!(
            words.starts_with(&format!("core {} is not allowed: this process may use ", CORES_MAX + 7)),
            "{words}"
        );
    }

    #[test]
    fn ranges_read_as_people_write_them() {
        assert_eq!(ranges(&[]), "no core");
        assert_eq!(ranges(&[3]), "3");
        assert_eq!(ranges(&[0, 1, 2, 3, 8, 10, 11]), "0-3,8,10-11");
    }
}
