/* One path through the function returns a variable that nobody set. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int maybe(struct xdp_md *ctx)
{
	int verdict;
	__u32 queue = ctx->rx_queue_index;

	/* In assembly, since a compiler takes what is not set for whatever suits it. */
	asm volatile("if %1 == 0 goto +1; %0 = 2" : "=r"(verdict) : "r"(queue));
	return verdict;
}

char LICENSE[] SEC("license") = "GPL";
