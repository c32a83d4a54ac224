/* A key with padding is looked up: the compiler leaves the three bytes between the fields as they were. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct flow {
	__u8 protocol;
	__u32 address;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, struct flow);
	__type(value, __u64);
} flows SEC(".maps");

SEC("xdp")
int known_flow(struct xdp_md *ctx)
{
	struct flow key;

	key.protocol = 6;
	key.address = ctx->rx_queue_index;
	return bpf_map_lookup_elem(&flows, &key) ? XDP_PASS : XDP_DROP;
}

char LICENSE[] SEC("license") = "GPL";
