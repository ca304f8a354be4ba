//! Central slices of a volume stored by rows: trilinear interpolation and its adjoint.
#![allow(unsafe_code)]

use num_complex::Complex;

use super::Isa;
use super::Scalar;

/// A volume of rows along x >= 0; row (z, y) has number (z + edge) * (2 edge + 1) + (y + edge).
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// First voxel of every row, and the end of the last.
    pub starts: &'a [u32],
    /// Largest |y| and |z|.
    pub edge: i32,
}

/// Integer sums of one voxel: real part, imaginary part, weight.
pub type Voxel = [i64; 3];

/// Points of a slice: pixel (kx, ky) lies at kx * first column + ky * second column, in voxels.
/// Every point must lie in a cell whose eight corners are stored.
#[derive(Clone, Copy, Debug)]
pub struct Plane<'a> {
    pub columns: [[f64; 3]; 2],
    pub kx: &'a [f64],
    pub ky: &'a [f64],
}

/// Pixels located at once: their cells stay in registers and first-level cache.
const CHUNK: usize = 32;

/// Added to and subtracted from a number below 2^51 rounds it to an integer, half to even.
const MAGIC: f64 = 6_755_399_441_055_744.0;

#[cfg(target_arch = "x86_64")]
#[path = "slice_x86.rs"]
mod x86;

/// Cells of a chunk of pixels.
struct Cells {
    /// Row of the corner (y0, z0).
    row: [u32; CHUNK],
    x: [u32; CHUNK],
    fraction: [[f64; CHUNK]; 3],
    /// -1 where the point was mirrored, so that the value there is the conjugate; else 1.
    sign: [f64; CHUNK],
}

impl Cells {
    fn new() -> Self {
        Self { row: [0; CHUNK], x: [0; CHUNK], fraction: [[0.0; CHUNK]; 3], sign: [0.0; CHUNK] }
    }

    #[inline(always)]
    fn locate(&mut self, edge: i32, columns: &[[f64; 3]; 2], kx: &[f64], ky: &[f64]) {
        let stride = 2 * edge + 1;
        let offset = edge.wrapping_mul(stride).wrapping_add(edge);
        let [a, b] = columns;
        let [frac_x, frac_y, frac_z] = &mut self.fraction;
        let places = frac_x.iter_mut().zip(frac_y).zip(frac_z).zip(&mut self.sign).zip(&mut self.x).zip(&mut self.row);
        for ((((((fx, fy), fz), sign), column), row), (kx, ky)) in places.zip(kx.iter().zip(ky)) {
            let x = kx * a[0] + ky * b[0];
            *sign = if x < 0.0 { -1.0 } else { 1.0 };
            let x = x * *sign;
            let y = (kx * a[1] + ky * b[1]) * *sign;
            let z = (kx * a[2] + ky * b[2]) * *sign;
            let (x0, y0, z0) = (x.floor(), y.floor(), z.floor());
            *fx = x - x0;
            *fy = y - y0;
            *fz = z - z0;
            // SAFETY: rotated pixel positions are finite and far below 2^31.
            unsafe {
                *column = x0.to_int_unchecked::<i32>() as u32;
                let plane = z0.to_int_unchecked::<i32>().wrapping_mul(stride);
                *row = plane.wrapping_add(y0.to_int_unchecked::<i32>()).wrapping_add(offset) as u32;
            }
        }
    }

    /// First voxels of the four x-pairs of pixel `i`: (y0, z0), (y1, z0), (y0, z1), (y1, z1).
    #[inline(always)]
    fn corners(&self, rows: Rows<'_>, i: usize) -> [usize; 4] {
        let (row, x) = (self.row[i] as usize, self.x[i] as usize);
        let stride = 2 * rows.edge as usize + 1;
        let low = &rows.starts[row..row + 2];
        let high = &rows.starts[row + stride..row + stride + 2];
        [low[0] as usize + x, low[1] as usize + x, high[0] as usize + x, high[1] as usize + x]
    }
}

#[inline(always)]
fn read_body<T: Scalar>(rows: Rows<'_>, volume: &[Complex<T>], plane: Plane<'_>, out: &mut [T]) {
    let mut cells = Cells::new();
    for ((kx, ky), out) in plane.kx.chunks(CHUNK).zip(plane.ky.chunks(CHUNK)).zip(out.chunks_mut(2 * CHUNK)) {
        cells.locate(rows.edge, &plane.columns, kx, ky);
        read_cells(&cells, rows, volume, 0..kx.len(), out);
    }
}

/// Pixels of a chunk, one after the other.
#[inline(always)]
fn read_cells<T: Scalar>(
    cells: &Cells,
    rows: Rows<'_>,
    volume: &[Complex<T>],
    pixels: std::ops::Range<usize>,
    out: &mut [T],
) {
    for i in pixels {
        let [fx, fy, fz] = [0, 1, 2].map(|axis: usize| T::from_f64(cells.fraction[axis][i]));
        let sign = T::from_f64(cells.sign[i]);
        let one = T::from_f64(1.0);
        let weights = [(one - fy) * (one - fz), fy * (one - fz), (one - fy) * fz, fy * fz];
        let corners = cells.corners(rows, i);
        let mut sum = [T::default(); 4];
        for c in 0..4 {
            let pair = &volume[corners[c]..corners[c] + 2];
            let values = [pair[0].re, pair[0].im, pair[1].re, pair[1].im];
            for l in 0..4 {
                sum[l] += values[l] * weights[c];
            }
        }
        out[2 * i] = sum[0] + (sum[2] - sum[0]) * fx;
        out[2 * i + 1] = (sum[1] + (sum[3] - sum[1]) * fx) * sign;
    }
}

/// What a chunk's pixels add: data, data (mirrored where the point was), weight; one place is unused.
#[inline(always)]
fn scaled<T: Scalar>(
    cells: &Cells,
    data: &[T],
    weight: &[T],
    scale: [f64; 2],
    count: usize,
    out: &mut [[f64; 4]; CHUNK],
) {
    for (i, value) in out.iter_mut().enumerate().take(count) {
        *value = [
            data[2 * i].to_f64() * scale[0],
            data[2 * i + 1].to_f64() * scale[0] * cells.sign[i],
            weight[i].to_f64() * scale[1],
            0.0,
        ];
    }
}

#[inline(always)]
fn add_body<T: Scalar>(
    rows: Rows<'_>,
    sums: &mut [Voxel],
    plane: Plane<'_>,
    data: &[T],
    weight: &[T],
    scale: [f64; 2],
) {
    let (mut cells, mut values) = (Cells::new(), [[0.0; 4]; CHUNK]);
    let chunks = plane.kx.chunks(CHUNK).zip(plane.ky.chunks(CHUNK));
    for (((kx, ky), data), weight) in chunks.zip(data.chunks(2 * CHUNK)).zip(weight.chunks(CHUNK)) {
        cells.locate(rows.edge, &plane.columns, kx, ky);
        scaled(&cells, data, weight, scale, kx.len(), &mut values);
        for (i, value) in values.iter().enumerate().take(kx.len()) {
            let [fx, fy, fz] = [0, 1, 2].map(|axis: usize| cells.fraction[axis][i]);
            let along: [f64; 6] = std::array::from_fn(|l| value[l % 3] * if l < 3 { 1.0 - fx } else { fx });
            let across = [(1.0 - fy) * (1.0 - fz), fy * (1.0 - fz), (1.0 - fy) * fz, fy * fz];
            let corners = cells.corners(rows, i);
            for c in 0..4 {
                let pair = sums[corners[c]..corners[c] + 2].as_flattened_mut();
                for l in 0..6 {
                    let rounded = (along[l] * across[c] + MAGIC).to_bits().wrapping_sub(MAGIC.to_bits());
                    pair[l] = pair[l].wrapping_add(rounded as i64);
                }
            }
        }
    }
}

/// # Safety
/// The processor has AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn read_avx2<T: Scalar>(rows: Rows<'_>, volume: &[Complex<T>], plane: Plane<'_>, out: &mut [T]) {
    read_body(rows, volume, plane, out);
}

/// # Safety
/// As [`read_avx2`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn add_avx2<T: Scalar>(
    rows: Rows<'_>,
    sums: &mut [Voxel],
    plane: Plane<'_>,
    data: &[T],
    weight: &[T],
    scale: [f64; 2],
) {
    add_body(rows, sums, plane, data, weight, scale);
}

/// Reads the slice: `out[2 i], out[2 i + 1]` = value at pixel i, trilinear, conjugated where the point was mirrored.
pub fn read_slice<T: Scalar>(isa: Isa, rows: Rows<'_>, volume: &[Complex<T>], plane: Plane<'_>, out: &mut [T]) {
    assert!(plane.kx.len() == plane.ky.len() && out.len() >= 2 * plane.kx.len(), "sizes of a slice differ");
    match isa {
        // SAFETY: `Isa` values exist only for sets this processor has.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { x86::read(rows, volume, plane, out) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { read_avx2(rows, volume, plane, out) },
        _ => read_body(rows, volume, plane, out),
    }
}

/// Adds a slice into integer sums: the adjoint of [`read_slice`]. `data` (interleaved) is multiplied by
/// `scale[0]`, `weight` by `scale[1]`; each of a pixel's 24 contributions is rounded to the nearest integer,
/// so that any order of calls gives the same sums. Contributions must stay below 2^51.
pub fn add_slice<T: Scalar>(
    isa: Isa,
    rows: Rows<'_>,
    sums: &mut [Voxel],
    plane: Plane<'_>,
    data: &[T],
    weight: &[T],
    scale: [f64; 2],
) {
    let count = plane.kx.len();
    assert!(plane.ky.len() == count && data.len() >= 2 * count && weight.len() >= count, "sizes of a slice differ");
    match isa {
        // A pair of voxels is six numbers: longer vectors gain nothing.
        // SAFETY: `Isa` values exist only for sets this processor has; with AVX-512 it has AVX2.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 | Isa::Avx2 => unsafe { add_avx2(rows, sums, plane, data, weight, scale) },
        _ => add_body(rows, sums, plane, data, weight, scale),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A full cube of rows, edge 9.
    fn cube() -> (Vec<u32>, i32) {
        ((0..=19 * 19).map(|row| row * 11).collect(), 9)
    }

    fn noise(seed: u64, count: usize) -> Vec<f64> {
        let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = move || {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            (x >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    fn pixels() -> (Vec<f64>, Vec<f64>) {
        let all = (0..5).flat_map(|kx| (-4..5).map(move |ky| (f64::from(kx), f64::from(ky))));
        all.filter(|(x, y)| x * x + y * y <= 16.0).unzip()
    }

    // Two orthogonal columns of length 2: padding 2, an oblique pose.
    const COLUMNS: [[f64; 3]; 2] = [[-1.2, 0.0, 1.6], [0.96, 1.6, 0.72]];

    fn sets() -> impl Iterator<Item = Isa> {
        ["avx512", "avx2", "portable"].into_iter().filter_map(|name| Isa::from_name(name).ok())
    }

    #[test]
    fn a_linear_volume_is_read_exactly() {
        let (starts, edge) = cube();
        let rows = Rows { starts: &starts, edge };
        let mut volume = vec![Complex::new(0.0, 0.0); 19 * 19 * 11];
        for (i, v) in volume.iter_mut().enumerate() {
            let (x, y, z) = ((i % 11) as f64, (i / 11 % 19) as f64 - 9.0, (i / 209) as f64 - 9.0);
            *v = Complex::new(1.0, x + 10.0 * y + 100.0 * z);
        }
        let (kx, ky) = pixels();
        let mut out = vec![0.0; 2 * kx.len()];
        for isa in sets() {
            read_slice(isa, rows, &volume, Plane { columns: COLUMNS, kx: &kx, ky: &ky }, &mut out);
            for i in 0..kx.len() {
                let p: Vec<f64> = (0..3).map(|a| kx[i] * COLUMNS[0][a] + ky[i] * COLUMNS[1][a]).collect();
                // Odd in p, as the imaginary part of a real map's transform: mirroring changes nothing.
                let expected = p[0] + 10.0 * p[1] + 100.0 * p[2];
                assert!((out[2 * i] - 1.0).abs() < 1e-12 && (out[2 * i + 1] - expected).abs() < 1e-9, "pixel {i}");
            }
        }
    }

    #[test]
    fn adding_is_the_adjoint_of_reading() {
        let (starts, edge) = cube();
        let rows = Rows { starts: &starts, edge };
        let parts = noise(3, 2 * 19 * 19 * 11);
        let volume: Vec<Complex<f64>> = parts.chunks(2).map(|c| Complex::new(c[0], c[1])).collect();
        let (kx, ky) = pixels();
        let plane = Plane { columns: COLUMNS, kx: &kx, ky: &ky };
        let data = noise(4, 2 * kx.len());
        let weight = noise(5, kx.len());
        for isa in sets() {
            let mut slice = vec![0.0; data.len()];
            read_slice(isa, rows, &volume, plane, &mut slice);
            let forward: f64 = slice.iter().zip(&data).map(|(a, b)| a * b).sum();
            let mut sums = vec![[0; 3]; volume.len()];
            let scale = (1_u64 << 44) as f64;
            add_slice(isa, rows, &mut sums, plane, &data, &weight, [scale, scale]);
            let backward: f64 =
                sums.iter().zip(&volume).map(|(s, v)| (s[0] as f64 * v.re + s[1] as f64 * v.im) / scale).sum();
            // Each of some 10^3 contributions is rounded at 2^-44.
            assert!((forward - backward).abs() < 1e-10, "{isa:?}: {forward} {backward}");
            let total: i64 = sums.iter().map(|s| s[2]).sum();
            let expected: f64 = weight.iter().sum();
            assert!((total as f64 / scale - expected).abs() < 1e-10);
        }
    }

    #[test]
    fn the_order_of_additions_does_not_matter() {
        let (starts, edge) = cube();
        let rows = Rows { starts: &starts, edge };
        let (kx, ky) = pixels();
        let slices: Vec<Vec<f32>> =
            (0..5).map(|s| noise(s, 2 * kx.len()).iter().map(|x| *x as f32).collect()).collect();
        let weight = vec![0.5_f32; kx.len()];
        let sum = |order: &[usize]| {
            let mut sums = vec![[0; 3]; 19 * 19 * 11];
            for &s in order {
                let turned = [COLUMNS[0].map(|x| x * (1.0 - 0.05 * s as f64)), COLUMNS[1]];
                let plane = Plane { columns: turned, kx: &kx, ky: &ky };
                add_slice(Isa::detect(), rows, &mut sums, plane, &slices[s], &weight, [1e12, 1e12]);
            }
            sums
        };
        assert_eq!(sum(&[0, 1, 2, 3, 4]), sum(&[3, 1, 4, 0, 2]));
    }

    /// `cargo test --lib product::slice::tests::speed -- --ignored --nocapture`.
    #[test]
    #[ignore = "prints speeds; run by hand"]
    fn speed() {
        let edge = 65;
        let starts: Vec<u32> = (0..=131 * 131).map(|row| row * 67).collect();
        let rows = Rows { starts: &starts, edge };
        let volume = vec![Complex::new(1.0_f32, 0.5); 131 * 131 * 67];
        let mut sums = vec![[0_i64; 3]; volume.len()];
        let all = (0..33).flat_map(|kx| (-32..33).map(move |ky| (f64::from(kx), f64::from(ky))));
        let (kx, ky): (Vec<f64>, Vec<f64>) = all.filter(|(x, y)| x * x + y * y <= 1024.0).unzip();
        let plane = Plane { columns: COLUMNS, kx: &kx, ky: &ky };
        let mut out = vec![0.0_f32; 2 * kx.len()];
        let weight = vec![1.0_f32; kx.len()];
        for isa in sets() {
            let start = super::super::tests::cpu_seconds();
            for _ in 0..2000 {
                read_slice(isa, rows, &volume, plane, &mut out);
            }
            let read = (super::super::tests::cpu_seconds() - start) / (2000 * kx.len()) as f64 * 1e9;
            let start = super::super::tests::cpu_seconds();
            for _ in 0..2000 {
                add_slice(isa, rows, &mut sums, plane, &out, &weight, [1e3, 1e3]);
            }
            let add = (super::super::tests::cpu_seconds() - start) / (2000 * kx.len()) as f64 * 1e9;
            println!("{isa:?}: read {read:.2} ns, add {add:.2} ns a pixel");
        }
    }
}
