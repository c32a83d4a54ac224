#!/bin/sh
# Gets the programs that `weir-bench --ports` measures weir beside, into a folder outside of the repository
# (default /tmp/weir-peers): dpdk-testpmd from Debian's dpdk, xdpsock and xsk_fwd from xdp-project/bpf-examples.
# Needs cc, git and the packages dpdk, libxdp-dev, libbpf-dev, libelf-dev. BPF_EXAMPLES names a checkout that is
# there already. What cannot be had is said and left out; the benchmark leaves it out too.
set -eu
folder=${1:-${TMPDIR:-/tmp}/weir-peers}
mkdir -p "$folder"
failed=0

missing() {
	echo "peers: $1" >&2
	failed=1
}

testpmd=$(command -v dpdk-testpmd || true)
if [ -x "$folder/dpdk-testpmd" ]; then :
elif [ -n "$testpmd" ]; then
	ln -sf "$testpmd" "$folder/dpdk-testpmd"
else
	missing "no dpdk-testpmd: apt-get install dpdk"
fi

examples=${BPF_EXAMPLES:-$folder/bpf-examples}
if [ ! -d "$examples" ]; then
	git clone --quiet --depth 1 https://github.com/xdp-project/bpf-examples "$examples" ||
		missing "no bpf-examples: clone github.com/xdp-project/bpf-examples, and name it in BPF_EXAMPLES"
fi
for source in AF_XDP-example/xdpsock.c AF_XDP-forwarding/xsk_fwd.c; do
	name=$(basename "$source" .c)
	[ -f "$examples/$source" ] || continue
	cc -O2 -w -D_GNU_SOURCE -I"$examples/headers" -o "$folder/$name" "$examples/$source" -lxdp -lbpf -lelf -lz -pthread ||
		missing "$name does not build: apt-get install libxdp-dev libbpf-dev libelf-dev zlib1g-dev"
done

# They end when they may not raise the limit of locked memory, which does not bind those with CAP_IPC_LOCK: the
# benchmark preloads this where it is.
cat >"$folder/nolimit.c" <<'C'
#include <sys/resource.h>
int setrlimit(__rlimit_resource_t which, const struct rlimit *limit) { return which < 0 || !limit; }
int setrlimit64(__rlimit_resource_t which, const struct rlimit64 *limit) { return which < 0 || !limit; }
C
cc -O2 -D_GNU_SOURCE -shared -fPIC -o "$folder/nolimit.so" "$folder/nolimit.c" || missing "nolimit.so does not build"
exit $failed
