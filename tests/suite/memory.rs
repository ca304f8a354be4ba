//! What jobs really hold in memory, against what was planned.

use std::fs;
use std::fs::File;
use std::io::Seek;
use std::io::SeekFrom;
use std::io::Write;
use std::path::Path;

use relion_rs::formats::mrc;
use relion_rs::fourier;

use super::refine::MIB;
use super::refine::done;
use super::refine::scene;

/// Most bytes that the engine's process held, and most that were planned for any of its iterations.
fn held_and_planned(run: &Path) -> (u64, u64) {
    let text = fs::read_to_string(run.join("progress.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!text.contains("memory plan"), "no warnings about the layout");
    let most = |key: &str| lines.iter().filter_map(|line| line[key].as_u64()).max().unwrap();
    (most("resident_peak_bytes"), most("planned_bytes"))
}

fn planned(folder: &Path, job: &str) -> u64 {
    let plan: serde_json::Value = serde_json::from_str(&done(folder, &format!("--json plan {job}"))).unwrap();
    plan["peak"].as_u64().unwrap()
}

/// Runs a job; its process never holds more than was planned for the largest iteration.
fn assert_within_plan(folder: &Path, job: &str, name: &str) {
    let plan = planned(folder, &format!("{job} --out {name}"));
    done(folder, &format!("run {job} --out {name}"));
    let (held, of_iterations) = held_and_planned(&folder.join(name));
    println!("{name}: held {} MiB, counted {} MiB, plan {} MiB", held / MIB, of_iterations / MIB, plan / MIB);
    assert!(held > 0 && held <= of_iterations, "{name}: {held} bytes held, {of_iterations} counted");
    assert!(of_iterations <= plan, "{name}: {of_iterations} bytes counted, {plan} planned");
}

#[test]
fn a_classification_holds_no_more_than_planned() {
    let (folder, job) = scene();
    let job = job.replace("--iterations 1", "--iterations 2 --classes 2");
    assert_within_plan(folder.path(), &job, "classes");
}

#[test]
fn a_refinement_holds_no_more_than_planned() {
    let (folder, job) = scene();
    let job = job.replace("class3d", "refine3d").replace("--iterations 1", "--local-search-order 3");
    assert_within_plan(folder.path(), &job, "halves");
    assert!(folder.path().join("halves/run_half1_class001_unfil.mrc").exists(), "the final iteration is included");
}

/// Particles of 128 pixels of a map that is resampled to them.
fn finer_scene(folder: &Path) {
    let map = mrc::read_map(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/beta_galactosidase.mrc")).unwrap();
    let fine = fourier::resize_volume(&map.data, map.nx, 128);
    let pixel = map.pixel_size_angstrom * map.nx as f64 / 128.0;
    mrc::write_volume(&folder.join("fine.mrc"), [128; 3], pixel, &fine).unwrap();
    done(folder, "simulate --map fine.mrc --out particles --count 60 --snr 0.1");
}

#[test]
fn a_refinement_at_box_128_stays_below_a_gibibyte() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    finer_scene(folder);
    let job = "refine3d --particles particles/particles.star --reference particles/truth.mrc --diameter 200 \
               --symmetry D2 --ini-high 30 --healpix-order 2 --local-search-order 3 --threads 2 --memory 1GiB";
    let plan = planned(folder, &format!("{job} --out fine"));
    done(folder, &format!("run {job} --out fine"));
    let (held, counted) = held_and_planned(&folder.join("fine"));
    println!("box 128: held {} MiB, counted {} MiB, plan {} MiB", held / MIB, counted / MIB, plan / MIB);
    assert!(folder.join("fine/run_half1_class001_unfil.mrc").exists(), "the final iteration, at Nyquist");
    assert!(held <= counted && counted <= 1024 * MIB && plan <= 1024 * MIB);
    assert!(held < 1024 * MIB, "{held}");
}

/// A file that is a header, some density in the middle and, without taking room on disk, zeros: a map, or a stack.
fn sparse(path: &Path, [nx, ny, nz]: [i32; 3], pixel_size_angstrom: f32, is_volume: bool) {
    let mut header = vec![0_u8; 1024];
    let mut put = |word: usize, bytes: [u8; 4]| header[4 * word..4 * word + 4].copy_from_slice(&bytes);
    for (word, value) in [nx, ny, nz, 2, 0, 0, 0, nx, ny, nz].into_iter().enumerate() {
        put(word, value.to_le_bytes());
    }
    for (axis, edge) in [nx, ny, nz].into_iter().enumerate() {
        put(10 + axis, (edge as f32 * pixel_size_angstrom).to_le_bytes());
        put(13 + axis, 90.0_f32.to_le_bytes());
        put(16 + axis, (axis as i32 + 1).to_le_bytes());
    }
    put(22, i32::from(is_volume).to_le_bytes());
    put(52, *b"MAP ");
    put(53, [0x44, 0x44, 0, 0]);
    let mut file = File::create(path).unwrap();
    file.write_all(&header).unwrap();
    let bytes = 4 * nx as u64 * ny as u64 * nz as u64;
    file.set_len(1024 + bytes).unwrap();
    file.seek(SeekFrom::Start(1024 + bytes / 2)).unwrap();
    file.write_all(&[1.0_f32.to_le_bytes(); 64].concat()).unwrap();
}

/// The stored rows of a sphere are those of a ball to a row more or less on each side: 3 / 514.
pub const SPHERE: f64 = 6e-3;

/// Inputs of a box, of headers and hardly anything behind them; the words of a job on them.
pub fn headers_of_box(folder: &Path, box_pixels: i32) -> String {
    sparse(&folder.join("stack.mrcs"), [box_pixels, box_pixels, 100], 1.0, false);
    sparse(&folder.join("reference.mrc"), [box_pixels; 3], 1.0, true);
    let optics = "data_optics\n\nloop_\n_rlnOpticsGroup\n_rlnOpticsGroupName\n_rlnVoltage\n_rlnSphericalAberration\n\
                  _rlnAmplitudeContrast\n_rlnImagePixelSize\n_rlnImageSize\n_rlnImageDimensionality\n";
    let optics = format!("{optics}1 opticsGroup1 300 2.7 0.1 1.0 {box_pixels} 2\n\n");
    let columns = "data_particles\n\nloop_\n_rlnImageName\n_rlnMicrographName\n_rlnOpticsGroup\n_rlnDefocusU\n\
                   _rlnDefocusV\n_rlnDefocusAngle\n";
    let row = |i: usize| format!("{i:06}@stack.mrcs m.mrc 1 15000 15000 0\n");
    let rows: String = (1..=100).map(row).collect();
    fs::write(folder.join("particles.star"), format!("{optics}{columns}{rows}")).unwrap();
    let diameter = box_pixels * 3 / 5;
    format!(
        "refine3d --particles particles.star --reference reference.mrc --diameter {diameter} --symmetry C1 \
         --ini-high 40 --threads 2 --out out"
    )
}

#[test]
#[ignore = "long, and takes gigabytes: make test-long"]
fn box_512_is_planned_from_headers() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let job = headers_of_box(folder, 512);
    println!("{}", done(folder, &format!("plan {job}")));
    println!("{}", done(folder, &format!("plan {job} --memory 24GiB")));
    let plan: serde_json::Value = serde_json::from_str(&done(folder, &format!("--json plan {job}"))).unwrap();
    let last = plan["steps"].as_array().unwrap().last().unwrap();
    let bytes = |name: &str| {
        let rows = last["allocations"].as_array().unwrap().iter().filter(|row| row["name"] == name);
        rows.filter_map(|row| row["bytes"].as_u64()).sum::<u64>()
    };
    // 24 bytes a voxel for each half and 8 for the projector; 52 % of 1027 x 1027 x 514 voxels.
    let voxels = std::f64::consts::FRAC_PI_6 * 1027.0 * 1027.0 * 514.0;
    for (name, wanted) in [("sums", 2.0 * 24.0 * voxels), ("reference", 8.0 * voxels)] {
        assert!((bytes(name) as f64 / wanted - 1.0).abs() < SPHERE, "{name}: {} of {wanted}", bytes(name));
    }
}
