//! What the server asks: whoever can do actions. The daemon's is [`crate::live`]; tests have their own.

use hyper::body::Bytes;
use serde::Serialize;

use super::feed::Fed;
use super::peer::Peer;
use crate::action::Action;
use crate::problem::{Cause, Problem};
use crate::reply;

/// Does actions.
pub trait Backend: Send + Sync + std::fmt::Debug + 'static {
    /// Does one, on a thread where it may take its time. Those of lane `Change` come one at a time.
    fn answer(&self, action: Action, peer: &Peer) -> Result<Given, Problem>;

    /// The generation in force.
    fn generation(&self) -> u64;

    /// Goes back to a generation, since a change was not confirmed.
    fn revert(&self, to: u64) -> Result<(), Problem>;
}

/// An answer.
#[derive(Debug)]
pub enum Given {
    /// A change; the server adds until when it must be confirmed.
    Applied(Box<reply::Applied>),
    /// The configuration; the server adds until when it must be confirmed.
    Config(Box<reply::Config>),
    /// JSON.
    Json(Bytes),
    /// Text or bytes.
    Bytes(Bytes),
    /// Something that goes on.
    Stream(Fed),
    /// `healthz` and `readyz`: 503 when it is not well.
    Health(reply::Health),
}

/// JSON as one line, for those who read it in a terminal.
pub(super) fn line(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(value)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// An answer of one of the types in [`reply`].
pub fn json(value: &impl Serialize) -> Result<Given, Problem> {
    let bytes = line(value);
    let failed = |error: serde_json::Error| Problem::new(Cause::Internal, error.to_string());
    bytes.map(|bytes| Given::Json(bytes.into())).map_err(failed)
}
