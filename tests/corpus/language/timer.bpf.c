/* Timers in values of maps, and what they call later.
 *
 * A run of packets is followed by a wait; what the callbacks left in the maps is compared then.
 */
#include "packet.h"

#define CLOCK_MONOTONIC 1
#define CLOCK_BOOTTIME 7
#define CLOCK_REALTIME 0
#define TIMER_ABS 1
#define TIMER_CPU_PIN 2
#define MS 1000000ull

struct timed {
	__u32 packets;
	__u32 fired;
	struct bpf_timer timer;
	__u64 last;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct timed);
} clocks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, struct timed);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 64);
	__type(key, __u64);
	__type(value, struct timed);
} recent SEC(".maps");

/* What helpers answered, and what callbacks counted. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 32);
	__type(key, __u32);
	__type(value, __s64);
} said SEC(".maps");

static __always_inline void say(__u32 at, __s64 what)
{
	bpf_map_update_elem(&said, &at, &what, 0);
}

static __always_inline void count(__u32 at)
{
	__s64 *value = bpf_map_lookup_elem(&said, &at);

	if (value)
		__sync_fetch_and_add(value, 1);
}

static int once(void *map, __u32 *key, struct timed *value)
{
	value->fired++;
	value->last = *key + 100;
	return 0;
}

/* Each packet puts the end of the wait off; it comes once. */
SEC("xdp")
int put_off(struct xdp_md *ctx)
{
	__u32 key = 2;
	struct timed *value = bpf_map_lookup_elem(&clocks, &key);

	if (!value)
		return 0;
	value->packets++;
	bpf_timer_init(&value->timer, &clocks, CLOCK_MONOTONIC);
	bpf_timer_set_callback(&value->timer, once);
	return bpf_timer_start(&value->timer, 30 * MS, 0);
}

static int again(void *map, __u32 *key, struct timed *value)
{
	if (++value->fired < 5)
		bpf_timer_start(&value->timer, MS, 0);
	return 0;
}

/* A function that starts its timer anew, five times. */
SEC("tc")
int periodic(struct __sk_buff *skb)
{
	__u32 key = 1;
	struct timed *value = bpf_map_lookup_elem(&clocks, &key);

	if (!value)
		return 0;
	if (bpf_timer_init(&value->timer, &clocks, CLOCK_BOOTTIME))
		return 1;
	bpf_timer_set_callback(&value->timer, again);
	bpf_timer_start(&value->timer, MS, 0);
	return 2;
}

static int expire(void *map, __u32 *key, struct timed *value)
{
	count(0);
	say(1 + (*key & 7), value->packets);
	bpf_map_delete_elem(&flows, key);
	return 0;
}

/* An entry for each length of packet, which takes itself away. */
SEC("xdp")
int expiring(struct xdp_md *ctx)
{
	__u32 key = ctx->data_end - ctx->data;
	struct timed none = {}, *value;

	bpf_map_update_elem(&flows, &key, &none, BPF_NOEXIST);
	value = bpf_map_lookup_elem(&flows, &key);
	if (!value)
		return 0;
	value->packets++;
	if (bpf_timer_init(&value->timer, &flows, CLOCK_MONOTONIC))
		return 1;
	bpf_timer_set_callback(&value->timer, expire);
	bpf_timer_start(&value->timer, 20 * MS, 0);
	return 2;
}

static int never(void *map, __u32 *key, struct timed *value)
{
	count(31);
	return 0;
}

static int ask_inside(void *map, __u32 *key, struct timed *value)
{
	say(24, bpf_timer_cancel(&value->timer));
	say(21, bpf_timer_init(&value->timer, &clocks, CLOCK_MONOTONIC));
	say(22, bpf_timer_set_callback(&value->timer, never));
	say(23, bpf_timer_start(&value->timer, 1ull << 62, 0));
	return 0;
}

/* What the helpers answer. */
SEC("socket")
int answers(struct __sk_buff *skb)
{
	__u32 key = 0;
	struct timed *value = bpf_map_lookup_elem(&clocks, &key);

	if (!value)
		return 0;
	if (value->packets++)
		return 1;
	say(0, bpf_timer_set_callback(&value->timer, once));
	say(1, bpf_timer_start(&value->timer, MS, 0));
	say(2, bpf_timer_cancel(&value->timer));
	say(3, bpf_timer_init(&value->timer, &clocks, 2));
	say(4, bpf_timer_init(&value->timer, &clocks, 8));
	say(5, bpf_timer_init(&value->timer, &clocks, 16 + CLOCK_MONOTONIC));
	say(6, bpf_timer_init(&value->timer, &clocks, CLOCK_MONOTONIC));
	say(7, bpf_timer_init(&value->timer, &clocks, CLOCK_MONOTONIC));
	say(8, bpf_timer_start(&value->timer, MS, 0));
	say(9, bpf_timer_cancel(&value->timer));
	say(10, bpf_timer_set_callback(&value->timer, never));
	say(11, bpf_timer_start(&value->timer, MS, 4));
	say(12, bpf_timer_start(&value->timer, 1000 * MS, 0));
	say(13, bpf_timer_cancel(&value->timer));
	say(14, bpf_timer_cancel(&value->timer));
	say(15, bpf_timer_start(&value->timer, MS, 0));
	/* Times are signed: the negative ones never come. One that has passed comes at once. */
	bpf_timer_set_callback(&value->timer, never);
	say(16, bpf_timer_start(&value->timer, -1ull, 0));
	say(18, bpf_timer_cancel(&value->timer));
	bpf_timer_set_callback(&value->timer, never);
	say(19, bpf_timer_start(&value->timer, -1ull, TIMER_ABS));
	say(20, bpf_timer_cancel(&value->timer));
	bpf_timer_set_callback(&value->timer, ask_inside);
	say(17, bpf_timer_start(&value->timer, 1, TIMER_ABS));
	return 2;
}

static __always_inline struct timed *armed(__u32 key)
{
	struct timed none = {}, *value;

	bpf_map_update_elem(&flows, &key, &none, 0);
	value = bpf_map_lookup_elem(&flows, &key);
	if (!value)
		return 0;
	bpf_timer_init(&value->timer, &flows, CLOCK_REALTIME);
	bpf_timer_set_callback(&value->timer, never);
	bpf_timer_start(&value->timer, 10 * MS, 0);
	return value;
}

/* Whatever happens to an element happens to its timer. */
SEC("xdp")
int gone(struct xdp_md *ctx)
{
	struct timed none = {}, *value;
	__u32 key;

	if (!armed(0) || !armed(1))
		return 0;
	key = 0;
	bpf_map_delete_elem(&flows, &key);
	key = 1;
	bpf_map_update_elem(&flows, &key, &none, 0);
	value = bpf_map_lookup_elem(&flows, &key);
	if (!value)
		return 0;
	say(0, bpf_timer_cancel(&value->timer));

	key = 3;
	value = bpf_map_lookup_elem(&clocks, &key);
	if (!value)
		return 0;
	bpf_timer_init(&value->timer, &clocks, CLOCK_MONOTONIC);
	bpf_timer_set_callback(&value->timer, never);
	bpf_timer_start(&value->timer, 10 * MS, 0);
	bpf_map_update_elem(&clocks, &key, &none, 0);
	say(1, bpf_timer_cancel(&value->timer));
	return 2;
}

static int later(void *map, __u64 *key, struct timed *value);

/* Used by the program and by what it arms. */
static __noinline int arm(struct timed *value, __u64 delay)
{
	bpf_timer_set_callback(&value->timer, later);
	return bpf_timer_start(&value->timer, delay, TIMER_CPU_PIN);
}

static int later(void *map, __u64 *key, struct timed *value)
{
	say(4, *key);
	if (++value->fired < 3)
		arm(value, 2 * MS);
	count(5);
	return 0;
}

/* The kernel takes the function that is armed from a function's frame for a loop without end. */
/* through_a_function: weir alone */
SEC("tc")
int through_a_function(struct __sk_buff *skb)
{
	__u64 key = 7;
	struct timed none = {}, *value;

	bpf_map_update_elem(&recent, &key, &none, BPF_NOEXIST);
	value = bpf_map_lookup_elem(&recent, &key);
	if (!value)
		return 0;
	if (bpf_timer_init(&value->timer, &recent, CLOCK_MONOTONIC))
		return 1;
	return arm(value, MS);
}

static int visit(void *map, __u32 *key, struct timed *value, __u64 *sum)
{
	*sum += *key * 10 + value->packets;
	return 0;
}

static int add(__u32 index, __u64 *sum)
{
	*sum += index;
	return 0;
}

static int summing(void *map, __u32 *key, struct timed *value)
{
	__u64 sum = 0, at;
	char text[16] = "1234";
	long number = 0;

	bpf_for_each_map_elem(&clocks, visit, &sum, 0);
	say(0, sum);
	say(1, bpf_loop(10, add, &sum, 0));
	say(2, sum);
	bpf_strtol(text, sizeof(text), 0, &number);
	say(3, number);
	say(4, bpf_ktime_get_ns() >= value->last);
	at = bpf_ktime_get_ns();
	say(5, at - value->last < 1000 * MS);
	value->last = 0;
	return 0;
}

/* Callbacks inside a callback, and an hour that was named. */
SEC("xdp")
int summing_later(struct xdp_md *ctx)
{
	__u32 key = 3;
	struct timed *value = bpf_map_lookup_elem(&clocks, &key);

	if (!value)
		return 0;
	value->packets++;
	if (bpf_timer_init(&value->timer, &clocks, CLOCK_MONOTONIC))
		return 1;
	bpf_timer_set_callback(&value->timer, summing);
	value->last = bpf_ktime_get_ns() + 25 * MS;
	return bpf_timer_start(&value->timer, value->last, TIMER_ABS);
}

static int one(void *map, __u32 *key, struct timed *value)
{
	return 1;
}

/* bad_answer: callback-return */
SEC("xdp")
int bad_answer(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct timed *value = bpf_map_lookup_elem(&clocks, &key);

	if (value)
		bpf_timer_set_callback(&value->timer, one);
	return 0;
}

/* bad_other_map: timer */
SEC("xdp")
int bad_other_map(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct timed *value = bpf_map_lookup_elem(&clocks, &key);

	if (value)
		bpf_timer_init(&value->timer, &flows, CLOCK_MONOTONIC);
	return 0;
}

/* bad_copy: map-special-field */
SEC("xdp")
int bad_copy(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct timed *value = bpf_map_lookup_elem(&clocks, &key);

	if (value)
		bpf_map_update_elem(&flows, &key, value, 0);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
