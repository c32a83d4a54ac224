//! What the doctor knows: files of /proc and /sys, and the kernel's answers about a device.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use weir_sys::survey::{self, Channels, Link, Rings, XdpFeatures};

/// The kernel's text files, below a root that tests may move.
pub(crate) struct Files {
    root: PathBuf,
}

impl Files {
    pub(crate) fn of_this_machine() -> Self {
        Self { root: PathBuf::from("/") }
    }

    /// A file's text without the last line's end; `None` when it cannot be read.
    fn text(&self, path: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.root.join(path)).ok()?;
        Some(text.trim_end().to_owned())
    }

    fn number(&self, path: &str) -> Option<u64> {
        self.text(path)?.trim().parse().ok()
    }

    /// The first word after `KEY:` in a file of such lines.
    fn field(&self, path: &str, key: &str) -> Option<String> {
        let text = self.text(path)?;
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        line.split_whitespace().next().map(str::to_owned)
    }

    /// The names in a folder.
    fn names(&self, path: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.root.join(path)).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }
}

/// The kernel, and what this process may do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machine {
    /// Such as `6.18.44`.
    pub(crate) release: String,
    /// Bits of the effective capabilities.
    pub(crate) capabilities: u64,
    /// The most bytes this process may lock; `None` is no limit.
    pub(crate) memlock: Option<u64>,
    /// Huge pages of 2 MiB: set aside, and free.
    pub(crate) huge: (u64, u64),
    /// Cores this process may use.
    pub(crate) cores: Vec<usize>,
    /// Cores that the kernel keeps other work away from, as it writes them.
    pub(crate) isolated: String,
    /// What socket(AF_XDP) answers: 0, or the errno.
    pub(crate) af_xdp: i32,
}

impl Machine {
    pub(crate) fn read(files: &Files) -> Self {
        let limits = files.text("proc/self/limits").unwrap_or_default();
        let memlock = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"));
        let memlock = memlock.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        let meminfo = |key| files.field("proc/meminfo", key).and_then(|word| word.parse().ok());
        let capabilities = files.field("proc/self/status", "CapEff");
        Self {
            release: files.text("proc/sys/kernel/osrelease").unwrap_or_default(),
            capabilities: capabilities.and_then(|hex| u64::from_str_radix(&hex, 16).ok()).unwrap_or_default(),
            memlock,
            huge: (
                meminfo("HugePages_Total").unwrap_or_default(),
                meminfo("HugePages_Free").unwrap_or_default(),
            ),
            cores: weir_sys::affinity::allowed().unwrap_or_default(),
            isolated: files.text("sys/devices/system/cpu/isolated").unwrap_or_default(),
            af_xdp: survey::af_xdp().map_or_else(|error| error.raw_os_error().unwrap_or(-1), |()| 0),
        }
    }
}

/// A network device.
#[derive(Clone, Debug, Default)]
pub(crate) struct Device {
    pub(crate) link: Link,
    pub(crate) driver: String,
    pub(crate) rings: Option<Rings>,
    pub(crate) channels: Option<Channels>,
    /// Offloads by the kernel's names.
    pub(crate) features: BTreeMap<String, bool>,
    /// What XDP its driver can do; `None` when the kernel cannot tell.
    pub(crate) xdp: Option<XdpFeatures>,
    /// NAPI runs in threads of its own.
    pub(crate) threaded: bool,
    /// Some receive queue hands packets to other cores by RPS.
    pub(crate) rps: bool,
    /// The other end of a veth pair, when it is in this namespace.
    pub(crate) peer: Option<Box<Device>>,
}

impl Device {
    pub(crate) fn read(name: &str, files: &Files) -> io::Result<Self> {
        let link = survey::link_named(name)?;
        let mut found = Self::of(link, files);
        if found.driver == "veth"
            && found.link.peer_namespace.is_none()
            && let Some(lower) = found.link.lower
        {
            found.peer = survey::link(lower).ok().map(|link| Box::new(Self::of(link, files)));
        }
        Ok(found)
    }

    fn of(link: Link, files: &Files) -> Self {
        let name = link.name.clone();
        let folder = format!("sys/class/net/{name}");
        // The folder may show the devices of another namespace, and then says nothing of this one.
        let ours = files.number(&format!("{folder}/ifindex")) == Some(u64::from(link.index));
        let mut queues = files.names(&format!("{folder}/queues"));
        queues.retain(|queue| queue.starts_with("rx-"));
        let spreads = |queue: &String| {
            let mask = files.text(&format!("{folder}/queues/{queue}/rps_cpus"));
            mask.is_some_and(|mask| mask.chars().any(|digit| !matches!(digit, '0' | ',')))
        };
        Self {
            driver: survey::driver(&name).unwrap_or_default(),
            rings: survey::rings(&name).ok(),
            channels: survey::channels(&name).ok(),
            features: survey::features(&name).unwrap_or_default().into_iter().collect(),
            xdp: survey::xdp_features(link.index).ok(),
            threaded: ours && files.number(&format!("{folder}/threaded")).is_some_and(|set| set != 0),
            rps: ours && queues.iter().any(spreads),
            peer: None,
            link,
        }
    }

    /// How many queues packets come in by.
    pub(crate) fn queues(&self) -> Option<u32> {
        self.channels.map(|channels| channels.rx + channels.combined)
    }

    /// Whether an offload is on.
    pub(crate) fn has(&self, feature: &str) -> bool {
        self.features.get(feature).copied().unwrap_or_default()
    }
}

/// The devices of this network namespace.
pub(crate) fn device_names() -> Vec<String> {
    let text = std::fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let names = text.lines().filter_map(|line| line.split_once(':'));
    names.map(|(name, _)| name.trim().to_owned()).collect()
}

/// The kernel's routing around a device.
#[derive(Clone, Debug, Default)]
pub(crate) struct Network {
    pub(crate) device: String,
    /// The stricter of `all` and the device's own: 0, 1 strict, 2 loose.
    pub(crate) rp_filter: u64,
    pub(crate) forward4: bool,
    pub(crate) forward6: bool,
    /// Routes out of this device: IPv4, IPv6 beyond its link-local ones.
    pub(crate) routes: (usize, usize),
    /// Gateways behind this device, and whether their link address is known.
    pub(crate) gateways: Vec<(std::net::Ipv4Addr, bool)>,
    /// IPv6 is switched off on the device.
    pub(crate) no_ipv6: bool,
}

impl Network {
    pub(crate) fn read(device: &str, files: &Files) -> Self {
        let set = |path: &str| files.number(&format!("proc/sys/net/{path}")).unwrap_or_default();
        let filter = |who: &str| set(&format!("ipv4/conf/{who}/rp_filter"));
        let routes = files.text("proc/net/route").unwrap_or_default();
        let known = known_neighbours(&files.text("proc/net/arp").unwrap_or_default(), device);
        let routes4 = routes4(&routes, device);
        let gateways = routes4.iter().flatten().map(|gateway| (*gateway, known.contains(gateway)));
        Self {
            device: device.to_owned(),
            rp_filter: filter("all").max(filter(device)),
            forward4: set("ipv4/ip_forward") == 1,
            forward6: set("ipv6/conf/all/forwarding") == 1,
            routes: (routes4.len(), routes6(&files.text("proc/net/ipv6_route").unwrap_or_default(), device)),
            gateways: gateways.collect(),
            no_ipv6: set(&format!("ipv6/conf/{device}/disable_ipv6")) == 1,
        }
    }
}

/// Routes out of a device in /proc/net/route, each with its gateway.
fn routes4(table: &str, device: &str) -> Vec<Option<std::net::Ipv4Addr>> {
    const GATEWAY: u32 = 2;
    let rows = table.lines().skip(1).filter_map(|line| {
        let mut words = line.split_whitespace();
        let name = words.next()?;
        let gateway = u32::from_str_radix(words.nth(1)?, 16).ok()?;
        let flags = u32::from_str_radix(words.next()?, 16).ok()?;
        let gateway = (flags & GATEWAY != 0).then(|| std::net::Ipv4Addr::from(gateway.to_ne_bytes()));
        (name == device).then_some(gateway)
    });
    rows.collect()
}

/// Routes out of a device in /proc/net/ipv6_route, without multicast and link-local ones.
fn routes6(table: &str, device: &str) -> usize {
    let ours = table.lines().filter(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.len() == 10
            && words[9] == device
            && !words[0].starts_with("fe80")
            && !words[0].starts_with("ff")
    });
    ours.count()
}

/// Addresses in /proc/net/arp whose link address is known.
fn known_neighbours(table: &str, device: &str) -> Vec<std::net::Ipv4Addr> {
    let rows = table.lines().skip(1).filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let complete = words.get(2).is_some_and(|flags| *flags != "0x0");
        (complete && words.get(5) == Some(&device)).then(|| words[0].parse().ok())?
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_are_read() {
        let routes = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\n\
            eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\n\
            eth0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\n\
            eth1\t0000010A\t00000000\t0001\t0\t0\t0\t00FFFFFF\n";
        let gateway = "10.0.0.1".parse().unwrap();
        assert_eq!(routes4(routes, "eth0"), [Some(gateway), None]);
        let arp = "IP address       HW type     Flags       HW address            Mask     Device\n\
            10.0.0.1         0x1         0x2         02:00:00:00:00:01     *        eth0\n\
            10.0.0.7         0x1         0x0         00:00:00:00:00:00     *        eth0\n";
        assert_eq!(known_neighbours(arp, "eth0"), [gateway]);
        assert!(known_neighbours(arp, "eth1").is_empty());
        let six = "20010db8000000000000000000000000 40 00000000000000000000000000000000 00 \
            00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0\n\
            fe800000000000000000000000000000 40 00000000000000000000000000000000 00 \
            00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0\n";
        assert_eq!(routes6(six, "eth0"), 1);
    }
}
