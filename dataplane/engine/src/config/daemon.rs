//! What a running weir is told beside its pipeline: the daemon itself, its workers, its router.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::is_default;

/// A time, such as `"50us"`, `"100ms"`, `"1m 30s"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(pub Duration);

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parsed = humantime::parse_duration(&text);
        parsed.map(Span).map_err(|error| format!("`{text}` is no time: {error}; wanted such as \"100ms\""))
    }
}

impl From<Span> for String {
    fn from(span: Span) -> Self {
        span.to_string()
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

/// The daemon: where it listens, what it keeps, whom it becomes. Replay has no use for it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Daemon {
    /// The control socket.
    pub socket: PathBuf,
    /// Where metrics are served by TCP as well, such as `127.0.0.1:9477`; absent: on the socket only.
    pub metrics: Option<std::net::SocketAddr>,
    /// Where snapshots of maps are kept; absent: nowhere.
    pub state_dir: Option<PathBuf>,
    /// How often maps are written to it.
    pub snapshot_every: Span,
    /// The user it becomes after its set-up, when it was started by root.
    pub user: Option<String>,
    /// Members of this group may do everything by the socket.
    pub group: String,
    /// Members of this group may look.
    pub group_read: String,
}

impl Default for Daemon {
    fn default() -> Self {
        Self {
            socket: "/run/weir/weir.sock".into(),
            metrics: None,
            state_dir: None,
            snapshot_every: Span(Duration::from_secs(10)),
            user: None,
            group: "weir".to_owned(),
            group_read: "weir-ro".to_owned(),
        }
    }
}

/// Worker threads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Workers {
    /// Cores to pin them to, one worker each. Absent: every core this process may use.
    pub cores: Option<Vec<usize>>,
    /// What they do when nothing comes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub idle: Idle,
    /// Frames of the process in all; absent: as many as the ports' rings and the workers ask for.
    pub frames: Option<usize>,
}

/// What workers do when nothing comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Idle {
    /// For so long they look again at once.
    pub spin: Span,
    /// Then they sleep until a packet wakes them, at most for so long.
    pub wait: Span,
}

impl Default for Idle {
    fn default() -> Self {
        Self { spin: Span(Duration::from_micros(50)), wait: Span(Duration::from_millis(100)) }
    }
}

/// The router beside the pipeline: the kernel's tables mirrored, errors answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Router {
    /// Whether packets between ports are routed: what the fast path gives up on is answered or held.
    #[serde(default)]
    pub enabled: bool,
    /// Which of the kernel's routes are followed; absent: none.
    pub kernel_fib: Option<KernelFib>,
    /// Which ICMP errors are sent.
    #[serde(default, skip_serializing_if = "is_default")]
    pub icmp: Icmp,
}

/// Which of the kernel's routes are followed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct KernelFib {
    /// A table by name (`main`) or number.
    pub table: String,
    /// Protocols by iproute2's names (`kernel`, `static`, `bird`); empty: all.
    pub protocols: Vec<String>,
    /// How often the mirror is compared with the kernel's tables.
    pub verify_every: Span,
}

impl Default for KernelFib {
    fn default() -> Self {
        Self { table: "main".to_owned(), protocols: Vec::new(), verify_every: Span(Duration::from_secs(60)) }
    }
}

/// Which ICMP errors the router sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Icmp {
    /// At most so many a second and worker.
    pub rate: u32,
    /// Time exceeded: what traceroute lives on.
    pub ttl_exceeded: bool,
    /// Destination unreachable: no route, prohibited, no neighbour.
    pub unreachable: bool,
    /// Fragmentation needed, packet too big.
    pub pmtu: bool,
}

impl Default for Icmp {
    fn default() -> Self {
        Self { rate: 100, ttl_exceeded: true, unreachable: true, pmtu: true }
    }
}
