//! The configuration file: what it may say, in TOML, and the errors for what it may not.
//!
//! Reading checks shapes and names; [`crate::build`] checks what only objects and files can tell.
//! Paths are relative to the file. Unknown keys are errors.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use weir_ebpf::abi::TcAction;

/// A whole configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Version of the format; 1.
    pub version: u32,
    /// Worker threads.
    #[serde(default)]
    pub workers: Workers,
    /// Ports by name.
    #[serde(default)]
    pub interface: BTreeMap<String, Interface>,
    /// Programs, in the order they are loaded.
    #[serde(default)]
    pub program: Vec<ProgramEntry>,
    /// What happens to packets that the ingress chains accept.
    #[serde(default)]
    pub forward: Forward,
    /// Static routes.
    #[serde(default)]
    pub route: Vec<Route>,
    /// Static neighbours.
    #[serde(default)]
    pub neighbor: Vec<Neighbor>,
    /// Traffic classes.
    #[serde(default)]
    pub class: Vec<Class>,
    /// Where the file lies; paths in it are relative to this folder.
    #[serde(skip)]
    pub folder: PathBuf,
}

/// Worker threads.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workers {
    /// Cores to pin them to, one worker each. Absent: every core this process may use.
    pub cores: Option<Vec<usize>>,
}

/// A port.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interface {
    /// What stands behind it.
    pub driver: Driver,
    /// Captures to play, for the `pcap` driver; the command line may name others.
    #[serde(default)]
    pub file: Vec<PathBuf>,
    /// Traffic to make up instead of a capture, for the `pcap` driver.
    pub generate: Option<Generate>,
    /// Number that programs see; absent: counted from 1 in the order of names.
    pub ifindex: Option<u32>,
    /// Its link address; absent: a local one made from its number.
    pub mac: Option<MacAddress>,
    /// Most bytes of a packet without its link header.
    #[serde(default = "ethernet_mtu")]
    pub mtu: u32,
    /// Addresses with prefix lengths; their networks are routes out of this port.
    #[serde(default)]
    pub address: Vec<ipnet::IpNet>,
}

fn ethernet_mtu() -> u32 {
    1500
}

/// What stands behind a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// Plays captures; takes what is sent and counts it.
    Pcap,
    /// Gives nothing; takes what is sent and counts it.
    Null,
}

/// Traffic to make up: what `weir pcap gen` makes with the same words.
#[derive(Clone, Debug, Deserialize)]
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

/// A program, and where it is attached.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProgramEntry {
    /// The name it has here; actions and the forward stage refer to it.
    pub name: String,
    /// The object file.
    pub object: PathBuf,
    /// Which program of the object; may be left out when there is one.
    pub prog: Option<String>,
    /// Where it runs. Absent: only as an action, a forwarder or a tail call's target.
    pub attach: Option<Attach>,
    /// Values of its constants (`const volatile` in C), by name.
    #[serde(default)]
    pub rodata: BTreeMap<String, toml::Value>,
    /// What its maps hold from the start.
    #[serde(default)]
    pub maps: BTreeMap<String, Vec<MapEntry>>,
}

/// One entry of a map, as a person writes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MapEntry {
    /// A number, a text (address, prefix, `hex:…`), or a table of the struct's fields.
    pub key: toml::Value,
    /// The same for the value.
    pub value: toml::Value,
}

/// Where a program runs.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "hook", rename_all = "lowercase", deny_unknown_fields)]
pub enum Attach {
    /// In the XDP chain of a port.
    Xdp {
        /// Which port; absent: all.
        interface: Option<String>,
        /// Order in the chain, lowest first.
        #[serde(default = "default_prio")]
        prio: u32,
        /// Verdicts that go on to the next program of the chain.
        #[serde(default = "pass_only")]
        actions: Vec<XdpWord>,
    },
    /// As a filter of a tc chain.
    Tc {
        /// Which port; absent: all.
        interface: Option<String>,
        /// Which chain.
        #[serde(default)]
        direction: Direction,
        /// Order in the chain, lowest first.
        #[serde(default = "default_prio")]
        prio: u32,
        /// Direct action: what it returns is the TC_ACT code.
        #[serde(default)]
        da: bool,
        /// The filter's own classid, for packets that the program answers -1 for.
        classid: Option<ClassId>,
        /// Actions that run on a match: `program NAME` of this file, or `ok`, `drop`, `pipe` …
        #[serde(default)]
        action: Vec<String>,
    },
}

fn default_prio() -> u32 {
    100
}

fn pass_only() -> Vec<XdpWord> {
    vec![XdpWord::Pass]
}

/// An XDP verdict in a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the verdict's name is all there is to say")]
pub enum XdpWord {
    Aborted,
    Drop,
    Pass,
    Tx,
    Redirect,
}

/// Which of a port's tc chains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// On the way in, after XDP.
    #[default]
    Ingress,
    /// On the way out, before the class.
    Egress,
}

/// What happens to packets that the ingress chains accept.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forward {
    /// A program that says where: `XDP_REDIRECT`, `TC_ACT_REDIRECT` and `XDP_TX` send, pass gives to the host.
    pub program: Option<String>,
    /// Ports that are wired to each other: from, to.
    #[serde(default)]
    pub connect: BTreeMap<String, String>,
}

/// A static route.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Destination prefix.
    pub to: ipnet::IpNet,
    /// Gateway; its port follows from the interfaces' networks.
    pub via: Option<std::net::IpAddr>,
    /// Port, for routes without a gateway.
    pub dev: Option<String>,
    /// Blackhole and the like; `unicast` when absent.
    #[serde(rename = "type", default)]
    pub kind: RouteKind,
}

/// What a route does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
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
#[derive(Clone, Debug, Deserialize)]
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
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    /// Its number, `MAJOR:MINOR` in hexadecimal as tc writes it.
    pub id: ClassId,
    /// Its name.
    pub name: String,
}

/// A classid: `MAJOR:MINOR`, both hexadecimal, 16 bits each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct ClassId(pub u32);

impl TryFrom<String> for ClassId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let part = |part: &str| u16::from_str_radix(part, 16).ok();
        let parts = text.split_once(':').and_then(|(major, minor)| {
            let major = if major.is_empty() { Some(0) } else { part(major) };
            let minor = if minor.is_empty() { Some(0) } else { part(minor) };
            Some(u32::from(major?) << 16 | u32::from(minor?))
        });
        parts.map(ClassId).ok_or_else(|| {
            format!("`{text}` is no classid: wanted MAJOR:MINOR in hexadecimal, such as \"1:10\"")
        })
    }
}

impl fmt::Display for ClassId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:x}:{:x}", self.0 >> 16, self.0 & 0xffff))
    }
}

/// A link address, `xx:xx:xx:xx:xx:xx`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct MacAddress(pub [u8; 6]);

impl TryFrom<String> for MacAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        parse_mac(&text).map(MacAddress).ok_or_else(|| {
            format!("`{text}` is no link address: wanted six bytes such as \"02:00:00:00:00:01\"")
        })
    }
}

/// Six hexadecimal bytes between colons.
pub(crate) fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let bytes: Vec<u8> = text
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).ok().filter(|_| byte.len() == 2))
        .collect::<Option<_>>()?;
    bytes.try_into().ok()
}

/// The TC_ACT code that a word of an action list stands for (tc-gact(8)'s words).
pub(crate) fn action_word(word: &str) -> Option<TcAction> {
    Some(match word {
        "ok" | "pass" => TcAction::Ok,
        "drop" | "shot" => TcAction::Shot,
        "pipe" => TcAction::Pipe,
        "reclassify" => TcAction::Reclassify,
        "continue" => TcAction::Unspec,
        "stolen" => TcAction::Stolen,
        "trap" => TcAction::Trap,
        _ => return None,
    })
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
    format!("{line}:{column}: {}", reason.join("; "))
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

    /// Where a path of the file leads.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }

    /// Names that refer to something must find it.
    fn check(&self) -> Result<(), String> {
        if self.version != 1 {
            return Err(format!("version = {}: this weir reads version 1", self.version));
        }
        if self.interface.is_empty() {
            return Err(
                "there is no interface: add a table such as [interface.wan] with driver = \"pcap\"".into()
            );
        }
        if self.workers.cores.as_ref().is_some_and(Vec::is_empty) {
            return Err("workers.cores is empty: name cores, or leave it out for all".into());
        }
        self.check_ifindexes()?;
        for (at, program) in self.program.iter().enumerate() {
            if self.program[..at].iter().any(|earlier| earlier.name == program.name) {
                return Err(format!("two programs are called `{}`: names must differ", program.name));
            }
            self.check_attach(program)?;
        }
        if let Some(name) = &self.forward.program {
            self.find_program(name, "forward.program")?;
        }
        for (from, to) in &self.forward.connect {
            self.find_interface(from, "forward.connect")?;
            self.find_interface(to, "forward.connect")?;
        }
        for neighbor in &self.neighbor {
            self.find_interface(&neighbor.dev, &format!("neighbor {}", neighbor.address))?;
        }
        for route in &self.route {
            if let Some(dev) = &route.dev {
                self.find_interface(dev, &format!("route {}", route.to))?;
            }
        }
        Ok(())
    }

    /// Programs know ports by these numbers, and 0 is none.
    fn check_ifindexes(&self) -> Result<(), String> {
        let mut taken = BTreeMap::new();
        for (name, interface) in &self.interface {
            let Some(ifindex) = interface.ifindex else { continue };
            if ifindex == 0 {
                return Err(format!("interface.{name}: ifindex = 0: numbers start from 1"));
            }
            if let Some(other) = taken.insert(ifindex, name) {
                return Err(format!("interface.{name}: ifindex = {ifindex} is already `{other}`'s"));
            }
        }
        Ok(())
    }

    fn check_attach(&self, program: &ProgramEntry) -> Result<(), String> {
        let place = format!("program `{}`", program.name);
        let interface = match &program.attach {
            None => return Ok(()),
            Some(Attach::Xdp { interface, .. }) => interface,
            Some(Attach::Tc { interface, action, da, .. }) => {
                if *da && !action.is_empty() {
                    return Err(format!(
                        "{place}: da = true and an action list: a direct-action program is its own action"
                    ));
                }
                for word in action {
                    if action_word(word).is_none() {
                        self.find_program(word, &format!("{place}, action"))?;
                    }
                }
                interface
            }
        };
        interface.as_ref().map_or(Ok(()), |name| self.find_interface(name, &place))
    }

    fn find_program(&self, name: &str, place: &str) -> Result<(), String> {
        let names: Vec<&str> = self.program.iter().map(|program| program.name.as_str()).collect();
        find("program", name, place, &names)
    }

    fn find_interface(&self, name: &str, place: &str) -> Result<(), String> {
        let names: Vec<&str> = self.interface.keys().map(String::as_str).collect();
        find("interface", name, place, &names)
    }
}

fn find(what: &str, name: &str, place: &str, names: &[&str]) -> Result<(), String> {
    if names.contains(&name) {
        return Ok(());
    }
    Err(format!("{place}: there is no {what} `{name}`; there is {}", listed(names)))
}

/// Names as a sentence lists them.
pub(crate) fn listed(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { format!("`{}`", names.join("`, `")) }
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
            error.starts_with("weir.toml:4:1: unknown field `mtuu`, expected one of `driver`"),
            "{error}"
        );
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
