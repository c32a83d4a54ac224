/* mark.bpf.c with another layout of its scratch map. */
#define WIDE
#include "mark.bpf.c"
