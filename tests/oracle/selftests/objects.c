/*
 * Prints the programs of selftest objects with this kernel's answer to each.
 *
 * Each program is loaded alone by libbpf, as its tags say; programs of types that have no packet are
 * left out.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "common.h"

static char weir_log[16 << 20];
static char libbpf_said[8192];

static int weir_hear(enum libbpf_print_level level, const char *format, va_list args)
{
	size_t length = strlen(libbpf_said);

	if (level == LIBBPF_WARN && length + 512 < sizeof(libbpf_said))
		vsnprintf(libbpf_said + length, 512, format, args);
	return 0;
}

static const char *tag_of(const struct btf *btf, const char *function, int *at)
{
	for (int count = btf__type_cnt(btf); *at < count;) {
		const struct btf_type *type = btf__type_by_id(btf, (*at)++), *of;

		if (!btf_is_decl_tag(type) || btf_decl_tag(type)->component_idx != -1)
			continue;
		of = btf__type_by_id(btf, type->type);
		if (btf_is_func(of) && !strcmp(btf__name_by_offset(btf, of->name_off), function))
			return btf__name_by_offset(btf, type->name_off);
	}
	return NULL;
}

static bool tagged(const struct btf *btf, const char *function, const char *wanted)
{
	const char *tag;
	int at = 1;

	while ((tag = tag_of(btf, function, &at)))
		if (!strcmp(tag, wanted))
			return true;
	return false;
}

static unsigned int flags_of(const struct btf *btf, const char *function)
{
	static const struct { const char *name; unsigned int bit; } known[] = {
		{ "BPF_F_STRICT_ALIGNMENT", 1 << 0 }, { "BPF_F_ANY_ALIGNMENT", 1 << 1 },
		{ "BPF_F_TEST_RND_HI32", 1 << 2 },    { "BPF_F_TEST_STATE_FREQ", 1 << 3 },
		{ "BPF_F_SLEEPABLE", 1 << 4 },	      { "BPF_F_XDP_HAS_FRAGS", 1 << 5 },
	};
	const char *prefix = "comment:test_prog_flags=", *tag;
	unsigned int flags = 0;
	int at = 1;

	while ((tag = tag_of(btf, function, &at))) {
		if (strncmp(tag, prefix, strlen(prefix)))
			continue;
		tag += strlen(prefix);
		for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
			if (!strcmp(tag, known[i].name))
				flags |= known[i].bit;
		flags |= strtoul(tag, NULL, 0);
	}
	return flags;
}

static void weir_tags(const struct btf *btf, const char *name)
{
	const char *tag, *comma = "";
	int at = 1;

	printf(",\"tags\":[");
	while ((tag = tag_of(btf, name, &at))) {
		printf("%s", comma);
		weir_string(tag);
		comma = ",";
	}
	printf("]");
}

/* Loads the program with this index alone, and prints what came of it; 0 when there is none. */
static int weir_program(const char *path, const char *family, int index)
{
	struct bpf_object *object = bpf_object__open_file(path, NULL);
	struct bpf_program *program, *chosen = NULL;
	unsigned char data[64] = {};
	const struct btf *btf;
	const char *name;
	int error, fd, at = 0;
	unsigned int flags;

	if (!object) {
		fprintf(stderr, "%s: does not open: %s\n", path, libbpf_said);
		return 0;
	}
	btf = bpf_object__btf(object);
	bpf_object__for_each_program(program, object) {
		bool mine = at++ == index;

		if (mine)
			chosen = program;
		bpf_program__set_autoload(program, mine || (btf && tagged(btf, bpf_program__name(program),
									  "comment:test_auxiliary")));
	}
	if (!chosen) {
		bpf_object__close(object);
		return 0;
	}
	name = bpf_program__name(chosen);
	if (!btf || !weir_has_type(bpf_program__type(chosen)) || tagged(btf, name, "comment:test_auxiliary") ||
	    (!tagged(btf, name, "comment:test_expect_success") &&
	     !tagged(btf, name, "comment:test_expect_failure"))) {
		bpf_object__close(object);
		return 1;
	}
	flags = flags_of(btf, name);
	bpf_program__set_flags(chosen, bpf_program__flags(chosen) | flags);
	weir_log[0] = libbpf_said[0] = 0;
	bpf_program__set_log_buf(chosen, weir_log, sizeof(weir_log));
	error = -bpf_object__load(object);
	fd = error ? -1 : bpf_program__fd(chosen);
	printf("{\"family\":\"%s\",\"name\":\"%s\",\"object\":", family, name);
	weir_string(path);
	printf(",\"kind\":%d,\"strict\":%s,\"expected\":\"%s\"", bpf_program__type(chosen),
	       flags & BPF_F_STRICT_ALIGNMENT ? "true" : "false",
	       tagged(btf, name, "comment:test_expect_failure") ? "reject" : "accept");
	printf(",\"attach\":%d", bpf_program__expected_attach_type(chosen));
	weir_tags(btf, name);
	weir_answer(fd, error, error && !weir_log[0] ? libbpf_said : weir_log);
	printf(",\"asked\":%s", !error || weir_log[0] ? "true" : "false");
	weir_run(fd, data, sizeof(data));
	printf("}\n");
	fflush(stdout);
	bpf_object__close(object);
	return 1;
}

int main(int argc, char **argv)
{
	libbpf_set_print(weir_hear);
	for (int i = 1; i < argc; i++) {
		const char *slash = strrchr(argv[i], '/');
		char family[128];
		int index = 0;

		snprintf(family, sizeof(family), "%s", slash ? slash + 1 : argv[i]);
		if (strchr(family, '.'))
			*strchr(family, '.') = 0;
		while (weir_program(argv[i], family, index))
			index++;
	}
	return 0;
}
