//! Who is measured: a table of names, and how each is started.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use weir_tests::net::Weir;
use weir_tests::net::{Namespace, Process};
use weir_tests::program::root;

/// What is done with the packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// All that arrives on `in` is dropped by the subject; counted where it is handed over.
    Drop,
    /// All that arrives on `in` leaves by `out`; counted at `out`'s peer.
    Forward,
    /// The same, by a route and a neighbour that are looked up, one hop off, the checksum and addresses rewritten.
    Route,
}

impl Scenario {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Scenario::Drop => "receive and drop",
            Scenario::Forward => "forward between two ports",
            Scenario::Route => "route between two ports",
        }
    }
}

/// Where a subject's work is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a process with sockets on the devices.
    Process,
    /// In the kernel, by a program on `in`.
    Hook,
    /// In the kernel's stack.
    Stack,
}

/// One side of the comparison.
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) scenario: Scenario,
    pub(crate) place: Place,
    how: How,
}

enum How {
    /// `weir run` with this configuration of `bench/ports/`.
    Weir(&'static str),
    /// This program, with these words after `be CORE`.
    Part(&'static str),
    /// A peer's program and its words.
    Peer(&'static str, &'static str),
    /// Nothing: the host is set up so that the kernel does it.
    Nothing,
}

/// The first of each scenario is weir as people run it: what the others are compared with. Peers run as their own
/// documentation starts them, in copy mode, which is all that veth has, on one core.
pub(crate) const SUBJECTS: [Subject; 14] = [
    row("weir run", Scenario::Drop, Place::Process, How::Weir("drop.toml")),
    row("weir's port alone", Scenario::Drop, Place::Process, How::Part("weir-drop in")),
    row("testpmd af_xdp rxonly", Scenario::Drop, Place::Process, How::Peer("dpdk-testpmd", TESTPMD_DROP)),
    row(
        "testpmd, no busy polling",
        Scenario::Drop,
        Place::Process,
        How::Peer("dpdk-testpmd", TESTPMD_DROP_STILL),
    ),
    row("xdpsock rxdrop", Scenario::Drop, Place::Process, How::Peer("xdpsock", XDPSOCK)),
    row("kernel XDP_DROP", Scenario::Drop, Place::Hook, How::Part("drop in")),
    row("weir run", Scenario::Forward, Place::Process, How::Weir("forward.toml")),
    row("weir's ports alone", Scenario::Forward, Place::Process, How::Part("weir-forward in out")),
    row("xsk_fwd", Scenario::Forward, Place::Process, How::Peer("xsk_fwd", XSK_FWD)),
    row(
        "testpmd af_xdp iofwd",
        Scenario::Forward,
        Place::Process,
        How::Peer("dpdk-testpmd", TESTPMD_FORWARD),
    ),
    row("kernel XDP_REDIRECT", Scenario::Forward, Place::Hook, How::Part("redirect in out")),
    row("weir run", Scenario::Route, Place::Process, How::Weir("route.toml")),
    row("same program, kernel XDP", Scenario::Route, Place::Hook, How::Part("route in")),
    row("kernel ip_forward", Scenario::Route, Place::Stack, How::Nothing),
];

const fn row(name: &'static str, scenario: Scenario, place: Place, how: How) -> Subject {
    Subject { name, scenario, place, how }
}

const XDPSOCK: &str = "-i in -q 0 -r -N -c --interval=60";
const XSK_FWD: &str = "-i in -i out -c CORE";
/// testpmd wants a core for its console besides the one that forwards.
const TESTPMD_DROP: &str = "-l 0,CORE --main-lcore=0 --no-huge -m 512 --no-pci --no-shconf \
    --vdev=net_af_xdp0,iface=in -- \
    --forward-mode=rxonly --auto-start --stats-period=60 --no-lsc-interrupt --total-num-mbufs=16384";
/// Its driver asks for busy polling unless told not to.
const TESTPMD_DROP_STILL: &str = "-l 0,CORE --main-lcore=0 --no-huge -m 512 --no-pci --no-shconf \
    --vdev=net_af_xdp0,iface=in,busy_budget=0 -- \
    --forward-mode=rxonly --auto-start --stats-period=60 --no-lsc-interrupt --total-num-mbufs=16384";
const TESTPMD_FORWARD: &str = "-l 0,CORE --main-lcore=0 --no-huge -m 512 --no-pci --no-shconf \
    --vdev=net_af_xdp0,iface=in --vdev=net_af_xdp1,iface=out -- \
    --forward-mode=io --auto-start --stats-period=60 --no-lsc-interrupt --total-num-mbufs=32768";

/// A subject that was started; it ends with this.
pub(crate) enum Running<'host> {
    Weir(Box<Weir<'host>>),
    Process(Box<Process>),
    Nothing,
}

impl Running<'_> {
    /// That it did not end by itself.
    pub(crate) fn check(&mut self) -> Result<()> {
        let process = match self {
            Running::Weir(weir) => weir.process()?,
            Running::Process(process) => process,
            Running::Nothing => return Ok(()),
        };
        anyhow::ensure!(process.runs()?, "it ended: {}", process.said());
        Ok(())
    }

    pub(crate) fn said(&self) -> String {
        match self {
            Running::Weir(weir) => weir.said(),
            Running::Process(process) => process.said(),
            Running::Nothing => String::new(),
        }
    }
}

impl Subject {
    /// Why it cannot be measured here, if so.
    pub(crate) fn missing(&self, peers: &Path) -> Option<String> {
        match self.how {
            How::Peer(program, _) if find(program, peers).is_none() => {
                Some(format!("there is no {program} in {} or the path: scripts/peers.sh", peers.display()))
            }
            How::Peer(..) | How::Weir(_) | How::Part(_) | How::Nothing => None,
        }
    }

    /// Starts it on a core.
    pub(crate) fn start<'host>(
        &self,
        host: &'host Namespace,
        core: usize,
        peers: &Path,
    ) -> Result<Running<'host>> {
        match self.how {
            How::Nothing => Ok(Running::Nothing),
            How::Weir(config) => {
                let config = std::fs::read_to_string(root().join("bench/ports").join(config))?;
                let config = config.replace("@CORE@", &core.to_string());
                Ok(Running::Weir(Box::new(Weir::start(host, &config)?)))
            }
            How::Part(words) => {
                let line = format!("{} be {core} {}", own_path()?, words);
                Ok(Running::Process(Box::new(host.start(&line)?)))
            }
            How::Peer(program, words) => {
                let path = find(program, peers).with_context(|| format!("no {program}"))?;
                Ok(Running::Process(Box::new(host.spawn(peer(&path, words, core, peers))?)))
            }
        }
    }
}

fn peer(path: &Path, words: &str, core: usize, peers: &Path) -> std::process::Command {
    let core = core.to_string();
    let mut command = std::process::Command::new(path);
    // Who is not told its core by its own words is told by this.
    if !words.contains("CORE") {
        command = std::process::Command::new("taskset");
        command.args(["-c", &core]).arg(path);
    }
    command.args(words.split_whitespace().map(|word| word.replace("CORE", &core)));
    command.env("LIBXDP_SKIP_DISPATCHER", "1");
    let shim = peers.join("nolimit.so");
    if shim.is_file() {
        command.env("LD_PRELOAD", shim);
    }
    command
}

pub(crate) fn own_path() -> Result<String> {
    Ok(std::env::current_exe()?.display().to_string())
}

/// A peer's program: where `scripts/peers.sh` put it, or in the path.
fn find(program: &str, peers: &Path) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(peers.to_owned()).chain(std::env::split_paths(&path));
    folders.map(|folder| folder.join(program)).find(|file| file.is_file())
}
