//! A running weir follows the kernel's routes, many at once, shows what it follows, and does not drift.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use weir_tests::net::router::until_reached;
use weir_tests::net::topology::V4;
use weir_tests::net::weir::Folder;
use weir_tests::net::{Counted, Topology, Weir, skip};
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
    ensure!(stats["drift"] == 0, "{stats}");
    ensure!(stats["routes"]["ipv4"]["boot"].as_u64() >= Some(2000), "{stats}");
    let neighbours = weir.json(&["neigh", "show"])?.to_string();
    ensure!(neighbours.contains(V4[0]) && neighbours.contains(V4[3]), "{neighbours}");
    let way = weir.ask(&["route", "get", "10.71.207.1"])?;
    ensure!(way.contains(V4[3]) && way.contains("lan"), "{way}");
    Counted::ask(&weir)?.holds()
}
