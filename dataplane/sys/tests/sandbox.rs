//! What a sandboxed thread cannot do, tried out: this program starts itself once for each act, kind of thread and
//! set of layers, and each child enters its sandbox and acts.
//!
//! For every act the table names the layers that prevent it, each by itself. All others must let it through, and so
//! must no layer at all, which is the control: an act that fails for another reason would show there.

use std::cell::RefCell;
use std::ffi::CStr;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use weir_sys::code::{Executable, Reserved, Sealed, Written};
use weir_sys::sandbox::Layer::{Calls, Capabilities, Files, WriteXorExecute};
use weir_sys::sandbox::{self, Keep, Layer, Plan, Role};

type Layers = &'static [Layer];
type Run = fn(&Stage) -> io::Result<()>;

/// What a child tries, and which layers prevent it, each by itself, in a worker, in control, in the broker.
struct Act {
    name: &'static str,
    run: Run,
    worker: Layers,
    control: Layers,
    broker: Layers,
}

/// What was opened before the sandbox was entered.
struct Stage {
    pair: UnixStream,
    _other: UnixStream,
    code: RefCell<Option<(Sealed, Reserved)>>,
    mapped: Executable,
    memory: std::fs::File,
    parent: i32,
}

const ACTS: [Act; 17] = [
    act("open /etc/shadow", open_shadow, &[Files, Calls], &[Files], &[Files]),
    act("make a file", make_file, &[Files, Calls], &[Files], &[Files]),
    act("execute a file", execute, &[Files, Calls], &[Files, Calls], &[Files, Calls]),
    act("socket(AF_PACKET)", packet_socket, &[Capabilities, Calls], &[Capabilities, Calls], &[]),
    act("bpf(2)", bpf, &[Capabilities, Calls], &[Capabilities, Calls], &[]),
    act("set an interface up", set_up, &[Capabilities, Calls], &[Capabilities], &[]),
    act("listen on a TCP port", listen, &[Files, Calls], &[Files], &[Files, Calls]),
    act(
        "mount",
        mount,
        &[Files, Capabilities, Calls],
        &[Files, Capabilities, Calls],
        &[Files, Capabilities, Calls],
    ),
    act("enter a new user namespace", namespace, &[Calls], &[Calls], &[Calls]),
    act("fork", fork, &[Calls], &[Calls], &[Calls]),
    act(
        "read another process",
        spy,
        &[Files, Capabilities, Calls],
        &[Files, Capabilities, Calls],
        &[Files, Capabilities, Calls],
    ),
    act("signal another process", signal, &[Files, Calls], &[Files], &[Files, Calls]),
    act("io_uring_setup", uring, &[Calls], &[Calls], &[Calls]),
    act(
        "map memory to write and execute",
        map_both,
        &[WriteXorExecute, Calls],
        &[WriteXorExecute],
        &[WriteXorExecute, Calls],
    ),
    act(
        "make written memory executable",
        turn_executable,
        &[WriteXorExecute, Calls],
        &[WriteXorExecute, Calls],
        &[WriteXorExecute, Calls],
    ),
    act("map code", map_code, &[Calls], &[], &[Calls]),
    act("send bytes by a socket", send, &[Calls], &[], &[]),
];

/// What nobody can do, sandbox or not: the seals of the JIT's memory files see to it.
const NEVER: [(&str, Run); 2] =
    [("overwrite code by its file", overwrite), ("overwrite code by /proc/self/mem", overwrite_memory)];

/// What threads must still be able to do.
const DUTIES: [(&str, Role, Run); 3] = [
    ("a worker's calls", Role::Worker, work),
    ("compile and run", Role::Control, compile),
    ("threads, files of its own, sockets", Role::Control, manage),
];

const fn act(name: &'static str, run: Run, worker: Layers, control: Layers, broker: Layers) -> Act {
    Act { name, run, worker, control, broker }
}

impl Act {
    fn prevented(&self, role: Role) -> Layers {
        match role {
            Role::Worker => self.worker,
            Role::Control => self.control,
            Role::Broker => self.broker,
        }
    }
}

fn answer(result: i64) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn open(path: &CStr, flags: i32) -> io::Result<()> {
    // SAFETY: a C string, and numbers.
    answer(i64::from(unsafe { libc::open(path.as_ptr(), flags, 0o600) }))
}

fn open_shadow(_: &Stage) -> io::Result<()> {
    open(c"/etc/shadow", libc::O_RDONLY)
}

fn make_file(_: &Stage) -> io::Result<()> {
    // A file without a name: nothing is left behind.
    open(c"/tmp", libc::O_TMPFILE | libc::O_WRONLY)
}

fn execute(_: &Stage) -> io::Result<()> {
    let (path, none) = (c"/bin/true", [std::ptr::null::<libc::c_char>()]);
    // SAFETY: a C string and two lists that end at once; on success this program is no more.
    answer(i64::from(unsafe { libc::execve(path.as_ptr(), none.as_ptr(), none.as_ptr()) }))
}

fn packet_socket(_: &Stage) -> io::Result<()> {
    // SAFETY: three numbers.
    answer(i64::from(unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW, 0) }))
}

fn bpf(_: &Stage) -> io::Result<()> {
    weir_sys::bpf::available().map_err(io::Error::other)
}

/// In the child's own network namespace.
fn set_up(_: &Stage) -> io::Result<()> {
    use weir_sys::device::{DeviceName, Devices};
    Devices::open()?.set_up(&DeviceName::new("lo").map_err(io::Error::other)?, true)
}

fn listen(_: &Stage) -> io::Result<()> {
    std::net::TcpListener::bind("0.0.0.0:0").map(drop)
}

/// In the child's own mount namespace.
fn mount(_: &Stage) -> io::Result<()> {
    let (kind, at) = (c"tmpfs".as_ptr(), c"/mnt".as_ptr());
    // SAFETY: C strings that live as long as the program.
    answer(i64::from(unsafe { libc::mount(kind, at, kind, 0, std::ptr::null()) }))
}

fn namespace(_: &Stage) -> io::Result<()> {
    // SAFETY: one number.
    answer(i64::from(unsafe { libc::unshare(libc::CLONE_NEWUSER) }))
}

fn fork(_: &Stage) -> io::Result<()> {
    // SAFETY: the child of this single-threaded process does nothing but end.
    match unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) } {
        // SAFETY: as above.
        0 => unsafe { libc::_exit(0) },
        pid => answer(pid),
    }
}

fn spy(stage: &Stage) -> io::Result<()> {
    let mut byte = 0_u8;
    let ours = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let theirs = libc::iovec { iov_base: std::ptr::without_provenance_mut(8), iov_len: 1 };
    // SAFETY: one part each way; the kernel writes at most the one byte.
    let read = unsafe { libc::process_vm_readv(stage.parent, &raw const ours, 1, &raw const theirs, 1, 0) };
    match answer(read as i64) {
        // Allowed to look, and nothing is there.
        Err(error) if error.raw_os_error() == Some(libc::EFAULT) => Ok(()),
        other => other,
    }
}

fn signal(stage: &Stage) -> io::Result<()> {
    // SAFETY: two numbers; signal 0 only asks.
    answer(i64::from(unsafe { libc::kill(stage.parent, 0) }))
}

fn uring(_: &Stage) -> io::Result<()> {
    let mut parameters = [0_u64; 15];
    // SAFETY: io_uring_params has 120 bytes, all zero.
    answer(unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, parameters.as_mut_ptr()) })
}

fn map(protection: i32) -> io::Result<*mut libc::c_void> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping where the kernel likes.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, flags, -1, 0) };
    if at == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(at) }
}

fn map_both(_: &Stage) -> io::Result<()> {
    map(libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC).map(|_| ())
}

fn turn_executable(_: &Stage) -> io::Result<()> {
    let at = map(libc::PROT_READ | libc::PROT_WRITE)?;
    // SAFETY: the mapping just made, which nothing else uses.
    answer(i64::from(unsafe { libc::mprotect(at, 4096, libc::PROT_READ | libc::PROT_EXEC) }))
}

/// `mov eax, 42; ret`.
const CODE: [u8; 6] = [0xb8, 42, 0, 0, 0, 0xc3];

fn run_code(code: &Executable) -> io::Result<()> {
    // SAFETY: the bytes are CODE, a whole C function without arguments.
    let function: extern "C" fn() -> u32 = unsafe { std::mem::transmute(code.at(0)) };
    match function() {
        42 => Ok(()),
        other => Err(io::Error::other(format!("the code answers {other}"))),
    }
}

fn map_code(stage: &Stage) -> io::Result<()> {
    let (sealed, place) = stage.code.take().ok_or_else(|| io::Error::other("no code"))?;
    run_code(&sealed.map(place).map_err(io::Error::other)?)
}

fn send(stage: &Stage) -> io::Result<()> {
    // SAFETY: two bytes of a constant.
    let sent =
        unsafe { libc::sendto(stage.pair.as_raw_fd(), b"hi".as_ptr().cast(), 2, 0, std::ptr::null(), 0) };
    answer(sent as i64)
}

fn overwrite(stage: &Stage) -> io::Result<()> {
    let code = stage.code.borrow();
    let (sealed, _) = code.as_ref().ok_or_else(|| io::Error::other("no code"))?;
    sealed.file().write_at(&[0x90], 0).map(|_| ())
}

fn overwrite_memory(stage: &Stage) -> io::Result<()> {
    stage.memory.write_at(&[0x90], stage.mapped.address() as u64).map(|_| ())
}

fn work(stage: &Stage) -> io::Result<()> {
    let fd = stage.pair.as_raw_fd();
    for _ in 0..3 {
        weir_sys::device::readable(std::os::fd::AsFd::as_fd(&stage.pair), 1)?;
        // SAFETY: no bytes either way, as AF_XDP sockets are woken; then at most `len` bytes into `lost`.
        unsafe {
            libc::sendto(fd, std::ptr::null(), 0, libc::MSG_DONTWAIT, std::ptr::null(), 0);
            let nobody = std::ptr::null_mut();
            libc::recvfrom(fd, std::ptr::null_mut(), 0, libc::MSG_DONTWAIT, nobody, std::ptr::null_mut());
            // As an AF_XDP socket is asked what it lost; this one is none, and says so.
            let (mut lost, mut len) = ([0u8; 48], 48);
            let at = lost.as_mut_ptr().cast();
            libc::getsockopt(fd, libc::SOL_XDP, libc::XDP_STATISTICS, at, &mut len);
        }
        std::thread::sleep(std::time::Duration::from_micros(10));
        std::thread::yield_now();
        let _ = std::time::Instant::now();
        let seeds: std::collections::HashMap<u32, Vec<u8>> = (0..64).map(|n| (n, vec![1; 100_000])).collect();
        drop(seeds);
    }
    // A panic is written to standard error, and told to who joins.
    let caught = std::panic::catch_unwind(|| panic!("a worker's panic, meant"));
    caught.err().map(drop).ok_or_else(|| io::Error::other("no panic"))
}

fn compile(_: &Stage) -> io::Result<()> {
    let place = Reserved::near(compile as *const () as usize, CODE.len()).map_err(io::Error::other)?;
    let code = Written::new(&CODE).and_then(Written::seal).and_then(|sealed| sealed.map(place));
    run_code(&code.map_err(io::Error::other)?)
}

fn manage(_: &Stage) -> io::Result<()> {
    let folder = state_folder();
    std::fs::write(folder.join("new"), b"state")?;
    std::fs::rename(folder.join("new"), folder.join("now"))?;
    std::fs::File::open(&folder)?.sync_all()?;
    assert_eq!(std::fs::read(folder.join("now"))?, b"state");
    std::fs::remove_file(folder.join("now"))?;
    let listener = std::os::unix::net::UnixListener::bind(folder.join("sock"))?;
    let client = UnixStream::connect(folder.join("sock"))?;
    drop((listener.accept()?, client));
    std::fs::remove_file(folder.join("sock"))?;
    let thread = std::thread::Builder::new().name("worker-0".to_owned()).spawn(|| {
        let report = sandbox::enter(&Plan::new(Role::Worker));
        (report.calls, std::thread::current().name().map(str::len))
    })?;
    let (calls, _) = thread.join().map_err(|_| io::Error::other("the worker died"))?;
    calls.map(drop).ok_or_else(|| io::Error::other("the worker has no filter"))
}

/// Where the parent keeps a folder for its children, and takes it away.
const STATE: &str = "WEIR_SANDBOX_STATE";

fn state_folder() -> PathBuf {
    std::env::var_os(STATE).map(PathBuf::from).unwrap_or_default()
}

/// The child: sets its stage, enters the sandbox, acts. Exit code 0: done; 1: an error, on standard output.
fn child(role: &str, layers: &str, act: &str) -> io::Result<()> {
    let role = Role::ALL.into_iter().find(|known| known.name() == role).ok_or(io::ErrorKind::NotFound)?;
    let layers: Vec<_> =
        Layer::ALL.into_iter().filter(|layer| layers.split(',').any(|name| name == layer.name())).collect();
    // SAFETY: this process has one thread; it leaves the namespaces that the others live in.
    answer(i64::from(unsafe { libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS) }))?;
    let sealed = || Written::new(&CODE).and_then(Written::seal).map_err(io::Error::other);
    let place = || Reserved::near(child as *const () as usize, 4096).map_err(io::Error::other);
    let (pair, other) = UnixStream::pair()?;
    let stage = Stage {
        pair,
        _other: other,
        code: RefCell::new(Some((sealed()?, place()?))),
        mapped: sealed()?.map(place()?).map_err(io::Error::other)?,
        memory: std::fs::File::options().read(true).write(true).open("/proc/self/mem")?,
        parent: std::os::unix::process::parent_id() as i32,
    };
    let files = sandbox::Files { write: vec![state_folder()], ..sandbox::Files::default() };
    let keep = if role == Role::Broker { Keep::Network } else { Keep::Nothing };
    let report = sandbox::enter(&Plan { layers: &layers, keep, files, ..Plan::new(role) });
    for shortcoming in report.shortcomings() {
        eprintln!("shortcoming: {shortcoming}");
    }
    println!("{report}");
    let acts = ACTS.iter().map(|act| (act.name, act.run)).chain(NEVER);
    let mut known = acts.chain(DUTIES.into_iter().map(|(name, _, run)| (name, run)));
    let (_, run) = known.find(|(name, _)| *name == act).ok_or(io::ErrorKind::NotFound)?;
    run(&stage)
}

/// What a child's act came to, and its first line.
fn attempt(role: Role, layers: &[Layer], act: &str) -> (Outcome, String, String) {
    let folder = tempfile::tempdir().expect("a writable temporary directory");
    let names: Vec<_> = layers.iter().map(|layer| layer.name()).collect();
    let program = std::env::current_exe().expect("a program knows its path");
    let child = Command::new(program)
        .args(["act", role.name(), &names.join(","), act])
        .env(STATE, folder.path())
        .output()
        .expect("a child starts");
    let report = String::from_utf8_lossy(&child.stdout).lines().next().unwrap_or_default().to_owned();
    let words = String::from_utf8_lossy(&child.stderr).into_owned();
    let outcome = match child.status.code() {
        Some(0) => Outcome::Done,
        Some(159) => Outcome::Ended,
        _ => Outcome::Refused,
    };
    (outcome, report, words)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Done,
    Refused,
    Ended,
}

fn check_act(act: &Act, role: Role, failures: &mut Vec<String>) {
    let mut expect = |layers: &[Layer], done: bool| {
        let (outcome, _, words) = attempt(role, layers, act.name);
        if (outcome == Outcome::Done) != done {
            let names: Vec<_> = layers.iter().map(|layer| layer.name()).collect();
            failures.push(format!("{}: {} with {names:?}: {outcome:?}\n{words}", role.name(), act.name));
        }
        // Seccomp's deaths say what happened.
        let told =
            words.contains("which its sandbox forbids") && words.contains(&format!("`{}`", role.name()));
        if outcome == Outcome::Ended && !told {
            failures.push(format!("{}: {} ended without words: {words}", role.name(), act.name));
        }
    };
    expect(&[], true);
    for layer in Layer::ALL {
        expect(&[layer], !act.prevented(role).contains(&layer));
    }
    expect(&Layer::ALL, act.prevented(role).is_empty());
    // The control: without the layers that prevent it, all the others do not.
    let others: Vec<_> =
        Layer::ALL.into_iter().filter(|layer| !act.prevented(role).contains(layer)).collect();
    expect(&others, true);
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().collect();
    if let [_, word, role, layers, act] = &arguments[..]
        && word == "act"
    {
        let done = child(role, layers, act);
        return match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        };
    }
    if arguments.iter().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    // SAFETY: geteuid takes nothing and always succeeds.
    if unsafe { libc::geteuid() } != 0 {
        println!("sandbox: skipped: the acts need root, or they would fail without a sandbox");
        return ExitCode::SUCCESS;
    }
    let mut failures = Vec::new();
    for role in Role::ALL {
        for act in &ACTS {
            check_act(act, role, &mut failures);
        }
        for (name, _) in NEVER {
            if attempt(role, &[], name).0 != Outcome::Refused {
                failures.push(format!("{name} is possible"));
            }
        }
    }
    for (name, role, _) in DUTIES {
        let (outcome, report, words) = attempt(role, &Layer::ALL, name);
        if outcome != Outcome::Done || words.contains("shortcoming") {
            failures.push(format!("{}: {name}: {outcome:?}\n{words}", role.name()));
        }
        println!("{report}");
    }
    println!("{}", attempt(Role::Broker, &Layer::ALL, "bpf(2)").1);
    println!("{} acts by {} kinds of threads; {} surprises", ACTS.len(), Role::ALL.len(), failures.len());
    for failure in &failures {
        println!("{failure}");
    }
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
