//! Last words of a process that made a system call its sandbox forbids.
//!
//! The kernel sends SIGSYS instead of making the call; the handler writes which call it was and of which thread,
//! with nothing but write(2), and ends the process as that signal would.

use std::cell::Cell;
use std::io::Write as _;
use std::sync::Once;

use super::calls::{Role, name_of};

/// What a shell shows for a process that SIGSYS ended.
const ENDED_BY_SIGSYS: i32 = 128 + libc::SIGSYS;

thread_local! {
    // Constant and without a destructor: reading it in a signal handler allocates nothing.
    static ROLE: Cell<Option<Role>> = const { Cell::new(None) };
}

/// Remembers what kind of thread this is, and has forbidden calls told.
pub(super) fn announce(role: Role) {
    static ONCE: Once = Once::new();
    ROLE.set(Some(role));
    ONCE.call_once(|| {
        // SAFETY: sigaction is plain numbers and pointers, for which zero is a value: no mask, no flags.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = tell as extern "C" fn(_, _, _) as libc::sighandler_t;
        action.sa_flags = libc::SA_SIGINFO;
        // SAFETY: the handler has the shape SA_SIGINFO asks for, does only what signal-safety(7) allows, and
        // lives as long as the program. Should this fail, the signal's default ends the process without words.
        unsafe { libc::sigaction(libc::SIGSYS, &raw const action, std::ptr::null_mut()) };
    });
}

extern "C" fn tell(_signal: libc::c_int, about: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // siginfo of a SIGSYS (sigaction(2)): three ints, then padding, the call's address, its number, its architecture.
    const NUMBER: usize = 24;
    // SAFETY: the kernel gives a handler with SA_SIGINFO a whole siginfo_t, 128 bytes; NUMBER + 4 lies within.
    let number = unsafe { about.cast::<u8>().add(NUMBER).cast::<i32>().read_unaligned() };
    let role = ROLE.get().map_or("unknown", Role::name);
    let mut text = [0_u8; 256];
    let mut rest = &mut text[..];
    // Formatting into an array allocates nothing; what does not fit is cut.
    let _ = writeln!(
        rest,
        "weir: a thread of kind `{role}` made system call {number} ({}), which its sandbox forbids; weir ends. \
         A bug or an attack: please report it.",
        name_of(i64::from(number)),
    );
    let left = rest.len();
    // SAFETY: the first bytes of `text`, as many as were written; _exit(2) may be called in a handler.
    unsafe {
        libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len() - left);
        libc::_exit(ENDED_BY_SIGSYS);
    }
}
