/* Dynptrs: views of packets, of records and of map values.
 *
 * `bad_*` programs are refused.
 */
#include "packet.h"

extern int bpf_dynptr_from_skb(struct __sk_buff *skb, __u64 flags, struct bpf_dynptr *ptr) __ksym;
extern int bpf_dynptr_from_xdp(struct xdp_md *xdp, __u64 flags, struct bpf_dynptr *ptr) __ksym;
extern void *bpf_dynptr_slice(const struct bpf_dynptr *ptr, __u32 offset, void *buffer, __u32 size) __ksym;
extern void *bpf_dynptr_slice_rdwr(const struct bpf_dynptr *ptr, __u32 offset, void *buffer, __u32 size) __ksym;
extern int bpf_dynptr_adjust(const struct bpf_dynptr *ptr, __u32 start, __u32 end) __ksym;
extern bool bpf_dynptr_is_null(const struct bpf_dynptr *ptr) __ksym;
extern bool bpf_dynptr_is_rdonly(const struct bpf_dynptr *ptr) __ksym;
extern __u32 bpf_dynptr_size(const struct bpf_dynptr *ptr) __ksym;
extern int bpf_dynptr_clone(const struct bpf_dynptr *ptr, struct bpf_dynptr *clone) __ksym;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring SEC(".maps");

struct value {
	__u8 bytes[64];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct value);
} values SEC(".maps");

/* Swaps the addresses of an Ethernet header in place. */
SEC("xdp")
int swap_addresses(struct xdp_md *ctx)
{
	struct bpf_dynptr packet;
	struct ethhdr buffer, *eth;
	__u8 address[6];

	if (bpf_dynptr_from_xdp(ctx, 0, &packet))
		return XDP_DROP;
	eth = bpf_dynptr_slice_rdwr(&packet, 0, &buffer, sizeof(buffer));
	if (!eth)
		return XDP_DROP;
	__builtin_memcpy(address, eth->h_source, 6);
	__builtin_memcpy(eth->h_source, eth->h_dest, 6);
	__builtin_memcpy(eth->h_dest, address, 6);
	if (eth == &buffer)
		bpf_dynptr_write(&packet, 0, &buffer, sizeof(buffer), 0);
	return XDP_TX;
}

/* Walks headers by offsets that the packet says. */
SEC("tc")
int walk(struct __sk_buff *skb)
{
	struct bpf_dynptr packet;
	const struct ethhdr *eth;
	const struct iphdr *ip;
	const struct udphdr *udp;
	struct ethhdr eth_buffer;
	struct iphdr ip_buffer;
	struct udphdr udp_buffer;
	__u32 at = sizeof(*eth);

	bpf_dynptr_from_skb(skb, 0, &packet);
	eth = bpf_dynptr_slice(&packet, 0, &eth_buffer, sizeof(eth_buffer));
	if (!eth)
		return 1;
	if (eth->h_proto != bpf_htons(ETH_P_IP))
		return 2;
	ip = bpf_dynptr_slice(&packet, at, &ip_buffer, sizeof(ip_buffer));
	if (!ip)
		return 3;
	at += ip->ihl * 4;
	if (ip->protocol != IPPROTO_UDP && ip->protocol != IPPROTO_TCP)
		return 4;
	udp = bpf_dynptr_slice(&packet, at, &udp_buffer, sizeof(udp_buffer));
	if (!udp)
		return 5;
	return bpf_ntohs(udp->dest) & 0x7fff;
}

/* Without a buffer: what is not in one piece is null. */
SEC("tc")
int no_buffer(struct __sk_buff *skb)
{
	struct bpf_dynptr packet;
	const __u8 *bytes;

	bpf_dynptr_from_skb(skb, 0, &packet);
	bytes = bpf_dynptr_slice(&packet, 6, NULL, 6);
	return bytes ? bytes[5] : 1000;
}

/* Every figure of a view. */
SEC("xdp")
int figures(struct xdp_md *ctx)
{
	struct bpf_dynptr packet, clone, none;
	__u32 answer = 0;

	bpf_dynptr_from_xdp(ctx, 0, &packet);
	answer = bpf_dynptr_size(&packet);
	if (bpf_dynptr_adjust(&packet, 14, answer))
		return 1;
	if (bpf_dynptr_adjust(&packet, 9999, 10000) != -34)
		return 2;
	if (bpf_dynptr_adjust(&packet, 2, 1) != -22)
		return 3;
	bpf_dynptr_clone(&packet, &clone);
	bpf_dynptr_adjust(&clone, 1, 3);
	answer = answer * 1000 + bpf_dynptr_size(&packet) * 10 + bpf_dynptr_size(&clone);
	if (bpf_dynptr_is_null(&packet) || bpf_dynptr_is_rdonly(&packet))
		return 4;
	if (bpf_dynptr_from_xdp(ctx, 1, &none) != -22)
		return 5;
	if (!bpf_dynptr_is_null(&none) || bpf_dynptr_size(&none) != (__u32)-22)
		return 6;
	return answer;
}

/* Copies out and in, at the view's own offset. */
SEC("xdp")
int copies(struct xdp_md *ctx)
{
	struct bpf_dynptr packet;
	__u8 bytes[8] = {};
	int error;

	bpf_dynptr_from_xdp(ctx, 0, &packet);
	bpf_dynptr_adjust(&packet, 4, 20);
	error = bpf_dynptr_read(bytes, sizeof(bytes), &packet, 2, 0);
	if (error)
		return 100 - error;
	bytes[0] ^= 0xff;
	error = bpf_dynptr_write(&packet, 8, bytes, sizeof(bytes), 0);
	if (error)
		return 200 - error;
	if (bpf_dynptr_write(&packet, 9, bytes, sizeof(bytes), 0) != -7)
		return 300;
	if (bpf_dynptr_read(bytes, sizeof(bytes), &packet, 0, 1) != -22)
		return 400;
	return bytes[1];
}

/* A record of a size that only the run knows. */
SEC("xdp")
int record(struct xdp_md *ctx)
{
	__u32 len = ctx->data_end - ctx->data;
	struct bpf_dynptr record;
	__u8 *head;
	int answer = 1;

	if (bpf_ringbuf_reserve_dynptr(&ring, len, 0, &record)) {
		bpf_ringbuf_discard_dynptr(&record, 0);
		return 2;
	}
	head = bpf_dynptr_data(&record, 0, 8);
	if (head) {
		head[0] = len;
		head[7] = 1;
		answer = 3;
	}
	if (bpf_dynptr_write(&record, 8, &len, sizeof(len), 0))
		answer += 10;
	bpf_ringbuf_submit_dynptr(&record, 0);
	return answer;
}

/* A record that is too large is a view of nothing, and is given back all the same. */
SEC("xdp")
int no_record(struct xdp_md *ctx)
{
	struct bpf_dynptr record;
	int error = bpf_ringbuf_reserve_dynptr(&ring, 1 << 20, 0, &record);

	if (bpf_dynptr_data(&record, 0, 4))
		error = -1;
	bpf_ringbuf_discard_dynptr(&record, 0);
	return -error;
}

/* A clone of a record goes with it. */
SEC("xdp")
int cloned_record(struct xdp_md *ctx)
{
	struct bpf_dynptr record, clone;
	__u32 *word;

	bpf_ringbuf_reserve_dynptr(&ring, 64, 0, &record);
	bpf_dynptr_clone(&record, &clone);
	word = bpf_dynptr_data(&clone, 60, 4);
	if (word)
		*word = 7;
	bpf_ringbuf_submit_dynptr(&clone, 0);
	return !!word;
}

/* A view of a map's value. */
SEC("tc")
int of_value(struct __sk_buff *skb)
{
	__u32 key = 0, word = 0x01020304;
	struct value *value = bpf_map_lookup_elem(&values, &key);
	struct bpf_dynptr view;
	__u8 *part;

	if (!value)
		return 0;
	if (bpf_dynptr_from_mem(value, sizeof(*value), 0, &view))
		return 1;
	if (bpf_dynptr_write(&view, 10, &word, sizeof(word), 0))
		return 2;
	part = bpf_dynptr_data(&view, 8, 8);
	if (!part)
		return 3;
	part[0]++;
	if (bpf_dynptr_data(&view, 60, 8))
		return 4;
	if (bpf_dynptr_write(&view, 61, &word, sizeof(word), 0) != -7)
		return 5;
	return part[2];
}

static __noinline int first_word(struct bpf_dynptr *view)
{
	__u32 word = 0;

	bpf_dynptr_read(&word, sizeof(word), view, 0, 0);
	return word & 0xffff;
}

/* The view lies in the caller's frame. */
SEC("xdp")
int across_frames(struct xdp_md *ctx)
{
	struct bpf_dynptr packet;

	bpf_dynptr_from_xdp(ctx, 0, &packet);
	return first_word(&packet);
}

/* A socket filter only reads. */
SEC("socket")
int only_reads(struct __sk_buff *skb)
{
	struct bpf_dynptr packet;
	__u8 byte = 1;

	bpf_dynptr_from_skb(skb, 0, &packet);
	if (!bpf_dynptr_is_rdonly(&packet))
		return 1;
	if (bpf_dynptr_write(&packet, 0, &byte, 1, 0) != -22)
		return 2;
	return bpf_dynptr_size(&packet);
}

/* A write into an skb makes its slices stale. */
/* bad_stale_slice: not-a-pointer */
SEC("tc")
int bad_stale_slice(struct __sk_buff *skb)
{
	struct bpf_dynptr packet;
	struct ethhdr buffer, *eth;
	__u32 word = 1;

	bpf_dynptr_from_skb(skb, 0, &packet);
	eth = bpf_dynptr_slice(&packet, 0, &buffer, sizeof(buffer));
	if (!eth)
		return 0;
	bpf_dynptr_write(&packet, 0, &word, sizeof(word), 0);
	return eth->h_proto;
}

/* bad_slice_after_move: not-a-pointer */
SEC("xdp")
int bad_slice_after_move(struct xdp_md *ctx)
{
	struct bpf_dynptr packet;
	struct ethhdr buffer, *eth;

	bpf_dynptr_from_xdp(ctx, 0, &packet);
	eth = bpf_dynptr_slice(&packet, 0, &buffer, sizeof(buffer));
	if (!eth)
		return 0;
	bpf_xdp_adjust_head(ctx, 4);
	return eth->h_proto;
}

/* bad_null_slice: null-check */
SEC("xdp")
int bad_null_slice(struct xdp_md *ctx)
{
	struct bpf_dynptr packet;
	struct ethhdr buffer, *eth;

	bpf_dynptr_from_xdp(ctx, 0, &packet);
	eth = bpf_dynptr_slice(&packet, 0, &buffer, sizeof(buffer));
	return eth->h_proto;
}

/* bad_slice_end: memory-bounds */
SEC("xdp")
int bad_slice_end(struct xdp_md *ctx)
{
	struct bpf_dynptr packet;
	__u8 buffer[16], *bytes;

	bpf_dynptr_from_xdp(ctx, 0, &packet);
	bytes = bpf_dynptr_slice(&packet, 0, buffer, sizeof(buffer));
	if (!bytes)
		return 0;
	return *(volatile __u8 *)(bytes + 16);
}

/* bad_slice_written: read-only-memory */
SEC("xdp")
int bad_slice_written(struct xdp_md *ctx)
{
	struct bpf_dynptr packet;
	__u8 buffer[16], *bytes;

	bpf_dynptr_from_xdp(ctx, 0, &packet);
	bytes = bpf_dynptr_slice(&packet, 0, buffer, sizeof(buffer));
	if (bytes)
		bytes[0] = 1;
	return 0;
}

/* bad_slice_size: argument-constant */
SEC("xdp")
int bad_slice_size(struct xdp_md *ctx)
{
	struct bpf_dynptr packet;
	__u8 buffer[64], *bytes;
	__u32 size = ctx->rx_queue_index & 31;

	bpf_dynptr_from_xdp(ctx, 0, &packet);
	bytes = bpf_dynptr_slice(&packet, 0, buffer, size);
	return bytes ? bytes[0] : 0;
}

/* bad_buffer: stack-bounds */
SEC("xdp")
int bad_buffer(struct xdp_md *ctx)
{
	struct bpf_dynptr packet;
	__u8 buffer[8], *bytes;

	bpf_dynptr_from_xdp(ctx, 0, &packet);
	bytes = bpf_dynptr_slice(&packet, 0, buffer + 4, 512);
	return bytes ? bytes[0] : 0;
}

/* bad_not_made: dynptr */
SEC("xdp")
int bad_not_made(struct xdp_md *ctx)
{
	struct bpf_dynptr packet = {};

	return bpf_dynptr_size(&packet);
}

/* bad_written_over: dynptr */
SEC("xdp")
int bad_written_over(struct xdp_md *ctx)
{
	struct bpf_dynptr packet;

	bpf_dynptr_from_xdp(ctx, 0, &packet);
	*(volatile __u64 *)&packet = 0;
	return bpf_dynptr_size(&packet);
}

/* bad_read_raw: stack-bounds */
SEC("xdp")
int bad_read_raw(struct xdp_md *ctx)
{
	struct bpf_dynptr packet;

	bpf_dynptr_from_xdp(ctx, 0, &packet);
	return *(volatile __u64 *)&packet;
}

/* bad_half: dynptr */
SEC("xdp")
int bad_half(struct xdp_md *ctx)
{
	struct bpf_dynptr packet[2];

	bpf_dynptr_from_xdp(ctx, 0, &packet[0]);
	bpf_dynptr_from_xdp(ctx, 0, &packet[1]);
	return bpf_dynptr_size((void *)packet + 8);
}

/* bad_record_kept: unreleased-reference */
SEC("xdp")
int bad_record_kept(struct xdp_md *ctx)
{
	struct bpf_dynptr record;

	bpf_ringbuf_reserve_dynptr(&ring, 64, 0, &record);
	return 0;
}

/* bad_record_kept_on_error: unreleased-reference */
SEC("xdp")
int bad_record_kept_on_error(struct xdp_md *ctx)
{
	struct bpf_dynptr record;

	if (bpf_ringbuf_reserve_dynptr(&ring, 64, 0, &record))
		return 1;
	bpf_ringbuf_submit_dynptr(&record, 0);
	return 0;
}

/* bad_record_twice: dynptr */
SEC("xdp")
int bad_record_twice(struct xdp_md *ctx)
{
	struct bpf_dynptr record;

	bpf_ringbuf_reserve_dynptr(&ring, 64, 0, &record);
	bpf_ringbuf_submit_dynptr(&record, 0);
	bpf_ringbuf_submit_dynptr(&record, 0);
	return 0;
}

/* bad_clone_after: dynptr */
SEC("xdp")
int bad_clone_after(struct xdp_md *ctx)
{
	struct bpf_dynptr record, clone;

	bpf_ringbuf_reserve_dynptr(&ring, 64, 0, &record);
	bpf_dynptr_clone(&record, &clone);
	bpf_ringbuf_submit_dynptr(&record, 0);
	return bpf_dynptr_size(&clone);
}

/* bad_data_after: not-a-pointer */
SEC("xdp")
int bad_data_after(struct xdp_md *ctx)
{
	struct bpf_dynptr record;
	__u8 *data;

	bpf_ringbuf_reserve_dynptr(&ring, 64, 0, &record);
	data = bpf_dynptr_data(&record, 0, 8);
	bpf_ringbuf_submit_dynptr(&record, 0);
	if (data)
		data[0] = 1;
	return 0;
}

/* bad_record_overwritten: dynptr */
SEC("xdp")
int bad_record_overwritten(struct xdp_md *ctx)
{
	struct bpf_dynptr record;

	bpf_ringbuf_reserve_dynptr(&ring, 64, 0, &record);
	bpf_dynptr_from_xdp(ctx, 0, &record);
	return 0;
}

/* bad_submit_packet: dynptr */
SEC("xdp")
int bad_submit_packet(struct xdp_md *ctx)
{
	struct bpf_dynptr packet;

	bpf_dynptr_from_xdp(ctx, 0, &packet);
	bpf_ringbuf_submit_dynptr(&packet, 0);
	return 0;
}

/* bad_of_stack: dynptr */
SEC("xdp")
int bad_of_stack(struct xdp_md *ctx)
{
	__u8 bytes[32] = {};
	struct bpf_dynptr view;

	bpf_dynptr_from_mem(bytes, sizeof(bytes), 0, &view);
	return 0;
}

/* bad_read_into_itself: stack-bounds */
SEC("xdp")
int bad_read_into_itself(struct xdp_md *ctx)
{
	struct bpf_dynptr packet;

	bpf_dynptr_from_xdp(ctx, 0, &packet);
	bpf_dynptr_read(&packet, 8, &packet, 0, 0);
	return 0;
}

/* bad_filter_writes: packet-write */
SEC("socket")
int bad_filter_writes(struct __sk_buff *skb)
{
	struct bpf_dynptr packet;
	__u8 *byte;

	bpf_dynptr_from_skb(skb, 0, &packet);
	byte = bpf_dynptr_slice_rdwr(&packet, 0, NULL, 1);
	if (byte)
		*byte = 1;
	return 0;
}

/* bad_wrong_context: kernel-function */
SEC("tc")
int bad_wrong_context(struct __sk_buff *skb)
{
	struct bpf_dynptr packet;

	bpf_dynptr_from_xdp((void *)skb, 0, &packet);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
