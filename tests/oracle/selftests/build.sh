#!/bin/sh
# Prints the kernel's verifier selftests, with this kernel's answers, as one JSON object a line.
#
#   build.sh TABLES_TREE OBJECTS_TREE OUT [FAMILY…] > cases.jsonl
#
# TABLES_TREE: a Linux source tree with verifier/*.c tables (6.1); OBJECTS_TREE: one with
# progs/*.c that carry __success and __failure (6.12). OUT is a folder for what is built. Families
# named are left out. Needs clang-19, gcc, bpftool, libelf and zlib to build against, and CAP_BPF.
# Nothing of the trees is kept here: their texts stay theirs.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
tables=$1/tools/testing/selftests/bpf objects=$2/tools/testing/selftests/bpf out=$3
shift 3
left_out=" $* "
wanted() {
	name=${1#verifier_}
	case $left_out in *" $name "*) return 1 ;; esac
}
lib=$objects/../../../lib/bpf include=$objects/../../../include
mkdir -p "$out/bpf" "$out/objects" "$out/lib" "$out/log"

# libbpf of the objects' tree.
for file in "$lib"/*.h; do ln -sf "$(realpath "$file")" "$out/bpf/"; done
[ -e "$out/bpf/bpf_helper_defs.h" ] || ln -s /usr/include/bpf/bpf_helper_defs.h "$out/bpf/"
[ -e "$out/lib/libbpf.a" ] || {
	for file in "$lib"/*.c; do
		gcc -O1 -w -fPIC -D_LARGEFILE64_SOURCE -D_FILE_OFFSET_BITS=64 -I"$include" -I"$include/uapi" \
			-I"$out" -I"$out/bpf" -c "$file" -o "$out/lib/$(basename "$file" .c).o"
	done
	ar rcs "$out/lib/libbpf.a" "$out"/lib/*.o
}
link="$out/lib/libbpf.a -lelf -lz -Wl,--unresolved-symbols=ignore-all"

# The tables.
: >"$out/families.h"
rows=
for file in "$tables"/verifier/*.c; do
	name=$(basename "$file" .c)
	wanted "$name" || continue
	printf 'static struct bpf_test weir_%s[] = {\n#define FILL_ARRAY\n#include "%s"\n#undef FILL_ARRAY\n};\n' \
		"$name" "$(realpath "$file")" >>"$out/families.h"
	rows="$rows	{ \"$name\", weir_$name, ARRAY_SIZE(weir_$name) },
"
done
printf 'static struct weir_family weir_families[] = {\n%s};\n' "$rows" >>"$out/families.h"
mkdir -p "$out/verifier" && : >"$out/verifier/tests.h"
array=
grep -q 'int \*map_fds, int \*fd_array' "$tables/test_verifier.c" && array=-DFIXUP_WITH_FD_ARRAY
gcc -O0 -w -no-pie $array -I"$out" -I"$here" -iquote "$tables" -I"$tables/../../../include" \
	-I"$tables/../../../include/uapi" -I"$tables" "$here/tables.c" -o "$out/tables" $link 2>"$out/log/tables"

# The objects.
[ -e "$out/vmlinux.h" ] || bpftool btf dump file /sys/kernel/btf/vmlinux format c >"$out/vmlinux.h"
gcc -O1 -w -no-pie -I"$out" -I"$include/uapi" -I"$include" -I"$here" "$here/objects.c" -o "$out/reader" $link
set --
for file in "$objects"/progs/*.c; do
	name=$(basename "$file" .c)
	wanted "$name" || continue
	grep -q '__success\|__failure' "$file" || continue
	object=$out/objects/$name.bpf.o
	[ -e "$object" ] || clang-19 -g -O2 -w --target=bpf -mcpu=v4 -D__TARGET_ARCH_x86 -DENABLE_ATOMICS_TESTS \
		-I"$out" -I"$objects/progs" -I"$objects" -I"$include/uapi" -idirafter /usr/include/x86_64-linux-gnu \
		-c "$file" -o "$object" 2>"$out/log/$name" || {
		echo "does not build: $name" >&2
		continue
	}
	set -- "$@" "$object"
done

"$out/tables"
"$out/reader" "$@"
