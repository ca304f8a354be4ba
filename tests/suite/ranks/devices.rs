//! Ranks on one device, which is the kernels' twin: shared where that is allowed, to the same bits.

use relion_rs::error::ExitCode;

use crate::continuation::place::Place;
use crate::continuation::place::Running;
use crate::continuation::place::Scene;

use super::environment;
use super::ranks_of;

const TWIN: (&str, &str) = ("RELION_RS_TWIN", "yes");
/// Few poses: the twin is slow.
const CLASS3D: &str = "class3d --classes 2 --healpix-order 1 --iterations 2 --threads 1 --blocks-per-batch 1";
const REFINE3D: &str = "refine3d --healpix-order 1 --symmetry O --threads 1 --blocks-per-batch 1";

fn run(place: &Place, flags: &str) -> Running {
    let environment: Vec<_> = environment().into_iter().chain([(TWIN.0, TWIN.1.to_owned())]).collect();
    place.start_with(&format!("run {} --backend cuda {flags}", place.job), &environment)
}

fn same_bits(job: &str, particles: usize) {
    let mut scene = Scene::new(job, particles);
    let alone = scene.place();
    let mut running = run(&alone, "");
    assert_eq!(running.end().code(), Some(0), "{}", running.told());
    let shared = scene.place();
    let mut running = run(&shared, "--share-gpu --ranks 2");
    let code = running.end().code();
    let told = running.told();
    assert_eq!(code, Some(0), "{told}");
    let devices: Vec<_> = ranks_of(&shared).into_iter().map(|rank| rank.device.unwrap_or_default()).collect();
    assert!(devices.len() == 2 && devices[0] == devices[1] && devices[0].contains("twin"), "{devices:?}");
    assert!(told.contains("ranks 0 and 1 share a GPU"), "{told}");
    let files = alone.files();
    assert!(files.keys().any(|name| name.ends_with(".mrc")), "{files:?}");
    assert_eq!(shared.files(), files);
}

#[test]
#[cfg_attr(not(feature = "mpi"), ignore = "needs an engine with MPI: make test-mpi")]
fn a_classification_by_two_ranks_on_one_device_has_the_same_bits() {
    same_bits(CLASS3D, 64);
}

#[test]
#[cfg_attr(not(feature = "mpi"), ignore = "needs an engine with MPI: make test-mpi")]
fn a_refinement_by_two_ranks_on_one_device_has_the_same_bits() {
    same_bits(REFINE3D, 32);
}

#[test]
#[cfg_attr(not(feature = "mpi"), ignore = "needs an engine with MPI: make test-mpi")]
fn two_ranks_on_one_device_are_refused_unless_they_may_share() {
    let mut scene = Scene::new(CLASS3D, 64);
    let place = scene.place();
    let mut running = run(&place, "--ranks 2");
    let code = running.end().code();
    let told = running.told();
    assert_eq!(code, Some(ExitCode::Unavailable as i32), "{told}");
    assert!(told.contains("ranks 0 and 1") && told.contains("would share"), "{told}");
    assert!(told.contains("--share-gpu"), "{told}");
    assert!(place.files().is_empty(), "nothing was computed");
}
