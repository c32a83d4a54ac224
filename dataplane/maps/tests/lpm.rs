//! The trie against a list of prefixes: random operations, widths and neighbourhoods.

use std::sync::Arc;

use proptest::prelude::*;
use weir_ebpf::abi::map_kind::{create_flags, update_flags as flag};
use weir_ebpf::abi::{Errno, MapKind};
use weir_ebpf::program::MapSpec;
use weir_maps::Map;

const ENTRIES: u32 = 40;

fn trie(width: usize, entries: u32) -> Arc<Map> {
    let mut spec = MapSpec::new("routes", MapKind::LpmTrie, 4 + width as u32, 8, entries);
    spec.flags = create_flags::NO_PREALLOC;
    Map::create(&spec, 1).unwrap()
}

fn key(len: u32, data: &[u8]) -> Vec<u8> {
    [&len.to_ne_bytes()[..], data].concat()
}

fn bit(data: &[u8], at: u32) -> bool {
    data[at as usize / 8] >> (7 - at % 8) & 1 != 0
}

fn shares(a: &[u8], b: &[u8], len: u32) -> bool {
    (0..len).all(|at| bit(a, at) == bit(b, at))
}

/// The obvious implementation.
#[derive(Default)]
struct Model {
    prefixes: Vec<(u32, Vec<u8>, u64)>,
}

impl Model {
    fn exact(&self, len: u32, data: &[u8]) -> Option<usize> {
        self.prefixes.iter().position(|(l, d, _)| *l == len && shares(d, data, len))
    }

    fn update(&mut self, bits: u32, len: u32, data: &[u8], value: u64, flags: u64) -> Result<(), Errno> {
        if flags > flag::EXIST || len > bits {
            return Err(Errno::EINVAL);
        }
        match (self.exact(len, data), flags) {
            (Some(_), flag::NOEXIST) => return Err(Errno::EEXIST),
            (None, flag::EXIST) => return Err(Errno::ENOENT),
            (Some(at), _) => self.prefixes[at] = (len, data.to_vec(), value),
            (None, _) if self.prefixes.len() == ENTRIES as usize => return Err(Errno::ENOSPC),
            (None, _) => self.prefixes.push((len, data.to_vec(), value)),
        }
        Ok(())
    }

    fn delete(&mut self, bits: u32, len: u32, data: &[u8]) -> Result<(), Errno> {
        if len > bits {
            return Err(Errno::EINVAL);
        }
        self.prefixes.remove(self.exact(len, data).ok_or(Errno::ENOENT)?);
        Ok(())
    }

    fn lookup(&self, len: u32, data: &[u8]) -> Option<u64> {
        let fitting = self.prefixes.iter().filter(|(l, d, _)| *l <= len && shares(d, data, *l));
        fitting.max_by_key(|(l, _, _)| *l).map(|(_, _, value)| *value)
    }

    /// All keys, more specific ones first, then by bits.
    fn order(&self) -> Vec<Vec<u8>> {
        let mut sorted = self.prefixes.clone();
        sorted.sort_by(|(al, a, _), (bl, b, _)| {
            let differing = (0..*al.min(bl)).find(|at| bit(a, *at) != bit(b, *at));
            differing.map_or(bl.cmp(al), |at| bit(a, at).cmp(&bit(b, at)))
        });
        sorted.iter().map(|(len, data, _)| key(*len, data)).collect()
    }
}

#[derive(Clone, Debug)]
enum Op {
    Update(u32, Vec<u8>, u64, u64),
    Delete(u32, Vec<u8>),
    Lookup(u32, Vec<u8>),
}

/// Addresses with few different bytes, so that prefixes meet; lengths up to one more than possible.
fn prefix(width: usize) -> impl Strategy<Value = (u32, Vec<u8>)> {
    let byte = prop_oneof![6 => Just(0u8), 2 => Just(0xff), 1 => Just(0x80), 2 => any::<u8>()];
    (0..=8 * width as u32 + 1, prop::collection::vec(byte, width))
}

fn op(width: usize) -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (prefix(width), any::<u64>(), prop_oneof![8 => Just(0u64), 1 => Just(1), 1 => Just(2), 1 => Just(3)])
            .prop_map(|((len, data), value, flags)| Op::Update(len, data, value, flags)),
        3 => prefix(width).prop_map(|(len, data)| Op::Delete(len, data)),
        4 => prefix(width).prop_map(|(len, data)| Op::Lookup(len, data)),
    ]
}

fn ops() -> impl Strategy<Value = (usize, Vec<Op>)> {
    prop_oneof![
        Just(1usize),
        Just(2),
        Just(3),
        Just(4),
        Just(7),
        Just(8),
        Just(12),
        Just(16),
        Just(17),
        Just(40)
    ]
    .prop_flat_map(|width| (Just(width), prop::collection::vec(op(width), 1..200)))
}

fn run(width: usize, ops: Vec<Op>) {
    let map = trie(width, ENTRIES);
    let (control, bits) = (map.control(), 8 * width as u32);
    let mut model = Model::default();
    // Deletes of random prefixes seldom hit, so half of them name a stored one.
    for (n, op) in ops.into_iter().enumerate() {
        match op {
            Op::Update(len, data, value, flags) => assert_eq!(
                control.update(&key(len, &data), &value.to_ne_bytes(), flags),
                model.update(bits, len, &data, value, flags)
            ),
            Op::Delete(len, data) => {
                let (len, data) = match model.prefixes.get(n % (2 * model.prefixes.len()).max(1)) {
                    Some((len, data, _)) => (*len, data.clone()),
                    None => (len, data),
                };
                assert_eq!(control.delete(&key(len, &data)), model.delete(bits, len, &data));
            }
            Op::Lookup(len, data) => {
                let found = control.lookup(&key(len, &data)).ok();
                let wanted = if len > bits { None } else { model.lookup(len, &data) };
                assert_eq!(found, wanted.map(|value| value.to_ne_bytes().to_vec()), "{len} {data:?}");
            }
        }
        assert_eq!(map.entries(), model.prefixes.len());
    }
    assert_eq!(control.keys().collect::<Vec<_>>(), model.order());
    for (len, data, _) in std::mem::take(&mut model.prefixes) {
        control.delete(&key(len, &data)).unwrap();
    }
    assert_eq!(control.next_key(None), Err(Errno::ENOENT));
}

fn cases() -> u32 {
    std::env::var("WEIR_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_trie_does_what_a_list_of_prefixes_does((width, ops) in ops()) {
        run(width, ops);
    }
}

#[test]
fn many_routes_are_found_and_go_again() {
    let map = trie(4, 60_000);
    let control = map.control();
    let mut state = 1u64;
    let mut random = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 32) as u32
    };
    let mut routes = std::collections::BTreeMap::new();
    for _ in 0..50_000 {
        let len = [8, 16, 20, 22, 24, 24, 24, 28, 32][random() as usize % 9];
        let network = random() & 0xffff_ffffu32.checked_shl(32 - len).unwrap_or(0);
        let value = u64::from(random());
        control.update(&key(len, &network.to_be_bytes()), &value.to_ne_bytes(), 0).unwrap();
        routes.insert((len, network), value);
    }
    assert_eq!(map.entries(), routes.len());
    let best = |address: u32| {
        (0..=32).rev().find_map(|len| {
            let network = address & 0xffff_ffffu32.checked_shl(32 - len).unwrap_or(0);
            routes.get(&(len, network)).copied()
        })
    };
    for _ in 0..50_000 {
        let address = random();
        let found = control.lookup(&key(32, &address.to_be_bytes())).ok();
        assert_eq!(found, best(address).map(|value| value.to_ne_bytes().to_vec()));
    }
    assert_eq!(control.clear().unwrap(), routes.len());
    assert_eq!(map.entries(), 0);
}
