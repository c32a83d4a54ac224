//! Which system calls each kind of thread makes. What is not listed, no thread of weir has a use for.
//!
//! The lists name what the code, the C library's allocator and threads, and the runtime do; a call is added when
//! something of ours needs it, with the reason beside it.

/// A kind of thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Moves packets. Opens nothing, starts nothing, makes no socket and no executable memory.
    Worker,
    /// Everything else in the daemon: control socket, supervisor with compiler, netlink mirror, snapshots.
    Control,
    /// The broker process.
    Broker,
}

/// What an argument must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Argument {
    /// This value.
    Is(u64),
    /// At least these bits.
    Has(u64),
    /// None of these bits.
    Lacks(u64),
}

/// A call, or one form of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) name: &'static str,
    pub(super) number: i64,
    /// Conditions on arguments by their place; all must hold.
    pub(super) when: &'static [(u8, Argument)],
}

macro_rules! calls {
    ($($(#[$about:meta])* $name:ident = $number:ident $(when $conditions:expr)?),* $(,)?) => {
        &[$(Call {
            name: stringify!($name),
            number: libc::$number,
            when: { let when: &[(u8, Argument)] = &[]; $(let when: &[(u8, Argument)] = { let _ = when; $conditions };)? when },
        }),*]
    };
}

const NO_EXEC: &[(u8, Argument)] = &[(2, Argument::Lacks(libc::PROT_EXEC as u64))];
/// `sendto(fd, _, 0, _, NULL, 0)`: has the device look at its rings, and sends nothing.
const NOTHING_SENT: &[(u8, Argument)] = &[(2, Argument::Is(0)), (4, Argument::Is(0))];
/// `recvfrom(fd, _, 0, …)`: the same for receiving.
const NOTHING_RECEIVED: &[(u8, Argument)] = &[(2, Argument::Is(0))];
/// What an AF_XDP socket's rings lost.
const XDP_LOSSES: &[(u8, Argument)] =
    &[(1, Argument::Is(libc::SOL_XDP as u64)), (2, Argument::Is(libc::XDP_STATISTICS as u64))];
const OPEN_OR_NOT: &[(u8, Argument)] = &[(1, Argument::Is(libc::F_GETFD as u64))];
/// Threads only, no process, no namespace.
const A_THREAD: &[(u8, Argument)] =
    &[(0, Argument::Has((libc::CLONE_THREAD | libc::CLONE_VM) as u64)), (0, Argument::Lacks(NAMESPACES))];
const NAMESPACES: u64 = (libc::CLONE_NEWUSER
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP) as u64;

const fn family(number: i32) -> [(u8, Argument); 1] {
    [(0, Argument::Is(number as u64))]
}

const UNIX: &[(u8, Argument)] = &family(libc::AF_UNIX);
const INET: &[(u8, Argument)] = &family(libc::AF_INET);
const INET6: &[(u8, Argument)] = &family(libc::AF_INET6);
const NETLINK: &[(u8, Argument)] = &family(libc::AF_NETLINK);

/// Thread 0: the one that calls.
const ITSELF: &[(u8, Argument)] = &[(0, Argument::Is(0))];

/// What the allocator, locks and the end of a thread take, in every thread.
const LIFE: &[Call] = calls![
    futex = SYS_futex,
    madvise = SYS_madvise,
    munmap = SYS_munmap,
    mprotect = SYS_mprotect when NO_EXEC,
    brk = SYS_brk,
    /// The first hash table of a thread asks for its seed.
    getrandom = SYS_getrandom,
    /// Where the clock cannot be read without a call.
    clock_gettime = SYS_clock_gettime,
    sched_yield = SYS_sched_yield,
    rt_sigreturn = SYS_rt_sigreturn,
    rt_sigprocmask = SYS_rt_sigprocmask,
    sigaltstack = SYS_sigaltstack,
    close = SYS_close,
    /// A panic names its thread by number.
    gettid = SYS_gettid,
    getpid = SYS_getpid,
    exit = SYS_exit,
    exit_group = SYS_exit_group,
];

/// A worker's turn: wait, wake the device, a TAP device's or a recording's frames.
const TURN: &[Call] = calls![
    poll = SYS_poll,
    ppoll = SYS_ppoll,
    clock_nanosleep = SYS_clock_nanosleep,
    sendto = SYS_sendto when NOTHING_SENT,
    recvfrom = SYS_recvfrom when NOTHING_RECEIVED,
    /// A port that is closed takes down what its rings lost, before the socket goes.
    getsockopt = SYS_getsockopt when XDP_LOSSES,
    read = SYS_read,
    readv = SYS_readv,
    write = SYS_write,
    mmap = SYS_mmap when NO_EXEC,
    /// In test builds the standard library asks whether a descriptor is open before it closes it.
    fcntl = SYS_fcntl when OPEN_OR_NOT,
];

/// Files, within what landlock leaves.
const PATHS: &[Call] = calls![
    openat = SYS_openat,
    read = SYS_read,
    readv = SYS_readv,
    pread64 = SYS_pread64,
    write = SYS_write,
    writev = SYS_writev,
    pwrite64 = SYS_pwrite64,
    lseek = SYS_lseek,
    fstat = SYS_fstat,
    newfstatat = SYS_newfstatat,
    statx = SYS_statx,
    getdents64 = SYS_getdents64,
    readlinkat = SYS_readlinkat,
    fcntl = SYS_fcntl,
    ioctl = SYS_ioctl,
];

/// Files that are made, renamed and removed: snapshots, recordings, the socket.
const STATE: &[Call] = calls![
    fsync = SYS_fsync,
    fdatasync = SYS_fdatasync,
    ftruncate = SYS_ftruncate,
    fallocate = SYS_fallocate,
    flock = SYS_flock,
    renameat = SYS_renameat,
    renameat2 = SYS_renameat2,
    unlinkat = SYS_unlinkat,
    mkdirat = SYS_mkdirat,
    fchmod = SYS_fchmod,
    fchmodat = SYS_fchmodat,
    fchown = SYS_fchown,
    fchownat = SYS_fchownat,
    faccessat = SYS_faccessat,
    faccessat2 = SYS_faccessat2,
    umask = SYS_umask,
    getcwd = SYS_getcwd,
    statfs = SYS_statfs,
    fstatfs = SYS_fstatfs,
    copy_file_range = SYS_copy_file_range,
];

/// The old forms of some, which only x86-64 has and the C library still uses there.
#[cfg(target_arch = "x86_64")]
const OLD: &[Call] = calls![
    open = SYS_open,
    stat = SYS_stat,
    lstat = SYS_lstat,
    readlink = SYS_readlink,
    access = SYS_access,
    rename = SYS_rename,
    unlink = SYS_unlink,
    mkdir = SYS_mkdir,
    rmdir = SYS_rmdir,
    chmod = SYS_chmod,
    chown = SYS_chown,
    pipe = SYS_pipe,
    epoll_wait = SYS_epoll_wait,
];
#[cfg(not(target_arch = "x86_64"))]
const OLD: &[Call] = &[];

/// Sockets: the control socket, metrics by TCP, netlink, the broker's channel, and AF_XDP sockets that the broker made.
const SOCKETS: &[Call] = calls![
    socket = SYS_socket when UNIX,
    socket = SYS_socket when INET,
    socket = SYS_socket when INET6,
    socket = SYS_socket when NETLINK,
    socketpair = SYS_socketpair when UNIX,
    bind = SYS_bind,
    listen = SYS_listen,
    accept4 = SYS_accept4,
    connect = SYS_connect,
    shutdown = SYS_shutdown,
    getsockname = SYS_getsockname,
    getpeername = SYS_getpeername,
    getsockopt = SYS_getsockopt,
    setsockopt = SYS_setsockopt,
    sendto = SYS_sendto,
    recvfrom = SYS_recvfrom,
    sendmsg = SYS_sendmsg,
    recvmsg = SYS_recvmsg,
    sendmmsg = SYS_sendmmsg,
    recvmmsg = SYS_recvmmsg,
];

/// Waiting and timers.
const WAITING: &[Call] = calls![
    poll = SYS_poll,
    ppoll = SYS_ppoll,
    epoll_create1 = SYS_epoll_create1,
    epoll_ctl = SYS_epoll_ctl,
    epoll_pwait = SYS_epoll_pwait,
    epoll_pwait2 = SYS_epoll_pwait2,
    eventfd2 = SYS_eventfd2,
    pipe2 = SYS_pipe2,
    dup = SYS_dup,
    timerfd_create = SYS_timerfd_create,
    timerfd_settime = SYS_timerfd_settime,
    clock_nanosleep = SYS_clock_nanosleep,
    nanosleep = SYS_nanosleep,
    clock_getres = SYS_clock_getres,
    gettimeofday = SYS_gettimeofday,
    restart_syscall = SYS_restart_syscall,
    waitid = SYS_waitid,
    wait4 = SYS_wait4,
];

/// Threads, and what they do to themselves: to be pinned, named, sandboxed further.
const THREADS: &[Call] = calls![
    clone = SYS_clone when A_THREAD,
    set_robust_list = SYS_set_robust_list,
    set_tid_address = SYS_set_tid_address,
    rseq = SYS_rseq,
    arch_prctl = SYS_arch_prctl,
    prctl = SYS_prctl,
    seccomp = SYS_seccomp,
    landlock_create_ruleset = SYS_landlock_create_ruleset,
    landlock_add_rule = SYS_landlock_add_rule,
    landlock_restrict_self = SYS_landlock_restrict_self,
    capget = SYS_capget,
    capset = SYS_capset,
    sched_getaffinity = SYS_sched_getaffinity,
    sched_setaffinity = SYS_sched_setaffinity,
    /// Threads that are not waited for give back the preference of the one that started them.
    sched_setattr = SYS_sched_setattr when ITSELF,
    getcpu = SYS_getcpu,
    membarrier = SYS_membarrier,
    getppid = SYS_getppid,
    getuid = SYS_getuid,
    geteuid = SYS_geteuid,
    getgid = SYS_getgid,
    getegid = SYS_getegid,
    getrusage = SYS_getrusage,
    prlimit64 = SYS_prlimit64,
    sysinfo = SYS_sysinfo,
    uname = SYS_uname,
    rt_sigaction = SYS_rt_sigaction,
    rt_sigpending = SYS_rt_sigpending,
    tgkill = SYS_tgkill,
    kill = SYS_kill,
];

/// Memory, the JIT's included: it maps code executable, which was never writable.
const MEMORY: &[Call] = calls![
    mmap = SYS_mmap,
    mremap = SYS_mremap,
    mlock = SYS_mlock,
    mincore = SYS_mincore,
    memfd_create = SYS_memfd_create,
];

/// What the broker does beside living: the kernel's objects, sockets, devices.
const BROKERAGE: &[Call] = calls![
    bpf = SYS_bpf,
    socket = SYS_socket,
    bind = SYS_bind,
    getsockname = SYS_getsockname,
    getsockopt = SYS_getsockopt,
    setsockopt = SYS_setsockopt,
    sendmsg = SYS_sendmsg,
    recvmsg = SYS_recvmsg,
    sendto = SYS_sendto,
    recvfrom = SYS_recvfrom,
    poll = SYS_poll,
    clock_nanosleep = SYS_clock_nanosleep,
    mmap = SYS_mmap when NO_EXEC,
    mremap = SYS_mremap,
    uname = SYS_uname,
];

/// Calls that the C library tries first and can do without: `clone3` hides its flags in memory, where no filter
/// sees them, so threads are made by `clone`.
const UNSEEN: &[Call] = calls![clone3 = SYS_clone3];

/// What a panic with a backtrace tries, to find names for addresses; the message itself comes without.
const BACKTRACE: &[Call] = calls![
    openat = SYS_openat,
    getcwd = SYS_getcwd,
    statx = SYS_statx,
    fstat = SYS_fstat,
    newfstatat = SYS_newfstatat,
    readlinkat = SYS_readlinkat,
];

/// Calls whose names are wanted for last words only: what an attacker would try first.
const NOTORIOUS: &[Call] = calls![
    execve = SYS_execve,
    execveat = SYS_execveat,
    ptrace = SYS_ptrace,
    process_vm_readv = SYS_process_vm_readv,
    process_vm_writev = SYS_process_vm_writev,
    mount = SYS_mount,
    umount2 = SYS_umount2,
    pivot_root = SYS_pivot_root,
    chroot = SYS_chroot,
    setns = SYS_setns,
    unshare = SYS_unshare,
    perf_event_open = SYS_perf_event_open,
    io_uring_setup = SYS_io_uring_setup,
    userfaultfd = SYS_userfaultfd,
    keyctl = SYS_keyctl,
    init_module = SYS_init_module,
    finit_module = SYS_finit_module,
    kexec_load = SYS_kexec_load,
    reboot = SYS_reboot,
    setuid = SYS_setuid,
    setresuid = SYS_setresuid,
    open_by_handle_at = SYS_open_by_handle_at,
    personality = SYS_personality,
];

const WORKER: &[&[Call]] = &[LIFE, TURN];
const CONTROL: &[&[Call]] = &[LIFE, PATHS, STATE, OLD, SOCKETS, WAITING, THREADS, MEMORY];
const BROKER: &[&[Call]] = &[LIFE, PATHS, OLD_READING, BROKERAGE];

/// Of the old forms, those that only look.
#[cfg(target_arch = "x86_64")]
const OLD_READING: &[Call] = calls![open = SYS_open, stat = SYS_stat, readlink = SYS_readlink];
#[cfg(not(target_arch = "x86_64"))]
const OLD_READING: &[Call] = &[];

impl Role {
    /// All of them.
    pub const ALL: [Role; 3] = [Role::Worker, Role::Control, Role::Broker];

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Worker => "worker",
            Role::Control => "control",
            Role::Broker => "broker",
        }
    }

    /// What it may call.
    pub(super) const fn calls(self) -> &'static [&'static [Call]] {
        match self {
            Role::Worker => WORKER,
            Role::Control => CONTROL,
            Role::Broker => BROKER,
        }
    }

    /// What answers "no such call" instead of ending the process.
    ///
    /// Each is something that code of ours can do without.
    pub(super) const fn softly(self) -> &'static [&'static [Call]] {
        match self {
            Role::Worker => &[BACKTRACE, OLD_READING],
            Role::Control => &[UNSEEN],
            Role::Broker => &[],
        }
    }
}

/// The name of a call by its number, as far as one of the lists has it.
pub(super) fn name_of(number: i64) -> &'static str {
    let lists =
        [NOTORIOUS, UNSEEN].into_iter().chain([BROKER, CONTROL, WORKER].into_iter().flatten().copied());
    let found = lists.flatten().find(|call| call.number == number);
    found.map_or("see ausyscall, or asm/unistd_64.h", |call| call.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_not_undone_by_another_list() {
        for role in Role::ALL {
            let all: Vec<_> = role.calls().iter().copied().flatten().collect();
            for call in all.iter().filter(|call| !call.when.is_empty()) {
                let free = all.iter().any(|other| other.number == call.number && other.when.is_empty());
                assert!(!free, "{}: {} is allowed in every form by another list", role.name(), call.name);
            }
        }
    }

    #[test]
    fn no_thread_may_do_what_none_of_ours_does() {
        for role in Role::ALL {
            for call in role.calls().iter().copied().flatten() {
                let bad = NOTORIOUS.iter().any(|bad| bad.number == call.number);
                assert!(!bad, "{} may call {}", role.name(), call.name);
            }
        }
    }
}
