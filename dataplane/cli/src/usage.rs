//! How commands of bare words are written: their about texts say it, behind a colon, and help shows it as the usage.

use clap::Command;

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
