// The contrast transfer function of every particle at the compared pixels, times the scale of its group.
#include "prepare.cuh"

// What happens to it; `expectation/gpu/prepare/particle.rs` has the same.
enum : u32 {
    CTF_NONE = 1,
    CTF_INTACT_UNTIL_PEAK = 2,
    CTF_INTACT_AFTER_PEAK = 4,
    CTF_ABSOLUTE = 8,
    CTF_SIGN = 16,
    CTF_FLOOR = 32,
    CTF_SQUARED = 64,
};

struct CtfArguments {
    const ParticleToPrepare *particles;
    const short *kx, *ky;
    // Even aberrations per pixel; or none.
    const double *gamma_offsets;
    // [particle][pixel]
    double *out;
    // Integer frequencies -> 1/Angstrom.
    double xx, xy, yx, yy;
    u32 pixels, options;
};

// Grid: (pixels / threads, particles).
KERNEL(ctf, CtfArguments) {
    u32 i = (u32)thread_number();
    if (i >= a.pixels)
        return;
    const ParticleToPrepare &p = a.particles[blockIdx.y];
    double value = 1;
    if (!(a.options & CTF_NONE)) {
        double kx = a.kx[i], ky = a.ky[i];
        double x = a.xx * kx + a.xy * ky, y = a.yx * kx + a.yy * ky;
        double u2 = x * x + y * y;
        double gamma = p.ctf_xx * kx * kx + p.ctf_xy * kx * ky + p.ctf_yy * ky * ky + p.ctf_quartic * u2 * u2 -
                       p.ctf_constant + (a.gamma_offsets ? a.gamma_offsets[i] : 0.0);
        const double quarter_turn = 1.570796326794896619, least = 1e-8;
        bool is_replaced = ((a.options & CTF_INTACT_UNTIL_PEAK) && fabs(gamma) < quarter_turn) ||
                           ((a.options & CTF_INTACT_AFTER_PEAK) && fabs(gamma) > quarter_turn);
        value = is_replaced ? 1.0 : -sin(gamma);
        if (p.ctf_damping != 0)
            value *= exp(p.ctf_damping * u2);
        if (a.options & CTF_ABSOLUTE)
            value = fabs(value);
        else if (a.options & CTF_SIGN)
            value = value >= 0 ? 1.0 : -1.0;
        value *= p.ctf_scale;
        if ((a.options & CTF_FLOOR) && fabs(value) < least)
            value = value >= 0 ? least : -least;
        if (a.options & CTF_SQUARED)
            value *= value;
    }
    a.out[(u64)blockIdx.y * a.pixels + i] = value * p.group_scale;
}
