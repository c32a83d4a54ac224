/* Counts flows: packets, bytes, first and last time of each; and the top talkers by source.
 *
 * The flow table is per-CPU, so workers share nothing on the way; whoever reads it adds up. The
 * table of talkers forgets who has been quiet the longest.
 */
#include "packet.h"

const volatile __u64 fixed_now = 0; /* the clock stands here, for tests; 0: the real one */

/* The next version (programs/flowstats2) defines WITH_MARK; nothing else differs. */
#ifdef WITH_MARK
enum {
	MARK_SMALL = 1, /* up to 255 bytes */
	MARK_MIDDLE = 2, /* up to 1023 */
	MARK_LARGE = 4,
};

struct flow {
	__u64 packets;
	__u64 mark; /* sizes of packets that it had */
	__u64 bytes;
	__u64 first; /* ns */
	__u64 last;  /* ns */
};
#else
struct flow {
	__u64 packets;
	__u64 bytes;
	__u64 first; /* ns */
	__u64 last;  /* ns */
};
#endif

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct flow_key);
	__type(value, struct flow);
} flows SEC(".maps");

struct talker {
	__be32 address[4];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct talker);
	__type(value, __u64);
} talkers SEC(".maps");

enum {
	COUNT_FLOW,
	COUNT_FRAGMENT,
	COUNT_OTHER,
	COUNT_MALFORMED,
	COUNT_TABLE_FULL,
	COUNTS,
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTS);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

static __always_inline void count(__u32 what)
{
	__u64 *counter = bpf_map_lookup_elem(&counts, &what);
	if (counter)
		(*counter)++;
}

static __always_inline void talk(const struct flow_key *key, __u64 bytes)
{
	struct talker talker;
	__builtin_memcpy(talker.address, key->source, sizeof(talker.address));
	__u64 *said = bpf_map_lookup_elem(&talkers, &talker);
	if (said)
		__sync_fetch_and_add(said, bytes);
	else
		bpf_map_update_elem(&talkers, &talker, &bytes, BPF_NOEXIST);
}

static __always_inline void mark(struct flow *flow, __u64 bytes)
{
#ifdef WITH_MARK
	flow->mark |= bytes < 256 ? MARK_SMALL : bytes < 1024 ? MARK_MIDDLE : MARK_LARGE;
#endif
}

SEC("xdp")
int flowstats(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct cursor cursor = cursor_at(data, end);
	struct flow_key key;
	enum parsed parsed = parse_flow(&cursor, &key);
	count(parsed);
	if (parsed == PARSED_OTHER || parsed == PARSED_MALFORMED)
		return XDP_PASS;

	__u64 bytes = end - data;
	talk(&key, bytes);
	__u64 now = fixed_now ? fixed_now : bpf_ktime_get_ns();
	struct flow *flow = bpf_map_lookup_elem(&flows, &key);
	if (flow) {
		if (!flow->packets)
			flow->first = now;
		flow->packets++;
		flow->bytes += bytes;
		flow->last = now;
		mark(flow, bytes);
		return XDP_PASS;
	}
	struct flow fresh = {.packets = 1, .bytes = bytes, .first = now, .last = now};
	mark(&fresh, bytes);
	if (bpf_map_update_elem(&flows, &key, &fresh, BPF_NOEXIST) < 0)
		count(COUNT_TABLE_FULL);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
