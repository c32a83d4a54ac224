//! Routes that the kernel has from others: BIRD, several gateways by weight, and changes that weir did not hear of.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use weir_tests::net::deaf::Deaf;
use weir_tests::net::router::{reaches, until_reached, until_silent};
use weir_tests::net::topology::{V4, V6};
use weir_tests::net::weir::Folder;
use weir_tests::net::{Topology, Weir, skip};

use crate::SECOND;
use crate::router::{accounted, router};

/// BIRD's configuration: two routes to b that it is told to have, and to give to the kernel.
fn bird_config() -> String {
    let protocol = |family: &str, net: &str, via: &str| {
        format!(
            "protocol static s{family} {{ disabled; ipv{family}; route {net} via {via}; }}\n\
             protocol kernel k{family} {{ ipv{family} {{ export all; }}; }}\n"
        )
    };
    let both = [protocol("4", "10.8.0.0/16", V4[3]), protocol("6", "fd08::/32", V6[3])];
    format!("log stderr all;\nrouter id {};\nprotocol device {{ scan time 1; }}\n{}", V4[1], both.concat())
}

#[test]
fn birds_routes_are_followed_within_a_second() -> Result<()> {
    if skip("birds_routes_are_followed_within_a_second") {
        return Ok(());
    }
    if std::process::Command::new("bird").arg("--version").output().is_err() {
        println!("birds_routes_are_followed_within_a_second: skipped: needs bird (scripts/install-tools.sh)");
        return Ok(());
    }
    let topology = Topology::build()?;
    let Topology { a, b, weir: host } = &topology;
    let weir = Weir::start(host, &router()?)?;
    let folder = Folder::create()?;
    let (config, control) = (folder.write("bird.conf", bird_config())?, folder.path().join("bird.ctl"));
    let mut bird = host.start(&format!("bird -f -c {} -s {}", config.display(), control.display()))?;
    let ask = |words: &str| host.run(&format!("birdc -s {} {words}", control.display()));
    host.until("BIRD answers", 5 * SECOND, |_| Ok(ask("show status").is_ok()))
        .with_context(|| bird.said())?;
    until_reached(a, V4[3], 3 * SECOND).with_context(|| weir.said())?;
    until_reached(a, V6[3], 3 * SECOND)?;
    for (own, far, family) in [("10.8.0.1/32", "10.8.0.1", "4"), ("fd08::1/128", "fd08::1", "6")] {
        b.run(&format!("ip addr add {own} dev lo"))?;
        ensure!(!reaches(a, far)?, "there is no route to {far} yet");
        ask(&format!("enable s{family}"))?;
        let came = until_reached(a, far, SECOND).with_context(|| bird.said())?;
        let shown = weir.ask(&["route", "get", far])?;
        ensure!(shown.contains("bird"), "{shown}");
        ask(&format!("disable s{family}"))?;
        let went = until_silent(a, far, SECOND)?;
        println!("BIRD: {far} followed after {} ms, gone after {} ms", came.as_millis(), went.as_millis());
    }
    bird.end();
    accounted(&weir)
}

/// Sends one datagram to each of so many addresses behind the box, and says how many came by each of two gateways.
fn spread(topology: &Topology, count: u32) -> Result<[u64; 2]> {
    let came = |device: &str| topology.b.counter(device, "rx.packets");
    let before = [came("gw1")?, came("gw2")?];
    topology.a.inside(|| -> Result<()> {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
        for at in 0..count {
            socket.send_to(b"which way?", format!("10.7.{}.{}:9", at / 250, at % 250 + 1))?;
            // Not faster than a virtual device takes them on a busy machine.
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    })??;
    let mut now = before;
    topology.b.until("all have come", 5 * SECOND, |_| {
        now = [came("gw1")? - before[0], came("gw2")? - before[1]];
        Ok(now[0] + now[1] >= u64::from(count))
    })?;
    Ok(now)
}

#[test]
fn weighted_gateways_get_their_shares() -> Result<()> {
    if skip("weighted_gateways_get_their_shares") {
        return Ok(());
    }
    let topology = Topology::build()?;
    let Topology { a, b, weir: host } = &topology;
    // Two gateways at b's wire, each with a link address of its own, which answers for itself alone.
    for (at, address) in [(1, "198.51.100.11"), (2, "198.51.100.12")] {
        b.run(&format!("ip link add link b0 name gw{at} type macvlan mode bridge"))?;
        b.sysctl(&format!("net.ipv4.conf.gw{at}.arp_ignore"), "1")?;
        b.sysctl(&format!("net.ipv4.conf.gw{at}.rp_filter"), "0")?;
        b.run(&format!("ip addr add {address}/24 dev gw{at} noprefixroute"))?;
        b.run(&format!("ip link set gw{at} up"))?;
    }
    b.sysctl("net.ipv4.conf.all.arp_ignore", "1")?;
    b.sysctl("net.ipv4.conf.all.rp_filter", "0")?;
    let weir = Weir::start(host, &router()?)?;
    until_reached(a, V4[3], 3 * SECOND).with_context(|| weir.said())?;
    for address in ["198.51.100.11", "198.51.100.12"] {
        until_reached(a, address, 3 * SECOND).with_context(|| format!("{address}: {}", weir.said()))?;
    }
    const COUNT: u32 = 1000;
    for weights in [[1, 3], [3, 1], [1, 1]] {
        let [one, other] = weights;
        host.run(&format!(
            "ip route replace 10.7.0.0/16 nexthop via 198.51.100.11 weight {one} nexthop via 198.51.100.12 weight {other}"
        ))?;
        let words = weir.ask(&["route", "show", "10.7.0.0/16"])?;
        std::thread::sleep(SECOND);
        let came = spread(&topology, COUNT)?;
        let wanted = f64::from(COUNT * one) / f64::from(one + other);
        println!(
            "weights {weights:?}: {came:?} packets, about {wanted} of them by the first; {}",
            words.trim()
        );
        ensure!((came[0] as f64 - wanted).abs() < f64::from(COUNT) * 0.1, "{weights:?}: {came:?}");
    }
    accounted(&weir)
}

#[test]
fn a_drift_is_found_mended_and_counted() -> Result<()> {
    if skip("a_drift_is_found_mended_and_counted") {
        return Ok(());
    }
    let topology = Topology::build()?;
    let Topology { a, b, weir: host } = &topology;
    let mut weir = Weir::start(host, &router()?.replace("\"60s\"", "\"1s\""))?;
    b.run("ip addr add 10.6.0.1/32 dev lo")?;
    host.run(&format!("ip route add 10.6.0.0/16 via {}", V4[3]))?;
    until_reached(a, "10.6.0.1", 3 * SECOND).with_context(|| weir.said())?;
    let counted = |weir: &Weir| -> Result<u64> {
        weir.json(&["stats"])?["routes"]["drift_total"].as_u64().context("drift is counted")
    };
    ensure!(counted(&weir)? == 0, "nothing has drifted yet");
    let deaf = Deaf::make(weir.process()?.id())?;
    host.run("ip route del 10.6.0.0/16")?;
    host.run(&format!("ip route add 10.5.0.0/16 via {}", V4[3]))?;
    // It compares once a second: the route that went is taken out, the one that came is put in, both are counted.
    host.until("the drift is found", 5 * SECOND, |_| Ok(counted(&weir)? == 2))
        .with_context(|| weir.said())?;
    until_silent(a, "10.6.0.1", SECOND)?;
    b.run("ip addr add 10.5.0.1/32 dev lo")?;
    until_reached(a, "10.5.0.1", SECOND)?;
    let metrics =
        host.run(&format!("curl -s --unix-socket {} http://weir/metrics", weir.socket().display()))?;
    ensure!(metrics.lines().any(|line| line == "weir_fib_mended_routes_total 2.0"), "{metrics}");
    deaf.heal()?;
    // It hears again: no comparison is waited for, and none finds anything.
    host.run("ip route del 10.5.0.0/16")?;
    until_silent(a, "10.5.0.1", SECOND)?;
    std::thread::sleep(2 * SECOND);
    ensure!(counted(&weir)? == 2, "what was heard is no drift");
    accounted(&weir)
}
