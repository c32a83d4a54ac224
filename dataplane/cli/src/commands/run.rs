//! `weir run`: the daemon.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use weir_control::daemon::{self, Options, RunError};
use weir_control::notify::Notifier;
use weir_control::privileges::{Access, Confinement};
use weir_engine::build::BuildError;
use weir_engine::live::{ChangeError, StartError};

use crate::daemon::SocketArgs;
use crate::exit::{Code, Done, Failure};
use crate::output::Output;

/// Arguments of `weir run`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The configuration
    #[arg(default_value = "/etc/weir/weir.toml")]
    config: PathBuf,
    /// Say whether it would run, and do not run it
    #[arg(long)]
    check: bool,
    /// Also write who changed what to this file
    #[arg(long, value_name = "FILE")]
    audit: Option<PathBuf>,
    /// Log in JSON
    #[arg(long)]
    log_json: bool,
    /// Keep every right that it is started with
    #[arg(long)]
    no_sandbox: bool,
}

pub(crate) fn run(arguments: &Arguments, socket: &SocketArgs, output: &Output) -> Done {
    // Before the broker is started, and says what it gave up.
    if let Err(error) = std::fs::metadata(&arguments.config) {
        let what = anyhow!("{}: {error}", arguments.config.display());
        let hint = "`weir run CONFIG`: config/router.toml and config/demo.toml are to begin with";
        return Err(Failure::new(Code::Usage, what).hint(hint));
    }
    if arguments.check {
        daemon::check(&arguments.config).map_err(failure)?;
        output.note(format_args!("{}: ok", arguments.config.display()));
        return Ok(Code::Ok);
    }
    daemon::log::start(arguments.log_json);
    let confinement = if arguments.no_sandbox { Confinement::Open } else { Confinement::Sandboxed };
    // Before any other thread is there: the broker is made of this process.
    let access = Access::start(confinement).map_err(|error| Failure::new(Code::Unsupported, error))?;
    let mut options = Options::new(access, confinement);
    // The configuration names the socket, unless somebody else does.
    let usual = socket.sock.as_path() == std::path::Path::new(weir_control::SOCKET);
    options.socket = (!usual).then(|| socket.sock.clone());
    options.audit.clone_from(&arguments.audit);
    options.notifier = Notifier::from_environment().unwrap_or_else(|_| Notifier::silent());
    let ended = daemon::run(&arguments.config, options).map_err(failure)?;
    if ended.frames_lost > 0 || !ended.stalled.is_empty() {
        let what = anyhow!(
            "{} frames were never given back; stalled workers: {:?}",
            ended.frames_lost,
            ended.stalled
        );
        return Err(Failure::new(Code::Failed, what));
    }
    Ok(Code::Ok)
}

/// An error with its exit code: what is refused, what is wrong, what this machine does not have.
fn failure(error: RunError) -> Failure {
    match error {
        RunError::Config(ChangeError::Build(BuildError::Load(error)))
        | RunError::Build(BuildError::Load(error)) => Failure::from(error),
        RunError::Start(StartError::Config(error)) => failure(RunError::Config(error)),
        RunError::Start(StartError::Build(error)) => failure(RunError::Build(error)),
        RunError::Config(_) | RunError::Build(_) | RunError::Start(StartError::Routes(_)) => {
            Failure::new(Code::Usage, error)
        }
        RunError::Start(_) | RunError::Settle(_) => Failure::new(Code::Unsupported, error),
        RunError::Socket { .. } | RunError::System { .. } | RunError::BrokerGone => {
            Failure::new(Code::Failed, error)
        }
    }
}
