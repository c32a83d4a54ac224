//! Memory is written or executed, never both, and never first the one and then the other (`PR_SET_MDWE`, Linux
//! 6.3). The JIT does not mind: it writes code into a memory file and maps that once, executable from the start.

use std::io;

use super::State;

/// `PR_SET_MDWE` and `PR_MDWE_REFUSE_EXEC_GAIN` (linux/prctl.h), which libc does not name everywhere.
const PR_SET_MDWE: libc::c_int = 65;
const REFUSE_EXEC_GAIN: libc::c_ulong = 1;

/// Holds for the whole process from now on.
pub(super) fn write_xor_execute() -> State {
    let none: libc::c_ulong = 0;
    // SAFETY: prctl(2) with PR_SET_MDWE takes numbers, and changes no mapping that exists.
    match unsafe { libc::prctl(PR_SET_MDWE, REFUSE_EXEC_GAIN, none, none, none) } {
        0 => State::On(String::new()),
        _ => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::EINVAL) => {
                State::Off("this kernel has no PR_SET_MDWE (Linux 6.3)".to_owned())
            }
            error => State::Off(error.to_string()),
        },
    }
}

/// How many mappings of this process are writable and executable at once; `None` when they cannot be seen.
pub fn writable_code() -> Option<usize> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let both = |line: &&str| {
        let protection = line.split(' ').nth(1).unwrap_or_default();
        protection.contains('w') && protection.contains('x')
    };
    Some(maps.lines().filter(both).count())
}
