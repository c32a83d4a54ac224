//! `weir run`: from a configuration file to packets that flow, and to a clean end.
//!
//! One thread answers ([`crate::server`]), others work ([`Live`]). What needs privileges is asked of
//! [`Access`], so that this process gives up its own ([`privileges`](crate::privileges)) before a port is open.

pub mod log;
mod signals;
mod socket;

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use weir_engine::build::{self, BuildError};
use weir_engine::live::{ChangeError, Desired, Ended, Live, StartError, StartOptions, WorkerStart};
use weir_engine::routes::mirror::{self, Resolve};
use weir_io::afxdp::Kernel as _;

use crate::devices::Devices;
use crate::live::LiveBackend;
use crate::notify::Notifier;
use crate::privileges::{self, Access, Confinement, SettleError, Settled};
use crate::server::audit::Audit;
use crate::server::{Policy, Server};
use crate::urgency::{PREFERRED, share, usually};
use signals::Why;

/// How long workers and ports may take to end.
const END: Duration = Duration::from_secs(5);
/// Descriptors that are there from the start: for every client and for the rest.
const DESCRIPTORS: u32 = 4096;
/// Free memory that the allocator keeps.
const KEPT: i32 = 128 << 20;
/// Threads for what is asked: quick actions, slow ones, files.
const THREADS: usize = 24;

/// How to run.
pub struct Options {
    /// Who does what only the privileged can.
    pub access: Arc<Access>,
    /// Whether rights are given up.
    pub confinement: Confinement,
    /// The socket, if it is not the configuration's.
    pub socket: Option<PathBuf>,
    /// A file for the audit log.
    pub audit: Option<PathBuf>,
    /// Who is told that it is ready, and that it lives.
    pub notifier: Notifier,
}

impl Options {
    /// The usual ones, with this access to the kernel.
    pub fn new(access: Access, confinement: Confinement) -> Self {
        let access = Arc::new(access);
        Self { access, confinement, socket: None, audit: None, notifier: Notifier::silent() }
    }
}

/// Why it does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration, or what it names, is refused.
    #[error(transparent)]
    Config(#[from] ChangeError),
    /// It makes no generation.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// It cannot start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Something else is where the socket should be, or it cannot be made.
    #[error("{}: {text}", path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// What is wrong, and what to do.
        text: String,
    },
    /// Privileges could not be given up.
    #[error(transparent)]
    Settle(#[from] SettleError),
    /// The process that keeps the privileges has ended, and devices were given back.
    #[error("the broker has ended: devices are as they were found, and no packet comes any more")]
    BrokerGone,
    /// The system does not give what is needed.
    #[error("{what}: {source}")]
    System {
        /// What for.
        what: String,
        /// Why not.
        source: io::Error,
    },
}

fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> RunError {
    let what = what.into();
    |source| RunError::System { what, source }
}

/// Says whether a configuration would run, as far as that can be said without opening anything.
pub fn check(path: &Path) -> Result<(), RunError> {
    let desired = Desired::read(path)?;
    let options = build::Options { objects: Some(&desired.objects), workers: 1, ..build::Options::default() };
    build::build_with(&desired.config, &options)?;
    if let Some(fib) = &desired.config.router.kernel_fib {
        mirror::filter(fib).map_err(StartError::from)?;
    }
    Ok(())
}

/// Runs until a signal ends it, and says how it ended.
pub fn run(path: &Path, options: Options) -> Result<Ended, RunError> {
    let desired = Desired::read(path)?;
    let daemon = desired.config.daemon.clone();
    weir_sys::limits::raise_descriptors();
    if let Err(error) = weir_sys::limits::reserve_descriptors(DESCRIPTORS) {
        tracing::warn!(%error, "there are descriptors for fewer clients than there is room for");
    }
    weir_sys::limits::keep_heap(KEPT);
    // While there is the right to: this thread is the one that answers. Those that do other work take less.
    share(PREFERRED);
    let policy = Policy::new(socket::own_uid(), &daemon.group, &daemon.group_read);
    let listener = socket::open(options.socket.as_deref().unwrap_or(&daemon.socket), policy.admin)?;
    let scrape = daemon.metrics.map(std::net::TcpListener::bind).transpose();
    let scrape = scrape.map_err(system("the address for metrics"))?;
    let audit = options.audit.as_deref().map(audit_file).transpose()?;
    settle(&desired.config, options.confinement)?;
    let audit =
        audit.map_or(Ok(Audit::log()), Audit::file).map_err(system("the thread for the audit file"))?;
    let devices = Devices::new(&desired.config, Arc::clone(&options.access) as _);
    let begin = Some(begin(options.confinement));
    let resolve = Some(resolve(&options.access));
    let start = StartOptions { begin, resolve, ..StartOptions::new(devices) };
    let started = usually(|| Live::start(desired, start));
    let live = started.map_err(system("a thread to start with"))??;
    for note in live.restoration().notes.iter() {
        tracing::warn!("{note}");
    }
    let backend = LiveBackend::new(Arc::clone(&live));
    let (stop, stopped) = watch::channel(false);
    let server = Server::new(backend, policy, audit, stopped);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(THREADS)
        .thread_name("weir-control")
        .build()
        .map_err(system("the control thread"))?;
    let serving = async {
        if let Some(scrape) = scrape {
            scrape.set_nonblocking(true)?;
            tokio::spawn(server.clone().tcp(tokio::net::TcpListener::from_std(scrape)?));
        }
        let attending = tokio::spawn(server.clone().unix(listener.listen()?));
        let attended = signals::attend(path, &server, &live, &options.access, options.notifier).await;
        let _ = stop.send(true);
        // Those who are being answered have two seconds.
        let _ = attending.await;
        attended
    };
    let served = runtime.block_on(serving);
    runtime.shutdown_timeout(Duration::from_secs(1));
    let ended = live.shutdown(END);
    drop(listener);
    match served.map_err(system("the control thread"))? {
        Why::Asked => Ok(ended),
        Why::BrokerGone => Err(RunError::BrokerGone),
    }
}

/// The audit log's file, to be opened while there is the right to; its thread comes later, and has none.
fn audit_file(path: &Path) -> Result<File, RunError> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.map_err(system(path.display().to_string()))
}

/// Gives up what the daemon needs no more, and says so.
fn settle(config: &weir_engine::Config, confinement: Confinement) -> Result<(), RunError> {
    let Settled { user, report } = privileges::settle(config, confinement)?;
    let user = user.unwrap_or_else(|| "the same".to_owned());
    match report {
        Some(report) => tracing::info!(user, "{report}"),
        None => tracing::warn!(user, "there is no sandbox, as asked: this process keeps every right it has"),
    }
    Ok(())
}

/// Has the kernel find out who has an address that packets are to go to.
fn resolve(access: &Arc<Access>) -> Resolve {
    let access = Arc::clone(access);
    Arc::new(move |ifindex, address| access.resolve(ifindex, address).map_err(|error| error.to_string()))
}

/// What each worker does first.
fn begin(confinement: Confinement) -> WorkerStart {
    Arc::new(move |worker| {
        if let Some(report) = privileges::settle_worker(confinement) {
            tracing::debug!(worker, "{report}");
        }
        Ok(())
    })
}
