//! How long lookups take, by one thread. Not a test: run it by hand with
//! `cargo test --release -p weir-maps --test speed -- --ignored --nocapture`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use weir_ebpf::abi::MapKind;
use weir_ebpf::abi::map_kind::create_flags;
use weir_ebpf::program::MapSpec;
use weir_maps::Map;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb)
    }
}

fn map(kind: MapKind, key: usize, entries: u32, flags: u32) -> Arc<Map> {
    let mut spec = MapSpec::new("speed", kind, key as u32, 8, entries);
    spec.flags = flags;
    let map = Map::create(&spec, 1).unwrap();
    map.populate();
    map
}

const LOOKUPS: usize = 2_000_000;

/// The best of five rounds over the keys (the machine has other work): each lookup independent of the one
/// before, or (with `dependent`) waiting for its value, as a single packet would.
fn lookups(map: &Map, keys: &[Vec<u8>], dependent: bool) -> f64 {
    let size = keys[0].len();
    let flat: Vec<u8> = keys.concat();
    let rounds = (LOOKUPS / keys.len()).max(1);
    let once = || {
        let begin = Instant::now();
        let mut zero = 0usize;
        for _ in 0..rounds {
            for key in flat.chunks_exact(size) {
                // SAFETY: the key has the map's size (`zero` is zero); a value found has 8 bytes and its top
                // bit clear.
                unsafe {
                    let value = map.lookup(0, key.as_ptr().add(zero));
                    if dependent {
                        zero = (value.cast::<u64>().read() >> 63) as usize;
                    } else {
                        black_box(value);
                    }
                }
            }
        }
        begin.elapsed().as_nanos() as f64 / (rounds * keys.len()) as f64
    };
    (0..5).map(|_| once()).fold(f64::INFINITY, f64::min)
}

fn updates(map: &Map, keys: &[Vec<u8>]) -> f64 {
    let begin = Instant::now();
    let count = 1_000_000;
    for at in 0..count {
        let value = at as u64;
        // SAFETY: key and value have the map's sizes.
        unsafe { map.update(0, keys[at % keys.len()].as_ptr(), (&raw const value).cast(), 0).ok() };
    }
    begin.elapsed().as_nanos() as f64 / count as f64
}

fn report(what: &str, map: &Map, keys: &[Vec<u8>]) {
    let mut shuffled = keys.to_vec();
    let mut random = Random(5);
    for at in (1..shuffled.len()).rev() {
        shuffled.swap(at, random.next() as usize % (at + 1));
    }
    let (free, waiting) = (lookups(map, &shuffled, false), lookups(map, &shuffled, true));
    let update = updates(map, &shuffled);
    println!("{what:44} {free:8.1} {waiting:12.1} {update:10.1}");
}

fn random_keys(size: usize, count: usize) -> Vec<Vec<u8>> {
    let mut random = Random(3);
    (0..count).map(|_| (0..size).map(|_| random.next() as u8).collect()).collect()
}

fn fill(map: &Map, keys: &[Vec<u8>]) {
    for key in keys {
        map.control().update(key, &7u64.to_ne_bytes(), 0).unwrap();
    }
}

fn table(kind: MapKind, key: usize, count: usize) {
    let map = map(kind, key, count as u32, 0);
    let keys = random_keys(key, count);
    fill(&map, &keys);
    report(&format!("{} of {count}, key of {key}", kind.name()), &map, &keys);
}

fn routes(width: usize, lengths: &[u32], count: usize) {
    let map = map(MapKind::LpmTrie, 4 + width, count as u32, create_flags::NO_PREALLOC);
    let mut random = Random(4);
    let mut keys = Vec::new();
    let begin = Instant::now();
    for at in 0..count {
        let len = lengths[at % lengths.len()];
        let mut data: Vec<u8> = (0..width).map(|_| random.next() as u8).collect();
        // Addresses are handed out in blocks, so prefixes share beginnings.
        data[0] = (random.next() % 64) as u8;
        let key = [&len.to_ne_bytes()[..], &data].concat();
        map.control().update(&key, &7u64.to_ne_bytes(), 0).unwrap();
        keys.push([&(8 * width as u32).to_ne_bytes()[..], &data].concat());
    }
    let each = begin.elapsed().as_nanos() as f64 / count as f64;
    let mut shuffled = keys;
    for at in (1..shuffled.len()).rev() {
        shuffled.swap(at, random.next() as usize % (at + 1));
    }
    for (what, keys) in [("all", &shuffled[..]), ("hot", &shuffled[..64])] {
        let (free, waiting) = (lookups(&map, keys, false), lookups(&map, keys, true));
        println!(
            "{:44} {free:8.1} {waiting:12.1} {each:10.1}",
            format!("lpm_trie of {count}, {width} bytes, {what}")
        );
    }
}

#[test]
#[ignore = "measures, and takes a minute"]
fn lookups_take_this_long() {
    println!("{:44} {:>8} {:>12} {:>10}", "ns per operation", "lookup", "dependent", "update");
    let array = map(MapKind::Array, 4, 1024, 0);
    let indices: Vec<Vec<u8>> = (0..1024u32).map(|n| n.to_ne_bytes().to_vec()).collect();
    report("array of 1024", &array, &indices);
    for kind in [MapKind::Hash, MapKind::PercpuHash, MapKind::LruHash] {
        for count in [16, 1000, 1_000_000] {
            table(kind, 16, count);
        }
    }
    for key in [4, 8, 40, 41] {
        table(MapKind::Hash, key, 1000);
    }
    routes(4, &[24, 24, 24, 22, 20, 16, 23, 32], 100_000);
    routes(4, &[24], 1_000_000);
    routes(16, &[48, 48, 32, 64, 56, 40, 128], 100_000);
}
