//! The parts of an unfinished iteration: every bit comes back, nothing damaged does, and how fast they are written.

use std::fs;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::time::Instant;

use relion_rs::checkpoint::Identity;
use relion_rs::checkpoint::Origin;
use relion_rs::checkpoint::PartWriter;
use relion_rs::checkpoint::Parts;
use relion_rs::checkpoint::remove_parts;
use relion_rs::expectation::products::Contribution;
use relion_rs::expectation::products::Finished;
use relion_rs::expectation::products::OriginTerm;
use relion_rs::product::Voxel;
use tempfile::TempDir;

use super::state::Numbers;
use super::state::origin;
use super::state::state;

const PARENT: &str = "00ff00ff";

fn finished(particles: usize, classes: usize) -> Finished {
    let n = &mut Numbers(9);
    let wide = |n: &mut Numbers| (i128::from(n.next()) << 60) - (i128::from(n.next()) << 61);
    Finished {
        blocks: vec![vec![1; particles.div_ceil(64)], vec![0, 1, 0]],
        scale: vec![2_f64.powi(30), 2_f64.powi(40)],
        positions: (0..particles as u32).collect(),
        contributions: (0..particles)
            .map(|position| Contribution {
                norm: n.float(),
                offset2: n.float(),
                mass: n.float(),
                xa: n.float(),
                aa: n.float(),
                used: position % 5 > 0,
            })
            .collect(),
        assignments: state(2, classes, particles, 8).assignments,
        origin_terms: (0..particles as u32)
            .map(|position| OriginTerm { position, class: 0, data: n.float(), weight: n.float() })
            .collect(),
        set_aside: vec![(3, "the image holds NaN at pixel (1, 2)".into()), (7, "is constant".into())],
        residuals: vec![(0..5).map(|_| wide(n)).collect(), vec![i128::MIN, -1, 0, 1, i128::MAX]],
        ctf2: vec![vec![0; 5]; 2],
        directions: (0..classes).map(|_| (0..12).map(|_| n.next() as i64).collect()).collect(),
        most_significant: 1234,
    }
}

fn sums(classes: usize, voxels: usize) -> Vec<Vec<Voxel>> {
    let n = &mut Numbers(4);
    let mut number = || n.next() as i64;
    (0..classes).map(|_| (0..voxels).map(|_| [number(), number(), number()]).collect()).collect()
}

/// A run folder with parts of two half sets of iteration 13.
fn kept() -> (TempDir, Finished, Vec<Vec<Voxel>>) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("checkpoint")).unwrap();
    let (finished, sums) = (finished(70, 2), sums(2, 50));
    let borrowed: Vec<&[Voxel]> = sums.iter().map(Vec::as_slice).collect();
    let mut writer = PartWriter::new(folder.path(), 13, 0).unwrap();
    let mut parts = Parts::new(folder.path(), 13, PARENT, &origin());
    for (half, label) in [(0, 1), (1, 2)] {
        parts.put(0, writer.write(half, label, &finished, &borrowed).unwrap());
    }
    parts.commit().unwrap();
    (folder, finished, sums)
}

fn names(folder: &Path) -> Vec<String> {
    super::names(&folder.join("checkpoint"))
}

fn file(folder: &TempDir, name: &str) -> PathBuf {
    folder.path().join("checkpoint").join(name)
}

/// Reads everything back, as a run that goes on does.
fn load(folder: &Path) -> relion_rs::error::Result<Vec<(Finished, Vec<Vec<Voxel>>)>> {
    let (parts, finished) = Parts::load(folder, 13, PARENT, &origin(), 1)?.expect("parts");
    let read = |entry: &relion_rs::checkpoint::Entry| {
        let part = entry.read(folder)?;
        let mut sums = vec![vec![[0; 3]; 50]; 2];
        for (class, sums) in sums.iter_mut().enumerate() {
            part.add_sums(class, sums)?;
        }
        Ok((part.finished()?, sums))
    };
    let read: Vec<_> = parts.of_rank(0).iter().map(read).collect::<relion_rs::error::Result<_>>()?;
    assert!(read.iter().map(|(finished, _)| finished).eq(&finished));
    Ok(read)
}

#[test]
fn every_bit_of_a_part_comes_back() {
    let (folder, finished, sums) = kept();
    let index = "iter-013.parts.json";
    assert_eq!(names(folder.path()), ["iter-013.part.000.half1.000.h5", "iter-013.part.000.half2.001.h5", index]);
    let both = load(folder.path()).unwrap();
    assert_eq!(both.len(), 2);
    for half in &both {
        assert_eq!(half, &(finished.clone(), sums.clone()));
    }
    // The next writing replaces the half that goes on, and only that.
    let (mut parts, _) = Parts::load(folder.path(), 13, PARENT, &origin(), 1).unwrap().unwrap();
    let borrowed: Vec<&[Voxel]> = sums.iter().map(Vec::as_slice).collect();
    let mut writer = PartWriter::new(folder.path(), 13, 0).unwrap();
    writer.write(1, 2, &finished, &borrowed).unwrap();
    load(folder.path()).expect("until the index is renamed the parts before count, and the new one is removed");
    parts.put(0, writer.write(1, 2, &finished, &borrowed).unwrap());
    let before = fs::read(file(&folder, index)).unwrap();
    parts.commit().unwrap();
    assert!(before != fs::read(file(&folder, index)).unwrap());
    assert_eq!(names(folder.path()), ["iter-013.part.000.half1.000.h5", "iter-013.part.000.half2.003.h5", index]);
    load(folder.path()).unwrap();
    remove_parts(folder.path(), 12).unwrap();
    assert_eq!(names(folder.path()).len(), 3);
    remove_parts(folder.path(), 13).unwrap();
    assert!(names(folder.path()).is_empty());
    assert!(Parts::load(folder.path(), 13, PARENT, &origin(), 1).unwrap().is_none());
}

/// Parts of three ranks are dealt out to two, which replace what they took over; what nobody names goes.
#[test]
fn parts_of_some_ranks_are_gone_on_with_by_others() {
    let (folder, mut finished, sums) = (tempfile::tempdir().unwrap(), finished(70, 2), sums(2, 50));
    fs::create_dir(folder.path().join("checkpoint")).unwrap();
    let borrowed: Vec<&[Voxel]> = sums.iter().map(Vec::as_slice).collect();
    let mut parts = Parts::new(folder.path(), 13, PARENT, &origin());
    let blocks = finished.blocks.clone();
    for rank in 0..3 {
        let of_rank = |block: usize| u8::from(block % 3 == rank);
        finished.blocks = blocks.iter().map(|flags| (0..flags.len()).map(of_rank).collect()).collect();
        parts.put(rank, PartWriter::new(folder.path(), 13, rank).unwrap().write(0, 1, &finished, &borrowed).unwrap());
    }
    PartWriter::new(folder.path(), 13, 7).unwrap().write(0, 1, &finished, &borrowed).unwrap();
    parts.commit().unwrap();
    assert_eq!(names(folder.path()).len(), 5);
    let (mut parts, found) = Parts::load(folder.path(), 13, PARENT, &origin(), 2).unwrap().unwrap();
    assert_eq!(found.len(), 3);
    assert_eq!([0, 1, 2].map(|rank| parts.of_rank(rank).len()), [2, 1, 0]);
    assert_eq!(names(folder.path()).len(), 4, "the part of rank 7 counts for nothing");
    let entry = PartWriter::new(folder.path(), 13, 0).unwrap().write(0, 1, &finished, &borrowed).unwrap();
    parts.put(0, entry);
    parts.commit().unwrap();
    assert_eq!([0, 1].map(|rank| parts.of_rank(rank).len()), [1, 1]);
    assert_eq!(names(folder.path()).len(), 3);
    // Two parts with the same block are damage.
    let entry = PartWriter::new(folder.path(), 13, 5).unwrap().write(0, 1, &finished, &borrowed).unwrap();
    parts.put(5, entry);
    parts.commit().unwrap();
    let error = Parts::load(folder.path(), 13, PARENT, &origin(), 2).map(|_| ()).unwrap_err();
    assert!(error.problem.contains("the same blocks"), "{error}");
}

#[test]
fn parts_of_others_are_told_and_not_used() {
    let (folder, ..) = kept();
    let told = |iteration, parent: &str, origin: &Origin| {
        Parts::load(folder.path(), iteration, parent, origin, 1).map(|_| ()).unwrap_err().problem
    };
    assert!(told(13, "another", &origin()).contains("another checkpoint"));
    let identity = Identity { instruction_set: "avx2".into(), ..origin().identity };
    let other = Origin { identity, ..origin() };
    assert!(told(13, PARENT, &other).contains("avx512") && told(13, PARENT, &other).contains("avx2"));
    let device = "compute capability 8.0".to_owned();
    let identity = Identity { backend: "cuda".into(), device, ..origin().identity };
    let other = Origin { identity, ..origin() };
    assert!(told(13, PARENT, &other).contains("cuda (compute capability 8.0)"));
    let mut changed = origin();
    changed.inputs[0].digest = "cd".into();
    assert!(told(13, PARENT, &changed).contains("other inputs"));
    let other = Origin { plan_digest: "00fe".into(), ..origin() };
    assert!(told(13, PARENT, &other).contains("other settings"));
    assert!(Parts::load(folder.path(), 14, PARENT, &origin(), 1).unwrap().is_none());
    let (parts, _) = Parts::load(folder.path(), 13, PARENT, &origin(), 1).unwrap().unwrap();
    let parts: Vec<_> = parts.of_rank(0).iter().map(|entry| entry.read(folder.path()).unwrap()).collect();
    let error = parts[0].add_sums(0, &mut [[0; 3]; 49]).unwrap_err();
    assert!(error.problem.contains("shape [50, 3], expected [49, 3]"), "{error}");
    let error = parts[0].add_sums(2, &mut [[0; 3]; 50]).unwrap_err();
    assert!(error.place.contains("/sums/002"), "{error}");
}

#[test]
fn every_damage_of_parts_is_detected_and_named() {
    let (folder, ..) = kept();
    let n = &mut Numbers(6);
    for name in names(folder.path()) {
        let path = file(&folder, &name);
        let whole = fs::read(&path).unwrap();
        let refused = |what: &str| {
            let error = Parts::load(folder.path(), 13, PARENT, &origin(), 1).map(|_| ()).unwrap_err();
            assert!(error.place.contains(&name), "{what}: {error}");
            error.problem
        };
        for _ in 0..200 {
            let (at, bit) = ((n.next() % whole.len() as u64) as usize, 1 << (n.next() % 8));
            let mut bytes = whole.clone();
            bytes[at] ^= bit;
            // The line break at the very end says nothing.
            if name.ends_with(".json") && at == whole.len() - 1 {
                continue;
            }
            fs::write(&path, bytes).unwrap();
            assert!(refused(&format!("byte {at}, bit {bit}")).contains("damaged"));
            fs::write(&path, &whole[..at]).unwrap();
            assert!(refused(&format!("cut to {at}")).contains("damaged"));
        }
        if name.ends_with(".h5") {
            fs::remove_file(&path).unwrap();
            assert!(refused("missing").contains("cannot read"));
        }
        fs::write(&path, whole).unwrap();
    }
    load(folder.path()).unwrap();
}

#[test]
fn verify_reads_parts_too() {
    let (folder, ..) = kept();
    let mut before = state(2, 1, 5, 8);
    before.iteration = 12;
    relion_rs::checkpoint::save(folder.path(), &before, &origin()).unwrap();
    let problems = || -> Vec<Option<String>> {
        relion_rs::checkpoint::verify(folder.path()).unwrap().into_iter().map(|verdict| verdict.problem).collect()
    };
    assert_eq!(problems(), [None, None, None, None]);
    let path = file(&folder, "iter-013.part.000.half2.001.h5");
    let mut bytes = fs::read(&path).unwrap();
    bytes[4000] ^= 4;
    fs::write(&path, bytes).unwrap();
    assert!(problems()[3].as_ref().unwrap().contains("damaged") && problems()[2].is_none());
    fs::remove_file(path).unwrap();
    assert!(problems()[3].as_ref().unwrap().contains("cannot read"));
    fs::write(file(&folder, "iter-013.parts.json"), "{}\n").unwrap();
    assert!(problems()[1].as_ref().unwrap().contains("damaged") && problems().len() == 2);
}

/// Half a set of a million particles, and the sums of one class of a box of 256 (oversampled twice): against the same
/// bytes, written and synced. The figures are in docs/benchmarks.md.
#[test]
#[ignore = "long: writes 9 GB"]
fn a_part_is_written_nearly_as_fast_as_its_bytes() {
    const PARTICLES: usize = 500_000;
    // pi/6 of the cube's half: the rows inside the sphere.
    const VOXELS: usize = 35_300_000;
    let (finished, sums) = (finished(PARTICLES, 1), sums(1, VOXELS));
    let borrowed: Vec<&[Voxel]> = sums.iter().map(Vec::as_slice).collect();
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("checkpoint")).unwrap();
    let mut ratios = Vec::new();
    for round in 0..5 {
        let begin = Instant::now();
        let mut parts = Parts::new(folder.path(), 13, PARENT, &origin());
        let entry = PartWriter::new(folder.path(), 13, 0).unwrap().write(0, 1, &finished, &borrowed).unwrap();
        let bytes = entry.bytes();
        parts.put(0, entry);
        parts.commit().unwrap();
        let ours = begin.elapsed().as_secs_f64();
        let name = names(folder.path()).remove(0);
        let content = fs::read(file(&folder, &name)).unwrap();
        let begin = Instant::now();
        let mut plain = File::create(folder.path().join("plain")).unwrap();
        plain.write_all(&content).unwrap();
        plain.sync_all().unwrap();
        let theirs = begin.elapsed().as_secs_f64();
        drop(plain);
        fs::remove_file(folder.path().join("plain")).unwrap();
        let begin = Instant::now();
        let (loaded, finished) = Parts::load(folder.path(), 13, PARENT, &origin(), 1).unwrap().unwrap();
        let mut back = vec![[0; 3]; VOXELS];
        loaded.of_rank(0)[0].read(folder.path()).unwrap().add_sums(0, &mut back).unwrap();
        assert_eq!(finished[0].positions.len(), PARTICLES);
        let loading = begin.elapsed().as_secs_f64();
        assert!(back == sums[0]);
        ratios.push(ours / theirs);
        println!(
            "round {round}: {bytes} bytes: part {ours:.2} s, plain {theirs:.2} s, ratio {:.2}; loaded in {loading:.2} s",
            ours / theirs
        );
    }
    ratios.sort_by(f64::total_cmp);
    println!("median ratio {:.2}", ratios[2]);
}
