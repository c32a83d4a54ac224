//! Changes of the tables: what a mirror of the kernel's tables, or a new configuration, comes to.
//!
//! A change is a value, so that it can be made to several copies of the tables, one after the other, and leave them
//! alike. Each may be made twice without harm.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::neighbour::{Mac, Neighbour};
use crate::port::Port;
use crate::route::{NextHop, Route, RouteKey};
use crate::tables::Tables;

/// A device as the kernel knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Whether it was set up (`IFF_UP`). A cable pulled out does not take routes away, as in the kernel:
    /// packets for the network behind it are not for anyone else.
    pub up: bool,
    /// Most bytes of a packet without its link header.
    pub mtu: u32,
    /// Its link address; zeros where it has none.
    pub mac: Mac,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A learned route is this.
    Learn(Route),
    /// A learned route stands behind those of its key: it is this, unless there is one.
    LearnLast(Route),
    /// A learned route is gone, or these of its ways are.
    Unlearn(Route),
    /// Whatever learned route has this key is gone: the kernel has another in its place, which is not followed.
    Supersede(RouteKey),
    /// A learned neighbour is this, or is not known.
    Neighbour {
        /// The port it is at.
        port: u32,
        /// Its address.
        address: IpAddr,
        /// What is known of it.
        neighbour: Option<Neighbour>,
    },
    /// A device is this.
    Link(Link),
    /// A device is gone.
    NoLink(u32),
    /// A device has an address.
    Address(u32, IpNet),
    /// A device no longer has an address.
    NoAddress(u32, IpNet),
    /// The configuration has a port.
    Port(Port),
    /// The configuration no longer has a port: it is the kernel's alone, if it is there at all.
    NoPort(u32),
    /// The configuration has a route.
    Add(Route),
    /// The configuration no longer has a route.
    Remove(Route),
    /// The configuration has a neighbour, or not any more.
    Fix {
        /// The port it is at.
        port: u32,
        /// Its address.
        address: IpAddr,
        /// Its link address.
        mac: Option<Mac>,
    },
}

impl Tables {
    /// Makes a change. One that is not possible is not made: a route that cannot be, which is refused where it is read.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Learn(route) => {
                if route.check().is_ok() {
                    self.learn(route);
                }
            }
            Change::LearnLast(route) => {
                if route.check().is_ok() && self.learned(&route.key()).is_none() {
                    self.learn(route);
                }
            }
            Change::Unlearn(route) => self.unlearn_ways(route),
            Change::Supersede(key) => drop(self.unlearn(key)),
            Change::Neighbour { port, address, neighbour } => {
                if !self.is_fixed(*port, *address) {
                    match neighbour {
                        Some(neighbour) => self.set_neighbour(*port, *address, *neighbour),
                        None => self.forget_neighbour(*port, *address),
                    };
                }
            }
            Change::Link(link) => self.set_link(link),
            Change::NoLink(index) => self.drop_link(*index),
            Change::Address(index, address) => self.set_learned_addresses(*index, |addresses| {
                if !addresses.contains(address) {
                    addresses.push(*address);
                }
            }),
            Change::NoAddress(index, address) => {
                self.set_learned_addresses(*index, |addresses| addresses.retain(|own| own != address));
            }
            Change::Port(port) => {
                // What is known of the device stays known.
                let learned =
                    self.port(port.index).map_or_else(|| port.learned.clone(), |old| old.learned.clone());
                self.set_port(Port { learned, ..port.clone() });
            }
            Change::NoPort(index) => {
                if let Some(port) = self.port(*index).cloned() {
                    self.set_port(Port { attached: false, addresses: Vec::new(), ..port });
                }
            }
            Change::Add(route) => {
                let _ = self.replace(route);
            }
            Change::Remove(route) => {
                let _ = self.remove(route.to, Some(route.metric), route.table);
            }
            Change::Fix { port, address, mac } => self.fix_neighbour(*port, *address, *mac),
        }
    }

    /// The kernel tells of a deleted IPv6 route way by way, and of an IPv4 route whole. There may be several IPv4
    /// routes of one key, of which only one is known here: another that goes is of no concern.
    fn unlearn_ways(&mut self, gone: &Route) {
        let key = gone.key();
        let Some(old) = self.learned(&key) else { return };
        let is_in = |hops: &[NextHop], hop: &NextHop| {
            hops.iter().any(|other| (other.via, other.port) == (hop.via, hop.port))
        };
        let left: Vec<NextHop> = old.hops.iter().filter(|hop| !is_in(&gone.hops, hop)).copied().collect();
        let is_other = old.kind != gone.kind || left.len() == old.hops.len() && !left.is_empty();
        if is_other {
            return;
        }
        let old = self.unlearn(&key);
        if let Some(old) = old.filter(|old| old.to.addr().is_ipv6() && !left.is_empty()) {
            self.learn(&Route { hops: left, ..old });
        }
    }

    fn set_link(&mut self, link: &Link) {
        let port = match self.port(link.index) {
            Some(port) => port.clone(),
            None => Port { attached: false, ..Port::new(link.index, link.mac, link.mtu) },
        };
        // A port goes by the name that the configuration gives it.
        let name = if port.attached { port.name.clone() } else { link.name.clone() };
        self.set_port(Port { name, up: link.up, mtu: link.mtu, mac: link.mac, ..port });
    }

    /// A device that is a port of the configuration may come back; another is forgotten.
    fn drop_link(&mut self, index: u32) {
        match self.port(index).cloned() {
            Some(port) if port.attached => {
                self.set_port(Port { up: false, learned: Vec::new(), ..port });
            }
            Some(_) => drop(self.remove_port(index)),
            None => {}
        }
    }

    fn set_learned_addresses(&mut self, index: u32, change: impl FnOnce(&mut Vec<IpNet>)) {
        if let Some(mut port) = self.port(index).cloned() {
            change(&mut port.learned);
            self.set_port(port);
        }
    }
}
