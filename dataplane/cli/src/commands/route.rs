//! `weir route` and `weir neigh`: what the router goes by, in iproute2's words.

use std::net::IpAddr;

use clap::Subcommand;
use weir_control::Action;
use weir_control::action::field::Json;
use weir_control::reply::{Neighbors, NewRoute, Route, RouteAnswer, RouteKind, Routes};

use super::map::changed;
use crate::daemon::Daemon;
use crate::exit::{Code, Done, Failure};
use crate::output::Output;
use crate::words::Words;

const ADD: &str = "route add [blackhole|unreachable|prohibit] PREFIX [via ADDRESS] [dev IF]";

/// What to do with routes.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show the routes, or those that cover or lie in a prefix
    #[command(alias = "list")]
    Show {
        /// The prefix
        prefix: Option<String>,
        /// At most so many
        #[arg(short = 'n', long, value_name = "N")]
        limit: Option<u32>,
    },
    /// Say where a packet to an address would go
    Get {
        /// The address
        address: IpAddr,
    },
    /// Add a static route: [blackhole|unreachable|prohibit] PREFIX [via ADDRESS] [dev IF]
    Add { words: Vec<String> },
    /// Take a static route out
    #[command(alias = "delete")]
    Del {
        /// Its prefix
        prefix: String,
    },
}

/// What to do with neighbours.
#[derive(Subcommand)]
pub(crate) enum NeighborCommand {
    /// Show the neighbours, or those at one interface
    #[command(alias = "list")]
    Show {
        /// The interface
        #[arg(value_name = "IF")]
        interface: Option<String>,
    },
}

/// Runs `weir route`.
pub(crate) fn run(command: &Command, daemon: &Daemon, output: &Output) -> Done {
    match command {
        Command::Show { prefix, limit } => {
            let routes: Routes = daemon.get(&Action::Routes { to: prefix.clone(), limit: *limit })?;
            match output.is_json() {
                true => output.json(&routes)?,
                false => show(&routes, output)?,
            }
            Ok(Code::Ok)
        }
        Command::Get { address } => {
            let answer: RouteAnswer = daemon.get(&Action::RouteGet { address: *address })?;
            match output.is_json() {
                true => output.json(&answer)?,
                false => output.text(answered(&answer))?,
            }
            Ok(if answer.route.is_some() { Code::Ok } else { Code::Failed })
        }
        Command::Add { words } => {
            let route = new_route(&mut Words::new(words, ADD))?;
            changed(&daemon.get(&Action::RouteAdd { route: Json(route) })?, output)
        }
        Command::Del { prefix } => changed(&daemon.get(&Action::RouteDelete { to: prefix.clone() })?, output),
    }
}

fn show(routes: &Routes, output: &Output) -> std::io::Result<()> {
    if routes.routes.is_empty() {
        output.note("there is no route: `ip route add` on this machine, or [[route]] in the configuration");
        return Ok(());
    }
    let lines: Vec<String> = routes.routes.iter().map(described).collect();
    output.text(lines.join("\n"))?;
    let shown = lines.len() as u64;
    if shown < routes.total {
        output.note(format_args!("{shown} of {} routes: -n N shows more", routes.total));
    }
    Ok(())
}

/// A route as `ip route` writes it.
fn described(route: &Route) -> String {
    let mut text = match route.kind.as_str() {
        "unicast" => route.to.clone(),
        kind => format!("{kind} {}", route.to),
    };
    let several = route.via.len() > 1;
    let hops = route.via.iter().map(|hop| {
        let via = hop.gateway.as_ref().map(|gateway| format!(" via {gateway}")).unwrap_or_default();
        match several {
            true => format!(" nexthop{via} dev {} weight {}", hop.interface, hop.weight),
            false => format!("{via} dev {}", hop.interface),
        }
    });
    let hops: String = hops.collect();
    let metric = if route.metric > 0 { format!(" metric {}", route.metric) } else { String::new() };
    let tail = format!(" proto {}{metric}", route.protocol);
    text += &if several { format!("{tail}{hops}") } else { format!("{hops}{tail}") };
    text
}

fn answered(answer: &RouteAnswer) -> String {
    let Some(route) = &answer.route else { return format!("{}: no route", answer.address) };
    let mac = match &answer.mac {
        Some(mac) => format!("link address {mac}"),
        None if route.via.is_empty() => String::new(),
        None => "link address not known: packets wait until it is".to_owned(),
    };
    format!("{}: {}\n\t{mac}", answer.address, described(route)).trim_end().to_owned()
}

fn new_route(words: &mut Words<'_>) -> Result<NewRoute, Failure> {
    let kinds = [
        ("blackhole", RouteKind::Blackhole),
        ("unreachable", RouteKind::Unreachable),
        ("prohibit", RouteKind::Prohibit),
        ("unicast", RouteKind::Unicast),
    ];
    let kind = kinds.into_iter().find(|(word, _)| words.accept(word)).map(|(_, kind)| kind);
    let to = match words.want("PREFIX")? {
        "default" => "0.0.0.0/0".to_owned(),
        prefix => prefix.to_owned(),
    };
    let via = words.value("via")?.map(str::to_owned);
    let dev = words.value("dev")?.map(str::to_owned);
    words.end()?;
    Ok(NewRoute { to, via, dev, kind })
}

/// Runs `weir neigh`.
pub(crate) fn run_neighbors(command: &NeighborCommand, daemon: &Daemon, output: &Output) -> Done {
    let NeighborCommand::Show { interface } = command;
    let mut neighbors: Neighbors = daemon.get(&Action::Neighbors {})?;
    let meant = |name: &str| interface.as_deref().is_none_or(|only| only == name);
    neighbors.neighbors.retain(|neighbor| meant(&neighbor.interface));
    if output.is_json() {
        output.json(&neighbors)?;
        return Ok(Code::Ok);
    }
    let lines = neighbors.neighbors.iter().map(|neighbor| {
        let mac = neighbor.mac.as_ref().map(|mac| format!(" lladdr {mac}")).unwrap_or_default();
        format!("{} dev {}{mac} {}", neighbor.address, neighbor.interface, neighbor.state.to_uppercase())
    });
    let lines: Vec<String> = lines.collect();
    match lines.is_empty() {
        true => output.note("no neighbour is known yet"),
        false => output.text(lines.join("\n"))?,
    }
    Ok(Code::Ok)
}
