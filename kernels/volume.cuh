// Points of a central slice in a volume stored by rows (src/imaging/sphere.rs): where they lie, what is read there,
// and what is added there.
#pragma once
#include "kernel.cuh"

// Pixel (kx, ky) of a slice lies at kx a + ky b, in voxels.
struct Plane {
    real a[3], b[3];
};

// Row (z, y) of a volume begins at voxel starts[(z + edge) (2 edge + 1) + y + edge]; rows run along x >= 0.
struct Rows {
    const u32 *starts;
    int edge;
};

// The trilinear cell of a point.
struct Cell {
    // First voxels of the four pairs along x: (y0, z0), (y1, z0), (y0, z1), (y1, z1).
    u32 corner[4];
    real fx, fy, fz;
    // -1 where the point was mirrored to x >= 0: the value there is the conjugate.
    real sign;
};

DEVICE Cell locate(Rows rows, const Plane &plane, real kx, real ky) {
    real x = kx * plane.a[0] + ky * plane.b[0];
    real y = kx * plane.a[1] + ky * plane.b[1];
    real z = kx * plane.a[2] + ky * plane.b[2];
    Cell cell;
    cell.sign = x < 0 ? real(-1) : real(1);
    x *= cell.sign;
    y *= cell.sign;
    z *= cell.sign;
    real x0 = floor(x), y0 = floor(y), z0 = floor(z);
    cell.fx = x - x0;
    cell.fy = y - y0;
    cell.fz = z - z0;
    u32 stride = 2 * rows.edge + 1;
    u32 row = u32((int)z0 + rows.edge) * stride + u32((int)y0 + rows.edge);
    u32 along = u32((int)x0);
    cell.corner[0] = rows.starts[row] + along;
    cell.corner[1] = rows.starts[row + 1] + along;
    cell.corner[2] = rows.starts[row + stride] + along;
    cell.corner[3] = rows.starts[row + stride + 1] + along;
    return cell;
}

// Trilinear interpolation in full precision (a texture unit would round the fractions to 8 bits).
DEVICE complex interpolate(const complex *volume, const Cell &cell) {
    real across[4] = {(1 - cell.fy) * (1 - cell.fz), cell.fy * (1 - cell.fz), (1 - cell.fy) * cell.fz,
                      cell.fy * cell.fz};
    complex near = {0, 0}, far = {0, 0};
    for (int c = 0; c < 4; c++) {
        near = near + across[c] * volume[cell.corner[c]];
        far = far + across[c] * volume[cell.corner[c] + 1];
    }
    return {near.re + (far.re - near.re) * cell.fx, (near.im + (far.im - near.im) * cell.fx) * cell.sign};
}

DEVICE complex read_slice(const complex *volume, Rows rows, const Plane &plane, real kx, real ky) {
    return interpolate(volume, locate(rows, plane, kx, ky));
}

// Integer sums of a voxel.
struct Voxel {
    i64 re, im, weight;
};

// The adjoint of read_slice, in integers: every contribution is rounded by itself, so that the order of all of them
// does not matter. Contributions stay below 2^51.
DEVICE void add_to_slice(Voxel *sums, Rows rows, const Plane &plane, real kx, real ky, complex data, real weight) {
    Cell cell = locate(rows, plane, kx, ky);
    data.im *= cell.sign;
    real across[4] = {(1 - cell.fy) * (1 - cell.fz), cell.fy * (1 - cell.fz), (1 - cell.fy) * cell.fz,
                      cell.fy * cell.fz};
    for (int c = 0; c < 4; c++)
        for (int step = 0; step < 2; step++) {
            real share = across[c] * (step ? cell.fx : 1 - cell.fx);
            Voxel *voxel = &sums[cell.corner[c] + step];
            add_integer(&voxel->re, nearest(data.re * share));
            add_integer(&voxel->im, nearest(data.im * share));
            add_integer(&voxel->weight, nearest(weight * share));
        }
}
