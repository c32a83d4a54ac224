//! Who changed what, and who was refused: one line each.

use std::fs::File;
use std::io::Write;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use serde::Serialize;

use weir_sys::priority::Preference;

use super::peer::Peer;
use crate::urgency::share;

/// The target of audit lines in the log.
pub const TARGET: &str = "weir::audit";
/// Lines that may wait for the disk.
const WAITING: usize = 1024;

/// What a line says.
#[derive(Clone, Debug, Serialize)]
pub struct Line<'l> {
    /// When, RFC 3339.
    pub at: String,
    /// Number of the request.
    pub request: &'l str,
    /// Who.
    pub uid: u32,
    /// Their first group.
    pub gid: u32,
    /// Their process.
    pub pid: Option<i32>,
    /// What, by the table's name; empty for what is no action.
    pub action: &'l str,
    /// On what.
    pub path: &'l str,
    /// How it ended: an HTTP status.
    pub status: u16,
    /// The problem's code, if there was one.
    pub code: &'l str,
    /// How long it took.
    pub seconds: f64,
}

/// Where audit lines go: the log, and a file if there is one.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    file: Option<SyncSender<String>>,
}

impl Audit {
    /// Writes to the log alone.
    pub fn log() -> Self {
        Self::default()
    }

    /// Writes to the log, and to a file by a thread of its own, so that a slow disk delays nobody.
    pub fn file(mut file: File) -> std::io::Result<Self> {
        let (sender, lines) = sync_channel::<String>(WAITING);
        std::thread::Builder::new().name("weir-audit".to_owned()).spawn(move || {
            share(Preference::USUAL);
            for line in lines {
                if let Err(error) = file.write_all(line.as_bytes()) {
                    tracing::error!(target: TARGET, %error, "the audit file cannot be written");
                }
            }
        })?;
        Ok(Self { file: Some(sender) })
    }

    /// Writes a line.
    pub fn write(&self, line: &Line<'_>) {
        tracing::info!(
            target: TARGET,
            request = line.request,
            uid = line.uid,
            gid = line.gid,
            pid = line.pid,
            action = line.action,
            path = line.path,
            status = line.status,
            code = line.code,
            seconds = line.seconds,
        );
        let Some(file) = &self.file else { return };
        let text = serde_json::to_string(line).unwrap_or_default() + "\n";
        if file.try_send(text).is_err() {
            tracing::error!(target: TARGET, request = line.request, "the audit file is too slow: a line is lost");
        }
    }
}

/// A line of what a peer did.
pub(super) fn line<'l>(
    peer: &Peer,
    request: &'l str,
    action: &'l str,
    path: &'l str,
    took: Duration,
) -> Line<'l> {
    Line {
        at: crate::reply::now(),
        request,
        uid: peer.uid,
        gid: peer.gid,
        pid: peer.pid,
        action,
        path,
        status: 0,
        code: "",
        seconds: took.as_secs_f64(),
    }
}
