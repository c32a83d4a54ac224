//! The thread that keeps the tables as the kernel's are, and has the kernel find neighbours.
//!
//! It listens to the kernel's notifications and makes changes of what it hears in batches, every few milliseconds. When
//! notifications were lost, or the kernel took routes away without a word, it dumps the kernel's tables and makes
//! up the difference. Now and then it does that without cause: what differs then is drift, counted and told.
//!
//! What the workers want to know of neighbours it asks the kernel for, and it uses those that they used: the kernel
//! sees no packet of theirs, and would let them go stale for ever (it never finds out that one is gone).

mod figures;
mod keeper;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use weir_router::sync::{Filter, protocol_number};

use self::figures::Counts;
pub use self::figures::{Figures, Meter};
use self::keeper::Keeper;
use super::live::Live;
use crate::config::KernelFib;
use crate::host::Wants;

/// Asks the kernel for a neighbour; what went wrong, in words.
pub type Resolve = Arc<dyn Fn(u32, IpAddr) -> Result<(), String> + Send + Sync>;

/// What the thread does.
pub struct Setup {
    /// Which routes are followed; `None` follows nothing, and only has neighbours found.
    pub follow: Option<Filter>,
    /// How often the tables are compared without cause.
    pub verify_every: Duration,
    /// What workers want.
    pub wants: Wants,
    /// Who asks the kernel.
    pub resolve: Option<Resolve>,
    /// Who is told of what happens.
    pub tell: Box<dyn Fn(News) + Send>,
}

/// What happens to the mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The tables were made those of the kernel.
    Resynced {
        /// Why.
        reason: &'static str,
        /// How many changes that took.
        changes: usize,
    },
    /// A comparison without cause found differences, which were mended.
    Drift {
        /// So many routes.
        routes: usize,
    },
    /// The machine's own addresses are these.
    Addresses(Vec<IpAddr>),
    /// The kernel cannot be heard for now.
    Deaf {
        /// Why.
        reason: String,
    },
}

/// Why a configuration's `kernel_fib` cannot be.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// No such table.
    #[error("router.kernel_fib: table \"{table}\": wanted \"main\", \"default\" or a number")]
    Table {
        /// As given.
        table: String,
    },
    /// No such protocol.
    #[error(
        "router.kernel_fib: there is no protocol \"{protocol}\": wanted a name of ip-route(8), such as \"bird\", \"static\", \"kernel\" or \"boot\", or a number"
    )]
    Protocol {
        /// As given.
        protocol: String,
    },
    /// The kernel cannot be asked.
    #[error("the kernel's routes cannot be read: {0}")]
    Kernel(#[from] io::Error),
}

/// Which routes a configuration wants followed.
pub fn filter(fib: &KernelFib) -> Result<Filter, FollowError> {
    let table = match fib.table.as_str() {
        "main" => weir_router::table_id::MAIN,
        "default" => weir_router::table_id::DEFAULT,
        number => number
            .parse()
            .ok()
            .filter(|table| *table != weir_router::table_id::LOCAL)
            .ok_or_else(|| FollowError::Table { table: fib.table.clone() })?,
    };
    let number =
        |name: &String| protocol_number(name).ok_or_else(|| FollowError::Protocol { protocol: name.clone() });
    Ok(Filter { table, protocols: fib.protocols.iter().map(number).collect::<Result<_, _>>()? })
}

/// The running thread. Dropped, it ends.
#[derive(Debug)]
pub struct Mirror {
    meter: Meter,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Mirror {
    /// Makes the tables those of the kernel, when they are to follow it, and goes on in a thread.
    pub fn start(routes: Arc<Live>, setup: Setup) -> Result<Self, FollowError> {
        let stop = Arc::new(AtomicBool::new(false));
        let meter = Meter { counts: Arc::new(Counts::default()), start: Instant::now() };
        let mut keeper = Keeper::new(routes, setup, meter.clone())?;
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("weir-netlink".to_owned()).spawn(move || {
            while !stopped.load(Ordering::Acquire) {
                keeper.step();
            }
        })?;
        Ok(Self { meter, stop, thread: Some(thread) })
    }

    /// What it counts, for others to read.
    pub fn meter(&self) -> Meter {
        self.meter.clone()
    }

    /// What it counted.
    pub fn figures(&self) -> Figures {
        self.meter.figures()
    }

    /// Ends the thread, and waits for it until the deadline; false when it is still at something then, after which it
    /// ends by itself.
    pub fn end(mut self, deadline: Instant) -> bool {
        self.stop.store(true, Ordering::Release);
        let Some(thread) = self.thread.take() else { return true };
        while !thread.is_finished() {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        thread.join().is_ok()
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
