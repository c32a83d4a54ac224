//! Snapshots: what comes back, what is refused, and what a disk may do.

mod corrupt;
mod disk;
mod moments;
mod round;

use weir_ebpf::abi::MapKind;
use weir_ebpf::abi::map_kind::create_flags;
use weir_ebpf::program::MapSpec;
use weir_maps::Map;
use weir_object::btf::{BtfBuilder, Member};

use super::*;
use crate::mapview::Types;

/// A source whose values are structures of these members, each a `u64`.
fn typed(name: &str, kind: MapKind, members: &[&str], cpus: usize) -> Source {
    let mut btf = BtfBuilder::default();
    let number = btf.int("u64", 8, false);
    let key = btf.int("u32", 4, false);
    let fields: Vec<Member> = members
        .iter()
        .enumerate()
        .map(|(at, name)| Member { name: btf.name(name), of: number, bit_offset: at as u32 * 64, bits: 0 })
        .collect();
    let size = members.len() as u32 * 8;
    let value = btf.structure("state", size, fields);
    let trie = kind == MapKind::LpmTrie;
    let mut spec = MapSpec::new(name, kind, if trie { 8 } else { 4 }, size, 256);
    if trie {
        spec.flags = create_flags::NO_PREALLOC;
    }
    let key = if trie { 0 } else { key };
    let view = MapView::new(Map::create(&spec, cpus).unwrap(), Types::new(btf.finish().into(), key, value));
    Source { program: "fw".to_owned(), view }
}

fn put(source: &Source, key: u32, values: &[u64]) {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    source.view.update(&key.to_le_bytes(), &bytes, None).unwrap();
}

fn get(source: &Source, key: u32) -> Option<Vec<u64>> {
    let bytes = source.view.map().control().entry(&key.to_le_bytes()).ok()?;
    Some(bytes.chunks_exact(8).map(|word| u64::from_le_bytes(*word.first_chunk().unwrap())).collect())
}

/// A folder of this test's own, gone at the end.
struct Folder(std::path::PathBuf, #[allow(dead_code, reason = "it goes when this goes")] tempfile::TempDir);

impl Folder {
    fn new(name: &str) -> Folder {
        let folder = tempfile::tempdir().expect("a writable temporary directory");
        // Not there yet: whoever keeps something makes it.
        Folder(folder.path().join(name), folder)
    }
}

fn words(told: &[Restored]) -> Vec<String> {
    told.iter().map(ToString::to_string).collect()
}
