/* A stateful packet filter at XDP.
 *
 * In order: what cannot be parsed is dropped; a packet of a known connection passes; a source in a
 * denied prefix is dropped; a rule for protocol and port decides; else the policy does. What is let
 * in makes a connection, so that its answers pass too.
 */
#include "packet.h"

/* Set by the loader. */
const volatile __u32 policy = XDP_DROP; /* when no rule speaks */
const volatile __u64 fixed_now = 0;     /* the clock stands here, for tests; 0: the real one */

enum reason {
	REASON_ESTABLISHED,
	REASON_RULE_PASS,
	REASON_RULE_DROP,
	REASON_PREFIX,
	REASON_POLICY,
	REASON_FRAGMENT,
	REASON_MALFORMED,
	REASON_NOT_IP,
	REASONS,
};

struct counter {
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, REASONS);
	__type(key, __u32);
	__type(value, struct counter);
} reasons SEC(".maps");

struct prefix4 {
	__u32 length;
	__be32 address;
};

struct prefix6 {
	__u32 length;
	__be32 address[4];
};

/* Sources that are never let in; the value counts hits. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct prefix4);
	__type(value, __u64);
} deny4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct prefix6);
	__type(value, __u64);
} deny6 SEC(".maps");

struct service {
	__be16 port; /* 0: any port of the protocol */
	__u8 protocol;
	__u8 pad;
};

/* What to do with a new connection to a service: an XDP action. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct service);
	__type(value, __u32);
} services SEC(".maps");

struct connection {
	__u64 seen; /* when the last packet came, ns */
	__u64 packets[2]; /* by direction: as opened, and answers */
};

/* Connections by the flow that opened them. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 262144);
	__type(key, struct flow_key);
	__type(value, struct connection);
} connections SEC(".maps");

static __always_inline __u64 now(void)
{
	return fixed_now ? fixed_now : bpf_ktime_get_coarse_ns();
}

static __always_inline int decide(struct xdp_md *ctx, __u32 verdict, __u32 reason)
{
	struct counter *counter = bpf_map_lookup_elem(&reasons, &reason);
	if (counter) {
		counter->packets++;
		counter->bytes += ctx->data_end - ctx->data;
	}
	return verdict;
}

static __always_inline void reverse(struct flow_key *to, const struct flow_key *from)
{
	__builtin_memcpy(to->source, from->target, sizeof(to->source));
	__builtin_memcpy(to->target, from->source, sizeof(to->target));
	to->source_port = from->target_port;
	to->target_port = from->source_port;
	to->protocol = from->protocol;
	to->family = from->family;
	to->pad = 0;
}

/* Whether the packet belongs to a connection, in either direction. */
static __always_inline bool established(const struct flow_key *key)
{
	struct connection *connection = bpf_map_lookup_elem(&connections, key);
	int direction = 0;
	if (!connection) {
		struct flow_key answer;
		reverse(&answer, key);
		connection = bpf_map_lookup_elem(&connections, &answer);
		direction = 1;
	}
	if (!connection)
		return false;
	connection->seen = now();
	connection->packets[direction]++;
	return true;
}

static __always_inline bool denied(const struct flow_key *key)
{
	__u64 *hits;
	if (key->family == 4) {
		struct prefix4 prefix = {32, key->source[0]};
		hits = bpf_map_lookup_elem(&deny4, &prefix);
	} else {
		struct prefix6 prefix = {128};
		__builtin_memcpy(prefix.address, key->source, sizeof(prefix.address));
		hits = bpf_map_lookup_elem(&deny6, &prefix);
	}
	if (hits)
		__sync_fetch_and_add(hits, 1);
	return hits != NULL;
}

static __always_inline __u32 *rule_for(const struct flow_key *key)
{
	struct service service = {key->target_port, key->protocol, 0};
	__u32 *action = bpf_map_lookup_elem(&services, &service);
	if (action)
		return action;
	service.port = 0;
	return bpf_map_lookup_elem(&services, &service);
}

SEC("xdp")
int firewall(struct xdp_md *ctx)
{
	struct cursor cursor = cursor_at((void *)(long)ctx->data, (void *)(long)ctx->data_end);
	struct flow_key key;
	enum parsed parsed = parse_flow(&cursor, &key);
	if (parsed == PARSED_MALFORMED)
		return decide(ctx, XDP_DROP, REASON_MALFORMED);
	if (parsed == PARSED_OTHER)
		return decide(ctx, XDP_PASS, REASON_NOT_IP);
	if (denied(&key))
		return decide(ctx, XDP_DROP, REASON_PREFIX);
	/* Later fragments carry no ports; without state they are not let in (RFC 1858). */
	if (parsed == PARSED_FRAGMENT)
		return decide(ctx, policy, REASON_FRAGMENT);
	if (established(&key))
		return decide(ctx, XDP_PASS, REASON_ESTABLISHED);

	__u32 *action = rule_for(&key);
	__u32 verdict = action ? *action : policy;
	if (verdict == XDP_PASS) {
		struct connection connection = {now(), {1, 0}};
		bpf_map_update_elem(&connections, &key, &connection, BPF_ANY);
	}
	if (!action)
		return decide(ctx, verdict, REASON_POLICY);
	return decide(ctx, verdict, verdict == XDP_PASS ? REASON_RULE_PASS : REASON_RULE_DROP);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
