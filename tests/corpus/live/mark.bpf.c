/* Writes into numbered packets (tests/src/net/number.rs) which generation touched them: once when judging
 * begins, once when it ends behind a tail call. What lies between is a scratch map, whose layout differs
 * in mark_wide.bpf.c: a program that met the other's map, table or constants would write two marks that
 * differ. Everything else passes.
 */
#include "packet.h"

#define PAYLOAD_MAGIC 0x626d756e72696577ULL /* "weirnumb" */
#define TORN 0xffffffff

/* Constants that the test sets, in the configuration or in the object's bytes. */
const volatile __u32 generation = 0x5ee1a11c;
const volatile __u32 drop_every = 0x5ee1d409; /* one packet in so many is dropped; 0 is none */

struct numbered {
	__u64 magic;
	__u32 flow;
	__u32 first;
	__u32 second;
	__u32 zero;
	__u64 id;
};

struct scratch {
#ifdef WIDE
	__u64 before[3];
	__u32 generation;
	__u32 after;
#else
	__u32 generation;
	__u32 after;
#endif
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} between SEC(".maps");

/* Packets judged, and those of them dropped: these carry over. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} judged SEC(".maps");

/* Written from outside, while packets flow. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u64);
} noise SEC(".maps");

int judge(struct xdp_md *ctx);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__array(values, int(void *));
} stages SEC(".maps") = {
	.values = { [0] = (void *)&judge },
};

static __always_inline void count(__u32 which)
{
	__u64 *counter = bpf_map_lookup_elem(&judged, &which);
	if (counter)
		(*counter)++;
}

/* The payload of a numbered packet, or nothing. */
static __always_inline struct numbered *find(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	void *at = eth + 1;

	if (at > data_end)
		return 0;
	if (eth->h_proto == bpf_htons(ETH_P_IP))
		at += 20;
	else if (eth->h_proto == bpf_htons(ETH_P_IPV6))
		at += 40;
	else
		return 0;
	struct numbered *numbered = at + sizeof(struct udphdr);
	if ((void *)(numbered + 1) > data_end || numbered->magic != PAYLOAD_MAGIC)
		return 0;
	return numbered;
}

SEC("xdp")
int enter(struct xdp_md *ctx)
{
	__u32 zero = 0;
	struct numbered *numbered = find(ctx);
	struct scratch *scratch = bpf_map_lookup_elem(&between, &zero);

	if (!numbered || !scratch)
		return XDP_PASS;
	numbered->first = generation;
	__builtin_memset(scratch, 0, sizeof(*scratch));
	scratch->generation = generation;
	scratch->after = ~generation;
	bpf_tail_call(ctx, &stages, 0);
	return XDP_ABORTED;
}

SEC("xdp")
int judge(struct xdp_md *ctx)
{
	__u32 zero = 0;
	struct numbered *numbered = find(ctx);
	struct scratch *scratch = bpf_map_lookup_elem(&between, &zero);

	if (!numbered || !scratch)
		return XDP_ABORTED;
	int whole = scratch->generation == generation && scratch->after == ~generation;
	__u32 key = numbered->id % 64;
	__u64 *written = bpf_map_lookup_elem(&noise, &key);
	if (written && *written == ~0ULL)
		return XDP_ABORTED;
#ifdef REFUSED
	__u8 *past = (void *)(long)ctx->data_end;
	numbered->zero = *past;
#endif
	numbered->second = whole ? generation : TORN;
	count(0);
	if (drop_every && numbered->id % drop_every == 3) {
		count(1);
		return XDP_DROP;
	}
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
