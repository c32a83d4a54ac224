/* The map's key has eight bytes; the variable whose address is given has four. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u64);
	__type(value, __u64);
} queues SEC(".maps");

SEC("xdp")
int known_queue(struct xdp_md *ctx)
{
	__u32 key = ctx->rx_queue_index;

	return bpf_map_lookup_elem(&queues, &key) ? XDP_PASS : XDP_DROP;
}

char LICENSE[] SEC("license") = "GPL";
