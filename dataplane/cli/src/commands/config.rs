//! `weir config`: the configuration in force, and changing it whole.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::anyhow;
use clap::Subcommand;
use weir_control::Action;
use weir_control::action::field::Toml;
use weir_control::reply;

use super::prog::{How, change, history};
use crate::daemon::Daemon;
use crate::exit::{Code, Done, Failure};
use crate::output::{Colour, Output};

/// What to do with the configuration. Paths of objects in it are relative to the daemon's own file.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show the configuration in force
    Show,
    /// Say whether a file could be applied
    Check {
        /// The file; `-` for standard input
        file: PathBuf,
    },
    /// Say how a file differs from what is in force, and what applying it would do
    Diff {
        /// The file; `-` for standard input
        file: PathBuf,
    },
    /// Put a file in force, whole or not at all, while traffic flows
    Apply {
        /// The file; `-` for standard input
        file: PathBuf,
        /// Take it back by itself unless `weir config confirm` is said in this time
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        confirm: Option<Duration>,
        #[command(flatten)]
        how: How,
    },
    /// Keep what was applied with --confirm
    Confirm,
    /// Go back to the generation before, or to a numbered one that is still kept
    Rollback {
        /// The generation
        generation: Option<u64>,
    },
    /// Show the generations there were
    History,
}

/// Runs the command.
pub(crate) fn run(command: &Command, daemon: &Daemon, output: &Output) -> Done {
    match command {
        Command::Show => {
            let config: reply::Config = daemon.get(&Action::Config {})?;
            match output.is_json() {
                true => output.json(&config)?,
                false => {
                    output.note(format_args!(
                        "# generation {}, etag {}, since {}",
                        config.generation, config.etag, config.since
                    ));
                    output.text(config.text.trim_end())?;
                }
            }
            Ok(Code::Ok)
        }
        Command::Check { file } => check(&daemon.get(&Action::ConfigCheck { text: text(file)? })?, output),
        Command::Diff { file } => diff(&daemon.get(&Action::ConfigDiff { text: text(file)? })?, output),
        Command::Apply { file, confirm, how } => {
            let apply = Action::ConfigApply {
                if_match: how.if_match.clone(),
                dry_run: how.dry_run,
                confirm: *confirm,
                scratch: how.scratch.clone(),
                probation: how.probation,
                abort_rate: how.abort_rate,
                drop_rate: how.drop_rate,
                text: text(file)?,
            };
            change(&apply, daemon, output)
        }
        Command::Confirm => {
            let confirmed: reply::Confirmed = daemon.get(&Action::ConfigConfirm {})?;
            match output.is_json() {
                true => output.json(&confirmed)?,
                false => output.text(format_args!("generation {} is kept", confirmed.generation))?,
            }
            Ok(Code::Ok)
        }
        Command::Rollback { generation } => {
            change(&Action::ConfigRollback { to: *generation }, daemon, output)
        }
        Command::History => history(&daemon.get(&Action::ConfigHistory {})?, output),
    }
}

fn text(file: &Path) -> Result<Toml, Failure> {
    let bytes = crate::source::read(file)?;
    let text = String::from_utf8(bytes);
    let text = text.map_err(|error| Failure::new(Code::Usage, anyhow!("{}: {error}", file.display())))?;
    Ok(Toml(text))
}

fn check(checked: &reply::Checked, output: &Output) -> Done {
    let code = match (checked.ok, checked.diagnostics.is_empty()) {
        (true, _) => Code::Ok,
        (false, true) => Code::Usage,
        (false, false) => Code::Rejected,
    };
    if output.is_json() {
        output.json(checked)?;
        return Ok(code);
    }
    for error in &checked.errors {
        output.text(format_args!("{}: {error}", output.paint(Colour::Red, "wrong")))?;
    }
    for diagnostic in &checked.diagnostics {
        output.text(crate::output::diagnosed(diagnostic))?;
    }
    if checked.ok {
        let mut lines = vec![format!("{}: it could be applied", output.paint(Colour::Green, "ok"))];
        lines.extend(checked.plan.iter().flat_map(super::prog::plan));
        output.text(lines.join("\n"))?;
    }
    Ok(code)
}

fn diff(diff: &reply::Diff, output: &Output) -> Done {
    if output.is_json() {
        output.json(diff)?;
    } else if !diff.differs {
        output.note("it is what is in force");
    } else {
        for line in diff.text.lines() {
            output.text(match line.as_bytes().first() {
                Some(b'+') => output.paint(Colour::Green, line),
                Some(b'-') => output.paint(Colour::Red, line),
                _ => line.to_owned(),
            })?;
        }
        for line in diff.plan.iter().flat_map(super::prog::plan) {
            output.note(line);
        }
        if let Some(why) = &diff.refused {
            output.note(format_args!("it could not be applied: {why}"));
        }
    }
    // As diff(1) answers.
    Ok(if diff.differs { Code::Failed } else { Code::Ok })
}
