//! `weir capture`: packets with their verdicts, as pcapng; tcpdump's letters.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::Args;
use weir_control::Action;
use weir_control::action::field::Json;
use weir_control::reply::NewCapture;

use crate::daemon::Daemon;
use crate::exit::{Code, Done, Failure};
use crate::output::Output;

/// Arguments of `weir capture`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Only this interface; all when absent
    #[arg(short, long, value_name = "IF")]
    interface: Option<String>,
    /// Write pcapng to this file; `-` for standard output
    #[arg(short, long, value_name = "FILE")]
    write: PathBuf,
    /// End after so many packets
    #[arg(short, long, value_name = "N")]
    count: Option<u64>,
    /// At most so many bytes of each packet
    #[arg(short, long, value_name = "BYTES")]
    snap: Option<u32>,
    /// Where: before programs, after them, or both
    #[arg(long, value_name = "WHERE", value_delimiter = ',', value_parser = ["entry", "exit"])]
    at: Vec<String>,
    /// Only packets with this verdict: drop, pass, tx, redirect, aborted
    #[arg(long, value_name = "VERDICT")]
    verdict: Option<String>,
    /// Only packets dropped for this reason; `weir stats drops` names them
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// Only packets that this expression matches, as they are where they are copied: tcpdump's words
    #[arg(value_name = "EXPR")]
    filter: Vec<String>,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments, daemon: &Daemon, output: &Output) -> Done {
    let capture = NewCapture {
        interface: arguments.interface.clone(),
        verdict: arguments.verdict.as_ref().map(|verdict| verdict.to_ascii_lowercase()),
        reason: arguments.reason.clone(),
        at: arguments.at.clone(),
        count: arguments.count,
        snap: arguments.snap,
        filter: (!arguments.filter.is_empty()).then(|| arguments.filter.join(" ")),
    };
    let mut stream = daemon.stream(&Action::Capture { capture: Json(capture) })?;
    let path = &arguments.write;
    let mut file: Box<dyn Write> = match path == Path::new("-") {
        true => Box::new(io::stdout().lock()),
        false => Box::new(
            File::create(path)
                .map_err(|error| Failure::new(Code::Usage, anyhow!("{}: {error}", path.display())))?,
        ),
    };
    let mut bytes = 0u64;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        // Whoever reads the file while it grows sees what has come.
        file.write_all(buffer.get(..read).unwrap_or_default())?;
        file.flush()?;
        bytes += read as u64;
    }
    output.note(format_args!("{} of pcapng written to {}", crate::output::bytes(bytes), path.display()));
    Ok(Code::Ok)
}
