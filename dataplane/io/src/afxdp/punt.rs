//! What goes to the kernel before weir sees it: the words people write, and what the kernel's program is told.
//!
//! By default that is ARP and neighbour discovery, which the kernel answers. Packets to the box's own addresses
//! are judged by the pipeline like any others, for a firewall must see what goes to the box; `local`, `bgp` and
//! such let them past it, by the user's own word. A port named here counts only together with one of the box's
//! own addresses: traffic that goes through the box never gets past the pipeline this way.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// One thing that goes past weir, as a configuration writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PuntRule {
    /// `arp`: all of ARP.
    Arp,
    /// `nd`: neighbour and router discovery of IPv6 (ICMPv6 types 133 to 137, RFC 4861).
    Nd,
    /// `local`: everything to the box's own addresses.
    Local,
    /// `bgp`, `bfd`, `tcp/22`, `udp/53`: these ports at the box's own addresses, whichever side has them.
    Port(Transport, u16),
}

/// A protocol with ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Transport {
    /// The protocol number in IP headers.
    pub const fn number(self) -> u8 {
        match self {
            Transport::Tcp => 6,
            Transport::Udp => 17,
        }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        }
    }
}

/// Words for ports that routers know by name.
const NAMED: [(&str, &[(Transport, u16)]); 2] = [
    // RFC 4271, section 8.2.1; the port may be on either side.
    ("bgp", &[(Transport::Tcp, 179)]),
    // RFC 5881 section 4 (control, echo), RFC 5883 section 5 (multihop).
    ("bfd", &[(Transport::Udp, 3784), (Transport::Udp, 3785), (Transport::Udp, 4784)]),
];

/// A word that says nothing about punting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` cannot be punted: arp, nd, local, bgp, bfd, tcp/PORT and udp/PORT can")]
pub struct UnknownPunt {
    /// What was written.
    pub word: String,
}

impl PuntRule {
    /// The rules that a word stands for.
    pub fn parse(word: &str) -> Result<Vec<PuntRule>, UnknownPunt> {
        if let Some((_, ports)) = NAMED.iter().find(|(name, _)| *name == word) {
            return Ok(ports.iter().map(|(transport, port)| PuntRule::Port(*transport, *port)).collect());
        }
        word.parse().map(|rule| vec![rule])
    }
}

impl FromStr for PuntRule {
    type Err = UnknownPunt;

    fn from_str(word: &str) -> Result<Self, UnknownPunt> {
        let unknown = || UnknownPunt { word: word.to_owned() };
        match word.split_once('/') {
            None if word == "arp" => Ok(PuntRule::Arp),
            None if word == "nd" => Ok(PuntRule::Nd),
            None if word == "local" => Ok(PuntRule::Local),
            Some(("tcp", port)) => Ok(PuntRule::Port(Transport::Tcp, port.parse().map_err(|_| unknown())?)),
            Some(("udp", port)) => Ok(PuntRule::Port(Transport::Udp, port.parse().map_err(|_| unknown())?)),
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for PuntRule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PuntRule::Arp => out.write_str("arp"),
            PuntRule::Nd => out.write_str("nd"),
            PuntRule::Local => out.write_str("local"),
            PuntRule::Port(transport, port) => write!(out, "{}/{port}", transport.name()),
        }
    }
}

/// What the kernel's program passes to the kernel before weir sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Punt {
    /// All of ARP.
    pub arp: bool,
    /// Neighbour and router discovery of IPv6.
    pub nd: bool,
    /// Everything to one of `addresses`.
    pub local: bool,
    /// These ports, of source or destination, in packets to one of `addresses`.
    pub ports: Vec<(Transport, u16)>,
    /// The box's own addresses.
    pub addresses: Vec<IpAddr>,
}

impl Default for Punt {
    /// ARP and neighbour discovery.
    fn default() -> Self {
        Punt { arp: true, nd: true, ..Punt::nothing() }
    }
}

impl Punt {
    /// Nothing goes past weir.
    pub fn nothing() -> Punt {
        Punt { arp: false, nd: false, local: false, ports: Vec::new(), addresses: Vec::new() }
    }

    /// What these words say, on a box with these addresses.
    pub fn from_words<S: AsRef<str>>(words: &[S], addresses: &[IpAddr]) -> Result<Punt, UnknownPunt> {
        let mut punt = Punt::nothing();
        for word in words {
            for rule in PuntRule::parse(word.as_ref())? {
                punt.add(rule);
            }
        }
        punt.addresses = addresses.to_vec();
        Ok(punt)
    }

    /// One rule more.
    pub fn add(&mut self, rule: PuntRule) {
        match rule {
            PuntRule::Arp => self.arp = true,
            PuntRule::Nd => self.nd = true,
            PuntRule::Local => self.local = true,
            PuntRule::Port(transport, port) if !self.ports.contains(&(transport, port)) => {
                self.ports.push((transport, port));
            }
            PuntRule::Port(..) => {}
        }
    }

    /// Whether the box's own addresses matter to it.
    pub fn reads_addresses(&self) -> bool {
        self.local || !self.ports.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_rules() {
        let punt = Punt::from_words(&["arp", "bgp", "udp/53", "bfd", "bgp"], &[]).unwrap();
        let udp = |port| (Transport::Udp, port);
        assert_eq!(punt.ports, [(Transport::Tcp, 179), udp(53), udp(3784), udp(3785), udp(4784)]);
        assert_eq!((punt.arp, punt.nd, punt.local), (true, false, false));
        assert_eq!(Punt::from_words(&["arp", "nd"], &[]).unwrap(), Punt::default());
    }

    #[test]
    fn other_words_are_refused_with_those_there_are() {
        for word in ["", "icmp", "tcp", "tcp/", "tcp/65536", "udp/-1", "local/1"] {
            let words = Punt::from_words(&[word], &[]).unwrap_err().to_string();
            assert!(words.ends_with("arp, nd, local, bgp, bfd, tcp/PORT and udp/PORT can"), "{words}");
        }
    }
}
