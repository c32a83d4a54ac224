//! `weir events`: what happens, as it happens; one JSON object a line under `-j`.

use clap::Args;
use serde_json::{Map, Value};
use weir_control::Action;
use weir_control::reply::Event;

use super::map::shown;
use crate::daemon::{Daemon, failure};
use crate::exit::{Code, Done};
use crate::output::Output;

/// Arguments of `weir events`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Go on until interrupted; that is what happens anyway unless -n says when to end
    #[arg(short, long)]
    follow: bool,
    /// End after so many
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments, daemon: &Daemon, output: &Output) -> Done {
    follow(&Action::Events {}, arguments.count, daemon, output)
}

/// Prints events until there have been so many, or the daemon ends them.
pub(crate) fn follow(action: &Action, count: Option<u64>, daemon: &Daemon, output: &Output) -> Done {
    let events = daemon.events(action)?;
    let most = usize::try_from(count.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
    for event in events.take(most) {
        let event = event.map_err(failure)?;
        output.line(&event, || told(&event))?;
    }
    Ok(Code::Ok)
}

/// An event in one line: when, what kind, and what there is to say.
fn told(event: &Event) -> String {
    let data = match &event.data {
        Value::Object(fields) => match entry(fields) {
            Some(entry) => entry,
            None => {
                let fields = fields.iter().map(|(name, value)| format!("{name} {}", plain(value)));
                fields.collect::<Vec<_>>().join("  ")
            }
        },
        Value::Null => String::new(),
        other => plain(other),
    };
    format!("{}  {:<10}  {data}", event.at, event.kind).trim_end().to_owned()
}

/// An entry of a map: its key and its value, by their types where those are known; of the workers' values the sum.
fn entry(fields: &Map<String, Value>) -> Option<String> {
    let formatted = fields.get("formatted");
    let key = formatted.and_then(|formatted| formatted.get("key")).or_else(|| fields.get("key"))?;
    let value = formatted.and_then(|formatted| formatted.get("value")).or_else(|| fields.get("sum"));
    let value = value.or_else(|| fields.get("value")).or_else(|| fields.get("values"))?;
    Some(format!("key {}  value {}", shown(key), shown(value)))
}

/// A value as people write it: texts without quotes.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
