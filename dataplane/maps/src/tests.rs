//! Maps as programs and people see them together.

use std::sync::Arc;

use weir_ebpf::abi::map_kind::{create_flags, update_flags as flag};
use weir_ebpf::abi::{Errno, MapKind};
use weir_ebpf::program::MapSpec;

use crate::{Map, Query, Ringbuf, Target};

fn map(kind: MapKind, key: u32, value: u32, entries: u32) -> Arc<Map> {
    Map::create(&MapSpec::new("m", kind, key, value, entries), 2).unwrap()
}

fn refusal(spec: &MapSpec) -> (Errno, String) {
    let error = Map::create(spec, 2).unwrap_err();
    (error.errno(), error.to_string())
}

#[test]
fn a_program_and_a_person_see_the_same_array() {
    let map = map(MapKind::Array, 4, 12, 3);
    let control = map.control();
    control.update(&2u32.to_ne_bytes(), b"hello, world", 0).unwrap();
    // SAFETY: the key has 4 bytes; the value answered has 12.
    unsafe {
        let value = map.lookup(0, 2u32.to_ne_bytes().as_ptr());
        assert_eq!(std::slice::from_raw_parts(value, 12), b"hello, world");
        value.write(b'J');
        assert!(map.lookup(0, 3u32.to_ne_bytes().as_ptr()).is_null());
    }
    assert_eq!(control.lookup(&2u32.to_ne_bytes()).unwrap(), b"Jello, world");
    assert_eq!(control.update(&3u32.to_ne_bytes(), b"hello, world", 0), Err(Errno::E2BIG));
    assert_eq!(control.update(&0u32.to_ne_bytes(), b"hello, world", flag::NOEXIST), Err(Errno::EEXIST));
    assert_eq!(control.delete(&0u32.to_ne_bytes()), Err(Errno::EINVAL));
    let layout = map.array_layout().unwrap();
    assert_eq!((layout.stride, layout.len, layout.percpu_stride), (16, 3, 0));
    assert!(map.owns(layout.base as usize + 16, 12));
    assert!(!map.owns(layout.base as usize + 16, 13));
    assert!(!map.owns(layout.base as usize + 10, 8));
}

#[test]
fn each_worker_has_its_own_value() {
    for kind in [MapKind::PercpuArray, MapKind::PercpuHash, MapKind::LruPercpuHash] {
        let map = map(kind, 4, 4, 3);
        let key = 1u32.to_ne_bytes();
        for cpu in [0, 1] {
            // SAFETY: key and value have 4 bytes.
            unsafe { map.update(cpu, key.as_ptr(), (7 + cpu as u32).to_ne_bytes().as_ptr(), 0).unwrap() };
        }
        let values = map.control().lookup_percpu(&key).unwrap();
        assert_eq!(values, [7u32.to_ne_bytes(), 8u32.to_ne_bytes()], "{kind:?}");
        // SAFETY: the key has 4 bytes, the value 4.
        unsafe {
            assert_eq!(map.lookup_percpu(key.as_ptr(), 1).cast::<u32>().read(), 8);
            assert!(map.lookup_percpu(key.as_ptr(), 2).is_null());
        }
    }
}

#[test]
fn a_full_hash_refuses_a_new_key_and_still_updates_an_old_one() {
    let map = map(MapKind::Hash, 8, 8, 2);
    let control = map.control();
    let key = |n: u64| n.to_ne_bytes();
    control.update(&key(1), &key(10), flag::NOEXIST).unwrap();
    control.update(&key(2), &key(20), flag::ANY).unwrap();
    assert_eq!(control.update(&key(3), &key(30), 0), Err(Errno::E2BIG));
    assert_eq!(control.update(&key(1), &key(11), flag::NOEXIST), Err(Errno::EEXIST));
    assert_eq!(control.update(&key(3), &key(11), flag::EXIST), Err(Errno::ENOENT));
    control.update(&key(1), &key(11), flag::EXIST).unwrap();
    assert_eq!(control.lookup(&key(1)).unwrap(), key(11));
    assert_eq!(map.entries(), 2);
    assert_eq!(control.lookup_and_delete(&key(1)).unwrap(), key(11));
    assert_eq!(control.delete(&key(1)), Err(Errno::ENOENT));
    control.update(&key(3), &key(30), 0).unwrap();
    let mut keys: Vec<_> = control.keys().collect();
    keys.sort();
    assert_eq!(keys, [key(2), key(3)]);
}

#[test]
fn a_held_value_keeps_its_bytes_over_one_update() {
    let map = map(MapKind::Hash, 8, 8, 2);
    let key = 5u64.to_ne_bytes();
    // SAFETY: keys and values have 8 bytes.
    unsafe {
        map.update(0, key.as_ptr(), 1u64.to_ne_bytes().as_ptr(), 0).unwrap();
        let held = map.lookup(0, key.as_ptr());
        map.update(0, key.as_ptr(), 2u64.to_ne_bytes().as_ptr(), 0).unwrap();
        assert_eq!(held.cast::<u64>().read(), 1);
        assert_eq!(map.lookup(0, key.as_ptr()).cast::<u64>().read(), 2);
        assert!(map.owns(held as usize, 8));
    }
}

#[test]
fn an_lru_never_refuses_and_keeps_what_is_used() {
    for flags in [0, create_flags::NO_COMMON_LRU] {
        let mut spec = MapSpec::new("lru", MapKind::LruHash, 4, 4, 64);
        spec.flags = flags;
        let map = Map::create(&spec, 2).unwrap();
        let hot = 0u32.to_ne_bytes();
        for n in 0..1000u32 {
            // SAFETY: keys and values have 4 bytes.
            unsafe {
                map.update(0, n.to_ne_bytes().as_ptr(), n.to_ne_bytes().as_ptr(), 0).unwrap();
                assert!(!map.lookup(0, hot.as_ptr()).is_null(), "the hot key was evicted at {n}");
            }
        }
        assert!(map.entries() <= 66, "{}", map.entries());
        assert_eq!(map.evictions() as usize, 1000 - map.entries());
    }
}

#[test]
fn queues_are_first_in_first_out_and_stacks_are_not() {
    for (kind, order) in [(MapKind::Queue, [2u32, 3]), (MapKind::Stack, [3, 2])] {
        let map = map(kind, 0, 4, 2);
        let control = map.control();
        let push = |n: u32, flags| control.update(&[], &n.to_ne_bytes(), flags);
        push(1, 0).unwrap();
        push(2, 0).unwrap();
        assert_eq!(push(3, 0), Err(Errno::E2BIG));
        assert_eq!(push(3, flag::NOEXIST), Err(Errno::EINVAL));
        push(3, flag::EXIST).unwrap();
        assert_eq!(control.lookup(&[]).unwrap(), order[0].to_ne_bytes());
        assert_eq!(control.lookup_and_delete(&[]).unwrap(), order[0].to_ne_bytes());
        assert_eq!(control.lookup_and_delete(&[]).unwrap(), order[1].to_ne_bytes());
        assert_eq!(control.lookup_and_delete(&[]), Err(Errno::ENOENT));
    }
}

#[test]
fn a_bloom_filter_knows_what_was_pushed() {
    let map = map(MapKind::BloomFilter, 0, 8, 1000);
    let control = map.control();
    for n in 0..1000u64 {
        control.update(&[], &n.to_ne_bytes(), 0).unwrap();
    }
    assert!((0..1000u64).all(|n| control.lookup(&n.to_ne_bytes()).is_ok()));
    let wrong = (1000..11_000u64).filter(|n| control.lookup(&n.to_ne_bytes()).is_ok()).count();
    assert!(wrong < 500, "{wrong} of 10000 false");
}

#[test]
fn ring_records_come_out_in_the_order_they_were_reserved() {
    let map = map(MapKind::Ringbuf, 0, 0, 4096);
    let ring = map.ringbuf().unwrap();
    let first = ring.reserve(5, 0);
    ring.output(b"second", 0).unwrap();
    let third = ring.reserve(3, 0);
    let mut seen = Vec::new();
    assert!(map.owns(third as usize, 3) && !map.owns(third as usize, 4) && !map.owns(first as usize - 8, 4));
    assert!(!map.owns(first as usize + 16, 6), "the second record is finished");
    assert_eq!(ring.consume(|_| true), 0);
    // SAFETY: both records were reserved above, with at least 5 and 3 bytes, and are finished once.
    unsafe {
        first.copy_from_nonoverlapping(b"first".as_ptr(), 5);
        Ringbuf::finish(first, false);
        Ringbuf::finish(third, true);
    }
    assert_eq!(ring.query(Query::AvailableData), 48);
    ring.consume(|record| {
        seen.push(record.to_vec());
        true
    });
    assert_eq!(seen, [b"first".to_vec(), b"second".to_vec()]);
    assert_eq!(ring.query(Query::AvailableData), 0);
    // Round and round, records that wrap included; a record may not fill the ring.
    for round in 0..100u8 {
        ring.output(&[round; 1500], 0).unwrap();
        ring.output(&[round; 1500], 0).unwrap();
        assert_eq!(ring.output(&[round; 1500], 0), Err(Errno::EAGAIN));
        assert_eq!(ring.consume(|record| record == [round; 1500]), 2);
    }
    assert!(ring.reserve(4096, 0).is_null());
    assert!(ring.reserve(8, 1).is_null());
}

#[test]
fn targets_by_index_and_by_number() {
    let by_index = map(MapKind::Devmap, 4, 8, 4);
    let value = [3u32.to_ne_bytes(), 0u32.to_ne_bytes()].concat();
    by_index.control().update(&1u32.to_ne_bytes(), &value, 0).unwrap();
    assert_eq!(by_index.target(1), Some(Target::Port { ifindex: 3, program: None }));
    assert_eq!(by_index.target(0), None);
    assert_eq!(by_index.target(1 << 32 | 1), None);
    by_index.control().delete(&1u32.to_ne_bytes()).unwrap();
    assert_eq!(by_index.target(1), None);
    let by_number = map(MapKind::DevmapHash, 4, 4, 4);
    by_number.control().update(&77u32.to_ne_bytes(), &9u32.to_ne_bytes(), 0).unwrap();
    assert_eq!(by_number.target(77), Some(Target::Port { ifindex: 9, program: None }));
    assert_eq!(by_number.control().lookup(&77u32.to_ne_bytes()).unwrap(), 9u32.to_ne_bytes());
    let cpus = map(MapKind::Cpumap, 4, 4, 4);
    assert_eq!(cpus.control().update(&2u32.to_ne_bytes(), &64u32.to_ne_bytes(), 0), Err(Errno::ENODEV));
    cpus.control().update(&1u32.to_ne_bytes(), &64u32.to_ne_bytes(), 0).unwrap();
    assert_eq!(cpus.target(1), Some(Target::Worker { cpu: 1, queue: 64, program: None }));
    let sockets = map(MapKind::Xskmap, 4, 4, 4);
    sockets.control().update(&0u32.to_ne_bytes(), &0u32.to_ne_bytes(), 0).unwrap();
    assert_eq!(sockets.target(0), Some(Target::Socket { socket: 0 }));
}

#[test]
fn inner_maps_fit_or_are_refused_and_outlive_their_removal() {
    let shape = MapSpec::new("inner", MapKind::Array, 4, 8, 2);
    for kind in [MapKind::ArrayOfMaps, MapKind::HashOfMaps] {
        let mut spec = MapSpec::new("outer", kind, 4, 4, 2);
        assert_eq!(refusal(&spec).0, Errno::EBADF);
        spec.inner = Some(Arc::new(shape.clone()));
        let outer = Map::create(&spec, 1).unwrap();
        let key = 1u32.to_ne_bytes();
        let wrong = map(MapKind::Array, 4, 8, 3);
        assert_eq!(outer.control().set_inner(&key, &wrong, 0), Err(Errno::EINVAL));
        let inner = Map::create(&shape, 1).unwrap();
        outer.control().set_inner(&key, &inner, 0).unwrap();
        assert_eq!(outer.control().lookup(&key).unwrap(), inner.id().to_ne_bytes());
        // SAFETY: the key has 4 bytes.
        let seen = unsafe { outer.inner(key.as_ptr()) };
        assert_eq!(seen, Arc::as_ptr(&inner));
        outer.control().delete(&key).unwrap();
        assert_eq!(Arc::strong_count(&inner), 2);
        // SAFETY: no program runs here; the key has 4 bytes.
        unsafe {
            assert!(outer.inner(key.as_ptr()).is_null());
            assert_eq!(outer.release_retired(), 1);
        }
        assert_eq!(Arc::strong_count(&inner), 1);
    }
}

#[test]
fn prog_arrays_hold_numbers() {
    let map = map(MapKind::ProgArray, 4, 4, 3);
    map.control().set_program(2, 0).unwrap();
    assert_eq!((map.slot(2), map.slot(1), map.slot(9)), (1, 0, 0));
    assert_eq!(map.control().lookup(&2u32.to_ne_bytes()).unwrap(), 0u32.to_ne_bytes());
    assert_eq!(map.control().set_program(3, 0), Err(Errno::E2BIG));
    map.control().delete(&2u32.to_ne_bytes()).unwrap();
    assert_eq!(map.control().delete(&2u32.to_ne_bytes()), Err(Errno::ENOENT));
}

#[test]
fn frozen_and_read_only_maps_refuse_people() {
    let mut spec = MapSpec::new(".rodata", MapKind::Array, 4, 4, 1);
    spec.frozen = true;
    spec.initial = weir_ebpf::program::Initial::Data(vec![1, 2, 3, 4]);
    let map = Map::create(&spec, 1).unwrap();
    assert_eq!(map.control().lookup(&[0; 4]).unwrap(), [1, 2, 3, 4]);
    assert_eq!(map.control().update(&[0; 4], &[0; 4], 0), Err(Errno::EPERM));
    // SAFETY: byte 2 of the value is inside the map.
    assert_eq!(unsafe { map.direct_value(2).unwrap().read() }, 3);
    assert!(map.direct_value(4).is_none());
    spec.frozen = false;
    spec.flags = create_flags::WRONLY;
    assert_eq!(Map::create(&spec, 1).unwrap().control().lookup(&[0; 4]), Err(Errno::EPERM));
}

#[test]
fn refusals_name_the_map_and_what_is_wanted() {
    let mut spec = MapSpec::new("routes", MapKind::LpmTrie, 8, 4, 10);
    let words = "map routes (lpm_trie): BPF_F_NO_PREALLOC is required (EINVAL)";
    assert_eq!(refusal(&spec), (Errno::EINVAL, words.to_owned()));
    spec = MapSpec::new("events", MapKind::Ringbuf, 0, 0, 5000);
    let words = "map events (ringbuf): max_entries is 5000, and must be a power of two and a multiple of the \
                 page size 4096 (EINVAL)";
    assert_eq!(refusal(&spec), (Errno::EINVAL, words.to_owned()));
    spec = MapSpec::new("big", MapKind::Array, 4, 1 << 20, u32::MAX);
    assert_eq!(refusal(&spec).0, Errno::ENOMEM);
}

#[test]
fn a_walk_in_pages_goes_on_when_its_last_key_is_gone() {
    let hash = MapSpec::new("hash", MapKind::Hash, 4, 4, 512);
    let mut trie = MapSpec::new("trie", MapKind::LpmTrie, 8, 4, 512);
    trie.flags = create_flags::NO_PREALLOC;
    for spec in [hash, trie] {
        let map = Map::create(&spec, 1).unwrap();
        let key = |n: u32| match spec.kind {
            MapKind::LpmTrie => [32u32.to_ne_bytes(), n.to_be_bytes()].concat(),
            _ => n.to_ne_bytes().to_vec(),
        };
        (0..300).for_each(|n| map.control().update(&key(n), &n.to_ne_bytes(), 0).unwrap());
        let (mut seen, mut last) = (Vec::new(), None::<Vec<u8>>);
        loop {
            let page = map.control().keys_after(last.as_deref(), 7).unwrap();
            let Some(end) = page.last().cloned() else { break };
            map.control().delete(&end).unwrap();
            seen.extend(page);
            last = Some(end);
        }
        seen.sort();
        let mut all: Vec<_> = (0..300).map(key).collect();
        all.sort();
        assert_eq!(seen, all, "{}", spec.kind.name());
    }
}

#[test]
fn an_entry_of_a_trie_is_not_what_covers_it() {
    let mut spec = MapSpec::new("trie", MapKind::LpmTrie, 8, 4, 8);
    spec.flags = create_flags::NO_PREALLOC;
    let map = Map::create(&spec, 1).unwrap();
    let (wide, narrow) = ([8, 0, 0, 0, 10, 0, 0, 0], [16, 0, 0, 0, 10, 1, 0, 0]);
    map.control().update(&wide, &[1, 0, 0, 0], 0).unwrap();
    assert_eq!(map.control().lookup(&narrow), Ok(vec![1, 0, 0, 0]));
    assert_eq!(map.control().entry(&narrow), Err(Errno::ENOENT));
    assert_eq!(map.control().entry(&wide), Ok(vec![1, 0, 0, 0]));
}
