/* A layer-4 load balancer: spreads the flows of a virtual address over real servers.
 *
 * A flow that is new is hashed into the service's Maglev ring, which names a server; flows keep
 * their server in a table that forgets the oldest, so a changed ring does not move them. The packet
 * is wrapped in IPv4 (RFC 2003) and sent back out of its port, to be answered directly.
 */
#include "packet.h"

#define RING_SIZE 4099 /* prime, as Maglev asks */
#define SERVICES 16
#define SERVERS 256
#define ENCAP_TTL 64

/* Set by the loader. */
const volatile __be32 own_address = 0x0100000a; /* 10.0.0.1: source of wrapped packets */
const volatile __u8 own_mac[ETH_ALEN] = {2, 0, 0, 0, 0, 1};
const volatile __u8 gateway_mac[ETH_ALEN] = {2, 0, 0, 0, 0, 2};

struct service_key {
	__be32 address;
	__be16 port;
	__u8 protocol;
	__u8 pad;
};

/* Numbers of the services, by virtual address. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SERVICES);
	__type(key, struct service_key);
	__type(value, __u32);
} services SEC(".maps");

/* Server numbers: RING_SIZE slots for each service, one after another. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SERVICES *RING_SIZE);
	__type(key, __u32);
	__type(value, __u32);
} ring SEC(".maps");

struct server {
	__be32 address; /* 0: taken out */
	__u32 pad;
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SERVERS);
	__type(key, __u32);
	__type(value, struct server);
} servers SEC(".maps");

/* The server of each flow. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 131072);
	__type(key, struct flow_key);
	__type(value, __u32);
} sticky SEC(".maps");

/* Bob Jenkins' one-at-a-time mixing over the words of the key: fixed, so that every balancer of a
 * group sends a flow to the same server. */
static __always_inline __u32 hash_flow(const struct flow_key *key)
{
	const __u32 *words = (const __u32 *)key;
	__u32 hash = 0;
#pragma unroll
	for (int i = 0; i < (int)(sizeof(*key) / 4); i++) {
		hash += words[i];
		hash += hash << 10;
		hash ^= hash >> 6;
	}
	hash += hash << 3;
	hash ^= hash >> 11;
	return hash + (hash << 15);
}

static __always_inline struct server *server_of(const struct flow_key *key, __u32 service)
{
	__u32 *kept = bpf_map_lookup_elem(&sticky, key);
	if (kept) {
		struct server *server = bpf_map_lookup_elem(&servers, kept);
		if (server && server->address)
			return server;
	}
	__u32 slot = service * RING_SIZE + hash_flow(key) % RING_SIZE;
	__u32 *number = bpf_map_lookup_elem(&ring, &slot);
	if (!number)
		return NULL;
	struct server *server = bpf_map_lookup_elem(&servers, number);
	if (!server || !server->address)
		return NULL;
	__u32 chosen = *number;
	bpf_map_update_elem(&sticky, key, &chosen, BPF_ANY);
	return server;
}

static __always_inline __u16 header_checksum(const struct iphdr *ip)
{
	const __u16 *halves = (const __u16 *)ip;
	__u32 sum = 0;
#pragma unroll
	for (int i = 0; i < (int)(sizeof(*ip) / 2); i++)
		sum += halves[i];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* Puts an Ethernet and an IPv4 header before the packet's own IP header. */
static __always_inline int wrap(struct xdp_md *ctx, __be32 target, __u8 tos, __u16 inner_bytes)
{
	if (bpf_xdp_adjust_head(ctx, -(int)sizeof(struct iphdr)))
		return XDP_DROP;
	struct cursor cursor = cursor_at((void *)(long)ctx->data, (void *)(long)ctx->data_end);
	struct ethhdr *eth = take(&cursor, struct ethhdr);
	struct iphdr *ip = take(&cursor, struct iphdr);
	if (!eth || !ip)
		return XDP_DROP;
	for (int i = 0; i < ETH_ALEN; i++) {
		eth->h_dest[i] = gateway_mac[i];
		eth->h_source[i] = own_mac[i];
	}
	eth->h_proto = bpf_htons(ETH_P_IP);
	ip->version = 4;
	ip->ihl = 5;
	ip->tos = tos;
	ip->tot_len = bpf_htons(inner_bytes + sizeof(*ip));
	ip->id = 0;
	ip->frag_off = bpf_htons(IP_DONT_FRAGMENT);
	ip->ttl = ENCAP_TTL;
	ip->protocol = IPPROTO_IPIP;
	ip->check = 0;
	ip->saddr = own_address;
	ip->daddr = target;
	ip->check = header_checksum(ip);
	return XDP_TX;
}

SEC("xdp")
int loadbalancer(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + sizeof(*eth);
	if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	struct cursor cursor = cursor_at(data, end);
	struct flow_key key;
	if (parse_flow(&cursor, &key) != PARSED_FLOW)
		return XDP_PASS;

	struct service_key wanted = {key.target[0], key.target_port, key.protocol, 0};
	__u32 *service = bpf_map_lookup_elem(&services, &wanted);
	if (!service)
		return XDP_PASS;
	struct server *server = server_of(&key, *service);
	if (!server)
		return XDP_DROP;
	server->packets++;
	server->bytes += end - data;
	return wrap(ctx, server->address, ip->tos, bpf_ntohs(ip->tot_len));
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
