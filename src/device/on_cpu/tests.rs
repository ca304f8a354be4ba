use num_complex::Complex;

use super::super::Driver;
use super::super::Grid;
use super::super::Mark;
use super::super::OnCpu;
use super::super::Plain;
use super::super::Precision;
use super::super::Stream;
use super::super::download;
use super::super::launch;
use super::super::upload;

#[derive(Clone, Copy)]
#[repr(C)]
struct ShiftArguments {
    images: u64,
    phases: u64,
    columns: u64,
    image_stride: u32,
    phase_stride: u32,
    stride: u32,
    pixels: u32,
    translations: u32,
    images_count: u32,
}

const PIXELS: usize = 301;
const STRIDE: usize = 320;
const TRANSLATIONS: usize = 5;
const IMAGES: usize = 7;

fn values<T: From<f32>>(count: usize, seed: usize) -> Vec<Complex<T>> {
    let value = |n: usize| T::from(((n * 7919 + seed) % 1000) as f32 / 500.0 - 1.0);
    (0..count).map(|n| Complex::new(value(2 * n), value(2 * n + 1))).collect()
}

fn shifted<T: Plain + From<f32> + std::ops::Mul<Output = T>>(precision: Precision, order: u64) -> Vec<Complex<T>> {
    let mut device = OnCpu::open(precision).unwrap().shuffled(order);
    let (images, phases) = (values::<T>(IMAGES * STRIDE, 3), values::<T>(TRANSLATIONS * STRIDE, 5));
    let mut columns = vec![Complex::new(T::from(0.0), T::from(0.0)); IMAGES * TRANSLATIONS * STRIDE];
    let bytes = |values: &[Complex<T>]| size_of_val(values) as u64;
    let base = device.reserve((bytes(&images) + bytes(&phases) + bytes(&columns)) as usize).unwrap();
    let (at_phases, at_columns) = (base + bytes(&images), base + bytes(&images) + bytes(&phases));
    upload(&device, Stream::Upload, base, &images).unwrap();
    upload(&device, Stream::Upload, at_phases, &phases).unwrap();
    let arguments = ShiftArguments {
        images: base,
        phases: at_phases,
        columns: at_columns,
        image_stride: STRIDE as u32,
        phase_stride: STRIDE as u32,
        stride: STRIDE as u32,
        pixels: PIXELS as u32,
        translations: TRANSLATIONS as u32,
        images_count: IMAGES as u32,
    };
    let mut grid = Grid::over(STRIDE, 128);
    grid.blocks[1] = TRANSLATIONS as u32;
    grid.blocks[2] = IMAGES as u32;
    device.mark(Stream::Upload, Mark(0)).unwrap();
    device.wait_for(Stream::Compute, Mark(0)).unwrap();
    launch(&device, Stream::Compute, "shift", grid, &arguments).unwrap();
    device.mark(Stream::Compute, Mark(1)).unwrap();
    device.wait_for(Stream::Download, Mark(1)).unwrap();
    download(&device, Stream::Download, at_columns, &mut columns).unwrap();
    columns
}

#[test]
fn shift_multiplies_images_by_phases() {
    fn check<T: Plain + From<f32> + Into<f64> + std::ops::Mul<Output = T>>(precision: Precision, tolerance: f64) {
        let f64_of = |z: Complex<T>| Complex::new(z.re.into(), z.im.into());
        let (images, phases) = (values::<T>(IMAGES * STRIDE, 3), values::<T>(TRANSLATIONS * STRIDE, 5));
        let columns = shifted::<T>(precision, 0);
        for q in 0..IMAGES {
            for t in 0..TRANSLATIONS {
                for k in 0..STRIDE {
                    let zero = Complex::new(0.0, 0.0);
                    let product = f64_of(images[q * STRIDE + k]) * f64_of(phases[t * STRIDE + k]);
                    let wanted = if k < PIXELS { product } else { zero };
                    let found = f64_of(columns[(q * TRANSLATIONS + t) * STRIDE + k]);
                    assert!((found - wanted).norm() <= tolerance, "{q} {t} {k}: {found}, not {wanted}");
                }
            }
        }
    }
    // Three roundings of numbers below 2.
    check::<f32>(Precision::Single, 4.0 * f64::from(f32::EPSILON));
    check::<f64>(Precision::Double, 4.0 * f64::EPSILON);
}

#[test]
fn no_order_of_threads_changes_a_bit() {
    let in_order = shifted::<f32>(Precision::Single, 0);
    for seed in 1..8 {
        assert!(shifted::<f32>(Precision::Single, seed) == in_order, "order {seed}");
    }
}

/// What a GPU may do with streams that do not wait for each other, and with memory that changes before it is copied.
#[test]
fn late_streams_show_what_does_not_wait() {
    let [zero, ones, twos] = [[0; 4], [1; 4], [2; 4]];
    let mut device = OnCpu::open(Precision::Single).unwrap().shuffled(2);
    let base = device.reserve(64).unwrap();
    let [mut ordinary, mut pinned] = [device.pinned(4).unwrap(), device.pinned(4).unwrap()];
    let read = |at: u64| {
        let mut found = [9; 4];
        device.download(Stream::Compute, at, &mut found).unwrap();
        found
    };
    device.zero(Stream::Compute, base, 64).unwrap();
    // Ordinary memory is copied as it was, page-locked memory as it is when the stream comes to it.
    ordinary.bytes_mut().copy_from_slice(&ones);
    pinned.bytes_mut().copy_from_slice(&ones);
    device.upload(Stream::Upload, base, &ones).unwrap();
    device.upload(Stream::Upload, base + 4, pinned.bytes()).unwrap();
    pinned.bytes_mut().copy_from_slice(&twos);
    assert_eq!([read(base), read(base + 4)], [zero, zero], "the late stream has done nothing");
    device.mark(Stream::Upload, Mark(5)).unwrap();
    assert!(device.seconds(Mark(5), Mark(5)).is_err(), "the mark has not passed");
    device.wait_for(Stream::Compute, Mark(5)).unwrap();
    assert_eq!([read(base), read(base + 4)], [ones, twos]);
    // Page-locked memory is filled when the stream was waited for.
    device.mark(Stream::Compute, Mark(6)).unwrap();
    device.wait_for(Stream::Upload, Mark(6)).unwrap();
    device.download(Stream::Upload, base + 4, ordinary.bytes_mut()).unwrap();
    assert_eq!(ordinary.bytes(), ones);
    device.finish(Stream::Upload).unwrap();
    assert_eq!(ordinary.bytes(), twos);
    assert!(device.seconds(Mark(5), Mark(6)).unwrap() >= 0.0);
}

#[test]
fn what_is_wrong_with_a_launch_is_told() {
    let mut device = OnCpu::open(Precision::Single).unwrap();
    let base = device.reserve(100).unwrap();
    let refusal = |kernel, threads, size: usize| {
        let grid = Grid::over(100, threads);
        device.launch(Stream::Compute, kernel, grid, &vec![std::mem::MaybeUninit::new(0); size]).unwrap_err().problem
    };
    assert!(refusal("no_such_kernel", 32, 48).contains("no_such_kernel"));
    assert!(refusal("shift", 32, 40).contains("takes 48 bytes of arguments and was given 40"));
    assert!(refusal("shift", 2048, 48).contains("cannot be launched"));
    assert!(
        upload(&device, Stream::Upload, base + 500, &[0u8; 20]).unwrap_err().problem.contains("not in the device's")
    );
    let mut fresh = [0u8; 4];
    download(&device, Stream::Download, base, &mut fresh).unwrap();
    assert_eq!(fresh, [0xa5; 4], "unspecified memory must not look like zeros");
}

#[test]
fn both_precisions_in_one_process() {
    let (single, double) = (OnCpu::open(Precision::Single).unwrap(), OnCpu::open(Precision::Double).unwrap());
    drop(double);
    drop(single);
    let (single, double) = (shifted::<f32>(Precision::Single, 0), shifted::<f64>(Precision::Double, 0));
    assert!(single.iter().zip(&double).all(|(a, b)| (f64::from(a.re) - b.re).abs() < 1e-6));
}
