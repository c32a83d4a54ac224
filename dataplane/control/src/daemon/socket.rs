//! The control socket's file: made with care, and taken away again.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use super::RunError;
use crate::server::Door;

/// A socket that listens, and the file that it has.
#[derive(Debug)]
pub(super) struct Listening {
    listener: UnixListener,
    /// The file and its number, to be taken away at the end if it is still the same; `None`: the service manager's.
    file: Option<(PathBuf, u64)>,
}

impl Listening {
    /// The socket as the server wants it; within its runtime.
    pub(super) fn listen(&self) -> io::Result<Door> {
        Door::new(self.listener.try_clone()?)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let Some((path, number)) = &self.file else { return };
        if std::fs::symlink_metadata(path).is_ok_and(|file| file.ino() == *number) {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// The user that this process runs as.
pub(super) fn own_uid() -> u32 {
    std::fs::metadata("/proc/self").map_or(0, |process| process.uid())
}

/// The socket that the service manager opened, or one of our own: 0660, of the group if there is one.
pub(super) fn open(path: &Path, group: Option<u32>) -> Result<Listening, RunError> {
    let error = |text: String| RunError::Socket { path: path.to_owned(), text };
    let inherited = weir_sys::activation::take().map_err(|source| error(source.to_string()))?;
    if let Some(fd) = inherited.into_iter().next() {
        return Ok(Listening { listener: adopt(fd), file: None });
    }
    make_way(path).map_err(&error)?;
    let made = || -> io::Result<Listening> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder)?;
        }
        let listener = UnixListener::bind(path)?;
        let file = Some((path.to_owned(), std::fs::symlink_metadata(path)?.ino()));
        let listening = Listening { listener, file };
        if group.is_some() {
            // Without the right to do so the socket stays ours: who may use it is asked of the peer anyway.
            if let Err(error) = chown(path, None, group) {
                tracing::warn!(%error, "the socket does not belong to its group");
            }
        }
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
        Ok(listening)
    };
    made().map_err(|source| error(source.to_string()))
}

fn adopt(fd: OwnedFd) -> UnixListener {
    UnixListener::from(fd)
}

/// Takes away the socket of a daemon that died; refuses to touch anything else.
fn make_way(path: &Path) -> Result<(), String> {
    let Ok(file) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !file.file_type().is_socket() {
        return Err("there is a file here that is no socket: take it away, or take another path".to_owned());
    }
    match UnixStream::connect(path) {
        Ok(_) => Err("another weir answers here: end it first, or take another path (--sock)".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)
            .map_err(|error| format!("the socket of a dead daemon cannot be removed: {error}")),
        Err(error) => Err(format!("whether somebody answers here cannot be said: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sock");
        drop(UnixListener::bind(&path).unwrap());
        let listening = open(&path, None).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o660);
        assert!(open(&path, None).unwrap_err().to_string().contains("another weir answers here"));
        drop(listening);
        assert!(!path.exists());
        std::fs::write(&path, "precious").unwrap();
        assert!(open(&path, None).unwrap_err().to_string().contains("no socket"));
    }

    #[test]
    fn a_socket_that_somebody_else_put_there_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sock");
        let listening = open(&path, None).unwrap();
        std::fs::remove_file(&path).unwrap();
        let other = UnixListener::bind(&path).unwrap();
        // The number of a file may be used again at once; a second one makes sure that it is another.
        let same = std::fs::symlink_metadata(&path).unwrap().ino() == listening.file.as_ref().unwrap().1;
        drop(listening);
        assert!(path.exists() || same);
        drop(other);
    }
}
