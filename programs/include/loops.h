/* Loops whose turns are counted when they run, and the kernel functions beneath them, for headers of libbpf
 * and of the kernel that are older than these.
 */
#pragma once

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#ifndef bpf_for
struct bpf_iter_num {
	__u64 __opaque[1];
} __attribute__((aligned(8)));
#endif

extern int bpf_iter_num_new(struct bpf_iter_num *it, int start, int end) __weak __ksym;
extern int *bpf_iter_num_next(struct bpf_iter_num *it) __weak __ksym;
extern void bpf_iter_num_destroy(struct bpf_iter_num *it) __weak __ksym;

/* Whether a weak kernel symbol is there. */
#ifndef bpf_ksym_exists
#define bpf_ksym_exists(symbol) (!!(symbol))
#endif

/* An iterator that ends when its block does, however that is left. */
#define COUNTING(name, start, end)                                             \
	struct bpf_iter_num name                                               \
		__attribute__((aligned(8), cleanup(bpf_iter_num_destroy))),    \
		*name##_begun __attribute__((unused)) =                        \
			(bpf_iter_num_new(&name, (start), (end)),              \
			 (void)bpf_iter_num_destroy, (void *)0)

#define LOOP_NAME_(line) counting_##line
#define LOOP_NAME(line) LOOP_NAME_(line)

/* `bpf_for(i, 0, n) { … }` counts `i` from 0 up to n. */
#ifndef bpf_for
#define COUNT_(name, i, start, end)                                            \
	for (COUNTING(name, start, end); ({                                    \
		     int *next = bpf_iter_num_next(&name);                     \
		     next && ((i) = *next, (i) >= (start) && (i) < (end));     \
	     });)
#define bpf_for(i, start, end) COUNT_(LOOP_NAME(__LINE__), i, start, end)
#endif

/* `bpf_repeat(n) { … }` makes n turns. */
#ifndef bpf_repeat
#define REPEAT_(name, n)                                                       \
	for (COUNTING(name, 0, n); bpf_iter_num_next(&name);)
#define bpf_repeat(n) REPEAT_(LOOP_NAME(__LINE__), n)
#endif

/* Whether the run's budget allows another turn: `for (…; … && can_loop; …)`. */
#ifndef can_loop
#define can_loop                                                               \
	({                                                                     \
		__label__ spent, on;                                           \
		bool more = true;                                              \
		asm volatile goto("may_goto %l[spent]" : : : : spent);         \
		goto on;                                                       \
	spent:                                                                 \
		more = false;                                                  \
	on:                                                                    \
		more;                                                          \
	})
#endif
