//! What a running weir says of itself: ports, workers, rings, and whether every packet is accounted for.

use std::collections::BTreeMap;

use weir_control::Action;
use weir_control::reply::{Interface, Interfaces, Stats};

use super::{Check, counted};
use crate::daemon::Daemon;
use crate::output::grouped;

/// A running weir.
#[derive(Clone, Debug, Default)]
pub(crate) struct Running {
    pub(crate) interfaces: Vec<Interface>,
    pub(crate) stats: Stats,
}

/// Counters of `struct xdp_statistics` that mean trouble, and what helps. `tx_ring_empty_descs` is not
/// among them: it counts also whenever there is nothing to send.
const TROUBLES: [(&str, &str, &str); 5] = [
    (
        "rx_dropped",
        "packets did not fit their frame or found no room, and the kernel dropped them",
        "a smaller MTU, or more frames: [interface] with larger rings",
    ),
    (
        "rx_ring_full",
        "packets came faster than the worker took them",
        "more workers ([workers] cores) and queues, or a cheaper program",
    ),
    (
        "rx_fill_ring_empty_descs",
        "the kernel had no frame of ours to put packets into",
        "more frames; `weir stats rings` says where they are held",
    ),
    ("rx_invalid_descs", "the kernel refused frames that we offered: this is our fault", "tell us of it"),
    ("tx_invalid_descs", "the kernel refused packets that we sent: this is our fault", "tell us of it"),
];

/// The counters of a queue that tell of packets lost, as far as they have counted any.
pub(crate) fn losses(xsk: &BTreeMap<String, u64>) -> impl Iterator<Item = (&str, u64)> {
    let told = xsk
        .iter()
        .filter(|(name, count)| **count > 0 && TROUBLES.iter().any(|(trouble, ..)| trouble == name));
    told.map(|(name, count)| (name.as_str(), *count))
}

impl Running {
    /// The daemon that answers, if one does.
    pub(crate) fn read(daemon: &Daemon) -> Option<Self> {
        let interfaces: Interfaces = daemon.get(&Action::Interfaces {}).ok()?;
        let stats: Stats = daemon.get(&Action::Stats {}).ok()?;
        Some(Self { interfaces: interfaces.interfaces, stats })
    }

    /// Its interface with this name, or at this device.
    pub(crate) fn interface(&self, name: &str) -> Option<&Interface> {
        let named = self.interfaces.iter().find(|interface| interface.name == name);
        named.or_else(|| self.interfaces.iter().find(|interface| interface.device.as_deref() == Some(name)))
    }
}

/// Judges a running weir, and one of its interfaces if it is meant.
pub(crate) fn judge(running: Option<&Running>, interface: Option<&str>) -> Vec<Check> {
    let Some(running) = running else {
        return vec![Check::ok("weir", "no daemon answers: this is about the machine alone")];
    };
    let mut checks = vec![workers(running), ledger(running)];
    if let Some(name) = interface {
        match running.interface(name) {
            Some(found) => checks.extend(port(found)),
            None => checks.push(Check::warn(
                "port",
                format!("the running weir has no interface at {name}"),
                format!("[interface.NAME] with device = \"{name}\" in its configuration"),
            )),
        }
    }
    checks
}

fn workers(running: &Running) -> Check {
    let workers = &running.stats.workers;
    let stuck: Vec<String> =
        workers.iter().filter(|worker| !worker.alive).map(|worker| worker.worker.to_string()).collect();
    match stuck.is_empty() {
        true => {
            Check::ok("workers", format!("{} at work", counted(workers.len(), "worker is", "workers are")))
        }
        false => Check::fault(
            "workers",
            format!("worker {} does not turn", stuck.join(", ")),
            "the daemon's log; what else runs on its core",
        ),
    }
}

fn ledger(running: &Running) -> Check {
    let ledger = &running.stats.ledger;
    match ledger.holds {
        true => {
            Check::ok("ledger", format!("all of {} packets are accounted for", grouped(ledger.packets.rx)))
        }
        false => Check::fault(
            "ledger",
            format!("{} packets and {} frames are unaccounted for", ledger.packets.lost, ledger.frames.lost),
            "this is our fault: tell us of it, with `weir -j stats`",
        ),
    }
}

fn port(interface: &Interface) -> Vec<Check> {
    if interface.state != "up" {
        let reason = interface.reason.as_deref().unwrap_or("no reason known");
        return vec![Check::fault(
            "port",
            format!("weir's port {} is down: {reason}", interface.name),
            "weir opens it again by itself once the device works: see the findings about it",
        )];
    }
    let how = match interface.zero_copy {
        Some(true) => "zero-copy",
        Some(false) => "copy mode",
        None => "no AF_XDP",
    };
    let mode = interface.mode.as_deref().map(|mode| format!(", {mode} XDP")).unwrap_or_default();
    let mut checks = vec![Check::ok(
        "port",
        format!(
            "weir's port {} is up: {how}{mode}, {}",
            interface.name,
            counted(interface.queues.len(), "queue", "queues")
        ),
    )];
    for (counter, meaning, remedy) in &TROUBLES {
        let total: u64 = interface.queues.iter().filter_map(|queue| queue.xsk.get(*counter)).sum();
        if total > 0 {
            checks.push(Check::warn("losses", format!("{counter} {}: {meaning}", grouped(total)), *remedy));
        }
    }
    checks
}

#[cfg(test)]
mod tests {
    use weir_control::reply::{Queue, WorkerStats};

    use super::*;
    use crate::commands::doctor::State;

    fn running() -> Running {
        let mut running = Running::default();
        running.stats.ledger.holds = true;
        running.stats.workers = vec![WorkerStats { alive: true, ..WorkerStats::default() }];
        running.interfaces = vec![Interface {
            name: "wan".to_owned(),
            device: Some("eth0".to_owned()),
            state: "up".to_owned(),
            zero_copy: Some(false),
            queues: vec![Queue::default()],
            ..Interface::default()
        }];
        running
    }

    fn bad(running: &Running, interface: &str) -> Vec<(&'static str, State)> {
        let checks = judge(Some(running), Some(interface)).into_iter();
        checks.filter(|check| check.state != State::Ok).map(|check| (check.name, check.state)).collect()
    }

    #[test]
    fn a_running_weir_is_asked_what_it_lost() {
        assert_eq!(bad(&running(), "eth0"), []);
        assert_eq!(bad(&running(), "wan"), []);
        assert_eq!(bad(&running(), "eth7"), [("port", State::Warn)]);

        let mut losing = running();
        losing.interfaces[0].queues[0].xsk.insert("rx_fill_ring_empty_descs".to_owned(), 9);
        assert_eq!(bad(&losing, "eth0"), [("losses", State::Warn)]);

        let mut down = running();
        down.interfaces[0].state = "down".to_owned();
        assert_eq!(bad(&down, "eth0"), [("port", State::Fault)]);

        let mut stuck = running();
        stuck.stats.workers[0].alive = false;
        stuck.stats.ledger.holds = false;
        assert_eq!(bad(&stuck, "eth0"), [("workers", State::Fault), ("ledger", State::Fault)]);
    }
}
