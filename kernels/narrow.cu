// Values times a power of two, in FP16: narrow[i] = half(scale * values[i]). The scale makes the largest of them
// (`largest`) fit.
#include "mma.cuh"

struct NarrowArguments {
    const real *values;
    u16 *narrow;
    u64 count;
    double scale;
};

KERNEL(narrow, NarrowArguments) {
    u64 i = thread_number();
    if (i < a.count)
        a.narrow[i] = to_half((float)(a.values[i] * (real)a.scale));
}
