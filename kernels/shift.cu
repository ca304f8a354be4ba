// Shifted images: every image times the phases of every translation, over its leading pixels.
//
// columns[(q T + t) stride + k] = images[q image_stride + k] * phases[t phase_stride + k]
#include "kernel.cuh"

struct ShiftArguments {
    const complex *images;
    const complex *phases;
    complex *columns;
    // Lengths of rows, in complex values.
    u32 image_stride, phase_stride, stride;
    u32 pixels, translations, images_count;
};

// Grid: (pixels / threads, translations, images). Values from `pixels` to `stride` become zero.
KERNEL(shift, ShiftArguments) {
    u32 k = thread_number();
    u32 t = blockIdx.y, q = blockIdx.z;
    if (k >= a.stride)
        return;
    complex value = {0, 0};
    if (k < a.pixels)
        value = a.images[(u64)q * a.image_stride + k] * a.phases[(u64)t * a.phase_stride + k];
    a.columns[((u64)q * a.translations + t) * a.stride + k] = value;
}
