#!/bin/sh
# Runs every fuzz target (or those named) for some seconds each: scripts/fuzz.sh [SECONDS [TARGET...]]
# Seeds are the objects that clang makes of the corpus, the first time. Crashes stay under
# tests/fuzz/artifacts; make a named test of each.
set -eu
cd "$(dirname "$0")/../tests/fuzz"
seconds=${1:-60}
[ $# -eq 0 ] || shift
command -v cargo-fuzz > /dev/null || cargo install cargo-fuzz --locked
# The fuzzer's instrumentation is an unstable option of the compiler.
export RUSTC_BOOTSTRAP=1
[ $# -gt 0 ] || set -- $(cargo fuzz list)

if [ ! -d corpus/object ] && command -v clang-19 > /dev/null; then
    mkdir -p corpus/object corpus/btf
    for source in ../corpus/object/*.c; do
        object=corpus/object/$(basename "$source" .c).o
        clang-19 -g -O2 -target bpf -I/usr/include/x86_64-linux-gnu -w -c "$source" -o "$object"
        llvm-objcopy-19 --dump-section ".BTF=corpus/btf/$(basename "$source" .c)" "$object" 2> /dev/null || true
    done
fi

for target in "$@"; do
    echo "== $target: $seconds s"
    cargo fuzz run -s none "$target" -- -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -print_final_stats=1
done
