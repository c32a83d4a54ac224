/* Global functions, which are proven once by the types of what they take.
 *
 * `bad_*` programs are refused.
 */
#include "packet.h"
#include "loops.h"

#define __arg_nonnull __attribute__((btf_decl_tag("arg:nonnull")))
#define __arg_ctx __attribute__((btf_decl_tag("arg:ctx")))

struct point {
	__u32 x, y;
	__u64 tag;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct point);
} points SEC(".maps");

const volatile __u32 limit = 7;

/* What lies on the stack stays there. */
#define ON_STACK(what) asm volatile("" : : "r"(&(what)) : "memory")

__noinline int add(int a, int b)
{
	asm volatile("" : "+r"(a));
	return a + b;
}

SEC("xdp")
int numbers(struct xdp_md *ctx)
{
	return add(add(1, 2), ctx->data_end - ctx->data);
}

__noinline int stretch(struct point *point, __u32 by)
{
	if (!point)
		return -1;
	point->x += by;
	point->y *= by;
	return point->x ^ point->y;
}

/* Memory of the stack, of a map, and none. */
SEC("tc")
int memory(struct __sk_buff *skb)
{
	struct point mine = {1, 2, 3};
	struct point *theirs;
	__u32 key = 1;
	int answer;

	ON_STACK(mine);
	answer = stretch(&mine, 5);
	theirs = bpf_map_lookup_elem(&points, &key);
	if (theirs)
		theirs->x = 100;
	answer += stretch(theirs, 2) + stretch(NULL, 1);
	return answer + mine.x + mine.tag;
}

/* The context, and bytes of the packet. */
__noinline int first_bytes(struct xdp_md *ctx, __u32 count)
{
	__u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	int sum = 0;

	if (count > 16)
		return -1;
	for (__u32 i = 0; i < count && data + i + 1 <= end; i++)
		sum += data[i];
	return sum;
}

SEC("xdp")
int context(struct xdp_md *ctx)
{
	return first_bytes(ctx, 3) * 1000 + first_bytes(ctx, 16) + first_bytes(ctx, 17);
}

__noinline int ports(const struct udphdr *udp __arg_nonnull)
{
	return udp->source ^ udp->dest;
}

/* Memory of the packet. */
SEC("xdp")
int of_packet(struct xdp_md *ctx)
{
	struct udphdr *udp = (void *)(long)ctx->data + 34;

	if ((void *)(udp + 1) > (void *)(long)ctx->data_end)
		return 0;
	return ports(udp) & 0xffff;
}

__noinline int shrink(struct xdp_md *ctx)
{
	return bpf_xdp_adjust_head(ctx, 4);
}

/* What moves the packet moves it for the caller too, who looks again. */
SEC("xdp")
int moves(struct xdp_md *ctx)
{
	__u8 *data;

	if (shrink(ctx))
		return 1;
	data = (void *)(long)ctx->data;
	if (data + 2 > (__u8 *)(long)ctx->data_end)
		return 2;
	return data[0] << 8 | data[1];
}

static __noinline int inner(struct point *point)
{
	return point->x + limit;
}

__noinline int outer(struct point *point __arg_nonnull)
{
	return inner(point) + add(point->y, 1);
}

/* A static function beneath a global one is walked with it. */
SEC("xdp")
int nested(struct xdp_md *ctx)
{
	struct point point = {10, 20, 30};

	ON_STACK(point);
	return outer(&point);
}

__noinline int turns(int count)
{
	int i, sum = 0;

	bpf_for(i, 0, count)
		sum += i;
	return sum;
}

SEC("tc")
int loops(struct __sk_buff *skb)
{
	return turns(100) + turns(-1) + turns(skb->len);
}

/* A read that only some argument would make wrong is refused for all. */
__noinline int choose(int index)
{
	int table[4] = {1, 2, 3, 4};

	asm volatile("" : "+r"(index));
	return table[index];
}

/* bad_any_number: pointer-offset */
SEC("xdp")
int bad_any_number(struct xdp_md *ctx)
{
	return choose(2);
}

__noinline int unchecked(struct point *point)
{
	return point->x;
}

/* bad_maybe_null: null-check */
SEC("xdp")
int bad_maybe_null(struct xdp_md *ctx)
{
	struct point point = {};

	ON_STACK(point);
	return unchecked(&point);
}

/* bad_null: null-check, which the kernel accepts */
SEC("xdp")
int bad_null(struct xdp_md *ctx)
{
	return outer(NULL);
}

/* bad_too_short: stack-bounds */
SEC("xdp")
int bad_too_short(struct xdp_md *ctx)
{
	__u64 word = 1;

	ON_STACK(word);
	return stretch((void *)&word, 1);
}

__noinline int past_end(struct point *point)
{
	return point ? *(volatile __u32 *)(point + 1) : 0;
}

/* bad_past_end: memory-bounds */
SEC("xdp")
int bad_past_end(struct xdp_md *ctx)
{
	struct point pair[2] = {};

	ON_STACK(pair);
	return past_end(pair);
}

/* bad_stale: not-a-pointer */
SEC("xdp")
int bad_stale(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data;

	if (data + 20 > (__u8 *)(long)ctx->data_end)
		return 0;
	if (shrink(ctx))
		return 1;
	return data[0];
}

/* bad_not_context: argument-type */
SEC("xdp")
int bad_not_context(struct xdp_md *ctx)
{
	struct point point = {};

	ON_STACK(point);
	return first_bytes((void *)&point, 1);
}

/* bad_read_only: map-read-only */
SEC("xdp")
int bad_read_only(struct xdp_md *ctx)
{
	static const volatile struct point fixed = {1, 2, 3};

	return stretch((void *)&fixed, 1);
}

__noinline void nothing(int *place)
{
	if (place)
		*place = 1;
}

/* bad_returns_nothing: global-function, which the test's BTF does not say */
SEC("xdp")
int bad_returns_nothing(struct xdp_md *ctx)
{
	int place = 0;

	nothing(&place);
	return place;
}

__noinline int of_unknown_size(void *memory)
{
	return !memory;
}

/* bad_void_pointer: global-function, which the test's BTF does not say */
SEC("xdp")
int bad_void_pointer(struct xdp_md *ctx)
{
	int place = 0;

	return of_unknown_size(&place);
}

char LICENSE[] SEC("license") = "GPL";
