//! `weir trace`: the way of single packets, stage by stage.

use clap::Subcommand;
use weir_control::Action;
use weir_control::action::field::Json;
use weir_control::reply::{NewTrace, Trace, Traces};

use super::map::changed;
use crate::daemon::Daemon;
use crate::exit::{Code, Done};
use crate::output::Output;

/// What to do with traces.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Follow the way of the next packets
    Add {
        /// How many
        #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
        count: u32,
        /// Only from this interface
        #[arg(short, long, value_name = "IF")]
        interface: Option<String>,
        /// Only packets that this expression matches as they come in: tcpdump's words
        #[arg(value_name = "EXPR")]
        filter: Vec<String>,
    },
    /// Show the packets whose way was followed
    #[command(alias = "list")]
    Show,
    /// Forget them
    Clear,
}

/// Runs the command.
pub(crate) fn run(command: &Command, daemon: &Daemon, output: &Output) -> Done {
    match command {
        Command::Add { count, interface, filter } => {
            let filter = (!filter.is_empty()).then(|| filter.join(" "));
            let trace = NewTrace { count: *count, interface: interface.clone(), filter };
            changed(&daemon.get(&Action::TraceAdd { trace: Json(trace) })?, output)
        }
        Command::Show => {
            let traces: Traces = daemon.get(&Action::Traces {})?;
            if output.is_json() {
                output.json(&traces)?;
            } else if traces.traces.is_empty() {
                output.note("no packet was followed yet: `weir trace add -n 10`, then wait for packets");
            } else {
                let each: Vec<String> = traces.traces.iter().enumerate().map(described).collect();
                output.text(each.join("\n\n"))?;
            }
            Ok(Code::Ok)
        }
        Command::Clear => changed(&daemon.get(&Action::TraceClear {})?, output),
    }
}

/// A packet's way: a line for the packet, then one for each stage.
fn described((at, trace): (usize, &Trace)) -> String {
    const SHOWN: usize = 28;
    let short = trace.packet.get(..SHOWN).map_or(trace.packet.clone(), |start| format!("{start}…"));
    let mut lines = vec![format!(
        "Packet {}: {}  from {}  {} bytes  {short}",
        at + 1,
        trace.at,
        trace.interface,
        trace.packet.len() / 2
    )];
    let width = trace.stages.iter().map(|stage| stage.stage.len()).max().unwrap_or_default();
    lines.extend(trace.stages.iter().map(|stage| {
        let program = stage.program.as_ref().map(|program| format!("{program}: ")).unwrap_or_default();
        format!("  {:<width$}  {program}{}", stage.stage, stage.result)
    }));
    lines.join("\n")
}
