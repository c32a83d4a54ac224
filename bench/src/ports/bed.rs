//! The namespace in which one subject is measured, its devices, and what they count.
//!
//! ```text
//!   core A                                core B
//!   generator ─ gen ═ in ─ NAPI ──────→ subject ─ out ═ sink ─ XDP_DROP
//!               (veth)                            (veth)
//! ```

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;
use weir_sys::offload::Offload;
use weir_tests::net::{Counted, Namespace, Process, Weir};

use super::subject::{Place, Running, Scenario, Subject, own_path};

/// How long a subject may take until it receives, and packets until they are where they end.
const READY: Duration = Duration::from_secs(15);

/// Devices, the last number of their link addresses, and their addresses; the generator is 10.0.0.1, behind the
/// sink's 10.0.1.1 there is 10.2.0.0/16.
const DEVICES: [(&str, u8, Option<&str>); 4] = [
    ("gen", 1, None),
    ("in", 2, Some("10.0.0.254/24")),
    ("out", 3, Some("10.0.1.254/24")),
    ("sink", 4, None),
];

/// Devices with a sink at their end.
pub(crate) struct Bed {
    pub(crate) host: Namespace,
    core: usize,
    _sink: Process,
}

impl Bed {
    /// Everything but generator and subject.
    pub(crate) fn lay(core: usize) -> Result<Bed> {
        let host = Namespace::create("bench")?;
        for (one, other) in [("gen", "in"), ("out", "sink")] {
            let queues = "numrxqueues 1 numtxqueues 1";
            host.run(&format!("ip link add {one} {queues} type veth peer name {other} {queues}"))?;
        }
        for (device, last, address) in DEVICES {
            host.sysctl(&format!("net.ipv6.conf.{device}.disable_ipv6"), "1")?;
            host.run(&format!("ip link set {device} address 02:00:00:00:00:0{last} up"))?;
            if let Some(address) = address {
                host.run(&format!("ip address add {address} dev {device}"))?;
            }
        }
        host.sysctl("net.ipv4.ip_forward", "1")?;
        host.run("ip route add 10.2.0.0/16 via 10.0.1.1")?;
        host.run("ip neighbour add 10.0.1.1 lladdr 02:00:00:00:00:04 dev out nud permanent")?;
        // The generator sends XDP frames, which a veth takes when it has NAPI: by a program or by this.
        host.offload("in", Offload::ReceiveCoalescing, true)?;
        let sink = host.start(&format!("{} be {core} drop sink", own_path()?))?;
        let bed = Bed { host, core, _sink: sink };
        bed.attached(&["sink"])?;
        Ok(bed)
    }

    /// Waits until programs are on devices.
    fn attached(&self, devices: &[&str]) -> Result<()> {
        self.host.until("programs are on the devices", READY, |host| {
            let attached =
                |device: &&str| Ok(host.run(&format!("ip -d link show {device}"))?.contains("prog/xdp"));
            devices.iter().map(attached).try_fold(true, |all, one: Result<bool>| Ok(all && one?))
        })?;
        Ok(())
    }

    /// Waits until a subject has its devices.
    pub(crate) fn ready(&self, subject: &Subject, running: &Running<'_>) -> Result<()> {
        let devices: &[&str] = match (subject.place, subject.scenario) {
            (Place::Stack, _) => &[],
            (Place::Hook, _) | (Place::Process, Scenario::Drop) => &["in"],
            (Place::Process, Scenario::Forward | Scenario::Route) => &["in", "out"],
        };
        self.attached(devices).with_context(|| running.said())?;
        // Sockets are bound after programs are there.
        std::thread::sleep(Duration::from_millis(300));
        Ok(())
    }

    /// Starts the packets.
    pub(crate) fn generate(&self) -> Result<Process> {
        self.host.start(&format!("{} be {} generator gen", own_path()?, self.core))
    }

    /// What a subject has done so far.
    pub(crate) fn count(&self, subject: &Subject) -> Result<u64> {
        match (subject.scenario, subject.place) {
            (Scenario::Drop, Place::Process) => self.counter("in", "rx_queue_0_xdp_redirect"),
            (Scenario::Drop, Place::Hook | Place::Stack) => self.counter("in", "rx_queue_0_xdp_drops"),
            (Scenario::Forward | Scenario::Route, _) => self.counter("sink", "rx_queue_0_xdp_drops"),
        }
    }

    /// One of a veth's own counters.
    fn counter(&self, device: &str, counter: &str) -> Result<u64> {
        let text = self.host.run(&format!("ethtool -S {device}"))?;
        let line = text.lines().find_map(|line| line.trim().strip_prefix(counter)?.strip_prefix(": "));
        line.and_then(|value| value.parse().ok())
            .with_context(|| format!("{device} has no {counter}:\n{text}"))
    }

    /// Where every packet of a run of weir went, once no more come.
    pub(crate) fn account(&self, weir: &Weir<'_>) -> Result<Account> {
        let mut last = None;
        self.host.until("counters stand still", READY, |_| {
            std::thread::sleep(Duration::from_millis(100));
            let now = self.account_now(weir)?;
            let still = last == Some(now);
            last = Some(now);
            Ok(still)
        })?;
        last.context("it was counted at least once")
    }

    fn account_now(&self, weir: &Weir<'_>) -> Result<Account> {
        let counted = Counted::ask(weir)?;
        let own = |name: &str| {
            let lost = counted.0["ledger"][name]["lost"].as_i64();
            lost.with_context(|| format!("the ledger has no {name}.lost: {}", counted.line()))
        };
        Ok(Account {
            generated: self.counter("gen", "tx_queue_0_xdp_xmit")?,
            no_room: self.counter("in", "rx_queue_0_drops")?,
            handed_over: self.counter("in", "rx_queue_0_xdp_redirect")?,
            received: counted.interface("in", "received.packets")?,
            dropped: counted.interface("in", "dropped")? + counted.interface("out", "dropped").unwrap_or(0),
            passed: counted.interface("in", "passed.packets")?,
            // Where there is no such interface, nothing was sent.
            transmitted: counted.interface("out", "transmitted.packets").unwrap_or(0),
            wire_full: self.host.counter("out", "tx.dropped")?,
            arrived: self.counter("sink", "rx_queue_0_xdp_packets")?,
            weirs_own: own("packets")?,
            frames: own("frames")?,
        })
    }
}

/// Where the packets of a run went: each line of the kernel's and of weir's own counting, from the first to the
/// last device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Account {
    /// Put onto the wire by the generator.
    pub generated: u64,
    /// Dropped by the kernel, as the socket's rings were full: the subject was slower.
    pub no_room: u64,
    /// Put into the socket's ring by the kernel.
    pub handed_over: u64,
    /// Received by weir.
    pub received: u64,
    /// Dropped by weir, for a reason.
    pub dropped: u64,
    /// Passed to the host by weir.
    pub passed: u64,
    /// Sent by weir.
    pub transmitted: u64,
    /// Dropped by the kernel, as the second wire was full.
    pub wire_full: u64,
    /// Come to the sink.
    pub arrived: u64,
    /// What weir itself could not account for.
    pub weirs_own: i64,
    /// Frames without an owner.
    pub frames: i64,
}

impl Account {
    /// Packets and frames that are in one count and not in the next.
    pub(crate) fn unaccounted(&self) -> u64 {
        self.generated.abs_diff(self.no_room + self.handed_over)
            + self.handed_over.abs_diff(self.received)
            + self.received.abs_diff(self.dropped + self.passed + self.transmitted)
            + self.transmitted.abs_diff(self.wire_full + self.arrived)
            + self.weirs_own.unsigned_abs()
            + self.frames.unsigned_abs()
    }
}

impl std::ops::AddAssign for Account {
    fn add_assign(&mut self, other: Account) {
        self.generated += other.generated;
        self.no_room += other.no_room;
        self.handed_over += other.handed_over;
        self.received += other.received;
        self.dropped += other.dropped;
        self.passed += other.passed;
        self.transmitted += other.transmitted;
        self.wire_full += other.wire_full;
        self.arrived += other.arrived;
        self.weirs_own += other.weirs_own;
        self.frames += other.frames;
    }
}

/// That the stats that were read are those of a conserving run, in words.
pub(crate) fn sentence(account: &Account) -> String {
    let Account { generated, no_room, handed_over, received, dropped, passed, transmitted, .. } = account;
    let Account { wire_full, arrived, .. } = account;
    format!(
        "generated {generated} = no room {no_room} + handed over {handed_over}; received {received} = \
         dropped {dropped} + passed {passed} + sent {transmitted}; sent = wire full {wire_full} + arrived {arrived}; \
         unaccounted {}",
        account.unaccounted()
    )
}
