//! One map to a file and back: as JSON that people and bpftool's scripts read, or as a snapshot of one map.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::format::{Contents, MAGIC};
use super::restore::put;
use super::{Restored, Snapshot, Source, Torn};
use crate::mapview::{Entry, MapInfo, MapView, ViewError};

/// A map in JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exported {
    /// `weir.v1.map-export`.
    pub schema: String,
    /// What it was.
    pub map: MapInfo,
    /// Its entries, as `map dump` shows them.
    pub entries: Vec<Entry>,
}

const SCHEMA: &str = "weir.v1.map-export";

/// Why a map cannot be exported or imported.
#[derive(Debug, Error)]
pub enum ExportError {
    /// The map says no.
    #[error(transparent)]
    View(#[from] ViewError),
    /// The file is a snapshot and not whole.
    #[error(transparent)]
    Torn(#[from] Torn),
    /// The file is something else.
    #[error("this is neither an export, nor bpftool's JSON, nor a snapshot: {text}")]
    Unknown {
        /// What was found.
        text: String,
    },
    /// The snapshot holds other maps.
    #[error("there is no map `{wanted}` in it; there is {there}")]
    NoMap {
        /// The name.
        wanted: String,
        /// Names that there are.
        there: String,
    },
    /// An entry is not of this map.
    #[error("entry {number}: {text}")]
    Entry {
        /// Counted from 1.
        number: usize,
        /// What was found and wanted.
        text: String,
    },
}

/// A map as JSON, entry for entry as `map dump` shows it.
pub fn to_json(view: &MapView) -> Result<Exported, ExportError> {
    Ok(Exported { schema: SCHEMA.to_owned(), map: view.info(), entries: view.dump()? })
}

/// A map as a snapshot of it alone, with its types: the form to be migrated from later.
pub fn to_snapshot(program: &str, view: &MapView) -> Result<Vec<u8>, ExportError> {
    let source = Source { program: program.to_owned(), view: view.clone() };
    Ok(Contents::read(&[source])?.finish(0, 0, 0))
}

/// Puts the entries of an export, of bpftool's `map dump -j`, or of the map of this name in a snapshot into a
/// map. Entries that are not in the file stay.
pub fn import(program: &str, view: &MapView, file: &[u8]) -> Result<Restored, ExportError> {
    if file.starts_with(MAGIC) {
        let snapshot = Snapshot::parse(file)?;
        let saved = snapshot.maps.iter().find(|saved| saved.layout().map == view.name());
        let there = || snapshot.maps.iter().map(|saved| saved.layout().map.as_str()).collect::<Vec<_>>();
        let saved = saved.ok_or_else(|| ExportError::NoMap {
            wanted: view.name().to_owned(),
            there: crate::config::listed(&there()),
        })?;
        return Ok(put(saved, &Source { program: program.to_owned(), view: view.clone() }));
    }
    let entries = match serde_json::from_slice::<Exported>(file) {
        Ok(exported) => exported.entries,
        Err(first) => serde_json::from_slice::<Vec<Entry>>(file).map_err(|second| {
            let error = if file.trim_ascii_start().starts_with(b"[") { second } else { first };
            ExportError::Unknown { text: error.to_string() }
        })?,
    };
    let mut told = Restored {
        program: program.to_owned(),
        map: view.name().to_owned(),
        entries: 0,
        left_behind: 0,
        detail: Vec::new(),
    };
    // All is looked at before anything is changed.
    let pairs = entries
        .iter()
        .enumerate()
        .map(|(at, entry)| values(view, entry).map_err(|text| ExportError::Entry { number: at + 1, text }));
    for (key, values) in pairs.collect::<Result<Vec<_>, _>>()? {
        match view.map().control().update_percpu(&key, &values, 0) {
            Ok(()) => told.entries += 1,
            Err(errno) => {
                if told.left_behind == 0 {
                    told.detail.push(errno.to_string());
                }
                told.left_behind += 1;
            }
        }
    }
    Ok(told)
}

/// Key and values of an entry in bytes, as many values as the map has workers.
fn values(view: &MapView, entry: &Entry) -> Result<(Vec<u8>, Vec<Vec<u8>>), String> {
    let spec = view.map().spec();
    let measured = |what: &str, bytes: &[u8], size: u32| match bytes.len() == size as usize {
        true => Ok(bytes.to_vec()),
        false => Err(format!("{what} has {} bytes, and the map's have {size}", bytes.len())),
    };
    let key = measured("its key", &entry.key.0, spec.key_size)?;
    let count = if spec.kind.is_percpu() { view.map().cpus() } else { 1 };
    let values = match (&entry.value, &entry.values) {
        (Some(value), _) => vec![measured("its value", &value.0, spec.value_size)?; count],
        (None, Some(each)) => {
            let each = each.iter().map(|cpu| measured("its value", &cpu.value.0, spec.value_size));
            let mut each = each.collect::<Result<Vec<_>, _>>()?;
            if each.is_empty() {
                return Err("it has no value".to_owned());
            }
            each.resize(count, vec![0; spec.value_size as usize]);
            each
        }
        (None, None) => return Err("it has no value".to_owned()),
    };
    Ok((key, values))
}
