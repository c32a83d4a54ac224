//! Answers that go on, as readers that block.

use std::io::{self, BufRead, BufReader, Read};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use tokio::runtime::Runtime;

use crate::client::ClientError;
use crate::reply::Event;

/// The longest silence: the server says something every ten seconds.
const SILENCE: Duration = Duration::from_secs(30);

/// An answer that goes on, as bytes.
#[derive(Debug)]
pub struct Stream<'c> {
    runtime: &'c Runtime,
    body: Incoming,
    rest: Bytes,
    silence: Option<Duration>,
}

impl<'c> Stream<'c> {
    pub(crate) fn new(runtime: &'c Runtime, body: Incoming) -> Self {
        Self { runtime, body, rest: Bytes::new(), silence: None }
    }

    /// The next bytes; `None` at the end.
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        let (body, silence) = (&mut self.body, self.silence);
        let frame = self.runtime.block_on(async {
            match silence {
                Some(silence) => tokio::time::timeout(silence, body.frame())
                    .await
                    .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the daemon has gone silent")),
                None => Ok(body.frame().await),
            }
        })?;
        match frame {
            None => Ok(None),
            Some(frame) => Ok(Some(frame.map_err(io::Error::other)?.into_data().unwrap_or_default())),
        }
    }
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.next()? {
                Some(bytes) => self.rest = bytes,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.rest.len());
        buffer[..length].copy_from_slice(&self.rest.split_to(length));
        Ok(length)
    }
}

/// Server-sent events, one by one; ends when the daemon ends them.
#[derive(Debug)]
pub struct Events<'c> {
    lines: BufReader<Stream<'c>>,
}

impl<'c> Events<'c> {
    pub(crate) fn new(mut stream: Stream<'c>) -> Self {
        stream.silence = Some(SILENCE);
        Self { lines: BufReader::new(stream) }
    }

    /// The next event's data; `None` at the end.
    fn data(&mut self) -> io::Result<Option<String>> {
        let (mut line, mut data) = (String::new(), String::new());
        loop {
            line.clear();
            if self.lines.read_line(&mut line)? == 0 {
                return Ok(None);
            }
            match line.trim_end_matches(['\r', '\n']) {
                "" if !data.is_empty() => return Ok(Some(data)),
                text => data.push_str(text.strip_prefix("data:").map_or("", str::trim_start)),
            }
        }
    }
}

impl Iterator for Events<'_> {
    type Item = Result<Event, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        let data = match self.data() {
            Ok(data) => data?,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                return Some(Err(ClientError::TimedOut(SILENCE)));
            }
            Err(error) => return Some(Err(ClientError::Protocol(error.to_string()))),
        };
        Some(serde_json::from_str(&data).map_err(|error| ClientError::Protocol(error.to_string())))
    }
}
