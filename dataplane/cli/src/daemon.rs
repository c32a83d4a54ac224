//! Speaking to a running weir: one connection, and what its refusals mean for the exit code.

use std::io::ErrorKind;
use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use serde::de::DeserializeOwned;
use weir_control::client::{Events, Reply, Stream};
use weir_control::problem::Cause;
use weir_control::{Action, Client, ClientError, Problem};

use crate::exit::{Code, Failure};

/// Which daemon is meant.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct SocketArgs {
    /// Socket of the running weir
    #[arg(long, global = true, env = "WEIR_SOCK", hide_env_values = true, value_name = "PATH",
          default_value = weir_control::SOCKET)]
    pub(crate) sock: PathBuf,
}

/// A running weir.
pub(crate) struct Daemon {
    client: Client,
}

impl Daemon {
    /// The one at this socket. Nothing is asked yet.
    pub(crate) fn at(socket: &SocketArgs) -> Result<Self, Failure> {
        Ok(Self { client: Client::new(&socket.sock).map_err(failure)? })
    }

    /// The same daemon, for another thread.
    pub(crate) fn again(&self) -> Result<Self, Failure> {
        Ok(Self { client: Client::new(self.client.socket()).map_err(failure)? })
    }

    /// Asks, and reads the answer as its type.
    pub(crate) fn get<T: DeserializeOwned>(&self, action: &Action) -> Result<T, Failure> {
        self.client.get(action).map_err(failure)
    }

    /// Asks, and leaves the answer as it came.
    pub(crate) fn call(&self, action: &Action) -> Result<Reply, Failure> {
        self.client.call(action).map_err(failure)
    }

    /// Asks for bytes that go on.
    pub(crate) fn stream(&self, action: &Action) -> Result<Stream<'_>, Failure> {
        self.client.stream(action).map_err(failure)
    }

    /// Asks for events that go on.
    pub(crate) fn events(&self, action: &Action) -> Result<Events<'_>, Failure> {
        self.client.events(action).map_err(failure)
    }
}

/// What an error of the client means for who called us.
pub(crate) fn failure(error: ClientError) -> Failure {
    match error {
        ClientError::Problem(problem) => refused(*problem),
        ClientError::Unreachable { socket, source } => unreachable(&socket, &source),
        ClientError::TimedOut(limit) => {
            Failure::new(Code::Unreachable, anyhow!("the daemon gave no answer in {} s", limit.as_secs()))
                .hint("`systemctl status weir` and its log; `weir -j stats workers` once it answers")
        }
        ClientError::Protocol(_) => Failure::new(Code::Failed, error),
    }
}

fn unreachable(socket: &std::path::Path, source: &std::io::Error) -> Failure {
    let hint = match source.kind() {
        ErrorKind::PermissionDenied => "sudo, or be in the group `weir` (to change) or `weir-ro` (to look)",
        ErrorKind::ConnectionRefused => {
            "the daemon that made this socket is gone: start it with `weir run CONFIG`, or `systemctl start weir`"
        }
        _ => {
            "start it with `weir run CONFIG`, or `systemctl start weir`; another socket: --sock PATH or WEIR_SOCK"
        }
    };
    let what = anyhow!("no daemon answers at {}: {source}", socket.display());
    Failure::new(Code::Unreachable, what).hint(hint)
}

fn refused(problem: Problem) -> Failure {
    let cause = problem.cause();
    let code = cause.map_or(Code::Failed, exit_code);
    let mut failure = Failure::new(code, anyhow!("{}", problem.detail));
    failure.id = Some(problem.code);
    failure.hint = problem.hint.or_else(|| usual_hint(cause?));
    failure.diagnostics = problem.diagnostics;
    failure
}

/// The exit code that a cause stands for.
fn exit_code(cause: Cause) -> Code {
    match cause {
        Cause::NotFound
        | Cause::Slow
        | Cause::TooMany
        | Cause::Internal
        | Cause::Unavailable
        | Cause::Deadline => Code::Failed,
        Cause::Bad
        | Cause::Method
        | Cause::TooLarge
        | Cause::UriTooLong
        | Cause::Media
        | Cause::HeadTooLarge
        | Cause::Invalid => Code::Usage,
        Cause::Rejected => Code::Rejected,
        Cause::Conflict | Cause::Stale => Code::Conflict,
        Cause::Forbidden | Cause::NotBuilt => Code::Unsupported,
    }
}

/// What to try when the daemon has no better idea.
fn usual_hint(cause: Cause) -> Option<String> {
    match cause {
        Cause::Stale => Some("look again: `weir config show`, `weir config diff FILE`".to_owned()),
        Cause::Rejected => {
            Some("`weir check OBJECT --log-level 1` says the whole story, without a daemon".to_owned())
        }
        _ => None,
    }
}
