/* The loop ends when a byte of the packet says so, and no number says how long that may take. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int wait_for_zero(struct xdp_md *ctx)
{
	volatile __u32 queue = ctx->rx_queue_index;

	while (queue)
		;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
