//! A weir of a test's own: its folder, its configuration, its process.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Once;
use std::time::{Duration, Instant};

use weir_control::reply::{Health, Stats};
use weir_control::{Action, Client};

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Packets that [`Traffic::Done`] plays.
pub(crate) const PACKETS: u64 = 1000;

/// Seconds for which [`Traffic::Flowing`] flows: what is made up is made before it starts.
const FLOWS: u64 = 60;

/// What the daemon is given to do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Traffic {
    /// [`PACKETS`] packets, which are through before the test begins: counters stand still.
    Done,
    /// So many packets a second, for a minute.
    Flowing(u32),
}

/// The folder where all of this file's daemons run, with objects and packets in it.
pub(crate) fn folder() -> &'static Path {
    static MADE: Once = Once::new();
    let folder = Path::new(concat!(env!("CARGO_TARGET_TMPDIR"), "/running"));
    MADE.call_once(|| {
        let _ = std::fs::remove_dir_all(folder);
        std::fs::create_dir_all(folder).unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for (object, name) in [
            ("programs/firewall/firewall.bpf.o", "firewall.o"),
            ("programs/classifier/classifier.bpf.o", "classifier.o"),
            ("programs/flowstats/flowstats.bpf.o", "flows.o"),
            ("programs/flowstats2/flowstats2.bpf.o", "flows2.o"),
            ("tests/corpus/live/tell.bpf.o", "tell.o"),
            ("tests/corpus/mistakes/03-bound-check-too-small.bpf.o", "bad.o"),
        ] {
            std::fs::copy(root.join(object), folder.join(name)).unwrap();
        }
        // An IPv4 packet to TCP port 80, with nothing in it.
        let mut packet = [0x02, 0, 0, 0, 0, 4, 0x02, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, 40].to_vec();
        packet.extend([0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 4, 0, 0, 80]);
        packet.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0]);
        packet.resize(60, 0);
        std::fs::write(folder.join("packet.bin"), packet).unwrap();
        std::env::set_current_dir(folder).unwrap();
    });
    folder
}

/// A configuration: traffic from wan through a firewall and a classifier to lan, and a wire in memory.
pub(crate) fn configuration(name: &str, traffic: Traffic) -> String {
    let (packets, pps) = match traffic {
        Traffic::Done => (PACKETS, 200_000),
        Traffic::Flowing(pps) => (u64::from(pps) * FLOWS, pps),
    };
    format!(
        r#"version = 1

[daemon]
socket = "{}"

[workers]
cores = [0]

[interface.wan]
driver = "pcap"
generate = {{ packets = {packets}, flows = 20, seed = 7, pps = {pps} }}
address = ["203.0.113.2/30"]

[interface.lan]
driver = "null"
address = ["192.0.2.1/24", "2001:db8:1::1/64"]

[interface.east]
driver = "memory"
peer = "west"

[interface.west]
driver = "memory"
peer = "east"

[[program]]
name = "firewall"
object = "firewall.o"
attach = {{ hook = "xdp", interface = "wan" }}
rodata = {{ policy = "XDP_PASS" }}

[program.maps]
deny4 = [{{ key = "10.0.7.0/24", value = 0 }}]
services = [
  {{ key = {{ protocol = "tcp", port = 80 }}, value = "XDP_PASS" }},
  {{ key = {{ protocol = "tcp", port = 22 }}, value = "XDP_DROP" }},
]

[[program]]
name = "classify"
object = "classifier.o"
attach = {{ hook = "tc", interface = "wan", classid = "1:1" }}

[program.maps]
by_service = [{{ key = {{ protocol = "tcp", port = 80 }}, value = "1:20" }}]

# Through the wire in memory and on to lan.
[forward]
connect = {{ wan = "east", west = "lan" }}

[[route]]
to = "198.51.100.0/24"
via = "192.0.2.254"

[[neighbor]]
address = "192.0.2.254"
dev = "lan"
mac = "02:00:00:00:01:fe"

[[class]]
id = "1:1"
name = "bulk"

[[class]]
id = "1:20"
name = "web"
"#,
        socket(name).display()
    )
}

/// Where a daemon's socket is.
pub(crate) fn socket(name: &str) -> PathBuf {
    folder().join(format!("{name}.sock"))
}

/// A process that runs.
pub(crate) struct Daemon {
    name: String,
    child: Child,
}

impl Daemon {
    /// One of the usual configuration, ready.
    pub(crate) fn start(name: &str, traffic: Traffic) -> Daemon {
        let text = configuration(name, traffic);
        std::fs::write(folder().join(format!("{name}.toml")), text).unwrap();
        let daemon = Daemon::run(name, &mut weir(&["run", &format!("{name}.toml")]));
        if matches!(traffic, Traffic::Done) {
            daemon.until("all packets are through", |stats| sum(stats, "lan").1 + dropped(stats) == PACKETS);
        }
        daemon
    }

    /// One by this command, ready.
    pub(crate) fn run(name: &str, command: &mut Command) -> Daemon {
        Daemon::inherit(name, command.stdin(Stdio::null()))
    }

    /// The same, with the standard input that the command has.
    pub(crate) fn inherit(name: &str, command: &mut Command) -> Daemon {
        let log = File::create(folder().join(format!("{name}.log"))).unwrap();
        command.stdout(Stdio::null()).stderr(log);
        let mut daemon = Daemon { name: name.to_owned(), child: command.spawn().unwrap() };
        let begin = Instant::now();
        while daemon.client().get::<Health>(&Action::Readyz {}).is_err() {
            let ended = daemon.child.try_wait().unwrap();
            assert!(ended.is_none() && begin.elapsed() < PATIENCE, "{ended:?}: {}", daemon.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        daemon
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(socket(&self.name)).unwrap()
    }

    pub(crate) fn stats(&self) -> Stats {
        self.client().get(&Action::Stats {}).unwrap()
    }

    /// What it has said so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(folder().join(format!("{}.log", self.name))).unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the counters say so.
    pub(crate) fn until(&self, what: &str, wanted: impl Fn(&Stats) -> bool) -> Stats {
        let begin = Instant::now();
        loop {
            let stats = self.stats();
            if wanted(&stats) {
                return stats;
            }
            assert!(begin.elapsed() < PATIENCE, "in vain until {what}: {stats:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the log says this.
    pub(crate) fn says(&self, text: &str) {
        let begin = Instant::now();
        while !self.log().contains(text) {
            assert!(begin.elapsed() < PATIENCE, "never said `{text}`: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.pid().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits for the end.
    pub(crate) fn ended(mut self) -> ExitStatus {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begin.elapsed() < PATIENCE, "it does not end: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Asks it to end, and sees that it does so with everything accounted for.
    pub(crate) fn end(self) {
        self.signal("TERM");
        let (socket, log) = (socket(&self.name), folder().join(format!("{}.log", self.name)));
        let status = self.ended();
        assert!(
            status.success() && status.signal().is_none(),
            "{status}: {:?}",
            std::fs::read_to_string(log)
        );
        assert!(!socket.exists(), "the socket's file stays");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The binary: this build's, or another that `WEIR` names, such as a release's for figures.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("WEIR").map_or_else(|| env!("CARGO_BIN_EXE_weir").into(), PathBuf::from)
}

/// The command line, in the folder of daemons.
pub(crate) fn weir(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments).current_dir(folder()).env_remove("WEIR_SOCK").env_remove("NOTIFY_SOCKET");
    command.env_remove("WEIR_LOG").env("NO_COLOR", "1");
    command
}

/// The command line, asking this daemon; what it printed, when it ended with this code.
pub(crate) fn ask(daemon: &Daemon, code: i32, arguments: &[&str]) -> String {
    let socket = socket(&daemon.name);
    let Output { status, stdout, stderr } = weir(arguments).env("WEIR_SOCK", socket).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert_eq!(status.code(), Some(code), "{arguments:?}: {stdout}{stderr}");
    format!("{stdout}{stderr}")
}

/// Packets that an interface received and sent.
pub(crate) fn sum(stats: &Stats, interface: &str) -> (u64, u64) {
    let found = stats.interfaces.iter().find(|found| found.name == interface).unwrap();
    (found.received.packets, found.transmitted.packets)
}

/// Packets dropped for any reason.
pub(crate) fn dropped(stats: &Stats) -> u64 {
    stats.drops.iter().map(|drop| drop.packets).sum()
}
