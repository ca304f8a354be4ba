// A search begins: nothing is known of any particle.
#include "posterior.cuh"

struct StartArguments {
    State *states;
    u32 particles;
};

KERNEL(start, StartArguments) {
    u32 p = thread_number();
    if (p >= a.particles)
        return;
    State state = {};
    state.least = NO_KEY;
    state.best = NO_KEY;
    state.bits = KEY_BITS;
    state.is_open = 1;
    state.threshold = INFINITY;
    a.states[p] = state;
}
