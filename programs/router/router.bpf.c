/* An IPv4 and IPv6 router: looks the route up, takes one hop off, rewrites the link header.
 *
 * The same few steps as an XDP program and as a tc program. What is not ours to forward (local
 * addresses, expiring packets, unresolved neighbours, packets too big) is passed on to the host,
 * which answers it.
 */
#include "packet.h"

#define AF_INET 2
#define AF_INET6 10

enum outcome {
	OUTCOME_FORWARDED,
	OUTCOME_NOT_IP,
	OUTCOME_MALFORMED,
	OUTCOME_EXPIRED,       /* time to live used up: the host says so to the sender */
	OUTCOME_NO_ROUTE,
	OUTCOME_NO_NEIGHBOUR,
	OUTCOME_TOO_BIG,
	OUTCOME_PROHIBITED,    /* blackhole, unreachable or prohibit route */
	OUTCOMES,
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, OUTCOMES);
	__type(key, __u32);
	__type(value, __u64);
} outcomes SEC(".maps");

static __always_inline void count(__u32 outcome)
{
	__u64 *counter = bpf_map_lookup_elem(&outcomes, &outcome);
	if (counter)
		(*counter)++;
}

/* RFC 1624: one less in the time to live adds 0x0100 to the checksum, with the carry. */
static __always_inline void take_hop_ipv4(struct iphdr *ip)
{
	__u32 sum = ip->check + (__u32)bpf_htons(0x0100);
	ip->check = (__u16)(sum + (sum >= 0xffff));
	ip->ttl--;
}

static __always_inline enum outcome of_lookup(long result)
{
	switch (result) {
	case BPF_FIB_LKUP_RET_SUCCESS:
		return OUTCOME_FORWARDED;
	case BPF_FIB_LKUP_RET_BLACKHOLE:
	case BPF_FIB_LKUP_RET_UNREACHABLE:
	case BPF_FIB_LKUP_RET_PROHIBIT:
		return OUTCOME_PROHIBITED;
	case BPF_FIB_LKUP_RET_NO_NEIGH:
		return OUTCOME_NO_NEIGHBOUR;
	case BPF_FIB_LKUP_RET_FRAG_NEEDED:
		return OUTCOME_TOO_BIG;
	default:
		return OUTCOME_NO_ROUTE;
	}
}

/* Forwards the packet if it can; `fib` then holds the port and the link addresses. */
static __always_inline enum outcome route(void *ctx, void *data, void *data_end, __u32 port,
					  struct bpf_fib_lookup *fib)
{
	struct cursor cursor = cursor_at(data, data_end);
	struct ethhdr *eth = take(&cursor, struct ethhdr);
	if (!eth)
		return OUTCOME_MALFORMED;
	struct iphdr *ip4 = NULL;
	struct ipv6hdr *ip6 = NULL;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		ip4 = take_ipv4(&cursor);
		if (!ip4)
			return OUTCOME_MALFORMED;
		if (ip4->ttl <= 1)
			return OUTCOME_EXPIRED;
		fib->family = AF_INET;
		fib->tos = ip4->tos;
		fib->l4_protocol = ip4->protocol;
		fib->tot_len = bpf_ntohs(ip4->tot_len);
		fib->ipv4_src = ip4->saddr;
		fib->ipv4_dst = ip4->daddr;
	} else if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		ip6 = take_ipv6(&cursor);
		if (!ip6)
			return OUTCOME_MALFORMED;
		if (ip6->hop_limit <= 1)
			return OUTCOME_EXPIRED;
		fib->family = AF_INET6;
		fib->flowinfo = *(__be32 *)ip6 & bpf_htonl(0x0fffffff);
		fib->l4_protocol = ip6->nexthdr;
		fib->tot_len = bpf_ntohs(ip6->payload_len) + sizeof(*ip6);
		__builtin_memcpy(fib->ipv6_src, &ip6->saddr, 16);
		__builtin_memcpy(fib->ipv6_dst, &ip6->daddr, 16);
	} else {
		return OUTCOME_NOT_IP;
	}
	fib->ifindex = port;

	enum outcome outcome = of_lookup(bpf_fib_lookup(ctx, fib, sizeof(*fib), 0));
	if (outcome != OUTCOME_FORWARDED)
		return outcome;
	if (ip4)
		take_hop_ipv4(ip4);
	else if (ip6)
		ip6->hop_limit--;
	__builtin_memcpy(eth->h_dest, fib->dmac, ETH_ALEN);
	__builtin_memcpy(eth->h_source, fib->smac, ETH_ALEN);
	return OUTCOME_FORWARDED;
}

SEC("xdp")
int router(struct xdp_md *ctx)
{
	struct bpf_fib_lookup fib = {};
	enum outcome outcome =
		route(ctx, (void *)(long)ctx->data, (void *)(long)ctx->data_end, ctx->ingress_ifindex, &fib);
	count(outcome);
	if (outcome == OUTCOME_FORWARDED)
		return bpf_redirect(fib.ifindex, 0);
	if (outcome == OUTCOME_MALFORMED || outcome == OUTCOME_PROHIBITED)
		return XDP_DROP;
	return XDP_PASS;
}

SEC("tc")
int router_tc(struct __sk_buff *skb)
{
	struct bpf_fib_lookup fib = {};
	enum outcome outcome =
		route(skb, (void *)(long)skb->data, (void *)(long)skb->data_end, skb->ingress_ifindex, &fib);
	count(outcome);
	if (outcome == OUTCOME_FORWARDED)
		return bpf_redirect(fib.ifindex, 0);
	if (outcome == OUTCOME_MALFORMED || outcome == OUTCOME_PROHIBITED)
		return 2; /* TC_ACT_SHOT */
	return 0; /* TC_ACT_OK */
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
