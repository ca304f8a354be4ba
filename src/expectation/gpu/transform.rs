//! Transforms of batches of square real images in double precision, in device memory.

use std::sync::Mutex;
use std::sync::PoisonError;

use num_complex::Complex;
use rayon::prelude::*;

use crate::device;
use crate::device::Driver;
use crate::device::Fft;
use crate::device::Grid;
use crate::device::Stream;
use crate::error::Result;
use crate::fourier::RealFft2;

/// Threads of a block.
const THREADS: u32 = 256;

/// Images lie one after the other, and so do their half transforms (`fourier` has the layout and the scale). Work is
/// put into [`Stream::Compute`]. There is memory for a multiple of [`images_a_call`]: more than `count` may be done.
pub trait Transform: Send + Sync {
    /// `count` images -> half transforms.
    fn forward(&self, driver: &dyn Driver, images: u64, halves: u64, count: usize) -> Result<()>;
    /// `count` half transforms, whose content is lost, -> images.
    fn inverse(&self, driver: &dyn Driver, halves: u64, images: u64, count: usize) -> Result<()>;
}

/// Pixels of a call, about, and images at most.
const PIXELS_A_CALL: usize = 1 << 19;
const MOST_A_CALL: usize = 16;

/// Images of an edge that are transformed by one call. It depends on the edge alone: a library may do other numbers of
/// images in other ways, and no bit may depend on how much memory there is.
pub fn images_a_call(edge: usize) -> usize {
    (PIXELS_A_CALL / (edge * edge).max(1)).clamp(1, MOST_A_CALL)
}

/// Bytes on the device that transforms of an edge may work with.
///
/// cuFFT's manual: most plans need as many complex numbers as there are pixels, none more than eight times that. A plan
/// that needs more than there is does fewer images a call ([`crate::device::Fft::images`]); one always fits.
pub fn work_bytes(edge: usize) -> usize {
    images_a_call(edge).max(8) * edge * edge * size_of::<Complex<f64>>()
}

/// The transforms of a device: by its own library, or on the host's threads where it has none (whoever opens a device
/// says so). `work` is the address of [`work_bytes`].
///
/// # Errors
/// Those of the device.
pub fn of_device(driver: &dyn Driver, edge: usize, work: u64) -> Result<Box<dyn Transform + '_>> {
    Ok(match driver.fft(edge, images_a_call(edge), work, work_bytes(edge))? {
        Some(fft) => Box::new(DeviceTransform { fft, edge }),
        None => Box::new(HostTransform::new(edge)),
    })
}

/// Of the kernel `gain`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct GainArguments {
    pub halves: u64,
    /// Per coefficient; 0: `scale` for all.
    pub gains: u64,
    pub scale: f64,
    pub coefficients: u32,
}

/// Transforms by the library of a device.
pub struct DeviceTransform<'d> {
    fft: Box<dyn Fft + 'd>,
    edge: usize,
}

impl DeviceTransform<'_> {
    /// Calls `part(first image, its half transform)` until `count` images are done: addresses.
    fn each(&self, images: u64, halves: u64, count: usize, part: impl Fn(u64, u64) -> Result<()>) -> Result<()> {
        let image_bytes = self.edge * self.edge * size_of::<f64>();
        let half_bytes = self.edge * (self.edge / 2 + 1) * size_of::<Complex<f64>>();
        (0..count)
            .step_by(self.fft.images())
            .try_for_each(|first| part(images + (first * image_bytes) as u64, halves + (first * half_bytes) as u64))
    }
}

impl Transform for DeviceTransform<'_> {
    fn forward(&self, driver: &dyn Driver, images: u64, halves: u64, count: usize) -> Result<()> {
        self.each(images, halves, count, |image, half| self.fft.forward(image, half))?;
        let (pixels, coefficients) = (self.edge * self.edge, self.edge * (self.edge / 2 + 1));
        let mut grid = Grid::over(coefficients, THREADS);
        grid.blocks[1] = count as u32;
        let scale = 1.0 / pixels as f64;
        let arguments = GainArguments { halves, gains: 0, scale, coefficients: coefficients as u32 };
        device::launch(driver, Stream::Compute, "gain", grid, &arguments)
    }

    fn inverse(&self, _: &dyn Driver, halves: u64, images: u64, count: usize) -> Result<()> {
        self.each(images, halves, count, |image, half| self.fft.inverse(half, image))
    }
}

/// Transforms on the host's threads: for the kernels' twin, and for a device without its library.
pub struct HostTransform {
    plan: RealFft2<f64>,
    /// What comes from the device and goes there.
    buffers: Mutex<(Vec<f64>, Vec<Complex<f64>>)>,
}

impl HostTransform {
    /// For images of an edge.
    pub fn new(edge: usize) -> Self {
        Self { plan: RealFft2::new(edge), buffers: Mutex::default() }
    }

    /// Buffers of at least `count` images.
    fn with_buffers<R>(&self, count: usize, work: impl FnOnce(&mut [f64], &mut [Complex<f64>]) -> R) -> R {
        let (images, halves) = &mut *self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        let (image, half) = (self.plan.edge().pow(2), self.plan.half_len());
        images.resize(images.len().max(count * image), 0.0);
        halves.resize(halves.len().max(count * half), Complex::default());
        work(&mut images[..count * image], &mut halves[..count * half])
    }
}

/// Images that go to the host together: enough for its threads.
const ON_HOST: usize = 16;

impl HostTransform {
    /// Calls `part(first image, images)` until `count` images are done.
    fn each(count: usize, part: impl Fn(usize, usize) -> Result<()>) -> Result<()> {
        (0..count).step_by(ON_HOST).try_for_each(|first| part(first, ON_HOST.min(count - first)))
    }

    /// Addresses of an image and of its half transform.
    fn at(&self, images: u64, halves: u64, image: usize) -> (u64, u64) {
        let image_bytes = self.plan.edge().pow(2) * size_of::<f64>();
        let half_bytes = self.plan.half_len() * size_of::<Complex<f64>>();
        (images + (image * image_bytes) as u64, halves + (image * half_bytes) as u64)
    }
}

impl Transform for HostTransform {
    fn forward(&self, driver: &dyn Driver, images: u64, halves: u64, count: usize) -> Result<()> {
        let (image, half) = (self.plan.edge().pow(2), self.plan.half_len());
        Self::each(count, |first, count| {
            let (images, halves) = self.at(images, halves, first);
            self.with_buffers(count, |real, complex| {
                device::download(driver, Stream::Compute, images, real)?;
                driver.finish(Stream::Compute)?;
                real.par_chunks_exact(image).zip(complex.par_chunks_exact_mut(half)).for_each_init(
                    || self.plan.scratch(),
                    |scratch, (image, half)| self.plan.forward(image, half, scratch),
                );
                device::upload(driver, Stream::Compute, halves, complex)?;
                driver.finish(Stream::Compute)
            })
        })
    }

    fn inverse(&self, driver: &dyn Driver, halves: u64, images: u64, count: usize) -> Result<()> {
        let (image, half) = (self.plan.edge().pow(2), self.plan.half_len());
        Self::each(count, |first, count| {
            let (images, halves) = self.at(images, halves, first);
            self.with_buffers(count, |real, complex| {
                device::download(driver, Stream::Compute, halves, complex)?;
                driver.finish(Stream::Compute)?;
                real.par_chunks_exact_mut(image).zip(complex.par_chunks_exact_mut(half)).for_each_init(
                    || self.plan.scratch(),
                    |scratch, (image, half)| self.plan.inverse(half, image, scratch),
                );
                device::upload(driver, Stream::Compute, images, real)?;
                driver.finish(Stream::Compute)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::device::OnCpu;
    use crate::device::Precision;

    use super::*;

    /// Three images a call, unscaled, by the host.
    struct Three<'d>(&'d OnCpu, HostTransform);

    const EDGE: usize = 12;

    impl Fft for Three<'_> {
        fn images(&self) -> usize {
            3
        }

        fn forward(&self, images: u64, halves: u64) -> Result<()> {
            self.1.forward(self.0, images, halves, 3)?;
            let coefficients = 3 * EDGE * (EDGE / 2 + 1);
            let scale = (EDGE * EDGE) as f64;
            let arguments = GainArguments { halves, gains: 0, scale, coefficients: coefficients as u32 };
            device::launch(self.0, Stream::Compute, "gain", Grid::over(coefficients, THREADS), &arguments)
        }

        fn inverse(&self, halves: u64, images: u64) -> Result<()> {
            self.1.inverse(self.0, halves, images, 3)
        }
    }

    #[test]
    fn a_library_that_does_few_images_a_call_is_called_until_all_are_done() {
        let mut driver = OnCpu::open(Precision::Double).expect("a compiler");
        let (count, pixels, half) = (6, EDGE * EDGE, EDGE * (EDGE / 2 + 1));
        let base = driver.reserve(count * (pixels * 8 + half * 16)).expect("memory");
        let halves = base + (count * pixels * 8) as u64;
        let images: Vec<f64> = (0..count * pixels).map(|i| ((i * i + 3 * i) % 29) as f64).collect();
        let transform = |transform: &dyn Transform| {
            device::upload(&driver, Stream::Compute, base, &images).expect("memory");
            let (mut forward, mut back) = (vec![Complex::<f64>::default(); 5 * half], vec![0.0; 5 * pixels]);
            transform.forward(&driver, base, halves, 5).expect("transforms");
            device::download(&driver, Stream::Compute, halves, &mut forward).expect("memory");
            transform.inverse(&driver, halves, base, 5).expect("transforms");
            device::download(&driver, Stream::Compute, base, &mut back).expect("memory");
            (forward, back)
        };
        let host = transform(&HostTransform::new(EDGE));
        let fft = Box::new(Three(&driver, HostTransform::new(EDGE)));
        let device = transform(&DeviceTransform { fft, edge: EDGE });
        for (a, b) in host.0.iter().zip(&device.0) {
            assert!((a - b).norm() < 1e-12);
        }
        for ((a, b), image) in host.1.iter().zip(&device.1).zip(&images) {
            assert!((a - image).abs() < 1e-12 && (b - image).abs() < 1e-12);
        }
        // The twin has no library of its own.
        let twins = transform(&*of_device(&driver, EDGE, 0).expect("transforms"));
        assert_eq!(twins, host);
    }
}
