//! A dump of the kernel's tables, and how ours differ from it.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use foldhash::fast::RandomState;
use ipnet::IpNet;

use super::{Filter, Reading, Skipped, read};
use crate::change::{Change, Link};
use crate::neighbour::Neighbour;
use crate::route::{Route, RouteKey};
use crate::tables::Tables;

/// What a dump said.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    links: BTreeMap<u32, Link>,
    addresses: BTreeSet<(u32, IpNet)>,
    neighbours: HashMap<(u32, IpAddr), Neighbour, RandomState>,
    routes: HashMap<RouteKey, Route, RandomState>,
    skipped: Skipped,
}

impl Snapshot {
    /// Takes some messages of a dump.
    pub fn take(&mut self, bytes: &[u8], filter: &Filter) {
        let mut reading = Reading::default();
        read(bytes, filter, &mut reading);
        self.skipped.unreadable += reading.skipped.unreadable;
        self.skipped.unsupported += reading.skipped.unsupported;
        reading.changes.into_iter().for_each(|change| self.note(change));
    }

    /// A dump tells of what is; what only notifications tell has no place in it.
    fn note(&mut self, change: Change) {
        match change {
            Change::Link(link) => drop(self.links.insert(link.index, link)),
            Change::Address(index, address) => drop(self.addresses.insert((index, address))),
            Change::Neighbour { port, address, neighbour: Some(neighbour) } => {
                self.neighbours.insert((port, address), neighbour);
            }
            // Of routes with one key, which can only be appended IPv4 ones, the first is in use.
            Change::Learn(route) => {
                if let Entry::Vacant(place) = self.routes.entry(route.key()) {
                    place.insert(route);
                }
            }
            Change::Neighbour { neighbour: None, .. }
            | Change::LearnLast(_)
            | Change::Unlearn(_)
            | Change::Supersede(_)
            | Change::NoLink(_)
            | Change::NoAddress(..)
            | Change::Port(_)
            | Change::NoPort(_)
            | Change::Add(_)
            | Change::Remove(_)
            | Change::Fix { .. } => {}
        }
    }

    /// Forgets the routes: their dump begins anew.
    pub fn forget_routes(&mut self) {
        self.routes.clear();
    }

    /// What was left out.
    pub fn skipped(&self) -> Skipped {
        self.skipped
    }

    /// The changes that make the tables' routes those of the dump.
    pub fn route_differences(&self, tables: &Tables) -> Vec<Change> {
        let mut changes: Vec<Change> = tables
            .routes()
            .filter(|route| route.origin.is_kernel() && !self.routes.contains_key(&route.key()))
            .map(|route| Change::Supersede(route.key()))
            .collect();
        let new = self.routes.values().filter(|route| tables.learned(&route.key()) != Some(*route));
        changes.extend(new.cloned().map(Change::Learn));
        changes
    }

    /// The changes that make the tables' devices, addresses and neighbours those of the dump.
    pub fn other_differences(&self, tables: &Tables) -> Vec<Change> {
        let mut changes: Vec<Change> = self.link_differences(tables).collect();
        for port in tables.ports().iter().filter(|port| self.links.contains_key(&port.index)) {
            let gone = port.learned.iter().filter(|own| !self.addresses.contains(&(port.index, **own)));
            changes.extend(gone.map(|own| Change::NoAddress(port.index, *own)));
        }
        let known = |index: u32, address: &IpNet| {
            tables.port(index).is_some_and(|port| port.learned.contains(address))
        };
        let new = self.addresses.iter().filter(|(index, address)| !known(*index, address));
        changes.extend(new.map(|&(index, address)| Change::Address(index, address)));
        let neighbours = tables.neighbours();
        let lost = neighbours.iter().filter(|&(port, address, _)| {
            !tables.is_fixed(port, address) && !self.neighbours.contains_key(&(port, address))
        });
        changes.extend(lost.map(|(port, address, _)| Change::Neighbour { port, address, neighbour: None }));
        let new = self.neighbours.iter().filter(|&(&(port, address), neighbour)| {
            !tables.is_fixed(port, address) && neighbours.get(port, address) != Some(*neighbour)
        });
        changes.extend(new.map(|(&(port, address), &neighbour)| Change::Neighbour {
            port,
            address,
            neighbour: Some(neighbour),
        }));
        changes
    }

    fn link_differences<'a>(&'a self, tables: &'a Tables) -> impl Iterator<Item = Change> + 'a {
        let gone = tables
            .ports()
            .iter()
            .filter(|port| !port.attached && !self.links.contains_key(&port.index))
            .map(|port| Change::NoLink(port.index));
        let differs = |link: &&Link| {
            tables.port(link.index).is_none_or(|port| {
                (port.up, port.mtu, port.mac) != (link.up, link.mtu, link.mac)
                    || !port.attached && port.name != link.name
            })
        };
        gone.chain(self.links.values().filter(differs).cloned().map(Change::Link))
    }
}
