//! The port where frames end: it counts what it is sent, gives every frame back, and nothing ever comes from it.

use weir_packet::{Batch, Pool};

use crate::port::{Port, Received, Refused, Sent, Wait};

/// A counting sink.
#[derive(Debug)]
pub struct Null {
    name: String,
    index: u32,
    frames: u64,
    bytes: u64,
}

impl Null {
    /// A sink with this name and interface index.
    pub fn new(name: impl Into<String>, index: u32) -> Null {
        Null { name: name.into(), index, frames: 0, bytes: 0 }
    }

    /// Frames sunk so far.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Their bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Port for Null {
    fn name(&self) -> &str {
        &self.name
    }

    fn index(&self) -> u32 {
        self.index
    }

    fn receive(&mut self, _pool: &mut Pool, _batch: &mut Batch, _max: usize) -> Received {
        Received { end: true, ..Received::default() }
    }

    fn send(&mut self, pool: &mut Pool, batch: &mut Batch) -> Sent {
        let sent = batch.len();
        self.frames += sent as u64;
        self.bytes += batch.iter().map(|frame| frame.len() as u64).sum::<u64>();
        pool.put_all(batch);
        Sent { sent, refused: Refused::default() }
    }

    fn wait(&self) -> Wait {
        Wait::End
    }
}
