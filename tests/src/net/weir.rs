//! `weir run` in a namespace, and the commands that speak to it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use serde_json::Value;
use weir_sys::namespace::Signal;

use super::namespace::Namespace;
use super::process::{Output, Process};
use crate::program::root;

/// The binary: `WEIR_BIN`, or the one of this build, made if it is not fresh.
pub fn binary() -> Result<&'static Path> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let found = BINARY.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    found.as_deref().map_err(|error| anyhow!("{error}"))
}

fn build() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("WEIR_BIN") {
        return Ok(named.into());
    }
    // …/target/PROFILE/deps/this-test, or …/target/PROFILE/a-program
    let here = std::env::current_exe()?;
    let folder = here.parent().context("a program lies in a folder")?;
    let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).args(["build", "--quiet", "--package", "weir-cli", "--bin", "weir"]);
    if folder.ends_with("release") {
        command.arg("--release");
    }
    ensure!(command.status()?.success(), "the weir binary does not build");
    Ok(folder.join("weir"))
}

/// A folder of this test's own, removed when dropped.
pub struct Folder(tempfile::TempDir);

impl Folder {
    /// A new one, with a short path: a socket's may have 107 bytes.
    pub fn create() -> Result<Self> {
        Ok(Self(tempfile::Builder::new().prefix("weir-net-").tempdir()?))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file into it; where it lies.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.path().join(name);
        std::fs::write(&path, bytes).with_context(|| path.display().to_string())?;
        Ok(path)
    }
}

/// A running weir.
pub struct Weir<'host> {
    host: &'host Namespace,
    folder: Folder,
    process: Option<Process>,
}

impl<'host> Weir<'host> {
    /// A folder for a weir that does not run yet.
    pub fn prepare(host: &'host Namespace) -> Result<Self> {
        Ok(Self { host, folder: Folder::create()?, process: None })
    }

    /// Starts `weir run` with a configuration, and waits until it answers.
    pub fn start(host: &'host Namespace, config: &str) -> Result<Self> {
        let mut weir = Self::prepare(host)?;
        weir.run(config)?;
        Ok(weir)
    }

    /// Starts it (again) in its folder. `@FOLDER@` in the configuration is that folder, `@ROOT@` the repository.
    pub fn run(&mut self, config: &str) -> Result<()> {
        self.launch(config)?;
        self.ready(Duration::from_secs(20))
    }

    /// The same without waiting for an answer.
    pub fn launch(&mut self, config: &str) -> Result<()> {
        let text = config
            .replace("@FOLDER@", &self.folder.path().display().to_string())
            .replace("@ROOT@", &root().canonicalize()?.display().to_string());
        let text = with_daemon(&text, self.folder.path());
        let path = self.folder.write("weir.toml", text)?;
        let mut command = Command::new(binary()?);
        command.arg("run").arg(path).env("WEIR_SOCK", self.socket());
        self.process = Some(self.host.spawn(command)?);
        Ok(())
    }

    /// Waits until it answers on its socket.
    pub fn ready(&mut self, limit: Duration) -> Result<()> {
        let start = Instant::now();
        loop {
            let process = self.process.as_mut().context("it was not started")?;
            ensure!(process.runs()?, "weir ended: {}", process.said());
            if self.socket().exists() && self.call(&["stats", "-j"])?.success() {
                return Ok(());
            }
            let said = self.said();
            ensure!(start.elapsed() < limit, "weir does not answer within {limit:?}: {said}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Its folder.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Its control socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("sock")
    }

    /// The process.
    pub fn process(&mut self) -> Result<&mut Process> {
        self.process.as_mut().context("weir does not run")
    }

    /// What it wrote so far.
    pub fn said(&self) -> String {
        self.process.as_ref().map(Process::said).unwrap_or_default()
    }

    /// A command that speaks to it, to its end.
    pub fn call(&self, words: &[&str]) -> Result<Output> {
        let mut command = Command::new(binary()?);
        command.args(words).env("WEIR_SOCK", self.socket()).current_dir(self.folder.path());
        self.host.spawn(command)?.finish(Duration::from_secs(20))
    }

    /// The same; it must succeed.
    pub fn ask(&self, words: &[&str]) -> Result<String> {
        let output = self.call(words)?;
        ensure!(output.success(), "weir {}: {}; weir run: {}", words.join(" "), output.said(), self.said());
        Ok(output.out)
    }

    /// The same; the answer as JSON.
    pub fn json(&self, words: &[&str]) -> Result<Value> {
        let text = self.ask(&[words, &["-j"]].concat())?;
        serde_json::from_str(&text).with_context(|| format!("weir {}: {text}", words.join(" ")))
    }

    /// Asks it to end, and waits.
    pub fn stop(&mut self) -> Result<()> {
        let process = self.process()?;
        process.signal(Signal::Term)?;
        let status = process.wait(Duration::from_secs(10))?;
        let said = self.said();
        self.process = None;
        if !status.success() {
            bail!("weir ended with {status}: {said}");
        }
        Ok(())
    }

    /// kill -9.
    pub fn kill(&mut self) -> Result<()> {
        self.process()?.end();
        self.process = None;
        Ok(())
    }
}

/// The configuration with socket and state in the folder, unless it says where they are.
fn with_daemon(config: &str, folder: &Path) -> String {
    if config.contains("[daemon]") {
        return config.to_owned();
    }
    let folder = folder.display();
    format!("{config}\n[daemon]\nsocket = \"{folder}/sock\"\nstate_dir = \"{folder}/state\"\n")
}
