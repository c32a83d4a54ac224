//! Carrying a map's entries over to its successor while programs use both.
//!
//! ```text
//!   old generation writes old ─────────────┐ edge of each worker
//!                bulk │ catch up │ publish │ quiescent │ settle
//!                                          └───────────── new generation writes new
//! ```
//!
//! Until the new generation is published nobody but us writes the new map, so [`Migration::start`] and
//! [`Migration::catch_up`] simply make it equal to the old one. Once every worker has left the old
//! generation nobody writes the old map, and [`Migration::settle`] brings over what changed since the last
//! look. A member that both generations wrote in between is a conflict: the new one's word stands, and the
//! conflict is counted. The window is as long as the last catching up plus the wait for the workers.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use weir_ebpf::abi::Errno;
use weir_ebpf::abi::map_kind::update_flags;
use weir_maps::Map;

use super::{Conversion, Unfit};

/// Keys read under one lock.
const STEP: usize = 64;
/// Rounds of catching up before the swap; each is shorter than the one before.
const ROUNDS_MAX: usize = 4;
/// A round with no more changes than this is the last.
const FEW: usize = 64;

/// Why a map's entries cannot be carried over. Nothing that runs has been touched.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MigrateError {
    /// A value does not fit its new type.
    #[error("map {map}, key {key}: {unfit}", key = hex(key))]
    Unfit {
        /// The map's name.
        map: String,
        /// The entry's key.
        key: Vec<u8>,
        /// Which member holds what.
        unfit: Unfit,
    },
    /// The new map does not take an entry.
    #[error("map {map}, key {key}: the new map does not take it: {errno}", key = hex(key))]
    Refused {
        /// The map's name.
        map: String,
        /// The entry's key.
        key: Vec<u8>,
        /// What it answers.
        errno: Errno,
    },
    /// The old map cannot be read.
    #[error("map {map} cannot be read: {errno}")]
    Unread {
        /// The map's name.
        map: String,
        /// What it answers.
        errno: Errno,
    },
}

fn hex(key: &[u8]) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

/// What came of carrying a map over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// The map's name.
    pub map: String,
    /// Entries carried over.
    pub migrated: usize,
    /// Entries that changed, came or went between the first copy and the swap.
    pub followed: usize,
    /// Entries of which both generations wrote the same member in between; the new one's word stands.
    pub conflicts: usize,
    /// Entries that changed in between to what the new type cannot hold, or for which there is no room.
    pub left_behind: usize,
}

impl fmt::Display for Settled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} migrated {}", self.map, self.migrated)?;
        if self.followed > 0 {
            write!(f, ", {} changed meanwhile", self.followed)?;
        }
        if self.conflicts > 0 {
            write!(f, ", {} written by both generations", self.conflicts)?;
        }
        if self.left_behind > 0 {
            write!(f, ", {} LEFT BEHIND", self.left_behind)?;
        }
        Ok(())
    }
}

/// A map's entries on their way.
#[derive(Debug)]
pub struct Migration {
    old: Arc<Map>,
    new: Arc<Map>,
    conversion: Conversion,
    /// What the old map held at the last look.
    seen: HashMap<Vec<u8>, Vec<u8>>,
    settled: Settled,
}

impl Migration {
    /// Copies every entry, and catches up until little changes between two looks. The new map is empty (or
    /// holds what its object puts there) and no worker uses it yet.
    pub fn start(old: Arc<Map>, new: Arc<Map>, conversion: Conversion) -> Result<Migration, MigrateError> {
        let settled = Settled { map: new.spec().name.clone(), ..Settled::default() };
        let mut migration = Migration { old, new, conversion, seen: HashMap::new(), settled };
        migration.pass(false)?;
        migration.settled.migrated = migration.seen.len();
        migration.settled.followed = 0;
        for _ in 0..ROUNDS_MAX {
            if migration.catch_up()? <= FEW {
                break;
            }
        }
        Ok(migration)
    }

    /// Brings over what changed since the last look; answers how many entries. To be called again right
    /// before the swap when time has passed since [`start`](Self::start).
    pub fn catch_up(&mut self) -> Result<usize, MigrateError> {
        let before = self.settled.followed;
        self.pass(false)?;
        Ok(self.settled.followed - before)
    }

    /// The last look, when no worker uses the old map any more but all may use the new one.
    pub fn settle(mut self) -> Settled {
        // In this mode a value that does not fit is counted and not an error; an old map that could be read
        // a moment ago can be read now.
        let _ = self.pass(true);
        self.settled
    }

    /// Looks at every entry of the old map. `shared` says that programs use the new one already.
    fn pass(&mut self, shared: bool) -> Result<(), MigrateError> {
        let mut before = std::mem::take(&mut self.seen);
        let old = Arc::clone(&self.old);
        let mut last: Option<Vec<u8>> = None;
        loop {
            let unread = |errno| MigrateError::Unread { map: self.settled.map.clone(), errno };
            let keys = old.control().keys_after(last.as_deref(), STEP).map_err(unread)?;
            let Some(end) = keys.last().cloned() else { break };
            last = Some(end);
            for key in keys {
                let Ok(values) = old.control().entry(&key) else { continue };
                let then = before.remove(&key);
                if then.as_ref() != Some(&values) {
                    self.settled.followed += 1;
                    self.bring(&key, then.as_deref(), &values, shared)?;
                }
                self.seen.insert(key, values);
            }
        }
        for (key, then) in before {
            self.settled.followed += 1;
            self.take_out(&key, &then, shared);
        }
        Ok(())
    }

    fn convert(&self, key: &[u8], values: &[u8]) -> Result<Vec<u8>, MigrateError> {
        let cpus = (self.old.cpus(), self.new.cpus());
        let (old, new) = (self.old.spec(), self.new.spec());
        convert_all(
            &self.conversion,
            values,
            old.kind.is_percpu().then_some(cpus.0),
            new.kind.is_percpu().then_some(cpus.1),
        )
        .map_err(|unfit| MigrateError::Unfit {
            map: self.settled.map.clone(),
            key: key.to_vec(),
            unfit,
        })
    }

    /// Puts an entry that came or changed into the new map.
    fn bring(
        &mut self,
        key: &[u8],
        then: Option<&[u8]>,
        values: &[u8],
        shared: bool,
    ) -> Result<(), MigrateError> {
        let converted = self.convert(key, values);
        if !shared {
            return self.put(key, &converted?, update_flags::ANY);
        }
        let Ok(wanted) = converted else {
            self.settled.left_behind += 1;
            return Ok(());
        };
        let then = then.and_then(|then| self.convert(key, then).ok());
        let there = self.new.control().entry(key).ok();
        let put = match (then, there) {
            (None, None) => self.put(key, &wanted, update_flags::NOEXIST),
            // Brought over, and taken out again there (or pushed out, by an LRU kind).
            (Some(_), None) => {
                self.settled.conflicts += 1;
                return Ok(());
            }
            // It came here and there: whoever writes the new map knows better.
            (None, Some(there)) => {
                self.settled.conflicts += usize::from(there != wanted);
                return Ok(());
            }
            (Some(then), Some(there)) => {
                let (merged, conflict) = merge(&then, &wanted, &there);
                self.settled.conflicts += usize::from(conflict);
                if merged == there { Ok(()) } else { self.put(key, &merged, update_flags::EXIST) }
            }
        };
        self.settled.left_behind += usize::from(put.is_err());
        Ok(())
    }

    fn put(&self, key: &[u8], values: &[u8], flags: u64) -> Result<(), MigrateError> {
        let put = self.new.control().update(key, values, flags);
        put.map_err(|errno| MigrateError::Refused { map: self.settled.map.clone(), key: key.to_vec(), errno })
    }

    /// Takes an entry out of the new map that the old generation deleted, unless the new one wrote it.
    fn take_out(&mut self, key: &[u8], then: &[u8], shared: bool) {
        let control = self.new.control();
        let untouched = || {
            let then = self.convert(key, then).ok();
            control.entry(key).ok().is_none_or(|there| Some(there) == then)
        };
        if shared && !untouched() {
            self.settled.conflicts += 1;
        } else {
            // It may be gone already.
            let _ = control.delete(key);
        }
    }
}

/// All workers' values of an entry converted. Without a number of workers there is one value for all. Where
/// there are more workers now, theirs begin as zero; where there are fewer, what does not fit is left out.
fn convert_all(
    conversion: &Conversion,
    values: &[u8],
    old_cpus: Option<usize>,
    new_cpus: Option<usize>,
) -> Result<Vec<u8>, Unfit> {
    let (Some(old_cpus), Some(new_cpus)) = (old_cpus, new_cpus) else {
        return conversion.convert(values);
    };
    let (from, to) = conversion.sizes();
    let (from, to) = (from.next_multiple_of(8), to.next_multiple_of(8));
    let mut all = vec![0; to * new_cpus];
    let each = values.chunks(from.max(1)).take(old_cpus);
    for (value, room) in each.zip(all.chunks_mut(to.max(1))) {
        let converted = conversion.convert(value)?;
        if let Some(room) = room.get_mut(..converted.len()) {
            room.copy_from_slice(&converted);
        }
    }
    Ok(all)
}

/// Three-way, by aligned words of 8 bytes: what only one side changed is that side's; what both changed is
/// `there`'s. Answers the value and whether there was such a word.
fn merge(then: &[u8], wanted: &[u8], there: &[u8]) -> (Vec<u8>, bool) {
    let mut merged = there.to_vec();
    let mut conflict = false;
    for at in (0..there.len()).step_by(8) {
        let word = |bytes: &[u8]| bytes.get(at..bytes.len().min(at + 8)).unwrap_or_default().to_vec();
        let (then, wanted, here) = (word(then), word(wanted), word(there));
        if wanted == then || wanted == here {
            continue;
        }
        if here != then {
            conflict = true;
            continue;
        }
        if let Some(place) = merged.get_mut(at..at + wanted.len()) {
            place.copy_from_slice(&wanted);
        }
    }
    (merged, conflict)
}

/// Puts an entry that was kept elsewhere into a map that nobody uses yet. `cpus` is how many workers' values
/// it has, for per-CPU kinds.
pub fn place_entry(
    map: &Map,
    conversion: &Conversion,
    key: &[u8],
    values: &[u8],
    cpus: usize,
) -> Result<(), MigrateError> {
    let name = || map.spec().name.clone();
    let percpu = map.spec().kind.is_percpu();
    let converted = convert_all(conversion, values, percpu.then_some(cpus), percpu.then_some(map.cpus()))
        .map_err(|unfit| MigrateError::Unfit { map: name(), key: key.to_vec(), unfit })?;
    let put = map.control().update(key, &converted, update_flags::ANY);
    put.map_err(|errno| MigrateError::Refused { map: name(), key: key.to_vec(), errno })
}
