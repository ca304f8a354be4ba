//! Projection, its adjoint and the CTF against RELION's images and against their definitions.

use std::path::Path;

use num_complex::Complex;
use relion_rs::dataset::CtfParameters;
use relion_rs::dataset::OpticsGroup;
use relion_rs::formats::mrc::Stack;
use relion_rs::fourier;
use relion_rs::fourier::Real;
use relion_rs::fourier::RealFft2;
use relion_rs::fourier::RealFft3;
use relion_rs::imaging::Ctf;
use relion_rs::imaging::CtfOptions;
use relion_rs::imaging::FirstPeak;
use relion_rs::imaging::Geometry;
use relion_rs::imaging::PixelList;
use relion_rs::imaging::Projector;
use relion_rs::imaging::ReferenceScale;
use relion_rs::imaging::backproject;
use relion_rs::imaging::padded;
use relion_rs::imaging::padded::PaddedTransform;
use relion_rs::imaging::projector;
use relion_rs::imaging::random::Stream;
use relion_rs::imaging::shift;
use relion_rs::rotation::Matrix3;

use super::support::golden;

/// RELION's images are f32; an f64 evaluation of the same formulas stays below 5e-8 of the maximum.
const IMAGE_TOLERANCE: f64 = 1e-7;
/// The same for f32 arithmetic throughout.
const SINGLE_TOLERANCE: f64 = 1e-6;
/// RELION's CTF images are f32, and parts of its arithmetic for them too.
const CTF_TOLERANCE: f64 = 2e-6;

/// Numbers of a map or stack.
fn mrc(path: &Path) -> Vec<f32> {
    let stack = Stack::open(path).expect("a golden file");
    let mut values = vec![0.0; stack.nx * stack.ny * stack.count];
    stack.read(&(0..stack.count as u32).collect::<Vec<_>>(), &mut values).expect("its sections");
    values
}

/// ZYZ Euler angles in degrees -> rotation from object to image coordinates.
fn rotation(rot: f64, tilt: f64, psi: f64) -> Matrix3 {
    let z = |degrees: f64| {
        let (s, c) = degrees.to_radians().sin_cos();
        Matrix3([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])
    };
    let (s, c) = tilt.to_radians().sin_cos();
    z(psi) * Matrix3([[c, 0.0, -s], [0.0, 1.0, 0.0], [s, 0.0, c]]) * z(rot)
}

fn optics(voltage: f64, cs: f64, q: f64, pixel: f64, n: usize) -> OpticsGroup {
    OpticsGroup {
        voltage_kilovolt: voltage,
        spherical_aberration_mm: cs,
        amplitude_contrast: q,
        ..OpticsGroup::ordinary(pixel, n)
    }
}

/// Image of coefficients on a pixel list, centred on n/2.
fn image<T: Real>(pixels: &PixelList, values: &[Complex<T>]) -> Vec<T> {
    let n = pixels.size;
    let plan = RealFft2::<T>::new(n);
    let mut half = vec![Complex::default(); plan.half_len()];
    for (i, value) in values.iter().enumerate() {
        half[pixels.index_in_half(i, n)] = *value;
    }
    for row in 1..n / 2 {
        half[(n - row) * (n / 2 + 1)] = half[row * (n / 2 + 1)].conj();
    }
    fourier::checkerboard_2d(&mut half, n);
    let mut out = vec![T::zero(); n * n];
    plan.inverse(&mut half, &mut out, &mut plan.scratch());
    out
}

/// Largest difference of two images relative to the largest value, without the coefficients (n/2, 0) and (0, n/2):
/// they lie exactly on the edge of RELION's sphere, where the last bit decides.
fn difference<T: Real>(ours: &[T], theirs: &[f32], n: usize) -> f64 {
    let plan = RealFft2::<f64>::new(n);
    let mut scratch = plan.scratch();
    let mut rest: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| a.widen() - f64::from(*b)).collect();
    let mut half = vec![Complex::default(); plan.half_len()];
    plan.forward(&rest, &mut half, &mut scratch);
    half[n / 2] = Complex::default();
    half[n / 2 * (n / 2 + 1)] = Complex::default();
    plan.inverse(&mut half, &mut rest, &mut scratch);
    let largest = theirs.iter().fold(0.0_f64, |m, v| m.max(f64::from(v.abs())));
    rest.iter().fold(0.0, |m: f64, v| if v.is_nan() { f64::NAN } else { m.max(v.abs()) }) / largest
}

struct Pose {
    optics: usize,
    ctf: CtfParameters,
    rotation: Matrix3,
    offset_pixels: [f64; 2],
}

fn poses() -> Vec<Pose> {
    let text = std::fs::read_to_string(golden("g01_project/poses.star")).expect("a golden file");
    let rows: Vec<Vec<f64>> = text
        .lines()
        .filter(|l| l.contains('@'))
        .map(|l| l.split_whitespace().skip(2).map(|v| v.parse().expect("a number")).collect())
        .collect();
    rows.iter()
        .map(|v| Pose {
            optics: v[0] as usize - 1,
            ctf: CtfParameters {
                defocus_u_angstrom: v[1],
                defocus_v_angstrom: v[2],
                defocus_angle_degrees: v[3],
                phase_shift_degrees: v[4],
                b_factor_angstrom2: v[5],
                scale: v[6],
            },
            rotation: rotation(v[7], v[8], v[9]),
            offset_pixels: [v[10] / 3.5, v[11] / 3.5],
        })
        .collect()
}

fn project<T: Real>(projector: &Projector<T>, pixels: &PixelList, pose: &Matrix3, offset: [f64; 2]) -> Vec<Complex<T>> {
    let mut slice = vec![Complex::default(); pixels.len()];
    projector.slice(&pose.transpose(), &pixels.kx, &pixels.ky, &mut slice);
    let mut phases = vec![Complex::default(); pixels.len()];
    shift::phase_factors(&pixels.kx, &pixels.ky, -offset[0], -offset[1], pixels.size, &mut phases);
    slice.iter().zip(&phases).map(|(s, p)| s * p).collect()
}

fn projections_agree<T: Real>(tolerance: f64) {
    let (n, pixels) = (64, PixelList::new(64));
    let projector = Projector::<T>::new(&mrc(&golden("inputs/ref64.mrc")), n, 2.0, n);
    let groups = [optics(300.0, 2.7, 0.1, 3.5, n), optics(200.0, 1.4, 0.07, 3.5, n)];
    let (plain, with_ctf) = (mrc(&golden("g01_project/noctf.mrcs")), mrc(&golden("g01_project/ctf.mrcs")));
    let poses = poses();
    assert_eq!(poses.len(), 6);
    for (i, pose) in poses.iter().enumerate() {
        let mut slice = project(&projector, &pixels, &pose.rotation, pose.offset_pixels);
        let at = i * n * n..(i + 1) * n * n;
        let off = difference(&image(&pixels, &slice), &plain[at.clone()], n);
        assert!(off < tolerance, "pose {}: {off:e}", i + 1);

        let ctf = Ctf::new(&groups[pose.optics], &pose.ctf, CtfOptions::default()).expect("valid parameters");
        let mut values = vec![0.0; pixels.len()];
        ctf.fill(&pixels.kx, &pixels.ky, None, &mut values);
        for (s, c) in slice.iter_mut().zip(&values) {
            *s *= T::of(*c);
        }
        let off = difference(&image(&pixels, &slice), &with_ctf[at], n);
        assert!(off < tolerance, "pose {} with CTF: {off:e}", i + 1);
    }
}

#[test]
fn projections_equal_relion_in_double_precision() {
    projections_agree::<f64>(IMAGE_TOLERANCE);
}

#[test]
fn projections_equal_relion_in_single_precision() {
    projections_agree::<f32>(SINGLE_TOLERANCE);
}

#[test]
fn a_single_projection_with_offsets_equals_relion() {
    let pixels = PixelList::new(64);
    let projector = Projector::<f64>::new(&mrc(&golden("inputs/ref64.mrc")), 64, 2.0, 64);
    let slice = project(&projector, &pixels, &rotation(30.0, 40.0, 50.0), [3.0, -2.0]);
    let off = difference(&image(&pixels, &slice), &mrc(&golden("g01_project/single.mrc")), 64);
    assert!(off < IMAGE_TOLERANCE, "{off:e}");
}

#[test]
fn one_voxel_lands_where_its_rotation_says() {
    let n = 32;
    let mut voxels = vec![0.0_f32; n * n * n];
    let place = [3.0, -4.0, 5.0];
    voxels[(21 * n + 12) * n + 19] = 1.0;
    let projector = Projector::<f64>::new(&voxels, n, 2.0, n);
    let (pixels, pose) = (PixelList::new(n), rotation(30.0, 40.0, 50.0));
    let slice = project(&projector, &pixels, &pose, [0.0; 2]);
    let off = difference(&image(&pixels, &slice), &mrc(&golden("g01_project/voxel.mrc")), n);
    assert!(off < IMAGE_TOLERANCE, "against RELION: {off:e}");

    let [x, y, _] = pose.apply(place);
    let mut mean = 0.0;
    // In the last shell some neighbours lie outside the sphere and count as zero.
    let count = pixels.prefix_len(n - 2);
    for (i, value) in slice.iter().enumerate().take(count) {
        let turn = (f64::from(pixels.kx[i]) * x + f64::from(pixels.ky[i]) * y) / n as f64;
        let exact = Complex::from_polar(1.0 / (n * n) as f64, -std::f64::consts::TAU * turn);
        let ratio = value / exact;
        // Trilinear interpolation of a voxel 7 pixels off the centre: a few per cent, right in the mean.
        assert!((ratio - 1.0).norm() < 0.06, "pixel {i}: {ratio}");
        mean += ratio.re / count as f64;
    }
    assert!((mean - 1.0).abs() < 0.005, "{mean}");
}

fn random<T: Real>(item: u64, len: usize) -> Vec<Complex<T>> {
    let mut stream = Stream::new(11, 0, item);
    (0..len).map(|_| Complex::new(T::of(stream.gaussian()), T::of(stream.gaussian()))).collect()
}

/// Re <a, b> and the product of their norms.
fn inner<T: Real>(a: &[Complex<T>], b: &[Complex<T>]) -> (f64, f64) {
    let (mut product, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        let (ar, ai, br, bi) = (a.re.widen(), a.im.widen(), b.re.widen(), b.im.widen());
        product += ar * br + ai * bi;
        aa += ar * ar + ai * ai;
        bb += br * br + bi * bi;
    }
    (product, (aa * bb).sqrt())
}

fn insertion_is_the_adjoint<T: Real>(tolerance: f64) {
    let geometry = Geometry::new(24, 2.0, 20);
    let pixels = PixelList::new(24);
    let mut group = optics(300.0, 2.7, 0.1, 1.1, 26);
    group.magnification = [[1.01, 0.02], [0.015, 0.98]];
    for (i, scale) in [
        ReferenceScale { ratio: 1.0, ..ReferenceScale::new(&optics(300.0, 2.7, 0.1, 1.0, 24), 24, 1.0) },
        ReferenceScale::new(&group, 24, 1.0),
    ]
    .iter()
    .enumerate()
    {
        let inverse = scale.inverse(&rotation(33.0, 71.0, -140.0));
        let (volume, slice) = (random::<T>(1, geometry.rows.len()), random::<T>(2, pixels.len()));
        let mut projected = vec![Complex::default(); pixels.len()];
        projector::slice_into(&geometry, &volume, &inverse, &pixels.kx, &pixels.ky, &mut projected);
        let mut inserted = vec![[T::zero(); 3]; geometry.rows.len()];
        let ones = vec![T::one(); pixels.len()];
        backproject::insert(&geometry, &inverse, (&pixels.kx, &pixels.ky), (&slice, &ones), &mut inserted);
        let spread: Vec<Complex<T>> = inserted.iter().map(|[re, im, _]| Complex::new(*re, *im)).collect();
        let ((a, norm), (b, _)) = (inner(&projected, &slice), inner(&volume, &spread));
        assert!((a - b).abs() <= tolerance * norm, "case {i}: {a} {b}");
        // The corners' weights sum to one.
        let inside = projected.iter().filter(|v| **v != Complex::default()).count() as f64;
        let total: f64 = inserted.iter().map(|[_, _, w]| w.widen()).sum();
        assert!((total - inside).abs() <= tolerance * inside, "case {i}: {total} {inside}");
    }
}

#[test]
fn insertion_is_the_adjoint_of_the_slice() {
    insertion_is_the_adjoint::<f64>(1e-12);
    insertion_is_the_adjoint::<f32>(1e-6);
}

#[test]
fn the_lean_padded_transform_equals_the_padded_cube() {
    for (n, size) in [(12, 12), (12, 6), (10, 8)] {
        let geometry = Geometry::new(n, 2.0, size);
        let (rows, edge) = (&geometry.rows, geometry.padded_pixels);
        let voxels: Vec<f64> = random::<f64>(3, n * n * n).iter().map(|v| v.re).collect();
        let transform = PaddedTransform::<f64>::new(&geometry);
        // Fewer buffers than threads: they take turns.
        let mut work = vec![Complex::default(); padded::work_len(&geometry, 1)];
        let mut sphere = vec![Complex::new(7.0, 7.0); rows.len()];
        transform.forward(|x, y, z| voxels[(z * n + y) * n + x], 1.0, &mut sphere, &mut work);

        let plan = RealFft3::<f64>::new(edge);
        let shift = edge / 2 - n / 2;
        let cube = (0..edge.pow(3)).map(|i| {
            let [x, y, z] = [i % edge, i / edge % edge, i / edge / edge].map(|v| v.wrapping_sub(shift));
            if x < n && y < n && z < n { voxels[(z * n + y) * n + x] } else { 0.0 }
        });
        let mut half = plan.forward(cube);
        fourier::checkerboard_3d(&mut half, edge);
        let (r, volume) = (rows.radius() as i32, (edge as f64).powi(3));
        let mut inside = vec![false; half.len()];
        rows.for_each(|i, x, y, z| {
            if x * x + y * y + z * z <= r * r {
                let row = fourier::frequency_index(z, edge) * edge + fourier::frequency_index(y, edge);
                let at = row * (edge / 2 + 1) + x as usize;
                inside[at] = true;
                assert!((half[at] * volume - sphere[i]).norm() < 1e-11, "n {n}: {x} {y} {z}");
            } else {
                assert_eq!(sphere[i], Complex::default(), "n {n}: {x} {y} {z}");
            }
        });

        for (value, keep) in half.iter_mut().zip(&inside) {
            *value = if *keep { *value * volume } else { Complex::default() };
        }
        fourier::checkerboard_3d(&mut half, edge);
        let filtered = plan.inverse(&mut half);
        let mut back = vec![0.0; n * n * n];
        transform.inverse(|index, _| sphere[index], &mut work, &mut back);
        for (i, v) in back.iter().enumerate() {
            let [x, y, z] = [i % n, i / n % n, i / n / n].map(|v| v + shift);
            let off = (v - filtered[(z * edge + y) * edge + x]).abs();
            assert!(off < 1e-9, "n {n}, voxel {i}: {off}");
        }
    }
}

#[test]
fn projectors_have_the_same_bits_on_any_number_of_threads() {
    let voxels = mrc(&golden("inputs/ref32.mrc"));
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(|| Projector::<f32>::new(&voxels, 32, 2.0, 28))
    };
    let (one, three) = (run(1), run(3));
    assert_eq!(one.data, three.data);
    assert_eq!(one.power, three.power);
}

#[test]
fn ctf_images_equal_relion() {
    let n = 64;
    let particle = |u: f64, v: f64, angle: f64, phase_shift_degrees: f64| CtfParameters {
        defocus_u_angstrom: u,
        defocus_v_angstrom: v,
        defocus_angle_degrees: angle,
        phase_shift_degrees,
        b_factor_angstrom2: 0.0,
        scale: 1.0,
    };
    let wide = optics(300.0, 2.7, 0.1, 1.5, n);
    let usual = particle(15000.0, 14000.0, 30.0, 0.0);
    let cases = [
        ("ctf_a", optics(300.0, 2.7, 0.1, 1.0, n), usual, FirstPeak::Oscillating),
        ("ctf_b", optics(200.0, 1.4, 0.07, 2.0, n), particle(21000.0, 19000.0, -75.0, 90.0), FirstPeak::Oscillating),
        ("ctf_c", wide.clone(), usual, FirstPeak::IntactUntil),
        ("ctf_d", wide, usual, FirstPeak::IntactAfter),
    ];
    for (name, group, parameters, first_peak) in cases {
        let theirs = mrc(&golden(&format!("g02_ctf/{name}.mrc")));
        let options = CtfOptions { first_peak, ..CtfOptions::default() };
        let ctf = Ctf::new(&group, &parameters, options).expect("valid parameters");
        for (i, value) in theirs.iter().enumerate() {
            // Zero frequency in the centre; the first row and column are the negative Nyquist frequency.
            let (kx, ky) = ((i % n) as f64 - 32.0, (i / n) as f64 - 32.0);
            let off = (ctf.at(kx, ky, 0.0) - f64::from(*value)).abs();
            assert!(off < CTF_TOLERANCE, "{name} ({kx}, {ky}): {off:e}");
        }
    }
}

#[test]
fn images_of_another_scale_read_other_frequencies() {
    let group = optics(300.0, 2.7, 0.1, 1.5, 32);
    let scale = ReferenceScale::new(&group, 24, 1.0);
    assert_eq!(scale.ratio, 2.0);
    assert_eq!((scale.reference_shell(7), scale.image_size(10), scale.image_size(40)), (4, 20, 32));
    let near = ReferenceScale::new(&optics(300.0, 2.7, 0.1, 7.08, 32), 32, f64::from(7.08_f32));
    assert_eq!(near.ratio, 1.0, "a pixel size read in single precision is the same pixel size");
    // A slice at image frequency 2k of twice the field of view is the slice at k.
    let projector = Projector::<f64>::new(&mrc(&golden("inputs/ref32.mrc")), 32, 2.0, 32);
    let twice = ReferenceScale { ratio: 2.0, ..near };
    let pose = rotation(20.0, 35.0, 110.0);
    let (mut a, mut b) = ([Complex::default(); 2], [Complex::default(); 2]);
    projector.slice(&near.inverse(&pose), &[5, 3], &[-4, 2], &mut a);
    projector.slice(&twice.inverse(&pose), &[10, 6], &[-8, 4], &mut b);
    assert!((a[0] - b[0]).norm() < 1e-15 && (a[1] - b[1]).norm() < 1e-15 && a[0].norm() > 0.0);
}

#[test]
fn the_power_of_a_projector_is_the_signal_variance_that_relion_reports() {
    let voxels = mrc(&golden("g05_em/os0/run_it000_class001.mrc"));
    let power = Projector::<f64>::new(&voxels, 32, 2.0, 28).power;
    // rlnReferenceTau2 after iteration 1; RELION prints seven digits below 0.001.
    let theirs = [
        3.951_380e-4,
        2.861_763e-5,
        2.218_720e-7,
        7.278_134e-8,
        3.150_271e-8,
        1.533_972e-8,
        8.832_138e-9,
        5.568_637e-9,
        3.907_872e-9,
        2.864_436e-9,
        2.165_047e-9,
        3.294_913e-9,
    ];
    for (s, value) in theirs.iter().enumerate() {
        let off = (power[s + 3] / value - 1.0).abs();
        assert!(off < 3e-7, "shell {}: {off:e}", s + 3);
    }
    assert_eq!(power[15..], [0.0, 0.0]);
}
