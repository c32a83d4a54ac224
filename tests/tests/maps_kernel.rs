//! Our maps against the kernel's, from user space: the same declarations and the same random operations,
//! the same answers and errno.

use std::io;
use std::sync::Arc;

use weir_ebpf::abi::map_kind::create_flags as f;
use weir_ebpf::abi::{Errno, MapKind};
use weir_ebpf::program::MapSpec;
use weir_maps::Map;
use weir_sys::bpf::{KernelMap, MapAttr, available, possible_cpus};

/// A small deterministic source, so that a failure can be run again.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as u32
    }

    fn below(&mut self, end: u32) -> u32 {
        self.next() % end
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.next() as usize % from.len()].clone()
    }

    /// One choice more often than all others together.
    fn mostly<T: Clone>(&mut self, usual: T, others: &[T]) -> T {
        if self.below(3) > 0 { usual } else { self.pick(others) }
    }
}

fn skipped() -> bool {
    match available() {
        Ok(()) => false,
        Err(why) => {
            println!("skipped: needs CAP_BPF ({why})");
            true
        }
    }
}

fn attr(spec: &MapSpec) -> MapAttr {
    MapAttr {
        kind: spec.kind as u32,
        key_size: spec.key_size,
        value_size: spec.value_size,
        max_entries: spec.max_entries,
        flags: spec.flags,
        extra: spec.extra,
        ..MapAttr::default()
    }
}

fn kernel<T>(result: io::Result<T>) -> Result<T, i32> {
    result.map_err(|error| error.raw_os_error().unwrap_or(0))
}

fn ours<T>(result: Result<T, Errno>) -> Result<T, i32> {
    result.map_err(|errno| errno as i32)
}

fn usual(kind: MapKind) -> MapSpec {
    let (key, value, entries, flags) = match kind {
        MapKind::Ringbuf => (0, 0, 4096, 0),
        MapKind::Queue | MapKind::Stack | MapKind::BloomFilter => (0, 8, 4, 0),
        MapKind::LpmTrie => (8, 8, 4, f::NO_PREALLOC),
        MapKind::Hash | MapKind::PercpuHash | MapKind::LruHash | MapKind::LruPercpuHash => (8, 12, 4, 0),
        MapKind::StackTrace | MapKind::Array | MapKind::PercpuArray => (4, 16, 4, 0),
        _ => (4, 4, 4, 0),
    };
    let mut spec = MapSpec::new("m", kind, key, value, entries);
    spec.flags = flags;
    spec
}

#[test]
fn declarations_are_accepted_and_refused_alike() {
    if skipped() {
        return;
    }
    let mut random = Random(1);
    let (mut made, mut refused) = (0, 0);
    for &kind in MapKind::ALL {
        // Maps of maps need an inner descriptor, and their own tests are elsewhere; storage of sockets needs BTF.
        if matches!(kind, MapKind::ArrayOfMaps | MapKind::HashOfMaps | MapKind::SkStorage) {
            continue;
        }
        for _ in 0..400 {
            let mut spec = usual(kind);
            let sizes = [0, 1, 2, 3, 4, 5, 7, 8, 9, 16, 32, 64, 200, 260, 261, 512, 1016, 1024, 4064, 4096];
            let large =
                [32 << 10, (32 << 10) + 1, (4 << 20) - 336, (4 << 20) - 48 - 8, 4 << 20, (4 << 20) + 1];
            spec.key_size = random.mostly(spec.key_size, &sizes);
            spec.value_size = random.mostly(spec.value_size, &[&sizes[..], &large[..]].concat());
            spec.max_entries = random.mostly(spec.max_entries, &[0, 1, 2, 3, 5, 127, 128, 4096, 5000, 8192]);
            let (one, another) = (1 << random.below(14), 1 << random.below(14));
            spec.flags = random.mostly(spec.flags, &[0, one, spec.flags | another]);
            // BPF_F_STACK_BUILD_ID and BPF_F_INNER_MAP are in; NUMA_NODE means node 0.
            spec.extra = random.mostly(0, &[0, 0, 1, 15, 16]);
            // Large values times many entries only ask how much memory this machine has.
            if u64::from(spec.value_size) * u64::from(spec.max_entries) > 64 << 20 {
                continue;
            }
            // How many CPUs a kernel can have was decided when it was built.
            if kind == MapKind::Cpumap && spec.max_entries > 4 {
                continue;
            }
            let theirs = kernel(KernelMap::create(&attr(&spec)).map(|_| ()));
            let mine = Map::create(&spec, possible_cpus());
            let words = mine.as_ref().err().map(ToString::to_string);
            let mine = mine.map(|_| ()).map_err(|error| error.errno() as i32);
            assert_eq!(mine, theirs, "ours (left): {words:?}\n{spec:?}");
            if theirs.is_ok() { made += 1 } else { refused += 1 }
        }
    }
    println!("{made} made by both, {refused} refused by both");
    assert!(made > 1000 && refused > 1000);
}

/// One map of ours and one of the kernel's, of the same declaration.
struct Pair {
    mine: Arc<Map>,
    theirs: KernelMap,
    log: Vec<String>,
}

impl Pair {
    fn new(spec: &MapSpec) -> Pair {
        let theirs = KernelMap::create(&attr(spec)).unwrap();
        Pair { mine: Map::create(spec, possible_cpus()).unwrap(), theirs, log: Vec::new() }
    }

    fn same<T: PartialEq + std::fmt::Debug>(
        &mut self,
        what: String,
        mine: Result<T, i32>,
        theirs: Result<T, i32>,
    ) {
        self.log.push(format!("{what} -> {theirs:x?}"));
        if mine != theirs {
            let last = self.log.len().saturating_sub(40);
            panic!("{}\nours: {mine:x?}\nmap: {:?}", self.log[last..].join("\n"), self.mine.spec());
        }
    }

    fn lookup(&mut self, key: &[u8]) {
        let mine = ours(self.mine.control().lookup(key));
        let theirs = kernel(self.theirs.lookup(key));
        self.same(format!("lookup {key:x?}"), mine, theirs);
    }

    fn update(&mut self, key: &[u8], value: &[u8], flags: u64) {
        let mine = ours(self.mine.control().update(key, value, flags));
        let theirs = kernel(self.theirs.update(key, value, flags));
        self.same(format!("update {key:x?} {value:x?} {flags}"), mine, theirs);
    }

    fn delete(&mut self, key: &[u8]) {
        let mine = ours(self.mine.control().delete(key));
        let theirs = kernel(self.theirs.delete(key));
        self.same(format!("delete {key:x?}"), mine, theirs);
    }

    fn take(&mut self, key: &[u8]) {
        let mine = ours(self.mine.control().lookup_and_delete(key));
        let theirs = kernel(self.theirs.lookup_and_delete(key));
        self.same(format!("lookup_and_delete {key:x?}"), mine, theirs);
    }

    fn next_key(&mut self, after: Option<&[u8]>) {
        let mine = ours(self.mine.control().next_key(after));
        let theirs = kernel(self.theirs.next_key(after));
        self.same(format!("next_key {after:x?}"), mine, theirs);
    }

    /// All keys; in the kernel's order where that is defined.
    fn keys(&mut self, ordered: bool) {
        let mut mine: Vec<_> = self.mine.control().keys().collect();
        let next = |last: &Vec<u8>| self.theirs.next_key(Some(last)).ok();
        let mut theirs: Vec<_> = std::iter::successors(self.theirs.next_key(None).ok(), next).collect();
        if !ordered {
            mine.sort();
            theirs.sort();
        }
        self.same("keys".into(), Ok(mine), Ok(theirs));
    }
}

fn bytes(random: &mut Random, count: usize) -> Vec<u8> {
    (0..count).map(|_| random.next() as u8).collect()
}

/// Values whose padding is zero, as both sides give it back.
fn value(random: &mut Random, pair: &Pair) -> Vec<u8> {
    let size = pair.mine.spec().value_size as usize;
    let mut value = bytes(random, pair.theirs.value_bytes());
    if pair.mine.spec().kind.is_percpu() {
        for one in value.chunks_mut(size.next_multiple_of(8)) {
            one[size..].fill(0);
        }
    }
    value
}

fn flags(random: &mut Random) -> u64 {
    random.mostly(0, &[0, 1, 1, 2, 2, 3, 4, 5, 6, 8, 1 << 40])
}

#[test]
fn tables_and_arrays_answer_alike() {
    if skipped() {
        return;
    }
    let kinds = [
        (MapKind::Hash, 0),
        (MapKind::Hash, f::NO_PREALLOC),
        (MapKind::PercpuHash, 0),
        (MapKind::PercpuHash, f::NO_PREALLOC),
        (MapKind::LruHash, 0),
        (MapKind::LruPercpuHash, 0),
        (MapKind::LruHash, f::NO_COMMON_LRU),
        (MapKind::Array, 0),
        (MapKind::PercpuArray, 0),
        (MapKind::StackTrace, 0),
        (MapKind::CgroupArray, 0),
        (MapKind::Xskmap, 0),
        (MapKind::ProgArray, 0),
        (MapKind::Ringbuf, 0),
    ];
    let mut random = Random(2);
    for (kind, create) in kinds {
        for round in 0..6 {
            let mut spec = usual(kind);
            spec.flags |= create;
            let lru = matches!(kind, MapKind::LruHash | MapKind::LruPercpuHash);
            let table = lru || matches!(kind, MapKind::Hash | MapKind::PercpuHash);
            if table {
                // An LRU has room for all keys here: whom the kernel evicts, and when, is its own affair.
                spec.max_entries = if lru { 256 } else { 6 };
                spec.key_size = [4, 8, 13, 16, 40, 3][round];
                spec.value_size = [8, 4, 1, 24, 12, 100][round];
            }
            let mut pair = Pair::new(&spec);
            let key = |random: &mut Random| match kind {
                MapKind::Ringbuf => Vec::new(),
                _ => {
                    let mut key = vec![0; spec.key_size as usize];
                    key[0] = random.below(9) as u8;
                    key
                }
            };
            for _ in 0..300 {
                let key = key(&mut random);
                match random.below(10) {
                    0..4 => {
                        let value = value(&mut random, &pair);
                        let flags = flags(&mut random);
                        // A descriptor of a cgroup, program or socket is not ours to compare.
                        let descriptors =
                            matches!(kind, MapKind::CgroupArray | MapKind::ProgArray | MapKind::Xskmap);
                        if !descriptors {
                            pair.update(&key, &value, flags);
                        }
                    }
                    4..6 => pair.lookup(&key),
                    6 if kind == MapKind::Ringbuf => pair.next_key(None),
                    6 if !table => pair.next_key(Some(&key)),
                    // The kernel wants a key pointer here, even for kinds without keys.
                    6 | 7 if kind != MapKind::Ringbuf => pair.delete(&key),
                    8 if kind != MapKind::Ringbuf => pair.take(&key),
                    9 if kind != MapKind::Ringbuf => pair.keys(!table),
                    _ => {}
                }
            }
        }
    }
}

#[test]
fn tries_answer_alike_and_in_the_same_order() {
    if skipped() {
        return;
    }
    let mut random = Random(3);
    for width in [1u32, 2, 4, 5, 8, 16, 33] {
        for _ in 0..8 {
            let mut spec = usual(MapKind::LpmTrie);
            spec.key_size = 4 + width;
            spec.max_entries = 20;
            let mut pair = Pair::new(&spec);
            for _ in 0..300 {
                let any = random.below(8 * width + 1);
                let len = random.mostly(any, &[0, 8 * width, 8 * width + 1]);
                let mut key = len.to_ne_bytes().to_vec();
                key.extend((0..width).map(|_| random.mostly(0u8, &[0xff, 0x80, 1])));
                match random.below(9) {
                    0..4 => {
                        let value = value(&mut random, &pair);
                        let flags = flags(&mut random);
                        pair.update(&key, &value, flags);
                    }
                    4..6 => pair.lookup(&key),
                    6 => pair.delete(&key),
                    7 => {
                        let stored = pair.mine.control().keys().nth(random.below(20) as usize);
                        match stored {
                            Some(key) => pair.delete(&key),
                            None => pair.next_key(Some(&key)),
                        }
                    }
                    _ => pair.keys(true),
                }
            }
        }
    }
}

#[test]
fn queues_stacks_and_filters_answer_alike() {
    if skipped() {
        return;
    }
    let mut random = Random(4);
    for kind in [MapKind::Queue, MapKind::Stack] {
        for size in [1, 4, 8, 13] {
            let mut spec = usual(kind);
            spec.value_size = size;
            let mut pair = Pair::new(&spec);
            for _ in 0..400 {
                match random.below(6) {
                    0..3 => {
                        let value = value(&mut random, &pair);
                        let flags = flags(&mut random);
                        pair.update(&[], &value, flags);
                    }
                    3 => pair.lookup(&[]),
                    _ => pair.take(&[]),
                }
            }
        }
    }
    for extra in [0, 1, 3, 15] {
        let mut spec = usual(MapKind::BloomFilter);
        (spec.extra, spec.max_entries) = (extra, 1000);
        let mut pair = Pair::new(&spec);
        for n in 0..500u64 {
            let flags = flags(&mut random);
            pair.update(&[], &n.to_ne_bytes(), flags);
            if flags == 0 {
                let mine = ours(pair.mine.control().lookup(&n.to_ne_bytes()).map(|_| ()));
                let theirs = kernel(pair.theirs.contains(&n.to_ne_bytes()));
                pair.same("contains".into(), mine, theirs);
            }
        }
        pair.take(&[]);
    }
}

#[test]
fn targets_answer_alike() {
    if skipped() {
        return;
    }
    let mut random = Random(5);
    // The loopback interface is number 1 everywhere; other numbers are for the engine to check.
    for kind in [MapKind::Devmap, MapKind::DevmapHash, MapKind::Cpumap] {
        for size in [4u32, 8] {
            let mut spec = usual(kind);
            spec.value_size = size;
            let mut pair = Pair::new(&spec);
            for _ in 0..300 {
                let key = random.below(6).to_ne_bytes();
                match random.below(8) {
                    0..4 => {
                        let first = match kind {
                            MapKind::Cpumap => random.pick(&[0u32, 1, 192, 16384, 16385]),
                            _ => random.pick(&[0u32, 1, 1]),
                        };
                        let mut value = first.to_ne_bytes().to_vec();
                        value.resize(size as usize, 0);
                        let flags = flags(&mut random);
                        pair.update(&key, &value, flags);
                    }
                    4..6 => pair.lookup(&key),
                    6 => pair.delete(&key),
                    _ => pair.keys(kind != MapKind::DevmapHash),
                }
            }
        }
    }
}

#[test]
fn access_flags_and_freezing_answer_alike() {
    if skipped() {
        return;
    }
    for flags in [0, f::RDONLY, f::WRONLY] {
        for freeze in [false, true] {
            for kind in [MapKind::Hash, MapKind::Array] {
                let mut spec = usual(kind);
                spec.flags = flags;
                let mut pair = Pair::new(&spec);
                if freeze {
                    for _ in 0..2 {
                        let (mine, theirs) =
                            (ours(pair.mine.control().freeze()), kernel(pair.theirs.freeze()));
                        pair.same("freeze".into(), mine, theirs);
                    }
                }
                let key = vec![0; spec.key_size as usize];
                let value = vec![1; pair.theirs.value_bytes()];
                pair.update(&key, &value, 0);
                pair.lookup(&key);
                pair.next_key(None);
                pair.take(&key);
                pair.delete(&key);
            }
        }
    }
}

#[test]
fn inner_maps_fit_alike() {
    if skipped() {
        return;
    }
    let mut random = Random(6);
    let shapes = |random: &mut Random| {
        let kind = random.pick(&[
            MapKind::Array,
            MapKind::Array,
            MapKind::Hash,
            MapKind::LruHash,
            MapKind::Queue,
            MapKind::Xskmap,
        ]);
        let mut spec = usual(kind);
        if !matches!(kind, MapKind::Xskmap | MapKind::Queue) {
            spec.value_size = random.mostly(8, &[4, 16]);
        }
        spec.max_entries = random.mostly(4, &[8]);
        spec.flags = match kind {
            MapKind::Array => random.mostly(0, &[f::INNER_MAP, f::RDONLY_PROG, f::MMAPABLE]),
            MapKind::Hash => random.mostly(0, &[f::NO_PREALLOC, f::ZERO_SEED]),
            _ => 0,
        };
        spec
    };
    let (mut fit, mut refused) = (0, 0);
    for round in 0..80 {
        let kind = if round % 2 == 0 { MapKind::ArrayOfMaps } else { MapKind::HashOfMaps };
        let (declared, offered) = (shapes(&mut random), shapes(&mut random));
        let offered = if random.below(2) == 0 { declared.clone() } else { offered };
        let mut spec = usual(kind);
        spec.inner = Some(Arc::new(declared.clone()));
        let pattern = KernelMap::create(&attr(&declared)).unwrap();
        let theirs = KernelMap::create(&MapAttr { inner: Some(pattern.fd()), ..attr(&spec) }).unwrap();
        let mut pair = Pair { mine: Map::create(&spec, possible_cpus()).unwrap(), theirs, log: Vec::new() };
        let (my_inner, their_inner) =
            (Map::create(&offered, 1).unwrap(), KernelMap::create(&attr(&offered)).unwrap());
        for _ in 0..6 {
            let key = random.below(6).to_ne_bytes();
            let flags = flags(&mut random);
            let mine = ours(pair.mine.control().set_inner(&key, &my_inner, flags));
            let theirs = kernel(pair.theirs.update(&key, &their_inner.fd().to_ne_bytes(), flags));
            if theirs.is_ok() {
                fit += 1
            } else {
                refused += 1
            }
            pair.same(format!("{declared:?}\nset_inner {key:?} {offered:?} {flags}"), mine, theirs);
            let key = random.below(6).to_ne_bytes();
            let mine = ours(pair.mine.control().lookup(&key).map(|_| ()));
            let theirs = kernel(pair.theirs.lookup(&key).map(|_| ()));
            pair.same(format!("lookup {key:?}"), mine, theirs);
            pair.delete(&random.below(6).to_ne_bytes());
            pair.keys(kind == MapKind::ArrayOfMaps);
        }
    }
    assert!(fit > 50 && refused > 50, "{fit} {refused}");
}
