//! Verbs that people look for and that are not built: said in words, with what there is instead.

use anyhow::anyhow;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::exit::{Code, Failure};

/// Noun (empty for a verb that stands first), verb, and what to try instead.
const MISSING: [(&str, &str, &str); 22] = [
    (
        "",
        "test",
        "`weir exec` runs a program on one packet, `weir replay` on a capture; both can be asked in JSON",
    ),
    (
        "",
        "debug",
        "`weir exec` shows verdict, bytes and maps of one packet, `weir inspect OBJ insns` the instructions",
    ),
    ("", "bench", "`weir replay OBJ CAPTURE --secs N` says how fast it is"),
    ("", "gen", "config/ has configurations to begin with; `weir pcap gen` makes traffic"),
    ("", "expr", "`weir capture` and `weir trace add` take expressions"),
    (
        "",
        "fw",
        "programs/firewall is a firewall; its rules are in maps: `weir map update deny4 key PREFIX value 0`",
    ),
    ("", "ct", "programs keep connections in maps of their own: `weir map dump`"),
    ("", "nat", "a program may translate addresses, with its table in a map; weir has none of its own"),
    ("", "fleet", "one weir at a time: `--sock PATH`, by ssh"),
    ("prog", "profile", "`weir stats programs` says how long programs run"),
    ("map", "push", "programs push; `weir map dump` shows what there is"),
    ("map", "pop", "programs pop; `weir map dump` shows what there is"),
    ("map", "freeze", "constants are set by `rodata` in the configuration, and are frozen"),
    ("net", "chain", "`weir net show` has the order, `prio N` of `weir net attach` makes it"),
    ("if", "add", "interfaces are the configuration's, and fixed at the start: `weir run CONFIG`"),
    ("if", "del", "interfaces are the configuration's, and fixed at the start: `weir run CONFIG`"),
    ("if", "set", "`weir config apply`, or `ip link set` for what is the kernel's"),
    ("if", "queues", "`weir stats rings`"),
    ("route", "sync", "the kernel's routes are followed by themselves: `weir stats routes`"),
    ("neigh", "add", "neighbours are the kernel's, `ip neigh add`, or the configuration's, `[[neighbor]]`"),
    ("config", "save", "`weir config show > FILE`"),
    ("neigh", "flush", "neighbours are the kernel's: `ip neigh flush`"),
];

/// What to say of a command line that clap refused for a verb that is one of these.
pub(crate) fn failure(error: &clap::Error, words: &[String]) -> Option<Failure> {
    let Some(ContextValue::String(verb)) = error.get(ContextKind::InvalidSubcommand) else { return None };
    if error.kind() != ErrorKind::InvalidSubcommand {
        return None;
    }
    let at = words.iter().position(|word| word == verb)?;
    let before = words.get(1..at)?.iter().rev().find(|word| !word.starts_with('-'));
    // Nouns may be shortened.
    let of = |noun: &str| noun.is_empty() || before.is_some_and(|word| noun.starts_with(word.as_str()));
    let (noun, verb, instead) = MISSING.into_iter().find(|(noun, other, _)| other == verb && of(noun))?;
    let command = format!("{noun} {verb}");
    let error = anyhow!("there is no `weir {}` yet", command.trim_start());
    Some(Failure::new(Code::Unsupported, error).hint(instead))
}
