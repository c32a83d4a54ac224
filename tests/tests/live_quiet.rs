//! What a worker of `weir run` asks of the kernel while packets flow: that it looks at its rings, and nothing else.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use weir_sys::namespace::Signal;
use weir_tests::net::weir::Folder;
use weir_tests::net::{Counted, Flood, Process, Topology, Weir, skip};

const CONFIG: &str = r#"
version = 1
[interface.wan]
device = "wan"
[interface.lan]
device = "lan"
[[program]]
name = "firewall"
object = "@ROOT@/programs/firewall/firewall.bpf.o"
attach = { hook = "xdp", interface = "wan" }
rodata = { policy = "XDP_PASS" }
[forward]
connect = { wan = "lan", lan = "wan" }
"#;

#[test]
fn a_worker_asks_the_kernel_for_wake_ups_alone() -> Result<()> {
    if skip("a_worker_asks_the_kernel_for_wake_ups_alone") {
        return Ok(());
    }
    if Command::new("strace").arg("-V").output().is_err() {
        println!("a_worker_asks_the_kernel_for_wake_ups_alone: skipped: needs strace");
        return Ok(());
    }
    let hosts = Topology::build()?;
    let mut weir = Weir::start(&hosts.weir, CONFIG)?;
    let worker = thread(weir.process()?.id(), "weir-w0")?;
    let flood =
        Flood::new(vec![hosts.flow(0, false)?]).impatient().start((&hosts.a, "a0"), (&hosts.b, "b0"))?;
    let before = Counted::ask(&weir)?.interface("wan", "received.packets")?;
    let folder = Folder::create()?;
    let file = folder.path().join("calls");
    let mut strace = Command::new("strace");
    strace.args(["-p", &worker.to_string(), "-o"]).arg(&file);
    let mut strace = Process::start(strace)?;
    strace.says("attached", Duration::from_secs(5))?;
    std::thread::sleep(Duration::from_millis(500));
    strace.signal(Signal::Interrupt)?;
    strace.finish(Duration::from_secs(5))?;
    // Only now: the worker is asked for its frames by a letter, which it reads by calls.
    let after = Counted::ask(&weir)?.interface("wan", "received.packets")?;
    flood.stop()?;
    let calls = calls(&file)?;
    let packets = after - before;
    ensure!(packets > 1000, "only {packets} packets came");
    println!("{packets} packets, {calls:?}");
    // A wake-up is one of the first two. A worker that found nothing for a while polls; `readv` is the TAP of an
    // interface, `read` the counter by which it is told of letters.
    const CALLS: [&str; 6] = ["sendto", "recvfrom", "poll", "ppoll", "read", "readv"];
    let others: Vec<_> = calls.keys().filter(|call| !CALLS.contains(&call.as_str())).collect();
    ensure!(others.is_empty(), "{others:?} of {calls:?}");
    let made = |names: &[&str]| names.iter().filter_map(|name| calls.get(*name)).sum::<u64>();
    // Nobody wrote to it meanwhile; a letter from before may have been waiting.
    ensure!(made(&["read"]) <= 1, "{packets} packets, {calls:?}");
    let wake_ups = made(&["sendto", "recvfrom"]);
    ensure!(wake_ups > 0 && made(&CALLS) < packets, "{packets} packets, {calls:?}");
    Ok(())
}

/// The number of a process's thread by its name.
fn thread(process: u32, name: &str) -> Result<u32> {
    for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
        let thread = thread?;
        if std::fs::read_to_string(thread.path().join("comm"))?.trim() == name {
            return Ok(thread.file_name().to_string_lossy().parse()?);
        }
    }
    anyhow::bail!("process {process} has no thread {name}")
}

/// How often each call was made, in a trace of one thread; the first and the last line may be parts of one.
fn calls(file: &Path) -> Result<BTreeMap<String, u64>> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let mut calls = BTreeMap::new();
    for line in text.lines() {
        let Some((name, _)) = line.split_once('(') else { continue };
        *calls.entry(name.to_owned()).or_insert(0) += 1;
    }
    Ok(calls)
}
