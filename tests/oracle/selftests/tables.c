/*
 * Prints the cases of the kernel's verifier/ *.c tables with this kernel's answer to each.
 *
 * The tree's own test_verifier.c gives the tables their types, macros and fill functions, and makes
 * the maps that they name; families.h, which build.sh writes, holds one array for each table.
 */
#define main original_main
#include "test_verifier.c"
#undef main

#include "common.h"

struct weir_family {
	const char *name;
	struct bpf_test *tests;
	size_t count;
};

#include "families.h"

static char weir_log[64 << 20];

static void weir_slots(const char *map, const int *slots)
{
	static const char *comma;

	if (!map) {
		comma = "";
		return;
	}
	for (int i = 0; i < MAX_FIXUPS && slots[i]; i++) {
		printf("%s[%d,\"%s\"]", comma, slots[i], map);
		comma = ",";
	}
}

static void weir_maps(struct bpf_test *test)
{
	printf(",\"maps\":[");
	weir_slots(NULL, NULL);
#define SLOTS(map) weir_slots(#map, test->fixup_##map)
	SLOTS(map_hash_8b);
	SLOTS(map_hash_48b);
	SLOTS(map_hash_16b);
	SLOTS(map_array_48b);
	SLOTS(map_sockmap);
	SLOTS(map_sockhash);
	SLOTS(map_xskmap);
	SLOTS(map_stacktrace);
	SLOTS(prog1);
	SLOTS(prog2);
	SLOTS(map_in_map);
	SLOTS(cgroup_storage);
	SLOTS(percpu_cgroup_storage);
	SLOTS(map_spin_lock);
	SLOTS(map_array_ro);
	SLOTS(map_array_wo);
	SLOTS(map_array_small);
	SLOTS(sk_storage_map);
	SLOTS(map_event_output);
	SLOTS(map_reuseport_array);
	SLOTS(map_ringbuf);
	SLOTS(map_timer);
	SLOTS(map_kptr);
#undef SLOTS
	printf("],\"kfuncs\":[");
	for (int i = 0; i < MAX_FIXUPS && test->fixup_kfunc_btf_id[i].kfunc; i++)
		printf("%s[%d,\"%s\"]", i ? "," : "", test->fixup_kfunc_btf_id[i].insn_idx,
		       test->fixup_kfunc_btf_id[i].kfunc);
	printf("]");
}

static int weir_fix(struct bpf_test *test, enum bpf_prog_type type, int *map_fds, int *fd_array)
{
#ifdef FIXUP_WITH_FD_ARRAY
	do_test_fixup(test, type, test->insns, map_fds, fd_array);
#else
	do_test_fixup(test, type, test->insns, map_fds);
#endif
	return 0;
}

static void weir_case(const char *family, struct bpf_test *test)
{
	enum bpf_prog_type type = test->prog_type ?: BPF_PROG_TYPE_SOCKET_FILTER;
	int map_fds[MAX_NR_MAPS], fd_array[2] = { -1, -1 }, fd, error, length;
	LIBBPF_OPTS(bpf_prog_load_opts, opts);
	struct bpf_insn *insns = test->insns;
	bool strict = test->flags & F_LOAD_WITH_STRICT_ALIGNMENT;

	if (!weir_has_type(type))
		return;
	memset(map_fds, -1, sizeof(map_fds));
	weir_fix(test, type, map_fds, &fd_array[1]);
	length = probe_filter_length(insns);
	if (test->fill_insns) {
		insns = test->fill_insns;
		length = test->prog_len;
	}
	opts.expected_attach_type = test->expected_attach_type;
	opts.prog_flags = (strict ? BPF_F_STRICT_ALIGNMENT : 0) | (test->flags & ~7);
	if (test->flags & F_NEEDS_EFFICIENT_UNALIGNED_ACCESS)
		opts.prog_flags |= BPF_F_ANY_ALIGNMENT;
	if (fd_array[1] != -1)
		opts.fd_array = fd_array;
	if (test->btf_types[0])
		opts.prog_btf_fd = load_btf_for_test(test);
	if (test->func_info_cnt) {
		opts.func_info = test->func_info;
		opts.func_info_cnt = test->func_info_cnt;
		opts.func_info_rec_size = sizeof(test->func_info[0]);
	}
	fd = bpf_prog_load(type, NULL, "GPL", insns, length, &opts);
	error = errno;
	weir_log[0] = 0;
	if (fd < 0) {
		opts.log_level = 1;
		opts.log_buf = weir_log;
		opts.log_size = sizeof(weir_log);
		bpf_prog_load(type, NULL, "GPL", insns, length, &opts);
	}
	printf("{\"family\":\"%s\",\"name\":", family);
	weir_string(test->descr);
	printf(",\"kind\":%d,\"strict\":%s,\"expected\":\"%s\",\"insns\":", type, strict ? "true" : "false",
	       test->result == REJECT ? "reject" : "accept");
	weir_hex(insns, length * sizeof(*insns));
	printf(",\"attach\":%d", test->expected_attach_type);
	weir_maps(test);
	printf(",\"says\":[");
	weir_string(test->result == REJECT && test->errstr ? test->errstr : "");
	printf("]");
	weir_answer(fd, error, weir_log);
	if (fd >= 0 && test->retval != POINTER_VALUE)
		weir_run(fd, test->data, sizeof(test->data));
	printf("}\n");
	fflush(stdout);
	if (fd >= 0)
		close(fd);
	for (int i = 0; i < MAX_NR_MAPS; i++)
		if (map_fds[i] >= 0)
			close(map_fds[i]);
}

static int weir_quiet(enum libbpf_print_level level, const char *format, va_list args)
{
	return 0;
}

int main(void)
{
	libbpf_set_print(weir_quiet);
	for (size_t f = 0; f < ARRAY_SIZE(weir_families); f++)
		for (size_t i = 0; i < weir_families[f].count; i++)
			weir_case(weir_families[f].name, &weir_families[f].tests[i]);
	return 0;
}
