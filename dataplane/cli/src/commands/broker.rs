//! `weir broker`: the privileged half of `weir run`, which starts it; not for people.

use std::io::Write as _;
use std::os::fd::AsFd as _;

use weir_io::broker::{self, Ended};

use anyhow::Context as _;

use crate::exit::{Code, Done};

/// The channel is standard input.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Keep every privilege
    #[arg(long)]
    no_sandbox: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Done {
    let socket = std::io::stdin().as_fd().try_clone_to_owned().context("standard input")?;
    let ended = broker::run(socket, !arguments.no_sandbox, |report| {
        // One line in the log says what is in force; what is not, is in it too.
        let words =
            report.map_or_else(|| "the broker runs without a sandbox".to_owned(), ToString::to_string);
        // Whole, since the daemon writes to the same log.
        let line = format!("weir: {words}\n");
        let _ = std::io::stderr().write_all(line.as_bytes());
    });
    match ended {
        Ok(Ended::PeerGone) => Ok(Code::Ok),
        Ok(Ended::PeerStrange(why)) => Err(anyhow::anyhow!("the broker was not understood: {why}").into()),
        Err(error) => Err(anyhow::anyhow!("`weir broker` is started by `weir run` only: {error}").into()),
    }
}
