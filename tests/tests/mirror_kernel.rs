//! The mirror of the kernel's tables against the kernel: routes, neighbours and devices are changed by ip(8) in a
//! namespace, and the tables must follow within a second and route as the kernel does.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use crossbeam_queue::ArrayQueue;
use serde_json::Value;
use weir_engine::host::Wanted;
use weir_engine::routes::Routes;
use weir_engine::routes::live::Live;
use weir_engine::routes::mirror::{Mirror, News, Resolve, Setup};
use weir_router::sync::Filter;
use weir_router::{Change, Port};
use weir_sys::netlink::{Netlink, Request};
use weir_tests::net::namespace::veth;
use weir_tests::net::{Namespace, full_scale, skip};

const SECOND: Duration = Duration::from_secs(1);

/// A box with two devices that are weir's and one that is not, and the hosts at their other ends.
struct Place {
    routes: Arc<Live>,
    news: Arc<Mutex<Vec<News>>>,
    wants: Arc<ArrayQueue<Wanted>>,
    mirror: Mirror,
    gateway: Namespace,
    inside: Namespace,
}

fn index(inside: &Namespace, device: &str) -> Result<u32> {
    let links: Value = serde_json::from_str(&inside.run(&format!("ip -j link show dev {device}"))?)?;
    Ok(links[0]["ifindex"].as_u64().context("ifindex")? as u32)
}

fn place(verify_every: Duration) -> Result<Place> {
    let (inside, gateway) = (Namespace::create("box")?, Namespace::create("gateway")?);
    for (device, far) in [("lan", "far-lan"), ("wan", "far-wan"), ("other", "far-other")] {
        veth((&inside, device), (&gateway, far), 1500)?;
        inside.sysctl(&format!("net.ipv6.conf.{device}.accept_dad"), "0")?;
    }
    inside.run_all(&[
        "ip addr add 192.0.2.1/24 dev lan",
        "ip addr add 203.0.113.2/30 dev wan",
        "ip addr add 172.16.0.1/24 dev other",
        "ip addr add 2001:db8:1::1/64 dev lan nodad",
        "ip addr add 2001:db8:ffff::2/64 dev wan nodad",
        "ip route add 198.18.0.0/15 via 203.0.113.1",
    ])?;
    gateway.run_all(&["ip addr add 192.0.2.9/24 dev far-lan", "ip addr add 203.0.113.1/30 dev far-wan"])?;
    let routes = Live::new(Routes::new(7), 0);
    for device in ["lan", "wan"] {
        let port = Port { name: device.to_owned(), ..Port::new(index(&inside, device)?, [2; 6], 1500) };
        routes.change([Change::Port(port)])?;
    }
    let news = Arc::new(Mutex::new(Vec::new()));
    let wants = Arc::new(ArrayQueue::new(64));
    let told = Arc::clone(&news);
    let mirror = inside.inside(|| -> Result<Mirror> {
        let ask = Mutex::new(Netlink::open(&[])?);
        let resolve: Resolve = Arc::new(move |ifindex, address| {
            let mut ask = ask.lock().map_err(|_| "poisoned".to_owned())?;
            ask.request(&Request::use_neighbour(ifindex, address)).map_err(|error| error.to_string())
        });
        let setup = Setup {
            follow: Some(Filter::default()),
            verify_every,
            wants: Arc::clone(&wants),
            resolve: Some(resolve),
            tell: Box::new(move |news| told.lock().unwrap().push(news)),
        };
        Ok(Mirror::start(Arc::clone(&routes), setup)?)
    })??;
    Ok(Place { routes, news, wants, mirror, gateway, inside })
}

/// Where the kernel sends packets to an address: `DEVICE`, `DEVICE via GATEWAY`, `host` or `nowhere`.
fn kernels_way(place: &Place, address: &str) -> Result<String> {
    let found = place.inside.try_run(&format!("ip -j route get {address}"), Duration::from_secs(5))?;
    if !found.success() {
        return Ok("nowhere".to_owned());
    }
    let found: Value = serde_json::from_str(&found.out)?;
    let found = &found[0];
    if matches!(found["type"].as_str(), Some("local" | "broadcast" | "anycast" | "multicast")) {
        return Ok("host".to_owned());
    }
    if matches!(found["type"].as_str(), Some("unreachable" | "prohibit" | "blackhole")) {
        return Ok("nowhere".to_owned());
    }
    let dev = found["dev"].as_str().context("dev")?;
    if dev == "other" || dev == "lo" {
        return Ok("host".to_owned());
    }
    let gateway = found["gateway"].as_str().or(found["via"]["host"].as_str());
    Ok(gateway.map_or_else(|| dev.to_owned(), |gateway| format!("{dev} via {gateway}")))
}

fn our_way(place: &Place, address: &str) -> Result<String> {
    let found = place.routes.current().get(address.parse()?, 0);
    Ok(match (found.fate, found.hop) {
        ("forward", Some(hop)) => match hop.gateway {
            Some(gateway) => format!("{} via {gateway}", hop.interface),
            None => hop.interface,
        },
        ("host", _) => "host".to_owned(),
        _ => "nowhere".to_owned(),
    })
}

/// The tables come to agree with the kernel about all these addresses within a second.
fn agree(place: &Place, addresses: &[&str]) -> Result<()> {
    for address in addresses {
        let kernels = kernels_way(place, address)?;
        let agrees = |_: &Namespace| Ok(our_way(place, address)? == kernels);
        let within = place.inside.until(&format!("{address} by {kernels}"), SECOND, agrees);
        within.with_context(|| format!("ours: {:?}", our_way(place, address)))?;
    }
    Ok(())
}

const ADDRESSES: &[&str] = &[
    "192.0.2.1",
    "192.0.2.9",
    "192.0.2.255",
    "203.0.113.1",
    "203.0.113.2",
    "172.16.0.9",
    "198.18.0.1",
    "198.19.255.255",
    "10.0.0.1",
    "10.1.0.1",
    "10.2.0.1",
    "10.3.0.1",
    "8.8.8.8",
    "127.0.0.5",
    "100.64.0.1",
    "2001:db8:1::1",
    "2001:db8:1::9",
    "2001:db8:ffff::1",
    "2001:db8:a::1",
    "2001:db8:b::1",
    "2001:db8:c::1",
];

#[test]
fn the_tables_follow_the_kernels() -> Result<()> {
    if skip("the_tables_follow_the_kernels") {
        return Ok(());
    }
    let place = place(Duration::from_millis(200))?;
    agree(&place, ADDRESSES)?;
    for change in [
        "ip route add default via 203.0.113.1",
        "ip route add 10.0.0.0/8 via 192.0.2.9 proto bird",
        "ip route add 10.1.0.0/16 dev other",
        "ip route add unreachable 10.2.0.0/16",
        "ip route add blackhole 10.3.0.0/16",
        "ip route add 100.64.0.0/10 nexthop via 203.0.113.1 weight 3 nexthop via 203.0.113.1 weight 1",
        "ip -6 route add default via 2001:db8:ffff::1",
        "ip -6 route add 2001:db8:a::/48 via 2001:db8:1::9 metric 100",
        "ip -6 route add 2001:db8:a::/48 via 2001:db8:ffff::1 metric 50",
        "ip -6 route add prohibit 2001:db8:b::/48",
        "ip -6 route add 2001:db8:c::/48 nexthop via 2001:db8:1::9 nexthop via 2001:db8:1::9 dev lan",
        "ip route replace 10.0.0.0/8 via 203.0.113.1",
        "ip route add 10.0.0.0/8 via 192.0.2.9 metric 5",
        "ip route append 10.1.0.0/16 dev lan",
        "ip route del 10.1.0.0/16 dev other",
        "ip -6 route del 2001:db8:a::/48 metric 50",
        "ip route del unreachable 10.2.0.0/16",
        "ip nexthop add id 7 via 192.0.2.9 dev lan",
        "ip route add 10.2.0.0/16 nhid 7",
        "ip nexthop replace id 7 via 203.0.113.1 dev wan",
        // The kernel says nothing of the routes that go with these.
        "ip link set wan down",
        "ip link set wan up",
        "ip route add 198.18.0.0/15 via 203.0.113.1 src 203.0.113.2",
        "ip addr add 192.0.2.77/24 dev lan",
        "ip route add 100.64.0.0/11 via 192.0.2.9 src 192.0.2.77",
        "ip addr del 192.0.2.77/24 dev lan",
        "ip link del other",
    ] {
        place.inside.run(change).or_else(|error| {
            match change.contains("append") || change.contains("-6") {
                true => Ok(String::new()),
                false => Err(error),
            }
        })?;
        agree(&place, ADDRESSES).with_context(|| format!("after `{change}`"))?;
    }
    std::thread::sleep(Duration::from_millis(500));
    let figures = place.mirror.figures();
    let news = place.news.lock().unwrap();
    ensure!(figures.drift_total == 0 && figures.comparisons > 0, "{figures:?} {news:?}");
    println!("{figures:?}");
    Ok(())
}

#[test]
fn ten_thousand_routes_are_followed_within_a_second() -> Result<()> {
    if skip("ten_thousand_routes_are_followed_within_a_second") {
        return Ok(());
    }
    let count: u32 = if full_scale() { 100_000 } else { 10_000 };
    let place = place(Duration::from_secs(3600))?;
    let net = |at: u32| format!("20.{}.{}.{}/28", at >> 12 & 255, at >> 4 & 255, (at & 15) << 4);
    let known = |place: &Place| {
        let current = place.routes.current();
        current.tables().routes().filter(|route| route.to.to_string().ends_with("/28")).count()
    };
    for (verb, rest, wanted) in [
        ("add", "via 203.0.113.1 proto bird", count as usize),
        ("replace", "via 192.0.2.9 proto bird", count as usize),
        ("del", "", 0),
    ] {
        let mut batch = String::new();
        for at in 0..count {
            writeln!(batch, "route {verb} {} {rest}", net(at))?;
        }
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(&file, batch)?;
        let start = Instant::now();
        let done =
            place.inside.shell(&format!("ip -batch {}", file.path().display()), Duration::from_secs(60));
        done?;
        let took = start.elapsed();
        let last = net(count - 1).replace("/28", "");
        let expected = kernels_way(&place, &last)?;
        let lag = place.inside.until(&format!("{verb} is followed"), SECOND, |_| {
            Ok(known(&place) == wanted && our_way(&place, &last)? == expected)
        })?;
        println!("{verb}: {count} routes in {took:?}, followed {lag:?} after");
    }
    Ok(())
}

#[test]
fn a_missed_change_is_found_and_mended() -> Result<()> {
    if skip("a_missed_change_is_found_and_mended") {
        return Ok(());
    }
    let place = place(Duration::from_millis(200))?;
    let route = place.routes.current().tables().routes().find(|route| route.to.prefix_len() == 15).cloned();
    place.routes.change([Change::Unlearn(route.context("198.18.0.0/15")?)])?;
    place.inside.until("the drift is found", 2 * SECOND, |_| Ok(place.mirror.figures().drift_total == 1))?;
    agree(&place, &["198.18.0.1"])?;
    ensure!(place.news.lock().unwrap().contains(&News::Drift { routes: 1 }));
    Ok(())
}

#[test]
fn neighbours_are_asked_for_and_kept_fresh() -> Result<()> {
    if skip("neighbours_are_asked_for_and_kept_fresh") {
        return Ok(());
    }
    let place = place(Duration::from_secs(3600))?;
    let ifindex = index(&place.inside, "lan")?;
    let state = |address: &str| -> Result<Option<&'static str>> {
        let address: IpAddr = address.parse()?;
        let rows = place.routes.current().neighbours();
        Ok(rows.into_iter().find(|row| row.address == address).map(|row| row.state))
    };
    ensure!(state("192.0.2.9")?.is_none());
    for address in ["192.0.2.9", "192.0.2.66"] {
        place.wants.push(Wanted { ifindex, address: address.parse()? }).ok();
    }
    place.inside.until("the neighbour answers", SECOND, |_| Ok(state("192.0.2.9")? == Some("reachable")))?;
    let mac = place.routes.current().get("192.0.2.9".parse()?, 0).mac;
    let links: Value = serde_json::from_str(&place.gateway.run("ip -j link show dev far-lan")?)?;
    ensure!(mac.as_deref() == links[0]["address"].as_str(), "{mac:?}");
    place.inside.until("nobody answers", 5 * SECOND, |_| Ok(state("192.0.2.66")? == Some("failed")))?;
    // A stale neighbour that packets go to is confirmed; one that none go to is left alone.
    place.inside.run("ip neigh replace 192.0.2.9 lladdr 02:00:00:00:00:99 dev lan nud stale")?;
    place.inside.until("the change is seen", SECOND, |_| Ok(state("192.0.2.9")? == Some("stale")))?;
    let used = |_: &Namespace| {
        let _ = place.routes.current().get("192.0.2.9".parse()?, 0);
        Ok(place.mirror.figures().refreshed > 0)
    };
    place.inside.until("it is used in the kernel's eyes", 8 * SECOND, used)?;
    Ok(())
}
