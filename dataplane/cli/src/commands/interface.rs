//! `weir if`: the interfaces of a running weir, and how they are.

use clap::Subcommand;
use weir_control::Action;
use weir_control::reply::{Interface, Interfaces};

use super::doctor::running::losses;
use crate::daemon::Daemon;
use crate::exit::{Code, Done};
use crate::output::{Colour, Output, table};

/// What to do with interfaces.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show the interfaces, or one of them
    #[command(alias = "list")]
    Show {
        /// Its name in the configuration
        #[arg(value_name = "IF")]
        interface: Option<String>,
    },
    /// Say why packets would not flow, and what to do about it
    Doctor(super::doctor::Arguments),
}

/// Runs the command.
pub(crate) fn run(command: &Command, daemon: &Daemon, output: &Output) -> Done {
    match command {
        Command::Doctor(arguments) => super::doctor::run(arguments, daemon, output),
        Command::Show { interface: Some(name) } => {
            let interface: Interface = daemon.get(&Action::Interface { interface: name.clone() })?;
            match output.is_json() {
                true => output.json(&interface)?,
                false => output.text(described(&interface, output))?,
            }
            Ok(Code::Ok)
        }
        Command::Show { interface: None } => {
            let interfaces: Interfaces = daemon.get(&Action::Interfaces {})?;
            match output.is_json() {
                true => output.json(&interfaces.interfaces)?,
                false => {
                    let each = interfaces.interfaces.iter().map(|interface| described(interface, output));
                    output.text(each.collect::<Vec<_>>().join("\n"))?;
                }
            }
            Ok(Code::Ok)
        }
    }
}

/// An interface as `ip address` shows one, and its queues.
fn described(interface: &Interface, output: &Output) -> String {
    let state = match interface.state.as_str() {
        "up" => output.paint(Colour::Green, "up"),
        state => output.paint(Colour::Red, state),
    };
    let device = match &interface.device {
        Some(device) if *device != interface.name => format!("@{device}"),
        _ => String::new(),
    };
    let mut lines = vec![format!(
        "{}: {}{device}: {state}  driver {}  mtu {}  mac {}",
        interface.ifindex, interface.name, interface.driver, interface.mtu, interface.mac
    )];
    if let Some(reason) = &interface.reason {
        lines.push(format!("\tdown because {reason}"));
    }
    if !interface.addresses.is_empty() {
        lines.push(format!("\taddress {}", interface.addresses.join(" ")));
    }
    let mut how: Vec<String> = interface.mode.iter().map(|mode| format!("{mode} XDP")).collect();
    how.extend(interface.zero_copy.map(|zero| if zero { "zero-copy" } else { "copy mode" }.to_owned()));
    if interface.reopened > 0 {
        how.push(format!("reopened {} times", interface.reopened));
    }
    if !how.is_empty() {
        lines.push(format!("\t{}", how.join("  ")));
    }
    if !interface.queues.is_empty() {
        lines.extend(queues(interface).lines().map(|line| format!("\t{line}")));
    }
    lines.join("\n")
}

/// Frames by ring, and what the socket counts.
fn queues(interface: &Interface) -> String {
    let rows = interface.queues.iter().map(|queue| {
        let frames = [queue.fill, queue.rx, queue.tx, queue.completion].map(|frames| frames.to_string());
        let troubles = losses(&queue.xsk).map(|(name, count)| format!("{name} {count}"));
        let mut row = vec![queue.queue.to_string(), queue.worker.to_string()];
        row.extend(frames);
        row.push(troubles.collect::<Vec<_>>().join("  "));
        row
    });
    table(&["queue", "worker", "fill", "rx", "tx", "completion", "losses"], 7, rows.collect())
}
