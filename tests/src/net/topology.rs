//! Host a, the weir box and host b in a row, as `scripts/testbed.sh` builds it for people.
//!
//! ```text
//!  host a                    box                        host b
//!  a0 192.0.2.2/24 ── wan 192.0.2.1   lan 198.51.100.1 ── b0 198.51.100.2/24
//!     2001:db8:a::2/64    2001:db8:a::1   2001:db8:b::1      2001:db8:b::2/64
//! ```

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use weir_sys::offload::Offload;

use super::namespace::{Namespace, veth};
use super::number::Ends;

/// The three of them; gone when dropped.
pub struct Topology {
    /// Has `a0`, and a default route to the box.
    pub a: Namespace,
    /// Has `wan` and `lan`; forwards nothing by itself.
    pub weir: Namespace,
    /// Has `b0`, and a default route to the box.
    pub b: Namespace,
}

/// Addresses of host a, of the box towards it, of the box towards b, of b: IPv4.
pub const V4: [&str; 4] = ["192.0.2.2", "192.0.2.1", "198.51.100.1", "198.51.100.2"];
/// The same: IPv6.
pub const V6: [&str; 4] = ["2001:db8:a::2", "2001:db8:a::1", "2001:db8:b::1", "2001:db8:b::2"];

impl Topology {
    /// Devices with addresses, routes at the hosts, forwarding off everywhere.
    pub fn build() -> Result<Self> {
        Self::with_mtu(1500)
    }

    /// The same with another MTU at all devices.
    pub fn with_mtu(mtu: u32) -> Result<Self> {
        let a = Namespace::create("host a")?;
        let weir = Namespace::create("weir box")?;
        let b = Namespace::create("host b")?;
        for host in [&a, &weir, &b] {
            // Without this each IPv6 address sleeps a second or two before it may be used.
            host.sysctl("net.ipv6.conf.default.accept_dad", "0")?;
            host.sysctl("net.ipv6.conf.all.accept_dad", "0")?;
            host.sysctl("net.ipv4.ip_forward", "0")?;
        }
        let topology = Self { a, weir, b };
        topology.wire("a0", "wan", mtu)?;
        topology.wire("b0", "lan", mtu)?;
        Ok(topology)
    }

    /// Makes the pair of one host and the box, with addresses and the host's routes: `a0` and `wan`, or
    /// `b0` and `lan`. Also used to make a pair again that was deleted.
    pub fn wire(&self, host_device: &str, device: &str, mtu: u32) -> Result<()> {
        let (host, own, near) = if host_device == "a0" { (&self.a, 0, 1) } else { (&self.b, 3, 2) };
        veth((host, host_device), (&self.weir, device), mtu)?;
        // Or weir would see TCP and UDP without checksums, and b's kernel refuse what weir forwards.
        host.offload(host_device, Offload::TransmitChecksum, false)?;
        for (family, length) in [(V4, 24), (V6, 64)] {
            self.weir.run(&format!("ip addr add {}/{length} dev {device}", family[near]))?;
            host.run(&format!("ip addr add {}/{length} dev {host_device}", family[own]))?;
            host.run(&format!("ip route replace default via {}", family[near]))?;
        }
        Ok(())
    }

    /// A flow from host a to host b, by way of the box; flows differ by their source port.
    pub fn flow(&self, at: u16, v6: bool) -> Result<Ends> {
        let family = if v6 { V6 } else { V4 };
        let address = |at: usize| family[at].parse::<IpAddr>();
        Ok(Ends {
            link: (mac(&self.a, "a0")?, mac(&self.weir, "wan")?),
            address: (address(0)?, address(3)?),
            port: (10_000 + at, 9),
        })
    }

    /// So many flows; every fourth is IPv6.
    pub fn flows(&self, count: u16) -> Result<Vec<Ends>> {
        let (v4, v6) = (self.flow(0, false)?, self.flow(0, true)?);
        let flow = |at: u16| Ends { port: (10_000 + at, 9), ..if at % 4 == 3 { v6 } else { v4 } };
        Ok((0..count).map(flow).collect())
    }
}

/// The link address of a device.
pub fn mac(host: &Namespace, device: &str) -> Result<[u8; 6]> {
    let text = host.run(&format!("ip -j link show dev {device}"))?;
    let links: serde_json::Value = serde_json::from_str(&text)?;
    let address = links[0]["address"].as_str().with_context(|| format!("{device} has no link address"))?;
    let bytes: Vec<u8> =
        address.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect::<Result<_, _>>()?;
    bytes.try_into().ok().with_context(|| format!("`{address}` is no link address"))
}
