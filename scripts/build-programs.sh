#!/bin/sh
# Builds the objects of programs/, bench/ and tests/corpus/ from their C sources, beside them (or into the folder given).
# Needs clang 19, llvm-strip and the headers of libbpf; set CLANG and STRIP for other names.
set -eu
cd "$(dirname "$0")/.."
out=${1:-}
clang=${CLANG:-clang-19}
strip=${STRIP:-llvm-strip-19}
headers=/usr/include/$(uname -m)-linux-gnu

for source in programs/*/*.bpf.c bench/*.bpf.c tests/corpus/*/*.bpf.c; do
	name=$(basename "$source" .bpf.c)
	object=${out:-$(dirname "$source")}/$name.bpf.o
	# Paths inside the object are relative, so that it is the same wherever it is built.
	"$clang" -target bpf -mcpu=v3 -O2 -g -Wall -Werror -Wno-unused-function -Wno-uninitialized \
		-fdebug-compilation-dir=. -isystem "$headers" -Iprograms/include \
		-c "$source" -o "$object"
	"$strip" -g "$object"
done
