//! A process that is always ended, its output collected, every wait with a limit.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use weir_sys::namespace::{Signal, signal};

/// A running process; killed and waited for when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    out: Stream,
    error: Stream,
}

/// How a process ended.
#[derive(Debug)]
pub struct Output {
    /// Its status.
    pub status: ExitStatus,
    /// What it wrote to standard output.
    pub out: String,
    /// What it wrote to standard error.
    pub error: String,
}

impl Output {
    /// Whether it ended with 0.
    pub fn success(&self) -> bool {
        self.status.success()
    }

    /// Status and both outputs, for a message.
    pub fn said(&self) -> String {
        format!("{}\n{}{}", self.status, self.out, self.error)
    }
}

impl Process {
    /// Starts it with nothing on its standard input.
    pub fn start(mut command: Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("starting {name}"))?;
        let out = Stream::collect(child.stdout.take().context("stdout is piped")?);
        let error = Stream::collect(child.stderr.take().context("stderr is piped")?);
        Ok(Self { name, child, out, error })
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, which: Signal) -> Result<()> {
        signal(self.child.id(), which).with_context(|| format!("{which:?} to {}", self.name))
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Waits for its end; kills it and fails when the limit is over.
    pub fn finish(mut self, limit: Duration) -> Result<Output> {
        let status = self.wait(limit)?;
        Ok(Output { status, out: self.out.whole(), error: self.error.whole() })
    }

    /// The same, and it stays to be asked.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let start = Instant::now();
        let mut pause = Duration::from_micros(200);
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if start.elapsed() > limit {
                self.end();
                bail!("{} did not end within {limit:?}: {}", self.name, self.said());
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    /// Waits until standard output or error holds a text.
    pub fn says(&mut self, text: &str, limit: Duration) -> Result<()> {
        let start = Instant::now();
        while !self.said().contains(text) {
            ensure!(self.runs()?, "{} ended before it said `{text}`: {}", self.name, self.said());
            ensure!(start.elapsed() < limit, "{} did not say `{text}`: {}", self.name, self.said());
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// What it has written so far, both outputs.
    pub fn said(&self) -> String {
        format!("{}{}", self.out.so_far(), self.error.so_far())
    }

    /// Kills it and waits.
    pub fn end(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// What a pipe gave so far, read by a thread so that nothing blocks.
#[derive(Debug)]
struct Stream {
    text: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Stream {
    fn collect(mut pipe: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&text);
        let reader = std::thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(count @ 1..) = pipe.read(&mut part) {
                kept.lock().unwrap_or_else(|poison| poison.into_inner()).extend(&part[..count]);
            }
        });
        Self { text, reader: Some(reader) }
    }

    fn so_far(&self) -> String {
        let text = self.text.lock().unwrap_or_else(|poison| poison.into_inner());
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Waits for the end of the pipe, but not for grandchildren that hold it open for ever.
    fn whole(&mut self) -> String {
        let start = Instant::now();
        while self.reader.as_ref().is_some_and(|reader| !reader.is_finished())
            && start.elapsed() < Duration::from_secs(1)
        {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.reader = None;
        self.so_far()
    }
}
