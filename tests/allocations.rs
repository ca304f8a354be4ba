//! Between the first and the last batch of an expectation step not one allocation is made, by no thread: everything
//! lies in the arena, or was made before the first batch with all the room it will need.
//!
//! A program of its own without a test harness, because it counts with the global allocator, which belongs to the
//! whole process: other tests beside it would be counted too. Its `unsafe` hands calls on to the system's allocator.
//!
//! What an optics group asks for before its first batch: the thread that reads, its two queues and its list of wanted
//! images; workspaces, selectors and records. What may ask for memory later and is not seen here: a stack that is
//! opened (its path, its file), because these images lie in memory; an image that is set aside, for its cause.

use std::alloc::GlobalAlloc;
use std::alloc::Layout;
use std::alloc::System;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use golden::Scene;
use golden::Variant;
use relion_rs::dataset::ImageName;
use relion_rs::error::Result;
use relion_rs::expectation::ImageSource;
use relion_rs::expectation::Scalar;
use relion_rs::expectation::products::Config;
use relion_rs::formats::mrc::PixelFormat;
use relion_rs::product::Isa;
use relion_rs::sampling::LocalPrior;

#[path = "suite/expectation/found.rs"]
mod found;
#[allow(dead_code)]
#[path = "suite/expectation/golden.rs"]
mod golden;
#[path = "suite/support.rs"]
mod support;

/// Counts calls that ask for memory.
struct Counting;

static CALLS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Relaxed);
        // SAFETY: the caller's contract is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract is the same.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Relaxed);
        // SAFETY: the caller's contract is the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        CALLS.fetch_add(1, Relaxed);
        // SAFETY: the caller's contract is the same.
        unsafe { System.realloc(pointer, layout, bytes) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Particles of a batch: one block.
const BATCH: usize = 3;

const CONFIG: Config = Config {
    isa: Isa::Portable,
    threads: 1,
    block_particles: BATCH,
    blocks_per_batch: 1,
    sum_copies: 1,
    energy_bytes: 8 << 20,
    weight_bytes: 16 << 20,
    column_bytes: 4 << 20,
    pixel_bytes: 4,
};

/// The scene's images; notes the number of allocations when the first and when the last of them is used.
struct Watched<'a> {
    scene: &'a Scene,
    first: AtomicUsize,
    last: AtomicUsize,
}

impl ImageSource for Watched<'_> {
    fn read(&self, wanted: &[ImageName], stride: usize, request: &mut [u8], out: &mut [u8]) -> Result<()> {
        ImageSource::read(self.scene, wanted, stride, request, out)
    }

    fn format(&self, image: ImageName) -> PixelFormat {
        self.scene.format(image)
    }

    fn decode(&self, image: ImageName, place: &[u8], out: &mut [f32]) {
        let calls = CALLS.load(Relaxed);
        self.first.fetch_min(calls, Relaxed);
        self.last.fetch_max(calls, Relaxed);
        self.scene.decode(image, place, out);
    }
}

/// Allocations from the first image of a step to its last.
fn allocations<T: Scalar>(v: &Variant, config: &Config, batches: usize) -> usize {
    let mut scene = Scene::new(v);
    scene.options.parity = false;
    // Every optics group begins anew.
    scene.particles.retain(|p| scene.dataset.particles[*p as usize].optics == 0);
    scene.particles.truncate(batches * BATCH);
    assert_eq!(scene.particles.len(), batches * BATCH, "the scene is too small");
    let prior = |sigma| LocalPrior::new(&scene.orientations, &scene.group, [sigma; 3], false).unwrap();
    let local = v.sigma_angle_degrees.map(prior);
    let task = scene.task(v, local.as_ref());
    let images = Watched { scene: &scene, first: AtomicUsize::new(usize::MAX), last: AtomicUsize::new(0) };
    let outcome = found::engine::<T>(&task, &images, config);
    assert!(outcome.set_aside.is_empty() && outcome.sums.particle_count == batches * BATCH);
    images.last.into_inner() - images.first.into_inner()
}

fn check<T: Scalar>(name: &str, v: &Variant, finer: &Variant, config: Config) {
    let config = Config { isa: Isa::detect(), ..config };
    // The first step of a thread sets up what lives as long as the thread.
    allocations::<T>(v, &config, 1);
    for (what, variant, batches) in [("2 batches", v, 2), ("4 batches", v, 4), ("a finer grid", finer, 4)] {
        assert_eq!(allocations::<T>(variant, &config, batches), 0, "{name}, {what}");
    }
    println!("{name}: no allocation in 2 and 4 batches");
}

fn main() {
    let everywhere = [golden::FULL, Variant { healpix_order: 2, ..golden::FULL }];
    let near = [golden::LOCAL, Variant { healpix_order: 4, ..golden::LOCAL }];
    let correlation = [golden::CC1, Variant { healpix_order: 2, ..golden::CC1 }];
    let threads = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    threads.install(|| {
        for (name, [v, finer]) in [("global", &everywhere), ("local", &near), ("correlation", &correlation)] {
            let two = Config { threads: 2, sum_copies: 2, ..CONFIG };
            // No kept columns, and the fine pass in many sweeps.
            let tight = Config { weight_bytes: 0, column_bytes: 0, energy_bytes: 0, ..two };
            check::<f32>(&format!("{name}, single"), v, finer, CONFIG);
            check::<f64>(&format!("{name}, double"), v, finer, CONFIG);
            check::<f32>(&format!("{name}, single, 2 threads"), v, finer, two);
            check::<f64>(&format!("{name}, double, 2 threads"), v, finer, two);
            check::<f32>(&format!("{name}, single, 2 threads, little memory"), v, finer, tight);
        }
    });
}
