//! A live map for people: bpftool's verbs and bpftool's JSON over a map that workers use meanwhile.
//!
//! Nothing here stops a worker: a hash table is read bucket by bucket under the bucket's lock (a few
//! instructions), a trie a page at a time, arrays word by word. What a walk promises while the map changes
//! is said at [`MapView::page`]. A view holds its map, so what it reads stays in memory whatever is loaded
//! or unloaded meanwhile.

mod entry;
pub mod input;
mod shown;
pub mod text;

use std::sync::Arc;

use serde_json::Value;
use thiserror::Error;
use weir_ebpf::abi::map_kind::update_flags;
use weir_ebpf::abi::{Errno, MapKind};
use weir_maps::{Failure, Map};
use weir_object::btf::TypeId;
use weir_object::{Btf, Object};

pub use entry::{Bytes, Cpu, Entry, Formatted, MapInfo, NextKey, Page};
pub use shown::Shown;

/// The types of a map's keys and values, as far as its object says them.
#[derive(Clone, Debug, Default)]
pub struct Types {
    btf: Option<Arc<Btf>>,
    key: TypeId,
    value: TypeId,
}

impl Types {
    /// Those that an object says of its map with this name.
    pub fn of(object: &Object, map: &str) -> Types {
        let types = object.map_btf(map).unwrap_or_default();
        Types { btf: object.shared_btf(), key: types.key_type, value: types.value_type }
    }

    /// Types with these numbers of a table; 0 for a type that is not known.
    pub fn new(btf: Arc<Btf>, key: TypeId, value: TypeId) -> Types {
        Types { btf: Some(btf), key, value }
    }

    /// The type of keys.
    pub fn key(&self) -> Option<(&Btf, TypeId)> {
        self.btf.as_deref().map(|btf| (btf, self.key)).filter(|(_, id)| *id != 0)
    }

    /// The type of values.
    pub fn value(&self) -> Option<(&Btf, TypeId)> {
        self.btf.as_deref().map(|btf| (btf, self.value)).filter(|(_, id)| *id != 0)
    }
}

/// Why a map could not be read or changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ViewError {
    /// A key or value is not understood.
    #[error("{what}: {text}")]
    Input {
        /// `key`, `value` or `flags`.
        what: &'static str,
        /// What was found and wanted.
        text: String,
    },
    /// There is no such entry.
    #[error("map {map} has no such entry")]
    NotFound {
        /// The map's name.
        map: String,
    },
    /// The map says no.
    #[error("map {map} ({kind}) cannot {verb}: {errno}", kind = kind.name())]
    Refused {
        /// The map's name.
        map: String,
        /// Its kind.
        kind: MapKind,
        /// What was asked of it.
        verb: &'static str,
        /// What bpf(2) answers.
        errno: Errno,
    },
}

/// A map and its types.
#[derive(Clone, Debug)]
pub struct MapView {
    map: Arc<Map>,
    types: Types,
}

/// Keys that are read under one lock.
const STEP: usize = 64;

impl MapView {
    /// A view of a map whose keys and values have these types.
    pub fn new(map: Arc<Map>, types: Types) -> MapView {
        MapView { map, types }
    }

    /// A view of a map that came from an object.
    pub fn of(map: &Arc<Map>, object: &Object) -> MapView {
        MapView::new(Arc::clone(map), Types::of(object, &map.spec().name))
    }

    /// The map.
    pub fn map(&self) -> &Arc<Map> {
        &self.map
    }

    /// The types of its keys and values.
    pub fn types(&self) -> &Types {
        &self.types
    }

    /// The map's name.
    pub fn name(&self) -> &str {
        &self.map.spec().name
    }

    /// What `map show` says of it.
    pub fn info(&self) -> MapInfo {
        let spec = self.map.spec();
        let name_of = |typed: Option<(&Btf, TypeId)>| {
            typed.map(|(btf, id)| btf.name(id).to_owned()).filter(|name| !name.is_empty())
        };
        MapInfo {
            id: self.map.id(),
            kind: spec.kind.name().to_owned(),
            name: spec.name.clone(),
            flags: spec.flags,
            bytes_key: spec.key_size,
            bytes_value: spec.value_size,
            max_entries: spec.max_entries,
            bytes_memlock: self.map.bytes(),
            frozen: self.map.control().is_frozen().into(),
            entries: self.map.entries(),
            evictions: self.map.evictions(),
            update_failures: self.failures(),
            key_type: name_of(self.types.key()),
            value_type: name_of(self.types.value()),
        }
    }

    fn refused(&self, verb: &'static str, errno: Errno) -> ViewError {
        match errno {
            Errno::ENOENT => ViewError::NotFound { map: self.name().to_owned() },
            _ => ViewError::Refused { map: self.name().to_owned(), kind: self.map.spec().kind, verb, errno },
        }
    }

    /// A key in bytes, from what [`input`] takes.
    pub fn key(&self, given: &Value) -> Result<Vec<u8>, ViewError> {
        let spec = self.map.spec();
        input::key(spec.kind, &self.types, spec.key_size as usize, given)
            .map_err(|text| ViewError::Input { what: "key", text })
    }

    /// A value in bytes, from what [`input`] takes.
    pub fn value(&self, given: &Value) -> Result<Vec<u8>, ViewError> {
        input::value(&self.types, self.map.spec().value_size as usize, given)
            .map_err(|text| ViewError::Input { what: "value", text })
    }

    /// The entry that a lookup of this key finds.
    pub fn lookup(&self, key: &[u8]) -> Result<Entry, ViewError> {
        let values = self.map.control().lookup(key).map_err(|errno| self.refused("look up", errno))?;
        Ok(self.show(key, &values))
    }

    /// The key after this one as bpf(2) has it: the first one for none or one that is not there.
    pub fn next_key(&self, after: Option<&[u8]>) -> Result<NextKey, ViewError> {
        let next = self.map.control().next_key(after).map_err(|errno| self.refused("walk", errno))?;
        Ok(NextKey { key: after.map(|key| Bytes(key.to_vec())), next_key: Bytes(next) })
    }

    /// Puts a value under a key; on every worker for per-CPU kinds, as bpftool does. `flags` is `any`,
    /// `noexist` or `exist`.
    pub fn update(&self, key: &[u8], value: &[u8], flags: Option<&str>) -> Result<(), ViewError> {
        let flags = match flags {
            None | Some("any") => update_flags::ANY,
            Some("noexist") => update_flags::NOEXIST,
            Some("exist") => update_flags::EXIST,
            Some(other) => {
                let text = format!("`{other}` is not known: wanted any, noexist or exist");
                return Err(ViewError::Input { what: "flags", text });
            }
        };
        let values = if self.map.spec().kind.is_percpu() { self.map.cpus() } else { 1 };
        let done = self.map.control().update_percpu(key, &vec![value.to_vec(); values], flags);
        done.map_err(|errno| self.refused("be updated", errno))
    }

    /// Takes an entry out.
    pub fn delete(&self, key: &[u8]) -> Result<(), ViewError> {
        self.map.control().delete(key).map_err(|errno| self.refused("delete", errno))
    }

    /// Takes every entry out that was there when this began; sets an array's values to zero. Answers how
    /// many entries there were.
    pub fn clear(&self) -> Result<usize, ViewError> {
        let control = self.map.control();
        let refused = |errno| self.refused("be cleared", errno);
        if !matches!(self.map.spec().kind, MapKind::Array | MapKind::PercpuArray) {
            return control.clear().map_err(refused);
        }
        let zeros = vec![0; control.value_bytes()];
        let mut cleared = 0;
        for key in control.keys() {
            control.update(&key, &zeros, update_flags::ANY).map_err(refused)?;
            cleared += 1;
        }
        Ok(cleared)
    }

    /// Takes the first value of a queue or stack.
    pub fn pop(&self) -> Result<Entry, ViewError> {
        let value = self.map.control().lookup_and_delete(&[]).map_err(|errno| self.refused("pop", errno))?;
        Ok(self.show(&[], &value))
    }

    /// Puts a value into a queue, stack or bloom filter.
    pub fn push(&self, value: &[u8]) -> Result<(), ViewError> {
        self.map.control().update(&[], value, 0).map_err(|errno| self.refused("push", errno))
    }

    /// Bars changes from this side for ever.
    pub fn freeze(&self) -> Result<(), ViewError> {
        self.map.control().freeze().map_err(|errno| self.refused("be frozen", errno))
    }

    /// About `limit` entries after this key, or from the beginning.
    ///
    /// While programs change the map: an entry that is there from the first page to the last comes exactly
    /// once; one that comes or goes meanwhile may come or not; the walk always ends, also when the key it
    /// stands at is deleted (where bpf(2) begins again). A value of a hash table or trie is one that the
    /// entry had at one moment; in arrays, and where programs write through a pointer, this holds for each
    /// aligned word of 8 bytes. Places of device, CPU and socket maps that are empty are left out.
    pub fn page(&self, after: Option<&[u8]>, limit: usize) -> Result<Page, ViewError> {
        let control = self.map.control();
        let mut last = after.map(<[u8]>::to_vec);
        let mut entries = Vec::new();
        while entries.len() < limit.max(1) {
            let wanted = STEP.min(limit.max(1) - entries.len());
            let keys =
                control.keys_after(last.as_deref(), wanted).map_err(|errno| self.refused("walk", errno))?;
            let Some(end) = keys.last().cloned() else {
                return Ok(Page { entries, next: None });
            };
            let found = keys.iter().filter_map(|key| Some((key, control.entry(key).ok()?)));
            entries.extend(found.map(|(key, values)| self.show(key, &values)));
            last = Some(end);
        }
        let more = control.keys_after(last.as_deref(), 1).is_ok_and(|keys| !keys.is_empty());
        Ok(Page { entries, next: last.filter(|_| more).map(Bytes) })
    }

    /// Every entry, with the promises of [`page`](Self::page).
    pub fn dump(&self) -> Result<Vec<Entry>, ViewError> {
        self.page(None, usize::MAX).map(|page| page.entries)
    }

    /// Every key and value in bytes, per-CPU values in a row and padded to 8, with the promises of
    /// [`page`](Self::page). `step` keys are asked for at once.
    pub fn each(&self, step: usize, mut each: impl FnMut(&[u8], &[u8])) -> Result<(), ViewError> {
        let control = self.map.control();
        let mut last: Option<Vec<u8>> = None;
        loop {
            let keys =
                control.keys_after(last.as_deref(), step).map_err(|errno| self.refused("walk", errno))?;
            for key in &keys {
                if let Ok(values) = control.entry(key) {
                    each(key, &values);
                }
            }
            match keys.last() {
                Some(end) => last = Some(end.clone()),
                None => return Ok(()),
            }
        }
    }

    /// An entry of these bytes (all workers' values, each padded to 8, for per-CPU kinds).
    fn show(&self, key: &[u8], values: &[u8]) -> Entry {
        let typed = self.types.value().is_some();
        let mut entry = Entry { key: Bytes(key.to_vec()), ..Entry::default() };
        let mut formatted = Formatted { key: shown(self.types.key(), key), ..Formatted::default() };
        match self.map.spec().kind.is_percpu() {
            true => self.show_each(values, &mut entry, &mut formatted),
            false => {
                entry.value = Some(Bytes(values.to_vec()));
                formatted.value = shown(self.types.value(), values);
            }
        }
        if matches!(self.map.spec().kind, MapKind::ArrayOfMaps | MapKind::HashOfMaps) {
            entry.inner_map_id = values.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
        }
        entry.formatted = typed.then_some(formatted);
        entry
    }

    fn show_each(&self, values: &[u8], entry: &mut Entry, formatted: &mut Formatted) {
        fn numbered<T>(values: impl IntoIterator<Item = T>) -> Option<Vec<Cpu<T>>> {
            Some(values.into_iter().enumerate().map(|(cpu, value)| Cpu { cpu, value }).collect())
        }
        let size = self.map.spec().value_size as usize;
        let padded = values.chunks(size.next_multiple_of(8).max(1));
        let each: Vec<&[u8]> = padded.filter_map(|value| value.get(..size)).collect();
        let by_type = |value: &&[u8]| shown(self.types.value(), value).or_else(|| number(value));
        if let Some(seen) = each.iter().map(by_type).collect::<Option<Vec<Shown>>>() {
            entry.sum = Shown::sum(&seen);
            formatted.values = numbered(seen);
        }
        entry.values = numbered(each.into_iter().map(|value| Bytes(value.to_vec())));
    }

    fn failures(&self) -> Vec<(String, u64)> {
        let count = |reason: &Failure| (reason.name().to_owned(), self.map.counters().failures(*reason));
        Failure::ALL.iter().map(count).filter(|(_, count)| *count > 0).collect()
    }
}

/// Bytes by their type.
fn shown(typed: Option<(&Btf, TypeId)>, bytes: &[u8]) -> Option<Shown> {
    typed.and_then(|(btf, id)| btf.value(id, bytes).ok()).map(Shown::from)
}

/// An untyped value that can be nothing but a number.
fn number(bytes: &[u8]) -> Option<Shown> {
    if !matches!(bytes.len(), 1 | 2 | 4 | 8) {
        return None;
    }
    let mut wide = [0; 16];
    wide.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(Shown::Number(i128::from_le_bytes(wide)))
}

#[cfg(test)]
mod tests;
