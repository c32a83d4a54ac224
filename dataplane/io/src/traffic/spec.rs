//! What traffic to make.

use std::net::{Ipv4Addr, Ipv6Addr};

/// How long packets are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sizes {
    /// The "simple IMIX": frames of 60, 590 and 1514 bytes as 7 to 4 to 1.
    Imix,
    /// Every frame that can be is this long; a header that needs more has more.
    Fixed(usize),
}

/// A description of traffic. The same description makes the same bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// What chance grows from.
    pub seed: u64,
    /// Packets in all.
    pub packets: u64,
    /// Flows under way at a time; when one ends another begins in its place.
    pub flows: u32,
    /// Exponent of the Zipf law by which flows get packets: 0 is evenly, 1 as the Internet's flows do.
    pub zipf: f64,
    /// Hosts that open flows.
    pub clients: u32,
    /// Hosts that answer.
    pub servers: u32,
    /// First addresses of the clients.
    pub client_base: (Ipv4Addr, Ipv6Addr),
    /// First addresses of the servers.
    pub server_base: (Ipv4Addr, Ipv6Addr),
    /// Destination MAC address of every frame: the router that is tested.
    pub router_mac: [u8; 6],
    /// How long frames are.
    pub sizes: Sizes,
    /// Mean number of data segments in a TCP flow.
    pub segments_mean: u32,
    /// Weights of TCP, UDP and ICMP echo among flows.
    pub protocols: [f64; 3],
    /// Share of flows over IPv6, 0 to 1.
    pub ipv6: f64,
    /// Share of flows with a VLAN tag, 0 to 1.
    pub vlan: f64,
    /// Share of packets that begin a fragmented UDP datagram, 0 to 1.
    pub fragments: f64,
    /// Share of packets that are malformed, 0 to 1.
    pub malformed: f64,
    /// Mean packets a second; gaps between packets are exponential.
    pub packets_per_second: f64,
    /// Time of the beginning, in nanoseconds since 1970.
    pub start_ns: u64,
}

impl Default for Spec {
    fn default() -> Self {
        Spec {
            seed: 1,
            packets: 100_000,
            flows: 1000,
            zipf: 1.0,
            clients: 250,
            servers: 50,
            client_base: (Ipv4Addr::new(10, 0, 0, 1), Ipv6Addr::new(0x2001, 0xdb8, 0, 0xc, 0, 0, 0, 1)),
            server_base: (Ipv4Addr::new(198, 18, 0, 1), Ipv6Addr::new(0x2001, 0xdb8, 0, 0x5, 0, 0, 0, 1)),
            router_mac: [2, 0, 0, 0, 0, 1],
            sizes: Sizes::Imix,
            segments_mean: 16,
            protocols: [0.75, 0.2, 0.05],
            ipv6: 0.25,
            vlan: 0.1,
            fragments: 0.01,
            malformed: 0.01,
            packets_per_second: 1e6,
            // 2026-01-01 00:00 UTC.
            start_ns: 1_767_225_600_000_000_000,
        }
    }
}

/// A description that describes nothing.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{field} is {found}: {wanted} is wanted")]
pub struct SpecError {
    /// The field.
    pub field: &'static str,
    /// What it says.
    pub found: String,
    /// What it may say.
    pub wanted: &'static str,
}

/// More flows than this would be gigabytes of state.
const FLOWS_MAX: u32 = 10_000_000;

impl Spec {
    /// Finds the first field that cannot be.
    pub fn check(&self) -> Result<(), SpecError> {
        let fail = |field, found: String, wanted| Err(SpecError { field, found, wanted });
        if self.flows == 0 || self.flows > FLOWS_MAX {
            return fail("flows", self.flows.to_string(), "1 to 10000000");
        }
        for (field, hosts) in [("clients", self.clients), ("servers", self.servers)] {
            if hosts == 0 || hosts > 1 << 24 {
                return fail(field, hosts.to_string(), "1 to 16777216");
            }
        }
        let shares = [
            ("ipv6", self.ipv6),
            ("vlan", self.vlan),
            ("fragments", self.fragments),
            ("malformed", self.malformed),
        ];
        for (field, share) in shares {
            if !(0.0..=1.0).contains(&share) {
                return fail(field, share.to_string(), "a share from 0 to 1");
            }
        }
        if self.protocols.iter().any(|weight| !(0.0..=1e9).contains(weight))
            || self.protocols.iter().sum::<f64>() <= 0.0
        {
            return fail("protocols", format!("{:?}", self.protocols), "weights from 0, one of them more");
        }
        if !(0.0..=10.0).contains(&self.zipf) {
            return fail("zipf", self.zipf.to_string(), "an exponent from 0 to 10");
        }
        if !(1e-3..=1e12).contains(&self.packets_per_second) {
            return fail("packets_per_second", self.packets_per_second.to_string(), "0.001 to 1e12");
        }
        match self.sizes {
            Sizes::Fixed(len) if !(60..=1514).contains(&len) => {
                fail("sizes", len.to_string(), "a frame of 60 to 1514 bytes")
            }
            Sizes::Fixed(_) | Sizes::Imix => Ok(()),
        }
    }
}
