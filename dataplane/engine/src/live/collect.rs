//! Gathering what is counted.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use weir_io::gauges::State;
use weir_sys::clock;

use super::event::rfc3339;
use super::stats::{
    DropStats, InterfaceStats, Ledger, ProgramStats, QueueStats, RouteStats, Stats, WorkerState, WorkerStats,
};
use super::{Current, Engine, lock};
use crate::counters::{Totals, TrafficTotal, mean};
use crate::generation::{FilterMode, Forward, Generation, PortNumber, ProgramNumber};
use crate::ledger::{Account, Statement};
use crate::mailbox::{Letter, Window};
use crate::report::{self, Conservation};
use crate::routes::mirror::Meter;

impl Engine {
    pub(super) fn stats(&self) -> Stats {
        let current = self.current();
        let faults = self.faults();
        let windows: Vec<Vec<Window>> =
            self.workers.iter().map(|worker| worker.shared.windows.all()).collect();
        let ports = &current.generation.ports;
        let (statements, silent) = self.statements();
        let interface = |port| self.interface(&current, port, &windows, &statements);
        let mut totals = Totals::default();
        (0..ports.len()).for_each(|port| totals += &self.port_totals(port, &statements));
        Stats {
            schema: "weir.v1.stats",
            at: rfc3339(SystemTime::now()),
            uptime_seconds: self.started.elapsed().as_secs_f64(),
            generation: current.number,
            ready: faults.is_empty(),
            faults,
            interfaces: (0..ports.len()).map(interface).collect(),
            programs: programs(&current.generation),
            classes: report::classes(&current.generation),
            workers: self.workers.iter().enumerate().map(|(number, _)| self.worker(number)).collect(),
            queues: queues(&current, &windows),
            routes: self.route_stats(),
            conservation: Conservation::new(&totals, 0),
            ledger: Ledger { silent, ..self.ledger(&statements) },
            swaps: *lock(&self.swaps),
            snapshots: *lock(&self.snapshots),
            events_lost: self.events.lost(),
            traces_lost: 0,
        }
    }

    /// What is wrong now, in words.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults: Vec<String> = self.ports.iter().filter_map(|port| port.fault()).collect();
        for (number, worker) in self.workers.iter().enumerate() {
            match worker.health.state() {
                WorkerState::Running => {}
                WorkerState::Stalled => faults.push(format!("worker {number} is stalled")),
                WorkerState::Dead => {
                    let words = worker.health.last_words().unwrap_or_default();
                    faults.push(format!("worker {number} died: {words}"));
                }
            }
        }
        faults
    }

    /// One port over all workers. Of a worker that has died, what it had counted.
    fn port_totals(&self, port: PortNumber, statements: &[Option<Statement>]) -> Totals {
        let mut totals = Totals::default();
        for (worker, statement) in self.workers.iter().zip(statements) {
            match statement.as_ref().and_then(|statement| statement.ports.get(port)) {
                Some(stated) => totals += stated,
                None => {
                    if let Some(counters) = worker.shared.counters.get(port) {
                        counters.add_to(&mut totals);
                    }
                }
            }
        }
        totals
    }

    fn interface(
        &self,
        current: &Current,
        port: PortNumber,
        windows: &[Vec<Window>],
        statements: &[Option<Statement>],
    ) -> InterfaceStats {
        let plan = &current.generation.ports[port];
        let config = &current.config.interface[&plan.name];
        let totals = self.port_totals(port, statements);
        let watch = &self.ports[port];
        let gauges = windows.iter().filter_map(|worker| worker.get(port)?.gauges.as_ref());
        let up = gauges.clone().find(|gauges| gauges.state() == State::Up);
        let reason = watch.reason();
        InterfaceStats {
            name: plan.name.clone(),
            ifindex: plan.ifindex,
            device: config.device.clone(),
            driver: config.driver().name(),
            mac: crate::config::MacAddress(plan.mac).to_string(),
            mtu: plan.mtu,
            up: reason.is_none(),
            reason,
            mode: up.map(|gauges| gauges.way().to_string()),
            reopened: watch.reopened(),
            received: totals.received,
            transmitted: TrafficTotal { packets: totals.sent(), ..totals.transmitted },
            passed: totals.passed,
            consumed: totals.consumed,
            cloned: totals.cloned,
            originated: totals.originated,
            forwarded: totals.forwarded,
            held: totals.held,
            drops: DropStats::of(&totals),
            conservation_error: totals.port_balance(),
        }
    }

    fn worker(&self, number: usize) -> WorkerStats {
        let staff = &self.workers[number];
        let pulse = &staff.shared.pulse;
        let ticks = pulse.busy_ticks.get() as f64;
        WorkerStats {
            worker: number,
            core: staff.core,
            state: staff.health.state(),
            turns: pulse.turns.get(),
            idle_turns: pulse.idle_turns.get(),
            sleeps: pulse.sleeps.get(),
            received: staff.shared.totals().received.packets,
            busy_seconds: ticks / clock::tick_rate().per_ns / 1e9,
            batches: std::array::from_fn(|at| pulse.batches[at].get()),
            free: pulse.free.load(std::sync::atomic::Ordering::Relaxed),
        }
    }

    /// Routes by family. Counting looks at each of them, so it is done once a second at most.
    fn route_stats(&self) -> RouteStats {
        let mut seen = lock(&self.routes_seen);
        let mut stats = match &*seen {
            Some((at, stats)) if at.elapsed() < Duration::from_secs(1) => *stats,
            Some(_) | None => {
                let routes = self.routes.current();
                let (all, known) = (routes.tables().routes(), routes.tables().neighbours().iter());
                let of_four = |count: (usize, usize), four: bool| match four {
                    true => (count.0 + 1, count.1),
                    false => (count.0, count.1 + 1),
                };
                let (routes4, routes6) = all.map(|route| route.to.addr().is_ipv4()).fold((0, 0), of_four);
                let (neighbors4, neighbors6) =
                    known.map(|(_, address, _)| address.is_ipv4()).fold((0, 0), of_four);
                let stats = RouteStats { routes4, routes6, neighbors4, neighbors6, ..RouteStats::default() };
                *seen = Some((Instant::now(), stats));
                stats
            }
        };
        drop(seen);
        stats.mirror = self.mirrored.get().map(Meter::figures);
        if let Some(mirror) = stats.mirror {
            (stats.synced, stats.drift, stats.drift_total) =
                (mirror.changes, mirror.drift, mirror.drift_total);
        }
        stats
    }

    /// Asks every worker where its frames are and what it has counted. For one that does not answer in time stands
    /// what it said last, and it is named; for one that has died, nothing.
    fn statements(&self) -> (Vec<Option<Statement>>, Vec<usize>) {
        let deadline = Instant::now() + self.options.limits.answer;
        let asked: Vec<_> = self
            .workers
            .iter()
            .map(|worker| {
                let (done, answered) = crossbeam_channel::bounded(1);
                if worker.health.state() != WorkerState::Dead {
                    worker.mailbox.post(Letter::Statement { said: Arc::clone(&worker.said), done });
                }
                answered
            })
            .collect();
        let mut silent = Vec::new();
        let mut statements = Vec::new();
        for (number, (worker, answer)) in self.workers.iter().zip(asked).enumerate() {
            if answer.recv_deadline(deadline).is_err() {
                silent.push(number);
            }
            let dead = worker.health.state() == WorkerState::Dead;
            statements.push(if dead { None } else { worker.said.last() });
        }
        (statements, silent)
    }

    /// Where all frames are, as the workers say.
    fn ledger(&self, statements: &[Option<Statement>]) -> Ledger {
        let accounts: Vec<Account> = statements.iter().flatten().map(|statement| statement.account).collect();
        Ledger::sum(self.umem.chunks(), self.workers.len(), &accounts)
    }
}

/// Programs of the generation, attached or asked about.
fn programs(generation: &Generation) -> Vec<ProgramStats> {
    let filters = || generation.ports.iter().flat_map(|port| port.ingress.iter().chain(&port.egress));
    let classifies = |number: usize| {
        filters().any(|filter| filter.program == number && matches!(filter.mode, FilterMode::Classifier(_)))
    };
    let rate = clock::tick_rate();
    let slots = generation.programs.iter().enumerate();
    slots
        .map(|(number, slot)| {
            let report = report::program(slot, classifies(number));
            let times = slot.counters.iter().map(|counters| &counters.times);
            let one = mean(times).map_or(0.0, |ticks| ((ticks - rate.overhead) / rate.per_ns).max(0.0));
            ProgramStats {
                run_seconds: one * report.packets as f64 / 1e9,
                bytes: slot.counters.iter().map(|counters| counters.judged.bytes.get()).sum(),
                report,
                attached: places(generation, number),
                insns: slot.loaded.verified().program().insns.len(),
                jited: slot.loaded.compiled().map_or(0, |compiled| compiled.code().len()),
            }
        })
        .collect()
}

/// Where a program is attached.
fn places(generation: &Generation, number: ProgramNumber) -> Vec<String> {
    let mut places = Vec::new();
    for port in &generation.ports {
        if port.xdp.iter().any(|link| link.program == number) {
            places.push(format!("xdp {}", port.name));
        }
        for (direction, filters) in [("ingress", &port.ingress), ("egress", &port.egress)] {
            if filters.iter().any(|filter| filter.program == number) {
                places.push(format!("tc {direction} {}", port.name));
            }
        }
    }
    if generation.ports.iter().any(|port| port.forward == Forward::Program(number)) {
        places.push("forward".to_owned());
    }
    places
}

/// The rings of every part of every port.
fn queues(current: &Current, windows: &[Vec<Window>]) -> Vec<QueueStats> {
    let mut queues = Vec::new();
    for (port, plan) in current.generation.ports.iter().enumerate() {
        for (worker, windows) in windows.iter().enumerate() {
            let Some(Window { queue, gauges: Some(gauges) }) = windows.get(port) else { continue };
            let (held, losses) = (gauges.held(), gauges.losses());
            queues.push(QueueStats {
                interface: plan.name.clone(),
                worker,
                queue: *queue,
                fill: held.fill,
                rx: held.rx,
                tx: held.tx,
                completion: held.completion,
                in_device: held.device,
                rx_dropped: losses.rx_dropped,
                rx_invalid_descs: losses.rx_invalid,
                tx_invalid_descs: losses.tx_invalid,
                rx_ring_full: losses.rx_ring_full,
                rx_fill_ring_empty_descs: losses.fill_empty,
                tx_ring_empty_descs: losses.tx_empty,
                scattered: losses.scattered,
                wakeups_put_off: losses.wakeups_put_off,
            });
        }
    }
    queues
}
