/* Functions that programs call: static ones, global ones, weak ones, callbacks, and each other. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

static __noinline int leaf(int x) { return x * 3 + (int)bpf_get_prandom_u32(); }
static __noinline int middle(int x) { return leaf(x) + leaf(x + 1); }
__noinline int shared(struct xdp_md *ctx) { return middle(ctx->rx_queue_index) & 3; }
__weak __noinline int replaceable(int x) { return x + 40; }
__hidden __noinline int internal(int x) { return leaf(x) - 1; }
static __noinline long each(__u32 index, void *sum) { *(__u64 *)sum += leaf(index); return 0; }

SEC("xdp") int loops(struct xdp_md *ctx)
{
	__u64 sum = 0;
	bpf_loop(10, each, &sum, 0);
	return sum & 1 ? shared(ctx) : replaceable(sum);
}
SEC("xdp") int simple(struct xdp_md *ctx) { return XDP_PASS; }
SEC("xdp") int other(struct xdp_md *ctx) { return internal(ctx->ingress_ifindex) + shared(ctx); }
char _license[] SEC("license") = "GPL";
//= license GPL
//= program loops in xdp: xdp, functions loops (each) (leaf) shared (middle) replaceable
//= program simple in xdp: xdp
//= program other in xdp: xdp, functions other (internal) (leaf) shared (middle)
