//! Two hosts behind `weir run config/router.toml`: what people do with a router.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use weir_tests::net::router::{reaches, transfer, until_reached, until_silent};
use weir_tests::net::topology::{V4, V6};
use weir_tests::net::{Counted, Namespace, Topology, Weir, full_scale, skip};
use weir_tests::program::root;

use crate::SECOND;

/// The configuration that people are given, as it is; its objects are where they are.
pub(crate) fn router() -> Result<String> {
    let text = std::fs::read_to_string(root().join("config/router.toml"))?;
    Ok(text.replace("\"../programs/", "\"@ROOT@/programs/"))
}

/// Nothing was lost on the way.
pub(crate) fn accounted(weir: &Weir) -> Result<()> {
    Counted::ask(weir)?.holds()
}

#[test]
fn hosts_reach_each_other() -> Result<()> {
    if skip("hosts_reach_each_other") {
        return Ok(());
    }
    let topology = Topology::build()?;
    let Topology { a, b, .. } = &topology;
    ensure!(!reaches(a, V4[3])?, "without weir nobody forwards");
    let weir = Weir::start(&topology.weir, &router()?)?;
    for (from, far) in [(a, V4[3]), (a, V6[3]), (b, V4[0]), (b, V6[0])] {
        until_reached(from, far, 3 * SECOND).with_context(|| weir.said())?;
        let said = from.run(&format!("ping -n -c 20 -i 0.01 -W 1 {far}"))?;
        ensure!(said.contains(" 0% packet loss") && !said.contains("DUP"), "{said}");
        from.run(&format!("ping -n -c 3 -i 0.01 -W 1 -M do -s 1400 {far}"))?;
    }
    accounted(&weir)
}

#[test]
fn the_router_answers_for_itself() -> Result<()> {
    if skip("the_router_answers_for_itself") {
        return Ok(());
    }
    let topology = Topology::build()?;
    let a = &topology.a;
    let weir = Weir::start(&topology.weir, &router()?)?;
    until_reached(a, V4[3], 3 * SECOND).with_context(|| weir.said())?;
    until_reached(a, V6[3], 3 * SECOND)?;
    for (family, addresses) in [("-4", V4), ("-6", V6)] {
        let hops = a.run(&format!("traceroute {family} -n -q 1 -w 2 -m 4 {}", addresses[3]))?;
        let lines: Vec<&str> = hops.lines().skip(1).collect();
        ensure!(lines.len() == 2, "two hops: {hops}");
        ensure!(lines[0].contains(&format!(" {} ", addresses[1])), "weir's address first: {hops}");
        ensure!(lines[1].contains(&format!(" {} ", addresses[3])), "then the host: {hops}");
    }
    // Nowhere: the box has no default route.
    let none = a.try_run("ping -n -c 2 -i 0.2 -W 1 203.0.113.7", 5 * SECOND)?;
    ensure!(none.out.contains("From 192.0.2.1") && none.out.contains("Net Unreachable"), "{}", none.said());
    let none = a.try_run("ping -n -c 2 -i 0.2 -W 1 2001:db8:c::7", 5 * SECOND)?;
    ensure!(none.out.contains("From 2001:db8:a::1") && none.out.contains("No route"), "{}", none.said());
    accounted(&weir)
}

#[test]
fn what_is_too_big_is_told_the_size() -> Result<()> {
    if skip("what_is_too_big_is_told_the_size") {
        return Ok(());
    }
    let topology = Topology::build()?;
    topology.weir.run("ip link set lan mtu 1300")?;
    let weir = Weir::start(&topology.weir, &router()?)?;
    let a = &topology.a;
    until_reached(a, V4[3], 3 * SECOND).with_context(|| weir.said())?;
    until_reached(a, V6[3], 3 * SECOND)?;
    let told = a.try_run(&format!("ping -n -c 2 -i 0.2 -W 1 -M do -s 1400 {}", V4[3]), 5 * SECOND)?;
    ensure!(told.out.contains("From 192.0.2.1") && told.out.contains("mtu = 1300"), "{}", told.said());
    let told = a.try_run(&format!("ping -n -c 2 -i 0.2 -W 1 -M do -s 1400 {}", V6[3]), 5 * SECOND)?;
    let told = told.said();
    ensure!(
        told.contains("Packet too big") && told.contains("mtu=1300") || told.contains("mtu = 1300"),
        "{told}"
    );
    // And TCP finds its way by it.
    transfer(a, &topology.b, V4[3], 1 << 20)?;
    transfer(a, &topology.b, V6[3], 1 << 20)?;
    accounted(&weir)
}

#[test]
fn transfers_arrive_whole() -> Result<()> {
    if skip("transfers_arrive_whole") {
        return Ok(());
    }
    let topology = Topology::build()?;
    let Topology { a, b, .. } = &topology;
    let weir = Weir::start(&topology.weir, &router()?)?;
    until_reached(a, V4[3], 3 * SECOND).with_context(|| weir.said())?;
    let bytes = if full_scale() { 1 << 30 } else { 25 << 20 };
    for (from, to, far) in [(a, b, V4[3]), (b, a, V4[0]), (a, b, V6[3])] {
        let rate = transfer(from, to, far, bytes)?;
        println!("{} to {far}: {} MiB whole at {:.0} Mbit/s", from.name(), bytes >> 20, rate * 8.0 / 1e6);
    }
    accounted(&weir)
}

/// iperf3's report as JSON.
fn iperf(client: &Namespace, words: &str) -> Result<Value> {
    let text = client.try_run(&format!("iperf3 -J -i 0 {words}"), Duration::from_secs(60))?;
    let report: Value = serde_json::from_str(&text.out).with_context(|| text.said())?;
    ensure!(report["error"].is_null(), "iperf3 {words}: {}", report["error"]);
    Ok(report)
}

#[test]
fn iperf_runs_both_ways() -> Result<()> {
    if skip("iperf_runs_both_ways") {
        return Ok(());
    }
    let topology = Topology::build()?;
    let Topology { a, b, .. } = &topology;
    if a.try_run("iperf3 --version", SECOND).is_err() {
        println!("iperf_runs_both_ways: skipped: needs iperf3");
        return Ok(());
    }
    let weir = Weir::start(&topology.weir, &router()?)?;
    until_reached(a, V4[3], 3 * SECOND).with_context(|| weir.said())?;
    until_reached(a, V6[3], 3 * SECOND)?;
    let mut server = b.start("iperf3 -s --forceflush")?;
    server.says("listening", 2 * SECOND)?;
    let time = if full_scale() { 10 } else { 1 };
    for far in [V4[3], V6[3]] {
        for words in ["", "-R", "--bidir"] {
            let report = iperf(a, &format!("-c {far} -t {time} {words}"))?;
            let rate = report["end"]["sum_received"]["bits_per_second"].as_f64().unwrap_or(0.0);
            println!("iperf3 TCP {far} {words}: {:.0} Mbit/s", rate / 1e6);
            ensure!(rate > 10e6, "TCP {far} {words}: {rate} bit/s");
        }
        for words in ["", "-R"] {
            let report = iperf(a, &format!("-c {far} -t {time} -u -b 50M -l 1200 {words}"))?;
            let sum = &report["end"]["sum"];
            println!("iperf3 UDP {far} {words}: lost {} of {}", sum["lost_packets"], sum["packets"]);
            ensure!(sum["packets"].as_u64().unwrap_or(0) > 1000, "UDP {far} {words}: {sum}");
            // On a machine that is busy with other things rings overflow, which the kernel counts.
            let counted = Counted::ask(&weir)?;
            let missed = counted.missed("wan") + counted.missed("lan");
            let lost = sum["lost_packets"].as_u64().unwrap_or(u64::MAX);
            let most = missed + sum["packets"].as_u64().unwrap_or(0) / 100;
            ensure!(
                lost <= most,
                "UDP {far} {words}: {sum}, and {missed} were missed; {}",
                counted.0["drops"]
            );
        }
    }
    accounted(&weir)
}

#[test]
fn the_box_itself_is_reached() -> Result<()> {
    if skip("the_box_itself_is_reached") {
        return Ok(());
    }
    let topology = Topology::build()?;
    let Topology { a, weir: host, .. } = &topology;
    let weir = Weir::start(host, &router()?)?;
    for addresses in [V4, V6] {
        // By the near address, and by the far one.
        for own in [addresses[1], addresses[2]] {
            until_reached(a, own, 3 * SECOND).with_context(|| weir.said())?;
            let said = a.run(&format!("ping -n -c 10 -i 0.01 -W 1 {own}"))?;
            ensure!(said.contains(" 0% packet loss"), "{said}");
            transfer(a, host, own, 1 << 20).with_context(|| format!("TCP to the box at {own}"))?;
        }
        // And the box speaks by itself.
        ensure!(reaches(host, addresses[0])?, "the box reaches {}", addresses[0]);
        transfer(host, a, addresses[0], 1 << 20).context("TCP from the box")?;
    }
    accounted(&weir)
}

#[test]
fn routes_are_followed_within_a_second() -> Result<()> {
    if skip("routes_are_followed_within_a_second") {
        return Ok(());
    }
    let topology = Topology::build()?;
    let Topology { a, b, weir: host } = &topology;
    let weir = Weir::start(host, &router()?)?;
    until_reached(a, V4[3], 3 * SECOND).with_context(|| weir.said())?;
    until_reached(a, V6[3], 3 * SECOND)?;
    for (own, net, via) in [("10.9.0.1/32", "10.9.0.0/16", V4[3]), ("fd09::1/128", "fd09::/32", V6[3])] {
        let far = own.split('/').next().context("an address")?;
        b.run(&format!("ip addr add {own} dev lo"))?;
        ensure!(!reaches(a, far)?, "there is no route to {far} yet");
        host.run(&format!("ip route add {net} via {via}"))?;
        let came = until_reached(a, far, SECOND)?;
        host.run(&format!("ip route del {net}"))?;
        let went = until_silent(a, far, SECOND)?;
        println!(
            "ip route: {net} followed after {} ms, gone after {} ms",
            came.as_millis(),
            went.as_millis()
        );
    }
    accounted(&weir)
}

#[test]
fn a_silent_host_is_found() -> Result<()> {
    if skip("a_silent_host_is_found") {
        return Ok(());
    }
    let topology = Topology::build()?;
    let Topology { a, b, weir: host } = &topology;
    let weir = Weir::start(host, &router()?)?;
    until_reached(a, V4[1], 3 * SECOND).with_context(|| weir.said())?;
    until_reached(a, V6[1], 3 * SECOND)?;
    for far in [V4[3], V6[3]] {
        for host in [host, b] {
            host.run("ip neigh flush all")?;
        }
        // The first packet waits for the neighbour; it is not the price of finding it.
        let said = a.run(&format!("ping -n -c 3 -i 0.2 -W 2 {far}"))?;
        ensure!(said.contains(" 0% packet loss"), "{far}: {said}");
    }
    // A host that is not there: the packets that waited for it are dropped by name, and a is told.
    let none = a.try_run("ping -n -c 3 -i 0.5 -W 4 198.51.100.77", 10 * SECOND)?;
    ensure!(none.out.contains("From 192.0.2.1") && none.out.contains("Host Unreachable"), "{}", none.said());
    accounted(&weir)
}

/// The device has no XDP program, and weir's own devices are gone.
fn clean(host: &Namespace) -> Result<bool> {
    let links = host.run("ip -d link show")?;
    Ok(!links.contains("xdp") && !links.contains("weir-"))
}

#[test]
fn interfaces_are_left_as_they_were_found() -> Result<()> {
    if skip("interfaces_are_left_as_they_were_found") {
        return Ok(());
    }
    let topology = Topology::build()?;
    let Topology { a, weir: host, .. } = &topology;
    let shown = |host: &Namespace| -> Result<(String, String)> {
        Ok((host.run("ip -o addr show")?, host.run("ip route show table all")?))
    };
    let found = shown(host)?;
    let mut weir = Weir::start(host, &router()?)?;
    until_reached(a, V4[3], 3 * SECOND).with_context(|| weir.said())?;
    ensure!(!clean(host)?, "this test sees the program");
    weir.stop()?;
    ensure!(clean(host)?, "after a stop: {}", host.run("ip -d link show")?);
    ensure!(shown(host)? == found, "after a stop: {:?}, found {found:?}", shown(host)?);
    ensure!(reaches(a, V4[1])?, "the kernel has its interface back");

    weir.run(&router()?)?;
    until_reached(a, V4[3], 3 * SECOND).with_context(|| weir.said())?;
    weir.kill()?;
    let took = host.until("the interface is clean after kill -9", 2 * SECOND, clean)?;
    println!("clean {} ms after kill -9", took.as_millis());
    ensure!(reaches(a, V4[1])?, "the kernel has its interface back after kill -9");
    weir.run(&router()?)?;
    until_reached(a, V4[3], 3 * SECOND).with_context(|| weir.said())?;
    accounted(&weir)
}
