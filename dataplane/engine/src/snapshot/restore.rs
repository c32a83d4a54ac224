//! From a snapshot back into maps, before any worker uses them.

use std::fmt;

use serde::Serialize;

use super::{SavedMap, Snapshot, Source};
use crate::migrate::{Conversion, Layout, Planned, place_entry, plan};

/// What came of one map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// The program it is of.
    pub program: String,
    /// Its name.
    pub map: String,
    /// Entries that are back.
    pub entries: usize,
    /// Entries that did not come back: the map is gone or of another kind or key, has no room, or its new
    /// type cannot hold a number.
    pub left_behind: usize,
    /// What changed on the way, or why nothing came back, a phrase each.
    pub detail: Vec<String>,
}

impl fmt::Display for Restored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} restored {}", self.program, self.map, self.entries)?;
        if self.left_behind > 0 {
            write!(f, ", {} LEFT BEHIND", self.left_behind)?;
        }
        if !self.detail.is_empty() {
            write!(f, " ({})", self.detail.join(", "))?;
        }
        Ok(())
    }
}

/// Puts what a snapshot holds into the maps of a generation that does not run yet. Answers for each map
/// that is kept; those that the snapshot knows and the generation does not have come last, with no entries.
pub fn restore(snapshot: &Snapshot, into: &[Source]) -> Vec<Restored> {
    let same = |saved: &SavedMap, source: &Source| {
        saved.program() == source.program && saved.layout().map == source.view.name()
    };
    let kept: Vec<&Source> = into.iter().filter(|source| source.is_kept()).collect();
    let mut told = Vec::new();
    for source in &kept {
        // Maps of one name in another program would be somebody else's state.
        match snapshot.maps.iter().find(|saved| same(saved, source)) {
            Some(saved) => told.push(put(saved, source)),
            None => told.push(nothing(&source.program, source.view.name(), 0, "not in the snapshot")),
        }
    }
    for saved in snapshot.maps.iter().filter(|saved| !kept.iter().any(|source| same(saved, source))) {
        let why = "it is no longer there, or no longer kept";
        told.push(nothing(saved.program(), &saved.layout().map, saved.len(), why));
    }
    told
}

fn nothing(program: &str, map: &str, left_behind: usize, why: &str) -> Restored {
    let (program, map) = (program.to_owned(), map.to_owned());
    Restored { program, map, entries: 0, left_behind, detail: vec![why.to_owned()] }
}

/// Puts the entries of a saved map into a live one, by the names of members where the types differ.
pub(super) fn put(saved: &SavedMap, source: &Source) -> Restored {
    let map = source.view.map();
    let layout = Layout::of(map.spec(), source.view.types());
    let (conversion, mut detail) = match plan(saved.layout(), &layout, false) {
        Planned::Kept => (Conversion::same(layout.value_size as usize), Vec::new()),
        Planned::Migrated { conversion, detail } => (conversion, detail),
        Planned::Scratch => return nothing(&source.program, source.view.name(), 0, "it starts empty"),
        Planned::Refused { why } => {
            return nothing(&source.program, source.view.name(), saved.len(), &why);
        }
    };
    if map.spec().kind.is_percpu() && saved.cpus() > map.cpus() {
        detail.push(format!("values of {} workers, and there are {}", saved.cpus(), map.cpus()));
    }
    let (mut entries, mut left_behind) = (0, 0);
    for (key, values) in saved.entries() {
        match place_entry(map, &conversion, key, values, saved.cpus()) {
            Ok(()) => entries += 1,
            Err(error) => {
                if left_behind == 0 {
                    detail.push(error.to_string());
                }
                left_behind += 1;
            }
        }
    }
    Restored {
        program: source.program.clone(),
        map: source.view.name().to_owned(),
        entries,
        left_behind,
        detail,
    }
}
