#!/bin/sh
# Judges the verifier, on one page: random programs beside the states it proved, the same programs wrong by one
# edit beside the kernel's verdict, every abstract operator on every pair of small words, every deliberate bug.
#
#     scripts/soundness.sh [PROGRAMS] [SEED]
#
# With 2000 programs it takes a few minutes of two cores, most of them for the operators; with a million, an hour
# or two more. The seed is of today unless it is given, so that no two days try the same. Without CAP_BPF the
# kernel is not asked, and the page says so. tests/oracle/README.md tells how to read it.
set -eu
cd "$(dirname "$0")/.."
programs=${1:-20000}
seed=${2:-$(date -u +%Y%m%d)00000}

cargo build --quiet --release -p weir-oracle --bin judge
judge=${CARGO_TARGET_DIR:-target}/release/judge
began=$(date +%s)
wrong=
part() {
    name=$1
    shift
    echo
    # What deliberate bugs make the verifier panic of is no news.
    "$judge" "$name" "$@" 2>/dev/null || wrong="$wrong $name"
}
echo "weir's verifier, judged $(date -u +%Y-%m-%d), $(uname -r) beside it, $(nproc) cores, $("$judge" version)"
part soundness --programs "$programs" --seed "$seed"
part near-misses --programs "$programs" --seed "$seed"
part operators
part mutants
echo
[ -z "$wrong" ] || { echo "FAILED:$wrong"; exit 1; }
echo "PASSED: no run outside its states, no unexplained verdict, no unsound operator, no bug unseen ($(($(date +%s) - began)) s)"
