#!/bin/sh
# Judges the verifier: random programs beside its states, near-misses beside the kernel's verdict, every abstract
# operator on small words, every deliberate bug. `scripts/soundness.sh [PROGRAMS] [SEED]`; without arguments it
# takes some minutes, with a million programs an hour or two of two cores. Each part ends with a line that says
# generator, seeds and figures. Without CAP_BPF the kernel is not asked, and it says so.
set -eu
cd "$(dirname "$0")/.."
programs=${1:-20000}
seed=${2:-$(date +%Y%m%d)00000}

cargo build --quiet --release -p weir-oracle --bin judge
judge=${CARGO_TARGET_DIR:-target}/release/judge
echo "$("$judge" version), seed $seed, $programs programs and as many near-misses"
wrong=
"$judge" soundness --programs "$programs" --seed "$seed" || wrong="$wrong soundness"
"$judge" near-misses --programs "$programs" --seed "$seed" || wrong="$wrong near-misses"
"$judge" operators || wrong="$wrong operators"
"$judge" mutants 2>/dev/null || wrong="$wrong mutants"
[ -z "$wrong" ] || { echo "FAILED:$wrong"; exit 1; }
