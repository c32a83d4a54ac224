//! What the thread does: it listens, looks, compares, asks.

use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use weir_router::sync::{Reading, Snapshot, read};
use weir_router::{Change, NeighbourState, RouteKey};
use weir_sys::netlink::{Dump, Heard, Netlink, ROUTING_GROUPS};

use super::{FollowError, Meter, News, Setup};
use crate::host::Wanted;
use crate::routes::live::Live;

/// How long it listens before it looks at something else: what workers want waits so long at most.
const LISTEN: Duration = Duration::from_millis(5);
/// How long a part of a dump may take.
const DUMP: Duration = Duration::from_secs(5);
/// So many changes are made at once at most.
const BATCH: usize = 4096;
/// How long after the kernel may have taken routes away they are looked at: more of the same often follows.
const SETTLE: Duration = Duration::from_millis(50);
/// How long after a dump that did not work the next is tried.
const RETRY: Duration = Duration::from_millis(200);
/// How often neighbours that packets go to are used in the kernel's eyes as well.
const REFRESH: Duration = Duration::from_secs(5);
/// So many of them at a time.
const REFRESH_MAX: usize = 256;

/// One socket that hears and one that asks.
struct Ears {
    listen: Netlink,
    ask: Netlink,
}

impl Ears {
    fn open() -> io::Result<Self> {
        // Listening begins before the first dump, so that nothing falls in between.
        let listen = Netlink::open(ROUTING_GROUPS)?;
        listen.set_patience(LISTEN)?;
        let ask = Netlink::open(&[])?;
        ask.set_patience(DUMP)?;
        Ok(Self { listen, ask })
    }
}

/// What the thread has.
pub(super) struct Keeper {
    routes: Arc<Live>,
    setup: Setup,
    ears: Option<Ears>,
    meter: Meter,
    /// When the kernel's tables are to be looked at, and why.
    look_at: Option<(Instant, &'static str)>,
    verify_at: Instant,
    refresh_at: Instant,
    /// The machine's own addresses as they were last told.
    own: Vec<IpAddr>,
    /// IPv4 routes of which the kernel has several with one key. Only the first is followed; when one of them goes, the
    /// kernel must be asked which is first.
    doubled: HashSet<RouteKey>,
}

impl Keeper {
    /// Makes the tables those of the kernel, when they are to follow it.
    pub(super) fn new(routes: Arc<Live>, setup: Setup, meter: Meter) -> Result<Self, FollowError> {
        let ears = match &setup.follow {
            Some(_) => Some(Ears::open()?),
            None => None,
        };
        let (verify_at, refresh_at) = (meter.start + setup.verify_every, meter.start + REFRESH);
        let mut keeper = Self {
            routes,
            setup,
            ears,
            meter,
            look_at: None,
            verify_at,
            refresh_at,
            own: Vec::new(),
            doubled: HashSet::new(),
        };
        if keeper.ears.is_some() {
            match keeper.resync("started") {
                // Somebody changes the kernel's routes all the time: then a moment later.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    keeper.look_soon(RETRY, "started");
                }
                other => other?,
            }
        }
        Ok(keeper)
    }

    /// Listens for a little while, and does what is due.
    pub(super) fn step(&mut self) {
        if let Err(error) = self.listen() {
            (self.setup.tell)(News::Deaf { reason: error.to_string() });
            std::thread::sleep(RETRY);
            self.ears = Ears::open().ok();
            self.look_soon(RETRY, "the kernel was not heard for a while");
        }
        self.resolve();
        let now = Instant::now();
        if let Some((at, reason)) = self.look_at
            && now >= at
        {
            self.look_at = None;
            if self.resync(reason).is_err() {
                self.look_soon(RETRY, reason);
            }
        }
        if now >= self.verify_at {
            self.verify_at = now + self.setup.verify_every;
            if self.ears.is_some() && self.verify().is_err() {
                self.look_soon(RETRY, "a comparison did not come to its end");
            }
        }
        if now >= self.refresh_at {
            self.refresh_at = now + REFRESH;
            self.refresh();
        }
    }

    fn look_soon(&mut self, after: Duration, reason: &'static str) {
        if self.setup.follow.is_some() {
            self.look_at.get_or_insert((Instant::now() + after, reason));
        }
    }

    /// Hears what there is to hear, and makes it so.
    fn listen(&mut self) -> io::Result<()> {
        if self.ears.is_none() {
            if self.setup.follow.is_some() {
                return Err(io::Error::from(io::ErrorKind::NotConnected));
            }
            std::thread::sleep(LISTEN);
            return Ok(());
        }
        let reading = self.hear(false)?;
        self.make(reading.changes);
        Ok(())
    }

    /// Reads notifications until there are no more or enough.
    fn hear(&mut self, now: bool) -> io::Result<Reading> {
        let mut reading = Reading::default();
        let (Some(ears), Some(filter)) = (&mut self.ears, &self.setup.follow) else { return Ok(reading) };
        let mut heard = if now { ears.listen.receive_now()? } else { ears.listen.receive()? };
        let overrun = loop {
            match heard {
                Heard::Messages(len) => read(ears.listen.messages(len), filter, &mut reading),
                Heard::Silence => break false,
                Heard::Overrun => break true,
            }
            if reading.changes.len() >= BATCH {
                break false;
            }
            heard = ears.listen.receive_now()?;
        };
        self.meter.counts.unreadable.fetch_add(reading.skipped.unreadable, Ordering::Relaxed);
        self.meter.counts.unsupported.fetch_add(reading.skipped.unsupported, Ordering::Relaxed);
        self.meter.counts.changes.fetch_add(reading.changes.len() as u64, Ordering::Relaxed);
        self.doubled.extend(reading.doubled.iter().copied());
        let of_several = |change: &Change| match change {
            Change::Unlearn(route) => self.doubled.contains(&route.key()),
            _ => false,
        };
        if !self.doubled.is_empty() && reading.changes.iter().any(of_several) {
            self.look_soon(Duration::ZERO, "one of several routes with one key went");
        }
        if overrun {
            self.meter.counts.overruns.fetch_add(1, Ordering::Relaxed);
            self.look_at = None;
            self.look_soon(Duration::ZERO, "notifications were lost");
        } else if reading.look_again {
            self.look_soon(SETTLE, "the kernel's devices or addresses changed");
        }
        Ok(reading)
    }

    /// Makes changes. Those that must wait for a reader are made with the next ones.
    fn make(&mut self, changes: Vec<Change>) {
        let of_addresses = |change: &Change| {
            matches!(
                change,
                Change::Address(..) | Change::NoAddress(..) | Change::NoLink(_) | Change::Link(_)
            )
        };
        let moved = changes.iter().any(of_addresses);
        let _ = self.routes.change(changes);
        if moved {
            self.tell_addresses();
        }
    }

    fn tell_addresses(&mut self) {
        let own = self.routes.current().own_addresses();
        if own != self.own {
            self.own.clone_from(&own);
            (self.setup.tell)(News::Addresses(own));
        }
    }

    fn dump(&mut self) -> io::Result<Snapshot> {
        let mut snapshot = Snapshot::default();
        let (Some(ears), Some(filter)) = (&mut self.ears, &self.setup.follow) else { return Ok(snapshot) };
        for what in [Dump::Links, Dump::Addresses, Dump::Neighbours, Dump::Routes] {
            ears.ask.dump(what, |message| match message {
                Some(message) => snapshot.take(message, filter),
                None if what == Dump::Routes => snapshot.forget_routes(),
                None => {}
            })?;
        }
        Ok(snapshot)
    }

    /// Makes the tables those of the kernel.
    fn resync(&mut self, reason: &'static str) -> io::Result<()> {
        let snapshot = self.dump()?;
        // What was notified of before and during the dump is older than it or news; made after it, in order, it
        // leaves every route as its last notification says.
        let mut changes = 0;
        // Devices first: a route over one that is not known yet would sleep for a moment.
        let others = snapshot.other_differences(self.routes.current().tables());
        changes += others.len();
        self.make(others);
        let routes = snapshot.route_differences(self.routes.current().tables());
        changes += routes.len();
        self.make(routes);
        self.tell_addresses();
        self.meter.counts.resyncs.fetch_add(1, Ordering::Relaxed);
        let at = self.meter.start.elapsed().as_millis() as u64 + 1;
        self.meter.counts.resynced_ms.store(at, Ordering::Relaxed);
        (self.setup.tell)(News::Resynced { reason, changes });
        Ok(())
    }

    /// Compares the tables with the kernel's, and mends what differs. What changed while it looked is no drift.
    fn verify(&mut self) -> io::Result<()> {
        loop {
            let before = self.hear(true)?.changes;
            if before.is_empty() {
                break;
            }
            self.make(before);
        }
        let snapshot = self.dump()?;
        let meanwhile = self.hear(true)?;
        let touched: HashSet<RouteKey> = meanwhile.changes.iter().filter_map(key).collect();
        let unsure = meanwhile.look_again || self.look_at.is_some();
        self.make(meanwhile.changes);
        let current = self.routes.current();
        let mut changes = snapshot.route_differences(current.tables());
        changes.retain(|change| key(change).is_none_or(|key| !touched.contains(&key)));
        let drift = if unsure { 0 } else { changes.len() };
        drop(current);
        self.make(changes);
        self.meter.counts.comparisons.fetch_add(1, Ordering::Relaxed);
        self.meter.counts.drift.store(drift as u64, Ordering::Relaxed);
        self.meter.counts.drift_total.fetch_add(drift as u64, Ordering::Relaxed);
        if drift > 0 {
            (self.setup.tell)(News::Drift { routes: drift });
        }
        Ok(())
    }

    /// Has the kernel ask for what workers want.
    fn resolve(&self) {
        let mut asked = HashSet::new();
        while let Some(wanted) = self.setup.wants.pop() {
            if asked.insert(wanted) {
                self.ask_for(wanted, &self.meter.counts.resolved);
            }
        }
    }

    fn ask_for(&self, wanted: Wanted, counter: &AtomicU64) {
        let Some(resolve) = &self.setup.resolve else { return };
        match resolve(wanted.ifindex, wanted.address) {
            Ok(()) => counter.fetch_add(1, Ordering::Relaxed),
            Err(_) => self.meter.counts.unresolved.fetch_add(1, Ordering::Relaxed),
        };
    }

    /// Uses stale neighbours that packets go to, so that the kernel confirms them, or finds that they are gone.
    fn refresh(&self) {
        if self.setup.resolve.is_none() {
            return;
        }
        let current = self.routes.current();
        let tables = current.tables();
        let attached = |port: u32| tables.port(port).is_some_and(|port| port.attached && port.up);
        let stale: Vec<Wanted> = tables
            .neighbours()
            .take_used()
            .filter(|(port, address, known)| {
                known.state == NeighbourState::Stale && attached(*port) && !tables.is_fixed(*port, *address)
            })
            .map(|(ifindex, address, _)| Wanted { ifindex, address })
            .take(REFRESH_MAX)
            .collect();
        drop(current);
        stale.into_iter().for_each(|wanted| self.ask_for(wanted, &self.meter.counts.refreshed));
    }
}

/// The route that a change is about.
fn key(change: &Change) -> Option<RouteKey> {
    match change {
        Change::Learn(route) | Change::LearnLast(route) | Change::Unlearn(route) => Some(route.key()),
        Change::Supersede(key) => Some(*key),
        Change::Neighbour { .. }
        | Change::Link(_)
        | Change::NoLink(_)
        | Change::Address(..)
        | Change::NoAddress(..)
        | Change::Port(_)
        | Change::NoPort(_)
        | Change::Add(_)
        | Change::Remove(_)
        | Change::Fix { .. } => None,
    }
}
