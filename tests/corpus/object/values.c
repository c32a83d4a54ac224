/* Values of every kind of type, as they stand in the first contents of `.data`. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

enum colour { RED, GREEN = 5, BLUE = -2 };
enum wide { HUGE = 0x123456789abcdef0 };
typedef unsigned short port;
struct bits { unsigned a : 3; unsigned b : 7; int c : 5; unsigned long d : 40; };
struct inner { char letter; signed char small; unsigned char byte; _Bool yes; };
struct all {
	int number; unsigned long big; long negative; port p; enum colour colour; enum colour other; enum wide wide;
	struct bits bits; struct inner inner; union { int as_int; unsigned char as_bytes[4]; };
	int list[3]; char text[8]; char raw[4]; char full[2]; short grid[2][2]; void *pointer; __int128 bigger; struct { } nothing;
	unsigned long long high;
};
struct all everything = {
	.number = -7, .big = 1, .negative = -9000000000, .p = 443, .colour = GREEN, .other = 3, .wide = HUGE,
	.bits = { 5, 100, -3, 0xabcdef0123 }, .inner = { 'x', -1, 200, 1 }, .as_int = 0x01020304,
	.list = { 1, -2, 3 }, .text = "abc", .raw = { 'a', 0, 'b', 1 }, .full = { 'h', 'i' }, .grid = { { 1, 2 }, { 3, 4 } }, .bigger = -1, .high = 0xffffffffffffffff,
};
unsigned char flag = 1;
_Bool truth = 1;
char empty[4] = "";
SEC("xdp") int entry(struct xdp_md *ctx) { return everything.number + flag + truth + empty[0]; }
char _license[] SEC("license") = "GPL";
//= license GPL
//= program entry in xdp: xdp, maps values.bss values.data
//= map values.data array 4 146 1 data
//= map values.bss array 4 4 1
