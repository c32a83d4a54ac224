//! A running weir follows routes that a routing daemon learned by the network that weir itself carries, and shows what
//! it follows.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use weir_tests::net::router::{ROUTER, until_reached, until_silent};
use weir_tests::net::topology::V4;
use weir_tests::net::weir::Folder;
use weir_tests::net::{Counted, Namespace, Process, Topology, Weir, skip};
use weir_tests::program::root;

const SECOND: Duration = Duration::from_secs(1);
/// How long two neighbours may take to speak BGP.
const BGP: Duration = Duration::from_secs(15);

const BOX: &str = "
router id 198.51.100.1;
protocol device { scan time 1; }
protocol kernel { ipv4 { export all; import none; }; }
protocol bgp peer {
    local 198.51.100.1 as 65001;
    neighbor 198.51.100.2 as 65002;
    connect delay time 1; connect retry time 1; error wait time 1, 1;
    ipv4 { import all; export none; };
}
";
const PEER: &str = "
router id 198.51.100.2;
protocol device { scan time 1; }
protocol static net { ipv4; route 10.8.0.0/16 blackhole; }
protocol bgp box {
    local 198.51.100.2 as 65002;
    neighbor 198.51.100.1 as 65001;
    connect delay time 1; connect retry time 1; error wait time 1, 1;
    ipv4 { import none; export all; next hop self; };
}
";

fn bird(host: &Namespace, folder: &Folder, name: &str, config: &str) -> Result<Process> {
    let path = folder.write(&format!("{name}.conf"), config)?;
    let (path, folder) = (path.display(), folder.path().display());
    host.start(&format!("bird -f -c {path} -s {folder}/{name}.ctl -P {folder}/{name}.pid"))
}

/// How long until a condition holds.
fn until(what: &str, limit: Duration, mut holds: impl FnMut() -> Result<bool>) -> Result<Duration> {
    let start = Instant::now();
    while !holds()? {
        ensure!(start.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(start.elapsed())
}

#[test]
fn what_bird_learns_is_followed() -> Result<()> {
    if skip("what_bird_learns_is_followed") {
        return Ok(());
    }
    let topology = Topology::build()?;
    let Topology { a, b, weir: host } = &topology;
    if host.try_run("bird --version", SECOND).is_err() {
        println!("what_bird_learns_is_followed: skipped: needs bird");
        return Ok(());
    }
    // A session with a neighbour on the link is bound to the device: it goes past weir, by the user's own word.
    let config = ROUTER.replace("device = \"lan\"", "device = \"lan\"\npunt = [\"arp\", \"nd\", \"bgp\"]");
    let weir = Weir::start(host, &config)?;
    until_reached(a, V4[3], 3 * SECOND).with_context(|| weir.said())?;
    b.run("ip addr add 10.8.0.1/32 dev lo")?;
    let folder = Folder::create()?;
    let _here = bird(host, &folder, "box", BOX)?;
    let _there = bird(b, &folder, "peer", PEER)?;
    let control = format!("birdc -s {}/peer.ctl", folder.path().display());
    let has = || Ok(host.run("ip route show proto bird")?.contains("10.8.0.0/16"));
    until("BIRD learns the route", BGP, has)?;
    let came = until_reached(a, "10.8.0.1", SECOND).with_context(|| weir.said())?;
    let routes = weir.json(&["route", "show"])?;
    let all = routes["routes"].as_array().context("routes")?;
    let found = all.iter().find(|route| route["to"] == "10.8.0.0/16").context("the route is not shown")?;
    ensure!(found["protocol"] == "bird" && found["source"] == "kernel", "{found}");
    b.run(&format!("{control} disable net"))?;
    until("BIRD takes it back", BGP, || Ok(!has()?))?;
    let went = until_silent(a, "10.8.0.1", SECOND)?;
    println!("bird: followed after {} ms, gone after {} ms", came.as_millis(), went.as_millis());
    Counted::ask(&weir)?.holds()
}

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
