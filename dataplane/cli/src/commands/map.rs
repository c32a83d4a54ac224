//! `weir map`: the maps of a running weir. Words, JSON and text are bpftool's; the tables are ours.

use std::path::Path;
use std::time::Duration;

use anyhow::anyhow;
use clap::{Subcommand, ValueEnum};
use serde::Deserialize;
use weir_control::Action;
use weir_control::action::Format;
use weir_control::action::field::{Json, Octets};
use weir_control::reply::{Changed, Map, Maps, NewValue, UpdateFlags};
use weir_engine::mapview::{Entry, input, text};

use super::prog::write;
use crate::daemon::Daemon;
use crate::exit::{Code, Done, Failure};
use crate::output::{Output, table};
use crate::words::{Selector, Words};

const UPDATE: &str = "map update MAP key DATA value DATA [any|exist|noexist]";

/// What to do with maps. MAP is `id N`, `name N` or just the name; DATA is bytes (`hex 0a 00 …`, or numbers
/// 0 to 255), an address, a prefix, a number, or a JSON object of the struct's fields.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show the maps: [MAP]
    #[command(alias = "list")]
    Show { words: Vec<String> },
    /// Show a map's entries: MAP
    Dump {
        words: Vec<String>,
        /// How entries are written
        #[arg(long, value_name = "FORM", default_value = "formatted")]
        format: DumpForm,
    },
    /// Show one entry: MAP key DATA
    Lookup { words: Vec<String> },
    /// Show the key after a key, or the first one: MAP [key DATA]
    Getnext { words: Vec<String> },
    /// Put an entry in a map: MAP key DATA value DATA [any|exist|noexist]
    Update { words: Vec<String> },
    /// Take an entry out of a map: MAP key DATA
    Delete { words: Vec<String> },
    /// Take every entry out of a map: MAP
    Clear { words: Vec<String> },
    /// Show what changes in a map, as it changes: MAP
    Watch {
        words: Vec<String>,
        /// How often to look
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        every: Option<Duration>,
        /// End after so many changes
        #[arg(short = 'n', long, value_name = "N")]
        count: Option<u64>,
    },
    /// Show what programs write into a ring buffer or perf event array: MAP
    #[command(name = "event_pipe", alias = "stream")]
    EventPipe {
        words: Vec<String>,
        /// End after so many events
        #[arg(short = 'n', long, value_name = "N")]
        count: Option<u64>,
    },
    /// Write a map with its types to a file: MAP FILE
    Export { words: Vec<String> },
    /// Put an exported file's entries in a map: MAP FILE
    Import { words: Vec<String> },
}

/// How entries are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DumpForm {
    /// By their types where the object tells them, as bpftool does
    Formatted,
    /// In bytes, as bpftool does
    Hex,
    /// In columns, per-CPU values added up
    Table,
}

/// A page as it travels; `entries` with their members in the order of the C types.
#[derive(Deserialize)]
struct Page {
    entries: Vec<Entry>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct One {
    entry: Entry,
}

/// Runs the command.
pub(crate) fn run(command: &Command, daemon: &Daemon, output: &Output) -> Done {
    match command {
        Command::Show { words } => show(&mut Words::new(words, "map show [MAP]"), daemon, output),
        Command::Dump { words, format } => {
            let map = only_map(words, "map dump MAP")?;
            dump(&map, *format, daemon, output)
        }
        Command::Lookup { words } => {
            lookup(&mut Words::new(words, "map lookup MAP key DATA"), daemon, output)
        }
        Command::Getnext { words } => {
            getnext(&mut Words::new(words, "map getnext MAP [key DATA]"), daemon, output)
        }
        Command::Update { words } => update(&mut Words::new(words, UPDATE), daemon, output),
        Command::Delete { words } => {
            let mut words = Words::new(words, "map delete MAP key DATA");
            let map = selected(&mut words)?;
            let key = key(&mut words)?;
            words.end()?;
            changed(&daemon.get(&Action::MapDelete { map, key })?, output)
        }
        Command::Clear { words } => {
            let map = only_map(words, "map clear MAP")?;
            changed(&daemon.get(&Action::MapClear { map })?, output)
        }
        Command::Watch { words, every, count } => {
            let map = only_map(words, "map watch MAP")?;
            super::events::follow(&Action::MapWatch { map, every: *every }, *count, daemon, output)
        }
        Command::EventPipe { words, count } => {
            let map = only_map(words, "map event_pipe MAP")?;
            super::events::follow(&Action::MapStream { map }, *count, daemon, output)
        }
        Command::Export { words } => {
            let (map, file) = map_and_file(words, "map export MAP FILE")?;
            write(Path::new(&file), &daemon.call(&Action::MapExport { map })?.body)?;
            Ok(Code::Ok)
        }
        Command::Import { words } => {
            let (map, file) = map_and_file(words, "map import MAP FILE")?;
            let file = Octets::from(crate::source::read(Path::new(&file))?);
            changed(&daemon.get(&Action::MapImport { map, file })?, output)
        }
    }
}

/// What the daemon calls a map: its name, or its number as text.
fn selected(words: &mut Words<'_>) -> Result<String, Failure> {
    match words.selector("MAP")? {
        Selector::Name(name) => Ok(name),
        Selector::Id(id) => Ok(id.to_string()),
        Selector::Tag(_) => Err(words.wrong("maps have no tag: `id N` or `name N`")),
    }
}

fn only_map(words: &[String], usage: &'static str) -> Result<String, Failure> {
    let mut words = Words::new(words, usage);
    let map = selected(&mut words)?;
    words.end()?;
    Ok(map)
}

fn map_and_file(words: &[String], usage: &'static str) -> Result<(String, String), Failure> {
    let mut words = Words::new(words, usage);
    let map = selected(&mut words)?;
    words.accept("file");
    let file = words.want("FILE")?.to_owned();
    words.end()?;
    Ok((map, file))
}

/// `key DATA` as it stands in a path.
fn key(words: &mut Words<'_>) -> Result<String, Failure> {
    words.expect("key")?;
    let value = data(words, &["value"])?;
    Ok(match value {
        serde_json::Value::String(text) => text,
        serde_json::Value::Array(bytes) => {
            let bytes = bytes.iter().filter_map(serde_json::Value::as_u64);
            bytes.fold("hex:".to_owned(), |text, byte| text + &format!("{byte:02x}"))
        }
        other => other.to_string(),
    })
}

/// DATA, up to one of these keywords.
fn data(words: &mut Words<'_>, until: &[&str]) -> Result<serde_json::Value, Failure> {
    input::from_words(words.until(until)).map_err(|why| words.wrong(why))
}

fn show(words: &mut Words<'_>, daemon: &Daemon, output: &Output) -> Done {
    if !words.is_empty() {
        let map = selected(words)?;
        words.end()?;
        let map: Map = daemon.get(&Action::Map { map })?;
        match output.is_json() {
            true => output.json(&map)?,
            false => output.text(described(&map))?,
        }
        return Ok(Code::Ok);
    }
    let maps: Maps = daemon.get(&Action::Maps {})?;
    if output.is_json() {
        output.json(&maps.maps)?;
    } else if maps.maps.is_empty() {
        output.note("there is no map: no program that is loaded uses one");
    } else {
        let each: Vec<String> = maps.maps.iter().map(described).collect();
        output.text(each.join("\n"))?;
    }
    Ok(Code::Ok)
}

/// A map in bpftool's lines, and one of ours.
fn described(map: &Map) -> String {
    let mut lines = format!(
        "{}: {}  name {}  flags {:#x}\n\tkey {}B  value {}B  max_entries {}  memlock {}B\n\tprogram {}  entries {}",
        map.id,
        map.kind,
        map.name,
        map.flags,
        map.bytes_key,
        map.bytes_value,
        map.max_entries,
        map.bytes_memlock,
        map.program,
        map.entries,
    );
    for (name, count) in [("evictions", map.evictions), ("failed updates", map.update_failures)] {
        if count > 0 {
            lines += &format!("  {name} {count}");
        }
    }
    if !map.persistent {
        lines += "  scratch";
    }
    if map.frozen != 0 {
        lines += "  frozen";
    }
    lines
}

/// All entries, page by page.
fn entries(map: &str, format: DumpForm, daemon: &Daemon) -> Result<Vec<Entry>, Failure> {
    let format = match format {
        DumpForm::Hex => Format::Hex,
        DumpForm::Formatted | DumpForm::Table => Format::Formatted,
    };
    let mut entries = Vec::new();
    let mut after = None;
    loop {
        let page = Action::MapDump { map: map.to_owned(), format: Some(format), limit: None, after };
        let page: Page = daemon.get(&page)?;
        let empty = page.entries.is_empty();
        entries.extend(page.entries);
        match page.next {
            Some(next) if !empty => after = Some(next),
            _ => return Ok(entries),
        }
    }
}

fn dump(map: &str, format: DumpForm, daemon: &Daemon, output: &Output) -> Done {
    let entries = entries(map, format, daemon)?;
    if output.is_json() {
        output.json(&entries)?;
    } else if format == DumpForm::Table {
        let shown = text::table(&entries);
        let columns: Vec<&str> = shown.columns.iter().map(String::as_str).collect();
        output.text(table(&columns, 1, shown.rows))?;
    } else {
        output.text(text::dump(&entries).trim_end())?;
    }
    Ok(Code::Ok)
}

fn lookup(words: &mut Words<'_>, daemon: &Daemon, output: &Output) -> Done {
    let map = selected(words)?;
    let key = key(words)?;
    words.end()?;
    let one: One = daemon.get(&Action::MapLookup { map, key, format: None })?;
    match output.is_json() {
        true => output.json(&one.entry)?,
        false => output.text(text::entry(&one.entry).trim_end())?,
    }
    Ok(Code::Ok)
}

fn getnext(words: &mut Words<'_>, daemon: &Daemon, output: &Output) -> Done {
    let map = selected(words)?;
    let key = if words.is_empty() { None } else { Some(key(words)?) };
    words.end()?;
    let next: weir_control::reply::NextKey = daemon.get(&Action::MapNext { map, key, format: None })?;
    if next.next_key.is_null() {
        return Err(Failure::new(Code::Failed, anyhow!("there is no key after it")));
    }
    match output.is_json() {
        true => output.json(&serde_json::json!({ "key": next.key, "next_key": next.next_key }))?,
        false => {
            let bytes = |value: &serde_json::Value| match value {
                serde_json::Value::Null => " None".to_owned(),
                value => format!("\n{}", shown(value)),
            };
            output.text(format_args!("key:{}\nnext key:{}", bytes(&next.key), bytes(&next.next_key)))?;
        }
    }
    Ok(Code::Ok)
}

/// A key or value for people: bytes as `0a 00 00 01`, anything else as JSON.
pub(crate) fn shown(value: &serde_json::Value) -> String {
    let byte = |byte: &serde_json::Value| byte.as_str()?.strip_prefix("0x").map(str::to_owned);
    match value.as_array().and_then(|bytes| bytes.iter().map(byte).collect::<Option<Vec<_>>>()) {
        Some(bytes) => bytes.join(" "),
        None => super::events::plain(value),
    }
}

fn update(words: &mut Words<'_>, daemon: &Daemon, output: &Output) -> Done {
    let map = selected(words)?;
    let key = key(words)?;
    words.expect("value")?;
    let value = data(words, &["any", "exist", "noexist"])?;
    let flags = match words.next() {
        None => None,
        Some("exist") => Some(UpdateFlags::Exist),
        Some("noexist") => Some(UpdateFlags::Noexist),
        Some(_) => Some(UpdateFlags::Any),
    };
    words.end()?;
    let entry = Json(NewValue { value, flags });
    changed(&daemon.get(&Action::MapUpdate { map, key, entry })?, output)
}

/// Small changes say nothing on stdout, as bpftool's do; under `-j` they say what was changed.
pub(crate) fn changed(changed: &Changed, output: &Output) -> Done {
    match output.is_json() {
        true => output.json(changed)?,
        false => output.note(&changed.detail),
    }
    Ok(Code::Ok)
}
