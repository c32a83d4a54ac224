//! What every map begins with: the part of `struct bpf_map` that programs may read through a map's pointer.

use weir_ebpf::abi::{MAP_HEAD_BYTES, MapField};
use weir_ebpf::program::MapSpec;

const BYTES: usize = MAP_HEAD_BYTES as usize;

/// The structure's first bytes, as Linux lays them out. Nothing changes them.
#[derive(Debug)]
#[repr(C, align(8))]
pub(crate) struct Head([u8; BYTES]);

impl Head {
    /// The head of a map with this number.
    pub(crate) fn new(spec: &MapSpec, id: u32) -> Self {
        let mut head = Head([0; BYTES]);
        for field in MapField::ALL {
            match field {
                MapField::MapType => head.put(*field, &(spec.kind as u32).to_le_bytes()),
                MapField::KeySize => head.put(*field, &spec.key_size.to_le_bytes()),
                MapField::ValueSize => head.put(*field, &spec.value_size.to_le_bytes()),
                MapField::MaxEntries => head.put(*field, &spec.max_entries.to_le_bytes()),
                MapField::MapExtra => head.put(*field, &spec.extra.to_le_bytes()),
                MapField::MapFlags => head.put(*field, &spec.flags.to_le_bytes()),
                MapField::Id => head.put(*field, &id.to_le_bytes()),
                // `NUMA_NO_NODE`.
                MapField::NumaNode => head.put(*field, &(-1_i32).to_le_bytes()),
                // Cut as the kernel cuts it: 15 bytes, and a zero.
                MapField::Name => head.put(*field, &spec.name.as_bytes()[..spec.name.len().min(15)]),
                // A map of a program that is loaded is signed by nobody and shared with nobody.
                MapField::Sha | MapField::Excl => {}
                // Of the kernel, and its numbers for types.
                MapField::Ops
                | MapField::InnerMapMeta
                | MapField::Security
                | MapField::Record
                | MapField::Btf
                | MapField::Objcg
                | MapField::BtfKeyTypeId
                | MapField::BtfValueTypeId
                | MapField::BtfVmlinuxValueTypeId => {}
            }
        }
        head
    }

    fn put(&mut self, field: MapField, bytes: &[u8]) {
        let start = field.offset() as usize;
        self.0[start..start + bytes.len()].copy_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use weir_ebpf::abi::MapKind;

    use super::*;
    use crate::Map;

    #[test]
    fn a_map_begins_with_what_it_was_made_from() {
        let spec = MapSpec::new("a_name_of_20_letters", MapKind::Hash, 4, 16, 77);
        let map = Map::create(&spec, 1).unwrap();
        let number = |field: MapField| {
            let start = field.offset() as usize;
            u32::from_le_bytes(map.head.0[start..start + 4].try_into().unwrap())
        };
        assert_eq!(number(MapField::MapType), 1);
        assert_eq!(number(MapField::KeySize), 4);
        assert_eq!(number(MapField::ValueSize), 16);
        assert_eq!(number(MapField::MaxEntries), 77);
        assert_eq!(number(MapField::Id), map.id());
        assert_eq!(&map.head.0[136..152], b"a_name_of_20_le\0");
        assert_eq!(map.head().start, std::sync::Arc::as_ptr(&map).addr());
    }
}
