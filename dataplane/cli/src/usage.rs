//! How commands of bare words are written: their about texts say it, behind a colon, and help shows it as the usage.

use anyhow::anyhow;
use clap::Command;
use clap::error::ErrorKind;

use crate::exit::{Code, Failure};

/// Has each verb that takes bare words show them as its usage.
pub(crate) fn told(command: Command) -> Command {
    command.mut_subcommands(|noun| {
        let of = noun.get_name().to_owned();
        noun.mut_subcommands(|verb| of_words(&of, verb))
    })
}

fn of_words(noun: &str, verb: Command) -> Command {
    let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
    let takes_words = verb.get_arguments().any(|argument| argument.get_id() == "words");
    let Some((_, words)) = about.split_once(": ").filter(|_| takes_words) else { return verb };
    let usage = format!("weir {noun} {} [OPTIONS] {words}", verb.get_name());
    verb.override_usage(usage).mut_arg("words", |words| words.hide(true))
}

/// What clap says of a command line that it cannot read, for who asked for JSON. Help and the version are no errors.
pub(crate) fn failure(error: &clap::Error) -> Option<Failure> {
    if !error.use_stderr() {
        return None;
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Some(Failure::new(Code::Usage, anyhow!("a command is missing")).hint("weir --help"));
    }
    // Paragraphs: what is wrong, perhaps a tip, the usage, where to read more.
    let text = error.render().to_string();
    let mut paragraphs = text.split("\n\n").map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "));
    let wrong = paragraphs.next().unwrap_or_default();
    let failure = Failure::new(Code::Usage, anyhow!("{}", wrong.trim_start_matches("error: ")));
    let rest: Vec<String> = paragraphs.collect();
    let about = |word: &str| rest.iter().find_map(|part| part.strip_prefix(word).map(str::to_owned));
    Some(match about("tip: ").or_else(|| about("Usage: ")) {
        Some(hint) => failure.hint(hint),
        None => failure.hint("weir --help"),
    })
}
