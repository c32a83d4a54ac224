//! What helpers need from the world, as one trait: clocks, randomness, ports, routes, sinks.
//!
//! The engine wires the real thing; tests wire [`TestEnv`], whose answers are fields to set.

use weir_ebpf::abi::Errno;
use weir_maps::Map;
use weir_sys::clock;

/// The clocks that helpers read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Clock {
    /// `bpf_ktime_get_ns`: monotonic.
    Monotonic,
    /// `bpf_ktime_get_boot_ns`: monotonic, time asleep included.
    Boot,
    /// `bpf_ktime_get_coarse_ns`: monotonic as of the last tick.
    Coarse,
    /// `bpf_ktime_get_tai_ns`: international atomic time.
    Tai,
    /// Time of day, which timers may go by.
    Real,
}

impl Clock {
    /// Nanoseconds of this machine's clock: what an [`Env`] that does not make time up answers.
    pub fn system_ns(self) -> u64 {
        clock::now_ns(match self {
            Clock::Monotonic => clock::Clock::Monotonic,
            Clock::Boot => clock::Clock::Boot,
            Clock::Coarse => clock::Clock::MonotonicCoarse,
            Clock::Tai => clock::Clock::Tai,
            Clock::Real => clock::Clock::Real,
        })
    }
}

/// What is known of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PortInfo {
    /// Most bytes of a packet without its link header.
    pub mtu: u32,
    /// Its own address.
    pub mac: [u8; 6],
    /// Whether it carries packets now.
    pub up: bool,
    /// The other end, for a pair of ports (`bpf_redirect_peer`).
    pub peer: Option<u32>,
}

/// A question to the routing table: the input side of `struct bpf_fib_lookup`, in host order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FibQuery {
    /// Addresses of the packet.
    pub addresses: FibAddresses,
    /// Layer-4 protocol.
    pub l4_protocol: u8,
    /// Source port, 0 when there is none.
    pub source_port: u16,
    /// Destination port, 0 when there is none.
    pub destination_port: u16,
    /// Bytes of the packet from the network layer on; 0 asks for no MTU check.
    pub total_len: u16,
    /// Type of service, or flow information for IPv6.
    pub tos: u32,
    /// Port the packet came in by (leaves by, with [`FibFlags::OUTPUT`]).
    pub ifindex: u32,
    /// `BPF_FIB_LOOKUP_*`.
    pub flags: u32,
    /// Mark, with [`FibFlags::MARK`].
    pub mark: u32,
    /// Table, with [`FibFlags::TBID`].
    pub table: u32,
}

/// Source and destination of a FIB query, in network byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the family's name is all there is to say")]
pub enum FibAddresses {
    V4 { source: [u8; 4], destination: [u8; 4] },
    V6 { source: [u8; 16], destination: [u8; 16] },
}

/// `BPF_FIB_LOOKUP_*` flags.
#[derive(Clone, Copy, Debug)]
pub struct FibFlags;

#[allow(missing_docs, reason = "kernel names")]
impl FibFlags {
    pub const DIRECT: u32 = 1 << 0;
    pub const OUTPUT: u32 = 1 << 1;
    pub const SKIP_NEIGH: u32 = 1 << 2;
    pub const TBID: u32 = 1 << 3;
    pub const SRC: u32 = 1 << 4;
    pub const MARK: u32 = 1 << 5;
    pub const ALL: u32 = (1 << 6) - 1;
}

/// What the routing table answers; `BPF_FIB_LKUP_RET_*` for the refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FibAnswer {
    /// Forward there.
    Forward(FibHop),
    /// `BPF_FIB_LKUP_RET_BLACKHOLE`.
    Blackhole,
    /// `BPF_FIB_LKUP_RET_UNREACHABLE`.
    Unreachable,
    /// `BPF_FIB_LKUP_RET_PROHIBIT`.
    Prohibit,
    /// `BPF_FIB_LKUP_RET_NOT_FWDED`: for this host, or no route.
    NotForwarded,
    /// `BPF_FIB_LKUP_RET_FWD_DISABLED`.
    ForwardingDisabled,
    /// `BPF_FIB_LKUP_RET_UNSUPP_LWT`.
    Encapsulated,
    /// `BPF_FIB_LKUP_RET_NO_SRC_ADDR`, with `BPF_FIB_LOOKUP_SRC`.
    NoSourceAddress,
    /// No such port: the helper answers `-ENODEV`.
    NoPort,
}

/// A next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FibHop {
    /// Port to leave by.
    pub ifindex: u32,
    /// The route's metric (priority).
    pub metric: u32,
    /// The route's MTU; 0 when it has none of its own.
    pub mtu: u32,
    /// Gateway, when the destination is not on the link; in network byte order.
    pub gateway: Option<FibGateway>,
    /// Source address to use, for `BPF_FIB_LOOKUP_SRC`.
    pub source: Option<FibGateway>,
    /// The neighbour's address, when it is known.
    pub neighbour: Option<[u8; 6]>,
    /// The port's own address.
    pub mac: [u8; 6],
}

/// An address of either family, in network byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the family's name is all there is to say")]
pub enum FibGateway {
    V4([u8; 4]),
    V6([u8; 16]),
}

/// What a port knows of the packet being judged beside its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct RxMetadata {
    /// When it came in, nanoseconds.
    pub timestamp_ns: Option<u64>,
    /// Its receive hash, and of what it is (`enum xdp_rss_hash_type`).
    pub hash: Option<(u32, u32)>,
    /// EtherType and control information of the VLAN tag that the port took off.
    pub vlan: Option<(u16, u16)>,
}

/// The world, as helpers see it. One worker owns one `Env`; nothing here may block.
pub trait Env {
    /// Nanoseconds of a clock.
    fn now_ns(&mut self, clock: Clock) -> u64;
    /// A random number.
    fn random_u32(&mut self) -> u32;
    /// Takes a line of `bpf_trace_printk`, without a newline at its end.
    fn trace(&mut self, line: &[u8]);
    /// Takes a record for index `slot` of a perf event array; `-ENOSPC` when its reader is too far behind.
    fn perf_event(&mut self, map: &Map, slot: u32, record: &[u8]) -> Result<(), Errno>;
    /// Says that a ring buffer has news for its reader.
    fn wake(&mut self);
    /// The flow hash of a packet, the same for both directions of a flow.
    fn flow_hash(&mut self, packet: &[u8]) -> u32;
    /// What is known of a port; `None` when there is none of this number.
    fn port(&mut self, ifindex: u32) -> Option<PortInfo>;
    /// Looks a route and its neighbour up.
    fn fib_lookup(&mut self, query: &FibQuery) -> FibAnswer;
    /// Sends a copy of the packet out of a port, or into its ingress with `BPF_F_INGRESS`.
    fn clone_redirect(&mut self, ifindex: u32, ingress: bool, packet: &[u8]) -> Result<(), Errno>;
    /// What the port knows of the packet being judged; by default nothing.
    fn rx_metadata(&mut self) -> RxMetadata {
        RxMetadata::default()
    }
}

/// A world for tests: what it answers is set, and what it was told is kept.
#[derive(Clone, Debug, Default)]
pub struct TestEnv {
    /// What every clock says; each reading moves it on by one.
    pub now_ns: u64,
    /// The next random number; each one is followed by its successor.
    pub random: u32,
    /// Lines that were traced.
    pub traced: Vec<String>,
    /// Records of perf event arrays: map id, index, bytes.
    pub events: Vec<(u32, u32, Vec<u8>)>,
    /// How often a reader was woken.
    pub wakes: u32,
    /// The ports there are.
    pub ports: Vec<(u32, PortInfo)>,
    /// What the routing table answers; without one, [`FibAnswer::NotForwarded`].
    pub route: Option<FibAnswer>,
    /// The last question to the routing table.
    pub asked: Option<FibQuery>,
    /// Copies that were sent: port, whether into its ingress, bytes.
    pub clones: Vec<(u32, bool, Vec<u8>)>,
    /// What the port knows of the packet.
    pub metadata: RxMetadata,
}

impl Env for TestEnv {
    fn now_ns(&mut self, _clock: Clock) -> u64 {
        self.now_ns += 1;
        self.now_ns - 1
    }

    fn random_u32(&mut self) -> u32 {
        self.random = self.random.wrapping_add(1);
        self.random.wrapping_sub(1)
    }

    fn trace(&mut self, line: &[u8]) {
        self.traced.push(String::from_utf8_lossy(line).into_owned());
    }

    fn perf_event(&mut self, map: &Map, slot: u32, record: &[u8]) -> Result<(), Errno> {
        self.events.push((map.id(), slot, record.to_vec()));
        Ok(())
    }

    fn wake(&mut self) {
        self.wakes += 1;
    }

    fn flow_hash(&mut self, packet: &[u8]) -> u32 {
        packet.iter().fold(0x811c_9dc5, |hash: u32, &byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
    }

    fn port(&mut self, ifindex: u32) -> Option<PortInfo> {
        self.ports.iter().find(|(number, _)| *number == ifindex).map(|(_, port)| *port)
    }

    fn fib_lookup(&mut self, query: &FibQuery) -> FibAnswer {
        self.asked = Some(*query);
        self.route.unwrap_or(FibAnswer::NotForwarded)
    }

    fn clone_redirect(&mut self, ifindex: u32, ingress: bool, packet: &[u8]) -> Result<(), Errno> {
        self.port(ifindex).ok_or(Errno::EINVAL)?;
        self.clones.push((ifindex, ingress, packet.to_vec()));
        Ok(())
    }

    fn rx_metadata(&mut self) -> RxMetadata {
        self.metadata
    }
}
