//! Interfaces, routes, neighbours.

use std::net::IpAddr;

use ipnet::IpNet;
use weir_engine::routes::list::{HopRow, RouteRow};

use super::{LiveBackend, missing};
use crate::problem::{Cause, Problem};
use crate::reply::{self, schema};

/// Routes that are listed when nobody says how many.
const ROUTES: u32 = 1000;
/// Most routes that are listed.
const ROUTES_MAX: u32 = 100_000;

impl LiveBackend {
    pub(super) fn interfaces(&self) -> reply::Interfaces {
        let (current, stats) = (self.current(), self.live.stats());
        let interfaces = stats.interfaces.iter().map(|interface| {
            let config = current.desired.config.interface.get(&interface.name);
            let mode = interface.mode.as_deref().unwrap_or_default();
            let queues = stats.queues.iter().filter(|queue| queue.interface == interface.name);
            reply::Interface {
                name: interface.name.clone(),
                device: interface.device.clone(),
                driver: interface.driver.to_owned(),
                ifindex: interface.ifindex,
                mac: interface.mac.clone(),
                mtu: interface.mtu,
                addresses: config
                    .map_or_else(Vec::new, |config| config.address.iter().map(ToString::to_string).collect()),
                state: if interface.up { "up" } else { "down" }.to_owned(),
                reason: interface.reason.clone(),
                mode: interface.mode.clone(),
                zero_copy: interface.mode.is_some().then(|| mode.contains("zero-copy")),
                queues: queues.map(super::stats::queue).collect(),
                reopened: interface.reopened,
            }
        });
        reply::Interfaces { schema: schema("interfaces"), interfaces: interfaces.collect() }
    }

    pub(super) fn interface(&self, name: &str) -> Result<reply::Interface, Problem> {
        let interfaces = self.interfaces().interfaces;
        let names: Vec<&str> = interfaces.iter().map(|interface| interface.name.as_str()).collect();
        let found = interfaces.iter().find(|interface| interface.name == name).cloned();
        found.ok_or_else(|| missing("interface", name, &names))
    }

    pub(super) fn routes(&self, to: Option<&str>, limit: Option<u32>) -> Result<reply::Routes, Problem> {
        let to = to.map(prefix).transpose()?;
        let near = |row: &RouteRow| to.is_none_or(|to| row.to.contains(&to) || to.contains(&row.to));
        let rows: Vec<RouteRow> = self.live.routes().current().list().into_iter().filter(near).collect();
        let limit = limit.unwrap_or(ROUTES).min(ROUTES_MAX) as usize;
        let routes = rows.iter().take(limit).map(route).collect();
        Ok(reply::Routes { schema: schema("routes"), total: rows.len() as u64, routes })
    }

    pub(super) fn route_get(&self, address: IpAddr) -> reply::RouteAnswer {
        let way = self.live.routes().current().get(address, 0);
        reply::RouteAnswer {
            schema: schema("route"),
            address: address.to_string(),
            fate: way.fate.to_owned(),
            route: way.route.as_ref().map(route),
            mac: way.mac,
        }
    }

    pub(super) fn neighbors(&self) -> reply::Neighbors {
        let rows = self.live.routes().current().neighbours();
        let neighbors = rows.into_iter().map(|row| reply::Neighbor {
            address: row.address.to_string(),
            interface: row.interface,
            mac: row.mac,
            state: row.state.to_owned(),
        });
        reply::Neighbors { schema: schema("neighbors"), neighbors: neighbors.collect() }
    }

    pub(super) fn route_add(&self, new: &reply::NewRoute) -> Result<reply::Changed, Problem> {
        let to = prefix(&new.to)?;
        let route = serde_json::json!({ "to": to, "via": new.via, "dev": new.dev, "type": new.kind.unwrap_or_default() });
        let route =
            serde_json::from_value(route).map_err(|error| Problem::new(Cause::Invalid, error.to_string()))?;
        let edit = |config: &mut weir_engine::Config| {
            if config.route.iter().any(|route| route.to == to) {
                return Err(Problem::new(
                    Cause::Conflict,
                    format!("there is a static route to {to} already"),
                ));
            }
            config.route.push(route);
            Ok(())
        };
        self.edit(edit, false)?;
        Ok(changed(format!("route to {to} added")))
    }

    pub(super) fn route_delete(&self, to: &str) -> Result<reply::Changed, Problem> {
        let to = prefix(to)?;
        let edit = |config: &mut weir_engine::Config| {
            let before = config.route.len();
            config.route.retain(|route| route.to != to);
            match config.route.len() < before {
                true => Ok(()),
                false => Err(Problem::new(
                    Cause::NotFound,
                    format!("there is no static route to {to} in the configuration"),
                )),
            }
        };
        self.edit(edit, false)?;
        Ok(changed(format!("route to {to} deleted")))
    }
}

fn changed(detail: String) -> reply::Changed {
    reply::Changed { schema: schema("changed"), changed: 1, detail }
}

/// A prefix, or an address, which is one of full length.
fn prefix(text: &str) -> Result<IpNet, Problem> {
    let all = if text == "default" { "0.0.0.0/0" } else { text };
    let prefix = all.parse().or_else(|_| all.parse::<IpAddr>().map(IpNet::from));
    prefix.map_err(|_| {
        Problem::new(
            Cause::Invalid,
            format!("`{}` is no prefix: wanted such as 10.0.0.0/8", text.escape_debug()),
        )
    })
}

fn route(row: &RouteRow) -> reply::Route {
    let hop = |hop: &HopRow| reply::Hop {
        gateway: hop.gateway.map(|gateway| gateway.to_string()),
        interface: hop.interface.clone(),
        weight: u32::from(hop.weight),
    };
    reply::Route {
        to: row.to.to_string(),
        kind: row.kind.to_owned(),
        via: row.via.iter().map(hop).collect(),
        protocol: row.protocol.clone(),
        metric: row.metric,
    }
}
