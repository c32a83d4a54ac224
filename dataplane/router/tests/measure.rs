//! How long lookups take. Run by hand, on an otherwise quiet core:
//! `cargo test --release -p weir-router --test measure -- --ignored --nocapture`
//!
//! Independent lookups overlap in the processor, as those of a batch do; dependent ones wait for each
//! other, which is what a single packet sees.

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::time::Instant;

use weir_router::{
    FibAddresses, FibAnswer, FibQuery, Key, Neighbour, NeighbourState, NextHop, Port, Route, Tables, Trie,
    text,
};

const LOOKUPS: u32 = 4_000_000;

/// A reproducible stream (xorshift64*).
struct Source(u64);

impl Source {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A prefix length with shares like those of the global table: IPv4 mostly /24, IPv6 mostly /48.
    fn len(&mut self, v6: bool) -> u32 {
        let (common, least, spread) = if v6 { (48, 20, 45) } else { (24, 8, 17) };
        if self.next() % 100 < 58 { common } else { least + (self.next() % spread) as u32 }
    }
}

/// The middle of five measurements, in ns for each lookup.
fn median(mut run: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..5)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_nanos() as f64 / f64::from(LOOKUPS)
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[2]
}

fn measure<K: Key>(
    name: &str,
    prefixes: usize,
    mut prefix: impl FnMut() -> (K, u32),
    host: impl Fn(K, u64) -> K,
) {
    let mut trie = Trie::default();
    let mut source = Source(7);
    let start = Instant::now();
    let mut inside = Vec::new();
    for number in 0..prefixes {
        let (key, len) = prefix();
        trie.insert(key, len, number as u32);
        inside.push(key);
    }
    let build = start.elapsed();
    let keys: Vec<K> =
        (0..1 << 16).map(|_| host(inside[source.next() as usize % inside.len()], source.next())).collect();
    let at = |index: u32| keys[index as usize & 0xffff];
    let independent = median(|| {
        (0..LOOKUPS).for_each(|index| _ = black_box(trie.lookup(at(index))));
    });
    let dependent = median(|| {
        let mut index = 0;
        for step in 0..LOOKUPS {
            index = step.wrapping_add(trie.lookup(at(index)).unwrap_or(1));
        }
        black_box(index);
    });
    println!(
        "{name:5} {prefixes:8} prefixes: {independent:5.1} ns independent, {dependent:5.1} ns dependent, {:6.1} MiB, built in {build:.0?}",
        trie.bytes() as f64 / f64::from(1 << 20)
    );
}

#[test]
#[ignore = "a measurement"]
fn longest_match() {
    for prefixes in [10, 1_000, 100_000] {
        let mut source = Source(1);
        let v4 = move || ((source.next() >> 32) as u32, source.len(false));
        measure("IPv4", prefixes, v4, |key: u32, random| key ^ (random as u32 & 0xff));
    }
    for prefixes in [10, 1_000, 100_000, 200_000] {
        let mut source = Source(2);
        // Below 2000::/4, as allocations are: many prefixes share their first bits.
        let v6 = move || {
            let high = 0x2000_0000_0000_0000 | (source.next() % 4096) << 48 | source.next() >> 16;
            ((u128::from(high) << 64), source.len(true))
        };
        measure("IPv6", prefixes, v6, |key: u128, random| key ^ u128::from(random));
    }
}

#[test]
#[ignore = "a measurement"]
fn whole_lookup() {
    let mut tables = Tables::new(7);
    for index in [2, 3] {
        let address = text::interface(&format!("10.{index}.0.1/16")).unwrap();
        tables.set_port(Port::new(index, [2; 6], 1500).with_address(address));
    }
    let gateway = text::address("10.2.0.9").unwrap();
    let known = Neighbour { mac: [9; 6], state: NeighbourState::Reachable };
    tables.set_neighbour(2, gateway, known);
    let mut source = Source(3);
    for _ in 0..100_000 {
        let to = ipnet::Ipv4Net::new(((source.next() >> 32) as u32).into(), source.len(false) as u8).unwrap();
        tables.replace(&Route::unicast(to.trunc().into(), NextHop::gateway(gateway, 2))).unwrap();
    }
    tables
        .add(&Route::unicast(text::destination("0.0.0.0/0").unwrap(), NextHop::gateway(gateway, 2)))
        .unwrap();
    for host in 0..256 {
        let address = Ipv4Addr::from(0x0a03_0000 + host).into();
        tables.set_neighbour(3, address, known);
    }
    let remote: Vec<u32> = (0..1 << 16).map(|_| (source.next() >> 32) as u32).collect();
    let on_link: Vec<u32> = (0..1 << 16).map(|_| 0x0a03_0000 + (source.next() & 0xff) as u32).collect();
    for (name, destinations) in [("over a gateway", remote), ("on the link", on_link)] {
        let query = |index: u32| FibQuery {
            addresses: FibAddresses::V4 {
                source: Ipv4Addr::from(0x0a02_0005),
                destination: Ipv4Addr::from(destinations[index as usize & 0xffff]),
            },
            l4_protocol: 17,
            source_port: 1,
            destination_port: 2,
            ifindex: 2,
            flags: 0,
            table: 0,
        };
        assert!(matches!(tables.lookup(&query(0)), FibAnswer::Forward(_)));
        let time = median(|| {
            (0..LOOKUPS).for_each(|index| _ = black_box(tables.lookup(&query(index))));
        });
        let clone = Instant::now();
        let copy = black_box(tables.clone());
        let clone = clone.elapsed();
        println!(
            "{name:15} {time:5.1} ns, 100,000 routes, {} MiB, cloned in {clone:.0?}",
            copy.bytes() >> 20
        );
    }
}
