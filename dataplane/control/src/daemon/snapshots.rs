//! Maps that outlive the process: read back at the start, written now and then.

use std::sync::{Arc, Weak};
use std::time::Duration;

use weir_engine::config::Daemon;
use weir_engine::live::{Live, What};
use weir_engine::mapview::MapView;
use weir_engine::snapshot::{Keeper, Kept, Newest, Outcome, Source, Store, restore};

use super::{RunError, system};

/// The maps of what runs.
fn sources(live: &Live) -> Kept {
    let current = live.current();
    let source = |(program, image, map): (&str, &weir_engine::Image, &Arc<weir_maps::Map>)| Source {
        program: program.to_owned(),
        view: MapView::of(map, &image.object),
    };
    Kept { generation: current.number, sources: current.maps().map(source).collect() }
}

/// Opens the folder for snapshots, if there is one.
pub(super) fn open(daemon: &Daemon) -> Result<Option<(Store, Newest)>, RunError> {
    let Some(folder) = &daemon.state_dir else { return Ok(None) };
    let store = Store::open(folder);
    let error = |error: weir_engine::snapshot::StoreError| std::io::Error::other(error.to_string());
    store.map(Some).map_err(error).map_err(system(folder.display().to_string()))
}

/// Puts the newest snapshot into the maps, and goes on writing them.
pub(super) fn keep(
    store: Option<(Store, Newest)>,
    live: &Arc<Live>,
    every: Duration,
) -> Result<Option<Keeper>, RunError> {
    let Some((store, newest)) = store else { return Ok(None) };
    for torn in &newest.torn {
        tracing::warn!("{torn}");
    }
    if let Some((file, snapshot)) = &newest.snapshot {
        for restored in restore(snapshot, &sources(live).sources) {
            tracing::info!(file = %file.display(), "{restored}");
        }
    }
    let (named, told): (Weak<Live>, Weak<Live>) = (Arc::downgrade(live), Arc::downgrade(live));
    let what = move || named.upgrade().map(|live| sources(&live)).unwrap_or_default();
    let tell = move |outcome: Outcome| {
        let Some(live) = told.upgrade() else { return };
        match outcome {
            Outcome::Written(written) => {
                let generation = live.current().number;
                live.tell(What::Snapshot { generation, maps: written.maps, bytes: written.bytes });
            }
            Outcome::Failed(error) => {
                tracing::error!(%error, "maps could not be written");
                live.tell(What::SnapshotFailed { reason: error.to_string() });
            }
        }
    };
    Keeper::start(store, every, what, tell).map(Some).map_err(system("a thread for snapshots"))
}
