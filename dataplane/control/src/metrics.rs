//! What is counted, in Prometheus' words: one table of metrics, read at each scrape from [`Stats`].
//!
//! METRICS.md beside the sources lists the same names; a test compares. No label holds an address or a flow.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::built;
use crate::reply::{Durations, InterfaceStats, MapStats, ProgramStats, QueueStats, Stats, WorkerStats};

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Only grows; `_total` is added to its name.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Always 1; its labels are what it says. `_info` is added to its name.
    Info,
    /// Counts by size; `_bucket`, `_sum` and `_count` are added to its name.
    Histogram,
}

/// A metric's values at one moment.
type Put<'p> = &'p mut dyn FnMut(&[&str], f64) -> fmt::Result;

/// A histogram's parts at one moment, each with its upper bound, and the sum of all that was counted.
type PutParts<'p> = &'p mut dyn FnMut(&[&str], &[(f64, u64)], f64) -> fmt::Result;

/// How a metric's values are read: one call for each set of labels.
enum Read {
    Values(fn(&Stats, Put<'_>) -> fmt::Result),
    Parts(fn(&Stats, PutParts<'_>) -> fmt::Result),
}

/// A metric.
pub struct Metric {
    /// Its name without the ending that its shape adds.
    pub name: &'static str,
    /// What it is.
    pub shape: Shape,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
    read: Read,
}

impl fmt::Debug for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metric").field("name", &self.name).field("shape", &self.shape).finish_non_exhaustive()
    }
}

impl Metric {
    /// The names that its lines have.
    pub fn names(&self) -> Vec<String> {
        let endings: &[&str] = match self.shape {
            Shape::Counter => &["_total"],
            Shape::Gauge => &[""],
            Shape::Info => &["_info"],
            Shape::Histogram => &["_bucket", "_sum", "_count"],
        };
        endings.iter().map(|ending| format!("{}{ending}", self.name)).collect()
    }
}

fn interfaces(stats: &Stats, put: Put<'_>, value: fn(&InterfaceStats) -> f64) -> fmt::Result {
    stats.interfaces.iter().try_for_each(|interface| put(&[&interface.name], value(interface)))
}

fn queues(stats: &Stats, put: Put<'_>, name: &str) -> fmt::Result {
    let value = |queue: &QueueStats| queue.xsk.get(name).map(|count| *count as f64);
    let mut each = stats.queues.iter().filter_map(|queue| Some((queue, value(queue)?)));
    each.try_for_each(|(queue, value)| put(&[&queue.interface, &queue.queue.to_string()], value))
}

fn workers(stats: &Stats, put: Put<'_>, value: fn(&WorkerStats) -> f64) -> fmt::Result {
    stats.workers.iter().try_for_each(|worker| {
        let core = worker.core.map_or_else(String::new, |core| core.to_string());
        put(&[&worker.worker.to_string(), &core], value(worker))
    })
}

fn programs(stats: &Stats, put: Put<'_>, value: fn(&ProgramStats) -> f64) -> fmt::Result {
    stats.programs.iter().try_for_each(|program| put(&[&program.name, &program.kind], value(program)))
}

fn maps(stats: &Stats, put: Put<'_>, value: fn(&MapStats) -> f64) -> fmt::Result {
    stats.maps.iter().try_for_each(|map| put(&[&map.program, &map.name, &map.kind], value(map)))
}

macro_rules! metrics {
    ($( $shape:ident $name:literal [$($label:literal),*] $help:literal, $read:expr; )+) => {
        /// Every metric there is.
        pub const METRICS: &[Metric] = &[$( Metric {
            name: $name,
            shape: Shape::$shape,
            labels: &[$($label),*],
            help: $help,
            read: metrics!(@ $shape $read),
        }, )+];
    };
    (@ Histogram $read:expr) => { Read::Parts($read) };
    (@ $shape:ident $read:expr) => { Read::Values($read) };
}

metrics! {
    Info "weir_build" ["version", "commit", "rustc"] "Which weir this is",
        |_, put| put(&[built::VERSION, built::COMMIT.unwrap_or("unknown"), built::RUSTC], 1.0);
    Gauge "weir_uptime_seconds" [] "Time since the daemon started", |stats, put| put(&[], stats.uptime_seconds);
    Gauge "weir_ready" [] "1 when workers turn and ports are up", |stats, put| put(&[], f64::from(u8::from(stats.ready)));
    Gauge "weir_config_generation" [] "The generation in force", |stats, put| put(&[], stats.generation as f64);
    Gauge "weir_config_last_reload_successful" [] "1 when the last change was made",
        |stats, put| put(&[], f64::from(u8::from(stats.swaps.last_successful)));
    Gauge "weir_config_last_reload_success_timestamp_seconds" [] "When the last change was made, since 1970",
        |stats, put| put(&[], stats.swaps.last_success_at);

    Gauge "weir_interface_up" ["interface"] "1 when packets can come and go",
        |stats, put| interfaces(stats, put, |interface| f64::from(u8::from(interface.state == "up")));
    Counter "weir_interface_reopened" ["interface"] "How often the port was opened anew",
        |stats, put| interfaces(stats, put, |interface| interface.reopened as f64);
    Counter "weir_interface_receive_packets" ["interface"] "Packets that came in",
        |stats, put| interfaces(stats, put, |interface| interface.received.packets as f64);
    Counter "weir_interface_receive_bytes" ["interface"] "Bytes that came in",
        |stats, put| interfaces(stats, put, |interface| interface.received.bytes as f64);
    Counter "weir_interface_transmit_packets" ["interface"] "Packets that went out",
        |stats, put| interfaces(stats, put, |interface| interface.transmitted.packets as f64);
    Counter "weir_interface_transmit_bytes" ["interface"] "Bytes that went out",
        |stats, put| interfaces(stats, put, |interface| interface.transmitted.bytes as f64);
    Counter "weir_punt_packets" ["interface"] "Packets that went to the host",
        |stats, put| interfaces(stats, put, |interface| interface.passed.packets as f64);
    Counter "weir_drop_packets" ["interface", "stage", "reason"] "Packets dropped; reasons are a closed list",
        |stats, put| stats.drops.iter().try_for_each(|drop| {
            put(&[&drop.interface, &drop.stage, &drop.reason], drop.packets as f64)
        });
    Gauge "weir_conservation_error_packets" ["interface"] "Packets unaccounted for: must be 0",
        |stats, put| interfaces(stats, put, |interface| interface.conservation_error as f64);

    Counter "weir_xsk_rx_dropped" ["interface", "queue"] "struct xdp_statistics: rx_dropped",
        |stats, put| queues(stats, put, "rx_dropped");
    Counter "weir_xsk_rx_invalid_descs" ["interface", "queue"] "struct xdp_statistics: rx_invalid_descs",
        |stats, put| queues(stats, put, "rx_invalid_descs");
    Counter "weir_xsk_tx_invalid_descs" ["interface", "queue"] "struct xdp_statistics: tx_invalid_descs",
        |stats, put| queues(stats, put, "tx_invalid_descs");
    Counter "weir_xsk_rx_ring_full" ["interface", "queue"] "struct xdp_statistics: rx_ring_full",
        |stats, put| queues(stats, put, "rx_ring_full");
    Counter "weir_xsk_rx_fill_ring_empty_descs" ["interface", "queue"] "struct xdp_statistics: rx_fill_ring_empty_descs",
        |stats, put| queues(stats, put, "rx_fill_ring_empty_descs");
    Counter "weir_xsk_tx_ring_empty_descs" ["interface", "queue"] "struct xdp_statistics: tx_ring_empty_descs",
        |stats, put| queues(stats, put, "tx_ring_empty_descs");
    Gauge "weir_umem_frames" ["umem", "state"] "Frames by where they are; their sum is constant",
        |stats, put| stats.ledger.frames.places.iter().try_for_each(|(state, frames)| put(&["0", state], *frames as f64));
    Gauge "weir_umem_lost_frames" ["umem"] "Frames that nobody has: must be 0",
        |stats, put| put(&["0"], stats.ledger.frames.lost as f64);

    Counter "weir_worker_busy_seconds" ["worker", "core"] "Time spent in turns that had packets",
        |stats, put| workers(stats, put, |worker| worker.busy_seconds);
    Counter "weir_worker_polls" ["worker", "core"] "Turns",
        |stats, put| workers(stats, put, |worker| worker.turns as f64);
    Counter "weir_worker_empty_polls" ["worker", "core"] "Turns in which nothing came",
        |stats, put| workers(stats, put, |worker| worker.empty_turns as f64);
    Counter "weir_worker_rests" ["worker", "core"] "Times that it slept for want of packets",
        |stats, put| workers(stats, put, |worker| worker.rests as f64);
    Gauge "weir_worker_alive" ["worker", "core"] "1 when it comes to the end of its turns",
        |stats, put| workers(stats, put, |worker| f64::from(u8::from(worker.alive)));
    Histogram "weir_worker_batch_packets" ["worker", "core"] "Packets that turns had, such as had any", batches;

    Counter "weir_verdict_packets" ["program", "hook", "verdict"] "Packets by what a program answered",
        |stats, put| stats.programs.iter().try_for_each(|program| {
            program.verdicts.iter().try_for_each(|(verdict, packets)| {
                put(&[&program.name, &program.kind, verdict], *packets as f64)
            })
        });
    Counter "weir_program_runs" ["program", "hook"] "Packets that a program was asked about",
        |stats, put| programs(stats, put, |program| program.judged.packets as f64);
    Counter "weir_program_run_seconds" ["program", "hook"] "Time that it ran, as far as its timed runs tell",
        |stats, put| programs(stats, put, |program| program.run_seconds);
    Info "weir_program" ["program", "hook", "tag", "digest"] "Which program this is",
        |stats, put| stats.programs.iter().try_for_each(|program| {
            put(&[&program.name, &program.kind, &program.tag, &program.digest], 1.0)
        });
    Counter "weir_program_swaps" ["result"] "Changes by what came of them",
        |stats, put| stats.swaps.results.iter().try_for_each(|(result, count)| put(&[result], *count as f64));
    Histogram "weir_program_swap_duration_seconds" [] "From publishing until no worker used the generation before",
        |stats, put| durations(&stats.swaps.took, put);
    Histogram "weir_program_verify_duration_seconds" [] "Proving a program, at the start and at each change",
        |stats, put| durations(&stats.swaps.verified, put);

    Gauge "weir_map_entries" ["program", "map", "type"] "Entries now",
        |stats, put| maps(stats, put, |map| map.entries as f64);
    Gauge "weir_map_max_entries" ["program", "map", "type"] "Entries at most",
        |stats, put| maps(stats, put, |map| map.max_entries as f64);
    Gauge "weir_map_memory_bytes" ["program", "map", "type"] "Memory that it holds",
        |stats, put| maps(stats, put, |map| map.memory_bytes as f64);
    Counter "weir_map_evictions" ["program", "map", "type"] "Entries that made room for others",
        |stats, put| maps(stats, put, |map| map.evictions as f64);
    Counter "weir_map_update_failures" ["program", "map", "type", "reason"] "Updates that failed",
        |stats, put| stats.maps.iter().try_for_each(|map| {
            map.update_failures.iter().try_for_each(|(reason, count)| {
                put(&[&map.program, &map.name, &map.kind, reason], *count as f64)
            })
        });

    Gauge "weir_routes" ["family", "protocol"] "Routes",
        |stats, put| nested(&stats.routes.routes, put);
    Gauge "weir_neighbors" ["family", "state"] "Neighbours",
        |stats, put| nested(&stats.routes.neighbors, put);
    Gauge "weir_fib_drift_routes" [] "Routes that differed from the kernel's at the last comparison, and were mended",
        |stats, put| put(&[], stats.routes.drift as f64);
    Counter "weir_fib_mended_routes" [] "Routes that comparisons with the kernel found to differ, and mended",
        |stats, put| put(&[], stats.routes.drift_total as f64);
    Counter "weir_events_lost" [] "Events that listeners were too slow for",
        |stats, put| put(&[], stats.events_lost as f64);
    Counter "weir_capture_lost_packets" [] "Packets that captures' readers were too slow for",
        |stats, put| put(&[], stats.captures_lost as f64);
}

type Counts = std::collections::BTreeMap<String, std::collections::BTreeMap<String, u64>>;

fn nested(counts: &Counts, put: Put<'_>) -> fmt::Result {
    counts.iter().try_for_each(|(outer, counts)| {
        counts.iter().try_for_each(|(inner, count)| put(&[outer, inner], *count as f64))
    })
}

/// Batch sizes that the histogram tells apart: the last bucket is everything above.
const BATCHES: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, f64::INFINITY];

/// What turns had.
fn batches(stats: &Stats, put: PutParts<'_>) -> fmt::Result {
    stats.workers.iter().try_for_each(|worker| {
        let core = worker.core.map_or_else(String::new, |core| core.to_string());
        let counts = worker.batches.iter().copied().chain(std::iter::repeat(0));
        let parts: Vec<(f64, u64)> = BATCHES.into_iter().zip(counts).collect();
        put(&[&worker.worker.to_string(), &core], &parts, worker.packets as f64)
    })
}

fn durations(durations: &Durations, put: PutParts<'_>) -> fmt::Result {
    let bounds = durations.bounds_seconds.iter().copied().chain(std::iter::once(f64::INFINITY));
    let parts: Vec<(f64, u64)> = bounds.zip(durations.counts.iter().copied()).collect();
    put(&[], &parts, durations.sum_seconds)
}

#[derive(Debug)]
struct Scrape(Stats);

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        METRICS.iter().try_for_each(|metric| {
            let kind = match metric.shape {
                Shape::Counter => MetricType::Counter,
                Shape::Gauge => MetricType::Gauge,
                Shape::Info => MetricType::Info,
                Shape::Histogram => MetricType::Histogram,
            };
            let mut family = encoder.encode_descriptor(metric.name, metric.help, None, kind)?;
            match metric.read {
                Read::Values(read) => self.values(metric, read, &mut family),
                Read::Parts(read) => self.parts(metric, read, &mut family),
            }
        })
    }
}

impl Scrape {
    fn values(
        &self,
        metric: &Metric,
        read: fn(&Stats, Put<'_>) -> fmt::Result,
        family: &mut MetricEncoder<'_>,
    ) -> fmt::Result {
        read(&self.0, &mut |values, value| {
            let labels = labels(metric, values);
            match (metric.shape, labels.is_empty()) {
                (Shape::Info, _) => family.encode_info(&labels),
                (shape, true) => number(shape, value, family),
                (shape, false) => number(shape, value, &mut family.encode_family(&labels)?),
            }
        })
    }

    fn parts(
        &self,
        metric: &Metric,
        read: fn(&Stats, PutParts<'_>) -> fmt::Result,
        family: &mut MetricEncoder<'_>,
    ) -> fmt::Result {
        read(&self.0, &mut |values, parts, sum| {
            let labels = labels(metric, values);
            let count = parts.iter().map(|(_, count)| count).sum();
            match labels.is_empty() {
                true => family.encode_histogram::<NoLabelSet>(sum, count, parts, None),
                false => {
                    family.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum, count, parts, None)
                }
            }
        })
    }
}

fn labels<'l>(metric: &Metric, values: &[&'l str]) -> Vec<(&'static str, &'l str)> {
    metric.labels.iter().copied().zip(values.iter().copied()).collect()
}

fn number(shape: Shape, value: f64, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
    match shape {
        Shape::Counter => encoder.encode_counter::<NoLabelSet, f64, f64>(&value, None),
        Shape::Gauge | Shape::Info | Shape::Histogram => encoder.encode_gauge(&value),
    }
}

/// Everything, as text.
pub fn exposition(stats: Stats) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape(stats)));
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = text::encode(&mut text, &registry);
    text
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::reply::{DropStats, Durations, FrameLedger, Ledger, RouteStats, SwapStats, Traffic};

    fn counts(name: &str) -> BTreeMap<String, u64> {
        BTreeMap::from([(name.to_owned(), 7)])
    }

    /// Something of everything.
    fn full() -> Stats {
        let xsk = [
            "rx_dropped",
            "rx_invalid_descs",
            "tx_invalid_descs",
            "rx_ring_full",
            "rx_fill_ring_empty_descs",
            "tx_ring_empty_descs",
        ];
        let xsk = xsk.map(|name| (name.to_owned(), 1)).into();
        let received = Traffic { packets: 100, bytes: 6400 };
        Stats {
            interfaces: vec![InterfaceStats {
                name: "wan".into(),
                state: "up".into(),
                received,
                ..Default::default()
            }],
            drops: vec![DropStats {
                interface: "wan".into(),
                stage: "xdp".into(),
                reason: "xdp-drop".into(),
                packets: 9,
                ..Default::default()
            }],
            programs: vec![ProgramStats {
                name: "fw".into(),
                kind: "xdp".into(),
                verdicts: counts("XDP_PASS"),
                ..Default::default()
            }],
            workers: vec![WorkerStats {
                worker: 1,
                core: Some(3),
                packets: 100,
                batches: vec![4, 0, 0, 0, 0, 0, 1, 1],
                ..Default::default()
            }],
            queues: vec![QueueStats { interface: "wan".into(), xsk, ..Default::default() }],
            maps: vec![MapStats {
                name: "deny".into(),
                update_failures: counts("E2BIG"),
                ..Default::default()
            }],
            routes: RouteStats {
                routes: BTreeMap::from([("ipv4".to_owned(), counts("bird"))]),
                neighbors: BTreeMap::from([("ipv6".to_owned(), counts("stale"))]),
                ..Default::default()
            },
            swaps: SwapStats {
                results: counts("made"),
                took: Durations {
                    bounds_seconds: vec![1e-5, 1e-3],
                    counts: vec![1, 2, 0],
                    sum_seconds: 4e-4,
                },
                verified: Durations { bounds_seconds: Vec::new(), counts: vec![1], sum_seconds: 0.5 },
                ..Default::default()
            },
            ledger: Ledger {
                frames: FrameLedger {
                    places: BTreeMap::from([("free".to_owned(), 7)]),
                    ..Default::default()
                },
                ..Default::default()
            },
            ..Default::default()
        }
    }

    /// The names that lines of a text begin with.
    fn exported(text: &str) -> BTreeSet<String> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.filter_map(|line| line.split(['{', ' ']).next()).map(str::to_owned).collect()
    }

    #[test]
    fn every_metric_is_exported_and_documented_and_nothing_else() {
        let names: BTreeSet<String> = METRICS.iter().flat_map(Metric::names).collect();
        assert_eq!(exported(&exposition(full())), names);
        let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/METRICS.md")).unwrap();
        let documented = page.split('`').skip(1).step_by(2).filter(|word| word.starts_with("weir_"));
        let documented: BTreeSet<String> =
            documented.map(|word| word.split('{').next().unwrap().to_owned()).collect();
        let listed = METRICS.iter().map(|metric| match metric.shape {
            Shape::Histogram => metric.name.to_owned(),
            _ => metric.names().remove(0),
        });
        assert_eq!(documented, listed.collect());
    }

    #[test]
    fn lines_read_as_they_should() {
        let text = exposition(full());
        for line in [
            "weir_interface_receive_packets_total{interface=\"wan\"} 100.0",
            "weir_drop_packets_total{interface=\"wan\",stage=\"xdp\",reason=\"xdp-drop\"} 9.0",
            "weir_verdict_packets_total{program=\"fw\",hook=\"xdp\",verdict=\"XDP_PASS\"} 7.0",
            "weir_umem_frames{umem=\"0\",state=\"free\"} 7.0",
            "weir_worker_batch_packets_bucket{le=\"64.0\",worker=\"1\",core=\"3\"} 5",
            "weir_worker_batch_packets_bucket{le=\"+Inf\",worker=\"1\",core=\"3\"} 6",
            "weir_worker_batch_packets_sum{worker=\"1\",core=\"3\"} 100.0",
            "weir_program_swap_duration_seconds_bucket{le=\"0.001\"} 3",
            "weir_program_swap_duration_seconds_bucket{le=\"+Inf\"} 3",
            "weir_program_swap_duration_seconds_sum 0.0004",
            "# TYPE weir_program_swap_duration_seconds histogram",
            "# TYPE weir_interface_receive_packets counter",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
