// The transform of coloured noise: two normal numbers a coefficient from a counter, so that a number depends on seed,
// iteration, particle and place only, and is that of the CPU.
#include "prepare.cuh"

struct NoiseArguments {
    const ParticleToPrepare *particles;
    // Standard deviation of a real component per shell 0..=edge/2.
    const double *sigmas;
    // [particle][ky][kx]
    wide *halves;
    u32 edge;
    // Key of the streams.
    u32 key_low, key_high;
};

// Philox4x32-10 (Salmon et al. 2011).
DEVICE void philox(u32 key_low, u32 key_high, u32 words[4]) {
    for (int round = 0; round < 10; round++) {
        u64 p = 0xD2511F53ull * words[0], q = 0xCD9E8D57ull * words[2];
        u32 next[4] = {(u32)(q >> 32) ^ words[1] ^ key_low, (u32)q, (u32)(p >> 32) ^ words[3] ^ key_high, (u32)p};
        for (int w = 0; w < 4; w++)
            words[w] = next[w];
        key_low += 0x9E3779B9u;
        key_high += 0xBB67AE85u;
    }
}

// Uniform in [0, 1), 53 bits.
DEVICE double uniform(u32 high, u32 low) {
    return (double)(((u64)high << 32 | low) >> 11) * (1.0 / 9007199254740992.0);
}

// The pair of normal numbers (Box & Muller 1958) that is drawn as number `counter`.
DEVICE wide normal_pair(u32 key_low, u32 key_high, u64 item, u64 counter) {
    u32 words[4] = {(u32)counter, (u32)(counter >> 32), (u32)item, (u32)(item >> 32)};
    philox(key_low, key_high, words);
    // The stream takes the last two words first.
    double radius = sqrt(-2.0 * log(1.0 - uniform(words[2], words[3])));
    return turn(6.283185307179586477 * uniform(words[0], words[1])) * radius;
}

// Grid: (coefficients / threads, particles).
KERNEL(noise, NoiseArguments) {
    u32 i = (u32)thread_number(), width = a.edge / 2 + 1, half = a.edge / 2;
    if (i >= a.edge * width)
        return;
    u32 kx = i % width, row = i / width;
    // A real image's columns kx = 0 and kx = edge/2 are Hermitian: the later half repeats the earlier one.
    bool is_paired = kx == 0 || kx == half, is_mate = is_paired && row > half;
    u32 from = is_mate ? a.edge - row : row;
    wide value = normal_pair(a.key_low, a.key_high, a.particles[blockIdx.y].item, (u64)from * width + kx);
    if (is_mate)
        value.im = -value.im;
    else if (is_paired && (row == 0 || row == half))
        value.im = 0;
    u32 ky = row <= half ? row : a.edge - row;
    // An integer's root is never half-way between two integers.
    u32 shell = (u32)(sqrt((double)kx * kx + (double)ky * ky) + 0.5);
    a.halves[(u64)blockIdx.y * a.edge * width + i] = value * (shell <= half ? a.sigmas[shell] : 0.0);
}
