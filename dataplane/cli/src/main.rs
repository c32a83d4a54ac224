//! The `weir` binary: one file per command.
//!
//! A command reads its arguments, asks the rooms below, and says what came of it: data on stdout,
//! everything else on stderr, and an exit code from [`exit::Code`].
#![forbid(unsafe_code)]

mod commands;
mod exit;
mod output;
mod source;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::output::{Output, OutputArgs};

/// A programmable packet dataplane in user space: runs XDP and tc programs, unmodified.
#[derive(Parser)]
#[command(name = "weir", version, infer_subcommands = true, propagate_version = true)]
struct Arguments {
    #[command(flatten)]
    output: OutputArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Prove programs, or say why not
    Check(commands::check::Arguments),
    /// Run one program on packets of your own: verdict, changed bytes, map changes
    Exec(commands::exec::Arguments),
    /// Show what is in an object, and what it needs
    Inspect(commands::inspect::Arguments),
    /// Play captures through the programs of a configuration, or of one object, and count everything
    Replay(commands::replay::Arguments),
    /// Look at captures, and make traffic up
    Pcap(commands::pcap::Arguments),
    /// Say why packets would not flow, and what to do about it
    Doctor(commands::doctor::Arguments),
    /// Run a case of the bpf_conformance suite, as its runner asks
    #[command(hide = true)]
    ConformancePlugin(commands::conformance_plugin::Arguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let output = Output::new(&arguments.output);
    let done = match arguments.command {
        Command::Check(arguments) => commands::check::run(&arguments, &output),
        Command::Exec(arguments) => commands::exec::run(&arguments, &output),
        Command::Pcap(arguments) => commands::pcap::run(&arguments, &output),
        Command::ConformancePlugin(arguments) => commands::conformance_plugin::run(&arguments)
            .map(|()| exit::Code::Ok)
            .map_err(exit::Failure::from),
        Command::Doctor(arguments) => commands::doctor::run(&arguments, &output),
        Command::Inspect(arguments) => commands::inspect::run(&arguments, &output),
        Command::Replay(arguments) => commands::replay::run(&arguments, &output),
    };
    exit::finish(done, &output)
}
