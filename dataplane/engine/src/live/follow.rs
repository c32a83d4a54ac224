//! The kernel beside the pipeline: its stack behind each port, its routes and neighbours in the tables.

use std::sync::{Arc, Weak};
use std::time::Duration;

use weir_io::Port;
use weir_router::sync::Filter;

use super::Engine;
use super::event::What;
use super::open::{OpenError, Opener};
use super::start::StartError;
use crate::config::{Config, Driver, Interface};
use crate::generation::PortPlan;
use crate::host::{Behind, Wants};
use crate::routes::mirror::{self, Mirror, News};

/// Neighbours that may be wanted at once. What does not fit is wanted again.
const WANTS_MAX: usize = 1024;
/// How often the tables are compared with the kernel's when the configuration does not say.
const VERIFY_EVERY: Duration = Duration::from_secs(60);

/// A queue for neighbours that workers want.
pub(super) fn wants() -> Wants {
    Arc::new(crossbeam_queue::ArrayQueue::new(WANTS_MAX))
}

/// What is behind a port, for each worker.
pub(super) fn behind(
    opener: &dyn Opener,
    interface: &Interface,
    plan: &PortPlan,
    workers: usize,
) -> Result<Vec<Behind>, OpenError> {
    let mut taps = opener.host(interface, plan, workers)?.into_iter();
    let without = || match interface.driver() {
        Driver::AfXdp | Driver::Tap => Behind::Nobody,
        Driver::Pcap | Driver::Null | Driver::Memory => Behind::End,
    };
    let one = |tap: Option<Box<dyn Port>>| tap.map_or_else(without, Behind::Kernel);
    Ok((0..workers).map(|_| one(taps.next())).collect())
}

/// What is behind all ports: for each worker, by port.
pub(super) fn all_behind(
    config: &Config,
    plans: &[PortPlan],
    workers: usize,
    opener: &dyn Opener,
) -> Result<Vec<Vec<Behind>>, OpenError> {
    let mut by_worker: Vec<Vec<Behind>> = (0..workers).map(|_| Vec::new()).collect();
    for plan in plans {
        let behind = behind(opener, &config.interface[&plan.name], plan, workers)?;
        by_worker.iter_mut().zip(behind).for_each(|(worker, behind)| worker.push(behind));
    }
    Ok(by_worker)
}

/// Makes the tables those of the kernel, and starts the thread that keeps them so, where the configuration has to do
/// with the kernel at all.
pub(super) fn begin(engine: &Arc<Engine>) -> Result<Option<Mirror>, StartError> {
    let current = engine.current();
    let fib = &current.config.router.kernel_fib;
    let asks = engine.options.resolve.is_some() && current.config.interface.values().any(is_of_kernel);
    if fib.is_none() && !asks {
        return Ok(None);
    }
    let follow = match fib {
        Some(fib) => mirror::filter(fib)?,
        None => Filter::host_only(),
    };
    let news = Arc::downgrade(engine);
    let setup = mirror::Setup {
        follow: Some(follow),
        verify_every: fib.as_ref().map_or(VERIFY_EVERY, |fib| fib.verify_every.0),
        wants: Arc::clone(&engine.wants),
        resolve: engine.options.resolve.clone(),
        tell: Box::new(move |told| tell(&news, told)),
    };
    let mirror = Mirror::start(Arc::clone(&engine.routes), setup)?;
    let _ = engine.mirrored.set(mirror.meter());
    Ok(Some(mirror))
}

fn is_of_kernel(interface: &Interface) -> bool {
    match interface.driver() {
        Driver::AfXdp | Driver::Tap => true,
        Driver::Pcap | Driver::Null | Driver::Memory => false,
    }
}

fn tell(engine: &Weak<Engine>, news: News) {
    let Some(engine) = engine.upgrade() else { return };
    engine.events.tell(match news {
        News::Resynced { reason, changes } => {
            What::RoutesSynced { reason: reason.to_owned(), changes: changes as u64 }
        }
        News::Drift { routes } => What::Drift { routes: routes as u64 },
        News::Deaf { reason } => What::RoutesDeaf { reason },
        News::Addresses(_) => return engine.addressed(&engine.current().config),
    });
}

impl Engine {
    /// The machine's own addresses may have changed: who opens ports is told, for what goes past weir.
    pub(super) fn addressed(&self, config: &Config) {
        let own = self.routes.current().own_addresses();
        if let Err(error) = self.options.opener.addresses(config, &own) {
            self.events.tell(What::RoutesDeaf { reason: error.to_string() });
        }
    }
}
