//! A network namespace with a thread that lives in it.

use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use weir_sys::namespace::{NetNamespace, end_with_this_thread};
use weir_sys::offload::{self, Offload};

use super::process::{Output, Process};

/// How long a command that should be quick may take.
const COMMAND: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce() + Send>;

/// A namespace; gone when dropped, with all that runs in it.
pub struct Namespace {
    name: String,
    held: NetNamespace,
    /// The thread inside that starts processes; they are killed when it ends.
    resident: Sender<Job>,
}

impl Namespace {
    /// A new one with its loopback up. `name` is for messages only.
    pub fn create(name: &str) -> Result<Self> {
        let held = NetNamespace::create().context("making a network namespace")?;
        let inside = NetNamespace::open(std::path::Path::new(&path(&held)))?;
        let (resident, jobs) = channel::<Job>();
        let (ready, entered) = channel();
        std::thread::Builder::new().name(format!("in {name}")).spawn(move || {
            let entry = inside.enter();
            let failed = entry.is_err();
            drop(inside);
            ready.send(entry).ok();
            if !failed {
                jobs.iter().for_each(|job| job());
            }
        })?;
        entered.recv().context("the resident thread died")?.context("entering the namespace")?;
        let namespace = Self { name: name.to_owned(), held, resident };
        namespace.run("ip link set lo up")?;
        Ok(namespace)
    }

    /// What it is called in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A path to it, for `ip link set … netns PATH` and `nsenter --net=PATH`, as long as it lives.
    pub fn path(&self) -> String {
        path(&self.held)
    }

    /// Calls something in a thread inside; sockets that it opens belong to the namespace ever after.
    pub fn inside<T: Send>(&self, call: impl FnOnce() -> T + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| self.held.enter().map(|()| call()));
            let answer = thread.join().map_err(|panic| anyhow!("in {}: {}", self.name, words(&panic)))?;
            answer.with_context(|| format!("entering {}", self.name))
        })
    }

    /// Runs a command line (split at spaces) that must end well within ten seconds; its standard output.
    pub fn run(&self, line: &str) -> Result<String> {
        let output = self.try_run(line, COMMAND)?;
        ensure!(output.success(), "in {}: `{line}` failed: {}", self.name, output.said());
        Ok(output.out)
    }

    /// Runs one command line after the other.
    pub fn run_all(&self, lines: &[&str]) -> Result<()> {
        lines.iter().try_for_each(|line| self.run(line).map(|_| ()))
    }

    /// Runs a command line to its end, whatever that is, within a limit.
    pub fn try_run(&self, line: &str, limit: Duration) -> Result<Output> {
        let mut words = line.split_whitespace();
        let mut command = Command::new(words.next().context("an empty command line")?);
        command.args(words);
        self.spawn(command)?.finish(limit).with_context(|| format!("in {}: `{line}`", self.name))
    }

    /// Starts a shell script that must end well within a limit; its standard output.
    pub fn shell(&self, script: &str, limit: Duration) -> Result<String> {
        let mut command = Command::new("sh");
        command.args(["-euc", script]);
        let output = self.spawn(command)?.finish(limit)?;
        ensure!(output.success(), "in {}: `{script}` failed: {}", self.name, output.said());
        Ok(output.out)
    }

    /// Starts a process inside; its output is collected.
    pub fn spawn(&self, mut command: Command) -> Result<Process> {
        let (answer, started) = channel();
        let job = move || {
            end_with_this_thread(&mut command);
            answer.send(Process::start(command)).ok();
        };
        self.resident.send(Box::new(job)).map_err(|_| anyhow!("{}'s resident thread died", self.name))?;
        started.recv().with_context(|| format!("{}'s resident thread died", self.name))?
    }

    /// The same, from a command line split at spaces.
    pub fn start(&self, line: &str) -> Result<Process> {
        let mut words = line.split_whitespace();
        let mut command = Command::new(words.next().context("an empty command line")?);
        command.args(words);
        self.spawn(command)
    }

    /// Sets a sysctl by its name with dots; device names with dots are not meant.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        let wrote = self.inside(|| std::fs::write(&path, value))?;
        wrote.with_context(|| format!("in {}: {name} = {value}", self.name))
    }

    /// Switches an offload of a device.
    pub fn offload(&self, device: &str, which: Offload, on: bool) -> Result<()> {
        let set = self.inside(|| offload::set(device, which, on))?;
        set.with_context(|| format!("in {}: {which:?} of {device}", self.name))
    }

    /// One number of a device's statistics as `ip -s -j link` shows them: `rx.packets`, `tx.dropped`.
    pub fn counter(&self, device: &str, name: &str) -> Result<u64> {
        let text = self.run(&format!("ip -s -s -j link show dev {device}"))?;
        let links: serde_json::Value = serde_json::from_str(&text)?;
        let mut value = &links[0]["stats64"];
        for part in name.split('.') {
            value = &value[part];
        }
        value.as_u64().with_context(|| format!("{device} has no counter {name}"))
    }

    /// Asks until the answer is yes; how long that took. An error after `limit`.
    pub fn until(
        &self,
        what: &str,
        limit: Duration,
        mut yes: impl FnMut(&Self) -> Result<bool>,
    ) -> Result<Duration> {
        let start = Instant::now();
        loop {
            let last = yes(self);
            if matches!(last, Ok(true)) {
                return Ok(start.elapsed());
            }
            if start.elapsed() > limit {
                match last {
                    Err(error) => return Err(error.context(format!("not within {limit:?}: {what}"))),
                    Ok(_) => bail!("not within {limit:?}: {what}"),
                }
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A pair of devices, each in its namespace, up, with GRO on so that XDP runs natively at either end
/// (a veth has NAPI only with GRO or a program at the peer).
pub fn veth(one: (&Namespace, &str), other: (&Namespace, &str), mtu: u32) -> Result<()> {
    let (left, right) = (one.1, other.1);
    one.0.run(&format!(
        "ip link add name {left} mtu {mtu} type veth peer name {right} mtu {mtu} netns {}",
        other.0.path()
    ))?;
    for (host, device) in [one, other] {
        host.offload(device, Offload::ReceiveCoalescing, true)?;
        host.run(&format!("ip link set {device} up"))?;
    }
    Ok(())
}

fn path(held: &NetNamespace) -> String {
    use std::os::fd::{AsFd as _, AsRawFd as _};
    format!("/proc/{}/fd/{}", std::process::id(), held.as_fd().as_raw_fd())
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}
