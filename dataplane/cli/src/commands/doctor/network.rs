//! The kernel's routing around a device: weir follows its routes and neighbours, and hands it what is
//! for the machine itself.

use super::Check;
use super::facts::Network;

/// Judges the routing.
pub(crate) fn judge(network: &Network) -> Vec<Check> {
    let mut checks = vec![rp_filter(network), forwarding(network), routes(network)];
    checks.extend(neighbours(network));
    checks
}

fn rp_filter(network: &Network) -> Check {
    match network.rp_filter {
        1 => Check::warn(
            "rp_filter",
            "strict: what weir passes to the kernel comes in by weir's own TAP, and the kernel drops it when its way back is another device",
            "sysctl net.ipv4.conf.all.rp_filter=2",
        ),
        2 => Check::ok("rp_filter", "loose: the kernel takes what weir passes to it"),
        _ => Check::ok("rp_filter", "off: the kernel takes what weir passes to it"),
    }
}

fn forwarding(network: &Network) -> Check {
    let on: Vec<&str> = [(network.forward4, "IPv4"), (network.forward6, "IPv6")]
        .iter()
        .filter_map(|(on, name)| on.then_some(*name))
        .collect();
    match on.is_empty() {
        true => Check::ok("ip_forward", "the kernel does not forward: weir alone decides where packets go"),
        false => Check::warn(
            "ip_forward",
            format!(
                "the kernel forwards {} too: packets that weir leaves to it go on past weir's programs",
                on.join(" and ")
            ),
            "sysctl net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0, unless that is wanted",
        ),
    }
}

fn routes(network: &Network) -> Check {
    let name = &network.device;
    match network.routes {
        (0, 0) => Check::warn(
            "routes",
            format!("no route of the main table leads out of {name}: the router sends nothing there"),
            format!("ip addr add ADDRESS/LENGTH dev {name}, or address = [\"…\"] in the configuration"),
        ),
        (four, six) => {
            let six = match network.no_ipv6 {
                true => "IPv6 switched off".to_owned(),
                false => format!("{six} of IPv6"),
            };
            Check::ok("routes", format!("out of {name}: {four} of IPv4, {six}"))
        }
    }
}

fn neighbours(network: &Network) -> Option<Check> {
    let unknown: Vec<String> =
        network.gateways.iter().filter(|(_, known)| !known).map(|(gateway, _)| gateway.to_string()).collect();
    if network.gateways.is_empty() {
        return None;
    }
    Some(match unknown.is_empty() {
        true => Check::ok("neighbours", "the link address of each gateway is known"),
        false => Check::warn(
            "neighbours",
            format!(
                "the link address of gateway {} is not known: packets wait until it answers",
                unknown.join(", ")
            ),
            format!("ping -c 1 -I {} {}", network.device, unknown[0]),
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::State;

    fn good() -> Network {
        Network {
            device: "eth0".to_owned(),
            routes: (2, 1),
            gateways: vec![("10.0.0.1".parse().unwrap(), true)],
            ..Network::default()
        }
    }

    #[test]
    fn each_trouble_is_told_and_none_when_there_is_none() {
        let bad = |network: Network| -> Vec<&'static str> {
            let checks = judge(&network).into_iter();
            checks.filter(|check| check.state != State::Ok).map(|check| check.name).collect()
        };
        assert!(bad(good()).is_empty());
        assert_eq!(bad(Network { rp_filter: 1, ..good() }), ["rp_filter"]);
        assert_eq!(bad(Network { forward6: true, ..good() }), ["ip_forward"]);
        assert_eq!(bad(Network { routes: (0, 0), ..good() }), ["routes"]);
        let gateways = vec![("10.0.0.1".parse().unwrap(), false)];
        assert_eq!(bad(Network { gateways, ..good() }), ["neighbours"]);
    }
}
