// Central slices of a volume, one a row: rows[i][k] = volume at pixel k of plane i.
#include "volume.cuh"

struct ProjectArguments {
    const complex *volume;
    Rows table;
    const Plane *planes;
    // Pixels: kx, ky.
    const short *pixels;
    complex *rows;
    // Length of a row, in complex values.
    u32 stride;
    u32 count, planes_count;
};

// Grid: (stride / threads, planes). Values from `count` on become zero.
KERNEL(project, ProjectArguments) {
    u32 k = thread_number(), i = blockIdx.y;
    complex value = {0, 0};
    if (k < a.count)
        value = read_slice(a.volume, a.table, a.planes[i], a.pixels[2 * k], a.pixels[2 * k + 1]);
    if (k < a.stride)
        a.rows[(u64)i * a.stride + k] = value;
}
