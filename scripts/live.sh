#!/bin/sh
# The long version of what tests/tests/live* promise of a running weir: a thousand replacements under load, ten
# million packets with two hundred link flaps, a hundred kills, a gigabyte with its checksum. Needs root, for
# namespaces; takes about ten minutes. Each line of figures belongs to the test above it.
#
#   scripts/live.sh             # all
#   scripts/live.sh flap        # those with this in their name
set -eu
cd "$(dirname "$0")/.."
cargo build --release --quiet --package weir-cli
cargo test --release --quiet --package weir-tests --test live --test live_swap --test live_ledger --no-run
export WEIR_FULL_SCALE=1 RUST_BACKTRACE=0
uname -sr
date -u '+%F %T UTC'
for test in live_swap live_ledger live; do
    cargo test --release --quiet --package weir-tests --test "$test" -- --nocapture --test-threads=1 "$@"
done
