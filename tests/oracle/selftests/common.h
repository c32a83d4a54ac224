/* What both shims print: one JSON object a line, and the kernel's answer in it. */
#ifndef WEIR_SELFTESTS_COMMON_H
#define WEIR_SELFTESTS_COMMON_H

#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>

/* Most bytes of a log that are worth keeping: the refusal stands at its end. */
#define WEIR_LOG_TAIL 6000

/* The program types that weir proves. */
static int weir_has_type(int type)
{
	static const int types[] = {
		BPF_PROG_TYPE_SOCKET_FILTER, BPF_PROG_TYPE_SCHED_CLS, BPF_PROG_TYPE_SCHED_ACT, BPF_PROG_TYPE_XDP,
		BPF_PROG_TYPE_CGROUP_SKB, BPF_PROG_TYPE_CGROUP_SOCK, BPF_PROG_TYPE_LWT_IN, BPF_PROG_TYPE_LWT_OUT,
		BPF_PROG_TYPE_LWT_XMIT, BPF_PROG_TYPE_SOCK_OPS, BPF_PROG_TYPE_SK_SKB, BPF_PROG_TYPE_SK_MSG,
		BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_PROG_TYPE_LWT_SEG6LOCAL, BPF_PROG_TYPE_SK_REUSEPORT,
		BPF_PROG_TYPE_FLOW_DISSECTOR, BPF_PROG_TYPE_SK_LOOKUP,
	};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (types[i] == type)
			return 1;
	return 0;
}

static void weir_string(const char *text)
{
	putchar('"');
	for (; text && *text; text++) {
		unsigned char byte = *text;

		if (byte == '"' || byte == '\\')
			printf("\\%c", byte);
		else if (byte < 0x20 || byte > 0x7e)
			printf("\\u%04x", byte);
		else
			putchar(byte);
	}
	putchar('"');
}

static void weir_hex(const void *from, size_t bytes)
{
	const unsigned char *at = from;

	putchar('"');
	for (size_t i = 0; i < bytes; i++)
		printf("%02x", at[i]);
	putchar('"');
}

/* `,"accepted":…,"errno":…,"log":…` */
static void weir_answer(int fd, int error, const char *log)
{
	size_t length = strlen(log);

	printf(",\"accepted\":%s,\"errno\":%d,\"log\":", fd >= 0 ? "true" : "false", fd >= 0 ? 0 : error);
	weir_string(fd >= 0 ? "" : length > WEIR_LOG_TAIL ? log + length - WEIR_LOG_TAIL : log);
}

/* `,"data":…,"retval":…`, or nothing when the kernel does not run it. */
static void weir_run(int fd, void *data, unsigned int bytes)
{
	static unsigned char out[1 << 16];
	LIBBPF_OPTS(bpf_test_run_opts, opts,
		.data_in = data,
		.data_size_in = bytes,
		.data_out = out,
		.data_size_out = sizeof(out),
		.repeat = 1,
	);

	if (fd < 0 || bpf_prog_test_run_opts(fd, &opts))
		return;
	printf(",\"data\":");
	weir_hex(data, bytes);
	printf(",\"retval\":%u", opts.retval);
}

#endif
