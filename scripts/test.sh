#!/bin/sh
# Runs every check: format, lints, tests. Installs what they need beyond Rust, when it can.
#
# As root the kernel is asked too; without CAP_BPF those tests say so and are skipped.
set -eu
cd "$(dirname "$0")/.."
scripts/install-tools.sh

cargo fmt --all --check
cargo clippy --workspace --all-targets --quiet -- -D warnings
cargo build --release --quiet
cargo test --workspace --quiet
