/* bpf_skb_load_bytes reads a socket buffer, and an XDP program has none yet. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int first_byte(struct xdp_md *ctx)
{
	__u8 byte = 0;

	bpf_skb_load_bytes((void *)ctx, 0, &byte, sizeof(byte));
	return byte ? XDP_PASS : XDP_DROP;
}

char LICENSE[] SEC("license") = "GPL";
