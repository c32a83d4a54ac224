//! Two files that take turns, and what may go wrong with a disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use thiserror::Error;

use super::Source;
use super::format::{Contents, Snapshot, Torn};
use crate::mapview::ViewError;

/// Names of the two files.
const NAMES: [&str; 2] = ["maps.0", "maps.1"];
/// Held by the weir that writes here.
const LOCK: &str = "lock";

/// What a store needs of a disk. Tests put a full or a broken one in its place.
pub trait Disk: Send {
    /// Writes a new file, readable by its owner alone, and waits until the disk has it.
    fn write(&self, file: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Gives a file another name, over what has it now, and waits until the folder says so.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// All bytes of a file; `None` when there is none.
    fn read(&self, file: &Path) -> io::Result<Option<Vec<u8>>>;
    /// Takes a file away, if it is there.
    fn remove(&self, file: &Path) -> io::Result<()>;
}

/// The disk of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Files;

impl Disk for Files {
    fn write(&self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        self.remove(file)?;
        // Never through a link that somebody put there: the file must be new.
        let mut opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
        opened.write_all(bytes)?;
        opened.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)?;
        let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }

    fn read(&self, file: &Path) -> io::Result<Option<Vec<u8>>> {
        match std::fs::read(file) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn remove(&self, file: &Path) -> io::Result<()> {
        match std::fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Why there is no snapshot now. The one before is still there.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The folder cannot be used.
    #[error("{}: {source}", folder.display())]
    Folder {
        /// Which.
        folder: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another weir writes there.
    #[error("{}: another weir keeps its maps here; give each its own state_dir", folder.display())]
    Taken {
        /// Which folder.
        folder: PathBuf,
    },
    /// A map cannot be read.
    #[error(transparent)]
    Map(#[from] ViewError),
    /// A file cannot be written.
    #[error("{}: {verb}: {source}", file.display())]
    Write {
        /// Which.
        file: PathBuf,
        /// At what.
        verb: &'static str,
        /// What the kernel answers.
        source: io::Error,
    },
}

/// A snapshot that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Where.
    pub file: PathBuf,
    /// The generation whose maps these are.
    pub generation: u64,
    /// Its number.
    pub sequence: u64,
    /// Maps in it.
    pub maps: usize,
    /// Entries of them all.
    pub entries: usize,
    /// Bytes of the file.
    pub bytes: u64,
    /// How long it took, from the first map read to the folder synced.
    pub took: Duration,
}

/// What was found at the start.
#[derive(Debug, Default)]
pub struct Newest {
    /// The newest whole snapshot and its file.
    pub snapshot: Option<(PathBuf, Snapshot)>,
    /// Files that were refused, each with what is wrong with it.
    pub torn: Vec<Torn>,
}

/// A folder of snapshots.
pub struct Store {
    folder: PathBuf,
    disk: Box<dyn Disk>,
    /// The file that holds the newest whole one.
    newest: Option<usize>,
    sequence: u64,
    /// What the newest one holds.
    mark: Option<(u64, (usize, u32, u32))>,
    /// Open as long as the store is; its lock keeps others away.
    _lock: Option<File>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("folder", &self.folder).field("sequence", &self.sequence).finish()
    }
}

impl Store {
    /// Opens a folder, which is made if it is not there, and finds the newest whole snapshot in it.
    pub fn open(folder: &Path) -> Result<(Store, Newest), StoreError> {
        let failed = |source| StoreError::Folder { folder: folder.to_owned(), source };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        let mut options = OpenOptions::new();
        let lock = options.write(true).create(true).truncate(false).mode(0o600).open(folder.join(LOCK));
        let lock = lock.map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err(StoreError::Taken { folder: folder.to_owned() });
            }
            Err(std::fs::TryLockError::Error(source)) => return Err(failed(source)),
        }
        let (mut store, newest) = Store::on(folder, Box::new(Files));
        store._lock = Some(lock);
        Ok((store, newest))
    }

    /// The same on any disk, without a lock.
    pub fn on(folder: &Path, disk: Box<dyn Disk>) -> (Store, Newest) {
        let folder = folder.to_owned();
        let mut store = Store { folder, disk, newest: None, sequence: 0, mark: None, _lock: None };
        let newest = store.reread();
        (store, newest)
    }

    /// Looks at both files again, and goes on from the newest whole one.
    pub fn reread(&mut self) -> Newest {
        let mut newest = Newest::default();
        self.newest = None;
        self.sequence = 0;
        for (slot, name) in NAMES.iter().enumerate() {
            let file = self.folder.join(name);
            match self.look(&file) {
                Ok(Some(snapshot)) if self.newest.is_none() || snapshot.sequence > self.sequence => {
                    self.newest = Some(slot);
                    self.sequence = snapshot.sequence;
                    newest.snapshot = Some((file, snapshot));
                }
                Ok(_) => {}
                Err(torn) => newest.torn.push(torn),
            }
        }
        newest
    }

    fn look(&self, file: &Path) -> Result<Option<Snapshot>, Torn> {
        let bytes = self.disk.read(file).map_err(|error| Torn {
            file: file.to_owned(),
            offset: 0,
            what: format!("it cannot be read: {error}"),
        })?;
        let parsed = bytes.map(|bytes| Snapshot::parse(&bytes)).transpose();
        parsed.map_err(|torn| Torn { file: file.to_owned(), ..torn })
    }

    /// Keeps a copy of a snapshot out of turn, so that entries which did not come back can still be imported.
    pub fn set_aside(&self, file: &Path) -> io::Result<PathBuf> {
        let bytes = self.disk.read(file)?.ok_or(io::ErrorKind::NotFound)?;
        let (beside, aside) = (self.folder.join("maps.aside.new"), self.folder.join("maps.aside"));
        self.disk.write(&beside, &bytes)?;
        self.disk.rename(&beside, &aside)?;
        Ok(aside)
    }

    /// Writes the maps of a generation. `None` when the newest snapshot holds exactly this already.
    pub fn write(&mut self, generation: u64, sources: &[Source]) -> Result<Option<Written>, StoreError> {
        let began = Instant::now();
        let kept: Vec<Source> = sources.iter().filter(|source| source.is_kept()).cloned().collect();
        let contents = Contents::read(&kept)?;
        let mark = Some((generation, contents.mark()));
        if self.mark == mark {
            return Ok(None);
        }
        let (maps, entries, sequence) = (contents.maps(), contents.entries(), self.sequence + 1);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let bytes = contents.finish(generation, sequence, now.as_nanos() as u64);
        let slot = self.newest.map_or(0, |newest| 1 - newest);
        let file = self.put(slot, &bytes)?;
        (self.newest, self.sequence, self.mark) = (Some(slot), sequence, mark);
        let bytes = bytes.len() as u64;
        Ok(Some(Written { file, generation, sequence, maps, entries, bytes, took: began.elapsed() }))
    }

    /// What a file holds, for tests.
    #[cfg(test)]
    pub(super) fn bytes(&self, slot: usize) -> Vec<u8> {
        self.disk.read(&self.folder.join(NAMES[slot])).unwrap().unwrap()
    }

    /// Beside, synced, renamed, and the folder synced. Before the rename the slot holds what it held.
    fn put(&self, slot: usize, bytes: &[u8]) -> Result<PathBuf, StoreError> {
        let file = self.folder.join(NAMES[slot]);
        let beside = self.folder.join(format!("{}.new", NAMES[slot]));
        let failed = |file: &Path, verb| {
            let file = file.to_owned();
            move |source| StoreError::Write { file, verb, source }
        };
        if let Err(source) = self.disk.write(&beside, bytes) {
            // Half a file is of use to nobody, and its room may be needed.
            let _ = self.disk.remove(&beside);
            return Err(failed(&beside, "it cannot be written")(source));
        }
        self.disk.rename(&beside, &file).map_err(failed(&file, "it cannot be put in place"))?;
        Ok(file)
    }
}
