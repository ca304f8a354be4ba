//! A step that is stopped and taken up again, by the engine of another configuration: the same bits.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use relion_rs::arena::Arena;
use relion_rs::arena::Layout;
use relion_rs::dataset::ImageName;
use relion_rs::error::Result;
use relion_rs::expectation::ImageSource;
use relion_rs::expectation::Outcome;
use relion_rs::expectation::SumVoxel;
use relion_rs::expectation::products::Config;
use relion_rs::expectation::products::Earlier;
use relion_rs::expectation::products::Finished;
use relion_rs::expectation::products::Midway;
use relion_rs::expectation::products::Next;
use relion_rs::expectation::products::Watch;
use relion_rs::expectation::products::expect_watched;
use relion_rs::expectation::products::sums;
use relion_rs::formats::mrc::PixelFormat;
use relion_rs::product::Isa;
use relion_rs::product::Voxel;
use relion_rs::sampling::LocalPrior;

use super::golden;
use super::golden::Scene;
use super::golden::Variant;
use super::products::CONFIG;

/// What a process left.
type Kept = (Finished, Vec<Vec<Voxel>>);

/// How a process ended.
enum End {
    Stopped(Kept),
    Finished(Box<Outcome>, Vec<Vec<SumVoxel>>, Layout),
}

/// Images that raise a flag when the image with this number (counted from the first that is used) is used.
struct Alarmed<'a> {
    scene: &'a Scene,
    stop: AtomicBool,
    used: AtomicUsize,
    at: usize,
}

impl ImageSource for Alarmed<'_> {
    fn read(&self, wanted: &[ImageName], stride: usize, request: &mut [u8], out: &mut [u8]) -> Result<()> {
        ImageSource::read(self.scene, wanted, stride, request, out)
    }

    fn format(&self, image: ImageName) -> PixelFormat {
        self.scene.format(image)
    }

    fn decode(&self, image: ImageName, place: &[u8], out: &mut [f32]) {
        if self.used.fetch_add(1, Relaxed) == self.at {
            self.stop.store(true, Relaxed);
        }
        self.scene.decode(image, place, out);
    }
}

/// One process: goes on from `kept`, until `batches` were done, or an image raises the alarm, or to the end.
fn process(v: &Variant, scene: &Scene, config: &Config, kept: Option<Kept>, batches: usize, alarm: usize) -> End {
    let local =
        v.sigma_angle_degrees.map(|s| LocalPrior::new(&scene.orientations, &scene.group, [s; 3], false).unwrap());
    let task = scene.task(v, local.as_ref());
    let source = Alarmed { scene, stop: AtomicBool::new(false), used: AtomicUsize::new(0), at: alarm };
    let mut arena = Arena::reserve(1 << 30).unwrap();
    let end = arena.run(|frame| -> Result<_> {
        let mut volumes = sums(frame, task.model.classes.len(), task.geometry().rows.len())?;
        let (finished, integers) = kept.unzip();
        let mut read = |class: usize, out: &mut [Voxel]| {
            out.copy_from_slice(&integers.as_ref().expect("sums of an earlier process")[class]);
            Ok(())
        };
        let earlier = finished.map(|finished| Earlier { finished: vec![finished], add: &mut read });
        let (mut left, mut count) = (None, 0);
        let mut after_batch = |midway: &mut Midway<'_, '_>| {
            count += 1;
            if count < batches && !source.stop.load(Relaxed) {
                return Ok(Next::GoOn);
            }
            let finished = midway.finished()?;
            left = Some((finished, midway.with_sums(|sums| sums.iter().map(|s| s.to_vec()).collect())));
            Ok(Next::Stop)
        };
        let watch = &mut Watch { supply: None, stop: &source.stop, after_batch: &mut after_batch };
        let half = expect_watched::<f32>(&task, &source, config, &mut volumes, frame, earlier, watch)?;
        Ok(match half {
            None => Err(left.expect("what was finished")),
            Some(half) => {
                let outcome = half.finish(&task, &mut volumes);
                Ok((outcome, volumes.iter().map(|v| v.to_vec()).collect()))
            }
        })
    });
    match end.unwrap() {
        Err(kept) => End::Stopped(kept),
        Ok((outcome, volumes)) => End::Finished(Box::new(outcome), volumes, arena.layout()),
    }
}

fn scene(v: &Variant) -> Scene {
    let mut scene = Scene::new(v);
    scene.options.parity = false;
    scene
}

fn config(threads: usize, blocks_per_batch: usize) -> Config {
    Config { isa: Isa::detect(), block_particles: 2, threads, sum_copies: threads, blocks_per_batch, ..CONFIG }
}

#[test]
fn a_step_in_many_processes_gives_the_same_bits() {
    for v in [golden::FULL, golden::LOCAL, golden::CC1] {
        let scene = scene(&v);
        let End::Finished(whole, volumes, _) = process(&v, &scene, &config(1, 1), None, usize::MAX, usize::MAX) else {
            panic!("nobody stopped it");
        };
        let (mut kept, mut processes) = (None, 0);
        let (outcome, in_parts) = loop {
            // Another number of threads, blocks and batches every time.
            let config = config(1 + processes % 2, 1 + processes % 3);
            match process(&v, &scene, &config, kept.take(), 1 + processes % 2, usize::MAX) {
                End::Stopped(left) => kept = Some(left),
                End::Finished(outcome, volumes, _) => break (outcome, volumes),
            }
            processes += 1;
        };
        assert!(processes >= 3, "{}: {processes}", v.folder);
        assert_eq!(outcome.assignments, whole.assignments, "{}", v.folder);
        assert_eq!(outcome.sums, whole.sums, "{}", v.folder);
        assert!(in_parts == volumes, "{}", v.folder);
        assert_eq!(outcome.most_significant, whole.most_significant, "{}", v.folder);
    }
}

#[test]
fn a_batch_that_is_dropped_is_done_anew() {
    for v in [golden::FULL, golden::LOCAL] {
        let scene = scene(&v);
        let config = config(2, 2);
        let End::Finished(whole, volumes, layout) = process(&v, &scene, &config, None, usize::MAX, usize::MAX) else {
            panic!("nobody stopped it");
        };
        for alarm in [0, 5, 9] {
            let End::Stopped(kept) = process(&v, &scene, &config, None, usize::MAX, alarm) else {
                panic!("the alarm at image {alarm} was not heard");
            };
            // Batches of 4: what the alarm fell into is not among the finished.
            assert_eq!(kept.0.positions.len(), alarm / 4 * 4, "{}, alarm {alarm}", v.folder);
            let end = process(&v, &scene, &config, Some(kept), usize::MAX, usize::MAX);
            let End::Finished(outcome, after, other) = end else { panic!("nobody stopped it") };
            assert_eq!(outcome.assignments, whole.assignments, "{}, alarm {alarm}", v.folder);
            assert_eq!(outcome.sums, whole.sums, "{}, alarm {alarm}", v.folder);
            assert!(after == volumes, "{}, alarm {alarm}", v.folder);
            // Everything lies where it lay in the uninterrupted step.
            assert_eq!(other, layout, "{}, alarm {alarm}", v.folder);
        }
    }
}

#[test]
fn what_belongs_to_another_step_is_refused() {
    let v = golden::FULL;
    let scene = scene(&v);
    let End::Stopped((finished, sums)) = process(&v, &scene, &config(1, 1), None, 1, usize::MAX) else {
        panic!("it was to stop");
    };
    type Spoil = fn(&mut Finished);
    let spoil: [(&str, Spoil); 6] = [
        ("blocks", |f| f.blocks[0].truncate(1)),
        ("units", |f| f.scale[0] *= 2.0),
        ("shells", |f| f.residuals[0].truncate(1)),
        ("directions", |f| f.directions[0].truncate(1)),
        ("particles", |f| f.positions[0] = 1 << 20),
        ("particles", |f| f.assignments.truncate(1)),
    ];
    for (what, spoil) in spoil {
        let mut other = finished.clone();
        spoil(&mut other);
        let task = scene.task(&v, None);
        let mut arena = Arena::reserve(1 << 30).unwrap();
        let error = arena
            .run(|frame| {
                let mut volumes = relion_rs::expectation::products::sums(frame, 1, task.geometry().rows.len())?;
                let mut read = |class: usize, out: &mut [Voxel]| {
                    out.copy_from_slice(&sums[class]);
                    Ok(())
                };
                let earlier = Some(Earlier { finished: vec![other], add: &mut read });
                let watch = &mut Watch {
                    supply: None,
                    stop: &AtomicBool::new(false),
                    after_batch: &mut |_: &mut Midway<'_, '_>| Ok(Next::GoOn),
                };
                expect_watched::<f32>(&task, &scene, &config(1, 1), &mut volumes, frame, earlier, watch).map(|_| ())
            })
            .unwrap_err();
        assert!(error.problem.contains(what), "{what}: {error}");
    }
}
