//! The tables of a running weir: changed while they are read, and shown to people.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use weir_engine::Config;
use weir_engine::build;
use weir_engine::routes::Routes;
use weir_engine::routes::live::Live;
use weir_router::{Change, NextHop, Origin, Route};
use weir_vm::env::{FibAddresses, FibAnswer, FibGateway, FibQuery};

const PORTS: &str = r#"
version = 1
[interface.lan]
driver = "null"
ifindex = 1
address = ["192.0.2.1/24", "2001:db8:1::1/64"]
[interface.wan]
driver = "null"
ifindex = 2
address = ["203.0.113.2/30"]
"#;

fn config(rest: &str) -> Config {
    Config::parse(Path::new("weir.toml"), &format!("{PORTS}{rest}")).unwrap()
}

fn learned(to: &str, port: u32) -> Route {
    let origin = Origin::Kernel { protocol: 12 };
    Route { origin, ..Route::unicast(to.parse().unwrap(), NextHop::on_link(port)) }
}

fn way(routes: &Routes, to: [u8; 4]) -> Option<(u32, Option<FibGateway>)> {
    let answer = routes.lookup(&FibQuery {
        addresses: FibAddresses::V4 { source: [192, 0, 2, 9], destination: to },
        l4_protocol: 17,
        source_port: u16::from(to[3]),
        destination_port: 53,
        total_len: 0,
        tos: 0,
        ifindex: 1,
        flags: 0,
        mark: 0,
        table: 0,
    });
    match answer {
        FibAnswer::Forward(hop) => Some((hop.ifindex, hop.gateway)),
        _ => None,
    }
}

#[test]
fn a_configuration_takes_the_place_of_another_and_what_was_learned_stays() {
    let live = Live::new(Routes::new(1), 1);
    let first = config("[[route]]\nto = \"0.0.0.0/0\"\nvia = \"203.0.113.1\"\n");
    let ports = build::ports(&first);
    live.configure(&first, &ports).unwrap();
    live.change([Change::Learn(learned("10.0.0.0/8", 1))]).unwrap();
    assert_eq!(way(&live.current(), [10, 1, 1, 1]), Some((1, None)));
    assert_eq!(way(&live.current(), [9, 9, 9, 9]), Some((2, Some(FibGateway::V4([203, 0, 113, 1])))));
    let second = config("[[route]]\nto = \"10.0.0.0/8\"\ndev = \"wan\"\n");
    live.configure(&second, &ports).unwrap();
    assert_eq!(way(&live.current(), [9, 9, 9, 9]), None);
    assert_eq!(way(&live.current(), [10, 1, 1, 1]), Some((2, None)), "the configuration's comes first");
    live.configure(&first, &ports).unwrap();
    assert_eq!(way(&live.current(), [10, 1, 1, 1]), Some((1, None)));
    let wrong = config("[[route]]\nto = \"10.0.0.0/8\"\nvia = \"198.51.100.1\"\n");
    let error = live.configure(&wrong, &ports).unwrap_err().to_string();
    assert!(error.contains("gateway 198.51.100.1 is on no interface's network"), "{error}");
    assert_eq!(way(&live.current(), [9, 9, 9, 9]).map(|way| way.0), Some(2), "and nothing was changed");
}

#[test]
fn several_gateways_share_by_weight() {
    let several = config(
        "[[route]]\nto = \"198.51.100.0/24\"\nvia = [{ gw = \"192.0.2.10\", weight = 3 }, { gw = \"192.0.2.11\" }]\n",
    );
    let routes = Routes::build(&several, &build::ports(&several)).unwrap();
    let to_first = (0..=255u8).filter(|last| {
        way(&routes, [198, 51, 100, *last]) == Some((1, Some(FibGateway::V4([192, 0, 2, 10]))))
    });
    let share = to_first.count();
    assert!((170..=215).contains(&share), "three quarters of 256 flows, not {share}");
    let shown = serde_json::to_value(routes.list().into_iter().find(|row| row.via.len() == 2).unwrap());
    assert_eq!(
        shown.unwrap(),
        serde_json::json!({
            "to": "198.51.100.0/24", "type": "unicast", "protocol": "config", "source": "config",
            "metric": 0, "table": "main", "via": [
                { "gateway": "192.0.2.10", "interface": "lan", "weight": 3 },
                { "gateway": "192.0.2.11", "interface": "lan", "weight": 1 },
            ],
        })
    );
    let found = serde_json::to_value(routes.get("198.51.100.1".parse().unwrap(), 0)).unwrap();
    assert_eq!(found["route"]["to"], "198.51.100.0/24");
    assert_eq!((&found["fate"], &found["mac"]), (&"forward".into(), &serde_json::Value::Null));
    assert_eq!(routes.get("192.0.2.1".parse().unwrap(), 0).fate, "host");
    assert_eq!(routes.get("8.8.8.8".parse().unwrap(), 0).fate, "no-route");
}

#[test]
fn an_empty_list_of_gateways_is_refused() {
    let text = format!("{PORTS}[[route]]\nto = \"10.0.0.0/8\"\nvia = []\n");
    let error = Config::parse(Path::new("weir.toml"), &text).unwrap_err().to_string();
    assert_eq!(error, "weir.toml: route 10.0.0.0/8: via is an empty list: name a gateway");
    let text = format!("{PORTS}[[route]]\nto = \"10.0.0.0/8\"\nvia = \"here\"\n");
    let error = Config::parse(Path::new("weir.toml"), &text).unwrap_err().to_string();
    assert!(error.contains("wanted an address, or a list such as"), "{error}");
}

/// Two routes always change together: whoever looks must find both old or both new.
#[test]
fn readers_see_whole_batches_while_thousands_of_routes_change() {
    const ROUNDS: u32 = 200;
    let base = config("");
    let live = Live::new(Routes::new(1), 2);
    live.configure(&base, &build::ports(&base)).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let lookups = Arc::new(AtomicU64::new(0));
    let readers: Vec<_> = (0..2)
        .map(|worker| {
            let (mut reader, stop, lookups) = (live.reader(worker), Arc::clone(&stop), Arc::clone(&lookups));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let routes = reader.edge();
                    let first = way(routes, [10, 0, 0, 1]).map(|way| way.0);
                    assert_eq!(first, way(routes, [10, 0, 49, 1]).map(|way| way.0), "half a batch");
                    lookups.fetch_add(2, Ordering::Relaxed);
                    std::thread::yield_now();
                }
            })
        })
        .collect();
    let start = Instant::now();
    for round in 0..ROUNDS {
        let port = 1 + round % 2;
        live.change((0..50).map(|net| Change::Learn(learned(&format!("10.0.{net}.0/24"), port)))).unwrap();
    }
    let took = start.elapsed();
    stop.store(true, Ordering::Relaxed);
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    println!("{} changes in {took:?}, {} lookups meanwhile", ROUNDS * 50, lookups.load(Ordering::Relaxed));
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn changes_wait_for_who_looks_and_are_made_after() {
    let base = config("");
    let live = Live::new(Routes::new(1), 1);
    live.configure(&base, &build::ports(&base)).unwrap();
    live.change([Change::Learn(learned("10.0.0.0/8", 1))]).unwrap();
    let looking = live.current();
    live.change([Change::Learn(learned("11.0.0.0/8", 1))]).unwrap();
    let error = live.change([Change::Learn(learned("12.0.0.0/8", 1))]).unwrap_err();
    assert_eq!(error.waiting, 1);
    assert_eq!(way(&looking, [11, 0, 0, 1]), None);
    drop(looking);
    live.change([]).unwrap();
    assert_eq!(way(&live.current(), [12, 0, 0, 1]), Some((1, None)));
    // Both copies have all of it.
    live.change([Change::Learn(learned("13.0.0.0/8", 1))]).unwrap();
    let all = [10, 11, 12, 13].map(|net| way(&live.current(), [net, 0, 0, 1]).is_some());
    assert_eq!(all, [true; 4]);
}

/// What a full table costs. `cargo test --release -p weir-engine --test routes -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn memory_and_pace_of_a_large_table() {
    let base = config("");
    for count in [10_000u32, 100_000, 1_000_000] {
        let before = resident_kib();
        let live = Live::new(Routes::new(1), 1);
        live.configure(&base, &build::ports(&base)).unwrap();
        let route = |at: u32| {
            let [_, a, b, c] = at.to_be_bytes();
            learned(&format!("{}.{b}.{c}.0/24", 20 + a), 1 + at % 2)
        };
        let start = Instant::now();
        let all: Vec<u32> = (0..count).collect();
        for batch in all.chunks(1000) {
            live.change(batch.iter().map(|at| Change::Learn(route(*at)))).unwrap();
        }
        let pace = f64::from(count) / start.elapsed().as_secs_f64();
        println!(
            "{count} routes: lookups read {} KiB, resident {} KiB in all, {pace:.0} changes a second",
            live.bytes() / 1024,
            resident_kib() - before,
        );
    }
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
