//! The configuration file: what it may say, in TOML, and the errors for what it may not.
//!
//! Reading checks shapes and names; [`crate::build`] checks what only objects and files can tell.
//! Paths are relative to the file. Unknown keys are errors.

mod check;
mod daemon;
mod interface;
mod program;
mod suggest;
mod words;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub(crate) use check::listed;
pub use daemon::{Daemon, Icmp, Idle, KernelFib, Router, Span, Workers};
pub use interface::{Driver, ETHERNET_MTU, Generate, Interface, Mode, PuntWord, Queues};
pub use program::{Attach, Direction, MapEntry, ProgramEntry, XdpWord};
pub use suggest::nearest;
pub use words::{ClassId, MacAddress};
pub(crate) use words::{action_word, parse_mac};

/// Whether a value need not be written, since reading gives it anyway.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A whole configuration.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Version of the format; 1.
    pub version: u32,
    /// The daemon.
    #[serde(default, skip_serializing_if = "is_default")]
    pub daemon: Daemon,
    /// Worker threads.
    #[serde(default, skip_serializing_if = "is_default")]
    pub workers: Workers,
    /// Ports by name.
    #[serde(default)]
    pub interface: BTreeMap<String, Interface>,
    /// Programs, in the order they are loaded.
    #[serde(default, skip_serializing_if = "is_default")]
    pub program: Vec<ProgramEntry>,
    /// What happens to packets that the ingress chains accept.
    #[serde(default, skip_serializing_if = "is_default")]
    pub forward: Forward,
    /// The router beside the pipeline.
    #[serde(default, skip_serializing_if = "is_default")]
    pub router: Router,
    /// Static routes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub route: Vec<Route>,
    /// Static neighbours.
    #[serde(default, skip_serializing_if = "is_default")]
    pub neighbor: Vec<Neighbor>,
    /// Traffic classes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub class: Vec<Class>,
    /// Where the file lies; paths in it are relative to this folder.
    #[serde(skip)]
    pub folder: PathBuf,
}

/// What happens to packets that the ingress chains accept.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Forward {
    /// A program that says where: `XDP_REDIRECT`, `TC_ACT_REDIRECT` and `XDP_TX` send, pass gives to the host.
    pub program: Option<String>,
    /// Ports that are wired to each other: from, to.
    #[serde(default)]
    pub connect: BTreeMap<String, String>,
}

/// A static route.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Destination prefix.
    pub to: ipnet::IpNet,
    /// Gateway; its port follows from the interfaces' networks. Or several, which share the flows.
    pub via: Option<Gateways>,
    /// Port, for routes without a gateway.
    pub dev: Option<String>,
    /// Blackhole and the like; `unicast` when absent.
    #[serde(rename = "type", default)]
    pub kind: RouteKind,
}

/// By which gateways a route leads.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged, expecting = "wanted an address, or a list such as [{ gw = \"192.0.2.10\", weight = 2 }]")]
pub enum Gateways {
    /// One.
    One(std::net::IpAddr),
    /// Several, each with its share of the flows.
    Several(Vec<Way>),
}

impl fmt::Display for Gateways {
    /// As ip-route(8) has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Gateways::One(gateway) => write!(f, "via {gateway}"),
            Gateways::Several(ways) => ways.iter().try_for_each(|Way { gw, weight, dev }| {
                let dev = dev.as_ref().map_or(String::new(), |dev| format!(" dev {dev}"));
                write!(f, "nexthop via {gw}{dev} weight {weight} ")
            }),
        }
    }
}

/// One of several ways.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Way {
    /// Its gateway.
    pub gw: std::net::IpAddr,
    /// Its share of the flows, relative to the others'; 1 when absent.
    #[serde(default = "one")]
    pub weight: u16,
    /// Its port; absent: the route's, else as the interfaces' networks say.
    pub dev: Option<String>,
}

fn one() -> u16 {
    1
}

/// What a route does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "iproute2's words")]
pub enum RouteKind {
    #[default]
    Unicast,
    Blackhole,
    Unreachable,
    Prohibit,
}

/// A static neighbour.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Neighbor {
    /// Its address.
    pub address: std::net::IpAddr,
    /// The port it is at.
    pub dev: String,
    /// Its link address.
    pub mac: MacAddress,
}

/// A traffic class.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    /// Its number, `MAJOR:MINOR` in hexadecimal as tc writes it.
    pub id: ClassId,
    /// Its name.
    pub name: String,
}

/// Why a configuration cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It is not TOML, or says what it may not; the text shows the place.
    #[error("{}:{text}", path.display())]
    Parse {
        /// Which file.
        path: PathBuf,
        /// `LINE:COLUMN: reason`.
        text: String,
    },
    /// It contradicts itself.
    #[error("{}: {text}", path.display())]
    Meaning {
        /// Which file.
        path: PathBuf,
        /// What was found, wanted, and what to try.
        text: String,
    },
}

/// What is wrong with a TOML text, in one line: `LINE:COLUMN: reason`.
pub fn fault(text: &str, error: &toml::de::Error) -> String {
    let before = text.get(..error.span().map_or(0, |span| span.start)).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    let reason: Vec<&str> = error.message().lines().map(str::trim).collect();
    let reason = reason.join("; ");
    format!("{line}:{column}: {reason}{}", suggest::hint(&reason))
}

impl Config {
    /// Reads a configuration from a file.
    pub fn read(path: &Path) -> Result<Config, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Config::parse(path, &text)
    }

    /// Reads a configuration from the text of a file.
    pub fn parse(path: &Path, text: &str) -> Result<Config, ConfigError> {
        let mut config: Config = toml::from_str(text)
            .map_err(|error| ConfigError::Parse { path: path.to_owned(), text: fault(text, &error) })?;
        config.folder = path.parent().unwrap_or(Path::new("")).to_owned();
        config.check().map_err(|text| ConfigError::Meaning { path: path.to_owned(), text })?;
        Ok(config)
    }

    /// Whether it still makes sense after a change of a part of it.
    pub fn recheck(&self) -> Result<(), ConfigError> {
        self.check().map_err(|text| ConfigError::Meaning { path: self.folder.join("weir.toml"), text })
    }

    /// Where a path of the file leads.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(Path::new("weir.toml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn classids_are_hexadecimal_as_tc_writes_them() {
        assert_eq!(ClassId::try_from("1:10".to_owned()).unwrap().0, 0x1_0010);
        assert_eq!(ClassId(0x1_00ff).to_string(), "1:ff");
        assert!(ClassId::try_from("1".to_owned()).unwrap_err().contains("MAJOR:MINOR"));
    }

    #[test]
    fn an_unknown_key_is_an_error_that_shows_the_line() {
        let error = parse("version = 1\n[interface.wan]\ndriver = \"null\"\nmtuu = 9000\n").unwrap_err();
        assert!(
            error.starts_with("weir.toml:4:1: unknown field `mtuu`, expected one of `device`"),
            "{error}"
        );
        assert!(error.ends_with("; did you mean `mtu`?"), "{error}");
    }

    #[test]
    fn what_was_read_can_be_written_and_read_again() {
        let text = "version = 1\n[daemon]\nmetrics = \"127.0.0.1:9477\"\n[workers]\nidle = { spin = \"10us\" }\n\
            [interface.wan]\ndevice = \"eth0\"\nqueues = [0, 2]\npunt = [\"arp\", \"bgp\", \"tcp:22\"]\n\
            [router]\nenabled = true\nkernel_fib = { protocols = [\"bird\"], verify_every = \"30s\" }\n\
            [[program]]\nname = \"a\"\nobject = \"a.o\"\nscratch = [\"hits\"]\nattach = { hook = \"xdp\" }\n";
        let config = Config::parse(Path::new("weir.toml"), text).unwrap();
        assert_eq!(config.interface["wan"].driver(), Driver::AfXdp);
        assert_eq!(config.interface["wan"].punt[2], PuntWord::Tcp(22));
        let written = toml::to_string(&config).unwrap();
        assert_eq!(Config::parse(Path::new("weir.toml"), &written).unwrap(), config, "{written}");
    }

    #[test]
    fn keys_that_do_not_fit_their_driver_are_refused() {
        for (interface, wanted) in [
            ("mtu = 1500", "interface.wan: give it a device (af_xdp) or a driver"),
            ("driver = \"af_xdp\"", "interface.wan: driver \"af_xdp\" needs a device"),
            ("driver = \"null\"\nring = 64", "interface.wan: ring is for driver \"af_xdp\""),
            ("driver = \"null\"\npeer = \"lan\"", "interface.wan: peer is for driver \"memory\""),
            ("device = \"eth0\"\nring = 1000", "interface.wan: ring = 1000: wanted a power of two"),
            ("driver = \"memory\"\npeer = \"wan\"", "interface.wan: its peer is itself"),
        ] {
            let error = parse(&format!("version = 1\n[interface.wan]\n{interface}\n")).unwrap_err();
            assert!(error.starts_with(&format!("weir.toml: {wanted}")), "{error}");
        }
    }

    #[test]
    fn a_name_that_finds_nothing_says_what_there_is() {
        let text =
            "version = 1\n[interface.wan]\ndriver = \"null\"\n[forward]\nconnect = { wan = \"lan\" }\n";
        assert_eq!(
            parse(text).unwrap_err(),
            "weir.toml: forward.connect: there is no interface `lan`; there is `wan`"
        );
    }
}
