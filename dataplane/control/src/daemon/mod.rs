//! `weir run`: from a configuration file to packets that flow, and to a clean end.
//!
//! One thread answers ([`crate::server`]), others work ([`Live`]). What needs privileges is asked of a [`Kernel`],
//! which the caller gives: this process's own rights, or another process that has them.

pub mod log;
mod opener;
mod signals;
mod snapshots;
mod socket;

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use weir_engine::build::{self, BuildError};
use weir_engine::live::{ChangeError, Desired, Ended, Live, StartError, StartOptions, WorkerStart};
use weir_io::afxdp::Kernel;

use crate::live::LiveBackend;
use crate::notify::Notifier;
use crate::server::audit::Audit;
use crate::server::{Policy, Server};
use opener::KernelOpener;

/// How long workers and ports may take to end.
const END: Duration = Duration::from_secs(5);
/// Threads for what is asked: quick actions, slow ones, files.
const THREADS: usize = 24;

/// What happens between reading the configuration and opening ports: giving up privileges, for instance.
pub type Settle = Box<dyn FnOnce(&weir_engine::Config) -> Result<(), String>>;

/// How to run.
pub struct Options {
    /// What only the privileged can do.
    pub kernel: Arc<dyn Kernel>,
    /// The socket, if it is not the configuration's.
    pub socket: Option<PathBuf>,
    /// A file for the audit log.
    pub audit: Option<PathBuf>,
    /// Done after the socket is bound and before ports are opened.
    pub settle: Option<Settle>,
    /// What each worker's thread does first.
    pub begin: Option<WorkerStart>,
    /// Who is told that it is ready, and that it lives.
    pub notifier: Notifier,
}

impl Options {
    /// The usual ones, with this kernel.
    pub fn new(kernel: Arc<dyn Kernel>) -> Self {
        Self { kernel, socket: None, audit: None, settle: None, begin: None, notifier: Notifier::silent() }
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
    #[error("{0}")]
    Settle(String),
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
    Ok(())
}

/// Runs until a signal ends it, and says how it ended.
pub fn run(path: &Path, options: Options) -> Result<Ended, RunError> {
    let desired = Desired::read(path)?;
    let daemon = desired.config.daemon.clone();
    weir_sys::limits::raise_descriptors();
    let policy = Policy::new(socket::own_uid(), &daemon.group, &daemon.group_read);
    let listener = socket::open(options.socket.as_deref().unwrap_or(&daemon.socket), policy.admin)?;
    let scrape = daemon.metrics.map(std::net::TcpListener::bind).transpose();
    let scrape = scrape.map_err(system("the address for metrics"))?;
    let audit = match &options.audit {
        None => Audit::log(),
        Some(path) => {
            let file = OpenOptions::new().create(true).append(true).open(path);
            file.and_then(Audit::file).map_err(system(path.display().to_string()))?
        }
    };
    let store = snapshots::open(&daemon)?;
    if let Some(settle) = options.settle {
        settle(&desired.config).map_err(RunError::Settle)?;
    }
    let opener = Arc::new(KernelOpener::new(&desired.config, options.kernel));
    let live = Live::start(desired, StartOptions { begin: options.begin, ..StartOptions::new(opener) })?;
    let keeper = snapshots::keep(store, &live, daemon.snapshot_every.0)?;
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
        signals::attend(path, &server, &live, options.notifier).await?;
        let _ = stop.send(true);
        // Those who are being answered have two seconds.
        let _ = attending.await;
        io::Result::Ok(())
    };
    let served = runtime.block_on(serving);
    runtime.shutdown_timeout(Duration::from_secs(1));
    if let Some(keeper) = keeper {
        keeper.end();
    }
    let ended = live.shutdown(END);
    drop(listener);
    served.map_err(system("the control thread"))?;
    Ok(ended)
}
