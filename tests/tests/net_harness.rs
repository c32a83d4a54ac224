//! The test hosts themselves: each zero that tests assert with them is shown to be more than zero when
//! something is broken on purpose.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use weir_sys::packet_socket::{Frames, PacketSocket};
use weir_tests::net::{Flood, Namespace, Number, Process, Topology, skip};
use weir_tests::program::root;

/// The kernel forwards in place of weir.
fn kernel_router(topology: &Topology) -> Result<()> {
    topology.weir.sysctl("net.ipv4.ip_forward", "1")?;
    topology.weir.sysctl("net.ipv6.conf.all.forwarding", "1")?;
    topology.a.run("ping -c 1 -W 2 198.51.100.2")?;
    topology.a.run("ping -c 1 -W 2 2001:db8:b::2")?;
    Ok(())
}

#[test]
fn nothing_is_lost_behind_the_kernel() -> Result<()> {
    if skip("nothing_is_lost_behind_the_kernel") {
        return Ok(());
    }
    let topology = Topology::build()?;
    kernel_router(&topology)?;
    let flood = Flood::new(topology.flows(8)?);
    let (from, to) = ((&topology.a, "a0"), (&topology.b, "b0"));
    let clean = flood.run(from, to, 100_000)?;
    println!("kernel: {}", clean.line());
    ensure!(clean.sent == 100_000 && clean.lost() == 0 && clean.unread == 0, "{}", clean.line());
    ensure!(clean.tally.duplicated + clean.tally.reordered + clean.tally.alien == 0, "{}", clean.line());
    ensure!(topology.weir.counter("wan", "rx.packets")? >= 100_000);

    ensure!(topology.a.counter("a0", "tx.packets")? >= 100_000);
    Ok(())
}

/// Carries frames from one device of the box to the other, badly: of a thousand, one is lost, one comes
/// twice, and two change places.
fn bad_relay(from: &PacketSocket, to: &PacketSocket, stop: &AtomicBool) -> Result<()> {
    let (mut frames, mut out) = (Frames::new(128), Frames::new(128));
    let (mut count, mut late) = (0u64, None);
    while !stop.load(Ordering::Relaxed) {
        from.receive(&mut frames)?;
        for frame in frames.iter().filter(|frame| Number::parse(frame).is_some()) {
            count += 1;
            out.clear();
            match count % 1000 {
                100 => {}
                200 => {
                    out.push(frame);
                    out.push(frame);
                }
                300 => late = Some(frame.to_vec()),
                // Eight flows take turns, so the ninth is of the same flow again.
                308 => {
                    out.push(frame);
                    out.push(&late.take().unwrap_or_default());
                }
                _ => {
                    out.push(frame);
                }
            }
            let mut sent = 0;
            while sent < out.len() {
                sent += to.send_from(&out, sent)?;
            }
        }
    }
    Ok(())
}

#[test]
fn a_relay_that_loses_one_in_a_thousand_is_caught() -> Result<()> {
    if skip("a_relay_that_loses_one_in_a_thousand_is_caught") {
        return Ok(());
    }
    let topology = Topology::build()?;
    let open = |device: &str| topology.weir.inside(|| PacketSocket::open(device));
    let (wan, lan) = (open("wan")??, open("lan")??);
    wan.receive_buffer(64 << 20)?;
    wan.receive_timeout(Duration::from_millis(5))?;
    let stop = AtomicBool::new(false);
    let (outcome, relay) = std::thread::scope(|scope| {
        let relay = scope.spawn(|| bad_relay(&wan, &lan, &stop));
        let flood = Flood::new(topology.flows(8)?);
        let outcome = flood.run((&topology.a, "a0"), (&topology.b, "b0"), 20_000);
        stop.store(true, Ordering::Relaxed);
        Ok::<_, anyhow::Error>((outcome?, relay.join()))
    })?;
    relay.map_err(|_| anyhow!("the relay died"))??;
    println!("bad relay: {}", outcome.line());
    ensure!(outcome.lost() == 20, "{}", outcome.line());
    ensure!(outcome.tally.duplicated == 20, "{}", outcome.line());
    ensure!(outcome.tally.reordered == 20, "{}", outcome.line());
    ensure!(outcome.tally.missing(outcome.sent).all(|id| id % 1000 == 99));
    Ok(())
}

#[test]
fn a_flood_outlives_a_link_that_flaps() -> Result<()> {
    if skip("a_flood_outlives_a_link_that_flaps") {
        return Ok(());
    }
    let topology = Topology::build()?;
    kernel_router(&topology)?;
    let running =
        Flood::new(topology.flows(4)?).impatient().start((&topology.a, "a0"), (&topology.b, "b0"))?;
    for _ in 0..3 {
        for state in ["down", "up"] {
            topology.weir.run(&format!("ip link set wan {state}"))?;
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    // IPv6 routes through the device went with it.
    let outcome = running.stop()?;
    println!("{}", outcome.line());
    ensure!(outcome.refused > 0 && outcome.tally.distinct() > 0, "{}", outcome.line());
    Ok(())
}

#[test]
fn what_runs_inside_ends_with_it() -> Result<()> {
    if skip("what_runs_inside_ends_with_it") {
        return Ok(());
    }
    let host = Namespace::create("short-lived")?;
    host.run("ip link add name d0 type veth peer name d1")?;
    let mut sleeper = host.start("sleep 100")?;
    ensure!(sleeper.runs()?);
    let path = host.path();
    ensure!(std::path::Path::new(&path).exists());
    drop(host);
    sleeper.wait(Duration::from_secs(2))?;

    // A panic unwinds through the guard like any other end.
    let died = std::panic::catch_unwind(|| {
        let host = Namespace::create("panicking").expect("it could be made above");
        let _sleeper = host.start("sleep 100").expect("it could be started above");
        std::panic::resume_unwind(Box::new("on purpose"));
    });
    ensure!(died.is_err());
    let failed = Namespace::create("failing")?.run("ip link show nowhere");
    let words = format!("{:#}", failed.expect_err("there is no such device"));
    ensure!(words.contains("in failing") && words.contains("nowhere"), "{words}");
    Ok(())
}

/// The script builds for people what [`Topology`] builds for tests, and takes all of it away.
#[test]
fn the_testbed_script_builds_and_clears() -> Result<()> {
    if skip("the_testbed_script_builds_and_clears") {
        return Ok(());
    }
    if Command::new("ethtool").arg("--version").output().is_err() {
        println!("the_testbed_script_builds_and_clears: skipped: needs ethtool");
        return Ok(());
    }
    let prefix = format!("test{}", std::process::id());
    let testbed = |words: &str| -> Result<(bool, String)> {
        let mut command = Command::new(root().join("scripts/testbed.sh"));
        command.args(words.split_whitespace()).env("WEIR_TESTBED", &prefix);
        let output = Process::start(command)?.finish(Duration::from_secs(20))?;
        Ok((output.success(), output.said()))
    };
    ensure!(!testbed("a true")?.0, "there is no host yet");
    let (built, said) = testbed("up")?;
    ensure!(built, "{said}");
    let outcome = (|| {
        ensure!(!testbed("up")?.0, "it is not built twice");
        ensure!(testbed("box sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")?.0);
        for far in ["198.51.100.2", "2001:db8:b::2"] {
            let (reached, said) = testbed(&format!("a ping -c 1 -W 2 {far}"))?;
            ensure!(reached, "{said}");
        }
        let shown = testbed("show")?.1;
        ensure!(shown.contains("192.0.2.1/24") && shown.contains("2001:db8:b::2/64"), "{shown}");
        Ok(())
    })();
    let (cleared, said) = testbed("down")?;
    outcome?;
    ensure!(cleared, "{said}");
    let left =
        std::fs::read_dir("/run/netns")?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let left: Vec<String> = left.filter(|name| name.starts_with(&prefix)).collect();
    ensure!(left.is_empty(), "left behind: {left:?}");
    Ok(())
}
