//! `weir doctor`: why packets would not flow, in words, and what to do about it.
//!
//! It asks and changes nothing. [`machine`] looks at the kernel and this process, [`running`] asks the
//! daemon if one answers, [`device`] looks at one network device, [`network`] at the kernel's routing
//! around it. Each gathers what it needs into
//! values first and judges those, so that tests judge machines that we do not have.

mod device;
mod facts;
mod machine;
mod network;
pub(crate) mod running;

use clap::Args;
use serde::Serialize;

use crate::daemon::Daemon;
use crate::exit::{Code, Done, Failure};
use crate::output::{Colour, Output};
use facts::Files;

/// Arguments of `weir doctor` and `weir if doctor`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The network device to look at, or an interface of the running weir; the machine alone when left out
    #[arg(value_name = "IF")]
    device: Option<String>,
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// As it should be.
    Ok,
    /// Packets flow, but fewer than could, or other than one may think.
    Warn,
    /// Packets will not flow.
    Fault,
}

/// One thing looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    /// What was looked at, in a word or two; stable, for scripts.
    pub(crate) name: &'static str,
    /// How it is.
    pub(crate) state: State,
    /// The finding.
    pub(crate) sentence: String,
    /// What to do about it: a command or a line of the configuration where there is one.
    #[serde(rename = "try", skip_serializing_if = "Option::is_none")]
    pub(crate) remedy: Option<String>,
}

impl Check {
    pub(crate) fn ok(name: &'static str, sentence: impl Into<String>) -> Self {
        Self { name, state: State::Ok, sentence: sentence.into(), remedy: None }
    }

    pub(crate) fn warn(name: &'static str, sentence: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, state: State::Warn, sentence: sentence.into(), remedy: Some(remedy.into()) }
    }

    pub(crate) fn fault(name: &'static str, sentence: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, state: State::Fault, sentence: sentence.into(), remedy: Some(remedy.into()) }
    }
}

#[derive(Serialize)]
struct Report {
    schema: &'static str,
    device: Option<String>,
    checks: Vec<Check>,
    faults: usize,
    warnings: usize,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments, daemon: &Daemon, output: &Output) -> Done {
    let files = Files::of_this_machine();
    let machine = facts::Machine::read(&files);
    let mut checks = machine::judge(&machine);
    let running = running::Running::read(daemon);
    let named = arguments.device.as_deref();
    checks.extend(running::judge(running.as_ref(), named));
    if let Some(name) = named {
        let ours = running.as_ref().and_then(|running| running.interface(name));
        match ours {
            Some(interface) if interface.device.is_none() => {}
            _ => {
                let device = ours.and_then(|interface| interface.device.as_deref()).unwrap_or(name);
                let found =
                    facts::Device::read(device, &files).map_err(|error| no_such_device(device, &error))?;
                checks.extend(device::judge(&found, &machine, ours.is_some()));
                checks.extend(network::judge(&facts::Network::read(device, &files)));
            }
        }
    }
    let count = |state| checks.iter().filter(|check| check.state == state).count();
    let (faults, warnings) = (count(State::Fault), count(State::Warn));
    let report =
        Report { schema: "weir.v1.doctor", device: arguments.device.clone(), checks, faults, warnings };
    say(&report, output)?;
    Ok(if faults > 0 { Code::Failed } else { Code::Ok })
}

fn no_such_device(name: &str, error: &std::io::Error) -> Failure {
    let names = facts::device_names();
    Failure::new(
        Code::Usage,
        anyhow::anyhow!("no network device `{name}` ({error}); there is {}", names.join(", ")),
    )
}

fn say(report: &Report, output: &Output) -> std::io::Result<()> {
    if output.is_json() {
        return output.json(report);
    }
    for check in &report.checks {
        let (word, colour) = match check.state {
            State::Ok => ("ok   ", Colour::Green),
            State::Warn => ("warn ", Colour::Magenta),
            State::Fault => ("fault", Colour::Red),
        };
        output.text(format_args!(
            "{}  {:<14}  {}",
            output.paint(colour, word),
            check.name,
            check.sentence
        ))?;
        if let Some(remedy) = &check.remedy {
            output.text(format_args!("{:23}try: {remedy}", ""))?;
        }
    }
    output.text(format_args!(
        "{}, {}",
        counted(report.faults, "fault", "faults"),
        counted(report.warnings, "warning", "warnings"),
    ))
}

/// `1 fault`, `2 faults`.
pub(crate) fn counted(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}
