#!/bin/sh
# Installs what tests need beyond Rust: clang and llvm for BPF, libbpf's headers, bpftool, tshark, z3, and what
# runs on the hosts of tests in network namespaces.
# Only on Debian and its kin, and only as root; elsewhere it says what is missing and goes on.
set -eu

missing=
need() { # need COMMAND-OR-FILE PACKAGE
	command -v "$1" >/dev/null 2>&1 || [ -e "$1" ] || [ -e "/usr/sbin/$1" ] || missing="$missing $2"
}
need clang-19 clang-19
need llvm-strip-19 llvm-19
need clang-16 clang-16
need clang-14 clang-14
need bpftool bpftool
need ip iproute2
need ethtool ethtool
need ping iputils-ping
need traceroute traceroute
need iperf3 iperf3
need bird bird2
need socat socat
need curl curl
need tmux tmux
need tshark tshark
need z3 z3
need tcpdump tcpdump
need strace strace
need /usr/include/bpf/bpf_helpers.h libbpf-dev
need /usr/include/linux/bpf.h linux-libc-dev
[ -n "$missing" ] || exit 0

if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
	echo "installing:$missing"
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -qq
	# shellcheck disable=SC2086 # a list of packages
	apt-get install -y -qq --no-install-recommends $missing >/dev/null
else
	echo "not installed, so some tests will be skipped:$missing"
fi
