//! Disks in memory that fill up, tear and break, and what a store makes of it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;

/// What the next operation does.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Fault {
    #[default]
    None,
    Full,
    ShortWrite,
    RenameFails,
}

#[derive(Debug, Default)]
struct Inside {
    files: BTreeMap<PathBuf, Vec<u8>>,
    fault: Fault,
}

/// A disk in memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory(Arc<Mutex<Inside>>);

impl Memory {
    fn set(&self, fault: Fault) {
        self.0.lock().unwrap().fault = fault;
    }

    fn files(&self) -> Vec<PathBuf> {
        self.0.lock().unwrap().files.keys().cloned().collect()
    }

    fn damage(&self, file: &str, at: usize) {
        self.0.lock().unwrap().files.get_mut(Path::new(file)).unwrap()[at] ^= 0x10;
    }
}

impl Disk for Memory {
    fn write(&self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        let Inside { files, fault } = &mut *self.0.lock().unwrap();
        match fault {
            Fault::Full => Err(io::Error::from(io::ErrorKind::StorageFull)),
            Fault::ShortWrite => {
                files.insert(file.to_owned(), bytes[..bytes.len() / 2].to_vec());
                Err(io::Error::from(io::ErrorKind::WriteZero))
            }
            Fault::None | Fault::RenameFails => {
                files.insert(file.to_owned(), bytes.to_vec());
                Ok(())
            }
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let Inside { files, fault } = &mut *self.0.lock().unwrap();
        if *fault == Fault::RenameFails {
            return Err(io::Error::from(io::ErrorKind::PermissionDenied));
        }
        let bytes = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), bytes);
        Ok(())
    }

    fn read(&self, file: &Path) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.lock().unwrap().files.get(file).cloned())
    }

    fn remove(&self, file: &Path) -> io::Result<()> {
        self.0.lock().unwrap().files.remove(file);
        Ok(())
    }
}

fn newest(memory: &Memory) -> Newest {
    Store::on(Path::new(""), Box::new(memory.clone())).1
}

#[test]
fn two_files_take_turns_and_the_newest_whole_one_counts() {
    let memory = Memory::default();
    let (mut store, _) = Store::on(Path::new(""), Box::new(memory.clone()));
    let source = typed("conns", MapKind::Hash, &["n"], 1);
    for n in 1..=3 {
        put(&source, 0, &[n]);
        store.write(1, std::slice::from_ref(&source)).unwrap().unwrap();
    }
    assert_eq!(memory.files(), [PathBuf::from("maps.0"), PathBuf::from("maps.1")]);
    let (file, snapshot) = newest(&memory).snapshot.unwrap();
    assert_eq!((file, snapshot.sequence), ("maps.0".into(), 3));
    memory.damage("maps.0", 200);
    let found = newest(&memory);
    assert_eq!(found.snapshot.unwrap().1.sequence, 2, "the one before is used");
    let torn = found.torn[0].to_string();
    assert!(torn.starts_with("maps.0: byte 52: the checksum of the contents is 0x"), "{torn}");
    // The next one replaces the torn file, not the good one.
    let (mut store, _) = Store::on(Path::new(""), Box::new(memory.clone()));
    put(&source, 0, &[9]);
    let written = store.write(1, std::slice::from_ref(&source)).unwrap().unwrap();
    assert_eq!((written.file, written.sequence), ("maps.0".into(), 3));
    memory.damage("maps.0", 3);
    memory.damage("maps.1", 3);
    let found = newest(&memory);
    assert!(found.snapshot.is_none());
    assert_eq!(found.torn.len(), 2);
}

#[test]
fn a_full_disk_a_short_write_and_a_refused_rename_leave_the_one_before() {
    let memory = Memory::default();
    let (mut store, _) = Store::on(Path::new(""), Box::new(memory.clone()));
    let source = typed("conns", MapKind::Hash, &["n"], 1);
    put(&source, 0, &[1]);
    store.write(1, std::slice::from_ref(&source)).unwrap().unwrap();
    for (fault, text) in [
        (Fault::Full, "maps.1.new: it cannot be written: "),
        (Fault::ShortWrite, "maps.1.new: it cannot be written: "),
        (Fault::RenameFails, "maps.1: it cannot be put in place: "),
    ] {
        memory.set(fault);
        put(&source, 0, &[fault as u64 + 10]);
        let error = store.write(1, std::slice::from_ref(&source)).unwrap_err().to_string();
        assert!(error.starts_with(text), "{error}");
        assert_eq!(newest(&memory).snapshot.unwrap().1.sequence, 1);
        assert!(newest(&memory).torn.is_empty());
    }
    memory.set(Fault::None);
    store.write(1, std::slice::from_ref(&source)).unwrap().unwrap();
    assert_eq!(newest(&memory).snapshot.unwrap().1.sequence, 2, "when there is room again it goes on");
    assert_eq!(memory.files(), [PathBuf::from("maps.0"), PathBuf::from("maps.1")]);
}

#[test]
fn a_keeper_tells_and_counts_failures_and_is_never_fatal() {
    let memory = Memory::default();
    let (store, _) = Store::on(Path::new(""), Box::new(memory.clone()));
    let source = typed("conns", MapKind::Hash, &["n"], 1);
    put(&source, 0, &[1]);
    let (send, told) = crossbeam_channel::unbounded();
    let sources = vec![source.clone()];
    let what = move || Some(Kept { generation: 4, sources: sources.clone() });
    let keeper = Keeper::start(store, Duration::from_millis(2), what, move |outcome| {
        let _ = send.send(outcome);
    });
    let keeper = keeper.unwrap();
    let limit = Duration::from_secs(5);
    assert!(matches!(told.recv_timeout(limit), Ok(Outcome::Written(written)) if written.sequence == 1));
    memory.set(Fault::Full);
    put(&source, 0, &[2]);
    assert!(matches!(told.recv_timeout(limit), Ok(Outcome::Failed(_))));
    assert!(keeper.now(limit).unwrap_err().contains("maps.1.new: it cannot be written"));
    assert!(keeper.failures() > 0);
    memory.set(Fault::None);
    put(&source, 0, &[3]);
    assert!(keeper.end(limit));
    let snapshot = newest(&memory).snapshot.unwrap().1;
    assert_eq!(snapshot.generation, 4);
    let back = typed("conns", MapKind::Hash, &["n"], 1);
    restore(&snapshot, std::slice::from_ref(&back));
    assert_eq!(get(&back, 0), Some(vec![3]), "the last word before the end is kept");
}

#[test]
fn two_weirs_do_not_share_a_folder() {
    let folder = Folder::new("lock");
    let (store, _) = Store::open(&folder.0).unwrap();
    let error = Store::open(&folder.0).unwrap_err().to_string();
    assert!(error.ends_with("another weir keeps its maps here; give each its own state_dir"), "{error}");
    drop(store);
    assert!(Store::open(&folder.0).is_ok());
}

#[test]
fn a_link_in_the_way_is_not_followed() {
    let folder = Folder::new("link");
    let (mut store, _) = Store::open(&folder.0).unwrap();
    let outside = folder.0.join("outside");
    std::fs::write(&outside, b"precious").unwrap();
    std::os::unix::fs::symlink(&outside, folder.0.join("maps.0.new")).unwrap();
    let source = typed("conns", MapKind::Hash, &["n"], 1);
    store.write(1, &[source]).unwrap().unwrap();
    assert_eq!(std::fs::read(&outside).unwrap(), b"precious");
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(folder.0.join("maps.0")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
