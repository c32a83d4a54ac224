//! The kernel through libbpf: the lines of `tests/corpora/judge.c`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use super::Verdict;

/// A line of the judge.
pub(super) struct Judged {
    /// `BPF_PROG_TYPE_*`.
    pub kind: u32,
    pub verdict: Verdict,
}

/// Program types that see packets, with their names.
const NETWORK: &[(u32, &str)] = &[
    (1, "socket_filter"),
    (3, "sched_cls"),
    (4, "sched_act"),
    (6, "xdp"),
    (8, "cgroup_skb"),
    (10, "lwt_in"),
    (11, "lwt_out"),
    (12, "lwt_xmit"),
    (14, "sk_skb"),
    (19, "lwt_seg6local"),
    (21, "sk_reuseport"),
    (22, "flow_dissector"),
    (30, "sk_lookup"),
    (32, "netfilter"),
];

pub(super) fn is_network(kind: u32) -> bool {
    NETWORK.iter().any(|(known, _)| *known == kind)
}

pub(super) fn kind_name(kind: u32) -> String {
    let name = NETWORK.iter().find(|(known, _)| *known == kind).map(|(_, name)| *name);
    name.unwrap_or("other").to_owned()
}

/// What the judge says of the programs of an object, by name; nothing when it cannot read it.
pub(super) fn ask(judge: &Path, file: &Path, otherwise: u32) -> BTreeMap<String, Judged> {
    let output = Command::new(judge).arg(file).arg(otherwise.to_string()).output();
    let Ok(output) = output else { return BTreeMap::new() };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().filter_map(line).collect()
}

fn line(line: &str) -> Option<(String, Judged)> {
    let words: Vec<&str> = line.splitn(7, '\t').collect();
    let [name, _section, kind, verdict, processed, micros, reason] = words[..] else { return None };
    let verdict = Verdict {
        accepted: verdict == "yes",
        processed: processed.parse().unwrap_or(0),
        micros: micros.parse().unwrap_or(0.0),
        reason: reason.to_owned(),
    };
    Some((name.to_owned(), Judged { kind: kind.parse().ok()?, verdict }))
}
