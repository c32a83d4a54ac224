//! What becomes of a map's contents when its program is replaced: planned before, carried out while both
//! generations run, and told in one line.
//!
//! [`plan`] compares two [`Layout`]s: the map is kept as it is (the same memory), or its entries are converted
//! by the names of their members ([`Conversion`]) into a new map, or why neither can be. A change goes so:
//!
//! ```text
//!   for each map of the new object whose name the old one has:
//!     plan(&Layout::of(old spec, old types), &Layout::of(new spec, new types), scratch)
//!       Kept      put the old Arc<Map> in the new map's place
//!       Migrated  Migration::start(old, new, conversion)        an error here refuses the change
//!   right before publishing: catch_up()                         the same
//!   after every worker has left the old generation: settle()    never fails; counts
//! ```

mod convert;
mod pass;
mod shape;

use weir_ebpf::abi::MapKind;

pub use convert::{Conversion, Differences, Unfit};
pub use pass::{MigrateError, Migration, Settled, place_entry};
pub use shape::{Field, Layout, Shape};

/// What becomes of a map whose name the new object has too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Planned {
    /// The map goes on as it is, in place.
    Kept,
    /// Its entries are converted into a new map, by [`Migration`].
    Migrated {
        /// From old values to new ones.
        conversion: Conversion,
        /// What changes, a phrase each, such as ``+field `mark` = 0``.
        detail: Vec<String>,
    },
    /// It starts with what its object says: it belongs to the generation, or was asked to.
    Scratch,
    /// The change cannot be made as long as this map is in the way.
    Refused {
        /// Why, and what to try.
        why: String,
    },
}

/// What to try when a map is in the way.
const START_EMPTY: &str = "list it under scratch to start it empty";

/// What becomes of a map whose name the new object has too. `scratch` says that somebody wants it empty.
pub fn plan(old: &Layout, new: &Layout, scratch: bool) -> Planned {
    if new.own || scratch {
        return Planned::Scratch;
    }
    let refused = |why: String| Planned::Refused { why: format!("{why}; {START_EMPTY}") };
    let Some(carry) = Carry::of(old.kind, new.kind) else {
        let (was, is) = (old.kind_name(), new.kind_name());
        return refused(format!("its kind was {was} and is {is}"));
    };
    if old.key_size != new.key_size || (old.key.is_some() && new.key.is_some() && old.key != new.key) {
        let (was, is) = (key_word(old), key_word(new));
        return refused(format!("its key was {was} and is {is}, and keys must stay"));
    }
    let conversion = match value_conversion(old, new) {
        Ok(conversion) => conversion,
        Err(why) => return refused(why),
    };
    let resized = same_but_value(old, new);
    if resized.is_empty() && conversion.is_same() {
        return Planned::Kept;
    }
    match carry {
        Carry::Entries => {
            let Differences { added, removed, changed } = conversion.differences();
            let added = added.iter().map(|name| format!("+field `{name}` = 0"));
            let removed = removed.iter().map(|name| format!("-field `{name}`"));
            let mut detail: Vec<String> =
                added.chain(removed).chain(changed.iter().cloned()).chain(resized).collect();
            if detail.is_empty() {
                detail.push("the same members in other places".to_owned());
            }
            Planned::Migrated { conversion, detail }
        }
        Carry::Whole => {
            let what = if resized.is_empty() { "its value changed".to_owned() } else { resized.join(", ") };
            refused(format!("{} maps can be kept but not migrated ({what})", old.kind_name()))
        }
        Carry::Nothing => Planned::Scratch,
    }
}

/// How the contents of a kind can go over.
enum Carry {
    /// Entry by entry.
    Entries,
    /// Only with the map itself.
    Whole,
    /// Only with the map itself, but starting empty loses nothing that was promised.
    Nothing,
}

impl Carry {
    /// `None` when the kinds differ in more than who makes room.
    fn of(old: u32, new: u32) -> Option<Carry> {
        let (old, new) = (MapKind::new(old)?, MapKind::new(new)?);
        let family = |kind| match kind {
            MapKind::LruHash => MapKind::Hash,
            MapKind::LruPercpuHash => MapKind::PercpuHash,
            other => other,
        };
        (family(old) == family(new)).then_some(match new {
            MapKind::Hash
            | MapKind::LruHash
            | MapKind::PercpuHash
            | MapKind::LruPercpuHash
            | MapKind::Array
            | MapKind::PercpuArray
            | MapKind::LpmTrie
            | MapKind::Devmap
            | MapKind::DevmapHash
            | MapKind::Cpumap => Carry::Entries,
            MapKind::ArrayOfMaps
            | MapKind::HashOfMaps
            | MapKind::Queue
            | MapKind::Stack
            | MapKind::BloomFilter => Carry::Whole,
            MapKind::ProgArray
            | MapKind::PerfEventArray
            | MapKind::StackTrace
            | MapKind::CgroupArray
            | MapKind::Sockmap
            | MapKind::Sockhash
            | MapKind::CgroupStorage
            | MapKind::ReuseportSockarray
            | MapKind::PercpuCgroupStorage
            | MapKind::SkStorage
            | MapKind::Xskmap
            | MapKind::Ringbuf => Carry::Nothing,
        })
    }
}

fn key_word(layout: &Layout) -> String {
    match &layout.key {
        Some(Shape::Struct { fields, size }) => {
            let names: Vec<String> =
                fields.iter().map(|field| format!("{} {}", field.of.word(), field.name)).collect();
            format!("{size} bytes {{ {} }}", names.join("; "))
        }
        Some(shape) => shape.word(),
        None => format!("{} bytes", layout.key_size),
    }
}

fn value_conversion(old: &Layout, new: &Layout) -> Result<Conversion, String> {
    match (&old.value, &new.value) {
        (Some(before), Some(after)) => Conversion::new(before, after),
        _ if old.value_size == new.value_size => Ok(Conversion::same(new.value_size as usize)),
        _ => Err(format!(
            "its value was {} bytes and is {}, and without BTF (clang -g) of both nothing says which is what",
            old.value_size, new.value_size
        )),
    }
}

/// What differs besides keys and values, a phrase each.
fn same_but_value(old: &Layout, new: &Layout) -> Vec<String> {
    let mut changed = Vec::new();
    if old.kind != new.kind {
        changed.push(format!("kind {} -> {}", old.kind_name(), new.kind_name()));
    }
    if old.max_entries != new.max_entries {
        changed.push(format!("max_entries {} -> {}", old.max_entries, new.max_entries));
    }
    if old.flags != new.flags {
        changed.push(format!("flags {:#x} -> {:#x}", old.flags, new.flags));
    }
    if old.special != new.special {
        changed.push("the place of its lock or timer".to_owned());
    }
    if old.inner != new.inner {
        changed.push("the shape of its inner maps".to_owned());
    }
    changed
}

#[cfg(test)]
mod tests;
