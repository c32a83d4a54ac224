//! What the daemon may do, and how it comes to do less.
//!
//! The order of a start, of which each step leaves the next one fewer rights:
//!
//! 1. [`Access::start`]: the broker, as another process, before there is any thread;
//! 2. the configuration and objects are read, the control socket is bound, folders are made;
//! 3. [`settle`]: another user, and the sandbox of everything but the broker, still on the only thread;
//! 4. ports are opened, by what the broker hands over; threads start, and inherit the sandbox;
//! 5. [`settle_worker`]: each worker gives up the rest.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;

use weir_engine::config::Config;
use weir_io::afxdp::{Attached, Direct, Kernel, KernelError, Mode, Punt};
use weir_io::broker::{Client, SpawnError};
use weir_sys::sandbox::{self, Files, Keep, Plan, Report, Role, UserError};

/// Whether processes and threads are confined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confinement {
    /// As far as this kernel can.
    Sandboxed,
    /// Not at all, by the user's own word (`--no-sandbox`).
    Open,
}

/// The kernel's side of ports, as this process can have it.
#[derive(Debug)]
pub enum Access {
    /// By the broker, which keeps the privileges.
    Broker(Client),
    /// By this process, which has none to give away: captures and memory need none, and devices will be refused.
    Direct(Direct),
}

impl Access {
    /// Starts the broker, when this process has something to give it. To be called before anything else.
    pub fn start(confinement: Confinement) -> Result<Access, SpawnError> {
        match sandbox::may_network() {
            true => Client::spawn(&mut broker(Path::new("/proc/self/exe"), confinement)).map(Access::Broker),
            false => Ok(Access::Direct(Direct::new())),
        }
    }

    /// Whether the broker has ended. Then devices are as they were found, and no packet comes any more; the daemon
    /// had better end too, for it may not start another.
    pub fn is_gone(&self) -> bool {
        match self {
            Access::Broker(client) => client.is_gone(),
            Access::Direct(_) => false,
        }
    }

    fn kernel(&self) -> &dyn Kernel {
        match self {
            Access::Broker(client) => client,
            Access::Direct(direct) => direct,
        }
    }
}

/// The command that is the broker. It inherits nothing of our surroundings: neither the service manager's socket
/// nor anything a user has set.
fn broker(program: &Path, confinement: Confinement) -> Command {
    let mut command = Command::new(program);
    command.env_clear().arg("broker").current_dir("/");
    if confinement == Confinement::Open {
        command.arg("--no-sandbox");
    }
    command
}

impl Kernel for Access {
    fn attach(&self, device: &str, punt: &Punt, mode: Option<Mode>) -> Result<Attached, KernelError> {
        self.kernel().attach(device, punt, mode)
    }

    fn socket(&self) -> Result<OwnedFd, KernelError> {
        self.kernel().socket()
    }

    fn install(&self, device: &str, queue: u32, socket: BorrowedFd<'_>) -> Result<(), KernelError> {
        self.kernel().install(device, queue, socket)
    }

    fn remove(&self, device: &str, queue: u32) -> Result<(), KernelError> {
        self.kernel().remove(device, queue)
    }

    fn punt(&self, device: &str, punt: &Punt) -> Result<(), KernelError> {
        self.kernel().punt(device, punt)
    }

    fn detach(&self, device: &str) -> Result<(), KernelError> {
        self.kernel().detach(device)
    }

    fn tap(&self, name: &str, mac: [u8; 6], mtu: u32) -> Result<OwnedFd, KernelError> {
        self.kernel().tap(name, mac, mtu)
    }

    fn lead(&self, tap: &str, device: &str) -> Result<(), KernelError> {
        self.kernel().lead(tap, device)
    }

    fn resolve(&self, ifindex: u32, address: IpAddr) -> Result<(), KernelError> {
        self.kernel().resolve(ifindex, address)
    }
}

/// What [`settle`] came to, for the log.
#[derive(Debug)]
pub struct Settled {
    /// The user that this process became.
    pub user: Option<String>,
    /// What the sandbox holds; `None` when it is off.
    pub report: Option<Report>,
}

/// Why the daemon does not run with fewer rights, as it was told to.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    /// The user of `[daemon] user`.
    #[error(transparent)]
    User(#[from] UserError),
    /// A folder that this user needs cannot be given to it.
    #[error("{}: cannot give it to user `{user}`: {source}", .path.display())]
    Give {
        /// The folder.
        path: PathBuf,
        /// The user.
        user: String,
        /// What the kernel answered.
        source: io::Error,
    },
}

/// Becomes `[daemon] user`, when it is set and we are root, and enters the sandbox. On the first thread, while it is
/// the only one; after the control socket is bound and the configuration's objects are read.
pub fn settle(config: &Config, confinement: Confinement) -> Result<Settled, SettleError> {
    // Frames are pinned memory, also those of a port that is opened again later.
    weir_sys::limits::raise_locked_memory();
    let files = files(config);
    let user = become_user(config)?;
    let report = (confinement == Confinement::Sandboxed)
        .then(|| sandbox::enter(&Plan { keep: Keep::LockedMemory, files, ..Plan::new(Role::Control) }));
    Ok(Settled { user, report })
}

/// What each worker does first: it gives up all that the daemon's other threads still have.
pub fn settle_worker(confinement: Confinement) -> Option<Report> {
    (confinement == Confinement::Sandboxed).then(|| sandbox::enter(&Plan::new(Role::Worker)))
}

fn become_user(config: &Config) -> Result<Option<String>, SettleError> {
    let Some(name) = config.daemon.user.as_deref().filter(|_| sandbox::is_root()) else { return Ok(None) };
    let user = sandbox::User::find(name)?;
    for path in own_folders(config).into_iter().filter(|path| path.exists()) {
        std::os::unix::fs::chown(&path, Some(user.uid), Some(user.gid))
            .map_err(|source| SettleError::Give { path, user: user.name.clone(), source })?;
    }
    sandbox::switch_to(&user)?;
    Ok(Some(user.name))
}

/// Folders that are weir's own: its state. The socket's folder may be anybody's (`/tmp`), and stays whose it is.
fn own_folders(config: &Config) -> Vec<PathBuf> {
    config.daemon.state_dir.iter().map(|path| config.resolve(path)).collect()
}

/// What the daemon still opens while it runs.
fn files(config: &Config) -> Files {
    let known =
        ["/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/localtime", "/proc/self", "/proc/meminfo"];
    let seen =
        ["/proc/sys/net", "/proc/sys/vm", "/sys/class/net", "/sys/devices", "/sys/kernel/mm/hugepages"];
    let mut read: BTreeSet<PathBuf> = known.into_iter().chain(seen).map(PathBuf::from).collect();
    read.insert(config.folder.clone());
    let objects = config.program.iter().map(|entry| &entry.object);
    let captures = config.interface.values().flat_map(|interface| &interface.file);
    read.extend(objects.chain(captures).filter_map(|path| folder(config, path)));

    let mut write: BTreeSet<PathBuf> = own_folders(config).into_iter().collect();
    let recordings = config.interface.values().filter_map(|interface| interface.write.as_ref());
    let socket = std::iter::once(&config.daemon.socket);
    write.extend(recordings.chain(socket).filter_map(|path| folder(config, path)));

    let listen = config.daemon.metrics.map(|address| address.port()).into_iter().collect();
    Files { read: read.into_iter().collect(), write: write.into_iter().collect(), listen }
}

/// Where a file of the configuration lies. A relative path's last resort is the folder that weir runs in.
fn folder(config: &Config, path: &Path) -> Option<PathBuf> {
    let whole = config.resolve(path);
    let parent = whole.parent()?;
    Some(if parent.as_os_str().is_empty() { PathBuf::from(".") } else { parent.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"
        version = 1
        [daemon]
        socket = "/run/weir/weir.sock"
        state_dir = "/var/lib/weir"
        metrics = "127.0.0.1:9477"
        [interface.a]
        driver = "pcap"
        file = ["/captures/in.pcap"]
        write = "/recordings/out.pcapng"
        [[program]]
        name = "p"
        object = "objects/p.o"
        attach = { hook = "xdp", interface = "a" }
    "#;

    #[test]
    fn paths_of_the_configuration_stay_open_and_no_other() {
        let config = Config::parse(Path::new("/etc/weir/weir.toml"), CONFIG).unwrap();
        let files = files(&config);
        let has = |list: &[PathBuf], path: &str| list.contains(&PathBuf::from(path));
        for path in ["/etc/weir", "/etc/weir/objects", "/captures"] {
            assert!(has(&files.read, path), "{path}: {:?}", files.read);
        }
        let write = ["/recordings", "/run/weir", "/var/lib/weir"].map(PathBuf::from);
        assert_eq!(files.write, write);
        assert_eq!(files.listen, [9477]);
        assert!(!has(&files.read, "/etc") && !has(&files.read, "/"));
    }

    #[test]
    fn the_broker_inherits_nothing() {
        let command = broker(Path::new("/bin/weir"), Confinement::Open);
        let arguments: Vec<_> = command.get_args().collect();
        assert_eq!(arguments, ["broker", "--no-sandbox"]);
        assert_eq!(command.get_envs().count(), 0);
    }
}
