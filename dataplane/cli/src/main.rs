//! The `weir` binary: one file per command.
//!
//! A command reads its arguments, asks the rooms below, and says what came of it: data on stdout,
//! everything else on stderr, and an exit code from [`exit::Code`].
#![forbid(unsafe_code)]

mod commands;
mod daemon;
mod examples;
mod exit;
mod missing;
mod output;
mod rates;
mod source;
mod usage;
mod words;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::daemon::{Daemon, SocketArgs};
use crate::output::{Output, OutputArgs};

/// A programmable packet dataplane in user space: runs XDP and tc programs, unmodified.
#[derive(Parser)]
#[command(name = "weir", version, infer_subcommands = true, propagate_version = true, after_help = examples::WEIR)]
struct Arguments {
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    socket: SocketArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Prove programs, or say why not
    #[command(after_help = examples::CHECK)]
    Check(commands::check::Arguments),
    /// Run one program on packets of your own: verdict, changed bytes, map changes
    #[command(after_help = examples::EXEC)]
    Exec(commands::exec::Arguments),
    /// Show what is in an object, and what it needs
    Inspect(commands::inspect::Arguments),
    /// Play captures through the programs of a configuration, or of one object, and count everything
    #[command(after_help = examples::REPLAY)]
    Replay(commands::replay::Arguments),
    /// Look at captures, and make traffic up
    Pcap(commands::pcap::Arguments),
    /// Run weir: move packets as a configuration says, and answer at the control socket
    #[command(after_help = examples::RUN)]
    Run(commands::run::Arguments),
    #[command(flatten)]
    Live(Live),
    /// The privileged half of `weir run`, which starts it
    #[command(hide = true)]
    Broker(commands::broker::Arguments),
    /// Run a case of the bpf_conformance suite, as its runner asks
    #[command(hide = true)]
    ConformancePlugin(commands::conformance_plugin::Arguments),
}

/// What a running weir is asked.
#[derive(Subcommand)]
enum Live {
    /// Programs: show, load, replace while traffic flows, roll back, run, dump
    #[command(subcommand, alias = "p", after_help = examples::PROG)]
    Prog(commands::prog::Command),
    /// Maps: show, dump, look up, change, watch, export
    #[command(subcommand, alias = "m", after_help = examples::MAP)]
    Map(commands::map::Command),
    /// What is attached where
    #[command(subcommand, alias = "n", after_help = examples::NET)]
    Net(commands::net::Command),
    /// Interfaces, and how they are
    #[command(subcommand)]
    If(commands::interface::Command),
    /// Routes that the router goes by
    #[command(subcommand, alias = "r", after_help = examples::ROUTE)]
    Route(commands::route::Command),
    /// Neighbours, and how well they are known
    #[command(subcommand)]
    Neigh(commands::route::NeighborCommand),
    /// Everything that is counted
    #[command(after_help = examples::STATS)]
    Stats(commands::stats::Arguments),
    /// Rates that move, on a screen
    Top(commands::top::Arguments),
    /// The configuration: show, check, diff, apply, confirm, roll back
    #[command(subcommand, after_help = examples::CONFIG)]
    Config(commands::config::Command),
    /// Packets with their verdicts, as pcapng
    #[command(after_help = examples::CAPTURE)]
    Capture(commands::capture::Arguments),
    /// The way of single packets, stage by stage
    #[command(subcommand, after_help = examples::TRACE)]
    Trace(commands::trace::Command),
    /// What happens, as it happens
    Events(commands::events::Arguments),
    /// Say why packets would not flow, and what to do about it
    Doctor(commands::doctor::Arguments),
    /// Which weir this is, or which one runs
    Version(commands::version::Arguments),
}

fn live(command: &Live, socket: &SocketArgs, output: &Output) -> exit::Done {
    let daemon = Daemon::at(socket)?;
    match command {
        Live::Prog(command) => commands::prog::run(command, &daemon, output),
        Live::Map(command) => commands::map::run(command, &daemon, output),
        Live::Net(command) => commands::net::run(command, &daemon, output),
        Live::If(command) => commands::interface::run(command, &daemon, output),
        Live::Route(command) => commands::route::run(command, &daemon, output),
        Live::Neigh(command) => commands::route::run_neighbors(command, &daemon, output),
        Live::Stats(arguments) => commands::stats::run(arguments, &daemon, output),
        Live::Top(arguments) => commands::top::run(arguments, &daemon, output),
        Live::Config(command) => commands::config::run(command, &daemon, output),
        Live::Capture(arguments) => commands::capture::run(arguments, &daemon, output),
        Live::Trace(command) => commands::trace::run(command, &daemon, output),
        Live::Events(arguments) => commands::events::run(arguments, &daemon, output),
        Live::Doctor(arguments) => commands::doctor::run(arguments, &daemon, output),
        Live::Version(arguments) => commands::version::run(arguments, &daemon, output),
    }
}

fn parse() -> Result<Arguments, clap::Error> {
    let mut command = usage::told(Arguments::command());
    let matches = command.try_get_matches_from_mut(std::env::args_os())?;
    Arguments::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let arguments = match parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let output = Output::of_words(&words);
            let in_json = || output.is_json().then(|| usage::failure(&error)).flatten();
            match missing::failure(&error, &words).or_else(in_json) {
                Some(failure) => return exit::finish(Err(failure), &output),
                None => error.exit(),
            }
        }
    };
    let output = Output::new(&arguments.output);
    let done = match arguments.command {
        Command::Check(arguments) => commands::check::run(&arguments, &output),
        Command::Exec(arguments) => commands::exec::run(&arguments, &output),
        Command::Pcap(arguments) => commands::pcap::run(&arguments, &output),
        Command::ConformancePlugin(arguments) => commands::conformance_plugin::run(&arguments)
            .map(|()| exit::Code::Ok)
            .map_err(exit::Failure::from),
        Command::Broker(arguments) => commands::broker::run(&arguments),
        Command::Run(run) => commands::run::run(&run, &arguments.socket, &output),
        Command::Live(command) => live(&command, &arguments.socket, &output),
        Command::Inspect(arguments) => commands::inspect::run(&arguments, &output),
        Command::Replay(arguments) => commands::replay::run(&arguments, &output),
    };
    exit::finish(done, &output)
}
