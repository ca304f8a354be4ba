// Leaves the pairs that carry weight: the list of each part, in order, at the front of the part's own stretch.
#include "pair.cuh"

struct CompactArguments {
    const Part *parts;
    u32 count;
    const u8 *is_active;
    u32 *list;
    u32 *counts;
};

// Grid: a warp a part.
KERNEL(compact, CompactArguments) {
    u64 number = thread_number() / 32;
    u32 lane = threadIdx.x % 32;
    if (number >= a.count)
        return;
    const Part part = a.parts[number];
    u32 held = 0;
    for (u32 from = 0; from < part.count; from += 32) {
        bool is_active = from + lane < part.count && a.is_active[part.first + from + lane];
        u32 all = __ballot_sync(0xffffffffu, is_active);
        if (is_active)
            a.list[part.first + held + __popc(all & ((1u << lane) - 1))] = part.first + from + lane;
        held += __popc(all);
    }
    if (lane == 0)
        a.counts[number] = held;
}
