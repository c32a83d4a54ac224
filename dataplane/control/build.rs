//! Facts of the build that only the build knows: which compiler, for what. No version control is asked; who wants the
//! commit told sets `WEIR_COMMIT`.

use std::process::Command;

fn main() {
    let fact = |name: &str| std::env::var(name).unwrap_or_else(|_| "unknown".to_owned());
    let compiler = Command::new(fact("RUSTC")).arg("--version").output();
    let compiler = compiler.ok().and_then(|output| String::from_utf8(output.stdout).ok());
    // `rustc 1.95.0 (59807616e 2026-04-14)`
    let rustc = compiler.as_deref().and_then(|line| line.split_whitespace().nth(1)).unwrap_or("unknown");
    println!("cargo:rustc-env=WEIR_RUSTC={rustc}");
    println!("cargo:rustc-env=WEIR_TARGET={}", fact("TARGET"));
    println!("cargo:rustc-env=WEIR_PROFILE={}", fact("PROFILE"));
    println!("cargo:rerun-if-env-changed=WEIR_COMMIT");
    println!("cargo:rerun-if-changed=build.rs");
}
