//! Many workers at one map: values stay whole, and no slot is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use weir_ebpf::abi::map_kind::create_flags;
use weir_ebpf::abi::{Errno, MapKind};
use weir_ebpf::program::{MapSpec, ValueField};
use weir_maps::{Map, Ringbuf};

const WORKERS: usize = 4;

fn rounds() -> u32 {
    std::env::var("WEIR_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(40_000)
}

fn map(kind: MapKind, key: u32, value: u32, entries: u32, flags: u32) -> Arc<Map> {
    let mut spec = MapSpec::new("shared", kind, key, value, entries);
    spec.flags = flags;
    Map::create(&spec, WORKERS).unwrap()
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as u32 % end
    }
}

fn in_parallel(body: impl Fn(usize, &mut Random) + Sync) {
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let body = &body;
            scope.spawn(move || body(worker, &mut Random(worker as u64 + 1)));
        }
    });
}

/// A key of 24 bytes, and a value of 40 whose words all follow from the key and a serial number.
fn key(n: u32) -> [u64; 3] {
    [u64::from(n), !u64::from(n), u64::from(n).wrapping_mul(0x9e37_79b9)]
}

fn value(n: u32, serial: u32) -> [u64; 5] {
    [u64::from(n) << 32 | u64::from(serial); 5]
}

#[test]
fn keys_come_and_go_and_no_slot_is_lost() {
    for (kind, flags) in
        [(MapKind::Hash, 0), (MapKind::Hash, create_flags::NO_PREALLOC), (MapKind::LruHash, 0)]
    {
        let map = map(kind, 24, 40, 64, flags);
        in_parallel(|cpu, random| {
            for serial in 0..rounds() {
                let n = random.below(100);
                let (key, value) = (key(n), value(n, serial));
                // SAFETY: key and value have the map's sizes; what is read is inside a value.
                unsafe {
                    match random.below(4) {
                        0 => _ = map.delete(key.as_ptr().cast()),
                        1 => _ = map.update(cpu, key.as_ptr().cast(), value.as_ptr().cast(), 0),
                        2 => {
                            let found = map.lookup(cpu, key.as_ptr().cast()).cast::<AtomicU64>();
                            // The slot may be another key's by now, but it is a slot, and a value is in it.
                            assert!(found.is_null() || (*found).load(Ordering::Relaxed) >> 32 < 100);
                        }
                        _ => {
                            let bytes = std::slice::from_raw_parts(key.as_ptr().cast::<u8>(), 24);
                            if let Ok(copy) = map.control().lookup(bytes) {
                                let (words, _) = copy.as_chunks::<8>();
                                assert!(words.iter().all(|word| word == &words[0]), "torn: {copy:x?}");
                                assert_eq!(
                                    u64::from_ne_bytes(words[0]) >> 32,
                                    u64::from(n),
                                    "another key's value"
                                );
                            }
                        }
                    }
                }
            }
        });
        // Every slot that is not an entry can be had again.
        let entries = map.control().clear().unwrap();
        assert!(entries <= 64, "{entries}");
        assert_eq!(map.entries(), 0);
        for n in 0..64 {
            // SAFETY: key and value have the map's sizes.
            unsafe { map.update(0, key(n).as_ptr().cast(), value(n, 0).as_ptr().cast(), 0).unwrap() };
        }
        assert_eq!(map.entries(), 64);
        assert_eq!(map.control().keys().count(), 64);
    }
}

#[test]
fn a_key_that_is_never_deleted_is_never_missed() {
    let map = map(MapKind::Hash, 24, 40, 64, 0);
    let stop = AtomicBool::new(false);
    let put = |cpu: usize, n: u32, serial: u32| {
        // SAFETY: key and value have the map's sizes.
        unsafe { map.update(cpu, key(n).as_ptr().cast(), value(n, serial).as_ptr().cast(), 0) }
    };
    put(0, 0, 0).unwrap();
    std::thread::scope(|scope| {
        for cpu in 0..2 {
            let (put, stop, map) = (&put, &stop, &map);
            scope.spawn(move || {
                for serial in 0..rounds() {
                    // The same key is replaced all the time, and neighbours come and go beside it.
                    put(cpu, 0, serial).unwrap();
                    put(cpu, 1 + serial % 90, serial).ok();
                    // SAFETY: the key has the map's size.
                    unsafe { map.delete(key(1 + serial * 7 % 90).as_ptr().cast()) }.ok();
                }
                stop.store(true, Ordering::Relaxed);
            });
        }
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                // SAFETY: the key has the map's size.
                assert!(!unsafe { map.lookup(2, key(0).as_ptr().cast()) }.is_null());
            }
        });
    });
}

#[test]
fn an_lru_takes_every_key_from_every_worker() {
    for (kind, entries, flags) in [
        (MapKind::LruHash, 1, 0),
        (MapKind::LruHash, 50, 0),
        (MapKind::LruPercpuHash, 50, 0),
        (MapKind::LruHash, 50, create_flags::NO_COMMON_LRU),
    ] {
        let map = map(kind, 24, 40, entries, flags);
        in_parallel(|cpu, random| {
            for serial in 0..rounds() / 4 {
                let n = random.below(1000);
                // SAFETY: key and value have the map's sizes.
                unsafe {
                    map.update(cpu, key(n).as_ptr().cast(), value(n, serial).as_ptr().cast(), 0).unwrap()
                };
            }
        });
        let kept = map.control().keys().count();
        assert_eq!(kept, map.entries(), "{kind:?} of {entries}");
        assert!(kept <= entries as usize + 2 * WORKERS && kept > 0, "{kind:?}: {kept} of {entries}");
    }
}

#[test]
fn a_trie_that_changes_answers_what_was_stored() {
    let first = 1_u64;
    let map = map(MapKind::LpmTrie, 8, 8, 300, create_flags::NO_PREALLOC);
    let stop = AtomicBool::new(false);
    let prefix = |len: u32, address: u32| -> [u32; 2] { [len, address.to_be()] };
    // One route stays for ever, with changing values that all say it is that route.
    let stays = prefix(16, 0x0a01_0000);
    // It is there before anybody looks.
    // SAFETY: key and value have 8 bytes.
    unsafe { map.update(0, stays.as_ptr().cast(), (&raw const first).cast(), 0).unwrap() };
    std::thread::scope(|scope| {
        let (map, stop) = (&map, &stop);
        scope.spawn(move || {
            let mut random = Random(9);
            for serial in 0..rounds() {
                let (len, address) = (17 + random.below(16), 0x0a01_0000 | random.below(1 << 16));
                let route = prefix(len, address & (!0u32 << (32 - len)));
                // SAFETY: keys and values have 8 bytes.
                unsafe {
                    let value = u64::from(serial) << 8 | 2;
                    map.update(0, route.as_ptr().cast(), (&raw const value).cast(), 0).ok();
                    let value = u64::from(serial) << 8 | 1;
                    map.update(0, stays.as_ptr().cast(), (&raw const value).cast(), 0).unwrap();
                    if random.below(2) == 0 {
                        let (len, address) = (17 + random.below(16), 0x0a01_0000 | random.below(1 << 16));
                        map.delete(prefix(len, address & (!0u32 << (32 - len))).as_ptr().cast()).ok();
                    }
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
        for worker in 0..2 {
            scope.spawn(move || {
                let mut random = Random(worker);
                while !stop.load(Ordering::Relaxed) {
                    let inside = prefix(32, 0x0a01_0000 | random.below(1 << 16));
                    let outside = prefix(32, 0x0a02_0000 | random.below(1 << 16));
                    // SAFETY: keys have 8 bytes; a value found has 8.
                    unsafe {
                        let found = map.lookup(1, inside.as_ptr().cast()).cast::<AtomicU64>();
                        assert!(!found.is_null(), "the route that stays was missed");
                        assert!(matches!((*found).load(Ordering::Relaxed) & 0xff, 1 | 2));
                        assert!(map.lookup(1, outside.as_ptr().cast()).is_null());
                    }
                }
            });
        }
    });
    let entries = map.entries();
    assert_eq!(map.control().clear(), Ok(entries));
}

#[test]
fn ring_records_arrive_whole_and_each_producers_in_order() {
    let map = map(MapKind::Ringbuf, 0, 0, 1 << 14, 0);
    let ring = map.ringbuf().unwrap();
    let total = rounds() / 4;
    let running = AtomicU64::new(WORKERS as u64);
    std::thread::scope(|scope| {
        for worker in 0..WORKERS as u32 {
            let running = &running;
            scope.spawn(move || {
                for serial in 0..total {
                    let words = 2 + (serial % 9) as usize;
                    let place = loop {
                        let place = ring.reserve(4 * words as u64, 0).cast::<u32>();
                        if !place.is_null() {
                            break place;
                        }
                        std::thread::yield_now();
                    };
                    // SAFETY: the record has `words` words of 4 bytes, is aligned to 8, and is finished once.
                    unsafe {
                        for at in 0..words {
                            place.add(at).write(if at == 0 { worker } else { serial });
                        }
                        Ringbuf::finish(place.cast(), serial % 16 == 7);
                    }
                }
                running.fetch_sub(1, Ordering::Release);
            });
        }
        let mut next = [0u32; WORKERS];
        loop {
            let done = running.load(Ordering::Acquire) == 0;
            let count = ring.consume(|record| {
                let words: Vec<u32> =
                    record.as_chunks().0.iter().map(|word| u32::from_ne_bytes(*word)).collect();
                let (worker, serial) = (words[0] as usize, words[1]);
                if next[worker] % 16 == 7 {
                    next[worker] += 1;
                }
                assert_eq!(serial, next[worker]);
                assert_eq!(words.len(), 2 + (serial % 9) as usize);
                assert!(words[1..].iter().all(|word| *word == serial), "torn: {words:?}");
                next[worker] += 1;
                true
            });
            if done && count == 0 {
                break;
            }
        }
        for seen in next {
            assert!(seen + 1 >= total, "{seen} of {total}");
        }
    });
}

#[test]
fn a_spin_lock_keeps_values_whole() {
    let mut spec = MapSpec::new("locked", MapKind::Array, 4, 28, 1);
    spec.fields = vec![ValueField::SpinLock { offset: 4 }];
    let map = Map::create(&spec, WORKERS).unwrap();
    let index = 0u32.to_ne_bytes();
    in_parallel(|cpu, random| {
        for _ in 0..rounds() / 4 {
            let filler = random.below(256) as u8;
            let value = [filler; 28];
            if random.below(2) == 0 {
                // SAFETY: key and value have the map's sizes.
                unsafe { map.update(cpu, index.as_ptr(), value.as_ptr(), 4).unwrap() };
                continue;
            }
            let read = map.control().lookup_with(&index, 4).unwrap();
            assert_eq!(read[4..8], [0; 4], "the lock is not shown");
            let filler = read[0];
            assert!(read[..4].iter().chain(&read[8..]).all(|byte| *byte == filler), "torn: {read:x?}");
        }
    });
    assert_eq!(map.control().lookup_with(&index, 8), Err(Errno::EINVAL));
}
