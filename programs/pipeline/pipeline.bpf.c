/* A tc action made of stages chained by tail calls: a parser, one stage for each network protocol, and a marker.
 *
 * The parser leaves what it found in the packet's control block, `cb`, where the stages take it up:
 *
 *   cb[0]  offset of the network header
 *   cb[1]  offset of the transport header
 *   cb[2]  transport protocol
 *   cb[3]  stages passed, as bits
 */
#include "packet.h"

#define ACT_OK 0
#define ACT_SHOT 2
#define ACT_PIPE 3

enum stage {
	STAGE_IPV4,
	STAGE_IPV6,
	STAGE_TCP,
	STAGE_UDP,
	STAGE_ICMP,
	STAGE_MARK,
	STAGES,
};

enum {
	CB_NETWORK,
	CB_TRANSPORT,
	CB_PROTOCOL,
	CB_PASSED,
};

/* What ICMP and ICMPv6 headers have in common. */
struct icmp_start {
	__u8 type;
	__u8 code;
	__sum16 checksum;
};

int stage_ipv4(struct __sk_buff *skb);
int stage_ipv6(struct __sk_buff *skb);
int stage_tcp(struct __sk_buff *skb);
int stage_udp(struct __sk_buff *skb);
int stage_icmp(struct __sk_buff *skb);
int stage_mark(struct __sk_buff *skb);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, STAGES);
	__uint(key_size, sizeof(__u32));
	__array(values, int(void *));
} stages SEC(".maps") = {
	.values =
		{
			[STAGE_IPV4] = (void *)&stage_ipv4,
			[STAGE_IPV6] = (void *)&stage_ipv6,
			[STAGE_TCP] = (void *)&stage_tcp,
			[STAGE_UDP] = (void *)&stage_udp,
			[STAGE_ICMP] = (void *)&stage_icmp,
			[STAGE_MARK] = (void *)&stage_mark,
		},
};

/* Packets that reached each stage, and those that a missing stage let fall (the last). */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, STAGES + 1);
	__type(key, __u32);
	__type(value, __u64);
} reached SEC(".maps");

static __always_inline void count(__u32 stage)
{
	__u64 *counter = bpf_map_lookup_elem(&reached, &stage);
	if (counter)
		(*counter)++;
}

static __always_inline int go(struct __sk_buff *skb, __u32 stage)
{
	bpf_tail_call(skb, &stages, stage);
	count(STAGES); /* only when nothing stands in the slot */
	return ACT_OK;
}

static __always_inline void enter(struct __sk_buff *skb, enum stage stage)
{
	count(stage);
	skb->cb[CB_PASSED] |= 1 << stage;
}

SEC("action")
int parse(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	struct cursor cursor = cursor_at(data, (void *)(long)skb->data_end);
	__be16 protocol = take_link(&cursor);
	skb->cb[CB_NETWORK] = cursor.at - data;
	skb->cb[CB_TRANSPORT] = 0;
	skb->cb[CB_PROTOCOL] = 0;
	skb->cb[CB_PASSED] = 0;
	if (protocol == bpf_htons(ETH_P_IP))
		return go(skb, STAGE_IPV4);
	if (protocol == bpf_htons(ETH_P_IPV6))
		return go(skb, STAGE_IPV6);
	return ACT_OK;
}

static __always_inline int to_transport(struct __sk_buff *skb, __u32 offset, __u8 protocol)
{
	skb->cb[CB_TRANSPORT] = offset;
	skb->cb[CB_PROTOCOL] = protocol;
	switch (protocol) {
	case IPPROTO_TCP:
		return go(skb, STAGE_TCP);
	case IPPROTO_UDP:
		return go(skb, STAGE_UDP);
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return go(skb, STAGE_ICMP);
	default:
		return go(skb, STAGE_MARK);
	}
}

SEC("action")
int stage_ipv4(struct __sk_buff *skb)
{
	enter(skb, STAGE_IPV4);
	__u32 at = skb->cb[CB_NETWORK];
	struct iphdr ip;
	if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)) < 0)
		return ACT_SHOT;
	if (ip.version != 4 || ip.ihl < 5 || bpf_ntohs(ip.tot_len) > skb->len - at)
		return ACT_SHOT;
	if (ip.frag_off & bpf_htons(IP_FRAGMENT_OFFSET))
		return go(skb, STAGE_MARK);
	return to_transport(skb, at + ip.ihl * 4, ip.protocol);
}

SEC("action")
int stage_ipv6(struct __sk_buff *skb)
{
	enter(skb, STAGE_IPV6);
	__u32 at = skb->cb[CB_NETWORK];
	struct ipv6hdr ip;
	if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)) < 0 || ip.version != 6)
		return ACT_SHOT;
	return to_transport(skb, at + sizeof(ip), ip.nexthdr);
}

/* Flags that no sane sender combines (SYN with FIN or RST, or none at all) are dropped. */
SEC("action")
int stage_tcp(struct __sk_buff *skb)
{
	enter(skb, STAGE_TCP);
	struct tcphdr tcp;
	if (bpf_skb_load_bytes(skb, skb->cb[CB_TRANSPORT], &tcp, sizeof(tcp)) < 0 || tcp.doff < 5)
		return ACT_SHOT;
	if (tcp.syn && (tcp.fin || tcp.rst))
		return ACT_SHOT;
	if (!tcp.syn && !tcp.ack && !tcp.rst && !tcp.fin)
		return ACT_SHOT;
	return go(skb, STAGE_MARK);
}

SEC("action")
int stage_udp(struct __sk_buff *skb)
{
	enter(skb, STAGE_UDP);
	struct udphdr udp;
	if (bpf_skb_load_bytes(skb, skb->cb[CB_TRANSPORT], &udp, sizeof(udp)) < 0)
		return ACT_SHOT;
	if (bpf_ntohs(udp.len) < sizeof(udp))
		return ACT_SHOT;
	return go(skb, STAGE_MARK);
}

SEC("action")
int stage_icmp(struct __sk_buff *skb)
{
	enter(skb, STAGE_ICMP);
	struct icmp_start icmp;
	if (bpf_skb_load_bytes(skb, skb->cb[CB_TRANSPORT], &icmp, sizeof(icmp)) < 0)
		return ACT_SHOT;
	return go(skb, STAGE_MARK);
}

/* The last stage: tells those after it which way the packet took. */
SEC("action")
int stage_mark(struct __sk_buff *skb)
{
	enter(skb, STAGE_MARK);
	skb->mark = skb->cb[CB_PASSED] | skb->cb[CB_PROTOCOL] << 8;
	return ACT_PIPE;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
