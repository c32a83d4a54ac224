//! `control/API.md` does what it says: its commands are run, against a daemon of its own.

use std::path::{Path, PathBuf};

use crate::daemon::{Daemon, Traffic, folder, socket};

#[test]
fn every_command_of_the_page_does_what_it_says() {
    let found = std::env::var_os("PATH").unwrap_or_default();
    let curl = std::env::split_paths(&found).map(|folder| folder.join("curl")).find(|path| path.is_file());
    let Some(curl) = curl else {
        eprintln!("skipped: needs curl");
        return;
    };
    let daemon = Daemon::start("weir", Traffic::Done);
    std::fs::write(folder().join("new.toml"), std::fs::read(folder().join("weir.toml")).unwrap()).unwrap();
    let page: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../control/API.md");
    let cases = trycmd::TestCases::new();
    cases.env("WEIR_SOCK", socket("weir").to_string_lossy()).register_bin("curl", curl).case(page);
    drop(cases);
    daemon.end();
}
