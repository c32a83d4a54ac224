//! Every verb, against a daemon of the file's own. The packets are through, so figures stand still.

use std::path::Path;

use crate::daemon::{Daemon, Traffic, configuration, folder, socket};

fn verbs(name: &str) {
    let daemon = Daemon::start(name, Traffic::Done);
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/running/verbs/{name}.trycmd"));
    trycmd::TestCases::new()
        .env("WEIR_SOCK", socket(name).to_string_lossy())
        .env("NO_COLOR", "1")
        .case(cases);
    daemon.end();
}

#[test]
fn programs() {
    verbs("programs");
}

#[test]
fn maps() {
    verbs("maps");
}

#[test]
fn interfaces_and_counters() {
    verbs("counters");
}

/// The usual configuration, changed.
fn another(file: &str, change: impl Fn(String) -> String) {
    let text = change(configuration("configurations", Traffic::Done));
    std::fs::write(folder().join(file), text).unwrap();
}

#[test]
fn configurations() {
    another("other.toml", |text| text.replace("10.0.7.0/24", "10.0.8.0/24"));
    another("nonsense.toml", |text| text.replace("[forward]", "[foward]"));
    another("fixed.toml", |text| text.replace("seed = 7", "seed = 8"));
    another("refused.toml", |text| {
        text + "[[program]]\nname = \"bad\"\nobject = \"bad.o\"\nattach = { hook = \"xdp\", interface = \"wan\" }\n"
    });
    verbs("configurations");
}
