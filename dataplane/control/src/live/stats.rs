//! Everything that is counted, in the API's words.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::UNIX_EPOCH;

use weir_engine::counters::TrafficTotal;
use weir_engine::live::durations::{BOUNDS, Durations};
use weir_engine::live::stats as engine;
use weir_engine::mapview::MapView;
use weir_engine::reason::Stage;

use super::LiveBackend;
use crate::reply::{self, schema};

fn traffic(total: TrafficTotal) -> reply::Traffic {
    reply::Traffic { packets: total.packets, bytes: total.bytes }
}

/// Rings of a queue by the names that people know.
fn rings(queue: &engine::QueueStats) -> BTreeMap<String, u64> {
    let rings = [
        ("fill", queue.fill),
        ("rx", queue.rx),
        ("tx", queue.tx),
        ("completion", queue.completion),
        ("device", queue.in_device),
    ];
    rings.into_iter().map(|(name, frames)| (name.to_owned(), frames as u64)).collect()
}

/// `struct xdp_statistics` by its names, and what we count beside it.
fn xsk(queue: &engine::QueueStats) -> BTreeMap<String, u64> {
    let counts = [
        ("rx_dropped", queue.rx_dropped),
        ("rx_invalid_descs", queue.rx_invalid_descs),
        ("tx_invalid_descs", queue.tx_invalid_descs),
        ("rx_ring_full", queue.rx_ring_full),
        ("rx_fill_ring_empty_descs", queue.rx_fill_ring_empty_descs),
        ("tx_ring_empty_descs", queue.tx_ring_empty_descs),
        ("scattered", queue.scattered),
        ("wakeups_put_off", queue.wakeups_put_off),
    ];
    counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
}

/// A queue as `interfaces` shows it.
pub(super) fn queue(queue: &engine::QueueStats) -> reply::Queue {
    reply::Queue {
        queue: queue.queue,
        worker: queue.worker as u32,
        fill: queue.fill as u64,
        rx: queue.rx as u64,
        tx: queue.tx as u64,
        completion: queue.completion as u64,
        xsk: xsk(queue),
    }
}

fn interface(interface: &engine::InterfaceStats) -> reply::InterfaceStats {
    reply::InterfaceStats {
        name: interface.name.clone(),
        state: if interface.up { "up" } else { "down" }.to_owned(),
        received: traffic(interface.received),
        transmitted: traffic(interface.transmitted),
        passed: traffic(interface.passed),
        dropped: interface.dropped(),
        consumed: traffic(interface.consumed),
        conservation_error: interface.conservation_error,
        reopened: interface.reopened,
    }
}

/// Where the packets went that came in by an interface: those that left by a port, whatever that did with them.
fn conservation(interface: &engine::InterfaceStats) -> reply::Conservation {
    let judged = interface.drops.iter().filter(|drop| drop.stage != Stage::Transmit.name());
    reply::Conservation {
        rx: interface.received.packets,
        cloned: interface.cloned.packets,
        made: interface.originated.packets,
        tx: interface.forwarded,
        pass: interface.passed.packets,
        drop: judged.map(|drop| drop.packets).sum(),
        consumed: interface.consumed.packets,
        held: interface.held,
        lost: interface.conservation_error,
    }
}

/// All interfaces together: what ports refused to send is dropped here.
fn together(all: &weir_engine::report::Conservation) -> reply::Conservation {
    reply::Conservation {
        rx: all.rx,
        cloned: all.cloned,
        made: all.originated,
        tx: all.tx,
        pass: all.pass,
        drop: all.drop,
        consumed: all.consumed,
        held: all.held,
        lost: all.error,
    }
}

fn drops(interfaces: &[engine::InterfaceStats]) -> Vec<reply::DropStats> {
    let each = interfaces.iter().flat_map(|interface| {
        interface.drops.iter().map(|drop| reply::DropStats {
            interface: interface.name.clone(),
            stage: drop.stage.to_owned(),
            reason: drop.reason.to_owned(),
            packets: drop.packets,
            meaning: drop.meaning.to_owned(),
        })
    });
    let mut drops: Vec<_> = each.collect();
    drops.sort_by_key(|drop| std::cmp::Reverse(drop.packets));
    drops
}

fn worker(worker: &engine::WorkerStats) -> reply::WorkerStats {
    reply::WorkerStats {
        worker: worker.worker as u32,
        core: Some(worker.core as u32),
        turns: worker.turns,
        empty_turns: worker.idle_turns,
        packets: worker.received,
        busy_seconds: worker.busy_seconds,
        rests: worker.sleeps,
        quiet_seconds: 0.0,
        alive: worker.state == engine::WorkerState::Running,
        batches: worker.batches.to_vec(),
    }
}

fn ledger(stats: &engine::Stats) -> reply::Ledger {
    let interfaces: BTreeMap<_, _> =
        stats.interfaces.iter().map(|interface| (interface.name.clone(), conservation(interface))).collect();
    let places = stats.ledger.places();
    let places = places.into_iter().map(|(name, frames)| (name.to_owned(), frames)).collect();
    let lost = stats.ledger.unaccounted.unwrap_or(0);
    let packets = together(&stats.conservation);
    reply::Ledger {
        schema: schema("ledger"),
        holds: packets.lost == 0 && stats.ledger.holds(),
        packets,
        interfaces,
        frames: reply::FrameLedger { total: stats.ledger.total as u64, places, lost },
        silent: stats.ledger.silent.iter().map(|worker| *worker as u32).collect(),
    }
}

fn durations(durations: &Durations) -> reply::Durations {
    reply::Durations {
        bounds_seconds: BOUNDS.to_vec(),
        counts: durations.counts.to_vec(),
        sum_seconds: durations.sum_seconds,
    }
}

impl LiveBackend {
    pub(super) fn stats(&self) -> reply::Stats {
        let stats = self.live.stats();
        let queues = stats.queues.iter().map(|queue| reply::QueueStats {
            interface: queue.interface.clone(),
            queue: queue.queue,
            worker: queue.worker as u32,
            frames: rings(queue),
            xsk: xsk(queue),
        });
        let classes = stats.classes.iter().map(|class| reply::ClassStats {
            classid: class.classid.clone(),
            name: class.name.clone(),
            sent: traffic(class.sent),
        });
        reply::Stats {
            schema: schema("stats"),
            at: stats.at.clone(),
            uptime_seconds: stats.uptime_seconds,
            generation: stats.generation,
            ready: stats.ready,
            faults: stats.faults.clone(),
            interfaces: stats.interfaces.iter().map(interface).collect(),
            drops: drops(&stats.interfaces),
            programs: self.program_stats(&stats),
            workers: stats.workers.iter().map(worker).collect(),
            queues: queues.collect(),
            classes: classes.collect(),
            maps: self.map_stats(),
            routes: self.route_stats(&stats),
            swaps: self.swap_stats(&stats),
            ledger: ledger(&stats),
            events_lost: stats.events_lost,
            captures_lost: self.captures_lost.load(Ordering::Relaxed),
        }
    }

    fn program_stats(&self, stats: &engine::Stats) -> Vec<reply::ProgramStats> {
        let current = self.current();
        let each = stats.programs.iter().map(|program| {
            let report = &program.report;
            let (tag, digest) = self.digests(&current, &report.name);
            reply::ProgramStats {
                name: report.name.clone(),
                kind: report.kind.to_owned(),
                judged: reply::Traffic { packets: report.packets, bytes: program.bytes },
                verdicts: report.verdicts.iter().cloned().collect(),
                ns_per_packet: report.ns_per_packet,
                ns_per_packet_p99: report.ns_per_packet_p99,
                run_seconds: program.run_seconds,
                tag,
                digest,
            }
        });
        each.collect()
    }

    fn map_stats(&self) -> Vec<reply::MapStats> {
        let current = self.current();
        let each = current.maps().map(|(program, image, map)| {
            let info = MapView::of(map, &image.object).info();
            reply::MapStats {
                name: info.name,
                program: program.to_owned(),
                kind: info.kind,
                entries: info.entries as u64,
                max_entries: u64::from(info.max_entries),
                memory_bytes: info.bytes_memlock as u64,
                evictions: info.evictions,
                update_failures: info.update_failures.into_iter().collect(),
            }
        });
        each.collect()
    }

    fn route_stats(&self, stats: &engine::Stats) -> reply::RouteStats {
        let figures = self.live.routes().current().figures();
        let owned = |name: &str| name.to_owned();
        let neighbours = figures.neighbours.into_iter().map(|(family, states)| {
            (owned(family), states.into_iter().map(|(state, count)| (owned(state), count)).collect())
        });
        reply::RouteStats {
            routes: figures.routes.into_iter().map(|(family, counts)| (owned(family), counts)).collect(),
            neighbors: neighbours.collect(),
            drift: stats.routes.drift,
            drift_total: stats.routes.drift_total,
        }
    }

    fn swap_stats(&self, stats: &engine::Stats) -> reply::SwapStats {
        let swaps = &stats.swaps;
        let results = [
            ("done", swaps.done),
            ("refused", swaps.refused),
            ("rolled-back", swaps.rolled_back),
            ("tripped", swaps.tripped),
        ];
        let since = self.current().since.duration_since(UNIX_EPOCH).unwrap_or_default();
        reply::SwapStats {
            results: results.into_iter().map(|(name, count)| (name.to_owned(), count)).collect(),
            last_successful: !self.last_refused.load(Ordering::Relaxed),
            last_success_at: since.as_secs_f64(),
            last_swap_seconds: swaps.last_seconds,
            longest_swap_seconds: swaps.longest_seconds,
            took: durations(&swaps.took),
            verified: durations(&swaps.verified),
        }
    }
}
