/* A tc classifier: answers the classid of a packet.
 *
 * A port that is listed decides; else the DSCP of the IP header does; else the packet takes the
 * filter's own classid (-1). What is not IP does not match (0), and the next filter is asked.
 */
#include "packet.h"

#define NO_MATCH 0
#define FILTERS_OWN -1

struct service {
	__be16 port;
	__u8 protocol;
	__u8 pad;
};

/* Classids by protocol and port, of either end. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct service);
	__type(value, __u32);
} by_service SEC(".maps");

/* Classids by DSCP; 0 where there is none. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u32);
} by_dscp SEC(".maps");

static __always_inline __u32 class_of(__be16 port, __u8 protocol)
{
	struct service service = {port, protocol, 0};
	__u32 *classid = bpf_map_lookup_elem(&by_service, &service);
	return classid ? *classid : 0;
}

/* The DSCP of the IP header behind link headers. */
static __always_inline __u32 dscp_of(struct cursor *cursor, __u8 family)
{
	if (take_link(cursor) == 0)
		return 0;
	if (family == 4) {
		struct iphdr *ip = take(cursor, struct iphdr);
		return ip ? ip->tos >> 2 : 0;
	}
	struct ipv6hdr *ip = take(cursor, struct ipv6hdr);
	return ip ? (ip->priority << 2 | ip->flow_lbl[0] >> 6) & 63 : 0;
}

SEC("classifier")
int classify(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct cursor cursor = cursor_at(data, end);
	struct flow_key key;
	enum parsed parsed = parse_flow(&cursor, &key);
	if (parsed == PARSED_OTHER || parsed == PARSED_MALFORMED)
		return NO_MATCH;

	__u32 classid = 0;
	if (parsed == PARSED_FLOW)
		classid = class_of(key.target_port, key.protocol) ?: class_of(key.source_port, key.protocol);
	if (!classid) {
		cursor = cursor_at(data, end);
		__u32 dscp = dscp_of(&cursor, key.family);
		__u32 *listed = bpf_map_lookup_elem(&by_dscp, &dscp);
		classid = listed ? *listed : 0;
	}
	if (!classid)
		return FILTERS_OWN;
	/* Actions read the class here; the answer alone would tell only the queue behind. */
	skb->tc_classid = classid & 0xffff;
	return classid;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
