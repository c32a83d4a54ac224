/* Asks the kernel, through libbpf, about every packet program of an object, one at a time:
 *
 *     judge OBJECT [TYPE]
 *
 * prints one line a program: name, section, type, verdict (yes or no), processed instructions,
 * microseconds of verification, and the last word of the kernel or libbpf, between tabs. TYPE (a
 * number) is what programs of sections without meaning are loaded as. Maps are created, nothing is
 * pinned or attached. Linked with an old libbpf it answers for objects that today's no longer takes.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOG_BYTES (8 << 20)
#define LOG_FAILURE 1
#define LOG_STATS 4

#define WORD 400
#define CPUS 2

static char kernel_log[LOG_BYTES];
static char said[512];

/* The last warning of libbpf, on one line. */
static int listen(enum libbpf_print_level level, const char *format, va_list words)
{
	char line[512];

	if (level != LIBBPF_WARN)
		return 0;
	vsnprintf(line, sizeof(line), format, words);
	if (strstr(line, "BEGIN PROG LOAD LOG") || strstr(line, "failed to load") || strstr(line, "END PROG LOAD"))
		return 0;
	for (char *at = line; *at; at++)
		if (*at == '\n' || *at == '\t')
			*at = ' ';
	memcpy(said, line, sizeof(said));
	return 0;
}

/* Sections of old loaders, whose names say the type to people. */
static enum bpf_prog_type guess(const char *section, enum bpf_prog_type otherwise)
{
	static const struct {
		const char *prefix;
		enum bpf_prog_type type;
	} known[] = {
		{ "xdp", BPF_PROG_TYPE_XDP },
		{ "tc", BPF_PROG_TYPE_SCHED_CLS },
		{ "classifier", BPF_PROG_TYPE_SCHED_CLS },
		{ "action", BPF_PROG_TYPE_SCHED_ACT },
		{ "socket", BPF_PROG_TYPE_SOCKET_FILTER },
	};

	for (size_t at = 0; at < sizeof(known) / sizeof(*known); at++)
		if (!strncmp(section, known[at].prefix, strlen(known[at].prefix)))
			return known[at].type;
	return otherwise;
}

/* Makes every map one that can be created here: a size where the loader was to give it, no pin. */
static void prepare_maps(struct bpf_object *object)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, object) {
		enum bpf_map_type type = bpf_map__type(map);

		bpf_map__set_pin_path(map, NULL);
		if (bpf_map__max_entries(map) == 0 && type != BPF_MAP_TYPE_PERF_EVENT_ARRAY)
			bpf_map__set_max_entries(map, type == BPF_MAP_TYPE_RINGBUF ? 4096 : 16);
		/* More processors than there are is for the loader to mend. */
		if (type == BPF_MAP_TYPE_CPUMAP && bpf_map__max_entries(map) > CPUS)
			bpf_map__set_max_entries(map, CPUS);
		if ((type == BPF_MAP_TYPE_ARRAY_OF_MAPS || type == BPF_MAP_TYPE_HASH_OF_MAPS) &&
		    !bpf_map__inner_map(map)) {
			int inner = bpf_map_create(BPF_MAP_TYPE_ARRAY, "inner", 4, 4, 1, NULL);

			bpf_map__set_inner_map_fd(map, inner);
		}
	}
}

static long number_after(const char *log, const char *words)
{
	const char *found = NULL, *next = log;

	while ((next = strstr(next, words)))
		found = next++;
	return found ? strtol(found + strlen(words), NULL, 10) : -1;
}

/* The last line of the log that is not statistics. */
static void last_word(char *log, char *out, size_t room)
{
	out[0] = 0;
	for (char *line = strtok(log, "\n"); line; line = strtok(NULL, "\n"))
		if (strncmp(line, "processed ", 10) && strncmp(line, "verification time", 17) &&
		    strncmp(line, "stack depth", 11))
			snprintf(out, room, "%s", line);
	for (char *at = out; *at; at++)
		if (*at == '\t')
			*at = ' ';
}

/* Loads the program with this index alone; answers what libbpf answers, or 1 when there is none. */
static int load(const char *file, int index, enum bpf_prog_type otherwise, int level, int print)
{
	struct bpf_object *object = bpf_object__open_file(file, NULL);
	struct bpf_program *program, *wanted = NULL;
	int error, at = 0;

	if (libbpf_get_error(object))
		return 1;
	bpf_object__for_each_program(program, object) {
		int this = at++ == index;

		bpf_program__set_autoload(program, this);
		if (this)
			wanted = program;
		if (bpf_program__type(program) == BPF_PROG_TYPE_UNSPEC)
			bpf_program__set_type(program, guess(bpf_program__section_name(program), otherwise));
	}
	if (!wanted) {
		bpf_object__close(object);
		return 1;
	}
	prepare_maps(object);
	bpf_program__set_log_level(wanted, level);
	bpf_program__set_log_buf(wanted, kernel_log, sizeof(kernel_log));
	kernel_log[0] = said[0] = 0;
	error = bpf_object__load(object);
	if (print) {
		char word[400];
		long insns = number_after(kernel_log, "processed ");
		long time = number_after(kernel_log, "verification time ");

		last_word(kernel_log, word, sizeof(word));
		printf("%s\t%s\t%d\t%s\t%ld\t%ld\t%s\n", bpf_program__name(wanted),
		       bpf_program__section_name(wanted), bpf_program__type(wanted), error ? "no" : "yes", insns,
		       time, !error ? "" : word[0] ? word : said[0] ? said : strerror(-error));
		fflush(stdout);
	}
	bpf_object__close(object);
	return error;
}

int main(int argc, char **argv)
{
	enum bpf_prog_type otherwise = argc > 2 ? atoi(argv[2]) : BPF_PROG_TYPE_SCHED_CLS;

	if (argc < 2)
		return 2;
	libbpf_set_print(listen);
	for (int index = 0;; index++) {
		int error = load(argv[1], index, otherwise, LOG_STATS, 0);

		if (error == 1) {
			if (index == 0)
				fprintf(stderr, "%s: %s\n", argv[1], said);
			return index == 0;
		}
		/* Once more: the second time is measured warm, and a refusal says why. */
		load(argv[1], index, otherwise, error ? LOG_FAILURE | LOG_STATS : LOG_STATS, 1);
	}
}
