//! `weir version`: which weir this is, and which one runs. What the kernel can do is `weir doctor`'s to say.

use clap::Args;
use serde::Serialize;
use weir_control::reply::Version;
use weir_control::{Action, built};

use crate::daemon::Daemon;
use crate::exit::{Code, Done};
use crate::output::Output;

/// Arguments of `weir version`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Ask the running weir which one it is; exit code 4 when none answers
    #[arg(long)]
    daemon: bool,
}

/// What this binary is.
#[derive(Serialize)]
struct Built {
    schema: &'static str,
    version: &'static str,
    commit: Option<&'static str>,
    rustc: &'static str,
    target: &'static str,
    profile: &'static str,
    features: Vec<&'static str>,
}

impl Built {
    fn this() -> Self {
        // What there is on some machines only.
        let jit = cfg!(target_arch = "x86_64").then_some("jit");
        Self {
            schema: "weir.v1.build",
            version: built::VERSION,
            commit: built::COMMIT,
            rustc: built::RUSTC,
            target: built::TARGET,
            profile: built::PROFILE,
            features: jit.into_iter().collect(),
        }
    }
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments, daemon: &Daemon, output: &Output) -> Done {
    if arguments.daemon {
        return running(&daemon.get(&Action::Version {})?, output);
    }
    let Built { version, commit, rustc, target, profile, features, .. } = &Built::this();
    match output.is_json() {
        true => output.json(&Built::this())?,
        false => output.text(format_args!(
            "weir v{version}\nbuilt by rustc {rustc} for {target} ({profile}), commit {}\nfeatures: {}",
            commit.unwrap_or("unknown"),
            if features.is_empty() { "none".to_owned() } else { features.join(", ") }
        ))?,
    }
    Ok(Code::Ok)
}

fn running(version: &Version, output: &Output) -> Done {
    match output.is_json() {
        true => output.json(version)?,
        false => output.text(format_args!(
            "weir v{}\nbuilt by rustc {}, commit {}\nprocess {}, since {}, generation {}",
            version.version,
            version.rustc,
            version.commit.as_deref().unwrap_or("unknown"),
            version.pid,
            version.started_at,
            version.generation
        ))?,
    }
    if version.version != built::VERSION {
        output.note(format_args!("this command is v{}: not the same", built::VERSION));
    }
    Ok(Code::Ok)
}
