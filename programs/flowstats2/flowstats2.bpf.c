/* flowstats, a version later: a flow also remembers which sizes of packets it had.
 *
 * It is put in flowstats' place while traffic flows. The value of `flows` has grown, so its entries are
 * migrated by the names of their members: what was counted stays, and `mark` begins as 0.
 */
#define WITH_MARK
#include "../flowstats/flowstats.bpf.c"
