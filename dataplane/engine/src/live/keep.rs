//! The maps of whatever runs, kept on disk: read back before the first worker starts, written now and then
//! beside the workers, and once more when they have ended.

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::current::Current;
use super::event::What;
use super::start::StartError;
use super::stats::SnapshotStats;
use super::{Engine, lock};
use crate::mapview::MapView;
use crate::snapshot::{Keeper, Kept, Outcome, Restored, Source, Store, restore};

/// What the maps began with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Restoration {
    /// The snapshot they came from; `None` when there was none, or none is kept.
    pub file: Option<PathBuf>,
    /// What came of each map.
    pub maps: Vec<Restored>,
    /// Files that were refused, and where entries went that could not come back, a sentence each.
    pub notes: Vec<String>,
}

impl Restoration {
    /// Entries that are back.
    pub fn entries(&self) -> usize {
        self.maps.iter().map(|map| map.entries).sum()
    }

    /// In a few words; empty when nothing was there.
    pub(super) fn words(&self) -> String {
        match &self.file {
            None => String::new(),
            Some(file) => format!(", {} entries of maps from {}", self.entries(), file.display()),
        }
    }
}

/// The maps that are kept: all but those that end with their generation.
fn sources(current: &Current) -> Vec<Source> {
    let own = |id| current.own.iter().any(|map| map.id() == id);
    let kept = current.maps().filter(|(_, _, map)| !own(map.id()));
    let source = |program: &str, view| Source { program: program.to_owned(), view };
    kept.map(|(program, image, map)| source(program, MapView::of(map, &image.object))).collect()
}

/// Opens the folder of snapshots, if the configuration has one, and puts the newest whole one into the maps.
pub(super) fn read_back(current: &Current) -> Result<(Option<Store>, Restoration), StartError> {
    let mut told = Restoration::default();
    let Some(folder) = &current.config.daemon.state_dir else { return Ok((None, told)) };
    let (store, newest) = Store::open(&current.config.resolve(folder))?;
    told.notes.extend(newest.torn.iter().map(|torn| format!("a snapshot is refused: {torn}")));
    if let Some((file, snapshot)) = newest.snapshot {
        told.maps = restore(&snapshot, &sources(current));
        let lost = told.maps.iter().filter(|map| map.left_behind > 0);
        told.notes.extend(lost.map(|map| format!("a map did not come back whole: {map}")));
        if told.maps.iter().any(|map| map.left_behind > 0) {
            told.notes.push(match store.set_aside(&file) {
                Ok(aside) => format!("the snapshot as it was is {}", aside.display()),
                Err(error) => format!("the snapshot could not be set aside: {error}"),
            });
        }
        told.file = Some(file);
    }
    Ok((Some(store), told))
}

/// Starts the thread that writes.
pub(super) fn begin(engine: &Arc<Engine>, store: Store) -> std::io::Result<Keeper> {
    let every = engine.current().config.daemon.snapshot_every.0.max(Duration::from_millis(10));
    let (seen, tells) = (Arc::downgrade(engine), Arc::downgrade(engine));
    let what = move || {
        let current = seen.upgrade()?.current();
        Some(Kept { generation: current.number, sources: sources(&current) })
    };
    Keeper::start(store, every, what, move |outcome| tell(&tells, outcome))
}

fn tell(engine: &Weak<Engine>, outcome: Outcome) {
    let Some(engine) = engine.upgrade() else { return };
    let mut stats = lock(&engine.snapshots);
    match outcome {
        Outcome::Written(written) => {
            *stats = SnapshotStats {
                written: stats.written + 1,
                failed: stats.failed,
                sequence: written.sequence,
                maps: written.maps,
                entries: written.entries,
                bytes: written.bytes,
                last_seconds: written.took.as_secs_f64(),
            };
            let (generation, maps, bytes) = (written.generation, written.maps, written.bytes);
            engine.events.tell(What::Snapshot { generation, maps, bytes });
        }
        Outcome::Failed(error) => {
            stats.failed += 1;
            engine.events.tell(What::SnapshotFailed { reason: error.to_string() });
        }
    }
}
