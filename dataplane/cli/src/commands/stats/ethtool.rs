//! An interface's figures in the shape of `ethtool -S`, which scripts know how to read.

use weir_control::reply::Stats;

/// Every figure of an interface, a line each; `None` when there is no such interface.
pub(super) fn statistics(now: &Stats, interface: &str) -> Option<String> {
    let found = now.interfaces.iter().find(|found| found.name == interface)?;
    let mut rows = vec![
        ("rx_packets".to_owned(), found.received.packets),
        ("rx_bytes".to_owned(), found.received.bytes),
        ("tx_packets".to_owned(), found.transmitted.packets),
        ("tx_bytes".to_owned(), found.transmitted.bytes),
        ("host_packets".to_owned(), found.passed.packets),
        ("host_bytes".to_owned(), found.passed.bytes),
        ("dropped_packets".to_owned(), found.dropped),
    ];
    let drops = now.drops.iter().filter(|drop| drop.interface == interface);
    rows.extend(
        drops.map(|drop| (format!("drop_{}_{}", word(&drop.stage), word(&drop.reason)), drop.packets)),
    );
    for queue in now.queues.iter().filter(|queue| queue.interface == interface) {
        let number = queue.queue;
        rows.extend(
            queue.frames.iter().map(|(ring, frames)| (format!("queue_{number}_{ring}_frames"), *frames)),
        );
        rows.extend(queue.xsk.iter().map(|(name, count)| (format!("queue_{number}_xsk_{name}"), *count)));
    }
    let lines = rows.into_iter().map(|(name, value)| format!("     {name}: {value}"));
    Some(format!("NIC statistics:\n{}", lines.collect::<Vec<_>>().join("\n")))
}

/// A name with underscores only.
fn word(name: &str) -> String {
    name.replace(['-', ' ', '.'], "_")
}
