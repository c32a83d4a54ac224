//! The programs of `programs/` with what their tests say: a folder's `NAME.weir.toml` names program,
//! constants, map entries, the traffic that engines are compared on, and cases of packet in, packet out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use weir_engine::config::MapEntry;
use weir_engine::load::{Image, Request};
use weir_io::traffic::Spec;
use weir_vm::Engine;
use weir_vm::test_run::{Input, Output, test_run};
use weir_vm::{Loaded, ProgramTable, Run, TestEnv};

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A test file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProgramTest {
    /// The object, beside the file.
    pub object: PathBuf,
    /// Which programs of it; each is compared, cases are about the first.
    pub progs: Vec<String>,
    /// Values of constants.
    #[serde(default)]
    pub rodata: BTreeMap<String, toml::Value>,
    /// Entries of maps.
    #[serde(default)]
    pub maps: BTreeMap<String, Vec<MapEntry>>,
    /// What the comparison's traffic has that the usual has not.
    #[serde(default)]
    pub traffic: TrafficTest,
    /// Packets in, verdicts and packets out; each on maps of its own unless it says `keep`.
    #[serde(default)]
    pub case: Vec<Case>,
    /// Where the file lies.
    #[serde(skip)]
    pub folder: PathBuf,
}

/// Traffic for the comparison of engines.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrafficTest {
    /// How many flows at a time.
    pub flows: Option<u32>,
    /// How many hosts are asked.
    pub servers: Option<u32>,
    /// First IPv4 address of the hosts that are asked.
    pub server_base: Option<std::net::Ipv4Addr>,
}

impl TrafficTest {
    /// The description of so many packets.
    pub fn spec(&self, packets: u64) -> Spec {
        let usual = Spec::default();
        Spec {
            packets,
            seed: 7,
            flows: self.flows.unwrap_or(usual.flows),
            servers: self.servers.unwrap_or(usual.servers),
            server_base: (self.server_base.unwrap_or(usual.server_base.0), usual.server_base.1),
            ..usual
        }
    }
}

/// A packet in, and what must come out.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What it shows.
    pub name: String,
    /// The packet in words ([`crate::packet_text`]).
    pub packet: String,
    /// Whether the maps are as the case before left them.
    #[serde(default)]
    pub keep: bool,
    /// `tc_classid` in the context, for actions.
    #[serde(default)]
    pub classid: u32,
    /// The answer: a verdict's name, or a number.
    pub verdict: toml::Value,
    /// The packet afterwards in words; the same as before when left out.
    pub becomes: Option<String>,
    /// Entries that maps must have afterwards; values of per-CPU maps are of the one worker.
    #[serde(default)]
    pub holds: BTreeMap<String, Vec<MapEntry>>,
}

impl ProgramTest {
    /// Reads a test file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let mut test: Self = toml::from_str(&text).with_context(|| path.display().to_string())?;
        test.folder = path.parent().unwrap_or(Path::new("")).to_owned();
        Ok(test)
    }

    /// Every test file of `programs/`, by name.
    pub fn all() -> Result<Vec<(String, Self)>> {
        let mut tests = Vec::new();
        for folder in std::fs::read_dir(root().join("programs"))? {
            let folder = folder?.path();
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let file = folder.join(format!("{name}.weir.toml"));
            if file.exists() {
                tests.push((name, Self::read(&file)?));
            }
        }
        tests.sort_by(|one, other| one.0.cmp(&other.0));
        Ok(tests)
    }

    /// The object with its maps filled, for one engine.
    pub fn image(&self, engine: Engine) -> Result<Image> {
        let request = Request {
            programs: self.progs.iter().map(String::as_str).collect(),
            rodata: self.rodata.clone(),
            entries: self.maps.clone(),
            workers: 1,
            engine,
            ..Request::default()
        };
        Ok(Image::load(&self.folder.join(&self.object), &request)?)
    }
}

/// A program ready to run on packets, one after another.
pub struct Bench {
    /// The object it is of.
    pub image: Image,
    /// The program.
    pub entry: Arc<Loaded>,
    table: ProgramTable,
    /// Its world.
    pub env: TestEnv,
}

impl Bench {
    /// A program of an object, in a world.
    pub fn new(image: Image, program: &str, env: TestEnv) -> Result<Self> {
        let entry = Arc::clone(image.program(program).context("no such program")?);
        let table = image.table()?;
        Ok(Self { image, entry, table, env })
    }

    /// Runs it on a packet.
    pub fn run(&mut self, input: &Input) -> Result<Output> {
        let mut run = Run::new(&mut self.env, 0).with_table(&self.table);
        let kind = self.entry.verified().program().kind;
        let output = test_run(kind, input, &mut run, |run, context| self.entry.run(run, context))?;
        anyhow::ensure!(run.fault().is_none(), "the checked interpreter caught it: {:?}", run.fault());
        Ok(output)
    }
}
