//! The maps that random programs may use, one of each kind that they can be compared on.

use weir_ebpf::MapSpec;
use weir_ebpf::abi::MapKind;
use weir_ebpf::isa::{Imm64, Insn, Size};
use weir_ebpf::program::Initial;

use super::VALUE_BYTES;

/// Maps with keys of four bytes.
pub(super) const ARRAY: u32 = 0;
/// Eight-byte keys.
pub(super) const HASH: u32 = 1;
/// The same, which evicts.
pub(super) const LRU: u32 = 2;
/// An array with a value for each worker.
pub(super) const COUNTERS: u32 = 3;
/// A hash table with a value for each worker.
pub(super) const FLOWS: u32 = 4;
/// A ring buffer.
pub(super) const RING: u32 = 5;
/// Where tail calls look.
pub(super) const PROGRAMS: u32 = 6;
/// The program's variables.
pub(super) const DATA: u32 = 7;

/// Every map's number.
pub const ALL: [u32; 8] = [ARRAY, HASH, LRU, COUNTERS, FLOWS, RING, PROGRAMS, DATA];
/// Those that have keys and values.
pub(super) const KEYED: [u32; 5] = [ARRAY, HASH, LRU, COUNTERS, FLOWS];
/// Those that a walk visits in the same order everywhere.
pub(super) const ARRAYS: [u32; 2] = [ARRAY, COUNTERS];

/// Bytes of a map's key, as the size of a store.
pub(super) fn key_size(map: u32) -> Size {
    if ARRAYS.contains(&map) { Size::W } else { Size::DW }
}

/// All of them, by number.
pub fn specs() -> Vec<MapSpec> {
    let value = VALUE_BYTES as u32;
    let mut programs = MapSpec::new("programs", MapKind::ProgArray, 4, 4, 4);
    programs.initial = Initial::Programs(vec![(0, "landing".to_owned())]);
    let mut data = MapSpec::new("data", MapKind::Array, 4, value, 1);
    data.initial = Initial::Data(vec![0; value as usize]);
    vec![
        MapSpec::new("array", MapKind::Array, 4, value, 4),
        MapSpec::new("hash", MapKind::Hash, 8, value, 4),
        MapSpec::new("lru", MapKind::LruHash, 8, value, 1024),
        MapSpec::new("counters", MapKind::PercpuArray, 4, value, 4),
        MapSpec::new("flows", MapKind::PercpuHash, 8, value, 16),
        MapSpec::new("ring", MapKind::Ringbuf, 0, 0, 4096),
        programs,
        data,
    ]
}

fn map_of(insn: &mut Insn) -> Option<&mut u32> {
    match insn {
        Insn::LoadImm64 { value: Imm64::Map(map) | Imm64::MapValue { map, .. }, .. } => Some(map),
        _ => None,
    }
}

/// Numbers the maps that are used anew, and answers them in that order.
pub fn compact(insns: &mut [Insn]) -> Vec<MapSpec> {
    let mut used: Vec<u32> = Vec::new();
    for map in insns.iter_mut().filter_map(map_of) {
        let at = used.iter().position(|known| known == map).unwrap_or_else(|| {
            used.push(*map);
            used.len() - 1
        });
        *map = at as u32;
    }
    let all = specs();
    used.into_iter().map(|map| all[map as usize].clone()).collect()
}
