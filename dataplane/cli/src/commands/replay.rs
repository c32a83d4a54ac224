//! `weir replay`: captures go in, programs judge them, verdicts and figures come out.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use weir_ebpf::abi::{TcAction, XdpAction};
use weir_engine::build::BuildError;
use weir_engine::config::{Config, ConfigError};
use weir_engine::observe;
use weir_engine::reason::Reason;
use weir_engine::replay::{Options, Outcome, Progress, Replay, ReplayError};
use weir_engine::report::Report;
use weir_io::pcap::{NgWriter, Pace, Packet};

use crate::exit::{Code, Done, Failure};
use crate::output::{Output, bytes, grouped, table};
use crate::source::read_object;

/// Arguments of `weir replay`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// A configuration (.toml), or an object whose XDP and tc programs are run in order
    config: PathBuf,
    /// Captures to play (pcap or pcapng, also .gz and .zst); a configuration may name its own
    captures: Vec<PathBuf>,
    /// Which program of the object
    #[arg(long, value_name = "NAME")]
    prog: Option<String>,
    /// Write every packet with its verdict and reason to a pcapng file
    #[arg(short, long, value_name = "OUT.pcapng")]
    write: Option<PathBuf>,
    /// Play so many times; 0 is without end, for --secs
    #[arg(short = 'l', long, value_name = "N", default_value_t = 1)]
    loops: u64,
    /// Play for so many seconds, over and over
    #[arg(long, value_name = "SECONDS")]
    secs: Option<f64>,
    /// How fast: `top`, `orig` as captured, or `xN` times as fast as captured
    #[arg(long, value_name = "SPEED", default_value = "top", value_parser = speed)]
    speed: Pace,
    /// So many packets a second
    #[arg(long, value_name = "N", conflicts_with = "speed")]
    pps: Option<f64>,
    /// So many megabits a second
    #[arg(long, value_name = "N", conflicts_with_all = ["speed", "pps"])]
    mbps: Option<f64>,
    /// So many workers at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    workers: Option<u16>,
    /// What runs the programs
    #[arg(long, value_name = "ENGINE", default_value = "jit", value_parser = ["jit", "interp"])]
    engine: String,
    /// Exit with 1 if any packet was dropped, aborted … (a verdict's or a drop reason's name)
    #[arg(long, value_name = "VERDICT", value_parser = verdict)]
    fail_on: Vec<String>,
}

fn speed(text: &str) -> Result<Pace, String> {
    let factor = match text {
        "top" => return Ok(Pace::Top),
        "orig" => Some(1.0),
        _ => text.strip_prefix('x').and_then(|factor| factor.parse().ok()),
    };
    match factor {
        Some(speed) if speed > 0.0 => Ok(Pace::Stamps { speed }),
        _ => Err("wanted `top`, `orig`, or `x` and a number, such as x2".to_owned()),
    }
}

/// A name that `--fail-on` may wait for: one that no packet can have would never fail.
fn verdict(text: &str) -> Result<String, String> {
    let name = text.to_ascii_lowercase();
    let verdicts = XdpAction::ALL.iter().map(|action| action.name());
    let verdicts = verdicts.chain(TcAction::ALL.iter().map(|action| action.name()));
    let mut known = verdicts.chain(Reason::ALL.iter().map(|reason| reason.name()));
    if known.any(|known| is_called(known, &name)) {
        return Ok(name);
    }
    let reasons: Vec<&str> = Reason::ALL.iter().map(|reason| reason.name()).collect();
    Err(format!("wanted a verdict such as drop, aborted, tx or shot, or a reason: {}", reasons.join(", ")))
}

/// Whether a verdict or a reason has this name, in lower case and with or without its prefix.
fn is_called(known: &str, name: &str) -> bool {
    let known = known.to_ascii_lowercase();
    known == name || known.trim_start_matches("xdp_").trim_start_matches("tc_act_") == name
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments, output: &Output) -> Done {
    let config = configuration(arguments)?;
    let replay = Replay::prepare(&config, options(arguments)?).map_err(failure)?;
    let outcome = play(replay, output)?;
    for line in &outcome.traces {
        output.note(format_args!("trace worker {}: {}", line.worker, line.text));
    }
    if let Some(path) = &arguments.write {
        write_capture(path, &outcome).with_context(|| format!("writing {}", path.display()))?;
    }
    let report = Report::new(&outcome);
    if output.is_json() {
        output.json(&report)?;
    } else {
        output.text(for_people(&report, output))?;
    }
    if !report.conservation.holds() {
        return Err(anyhow!("packets were lost without a reason: {}", report.conservation).into());
    }
    Ok(if arguments.fail_on.iter().any(|name| occurred(&report, name)) { Code::Failed } else { Code::Ok })
}

/// The configuration: read, or made up around an object.
fn configuration(arguments: &Arguments) -> Result<Config, Failure> {
    let path = &arguments.config;
    if path.extension().is_some_and(|extension| extension == "toml") {
        let read = Config::read(path);
        return read.map_err(|error| match error {
            ConfigError::Read { .. } | ConfigError::Parse { .. } | ConfigError::Meaning { .. } => {
                Failure::new(Code::Usage, error)
            }
        });
    }
    if arguments.captures.is_empty() {
        let what = anyhow!(
            "nothing to play: name captures after {}, or give a configuration (.toml) that does",
            path.display()
        );
        return Err(Failure::new(Code::Usage, what));
    }
    around_object(path, arguments.prog.as_deref())
}

/// A configuration with one port that runs an object's programs: XDP ones as a chain, tc ones as
/// direct-action filters, in the object's order.
fn around_object(path: &Path, wanted: Option<&str>) -> Result<Config, Failure> {
    let object = read_object(path)?;
    let called: Vec<String> = object
        .maps()
        .iter()
        .filter_map(|map| match &map.initial {
            weir_ebpf::program::Initial::Programs(slots) => Some(slots),
            _ => None,
        })
        .flatten()
        .map(|(_, name)| name.clone())
        .collect();
    let mut programs = Vec::new();
    for entry in object.programs() {
        let Some(kind) = entry.kind else { continue };
        let meant = match wanted {
            Some(name) => entry.name == name,
            None => entry.autoload && !called.contains(&entry.name),
        };
        let attach = match kind.kind {
            weir_ebpf::ProgramType::Xdp => "{ hook = \"xdp\" }",
            weir_ebpf::ProgramType::SchedCls => "{ hook = \"tc\", da = true }",
            // Neither sits at a place of its own in the pipeline.
            _ => continue,
        };
        if meant {
            let object = toml::Value::from(std::path::absolute(path)?.display().to_string());
            let (name, place) = (toml::Value::from(entry.name.as_str()), object);
            programs.push(format!(
                "[[program]]\nname = {name}\nprog = {name}\nobject = {place}\nattach = {attach}\n"
            ));
        }
    }
    if programs.is_empty() {
        let names: Vec<&str> = object.programs().iter().map(|entry| entry.name.as_str()).collect();
        let what = match wanted {
            Some(name) => anyhow!(
                "{}: no xdp or tc program `{name}`; there is `{}`",
                path.display(),
                names.join("`, `")
            ),
            None => {
                anyhow!("{}: no xdp or tc program to run; there is `{}`", path.display(), names.join("`, `"))
            }
        };
        return Err(Failure::new(Code::Rejected, what));
    }
    let text = format!("version = 1\n[interface.port]\ndriver = \"pcap\"\n{}", programs.concat());
    Config::parse(Path::new("replay"), &text).map_err(|error| Failure::new(Code::Usage, error))
}

fn options(arguments: &Arguments) -> Result<Options, Failure> {
    let pace = match (arguments.pps, arguments.mbps) {
        (Some(per_second), _) => Pace::Packets { per_second },
        (None, Some(megabits)) => Pace::Bits { per_second: megabits * 1e6 },
        (None, None) => arguments.speed,
    };
    if let (Pace::Packets { per_second } | Pace::Bits { per_second }, true) = (pace, true)
        && (per_second.is_nan() || per_second <= 0.0)
    {
        return Err(Failure::new(Code::Usage, anyhow!("a rate must be more than 0")));
    }
    let loops = match (arguments.loops, arguments.secs) {
        (0, None) => {
            return Err(Failure::new(
                Code::Usage,
                anyhow!("-l 0 plays without end: say for how long with --secs"),
            ));
        }
        (0 | 1, Some(_)) => None,
        (loops, _) => Some(loops),
    };
    if arguments.write.is_some() && loops != Some(1) {
        let what = anyhow!("-w writes each packet once: it goes with neither -l nor --secs");
        return Err(Failure::new(Code::Usage, what));
    }
    let limit = arguments.secs.map(Duration::try_from_secs_f64).transpose();
    Ok(Options {
        captures: arguments.captures.clone(),
        loops,
        limit: limit.map_err(|error| Failure::new(Code::Usage, anyhow!("--secs: {error}")))?,
        pace,
        record: arguments.write.is_some(),
        engine: if arguments.engine == "jit" { weir_vm::Engine::Jit } else { weir_vm::Engine::Interpreter },
        workers: arguments.workers.map(usize::from),
    })
}

/// The exit code that an error of preparing deserves.
fn failure(error: ReplayError) -> Failure {
    let error = match error {
        ReplayError::Build(BuildError::Load(load)) => return load.into(),
        other => other,
    };
    let code = match &error {
        ReplayError::Build(BuildError::Load(_)) => Code::Rejected,
        ReplayError::Build(BuildError::Attach { .. })
        | ReplayError::Routes(_)
        | ReplayError::Capture(_)
        | ReplayError::Traffic(_)
        | ReplayError::NothingToPlay { .. } => Code::Usage,
        ReplayError::Affinity(_) | ReplayError::Umem(_) => Code::Unsupported,
    };
    Failure::new(code, error)
}

/// Runs the replay with a progress bar, when it takes long enough for one.
fn play(replay: Replay, output: &Output) -> Result<Outcome, Failure> {
    let mut bar: Option<ProgressBar> = None;
    let draws = output.draws_progress();
    let outcome = replay.run(|now: Progress| {
        if draws && now.elapsed > Duration::from_secs(1) {
            let bar = bar.get_or_insert_with(|| progress_bar(now.packets_total));
            bar.set_position(now.packets);
        }
        true
    });
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    outcome.map_err(failure)
}

fn progress_bar(total: Option<u64>) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => {
            (ProgressBar::new(total), "{bar:40} {percent:>3}%  {human_pos} packets  {per_sec}  {eta}")
        }
        None => (ProgressBar::new_spinner(), "{spinner} {elapsed}  {human_pos} packets  {per_sec}"),
    };
    bar.with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Whether a verdict or a drop reason of this name occurred; `drop` stands for any drop.
fn occurred(report: &Report, name: &str) -> bool {
    let mut verdicts = report.programs.iter().flat_map(|program| &program.verdicts);
    report.drops.iter().any(|drop| name == "drop" || is_called(drop.reason, name))
        || verdicts.any(|(verdict, _)| is_called(verdict, name))
}

/// Every packet with what was said of it (epb_verdict), and the reason of a drop as a comment.
fn write_capture(path: &Path, outcome: &Outcome) -> anyhow::Result<()> {
    let names: Vec<&str> = outcome.built.generation.ports.iter().map(|port| port.name.as_str()).collect();
    let file = std::io::BufWriter::new(std::fs::File::create(path)?);
    let mut writer = NgWriter::new(file, &names)?;
    for recorded in &outcome.recorded {
        let comment = observe::fate(&recorded.judgement, |port| names[port].to_owned());
        writer.packet(&Packet {
            interface: recorded.port as u32,
            verdicts: &observe::verdicts(&recorded.judgement),
            comment: Some(&comment),
            ..Packet::new(recorded.stamp_ns, &recorded.bytes)
        })?;
    }
    writer.finish()?.flush()?;
    Ok(())
}

/// The table at the end.
fn for_people(report: &Report, output: &Output) -> String {
    let mut parts = vec![programs(report, output)];
    if report.classes.len() > 1 || report.classes.iter().any(|class| class.name != "default") {
        parts.push(classes(report));
    }
    parts.push(interfaces(report));
    if !report.drops.is_empty() {
        parts.push(drops(report));
    }
    if !report.maps.is_empty() {
        parts.push(maps(report));
    }
    let refused: BTreeMap<_, _> = report.capture_refused.iter().filter(|(_, count)| **count > 0).collect();
    if !refused.is_empty() {
        let listed: Vec<String> = refused.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        parts.push(format!("records not played: {}", listed.join(", ")));
    }
    parts.push(format!(
        "{}\nActual: {} packets ({} bytes) in {:.6} seconds on {} worker{}\nRated: {:.2} Mpps, {:.2} Gbit/s",
        report.conservation,
        report.packets,
        report.bytes,
        report.seconds,
        report.cores.len(),
        if report.cores.len() == 1 { "" } else { "s" },
        report.mpps,
        report.gbit_per_second,
    ));
    parts.join("\n\n")
}

fn programs(report: &Report, output: &Output) -> String {
    let rows = report.programs.iter().map(|program| {
        let verdicts: Vec<String> = program
            .verdicts
            .iter()
            .map(|(verdict, count)| format!("{} {}", output.verdict(verdict), grouped(*count)))
            .collect();
        let time = |ns: Option<f64>| ns.map_or("-".to_owned(), |ns| format!("{ns:.0}"));
        vec![
            program.name.clone(),
            program.kind.to_owned(),
            verdicts.join("  "),
            grouped(program.packets),
            time(program.ns_per_packet),
            time(program.ns_per_packet_p99),
        ]
    });
    table(&["program", "type", "verdicts", "packets", "ns/packet", "p99"], 3, rows.collect())
}

fn classes(report: &Report) -> String {
    let rows = report.classes.iter().map(|class| {
        vec![class.classid.clone(), class.name.clone(), grouped(class.sent.packets), bytes(class.sent.bytes)]
    });
    table(&["class", "name", "packets", "bytes"], 2, rows.collect())
}

fn interfaces(report: &Report) -> String {
    let rows = report.interfaces.iter().map(|interface| {
        vec![
            interface.name.clone(),
            grouped(interface.received.packets),
            bytes(interface.received.bytes),
            grouped(interface.transmitted.packets),
            bytes(interface.transmitted.bytes),
        ]
    });
    table(&["interface", "rx packets", "rx bytes", "tx packets", "tx bytes"], 1, rows.collect())
}

fn drops(report: &Report) -> String {
    let rows = report
        .drops
        .iter()
        .map(|drop| vec![drop.reason.to_owned(), drop.meaning.to_owned(), grouped(drop.packets)]);
    table(&["dropped", "because", "packets"], 2, rows.collect())
}

fn maps(report: &Report) -> String {
    let rows = report.maps.iter().map(|map| {
        let evicted = if map.evictions > 0 { grouped(map.evictions) } else { "-".to_owned() };
        vec![
            map.name.clone(),
            map.kind.to_owned(),
            format!("{} / {}", grouped(map.entries as u64), grouped(map.max_entries.into())),
            bytes(map.bytes as u64),
            evicted,
        ]
    });
    table(&["map", "type", "entries", "memory", "evicted"], 2, rows.collect())
}
