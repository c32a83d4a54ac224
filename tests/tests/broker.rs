//! The broker as the process it is: what it can do for a daemon, what it cannot do itself, and that everything it
//! made goes with the daemon.

use std::os::fd::AsFd as _;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use weir_io::afxdp::{Kernel as _, Punt};
use weir_io::broker::Client;
use weir_sys::namespace::{NetNamespace, Signal, signal};
use weir_sys::tap::Tap;
use weir_tests::net::weir::binary;

/// Runs `test` in an empty network namespace, on a thread of its own.
fn alone(name: &str, test: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
    let Ok(namespace) = NetNamespace::create() else {
        println!("{name}: skipped: needs CAP_SYS_ADMIN for a network namespace");
        return Ok(());
    };
    let inside = thread::spawn(move || {
        namespace.enter()?;
        test()
    });
    inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn ip(arguments: &str) -> Result<String> {
    let answer = Command::new("ip").args(arguments.split(' ')).output()?;
    ensure!(answer.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&answer.stderr));
    Ok(String::from_utf8(answer.stdout)?)
}

fn pair() -> Result<()> {
    ip("link add v0 numrxqueues 2 numtxqueues 2 type veth peer name v1 numrxqueues 2 numtxqueues 2")?;
    ip("link set v0 up")?;
    ip("link set v1 up").map(|_| ())
}

fn start() -> Result<Client> {
    Ok(Client::spawn(Command::new(binary()?).arg("broker").env_clear())?)
}

fn within(limit: Duration, mut holds: impl FnMut() -> Result<bool>) -> Result<bool> {
    let end = Instant::now() + limit;
    while !holds()? {
        if Instant::now() > end {
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(true)
}

#[test]
fn a_daemon_without_privileges_gets_ports_and_leaves_nothing() -> Result<()> {
    alone("a_daemon_without_privileges_gets_ports_and_leaves_nothing", || {
        pair()?;
        let broker = start()?;
        let attached = broker.attach("v0", &Punt::default(), None)?;
        println!("{attached:?}");
        ensure!(attached.queues == 2 && attached.mtu == 1500);
        ensure!(ip("-d link show v0")?.contains("xdp"), "no program on v0");
        let socket = broker.socket()?;
        broker.install("v0", 1, socket.as_fd())?;
        let beyond = broker.install("v0", 2, socket.as_fd()).err().context("there are two queues")?;
        ensure!(beyond.errno != 0, "{beyond}");
        broker.remove("v0", 1)?;
        broker.punt("v0", &Punt::nothing())?;
        let tap = Tap::adopt(broker.tap("weir-v0", attached.mac, attached.mtu)?)?;
        ensure!(tap.name() == "weir-v0" && ip("link show weir-v0")?.contains("UP"));
        ip("addr add 10.1.0.1/24 dev v1")?;
        ip("addr add 10.1.0.2/24 dev v0")?;
        broker.resolve(attached.ifindex, "10.1.0.9".parse()?)?;
        ensure!(ip("neigh show dev v0")?.contains("10.1.0.9"), "{}", ip("neigh show dev v0")?);
        let nobody =
            broker.attach("nowhere0", &Punt::default(), None).err().context("attached to nothing")?;
        println!("{nobody}");
        drop(broker);
        ensure!(!ip("-d link show v0")?.contains("xdp"), "the program stays on v0");
        drop(tap);
        ensure!(ip("link show weir-v0").is_err(), "the TAP device stays");
        Ok(())
    })
}

#[test]
fn a_broker_is_confined_and_ends_with_its_daemon_only() -> Result<()> {
    alone("a_broker_is_confined_and_ends_with_its_daemon_only", || {
        pair()?;
        let broker = start()?;
        // An answer means that it has entered its sandbox.
        broker.attach("v0", &Punt::default(), None)?;
        let process = broker.process().context("it is a process")?;
        let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.map(str::trim).unwrap_or_default().to_owned()
        };
        // CAP_NET_ADMIN (12), CAP_NET_RAW (13), CAP_BPF (39), and nothing to gain.
        ensure!(field("CapEff:") == "0000008000003000", "{}", field("CapEff:"));
        ensure!(field("CapPrm:") == field("CapEff:") && field("CapBnd:") == field("CapEff:"));
        ensure!((field("NoNewPrivs:"), field("Seccomp:")) == ("1".to_owned(), "2".to_owned()), "{status}");
        let maps = std::fs::read_to_string(format!("/proc/{process}/maps"))?;
        let both =
            maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|p| p.contains("wx"))).count();
        ensure!(both == 0);
        let open: Vec<_> = std::fs::read_dir(format!("/proc/{process}/fd"))?.flatten().collect();
        println!("broker: CapEff {}, {} descriptors, W+X maps {both}", field("CapEff:"), open.len());
        // What a service manager or a terminal sends to all is not for it.
        signal(process, Signal::Term)?;
        signal(process, Signal::Interrupt)?;
        thread::sleep(Duration::from_millis(20));
        ensure!(!broker.is_gone());
        broker.punt("v0", &Punt::nothing())?;
        // Killed, it takes its links along, and the daemon sees it.
        signal(process, Signal::Kill)?;
        ensure!(within(Duration::from_secs(2), || Ok(broker.is_gone()))?);
        ensure!(within(Duration::from_secs(2), || Ok(!ip("-d link show v0")?.contains("xdp")))?);
        let words = broker.detach("v0").err().context("a dead broker answers")?.to_string();
        ensure!(words.contains("the broker has ended"), "{words}");
        Ok(())
    })
}

#[test]
fn people_are_told_that_it_is_not_for_them() -> Result<()> {
    let answer = Command::new(binary()?).arg("broker").stdin(std::process::Stdio::null()).output()?;
    let words = String::from_utf8_lossy(&answer.stderr);
    ensure!(answer.status.code() == Some(1) && words.contains("started by `weir run` only"), "{words}");
    Ok(())
}
