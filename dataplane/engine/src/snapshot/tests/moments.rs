//! Snapshots beside a busy writer: each entry is one that the oracle passed through while it was read.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;

/// Keys that the writer goes round.
const KEYS: u64 = 200;

/// The value of a key after `count` writes, which go round the keys and write their own number, from 1.
fn state(count: u64, key: u64) -> u64 {
    let rounds = (count + KEYS - 1 - key) / KEYS;
    if rounds == 0 { 0 } else { (rounds - 1) * KEYS + key + 1 }
}

#[test]
fn the_oracle_knows_its_numbers() {
    let mut held = [0; KEYS as usize];
    for count in 0..1000 {
        (0..KEYS).for_each(|key| assert_eq!(state(count, key), held[key as usize]));
        held[(count % KEYS) as usize] = count + 1;
    }
}

#[test]
fn every_entry_of_a_snapshot_is_of_a_moment_within_its_reading() {
    for kind in [MapKind::Hash, MapKind::LruHash, MapKind::Array] {
        let source = typed("conns", kind, &["n", "again"], 1);
        let (count, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        let snapshots = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let n = count.load(Ordering::Relaxed);
                    put(&source, (n % KEYS) as u32, &[n + 1, n + 1]);
                    count.store(n + 1, Ordering::Release);
                }
            });
            let (mut store, _) = Store::on(Path::new(""), Box::new(disk::Memory::default()));
            let mut snapshots = Vec::new();
            for _ in 0..20 {
                let before = count.load(Ordering::Acquire);
                store.write(1, std::slice::from_ref(&source)).unwrap();
                // One write may have reached the map and not yet the count.
                let after = count.load(Ordering::Acquire) + 1;
                snapshots.push((before, after, store.reread().snapshot.unwrap().1));
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            stop.store(true, Ordering::Relaxed);
            snapshots
        });
        for (before, after, snapshot) in snapshots {
            let back = typed("conns", kind, &["n", "again"], 1);
            restore(&snapshot, std::slice::from_ref(&back));
            for key in 0..KEYS {
                let held = get(&back, key as u32).unwrap_or(vec![0, 0]);
                let range = state(before, key)..=state(after, key);
                assert!(range.contains(&held[0]), "{}: key {key}: {held:?} not in {range:?}", kind.name());
                let own = held[0] == 0 || (held[0] - 1) % KEYS == key;
                assert!(own, "{}: key {key} holds {held:?}", kind.name());
                // A hash table's value is whole; an array's words may be of different moments.
                assert!(kind == MapKind::Array || held[0] == held[1], "{}: {held:?} is torn", kind.name());
            }
        }
    }
}
