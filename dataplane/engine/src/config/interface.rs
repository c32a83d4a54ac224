//! Interfaces as a configuration names them: what stands behind each, and how it is driven.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{MacAddress, Span, is_default};

/// A port.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Interface {
    /// The kernel's name of the device, for `af_xdp` and `tap`.
    pub device: Option<String>,
    /// What stands behind it; `af_xdp` when absent and a device is given.
    pub driver: Option<Driver>,
    /// How packets are taken from the device, for `af_xdp`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mode: Mode,
    /// Which queues of the device, for `af_xdp`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub queues: Queues,
    /// Descriptors of each ring, for `af_xdp`; a power of two.
    pub ring: Option<u32>,
    /// How long the kernel polls the device on our behalf, for `af_xdp`; absent: it does not.
    pub busy_poll: Option<Span>,
    /// What the kernel keeps of what comes in, before weir sees it, for `af_xdp`.
    #[serde(default = "usual_punt")]
    pub punt: Vec<PuntWord>,
    /// The interface at the other end, for `memory`.
    pub peer: Option<String>,
    /// Capture to write what is sent to, for `pcap`.
    pub write: Option<PathBuf>,
    /// Captures to play, for the `pcap` driver; the command line may name others.
    #[serde(default, skip_serializing_if = "is_default")]
    pub file: Vec<PathBuf>,
    /// Traffic to make up instead of a capture, for the `pcap` driver.
    pub generate: Option<Generate>,
    /// Number that programs see; absent: the kernel's for live devices, else counted from 1 in the order of names.
    pub ifindex: Option<u32>,
    /// Its link address; absent: the device's own, else a local one made from its number.
    pub mac: Option<MacAddress>,
    /// Most bytes of a packet without its link header; absent: the device's own, else 1500.
    pub mtu: Option<u32>,
    /// Addresses with prefix lengths; their networks are routes out of this port.
    #[serde(default, skip_serializing_if = "is_default")]
    pub address: Vec<ipnet::IpNet>,
}

/// What Ethernet carries, unless said otherwise.
pub const ETHERNET_MTU: u32 = 1500;

fn usual_punt() -> Vec<PuntWord> {
    vec![PuntWord::Arp, PuntWord::Nd]
}

impl Interface {
    /// What stands behind it. [`super::Config::parse`] saw to it that a driver or a device is given.
    pub fn driver(&self) -> Driver {
        self.driver.unwrap_or(Driver::AfXdp)
    }

    /// Most bytes of a packet without its link header.
    pub fn mtu(&self) -> u32 {
        self.mtu.unwrap_or(ETHERNET_MTU)
    }
}

/// What stands behind a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Driver {
    /// A device of the kernel, by AF_XDP sockets.
    AfXdp,
    /// A device that weir makes, whose other end is the kernel.
    Tap,
    /// Plays captures; takes what is sent and counts or writes it.
    Pcap,
    /// Gives nothing; takes what is sent and counts it.
    Null,
    /// One end of a wire in memory to another interface of the same file.
    Memory,
}

impl Driver {
    /// The word that a configuration has for it.
    pub const fn name(self) -> &'static str {
        match self {
            Driver::AfXdp => "af_xdp",
            Driver::Tap => "tap",
            Driver::Pcap => "pcap",
            Driver::Null => "null",
            Driver::Memory => "memory",
        }
    }

    /// Whether it takes packets from the kernel, so that it cannot be had in a replay.
    pub const fn is_live(self) -> bool {
        match self {
            Driver::AfXdp | Driver::Tap => true,
            Driver::Pcap | Driver::Null | Driver::Memory => false,
        }
    }
}

/// How packets are taken from a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The best that the driver offers.
    #[default]
    Auto,
    /// Without a copy, or not at all.
    Zerocopy,
    /// By the driver's own XDP hook, copying each packet.
    Copy,
    /// By the kernel's generic hook, which any device has.
    Generic,
}

/// Which queues of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "toml::Value", into = "toml::Value")]
pub enum Queues {
    /// All there are.
    #[default]
    All,
    /// These.
    Some(Vec<u32>),
}

impl TryFrom<toml::Value> for Queues {
    type Error = String;

    fn try_from(value: toml::Value) -> Result<Self, String> {
        let wanted = || "queues: wanted \"all\" or a list of numbers such as [0, 1]".to_owned();
        match value {
            toml::Value::String(word) if word == "all" => Ok(Queues::All),
            toml::Value::Array(numbers) if !numbers.is_empty() => {
                let number = |value: &toml::Value| u32::try_from(value.as_integer()?).ok();
                numbers.iter().map(number).collect::<Option<_>>().map(Queues::Some).ok_or_else(wanted)
            }
            _ => Err(wanted()),
        }
    }
}

impl From<Queues> for toml::Value {
    fn from(queues: Queues) -> Self {
        match queues {
            Queues::All => "all".into(),
            Queues::Some(numbers) => numbers.into_iter().map(i64::from).collect::<Vec<_>>().into(),
        }
    }
}

/// What the kernel keeps of what comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum PuntWord {
    /// ARP.
    Arp,
    /// IPv6 neighbour discovery.
    Nd,
    /// Everything to the box's own addresses.
    Local,
    /// BGP with the box itself (TCP port 179).
    Bgp,
    /// BFD with the box itself (UDP ports 3784 and 4784).
    Bfd,
    /// A TCP port of the box itself.
    Tcp(u16),
    /// A UDP port of the box itself.
    Udp(u16),
}

impl TryFrom<String> for PuntWord {
    type Error = String;

    fn try_from(word: String) -> Result<Self, String> {
        let port = |protocol: &str| word.strip_prefix(protocol)?.parse::<u16>().ok();
        Ok(match word.as_str() {
            "arp" => PuntWord::Arp,
            "nd" => PuntWord::Nd,
            "local" => PuntWord::Local,
            "bgp" => PuntWord::Bgp,
            "bfd" => PuntWord::Bfd,
            _ => match (port("tcp:"), port("udp:")) {
                (Some(port), _) => PuntWord::Tcp(port),
                (_, Some(port)) => PuntWord::Udp(port),
                (None, None) => {
                    return Err(format!(
                        "punt: `{word}` is not known: wanted arp, nd, local, bgp, bfd, tcp:PORT or udp:PORT"
                    ));
                }
            },
        })
    }
}

impl From<PuntWord> for String {
    fn from(word: PuntWord) -> Self {
        word.to_string()
    }
}

impl fmt::Display for PuntWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PuntWord::Arp => f.write_str("arp"),
            PuntWord::Nd => f.write_str("nd"),
            PuntWord::Local => f.write_str("local"),
            PuntWord::Bgp => f.write_str("bgp"),
            PuntWord::Bfd => f.write_str("bfd"),
            PuntWord::Tcp(port) => write!(f, "tcp:{port}"),
            PuntWord::Udp(port) => write!(f, "udp:{port}"),
        }
    }
}

/// Traffic to make up: what `weir pcap gen` makes with the same words.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Generate {
    /// How many packets.
    pub packets: u64,
    /// Seed; the same seed makes the same packets.
    #[serde(default)]
    pub seed: u64,
    /// How many flows at a time.
    pub flows: Option<u32>,
    /// How many hosts begin them.
    pub clients: Option<u32>,
    /// How many hosts are asked.
    pub servers: Option<u32>,
    /// Packets a second, by their time stamps.
    pub pps: Option<f64>,
    /// Link address that the packets go to; the port's own when absent.
    pub to: Option<MacAddress>,
}
