//! One network device: whether weir can take its packets, how, and what would spoil them on the way.

use weir_packet::{ChunkSize, HEADROOM};
use weir_sys::survey::{Rings, XdpMode};

use super::facts::{Device, Machine};
use super::{Check, counted};

/// Ethernet's header and one VLAN tag.
const LINK_HEADER: u32 = 18;
/// A page less XDP's headroom, the kernel's `skb_shared_info` and the Ethernet header: what veth lets
/// the other end send when a native program is attached that takes single buffers (`veth_xdp_set`).
const VETH_MTU_MAX: u32 = 4096 - 256 - 320 - 14;
/// The least that a card's receive ring should hold: four of weir's batches for each of two stalls.
const RING_MIN: u32 = 512;

/// Judges a device; `ours` when the running weir has a port at it.
pub(crate) fn judge(device: &Device, machine: &Machine, ours: bool) -> Vec<Check> {
    let mut checks =
        vec![link(device), program(device, ours), mode(device), queues(device, machine), mtu(device)];
    checks.extend(rings(device));
    checks.extend(offloads(device));
    checks.extend(member(device));
    if device.driver == "veth" {
        checks.extend(veth(device));
    }
    checks
}

fn link(device: &Device) -> Check {
    let name = &device.link.name;
    if !device.link.up {
        return Check::fault("link", format!("{name} is down"), format!("ip link set dev {name} up"));
    }
    if !device.link.running {
        return Check::fault(
            "link",
            format!("{name} is up, and nothing is at its other end (no carrier)"),
            match device.driver.as_str() {
                "veth" => "set the other end of the pair up too",
                "tun" => "start the program that holds the TAP's other side",
                _ => "the cable, the switch port, the other machine",
            },
        );
    }
    Check::ok("link", format!("{name} ({}) is up and runs", driver(device)))
}

fn driver(device: &Device) -> &str {
    match device.driver.is_empty() {
        true => "no driver's name",
        false => &device.driver,
    }
}

fn mode_name(mode: XdpMode) -> &'static str {
    match mode {
        XdpMode::Native => "native",
        XdpMode::Generic => "generic",
        XdpMode::Offload => "offloaded",
        XdpMode::Several => "in several modes",
    }
}

fn program(device: &Device, ours: bool) -> Check {
    let name = &device.link.name;
    match device.link.xdp {
        None => Check::ok("xdp program", format!("none is attached to {name}: its hook is free")),
        Some((id, mode)) if ours => {
            Check::ok("xdp program", format!("program {id} ({}) is the running weir's", mode_name(mode)))
        }
        Some((id, mode)) => Check::fault(
            "xdp program",
            format!(
                "program {id} ({}) is attached already, and there is room for one: a running weir's, or another's",
                mode_name(mode)
            ),
            format!(
                "bpftool prog show id {id}; ip link set dev {name} xdp off, or end the process that holds its bpf_link"
            ),
        ),
    }
}

fn mode(device: &Device) -> Check {
    let driver = driver(device);
    match device.xdp {
        None => Check::warn(
            "xdp mode",
            "this kernel does not tell what XDP the driver can do: weir tries native, then generic",
            "Linux 6.3 or later tells; `weir if show` says what it came to",
        ),
        Some(can) if !can.basic => Check::warn(
            "xdp mode",
            format!(
                "driver {driver} has no native XDP: generic mode, in which each packet becomes a socket buffer first"
            ),
            "a driver with native XDP, when speed matters",
        ),
        Some(can) if can.zero_copy => {
            Check::ok("xdp mode", format!("driver {driver} has native XDP and offers AF_XDP zero-copy"))
        }
        Some(_) => Check::ok(
            "xdp mode",
            format!(
                "driver {driver} has native XDP and offers no AF_XDP zero-copy: packets are copied (mode = \"copy\")"
            ),
        ),
    }
}

fn queues(device: &Device, machine: &Machine) -> Check {
    let cores = machine.cores.len();
    let Some(queues) = device.queues().filter(|queues| *queues > 0) else {
        return Check::ok("queues", "the driver does not count queues: one is used");
    };
    let said =
        format!("{} for {}", counted(queues as usize, "queue", "queues"), counted(cores, "core", "cores"));
    match (queues as usize).cmp(&cores) {
        std::cmp::Ordering::Less => Check::ok(
            "queues",
            format!(
                "{said}: {} of this device; more need more queues",
                counted(queues as usize, "worker", "workers")
            ),
        ),
        std::cmp::Ordering::Equal => Check::ok("queues", format!("{said}: one each")),
        std::cmp::Ordering::Greater => {
            Check::ok("queues", format!("{said}: a worker serves several, round robin"))
        }
    }
}

fn mtu(device: &Device) -> Check {
    let mtu = device.link.mtu;
    let fits = |chunk: ChunkSize| (chunk.bytes() - HEADROOM) as u32 - LINK_HEADER;
    let (half, page) = (fits(ChunkSize::Half), fits(ChunkSize::Page));
    match mtu {
        _ if mtu <= half => Check::ok("mtu", format!("{mtu}: fits frames of 2048 bytes (up to {half})")),
        _ if mtu <= page => Check::ok("mtu", format!("{mtu}: needs frames of 4096 bytes (up to {page})")),
        _ => Check::fault(
            "mtu",
            format!("{mtu}: packets longer than {page} fit no frame and are dropped (`rx dropped`)"),
            format!("ip link set dev {} mtu {half}", device.link.name),
        ),
    }
}

fn rings(device: &Device) -> Option<Check> {
    let Rings { rx, rx_max, tx, tx_max } = device.rings?;
    let said = format!("receive {rx} of at most {rx_max}, transmit {tx} of at most {tx_max}");
    Some(match rx < RING_MIN && rx < rx_max {
        true => Check::warn(
            "rings",
            format!("{said}: little room for a burst"),
            format!("ethtool -G {} rx {}", device.link.name, rx_max.min(2048)),
        ),
        false => Check::ok("rings", said),
    })
}

/// Offloads that change or merge packets before a program sees them.
const SPOILING: [(&str, &str, &str); 3] = [
    (
        "rx-lro",
        "lro",
        "the card merges TCP packets, and native XDP is refused or sees packets that were never sent",
    ),
    (
        "rx-gro-hw",
        "rx-gro-hw",
        "the card merges TCP packets, and native XDP is refused or sees packets that were never sent",
    ),
    ("rx-vlan-hw-parse", "rxvlan", "the card takes VLAN tags off, and programs do not see them"),
];

fn offloads(device: &Device) -> Vec<Check> {
    if matches!(device.driver.as_str(), "veth" | "") {
        return Vec::new();
    }
    let name = &device.link.name;
    let spoiling = SPOILING.iter().filter(|(feature, _, _)| device.has(feature));
    let mut checks: Vec<Check> = spoiling
        .map(|(feature, word, why)| {
            Check::warn(
                "offloads",
                format!("{feature} is on: {why}"),
                format!("ethtool -K {name} {word} off"),
            )
        })
        .collect();
    if checks.is_empty() {
        checks.push(Check::ok("offloads", "none that merges packets or takes VLAN tags off is on"));
    }
    checks
}

fn member(device: &Device) -> Option<Check> {
    device.link.master?;
    let name = &device.link.name;
    Some(Check::warn(
        "member",
        format!("{name} is a part of a bridge or bond: weir takes its packets before that sees them"),
        format!("ip link set dev {name} nomaster, or give weir the ports and no bridge"),
    ))
}

fn veth(device: &Device) -> Vec<Check> {
    let name = &device.link.name;
    let mut checks = Vec::new();
    if !device.threaded && !device.rps {
        checks.push(Check::warn(
            "veth core",
            "packets are received on the core of whoever sends them: a worker that spins there and the kernel's receive work starve each other",
            format!("echo 1 > /sys/class/net/{name}/threaded, and pin napi/{name}-… to a core without a worker"),
        ));
    }
    let Some(peer) = &device.peer else {
        checks.push(Check::warn(
            "veth peer",
            "it is in another network namespace, where this one cannot look: its TCP and UDP must not leave their checksums to the device",
            "ip netns exec NAMESPACE ethtool -K PEER tx off; and `weir doctor PEER` there",
        ));
        return checks;
    };
    let other = &peer.link.name;
    checks.extend(sends_whole_checksums(peer));
    let (rx, tx) = (device.queues(), peer.channels.map(|channels| channels.tx + channels.combined));
    if let (Some(rx), Some(tx)) = (rx, tx)
        && rx < tx
    {
        checks.push(Check::warn(
            "veth queues",
            format!("{rx} to receive here for {tx} to send at {other}: native XDP is refused (ENOSPC)"),
            format!("ethtool -L {name} rx {tx}"),
        ));
    }
    if peer.link.mtu > VETH_MTU_MAX {
        checks.push(Check::warn(
            "veth mtu",
            format!("{other} may send {} bytes: native XDP takes at most {VETH_MTU_MAX}", peer.link.mtu),
            format!("ip link set dev {other} mtu {VETH_MTU_MAX}"),
        ));
    }
    if !peer.has("rx-gro") && peer.link.xdp.is_none() {
        checks.push(Check::warn(
            "veth napi",
            format!("{other} has neither GRO nor an XDP program, so no NAPI: XDP_REDIRECT of kernel programs into {name} goes nowhere (weir's own sending works)"),
            format!("ethtool -K {other} gro on"),
        ));
    }
    checks
}

/// What a kernel's stack sends over veth carries no checksum unless told: nobody reads it on the way to
/// another stack of the same kernel, and AF_XDP hands it on as it is.
fn sends_whole_checksums(peer: &Device) -> Option<Check> {
    let other = &peer.link.name;
    let partial = ["tx-checksum-ip-generic", "tx-checksum-ipv4", "tx-checksum-ipv6"];
    partial.iter().any(|feature| peer.has(feature)).then(|| {
        Check::warn(
            "veth checksum",
            format!("{other} leaves TCP and UDP checksums to the device, and a veth never adds them: who gets the packets through weir drops them"),
            format!("ethtool -K {other} tx off"),
        )
    })
}

#[cfg(test)]
mod tests {
    use weir_sys::survey::{Channels, Link, XdpFeatures};

    use super::*;
    use crate::commands::doctor::State;

    fn link(name: &str) -> Link {
        Link { index: 7, name: name.to_owned(), mtu: 1500, up: true, running: true, ..Link::default() }
    }

    fn card() -> Device {
        Device {
            link: link("eth0"),
            driver: "ice".to_owned(),
            rings: Some(Rings { rx: 2048, rx_max: 8160, tx: 256, tx_max: 8160 }),
            channels: Some(Channels { combined: 4, combined_max: 16, ..Channels::default() }),
            xdp: Some(XdpFeatures { basic: true, zero_copy: true, ..XdpFeatures::default() }),
            ..Device::default()
        }
    }

    fn machine() -> Machine {
        Machine { cores: vec![0, 1], ..Machine::default() }
    }

    fn bad(device: &Device) -> Vec<(&'static str, State)> {
        let checks = judge(device, &machine(), false).into_iter();
        checks.filter(|check| check.state != State::Ok).map(|check| (check.name, check.state)).collect()
    }

    #[test]
    fn a_good_card_has_nothing_to_hear() {
        assert_eq!(bad(&card()), []);
    }

    #[test]
    fn what_stops_packets_is_a_fault() {
        let down = Device { link: Link { up: false, running: false, ..link("eth0") }, ..card() };
        assert_eq!(bad(&down), [("link", State::Fault)]);
        let alone = Device { link: Link { running: false, ..link("eth0") }, ..card() };
        assert_eq!(bad(&alone), [("link", State::Fault)]);
        let taken = Device { link: Link { xdp: Some((9, XdpMode::Native)), ..link("eth0") }, ..card() };
        assert_eq!(bad(&taken), [("xdp program", State::Fault)]);
        let jumbo = Device { link: Link { mtu: 9000, ..link("eth0") }, ..card() };
        assert_eq!(bad(&jumbo), [("mtu", State::Fault)]);
    }

    #[test]
    fn what_slows_or_changes_packets_is_a_warning() {
        let merging = Device { features: [("rx-lro".to_owned(), true)].into(), ..card() };
        assert_eq!(bad(&merging), [("offloads", State::Warn)]);
        let generic = Device { xdp: Some(XdpFeatures::default()), ..card() };
        assert_eq!(bad(&generic), [("xdp mode", State::Warn)]);
        let small = Device { rings: Some(Rings { rx: 256, rx_max: 4096, tx: 256, tx_max: 4096 }), ..card() };
        assert_eq!(bad(&small), [("rings", State::Warn)]);
        let bridged = Device { link: Link { master: Some(3), ..link("eth0") }, ..card() };
        assert_eq!(bad(&bridged), [("member", State::Warn)]);
    }

    #[test]
    fn the_traps_of_veth_are_told() {
        let channels = |rx, tx| Some(Channels { rx, tx, ..Channels::default() });
        let peer = Device {
            link: Link { mtu: 9000, ..link("veth1") },
            driver: "veth".to_owned(),
            channels: channels(1, 2),
            features: [("tx-checksum-ip-generic".to_owned(), true)].into(),
            ..Device::default()
        };
        let pair = Device {
            link: link("veth0"),
            driver: "veth".to_owned(),
            channels: channels(1, 1),
            peer: Some(Box::new(peer)),
            rings: None,
            ..card()
        };
        let told = bad(&pair);
        let names: Vec<_> = told.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["veth core", "veth checksum", "veth queues", "veth mtu", "veth napi"]);
        let far = Device { peer: None, threaded: true, ..pair };
        assert_eq!(bad(&far), [("veth peer", State::Warn)]);
    }
}
