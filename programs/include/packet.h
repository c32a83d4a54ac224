/* Reading packets: bounds-checked headers and the 5-tuple of a flow, for XDP and tc alike.
 *
 * A cursor walks from header to header. Each step either proves that the whole header lies in the
 * packet, or says no; so a program that only reads what a step gave it is accepted.
 */
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define VLAN_TAGS_MAX 2
#define IP_FRAGMENT_OFFSET 0x1fff
#define IP_MORE_FRAGMENTS 0x2000
#define IP_DONT_FRAGMENT 0x4000

struct vlan_tag {
	__be16 tci;
	__be16 protocol;
};

/* Where we stand in the packet, and where it ends. */
struct cursor {
	void *at;
	void *end;
};

/* Addresses, ports and protocol; IPv4 addresses stand in the first word. */
struct flow_key {
	__be32 source[4];
	__be32 target[4];
	__be16 source_port;
	__be16 target_port;
	__u8 protocol;
	__u8 family; /* 4 or 6 */
	__u16 pad;
};

static __always_inline struct cursor cursor_at(void *data, void *data_end)
{
	struct cursor cursor = {data, data_end};
	return cursor;
}

/* The next `type` header, or NULL when it does not lie in the packet whole. */
#define take(cursor, type)                                                     \
	({                                                                     \
		type *header = (cursor)->at;                                   \
		if ((void *)(header + 1) > (cursor)->end)                      \
			header = NULL;                                         \
		else                                                           \
			(cursor)->at = header + 1;                             \
		header;                                                        \
	})

static __always_inline bool is_vlan(__be16 protocol)
{
	return protocol == bpf_htons(ETH_P_8021Q) || protocol == bpf_htons(ETH_P_8021AD);
}

/* The EtherType behind the Ethernet header and at most two VLAN tags; 0 when it is cut short. */
static __always_inline __be16 take_link(struct cursor *cursor)
{
	struct ethhdr *eth = take(cursor, struct ethhdr);
	if (!eth)
		return 0;
	__be16 protocol = eth->h_proto;
#pragma unroll
	for (int i = 0; i < VLAN_TAGS_MAX; i++) {
		if (!is_vlan(protocol))
			break;
		struct vlan_tag *tag = take(cursor, struct vlan_tag);
		if (!tag)
			return 0;
		protocol = tag->protocol;
	}
	return protocol;
}

/* An IPv4 header with its options; NULL when cut short or malformed. */
static __always_inline struct iphdr *take_ipv4(struct cursor *cursor)
{
	struct iphdr *ip = take(cursor, struct iphdr);
	if (!ip || ip->version != 4 || ip->ihl < 5)
		return NULL;
	/* A header that is longer than the packet leaves the cursor behind the end: no later step passes. */
	cursor->at = (void *)ip + ip->ihl * 4;
	return ip;
}

static __always_inline struct ipv6hdr *take_ipv6(struct cursor *cursor)
{
	struct ipv6hdr *ip = take(cursor, struct ipv6hdr);
	if (!ip || ip->version != 6)
		return NULL;
	return ip;
}

/* TCP and UDP ports into the key; both protocols start with them. */
static __always_inline bool take_ports(struct cursor *cursor, struct flow_key *key)
{
	if (key->protocol != IPPROTO_TCP && key->protocol != IPPROTO_UDP)
		return true;
	struct udphdr *ports = cursor->at; /* as long as the start of a TCP header that has them */
	if ((void *)(ports + 1) > cursor->end)
		return false;
	key->source_port = ports->source;
	key->target_port = ports->dest;
	return true;
}

enum parsed {
	PARSED_FLOW,      /* the key is whole */
	PARSED_FRAGMENT,  /* addresses and protocol only: not the first fragment */
	PARSED_OTHER,     /* neither IPv4 nor IPv6 */
	PARSED_MALFORMED, /* cut short, or a header that contradicts itself */
};

/* The 5-tuple of a packet; the cursor is left at the transport header. */
static __always_inline enum parsed parse_flow(struct cursor *cursor, struct flow_key *key)
{
	__builtin_memset(key, 0, sizeof(*key));
	__be16 protocol = take_link(cursor);
	if (!protocol)
		return PARSED_MALFORMED;
	if (protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = take_ipv4(cursor);
		if (!ip)
			return PARSED_MALFORMED;
		key->source[0] = ip->saddr;
		key->target[0] = ip->daddr;
		key->protocol = ip->protocol;
		key->family = 4;
		if (ip->frag_off & bpf_htons(IP_FRAGMENT_OFFSET))
			return PARSED_FRAGMENT;
	} else if (protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = take_ipv6(cursor);
		if (!ip)
			return PARSED_MALFORMED;
		__builtin_memcpy(key->source, &ip->saddr, 16);
		__builtin_memcpy(key->target, &ip->daddr, 16);
		key->protocol = ip->nexthdr;
		key->family = 6;
		if (ip->nexthdr == IPPROTO_FRAGMENT)
			return PARSED_FRAGMENT;
	} else {
		return PARSED_OTHER;
	}
	return take_ports(cursor, key) ? PARSED_FLOW : PARSED_MALFORMED;
}
