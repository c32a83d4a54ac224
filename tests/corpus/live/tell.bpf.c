/* Says what it sees in every way that a program can: a line of text, a record in a ring buffer, an event on its
 * worker's buffer. One packet in `every` is told of; all pass.
 */
#include "packet.h"

const volatile __u32 every = 16;

struct seen {
	__u64 number;
	__u32 length;
	__u32 ifindex;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct seen);
} last SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16384);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u32);
} events SEC(".maps");

SEC("xdp")
int tell(struct xdp_md *ctx)
{
	__u32 zero = 0;
	struct seen *seen = bpf_map_lookup_elem(&last, &zero);

	if (!seen)
		return XDP_ABORTED;
	__u64 number = __sync_fetch_and_add(&seen->number, 1) + 1;
	if (!every || number % every)
		return XDP_PASS;
	struct seen told = {number, ctx->data_end - ctx->data, ctx->ingress_ifindex};
	seen->length = told.length;
	seen->ifindex = told.ifindex;
	bpf_printk("packet %d: %d bytes", (int)number, told.length);
	bpf_ringbuf_output(&ring, &told, sizeof(told), 0);
	bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, &told, sizeof(told));
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
