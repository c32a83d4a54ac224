//! Entries on their way between maps of every kind that can be walked, and what programs do meanwhile.

use std::sync::Arc;

use weir_ebpf::abi::MapKind;
use weir_ebpf::abi::map_kind::create_flags;
use weir_ebpf::program::MapSpec;
use weir_maps::Map;

use crate::migrate::{Conversion, Field, MigrateError, Migration, Shape};

fn field(name: &str, at: u32, size: u32) -> Field {
    let of = Shape::Int { size, signed: false, big_endian: false };
    Field { name: name.to_owned(), bit: at * 8, bits: 0, of }
}

/// `{ u64 packets; u32 bytes; }` grows to `{ u64 packets; u64 bytes; u32 mark; }`.
fn growth() -> Conversion {
    let old = Shape::Struct { size: 16, fields: vec![field("packets", 0, 8), field("bytes", 8, 4)] };
    let fields = vec![field("packets", 0, 8), field("bytes", 8, 8), field("mark", 16, 4)];
    Conversion::new(&old, &Shape::Struct { size: 24, fields }).unwrap()
}

fn map(kind: MapKind, value: u32) -> Arc<Map> {
    let mut spec = MapSpec::new("m", kind, 4, value, 64);
    if kind == MapKind::LpmTrie {
        spec.flags = create_flags::NO_PREALLOC;
        spec.key_size = 8;
    }
    Map::create(&spec, 3).unwrap()
}

fn key(kind: MapKind, n: u32) -> Vec<u8> {
    match kind {
        MapKind::LpmTrie => [n.to_ne_bytes(), [10, 0, 0, 0]].concat(),
        _ => n.to_ne_bytes().to_vec(),
    }
}

fn old_value(packets: u64, bytes: u32) -> Vec<u8> {
    [&packets.to_le_bytes()[..], &bytes.to_le_bytes(), &[0; 4]].concat()
}

fn new_value(packets: u64, bytes: u64, mark: u32) -> Vec<u8> {
    [&packets.to_le_bytes()[..], &bytes.to_le_bytes(), &mark.to_le_bytes(), &[0; 4]].concat()
}

fn write(map: &Map, key: &[u8], value: &[u8]) {
    let cpus = if map.spec().kind.is_percpu() { map.cpus() } else { 1 };
    map.control().update_percpu(key, &vec![value.to_vec(); cpus], 0).unwrap();
}

fn read(map: &Map, key: &[u8]) -> Option<Vec<u8>> {
    map.control().entry(key).ok().map(|values| values[..map.spec().value_size as usize].to_vec())
}

#[test]
fn every_kind_that_can_be_walked_is_migrated() {
    for kind in [
        MapKind::Hash,
        MapKind::LruHash,
        MapKind::PercpuHash,
        MapKind::LruPercpuHash,
        MapKind::LpmTrie,
        MapKind::Array,
        MapKind::PercpuArray,
    ] {
        let (old, new) = (map(kind, 16), map(kind, 24));
        let (first, second) = (key(kind, 7), key(kind, 9));
        write(&old, &first, &old_value(1, 2));
        if kind.is_percpu() {
            let each = [old_value(1, 10), old_value(2, 20), old_value(3, 30)];
            old.control().update_percpu(&second, &each, 0).unwrap();
        } else {
            write(&old, &second, &old_value(1, 10));
        }
        let settled = Migration::start(Arc::clone(&old), Arc::clone(&new), growth()).unwrap().settle();
        let entries = if matches!(kind, MapKind::Array | MapKind::PercpuArray) { 64 } else { 2 };
        assert_eq!(settled.to_string(), format!("m migrated {entries}"), "{}", kind.name());
        assert_eq!(read(&new, &first), Some(new_value(1, 2, 0)), "{}", kind.name());
        let wanted: Vec<Vec<u8>> = match kind.is_percpu() {
            true => (1..=3).map(|n| new_value(n, n * 10, 0)).collect(),
            false => vec![new_value(1, 10, 0)],
        };
        assert_eq!(new.control().lookup_percpu(&second), Ok(wanted), "{}", kind.name());
    }
}

#[test]
fn what_changes_between_the_first_copy_and_the_last_look_is_followed() {
    let (old, new) = (map(MapKind::Hash, 16), map(MapKind::Hash, 24));
    let at = |n| key(MapKind::Hash, n);
    (0..8).for_each(|n| write(&old, &at(n), &old_value(1, 1)));
    let mut migration = Migration::start(Arc::clone(&old), Arc::clone(&new), growth()).unwrap();
    // Still before the swap: whatever happens is simply copied.
    write(&old, &at(0), &old_value(2, 2));
    old.control().delete(&at(1)).unwrap();
    assert_eq!(migration.catch_up(), Ok(2));
    assert_eq!((read(&new, &at(0)), read(&new, &at(1))), (Some(new_value(2, 2, 0)), None));
    // Both generations run.
    write(&old, &at(2), &old_value(5, 5)); // only the old one
    write(&new, &at(3), &new_value(1, 1, 9)); // only the new one
    write(&old, &at(4), &old_value(1, 7)); // the old one these bytes,
    write(&new, &at(4), &new_value(3, 1, 0)); // the new one those packets
    write(&old, &at(5), &old_value(6, 1)); // both the same member
    write(&new, &at(5), &new_value(8, 1, 0));
    old.control().delete(&at(6)).unwrap(); // deleted there, untouched here
    old.control().delete(&at(7)).unwrap(); // deleted there, used here
    write(&new, &at(7), &new_value(1, 2, 0));
    write(&old, &at(20), &old_value(4, 4)); // came there
    write(&old, &at(21), &old_value(4, 4)); // came on both sides
    write(&new, &at(21), &new_value(1, 1, 1));
    let settled = migration.settle();
    let now = |n| read(&new, &at(n));
    assert_eq!(now(2), Some(new_value(5, 5, 0)));
    assert_eq!(now(3), Some(new_value(1, 1, 9)));
    assert_eq!(now(4), Some(new_value(3, 7, 0)), "each side's member");
    assert_eq!(now(5), Some(new_value(8, 1, 0)), "the new generation's word stands");
    assert_eq!(now(6), None);
    assert_eq!(now(7), Some(new_value(1, 2, 0)));
    assert_eq!(now(20), Some(new_value(4, 4, 0)));
    assert_eq!(now(21), Some(new_value(1, 1, 1)));
    assert_eq!((settled.migrated, settled.conflicts, settled.left_behind), (8, 3, 0), "{settled}");
}

#[test]
fn a_number_that_does_not_fit_stops_the_migration_before_anything_runs() {
    let wide = Shape::Struct { size: 8, fields: vec![field("bytes", 0, 8)] };
    let narrow = Shape::Struct { size: 4, fields: vec![field("bytes", 0, 4)] };
    let conversion = Conversion::new(&wide, &narrow).unwrap();
    let (old, new) = (map(MapKind::Hash, 8), map(MapKind::Hash, 4));
    write(&old, &key(MapKind::Hash, 3), &(1u64 << 32).to_le_bytes());
    let error = Migration::start(Arc::clone(&old), Arc::clone(&new), conversion.clone()).unwrap_err();
    let text = "map m, key 03 00 00 00: `bytes` is 4294967296, which does not fit in 32 bits (unsigned)";
    assert_eq!(error.to_string(), text);
    // Afterwards it can only be counted.
    write(&old, &key(MapKind::Hash, 3), &7u64.to_le_bytes());
    let migration = Migration::start(Arc::clone(&old), Arc::clone(&new), conversion).unwrap();
    write(&old, &key(MapKind::Hash, 3), &(1u64 << 32).to_le_bytes());
    assert_eq!(migration.settle().to_string(), "m migrated 1, 1 changed meanwhile, 1 LEFT BEHIND");
    assert_eq!(read(&new, &key(MapKind::Hash, 3)), Some(vec![7, 0, 0, 0]));
}

#[test]
fn a_smaller_map_refuses_what_it_has_no_room_for() {
    let old = map(MapKind::Hash, 8);
    let small = Map::create(&MapSpec::new("m", MapKind::Hash, 4, 8, 2), 3).unwrap();
    (0..3).for_each(|n| write(&old, &key(MapKind::Hash, n), &[1; 8]));
    let error = Migration::start(old, small, Conversion::same(8)).unwrap_err();
    assert!(matches!(error, MigrateError::Refused { .. }), "{error}");
}

#[test]
fn nothing_is_lost_of_what_one_generation_writes_while_entries_move() {
    // One writer, as one worker: it writes the old map until it sees the new generation, then the new one.
    use std::sync::atomic::{AtomicBool, Ordering};
    let (old, new) = (map(MapKind::Hash, 16), map(MapKind::Hash, 24));
    let (published, stop) = (AtomicBool::new(false), AtomicBool::new(false));
    let (quiescent, writes) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let (mut count, mut switched_at) = (0u64, None);
            while !stop.load(Ordering::Relaxed) {
                let n = (count % 32) as u32;
                // Each half of the keys is written by one generation only, so nothing conflicts.
                if published.load(Ordering::Acquire) {
                    switched_at.get_or_insert(count);
                    write(&new, &key(MapKind::Hash, n | 32), &new_value(count, 0, 1));
                } else {
                    write(&old, &key(MapKind::Hash, n), &old_value(count, 0));
                }
                count += 1;
            }
            (switched_at, count)
        });
        std::thread::sleep(std::time::Duration::from_millis(20));
        let migration = Migration::start(Arc::clone(&old), Arc::clone(&new), growth()).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(5));
        published.store(true, Ordering::Release);
        std::thread::sleep(std::time::Duration::from_millis(20));
        let settled = migration.settle();
        stop.store(true, Ordering::Relaxed);
        let (switched, count) = writer.join().unwrap();
        assert_eq!((settled.conflicts, settled.left_behind), (0, 0), "{settled}");
        (switched.unwrap(), count)
    });
    assert!(writes > quiescent);
    for back in 1..=32 {
        let last = quiescent - back;
        let key = key(MapKind::Hash, (last % 32) as u32);
        assert_eq!(read(&new, &key), Some(new_value(last, 0, 0)), "the last word of the old generation");
    }
}
