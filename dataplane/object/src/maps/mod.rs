//! The maps that an object declares: in `.maps` with BTF, in legacy `maps` sections, and its data
//! sections.
//!
//! A map of a kind that weir lacks does not spoil the object: it keeps its place here, and only a
//! program that uses it is refused.

mod data;
mod declared;
mod legacy;
mod values;

use std::sync::Arc;

use weir_ebpf::MapSpec;
use weir_ebpf::abi::MapKind;

pub(crate) use data::{data_maps, patched};
pub(crate) use declared::declared_maps;
pub(crate) use legacy::legacy_maps;
pub(crate) use values::{initial_values, numbered};

use crate::btf::TypeId;
use crate::error::ObjectError;

/// Types of a map's keys and values, in the object's BTF; 0 where the object does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct MapBtf {
    /// Type of a key.
    pub key_type: TypeId,
    /// Type of a value; a `Section` for `.data` and its like.
    pub value_type: TypeId,
}

/// A map of the object and where its definition stands.
#[derive(Clone, Debug)]
pub(crate) struct Declared {
    /// Its name.
    pub(crate) name: String,
    /// Its section.
    pub(crate) section: usize,
    /// Its offset there.
    pub(crate) offset: u64,
    /// Bytes of its definition.
    pub(crate) size: u64,
    /// What it is, or why it cannot be.
    pub(crate) spec: Result<Arc<MapSpec>, ObjectError>,
    /// Types of keys and values.
    pub(crate) btf: MapBtf,
    /// iproute2's `id`, which sections named `ID/INDEX` and inner maps refer to.
    pub(crate) id: Option<u32>,
    /// Where in the definition its first entries are, for a map that has them.
    pub(crate) values_at: Option<u64>,
}

/// Most maps of an object. A program of the kernel's may use 64.
const MAPS_MAX: usize = 4096;

/// Refuses more maps than any object has.
fn not_too_many(section: &str, maps: usize) -> Result<(), ObjectError> {
    if maps > MAPS_MAX {
        return Err(ObjectError::malformed(
            section,
            None,
            format!("{maps} maps"),
            format!("{MAPS_MAX} or fewer"),
        ));
    }
    Ok(())
}

/// Kernel names of the kinds that [`MapKind`] does not have.
const OTHER_KINDS: &[(u32, &str)] = &[
    (19, "cgroup_storage"),
    (20, "reuseport_sockarray"),
    (21, "percpu_cgroup_storage"),
    (26, "struct_ops"),
    (28, "inode_storage"),
    (29, "task_storage"),
    (31, "user_ringbuf"),
    (32, "cgrp_storage"),
    (33, "arena"),
    (34, "insn_array"),
];

/// The kind with the kernel's number, or an error that names the map and what it wants to be.
fn kind(section: &str, map: &str, number: u32) -> Result<MapKind, ObjectError> {
    MapKind::new(number).ok_or_else(|| {
        let name = OTHER_KINDS.iter().find(|(other, _)| *other == number).map_or("unknown", |(_, name)| name);
        let what = format!("map `{map}` of kind {name} ({number})");
        ObjectError::unsupported(section, what, "a program that does not use the map can still be had")
    })
}

/// Fills in what loaders fill in: libbpf rounds ring buffers up to pages times a power of two, and
/// everyone gives event arrays four-byte keys and values.
fn normalise(spec: &mut MapSpec) {
    const PAGE: u32 = 4096;
    match spec.kind {
        MapKind::Ringbuf if spec.max_entries > 0 => {
            let pages = spec.max_entries.div_ceil(PAGE).next_power_of_two();
            spec.max_entries = pages.checked_mul(PAGE).unwrap_or(spec.max_entries);
        }
        MapKind::PerfEventArray => {
            spec.key_size = if spec.key_size == 0 { 4 } else { spec.key_size };
            spec.value_size = if spec.value_size == 0 { 4 } else { spec.value_size };
        }
        MapKind::ArrayOfMaps | MapKind::HashOfMaps if spec.value_size == 0 => spec.value_size = 4,
        _ => {}
    }
}
