//! Speed, as ratios measured side by side in one run. `bench/README.md` says how to read them.

mod machine;
mod objects;
mod pipeline;
mod ports;
mod programs;
mod table;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use weir_sys::affinity;

use crate::machine::Machine;

const USAGE: &str = "weir-bench [--json FILE] [--rounds N] [--programs | --pipelines]
  Prints medians of N rounds (5) in which the sides take turns.
weir-bench --ports [--peers FOLDER] [--only WORDS] [--json FILE] [--rounds N]
  Moves packets between ports beside others who do; as root, on two cores.
weir-bench --objects FOLDER... [--judge PROGRAM]... [--json FILE] [-v]
  Compares verifiers, the kernel's and weir's, on the objects in the folders.";

/// What was asked for.
struct Arguments {
    json: Option<PathBuf>,
    rounds: usize,
    programs: bool,
    pipelines: bool,
    objects: Vec<PathBuf>,
    judges: Vec<PathBuf>,
    verbose: bool,
    ports: bool,
    peers: PathBuf,
    only: String,
}

fn arguments() -> Result<Option<Arguments>> {
    let mut arguments = Arguments {
        json: None,
        rounds: 5,
        programs: true,
        pipelines: true,
        objects: Vec::new(),
        judges: Vec::new(),
        verbose: false,
        ports: false,
        peers: std::env::temp_dir().join("weir-peers"),
        only: String::new(),
    };
    let mut words = std::env::args().skip(1).peekable();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--json" => arguments.json = Some(words.next().context("--json: wanted a file")?.into()),
            "--rounds" => {
                let count = words.next().and_then(|count| count.parse().ok());
                arguments.rounds = count.filter(|count| *count > 0).context("--rounds: wanted a number")?;
            }
            "--programs" => arguments.pipelines = false,
            "--pipelines" => arguments.programs = false,
            "--objects" => {
                while let Some(folder) = words.next_if(|word| !word.starts_with('-')) {
                    arguments.objects.push(folder.into());
                }
            }
            "--judge" => arguments.judges.push(words.next().context("--judge: wanted a program")?.into()),
            "-v" | "--verbose" => arguments.verbose = true,
            "--ports" => arguments.ports = true,
            "--peers" => arguments.peers = words.next().context("--peers: wanted a folder")?.into(),
            "--only" => arguments.only = words.next().context("--only: wanted words of names")?,
            "-h" | "--help" => return Ok(None),
            other => bail!("`{other}` is not understood\n{USAGE}"),
        }
    }
    Ok(Some(arguments))
}

/// All that was measured.
#[derive(Serialize)]
struct Results {
    schema: &'static str,
    machine: Machine,
    rounds: usize,
    programs: Vec<programs::Row>,
    pipelines: Vec<pipeline::Row>,
    load_after: String,
}

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [first, rest @ ..] = words.as_slice()
        && first == "be"
    {
        return ports::part::be(rest);
    }
    let Some(arguments) = arguments()? else {
        println!("{USAGE}");
        return Ok(());
    };
    if !arguments.objects.is_empty() {
        let results = objects::compare(&arguments.objects, &arguments.judges)?;
        print!("{}", objects::text(&results, arguments.verbose));
        return write_json(arguments.json.as_deref(), &results);
    }
    if arguments.ports {
        let results = ports::compare(arguments.rounds, &arguments.peers, &arguments.only)?;
        print!("{}", ports::text(&results));
        return write_json(arguments.json.as_deref(), &results);
    }
    let machine = Machine::here();
    let kernel = weir_sys::bpf::available();
    if let Err(why) = &kernel {
        eprintln!("the kernel's side is left out: needs CAP_BPF ({why})");
    }
    let rounds = arguments.rounds;
    // Pipelines first: they pin workers of their own, and this thread is pinned only afterwards.
    let pipelines =
        if arguments.pipelines { pipeline::measure(rounds, machine.cores.len())? } else { Vec::new() };
    if let Some(core) = machine.cores.first() {
        affinity::pin(*core)?;
    }
    let programs = if arguments.programs { programs::measure(rounds, kernel.is_ok())? } else { Vec::new() };
    let load_after = std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim().to_owned();
    let results = Results { schema: "weir.v1.bench", machine, rounds, programs, pipelines, load_after };
    print!("{}", table::text(&results));
    write_json(arguments.json.as_deref(), &results)
}

fn write_json(path: Option<&Path>, results: &impl Serialize) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    let text = serde_json::to_string_pretty(results)? + "\n";
    std::fs::write(path, text).with_context(|| path.display().to_string())
}
