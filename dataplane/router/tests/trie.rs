//! The trie against two others who know the longest match: the `prefix-trie` crate, and a scan.

use std::collections::HashMap;

use ipnet::{Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;
use proptest::prelude::*;
use weir_router::{Key, Trie};

/// A change of the table: a prefix with a value to insert, or to remove.
type Change<K> = (K, u32, Option<u32>);

/// Addresses that share prefixes often: few values for each byte, most of them zero or all ones.
fn crowded_v6() -> impl Strategy<Value = u128> {
    let byte = prop_oneof![3 => Just(0u8), 2 => Just(255), 1 => 0u8..4, 1 => any::<u8>()];
    prop::collection::vec(byte, 16).prop_map(|bytes| u128::from_be_bytes(bytes.try_into().unwrap()))
}

fn crowded_v4() -> impl Strategy<Value = u32> {
    crowded_v6().prop_map(|key| key as u32)
}

fn changes<K: Key>(keys: impl Strategy<Value = K>) -> impl Strategy<Value = Vec<Change<K>>> {
    let value = prop_oneof![2 => (0u32..1000).prop_map(Some), 1 => Just(None)];
    prop::collection::vec((keys, 0..=K::BITS, value), 1..60)
}

/// Applies the changes to the trie and to a plain map, and compares what each says was there.
fn apply<K: Key>(changes: &[Change<K>]) -> (Trie<K>, HashMap<(K, u32), u32>) {
    let (mut trie, mut plain) = (Trie::default(), HashMap::new());
    for &(key, len, value) in changes {
        let key = key.prefix(len);
        match value {
            Some(value) => assert_eq!(trie.insert(key, len, value), plain.insert((key, len), value)),
            None => {
                // Besides the one named, one that is there, or few removals would find anything.
                let named =
                    plain.keys().copied().min_by_key(|(_, other)| other.abs_diff(len)).unwrap_or((key, len));
                assert_eq!(trie.remove(named.0, named.1), plain.remove(&named));
                assert_eq!(trie.remove(key, len), plain.remove(&(key, len)));
            }
        }
    }
    assert_eq!(trie.len(), plain.len());
    (trie, plain)
}

fn scan<K: Key>(plain: &HashMap<(K, u32), u32>, key: K) -> Option<u32> {
    let covers = |&(&(prefix, len), _): &(&(K, u32), &u32)| key.prefix(len) == prefix;
    plain.iter().filter(covers).max_by_key(|&(&(_, len), _)| len).map(|(_, &value)| value)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn v4_agrees(changes in changes(crowded_v4()), probes in prop::collection::vec(crowded_v4(), 40)) {
        let (trie, plain) = apply(&changes);
        let mut other = PrefixMap::<Ipv4Net, u32>::new();
        for (&(key, len), &value) in &plain {
            other.insert(Ipv4Net::new(key.into(), len as u8).unwrap(), value);
        }
        let edges = plain.keys().flat_map(|&(key, len)| {
            [key, key.wrapping_sub(1), key | !u32::MAX.checked_shl(32 - len).unwrap_or(0)]
        });
        for key in probes.into_iter().chain(edges) {
            let known = other.get_lpm(&Ipv4Net::new(key.into(), 32).unwrap()).map(|(_, &value)| value);
            prop_assert_eq!(trie.lookup(key), known);
            prop_assert_eq!(trie.lookup(key), scan(&plain, key));
            prop_assert_eq!(trie.covering(key).next().map(|(_, value)| value), known);
        }
    }

    #[test]
    fn v6_agrees(changes in changes(crowded_v6()), probes in prop::collection::vec(crowded_v6(), 40)) {
        let (trie, plain) = apply(&changes);
        let mut other = PrefixMap::<Ipv6Net, u32>::new();
        for (&(key, len), &value) in &plain {
            other.insert(Ipv6Net::new(key.into(), len as u8).unwrap(), value);
        }
        for key in probes.into_iter().chain(plain.keys().map(|&(key, _)| key)) {
            let known = other.get_lpm(&Ipv6Net::new(key.into(), 128).unwrap()).map(|(_, &value)| value);
            prop_assert_eq!(trie.lookup(key), known);
            prop_assert_eq!(trie.lookup(key), scan(&plain, key));
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, failure_persistence: None, ..ProptestConfig::default() })]

    /// An emptied table answers nothing, and filled again takes no more room than before.
    #[test]
    fn emptying_leaves_nothing(changes in changes(crowded_v6())) {
        let (mut trie, plain) = apply(&changes);
        let mut sizes = Vec::new();
        for _ in 0..3 {
            for &(key, len) in plain.keys() {
                trie.remove(key, len);
            }
            prop_assert!(trie.is_empty());
            for &(key, _, _) in &changes {
                prop_assert_eq!(trie.lookup(key), None);
            }
            for (&(key, len), &value) in &plain {
                trie.insert(key, len, value);
            }
            sizes.push(trie.bytes());
        }
        prop_assert_eq!(sizes[1], sizes[2]);
    }
}
