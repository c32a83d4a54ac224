//! Configurations: what is wrong with one is said in one line that names the file.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use weir_engine::config::Config;

fuzz_target!(|text: &str| {
    if let Err(error) = Config::parse(Path::new("w.toml"), text) {
        let said = error.to_string();
        assert!(said.starts_with("w.toml:") && said.lines().count() == 1, "{said}");
    }
});
