//! The world of a program that runs alone: real clocks, and one port that everything happens at.

use weir_ebpf::abi::Errno;
use weir_maps::Map;
use weir_packet::FlowHash;
use weir_vm::env::{FibAnswer, FibQuery, PortInfo};
use weir_vm::{Clock, Env};

/// The loopback port, which is where test runs have their packets.
const PORT: u32 = 1;

/// Clocks of this machine, a fixed random sequence, no routes; traced lines go to stderr.
#[derive(Debug)]
pub(super) struct World {
    random: u32,
}

impl World {
    pub(super) fn new() -> Self {
        Self { random: 1 }
    }
}

impl Env for World {
    fn now_ns(&mut self, clock: Clock) -> u64 {
        clock.system_ns()
    }

    /// xorshift32 (Marsaglia, 2003): the same in every run, so that runs can be compared.
    fn random_u32(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        self.random
    }

    fn trace(&mut self, line: &[u8]) {
        eprintln!("trace: {}", String::from_utf8_lossy(line));
    }

    fn perf_event(&mut self, map: &Map, slot: u32, record: &[u8]) -> Result<(), Errno> {
        let bytes: String = record.iter().map(|byte| format!("{byte:02x}")).collect();
        eprintln!("perf event: {}[{slot}]: {bytes}", map.spec().name);
        Ok(())
    }

    fn wake(&mut self) {}

    fn flow_hash(&mut self, packet: &[u8]) -> u32 {
        FlowHash::new([0, 0]).hash(packet)
    }

    fn port(&mut self, ifindex: u32) -> Option<PortInfo> {
        (ifindex == PORT).then_some(PortInfo { mtu: 1500, mac: [2, 0, 0, 0, 0, 1], up: true, peer: None })
    }

    fn fib_lookup(&mut self, query: &FibQuery) -> FibAnswer {
        if query.ifindex == PORT { FibAnswer::NotForwarded } else { FibAnswer::NoPort }
    }

    fn clone_redirect(&mut self, ifindex: u32, ingress: bool, packet: &[u8]) -> Result<(), Errno> {
        if ifindex != PORT {
            return Err(Errno::EINVAL);
        }
        let way = if ingress { "into" } else { "out of" };
        eprintln!("clone: {} bytes {way} port {ifindex}", packet.len());
        Ok(())
    }
}
