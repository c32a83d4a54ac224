#!/bin/sh
# Abuses the control socket of a release build for a while (seconds, 30) while packets flow, and prints the figures:
# garbage, oversized, slow, deaf and half-closed clients, a thousand that stay, path tricks; meanwhile a valid
# client asks, and its times to an answer are counted.
set -eu
cd "$(dirname "$0")/.."
[ -n "${WEIR:-}" ] || {
	cargo build --release -q -p weir-cli
	WEIR=$(realpath "${CARGO_TARGET_DIR:-target}/release/weir")
}
export WEIR WEIR_ABUSE="${1:-30}"
cargo test -q -p weir-cli --test running -- --exact --nocapture abuse::abuse_of_the_socket_costs_no_packet
