//! A running weir beside its kernel: it follows the kernel's routes, many at once, and does not drift; and what it
//! passes to the kernel is the device's own.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use weir_tests::net::router::{ROUTER, until_reached};
use weir_tests::net::topology::V4;
use weir_tests::net::weir::Folder;
use weir_tests::net::{Counted, Namespace, Topology, Weir, skip};
use weir_tests::program::root;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn what_is_followed_is_shown_and_does_not_drift() -> Result<()> {
    if skip("what_is_followed_is_shown_and_does_not_drift") {
        return Ok(());
    }
    let topology = Topology::build()?;
    let Topology { a, b, weir: host } = &topology;
    // The configuration that people begin with, but for how often it compares.
    let config = std::fs::read_to_string(root().join("config/router.toml"))?;
    let config = config.replace("../programs", "@ROOT@/programs").replace("\"60s\"", "\"1s\"");
    let weir = Weir::start(host, &config)?;
    until_reached(a, V4[3], 3 * SECOND).with_context(|| weir.said())?;
    let batch: String = (0..2000)
        .map(|at| format!("route add 10.{}.{}.0/24 via {}\n", 64 + at / 256, at % 256, V4[3]))
        .collect();
    let folder = Folder::create()?;
    let path = folder.write("routes", batch)?;
    host.run(&format!("ip -batch {}", path.display()))?;
    b.run("ip addr add 10.71.207.1/32 dev lo")?;
    let came = until_reached(a, "10.71.207.1", SECOND).with_context(|| weir.said())?;
    println!("2000 routes: the last was followed {} ms after ip(8) ended", came.as_millis());
    // A comparison each second.
    std::thread::sleep(Duration::from_millis(2500));
    let stats: Value = weir.json(&["stats", "routes"])?;
    ensure!(stats["drift_total"] == 0, "{stats}");
    ensure!(stats["routes"]["ipv4"]["boot"].as_u64() >= Some(2000), "{stats}");
    let neighbours = weir.json(&["neigh", "show"])?.to_string();
    ensure!(neighbours.contains(V4[0]) && neighbours.contains(V4[3]), "{neighbours}");
    let way = weir.ask(&["route", "get", "10.71.207.1"])?;
    ensure!(way.contains(V4[3]) && way.contains("lan"), "{way}");
    Counted::ask(&weir)?.holds()
}

/// The link-local address of a device.
fn link_local(host: &Namespace, device: &str) -> Result<String> {
    let found: Value =
        serde_json::from_str(&host.run(&format!("ip -j -6 addr show dev {device} scope link"))?)?;
    // ip(8) leaves empty objects where other addresses would be.
    let all = found[0]["addr_info"].as_array().context("addresses")?;
    let own = all.iter().find_map(|one| one["local"].as_str());
    Ok(own.with_context(|| format!("{device} has no link-local address: {found}"))?.to_owned())
}

#[test]
fn what_is_passed_is_the_devices_own() -> Result<()> {
    if skip("what_is_passed_is_the_devices_own") {
        return Ok(());
    }
    let topology = Topology::build()?;
    let Topology { a, weir: host, .. } = &topology;
    let weir = Weir::start(host, ROUTER)?;
    for round in ["at first", "when the device is another one"] {
        until_reached(a, V4[1], 5 * SECOND).with_context(|| format!("{round}: {}", weir.said()))?;
        // An address that is valid on its link only, and a group: neither is the TAP device's.
        let own = link_local(host, "wan")?;
        until_reached(a, &format!("{own}%a0"), 3 * SECOND).context(round)?;
        let all = a.try_run("ping -n -c 2 -i 0.2 -W 1 ff02::1%a0", 5 * SECOND)?;
        ensure!(all.out.contains(&format!("from {own}%a0")), "{round}: {own} is not in {}", all.said());
        if round == "at first" {
            host.run("ip link del wan")?;
            topology.wire("a0", "wan", 1500)?;
        }
    }
    Counted::ask(&weir)?.holds()
}
