//! The port that writes a capture file: what is sent to it ends as a pcapng packet.

use std::fmt;
use std::io::{self, Write};

use weir_packet::{Batch, Pool};

use crate::pcap::write::{Direction, NgWriter, Packet};
use crate::port::{Port, Received, Refusal, Sent, Wait};

/// Writes every frame sent to it, with the frame's own time, as leaving by the file's one interface.
///
/// After a failed write nothing more is written: a file with a hole is worse than a short one. Frames are refused
/// from then on, and [`Recorder::finish`] tells the error.
pub struct Recorder<W> {
    name: String,
    index: u32,
    writer: NgWriter<W>,
    failed: Option<io::Error>,
}

impl<W: Write + Send> Recorder<W> {
    /// Begins the file. `name` is the port's and the interface's.
    pub fn new(name: impl Into<String>, index: u32, out: W) -> io::Result<Recorder<W>> {
        let name = name.into();
        let writer = NgWriter::new(out, &[&name])?;
        Ok(Recorder { name, index, writer, failed: None })
    }

    /// Ends the file, or says what went wrong with it.
    pub fn finish(self) -> io::Result<W> {
        match self.failed {
            Some(error) => Err(error),
            None => self.writer.finish(),
        }
    }
}

impl<W: Write + Send> Port for Recorder<W> {
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
        let mut sent = Sent::default();
        for frame in batch.drain() {
            if self.failed.is_none() {
                let packet =
                    Packet { direction: Some(Direction::Out), ..Packet::new(frame.stamp_ns, frame.bytes()) };
                self.failed = self.writer.packet(&packet).err();
            }
            match self.failed {
                None => sent.sent += 1,
                Some(_) => sent.refused.add(Refusal::Failed),
            }
            pool.put(frame);
        }
        sent
    }

    fn wait(&self) -> Wait {
        Wait::End
    }

    fn close(&mut self, _pool: &mut Pool) -> usize {
        if self.failed.is_none() {
            self.failed = self.writer.flush().err();
        }
        0
    }
}

impl<W> fmt::Debug for Recorder<W> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Recorder({}, failed: {:?})", self.name, self.failed)
    }
}
