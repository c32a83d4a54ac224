//! What programs may read of a map itself: the head of `struct bpf_map`, as Linux 6.18 lays it out on x86-64.
//!
//! The kernel lets a program that may see addresses read its maps' structures (`check_ptr_to_map_access`), most of
//! which is its own business. Here are the members up to the map's name: what a map was made from is in them, and
//! where a member points to something of the kernel, it is null.

use super::kernel_struct::KernelStruct;

/// Bytes of `struct bpf_map` that are there, from its start.
pub const MAP_HEAD_BYTES: u32 = 152;

/// What a member holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapFieldKind {
    /// A number, or an array of bytes.
    Number,
    /// A pointer to a structure.
    Pointer(KernelStruct),
}

macro_rules! map_fields {
    ($( $name:ident = $text:literal, $offset:literal, $bytes:literal, $kind:expr; )+) => {
        /// A member of `struct bpf_map`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "each is the member of this name")]
        pub enum MapField { $( $name, )+ }

        impl MapField {
            /// Every one, as they lie.
            pub const ALL: &[MapField] = &[$( MapField::$name, )+];
            /// Its name in C.
            pub const fn name(self) -> &'static str { match self { $( MapField::$name => $text, )+ } }
            /// Bytes from the start of the structure.
            pub const fn offset(self) -> u32 { match self { $( MapField::$name => $offset, )+ } }
            /// Its bytes.
            pub const fn bytes(self) -> u32 { match self { $( MapField::$name => $bytes, )+ } }
            /// What it holds.
            pub const fn kind(self) -> MapFieldKind { match self { $( MapField::$name => $kind, )+ } }
        }
    };
}

use MapFieldKind::{Number, Pointer};

map_fields! {
    Sha = "sha", 0, 32, Number;
    Excl = "excl", 32, 4, Number;
    Ops = "ops", 40, 8, Pointer(KernelStruct::MapOps);
    InnerMapMeta = "inner_map_meta", 48, 8, Pointer(KernelStruct::Map);
    Security = "security", 56, 8, Pointer(KernelStruct::Untyped);
    MapType = "map_type", 64, 4, Number;
    KeySize = "key_size", 68, 4, Number;
    ValueSize = "value_size", 72, 4, Number;
    MaxEntries = "max_entries", 76, 4, Number;
    MapExtra = "map_extra", 80, 8, Number;
    MapFlags = "map_flags", 88, 4, Number;
    Id = "id", 92, 4, Number;
    Record = "record", 96, 8, Pointer(KernelStruct::BtfRecord);
    NumaNode = "numa_node", 104, 4, Number;
    BtfKeyTypeId = "btf_key_type_id", 108, 4, Number;
    BtfValueTypeId = "btf_value_type_id", 112, 4, Number;
    BtfVmlinuxValueTypeId = "btf_vmlinux_value_type_id", 116, 4, Number;
    Btf = "btf", 120, 8, Pointer(KernelStruct::Btf);
    Objcg = "objcg", 128, 8, Pointer(KernelStruct::ObjCgroup);
    Name = "name", 136, 16, Number;
}

impl MapField {
    /// The first member that ends behind this byte, and begins before this end.
    pub fn touched(start: u32, end: u32) -> Option<MapField> {
        let ends_behind = |field: &MapField| start < field.offset() + field.bytes();
        MapField::ALL.iter().copied().find(ends_behind).filter(|field| field.offset() < end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_lie_one_after_the_other() {
        let mut end = 0;
        for field in MapField::ALL {
            assert!(field.offset() >= end, "{field:?}");
            end = field.offset() + field.bytes();
        }
        assert_eq!(end, MAP_HEAD_BYTES);
    }

    #[test]
    fn a_hole_is_no_member() {
        assert_eq!(MapField::touched(36, 37), None);
        assert_eq!(MapField::touched(36, 44), Some(MapField::Ops));
        assert_eq!(MapField::touched(79, 80), Some(MapField::MaxEntries));
        assert_eq!(MapField::touched(152, 153), None);
    }
}
