//! Error numbers that callers tell apart, and what a person should know of those that ports meet.

pub use libc::{
    E2BIG, EACCES, EAGAIN, EBADF, EBUSY, EEXIST, EINTR, EINVAL, EMFILE, ENETDOWN, ENETUNREACH, ENOBUFS,
    ENODEV, ENOENT, ENOMEM, ENOTCONN, ENOTSUP, ENXIO, EOPNOTSUPP, EPERM, ERANGE, ETIMEDOUT, EWOULDBLOCK,
};

/// What is usually behind an error of the calls that make ports, in words.
pub fn help(errno: i32) -> Option<&'static str> {
    Some(match errno {
        EPERM | EACCES => "this takes root, or CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF",
        EBUSY => "something else has it: another XDP program, or an AF_XDP socket on this queue",
        EEXIST => "another XDP program is there, in the other mode",
        ENODEV | ENXIO => "there is no such device, or no such queue of it",
        ENETDOWN => "the device is down: ip link set DEVICE up",
        EOPNOTSUPP => "the driver cannot do this",
        ENOBUFS | ENOMEM => "locked memory ran out: CAP_IPC_LOCK or a larger RLIMIT_MEMLOCK (ulimit -l)",
        ERANGE => "the MTU is too large for XDP on this driver",
        _ => return None,
    })
}
