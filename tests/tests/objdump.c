// Instructions of every kind, for the listing test: nobody runs this.
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef signed char s8;
typedef short s16;
typedef int s32;
typedef long long s64;

#define both(name, type, expression)                                                              \
	type name(type a, type b, volatile type *p)                                                 \
	{                                                                                           \
		*p = (type)(expression);                                                            \
		return (type)(*p + 1);                                                              \
	}

#define arithmetic(type, suffix)                                                                  \
	both(add_##suffix, type, a + b) both(sub_##suffix, type, a - b)                             \
	both(mul_##suffix, type, a * b) both(div_##suffix, type, a / (b | 1))                       \
	both(mod_##suffix, type, a % 77) both(and_##suffix, type, a & b)                            \
	both(or_##suffix, type, a | 0x55) both(xor_##suffix, type, a ^ b)                           \
	both(lsh_##suffix, type, a << 3) both(rsh_##suffix, type, a >> (b & 7))                     \
	both(neg_##suffix, type, -a)

arithmetic(u8, u8) arithmetic(u16, u16) arithmetic(u32, u32) arithmetic(u64, u64)
both(shift_s32, s32, a >> b) both(shift_s64, s64, a >> b)

#define compare(type, suffix)                                                                     \
	int compare_##suffix(type a, type b, volatile int *p)                                       \
	{                                                                                           \
		if (a < b) *p = 1;                                                                  \
		if (a <= 7) *p = 2;                                                                 \
		if (a > b) *p = 3;                                                                  \
		if (a >= b) *p = 4;                                                                 \
		if (a == b) *p = 5;                                                                 \
		if (a != 9) *p = 6;                                                                 \
		if (a & 0x10) *p = 7;                                                               \
		return *p;                                                                          \
	}

compare(u32, u32) compare(s32, s32) compare(u64, u64) compare(s64, s64)

u64 swaps(u16 a, u32 b, u64 c)
{
	return __builtin_bswap16(a) + __builtin_bswap32(b) + __builtin_bswap64(c);
}

u64 wide(u64 a) { return a ^ 0x1122334455667788ULL; }

s64 loads(volatile s8 *a, volatile s16 *b, volatile s32 *c, volatile s64 *d)
{
	return a[-3] + b[4] + c[-100] + d[7];
}

void stores(u8 *a, u16 *b, u32 *c, u64 *d)
{
	a[-1] = 7;
	b[3] = 8;
	c[9] = 0xffffffff;
	d[-2] = -5;
}

void adds(u64 *a, u32 *b, u64 v)
{
	__sync_fetch_and_add(a, v);
	__sync_fetch_and_add(b, v);
}

#if __BPF_CPU_VERSION__ >= 3
u64 atomics(u64 *a, u32 *b, u64 v, u64 w)
{
	u64 got = __sync_fetch_and_add(a, v);
	got += __sync_fetch_and_and(a, v);
	got += __sync_fetch_and_or(b, (u32)v);
	got += __sync_fetch_and_xor(b, (u32)v);
	got += __sync_lock_test_and_set(a, v);
	got += __sync_lock_test_and_set(b, (u32)v);
	got += __sync_val_compare_and_swap(a, v, w);
	got += __sync_val_compare_and_swap(b, (u32)v, (u32)w);
	return got;
}
#endif

#if __BPF_CPU_VERSION__ >= 4
s64 divisions(s64 a, s64 b, s32 c, s32 d)
{
	return a / b + a % b + c / d + c % d + (s8)a + (s16)b + (s32)a;
}
#endif

static u64 (*const lookup)(void *map, const void *key) = (void *)1;

__attribute__((noinline)) static u64 helper(u64 a, u64 b) { return lookup((void *)a, (void *)b) + wide(a); }

u64 loops(u64 a)
{
	u64 sum = 0;
	for (u64 i = 0; i < (a & 31); i++)
		sum += helper(sum, i);
	return sum;
}
