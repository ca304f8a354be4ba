// Coarse energies as a matrix product in `real`.
#include "energy.cuh"
#include "product.cuh"

KERNEL_BOUNDED(PRODUCT_THREADS, coarse_product, CoarseArguments) {
    PlainLines rows = {a.rows, a.row_stride, a.poses};
    PlainLines columns = {a.columns, a.column_stride, column_count(a)};
    multiply_tiles(rows, columns, a.length, Energies{a});
}
