//! What a running weir counts, as one value: the same for tables, for JSON, for metrics.

use serde::Serialize;

use super::durations::Durations;
use crate::counters::{Totals, TrafficTotal};
use crate::reason::Reason;
use crate::report::{ClassReport, Conservation, ProgramReport};
use crate::routes::mirror;

/// Everything that is counted.
#[derive(Clone, Debug, Serialize)]
pub struct Stats {
    /// `weir.v1.stats`.
    pub schema: &'static str,
    /// When this was read, RFC 3339.
    pub at: String,
    /// Since the start, in seconds.
    pub uptime_seconds: f64,
    /// The generation that runs.
    pub generation: u64,
    /// Whether every port is up and every worker moves.
    pub ready: bool,
    /// What is wrong, in words; empty when ready.
    pub faults: Vec<String>,
    /// Ports.
    pub interfaces: Vec<InterfaceStats>,
    /// Programs, in the generation's order.
    pub programs: Vec<ProgramStats>,
    /// Classes.
    pub classes: Vec<ClassReport>,
    /// Workers.
    pub workers: Vec<WorkerStats>,
    /// Rings and what was lost at them, one for each worker's part of each port that has rings.
    pub queues: Vec<QueueStats>,
    /// Routes and neighbours.
    pub routes: RouteStats,
    /// Where all packets went, all ports together.
    pub conservation: Conservation,
    /// Where all frames are.
    pub ledger: Ledger,
    /// Changes so far.
    pub swaps: SwapStats,
    /// Maps written to disk so far.
    pub snapshots: SnapshotStats,
    /// Events that listeners were too slow for.
    pub events_lost: u64,
    /// Lines that programs traced and nobody read in time.
    pub traces_lost: u64,
}

/// A port's figures, all workers together.
#[derive(Clone, Debug, Serialize)]
pub struct InterfaceStats {
    /// Its name.
    pub name: String,
    /// The number that programs see.
    pub ifindex: u32,
    /// The kernel's name of what stands behind it.
    pub device: Option<String>,
    /// `af_xdp`, `tap` …
    pub driver: &'static str,
    /// Its link address.
    pub mac: String,
    /// Most bytes of a packet without its link header.
    pub mtu: u32,
    /// Whether packets can come and go.
    pub up: bool,
    /// Why not; `None` when up.
    pub reason: Option<String>,
    /// How packets come and go, such as `native, zero-copy, need-wakeup`; `None` for ports in memory.
    pub mode: Option<String>,
    /// How often the port was opened anew.
    pub reopened: u64,
    /// Came in.
    pub received: TrafficTotal,
    /// Went out.
    pub transmitted: TrafficTotal,
    /// Of what came in here, went to the host.
    pub passed: TrafficTotal,
    /// Of what came in here, kept by a program or action.
    pub consumed: TrafficTotal,
    /// Copies that programs made of what came in here.
    pub cloned: TrafficTotal,
    /// Made by weir or given by the host on behalf of this port.
    pub originated: TrafficTotal,
    /// Of what came in here, left by a port.
    pub forwarded: u64,
    /// Of what came in here, waits for a neighbour.
    pub held: u64,
    /// Dropped here, by stage and reason; those that never occurred are left out.
    pub drops: Vec<DropStats>,
    /// What is left over when all of the above is added up: 0 but for packets of the turn that is going on.
    pub conservation_error: i64,
}

impl InterfaceStats {
    /// All drops here.
    pub fn dropped(&self) -> u64 {
        self.drops.iter().map(|drop| drop.packets).sum()
    }
}

/// Drops for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DropStats {
    /// Where on its way the packet was.
    pub stage: &'static str,
    /// Name of the reason.
    pub reason: &'static str,
    /// Packets.
    pub packets: u64,
    /// What it means.
    pub meaning: &'static str,
}

impl DropStats {
    /// The drops in these totals, most frequent first.
    pub fn of(totals: &Totals) -> Vec<Self> {
        let one = |(reason, packets): (Reason, u64)| Self {
            stage: reason.stage().name(),
            reason: reason.name(),
            packets,
            meaning: reason.sentence(),
        };
        totals.drops().into_iter().map(one).collect()
    }
}

/// A program's figures since it was first loaded under its name, all workers together.
#[derive(Clone, Debug, Serialize)]
pub struct ProgramStats {
    /// Packets, verdicts, times.
    #[serde(flatten)]
    pub report: ProgramReport,
    /// Bytes of the packets it was asked about.
    pub bytes: u64,
    /// All the time it ran, in seconds, as far as its timed runs tell.
    pub run_seconds: f64,
    /// Where it is attached, such as `xdp wan`, `tc ingress lan`, `forward`.
    pub attached: Vec<String>,
    /// Instructions.
    pub insns: usize,
    /// Bytes of machine code; 0 when it is interpreted.
    pub jited: usize,
}

/// A worker's figures.
#[derive(Clone, Debug, Serialize)]
pub struct WorkerStats {
    /// Its number.
    pub worker: usize,
    /// The core it is pinned to.
    pub core: usize,
    /// `running`, `stalled` or `dead`.
    pub state: WorkerState,
    /// Turns so far: its heartbeat.
    pub turns: u64,
    /// Turns in which nothing came.
    pub idle_turns: u64,
    /// Times it slept for want of packets.
    pub sleeps: u64,
    /// Packets it received.
    pub received: u64,
    /// Time spent in turns that had packets, in seconds.
    pub busy_seconds: f64,
    /// Turns by the packets they had: none is not counted; up to 1, 2, 4, … 64, and more.
    pub batches: [u64; 8],
    /// Free frames in its pool.
    pub free: usize,
}

/// How a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkerState {
    /// It comes to the end of its turns.
    Running,
    /// It has not for a while.
    Stalled,
    /// It ended by a fault.
    Dead,
}

/// What one worker's part of a port holds and has lost.
#[derive(Clone, Debug, Serialize)]
pub struct QueueStats {
    /// The port.
    pub interface: String,
    /// The worker.
    pub worker: usize,
    /// The device's queue.
    pub queue: u32,
    /// Frames in the fill ring.
    pub fill: usize,
    /// Frames in the receive ring.
    pub rx: usize,
    /// Frames in the transmit ring.
    pub tx: usize,
    /// Frames in the completion ring.
    pub completion: usize,
    /// Frames between rings, in the device's hands.
    pub in_device: usize,
    /// `rx_dropped` of `struct xdp_statistics`.
    pub rx_dropped: u64,
    /// `rx_invalid_descs`.
    pub rx_invalid_descs: u64,
    /// `tx_invalid_descs`.
    pub tx_invalid_descs: u64,
    /// `rx_ring_full`.
    pub rx_ring_full: u64,
    /// `rx_fill_ring_empty_descs`.
    pub rx_fill_ring_empty_descs: u64,
    /// `tx_ring_empty_descs`.
    pub tx_ring_empty_descs: u64,
    /// Packets in several frames, which are not taken.
    pub scattered: u64,
    /// Wake-ups that had to be tried again.
    pub wakeups_put_off: u64,
}

/// What the router knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct RouteStats {
    /// IPv4 routes.
    pub routes4: usize,
    /// IPv6 routes.
    pub routes6: usize,
    /// IPv4 neighbours.
    pub neighbors4: usize,
    /// IPv6 neighbours.
    pub neighbors6: usize,
    /// Changes that were taken over from the kernel.
    pub synced: u64,
    /// Routes that differed from the kernel's at the last comparison without cause, and were mended.
    pub drift: u64,
    /// The same of all comparisons together.
    pub drift_total: u64,
    /// How the kernel's tables are followed; `None` when they are not.
    pub mirror: Option<mirror::Figures>,
}

/// Where every frame of the umem is, at one moment of each worker between two of its turns. What goes from one
/// worker to another or home is counted at both, so that the sum is exact although the moments differ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ledger {
    /// Frames there are.
    pub total: usize,
    /// In no pool.
    pub home: i64,
    /// Free, in workers' pools.
    pub free: usize,
    /// Free, for copies that programs make.
    pub spare: usize,
    /// In fill rings.
    pub fill: usize,
    /// In receive rings.
    pub rx: usize,
    /// In transmit rings.
    pub tx: usize,
    /// In completion rings.
    pub completion: usize,
    /// In the hands of devices.
    pub device: usize,
    /// In workers' batches: 0 between turns.
    pub batch: usize,
    /// On the way from one worker to another; with moments that differ it may be less than none.
    pub handoff: i64,
    /// Waiting for a neighbour.
    pub held: usize,
    /// Total less all of the above: a frame that nobody has. Must be 0; `None` when a worker has died.
    pub unaccounted: Option<i64>,
    /// Workers that did not come to the end of a turn in time to be asked: what they said last stands for them.
    pub silent: Vec<usize>,
}

impl Ledger {
    /// Whether every frame has an owner.
    pub fn holds(&self) -> bool {
        self.unaccounted == Some(0)
    }

    /// The places and what they hold, by the names that metrics use.
    pub fn places(&self) -> [(&'static str, i64); 11] {
        [
            ("home", self.home),
            ("free", self.free as i64),
            ("spare", self.spare as i64),
            ("fill", self.fill as i64),
            ("rx", self.rx as i64),
            ("tx", self.tx as i64),
            ("completion", self.completion as i64),
            ("device", self.device as i64),
            ("worker", self.batch as i64),
            ("handoff", self.handoff),
            ("held", self.held as i64),
        ]
    }
}

/// What came of writing maps to disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct SnapshotStats {
    /// Snapshots written; none when nothing changed.
    pub written: u64,
    /// Snapshots that could not be written. The one before is then the newest.
    pub failed: u64,
    /// Number of the newest.
    pub sequence: u64,
    /// Maps in it.
    pub maps: usize,
    /// Entries in it.
    pub entries: usize,
    /// Its bytes.
    pub bytes: u64,
    /// How long it took.
    pub last_seconds: f64,
}

/// What changes came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct SwapStats {
    /// Made.
    pub done: u64,
    /// Refused.
    pub refused: u64,
    /// Rollbacks by somebody's word.
    pub rolled_back: u64,
    /// Rollbacks by a probation's condition.
    pub tripped: u64,
    /// The last one: from publishing until no worker used the generation before, in seconds.
    pub last_seconds: f64,
    /// The longest.
    pub longest_seconds: f64,
    /// How long they took, by size.
    pub took: Durations,
    /// How long programs took to be proven, by size: every program of every change, and of the start.
    pub verified: Durations,
}
