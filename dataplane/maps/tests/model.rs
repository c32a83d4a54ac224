//! Hash tables, queues and stacks against the obvious implementations, with operations from programs and from
//! people mixed.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use proptest::prelude::*;
use weir_ebpf::abi::map_kind::{create_flags, update_flags as flag};
use weir_ebpf::abi::{Errno, MapKind};
use weir_ebpf::program::MapSpec;
use weir_maps::Map;

const ENTRIES: u32 = 13;
const CPUS: usize = 3;

fn cases() -> u32 {
    std::env::var("WEIR_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(150)
}

#[derive(Clone, Debug)]
enum Op {
    /// By the program of this CPU.
    Put(usize, u8, u8, u64),
    Write(u8, u8, u64),
    Drop(u8),
    Remove(u8),
    Take(u8),
    Read(u8),
    Walk,
}

fn op() -> impl Strategy<Value = Op> {
    let flags = || prop_oneof![6 => Just(0u64), 2 => Just(1), 2 => Just(2), 1 => Just(3), 1 => Just(4)];
    let key = || 0..20u8;
    prop_oneof![
        4 => (0..CPUS, key(), any::<u8>(), flags()).prop_map(|(cpu, key, value, flags)| Op::Put(cpu, key, value, flags)),
        3 => (key(), any::<u8>(), flags()).prop_map(|(key, value, flags)| Op::Write(key, value, flags)),
        2 => key().prop_map(Op::Drop),
        1 => key().prop_map(Op::Remove),
        1 => key().prop_map(Op::Take),
        3 => key().prop_map(Op::Read),
        1 => Just(Op::Walk),
    ]
}

/// What a table should do: each key with one filler byte for each CPU.
struct Model {
    values: HashMap<u8, [u8; CPUS]>,
    percpu: bool,
    lru: bool,
}

impl Model {
    fn put(&mut self, cpu: Option<usize>, key: u8, value: u8, flags: u64) -> Result<(), Errno> {
        if flags > flag::EXIST {
            return Err(Errno::EINVAL);
        }
        let old = self.values.get(&key).copied();
        match (old, flags) {
            (Some(_), flag::NOEXIST) => return Err(Errno::EEXIST),
            (None, flag::EXIST) => return Err(Errno::ENOENT),
            (None, _) if !self.lru && self.values.len() == ENTRIES as usize => return Err(Errno::E2BIG),
            _ => {}
        }
        let mut values = if self.percpu { old.unwrap_or_default() } else { [value; CPUS] };
        match cpu {
            Some(cpu) => values[cpu] = value,
            None => values = [value; CPUS],
        }
        self.values.insert(key, values);
        Ok(())
    }
}

struct Subject {
    map: Arc<Map>,
    key_size: usize,
    value_size: usize,
}

impl Subject {
    fn key(&self, key: u8) -> Vec<u8> {
        (0..self.key_size).map(|at| if at == self.key_size / 2 { key } else { 0xc5 }).collect()
    }

    fn value(&self, filler: u8) -> Vec<u8> {
        vec![filler; self.value_size]
    }

    fn expected(&self, values: [u8; CPUS]) -> Vec<Vec<u8>> {
        let cpus = if self.map.spec().kind.is_percpu() { CPUS } else { 1 };
        values[..cpus].iter().map(|value| self.value(*value)).collect()
    }

    fn apply(&self, model: &mut Model, op: Op) {
        let control = self.map.control();
        match op {
            Op::Put(cpu, key, value, flags) => {
                let (name, bytes) = (self.key(key), self.value(value));
                // SAFETY: both have the map's sizes.
                let done = unsafe { self.map.update(cpu, name.as_ptr(), bytes.as_ptr(), flags) };
                assert_eq!(done, model.put(Some(cpu), key, value, flags));
            }
            Op::Write(key, value, flags) => {
                let values = vec![self.value(value); if model.percpu { CPUS } else { 1 }];
                let done = control.update_percpu(&self.key(key), &values, flags);
                assert_eq!(done, model.put(None, key, value, flags));
            }
            Op::Drop(key) => {
                // SAFETY: the key has the map's size.
                let done = unsafe { self.map.delete(self.key(key).as_ptr()) };
                assert_eq!(done.is_ok(), model.values.remove(&key).is_some());
            }
            Op::Remove(key) => {
                let wanted = model.values.remove(&key).map(|_| ()).ok_or(Errno::ENOENT);
                assert_eq!(control.delete(&self.key(key)), wanted);
            }
            Op::Take(key) => {
                let taken = control.lookup_and_delete(&self.key(key));
                assert_eq!(taken.is_ok(), model.values.remove(&key).is_some());
            }
            Op::Read(key) => self.read(model, key),
            Op::Walk => self.walk(model),
        }
        if model.lru {
            // Whom it evicts is its own choice, but it must have evicted.
            model.values.retain(|key, _| control.lookup(&self.key(*key)).is_ok());
        }
        assert_eq!(self.map.entries(), model.values.len());
    }

    fn read(&self, model: &Model, key: u8) {
        let name = self.key(key);
        let found = self.map.control().lookup_percpu(&name);
        assert_eq!(found.ok(), model.values.get(&key).map(|values| self.expected(*values)));
        for cpu in 0..CPUS {
            // SAFETY: the key has the map's size; a value has `value_size` bytes and nobody changes it here.
            let value = unsafe { self.map.lookup(cpu, name.as_ptr()).as_ref() };
            assert_eq!(
                value.copied(),
                model.values.get(&key).map(|values| values[if model.percpu { cpu } else { 0 }])
            );
            if let Some(value) = value {
                assert!(self.map.owns(std::ptr::from_ref(value) as usize, self.value_size));
            }
        }
    }

    fn walk(&self, model: &Model) {
        let mut found: Vec<_> = self.map.control().keys().collect();
        let mut wanted: Vec<_> = model.values.keys().map(|key| self.key(*key)).collect();
        let mut visited = Vec::new();
        let count = self.map.for_each(1, |key, _| {
            // SAFETY: a key has the map's size and nobody changes it here.
            visited.push(unsafe { std::slice::from_raw_parts(key, self.key_size) }.to_vec());
            true
        });
        assert_eq!(count, Ok(wanted.len() as u64));
        for keys in [&mut found, &mut wanted, &mut visited] {
            keys.sort();
        }
        assert_eq!(found, wanted);
        assert_eq!(visited, wanted);
    }
}

fn table() -> impl Strategy<Value = MapSpec> {
    let kinds = prop_oneof![
        Just((MapKind::Hash, 0)),
        Just((MapKind::Hash, create_flags::NO_PREALLOC)),
        Just((MapKind::PercpuHash, 0)),
        Just((MapKind::LruHash, 0)),
        Just((MapKind::LruPercpuHash, 0)),
        Just((MapKind::LruHash, create_flags::ZERO_SEED)),
    ];
    (kinds, 1..=41u32, 1..=33u32).prop_map(|((kind, flags), key_size, value_size)| {
        let mut spec = MapSpec::new("table", kind, key_size, value_size, ENTRIES);
        spec.flags = flags;
        spec
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tables_do_what_a_hash_map_does(spec in table(), ops in prop::collection::vec(op(), 1..300)) {
        let map = Map::create(&spec, CPUS).unwrap();
        let lru = matches!(spec.kind, MapKind::LruHash | MapKind::LruPercpuHash);
        let mut model = Model { values: HashMap::new(), percpu: spec.kind.is_percpu(), lru };
        let subject =
            Subject { map, key_size: spec.key_size as usize, value_size: spec.value_size as usize };
        for op in ops {
            subject.apply(&mut model, op);
        }
        subject.walk(&model);
    }

    #[test]
    fn queues_and_stacks_do_what_a_deque_does(
        stack in any::<bool>(),
        size in 1..20usize,
        ops in prop::collection::vec((0..4u8, any::<u8>(), 0..4u64), 1..200),
    ) {
        let kind = if stack { MapKind::Stack } else { MapKind::Queue };
        let map = Map::create(&MapSpec::new("line", kind, 0, size as u32, 5), 1).unwrap();
        let mut model = VecDeque::new();
        for (op, value, flags) in ops {
            let mut bytes = vec![value; size];
            // SAFETY: `bytes` has the map's value size.
            let done = unsafe {
                match op {
                    0 | 1 => map.push(bytes.as_ptr(), flags),
                    2 => map.pop(bytes.as_mut_ptr()),
                    _ => map.peek(bytes.as_mut_ptr()),
                }
            };
            let wanted = match op {
                0 | 1 if flags & flag::NOEXIST != 0 => Err(Errno::EINVAL),
                0 | 1 if model.len() == 5 && flags & flag::EXIST == 0 => Err(Errno::E2BIG),
                0 | 1 => {
                    if model.len() == 5 {
                        model.pop_front();
                    }
                    model.push_back(value);
                    Ok(value)
                }
                2 => if stack { model.pop_back() } else { model.pop_front() }.ok_or(Errno::ENOENT),
                _ => if stack { model.back() } else { model.front() }.copied().ok_or(Errno::ENOENT),
            };
            prop_assert_eq!(done.map(|()| bytes[0]), wanted);
        }
    }
}
