//! `weir prog`: the programs of a running weir. Words and forms are bpftool's where it has them.

mod swapped;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::anyhow;
use clap::{Subcommand, ValueEnum};
use weir_control::Action;
use weir_control::action::{Form, field::Octets};
use weir_control::reply::{self, Program, Programs};

pub(crate) use swapped::{equation, plan, seconds, swapped};

use crate::daemon::Daemon;
use crate::exit::{Code, Done, Failure};
use crate::output::{Output, table};
use crate::words::{Selector, Words};

const REPLACE: &str = "prog replace PROG with OBJ [prog NAME]";
const LOAD: &str = "prog load OBJ NAME [prog NAME] [xdp|tc dev IF [prio N]]";
const RUN: &str = "prog run PROG data_in FILE [data_out FILE] [repeat N] [dev IF]";

/// What to do with programs. PROG is `id N`, `name N`, `tag T` or just the name.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show the programs that are loaded: [PROG]
    #[command(alias = "list")]
    Show { words: Vec<String> },
    /// Load an object's program: OBJ NAME [prog NAME] [xdp|tc dev IF [prio N]]
    Load {
        words: Vec<String>,
        /// Say what would be done, and do nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Replace a program while traffic flows: PROG with OBJ [prog NAME]
    Replace {
        words: Vec<String>,
        #[command(flatten)]
        how: How,
    },
    /// Go back to the program that stood there before: PROG
    Rollback { words: Vec<String> },
    /// Show the generations that changed a program: PROG
    History { words: Vec<String> },
    /// Take a program out: PROG
    Unload { words: Vec<String> },
    /// Run a program on one packet, beside the traffic: PROG data_in FILE [data_out FILE] [repeat N] [dev IF]
    Run { words: Vec<String> },
    /// Show a program's instructions, machine code or source: xlated|jited|source PROG
    Dump { form: DumpForm, words: Vec<String> },
    /// Show what a program says by bpf_trace_printk, as it says it: PROG
    Tracelog { words: Vec<String> },
}

/// How a change is made.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct How {
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Carry maps over whose value type changed, by the names of its fields; this is done anyway
    #[arg(long)]
    migrate: bool,
    /// Let these maps start empty
    #[arg(long, value_name = "MAP", value_delimiter = ',')]
    pub(crate) scratch: Vec<String>,
    /// Only if the configuration's ETag is still this one
    #[arg(long, value_name = "ETAG")]
    pub(crate) if_match: Option<String>,
    /// Watch it for so long, and go back by itself when a rate is exceeded
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) probation: Option<Duration>,
    /// Share of verdicts that may be XDP_ABORTED during probation
    #[arg(long, value_name = "SHARE", requires = "probation")]
    pub(crate) abort_rate: Option<f64>,
    /// Share of packets that may be dropped during probation
    #[arg(long, value_name = "SHARE", requires = "probation")]
    pub(crate) drop_rate: Option<f64>,
}

/// What can be dumped; bpftool's words.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum DumpForm {
    /// The instructions as they run
    Xlated,
    /// The machine code made of them
    Jited,
    /// The source lines that they come from
    Source,
}

/// Runs the command.
pub(crate) fn run(command: &Command, daemon: &Daemon, output: &Output) -> Done {
    match command {
        Command::Show { words } => show(&mut Words::new(words, "prog show [PROG]"), daemon, output),
        Command::Load { words, dry_run } => load(&mut Words::new(words, LOAD), *dry_run, daemon, output),
        Command::Replace { words, how } => replace(&mut Words::new(words, REPLACE), how, daemon, output),
        Command::Rollback { words } => {
            let program = program(&mut Words::new(words, "prog rollback PROG"), daemon)?;
            change(&Action::ProgramRollback { program }, daemon, output)
        }
        Command::History { words } => {
            let program = program(&mut Words::new(words, "prog history PROG"), daemon)?;
            history(&daemon.get(&Action::ProgramHistory { program })?, output)
        }
        Command::Unload { words } => {
            let program = program(&mut Words::new(words, "prog unload PROG"), daemon)?;
            change(&Action::ProgramUnload { program }, daemon, output)
        }
        Command::Run { words } => test_run(&mut Words::new(words, RUN), daemon, output),
        Command::Dump { form, words } => dump(*form, words, daemon, output),
        Command::Tracelog { words } => {
            let program = program(&mut Words::new(words, "prog tracelog PROG"), daemon)?;
            super::events::follow(&Action::ProgramTracelog { program }, None, daemon, output)
        }
    }
}

/// The one program that the words name, and nothing after it.
fn program(words: &mut Words<'_>, daemon: &Daemon) -> Result<String, Failure> {
    let selector = words.selector("PROG")?;
    words.end()?;
    resolve(selector, daemon)
}

/// What the daemon calls a program: its name, or its number as text.
pub(crate) fn resolve(selector: Selector, daemon: &Daemon) -> Result<String, Failure> {
    match selector {
        Selector::Name(name) => Ok(name),
        Selector::Id(id) => Ok(id.to_string()),
        Selector::Tag(tag) => {
            let programs: Programs = daemon.get(&Action::Programs {})?;
            let found: Vec<&Program> =
                programs.programs.iter().filter(|program| program.tag == tag).collect();
            match found[..] {
                [one] => Ok(one.name.clone()),
                [] => Err(Failure::new(Code::Failed, anyhow!("no program has the tag {tag}"))
                    .hint("weir prog show")),
                _ => {
                    let names: Vec<&str> = found.iter().map(|program| program.name.as_str()).collect();
                    let what = anyhow!("{} programs have the tag {tag}: {}", found.len(), names.join(", "));
                    Err(Failure::new(Code::Usage, what).hint("name N or id N names one"))
                }
            }
        }
    }
}

fn show(words: &mut Words<'_>, daemon: &Daemon, output: &Output) -> Done {
    if !words.is_empty() {
        let program = program(words, daemon)?;
        let program: Program = daemon.get(&Action::Program { program })?;
        match output.is_json() {
            true => output.json(&program)?,
            false => output.text(described(&program))?,
        }
        return Ok(Code::Ok);
    }
    let programs: Programs = daemon.get(&Action::Programs {})?;
    if output.is_json() {
        output.json(&programs.programs)?;
    } else if programs.programs.is_empty() {
        output.note("no program is loaded: `weir prog load`, or [[program]] in the configuration");
    } else {
        let each: Vec<String> = programs.programs.iter().map(described).collect();
        output.text(each.join("\n"))?;
    }
    Ok(Code::Ok)
}

/// A program in bpftool's three lines, and one of ours.
fn described(program: &Program) -> String {
    let gpl = if program.gpl_compatible { "  gpl" } else { "" };
    let run = match program.run_cnt {
        0 => String::new(),
        runs => format!(" run_time_ns {} run_cnt {runs}", program.run_time_ns),
    };
    let loaded_at = std::time::UNIX_EPOCH + Duration::from_secs(program.loaded_at);
    let jited =
        if program.jited { format!("jited {}B", program.bytes_jited) } else { "not jited".to_owned() };
    let maps: Vec<String> = program.map_ids.iter().map(u32::to_string).collect();
    let maps = if maps.is_empty() { String::new() } else { format!("  map_ids {}", maps.join(",")) };
    let links =
        if program.links.is_empty() { "attached nowhere".to_owned() } else { program.links.join(" ") };
    format!(
        "{}: {}  name {}  tag {}{gpl}{run}\n\tloaded_at {}  uid {}\n\txlated {}B  {jited}  memlock {}B{maps}\n\tgeneration {}  {}:{}  {links}",
        program.id,
        program.kind,
        program.name,
        program.tag,
        humantime::format_rfc3339_seconds(loaded_at),
        program.uid,
        program.bytes_xlated,
        program.bytes_memlock,
        program.generation,
        program.object,
        program.prog,
    )
}

/// Asks for a change and prints what came of it.
pub(crate) fn change(action: &Action, daemon: &Daemon, output: &Output) -> Done {
    let applied: reply::Applied = daemon.get(action)?;
    match output.is_json() {
        true => output.json(&applied)?,
        false => output.text(swapped(&applied))?,
    }
    Ok(Code::Ok)
}

fn object(path: &str) -> Result<Octets, Failure> {
    crate::source::read(Path::new(path)).map(Octets::from)
}

fn load(words: &mut Words<'_>, dry_run: bool, daemon: &Daemon, output: &Output) -> Done {
    let path = words.want("OBJ")?;
    words.accept("name");
    let name = words.want("NAME")?.to_owned();
    let prog = words.value("prog")?.map(str::to_owned);
    let hooks = [("xdp", reply::Hook::Xdp), ("tc", reply::Hook::Tc)];
    let hook = hooks.into_iter().find(|(word, _)| words.accept(word)).map(|(_, hook)| hook);
    let interface = words.value("dev")?.map(str::to_owned);
    let prio = words.number("prio")?;
    words.end()?;
    let object = object(path)?;
    let action =
        Action::ProgramLoad { name, prog, dry_run, hook, interface, prio, actions: Vec::new(), object };
    change(&action, daemon, output)
}

fn replace(words: &mut Words<'_>, how: &How, daemon: &Daemon, output: &Output) -> Done {
    let selector = words.selector("PROG")?;
    words.expect("with")?;
    words.accept("obj");
    let path = words.want("OBJ")?;
    let prog = words.value("prog")?.map(str::to_owned);
    words.end()?;
    let object = object(path)?;
    let action = Action::ProgramReplace {
        program: resolve(selector, daemon)?,
        prog,
        if_match: how.if_match.clone(),
        dry_run: how.dry_run,
        scratch: how.scratch.clone(),
        probation: how.probation,
        abort_rate: how.abort_rate,
        drop_rate: how.drop_rate,
        object,
    };
    change(&action, daemon, output)
}

/// Prints generations, latest first.
pub(crate) fn history(history: &reply::History, output: &Output) -> Done {
    if output.is_json() {
        output.json(history)?;
        return Ok(Code::Ok);
    }
    let rows = history.generations.iter();
    let rows = rows.map(|past| {
        vec![past.generation.to_string(), past.state.clone(), past.at.clone(), past.change.clone()]
    });
    output.text(table(&["generation", "state", "at", "change"], 4, rows.collect()))?;
    Ok(Code::Ok)
}

fn test_run(words: &mut Words<'_>, daemon: &Daemon, output: &Output) -> Done {
    let selector = words.selector("PROG")?;
    let (mut data_in, mut data_out, mut repeat, mut interface) = (None, None, None, None);
    while !words.is_empty() {
        if let Some(path) = words.value("data_in")? {
            data_in = Some(PathBuf::from(path));
        } else if let Some(path) = words.value("data_out")? {
            data_out = Some(PathBuf::from(path));
        } else if let Some(number) = words.number("repeat")? {
            repeat = Some(number);
        } else if let Some(name) = words.value("dev")? {
            interface = Some(name.to_owned());
        } else {
            words.end()?;
        }
    }
    let data_in = data_in.ok_or_else(|| words.wrong("`data_in FILE` is missing: the packet"))?;
    let data_in = hex(&crate::source::read(&data_in)?);
    let program = resolve(selector, daemon)?;
    let run = reply::Run { data_in, repeat, interface };
    let ran: reply::Ran =
        daemon.get(&Action::ProgramRun { program, run: weir_control::action::field::Json(run) })?;
    if let Some(path) = data_out {
        write(&path, &unhex(&ran.data_out)?)?;
    }
    match output.is_json() {
        true => output.json(&ran)?,
        false => output.text(format_args!(
            "Return value: {} ({}), duration (average): {}ns",
            ran.retval,
            output.verdict(&ran.verdict),
            ran.duration
        ))?,
    }
    Ok(Code::Ok)
}

/// Writes a file; `-` is standard output.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    if path == Path::new("-") {
        use std::io::Write as _;
        return std::io::stdout().lock().write_all(bytes).map_err(Failure::from);
    }
    std::fs::write(path, bytes)
        .map_err(|error| Failure::new(Code::Failed, anyhow!("{}: {error}", path.display())))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Result<Vec<u8>, Failure> {
    let pairs = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = pairs.map(byte).collect();
    bytes.ok_or_else(|| Failure::new(Code::Failed, anyhow!("the daemon's packet is no hexadecimal")))
}

fn dump(form: DumpForm, words: &[String], daemon: &Daemon, output: &Output) -> Done {
    let program = program(&mut Words::new(words, "prog dump xlated|jited|source PROG"), daemon)?;
    let form = match form {
        DumpForm::Xlated => Form::Xlated,
        DumpForm::Jited => Form::Jited,
        DumpForm::Source => Form::Source,
    };
    let dump: reply::Dump = daemon.get(&Action::ProgramDump { program, form })?;
    match output.is_json() {
        true => output.json(&dump)?,
        false => output.text(dump.lines.join("\n"))?,
    }
    Ok(Code::Ok)
}
