/* mark.bpf.c with a read past the packet's end: every verifier refuses it. */
#define REFUSED
#include "mark.bpf.c"
