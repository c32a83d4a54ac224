//! Everything that is counted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::changes::Conservation;

/// Everything that is counted, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Stats {
    /// `weir.v1.stats`.
    pub schema: String,
    /// When, RFC 3339.
    pub at: String,
    /// The same as seconds since the daemon started; rates are differences by it.
    pub uptime_seconds: f64,
    /// The generation in force.
    pub generation: u64,
    /// Whether every port is up and every worker turns.
    #[serde(default)]
    pub ready: bool,
    /// What is wrong, one sentence each; empty when ready.
    #[serde(default)]
    pub faults: Vec<String>,
    /// Interfaces.
    pub interfaces: Vec<InterfaceStats>,
    /// Drops that occurred, most frequent first.
    pub drops: Vec<DropStats>,
    /// Programs.
    pub programs: Vec<ProgramStats>,
    /// Workers.
    pub workers: Vec<WorkerStats>,
    /// Queues of the interfaces that have any.
    pub queues: Vec<QueueStats>,
    /// Classes.
    pub classes: Vec<ClassStats>,
    /// Maps.
    pub maps: Vec<MapStats>,
    /// Routes and neighbours.
    pub routes: RouteStats,
    /// Swaps.
    pub swaps: SwapStats,
    /// Where every packet and frame is.
    pub ledger: Ledger,
    /// Events that listeners were too slow for.
    #[serde(default)]
    pub events_lost: u64,
    /// Packets that captures' readers were too slow for.
    #[serde(default)]
    pub captures_lost: u64,
}

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Traffic {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// An interface's figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct InterfaceStats {
    /// Its name.
    pub name: String,
    /// `up` or `down`.
    pub state: String,
    /// Came in.
    pub received: Traffic,
    /// Went out.
    pub transmitted: Traffic,
    /// Went to the host.
    pub passed: Traffic,
    /// Dropped, all reasons together.
    pub dropped: u64,
    /// Of what came in here, kept by a program or action.
    #[serde(default)]
    pub consumed: Traffic,
    /// What is left over when all is added up: must be 0 between turns.
    #[serde(default)]
    pub conservation_error: i64,
    /// How often the port was opened anew.
    #[serde(default)]
    pub reopened: u64,
}

/// Drops for one reason at one interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DropStats {
    /// The interface that they came in by.
    pub interface: String,
    /// Where: `rx`, `xdp`, `tc-ingress`, `forward`, `tc-egress`, `tx` …
    pub stage: String,
    /// Why: a name of the closed list.
    pub reason: String,
    /// How many.
    pub packets: u64,
    /// What the reason means.
    pub meaning: String,
}

/// A program's figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProgramStats {
    /// Its name.
    pub name: String,
    /// `xdp`, `sched_cls` …
    #[serde(rename = "type")]
    pub kind: String,
    /// What it was asked about.
    pub judged: Traffic,
    /// Its verdicts by name.
    pub verdicts: BTreeMap<String, u64>,
    /// Median time of a run in nanoseconds; absent when none was timed.
    pub ns_per_packet: Option<f64>,
    /// The time that one run in a hundred takes or exceeds, in nanoseconds.
    pub ns_per_packet_p99: Option<f64>,
    /// All the time that it ran, in seconds, as far as its timed runs tell.
    #[serde(default)]
    pub run_seconds: f64,
    /// First eight bytes of the SHA-256 of its instructions, in hexadecimal.
    #[serde(default)]
    pub tag: String,
    /// SHA-256 of the object file: `sha256:…`.
    #[serde(default)]
    pub digest: String,
}

/// A worker's figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WorkerStats {
    /// Its number.
    pub worker: u32,
    /// The core it is pinned to.
    pub core: Option<u32>,
    /// Turns.
    pub turns: u64,
    /// Turns that found no packet.
    pub empty_turns: u64,
    /// Packets that were judged.
    pub packets: u64,
    /// Time spent on turns that found packets.
    pub busy_seconds: f64,
    /// Times that it went to sleep.
    pub rests: u64,
    /// Time since its last turn.
    pub quiet_seconds: f64,
    /// Whether it is alive: turning, or resting as it may.
    pub alive: bool,
    /// Turns by the packets they had: up to 1, 2, 4, … 64, and more.
    #[serde(default)]
    pub batches: Vec<u64>,
}

/// A queue's figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct QueueStats {
    /// The interface.
    pub interface: String,
    /// Its number.
    pub queue: u32,
    /// The worker that serves it.
    pub worker: u32,
    /// Frames by ring: `fill`, `rx`, `tx`, `completion`.
    pub frames: BTreeMap<String, u64>,
    /// `struct xdp_statistics`, by its names.
    pub xsk: BTreeMap<String, u64>,
}

/// A class's figures.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClassStats {
    /// `MAJOR:MINOR`.
    pub classid: String,
    /// Its name.
    pub name: String,
    /// What left in it.
    pub sent: Traffic,
}

/// A map's figures.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MapStats {
    /// Its name.
    pub name: String,
    /// The program entry of the configuration that it belongs to.
    pub program: String,
    /// `hash`, `array` …
    #[serde(rename = "type")]
    pub kind: String,
    /// Entries now.
    pub entries: u64,
    /// Entries at most.
    pub max_entries: u64,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Entries that made room for others.
    pub evictions: u64,
    /// Updates that failed, by reason.
    pub update_failures: BTreeMap<String, u64>,
}

/// Routes and neighbours in figures.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RouteStats {
    /// Routes by family (`ipv4`, `ipv6`), then by protocol.
    pub routes: BTreeMap<String, BTreeMap<String, u64>>,
    /// Neighbours by family, then by state.
    pub neighbors: BTreeMap<String, BTreeMap<String, u64>>,
    /// Routes that differed from the kernel's at the last comparison without cause, and were mended.
    pub drift: u64,
    /// The same of all comparisons together.
    #[serde(default)]
    pub drift_total: u64,
}

/// How long things took, by size.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Durations {
    /// Upper bounds of the parts, in seconds.
    pub bounds_seconds: Vec<f64>,
    /// How many were at most each bound and more than the one before; the last is all that were longer.
    pub counts: Vec<u64>,
    /// All of them together.
    pub sum_seconds: f64,
}

/// Swaps in figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SwapStats {
    /// Swaps by result: `ok`, `rejected`, `rolled-back` …
    pub results: BTreeMap<String, u64>,
    /// Whether the last change succeeded.
    pub last_successful: bool,
    /// When the last successful change was made, seconds since 1970.
    pub last_success_at: f64,
    /// How long the last swap took.
    pub last_swap_seconds: f64,
    /// How long the longest took.
    #[serde(default)]
    pub longest_swap_seconds: f64,
    /// From publishing until no worker used the generation before, by size.
    #[serde(default)]
    pub took: Durations,
    /// How long programs took to be proven, by size: every program of every change, and of the start.
    #[serde(default)]
    pub verified: Durations,
}

/// Where every packet and every frame is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ledger {
    /// `weir.v1.ledger`.
    pub schema: String,
    /// Whether everything is accounted for.
    pub holds: bool,
    /// Packets, since the start, all interfaces together.
    pub packets: Conservation,
    /// Packets by interface.
    pub interfaces: BTreeMap<String, Conservation>,
    /// Frames of the umem.
    pub frames: FrameLedger,
    /// Workers that did not come to the end of a turn in time to be asked: what they said last stands for them, so
    /// that it is exact all the same, and a little older.
    #[serde(default)]
    pub silent: Vec<u32>,
}

/// Where the frames are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FrameLedger {
    /// All there are.
    pub total: u64,
    /// How many are where: `free`, `fill`, `rx`, `worker`, `tx`, `completion`, `held` … Their sum is exact, although
    /// each worker speaks of a moment of its own; so `home` and `handoff`, which lie between workers, may be less
    /// than none.
    pub places: BTreeMap<String, i64>,
    /// Seen nowhere: must be 0.
    pub lost: i64,
}
