/* A tc action: polices each class to a rate with a token bucket.
 *
 * Tokens are bytes. A class without a rate is let through. Time is the packet's own where it has
 * one, so a capture is policed as it was recorded, however fast it is replayed.
 */
#include "packet.h"

#define ACT_SHOT 2
#define ACT_PIPE 3
#define CLASSES 64
#define NS_PER_SECOND 1000000000ULL

struct rate {
	__u64 bytes_per_second; /* 0: no limit */
	__u64 burst;            /* bytes */
};

/* By the minor number of the classid. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CLASSES);
	__type(key, __u32);
	__type(value, struct rate);
} rates SEC(".maps");

struct bucket {
	__u64 tokens;
	__u64 filled; /* when it was last filled, ns; 0: never */
	__u64 passed;
	__u64 dropped;
};

/* One for each worker: a class may take its rate on each. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, CLASSES);
	__type(key, __u32);
	__type(value, struct bucket);
} buckets SEC(".maps");

static __always_inline void fill(struct bucket *bucket, const struct rate *rate, __u64 now)
{
	if (!bucket->filled) {
		bucket->tokens = rate->burst;
	} else if (now > bucket->filled) {
		__u64 passed = now - bucket->filled;
		/* A second fills any bucket that a sane burst asks for, and keeps the product in range. */
		if (passed > NS_PER_SECOND)
			passed = NS_PER_SECOND;
		bucket->tokens += passed * (rate->bytes_per_second >> 10) / (NS_PER_SECOND >> 10);
		if (bucket->tokens > rate->burst)
			bucket->tokens = rate->burst;
	} else {
		return;
	}
	bucket->filled = now;
}

SEC("action")
int police(struct __sk_buff *skb)
{
	__u32 class = skb->tc_classid & 0xffff;
	struct rate *rate = bpf_map_lookup_elem(&rates, &class);
	struct bucket *bucket = bpf_map_lookup_elem(&buckets, &class);
	if (!rate || !bucket || !rate->bytes_per_second)
		return ACT_PIPE;
	fill(bucket, rate, skb->tstamp ?: bpf_ktime_get_ns());
	if (bucket->tokens < skb->len) {
		bucket->dropped++;
		return ACT_SHOT;
	}
	bucket->tokens -= skb->len;
	bucket->passed++;
	return ACT_PIPE;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
