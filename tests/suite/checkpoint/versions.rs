//! The file format: every version ever written opens, and the page about it lists what is really inside.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use relion_rs::checkpoint;
use relion_rs::checkpoint::Format;
use relion_rs::checkpoint::Kind;
use relion_rs::model::PriorMode;

use super::state::origin;
use super::state::state;
use crate::support::golden;

/// Writes the file of the present version where there is none (`BLESS=1`). A file that is there is never replaced: it
/// stands for those that users have.
fn bless(file: &Path) {
    if std::env::var_os("BLESS").is_none() || file.exists() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let saved = checkpoint::save(folder.path(), &state(2, 1, 4, 6), &origin()).unwrap();
    fs::copy(&saved, file).unwrap();
    fs::copy(format!("{}.b3", saved.display()), format!("{}.b3", file.display())).unwrap();
}

#[test]
fn files_of_every_version_open() {
    for format in Format::ALL {
        let file = golden(&format!("checkpoint/relion-rs-checkpoint-{}.h5", format.number()));
        if format == Format::CURRENT {
            bless(&file);
        }
        assert!(file.exists(), "{} has no file: BLESS=1 writes it, docs/checkpoint.md says more", format.name());
        assert!(fs::metadata(&file).unwrap().len() < 100_000);
        let checkpoint::Checkpoint { state, origin } = checkpoint::load(&file).unwrap();
        assert_eq!((state.iteration, state.halves.len(), state.assignments.len()), (12, 2, 4));
        assert_eq!(origin.identity.instruction_set, "avx512");
        assert_eq!((origin.inputs[0].path.as_str(), origin.inputs[0].bytes), ("p.star", 17));
        let class = &state.halves[1].classes[0];
        assert_eq!((class.map.box_pixels, class.map.data.len(), class.directions.len()), (6, 216, 192));
        assert_eq!(class.map.data[7].to_bits(), VOXEL_BITS);
        assert_eq!(state.assignments[3].max_probability.to_bits(), PROBABILITY_BITS);
        assert_eq!(state.halves[0].groups[4].name, "mic rographs/é_4.mrc");
        assert_eq!(state.half_of, [1, 2, 1, 2]);
        assert!(matches!(state.sampling.prior, PriorMode::Local { .. }));
        assert!(state.convergence.smallest_change_angstrom.is_infinite() && state.convergence.has_converged);
    }
}

/// Bits of two numbers in the file of version 1.
const VOXEL_BITS: u32 = 0x3f1e_6a93;
const PROBABILITY_BITS: u64 = 0xbfe2_879f_f102_e9ea;

/// The present version writes the same bytes as ever: a changed layout needs a new version.
#[test]
fn the_present_version_is_written_as_ever() {
    let file = golden(&format!("checkpoint/relion-rs-checkpoint-{}.h5", Format::CURRENT.number()));
    let folder = tempfile::tempdir().unwrap();
    let saved = checkpoint::save(folder.path(), &state(2, 1, 4, 6), &origin()).unwrap();
    let [old, new] = [&file, &saved].map(|file| {
        let mut fields = checkpoint::show(file).unwrap().shown.fields;
        // Another version of the library may place a text elsewhere.
        fields.iter_mut().for_each(|field| field.bytes = 0);
        fields
    });
    assert_eq!(old, new, "the layout changed: add a variant to Format (docs/checkpoint.md says how)");
}

/// A field as the page lists it: its path with NNN for the number of a member, and its type with one `[]` an edge.
fn listed(path: &str, type_name: &str, edges: usize) -> (String, String) {
    let part = |part: &str| if part.parse::<u32>().is_ok() { "NNN".to_owned() } else { part.to_owned() };
    let path: Vec<String> = path.split('/').map(part).collect();
    (path.join("/"), format!("{type_name}{}", "[]".repeat(edges)))
}

#[test]
fn the_page_lists_the_fields_of_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut wanted = state(2, 2, 3, 8);
    wanted.halves[0].classes[0].orientability = vec![0.5; 5];
    checkpoint::save(folder.path(), &wanted, &origin()).unwrap();
    let fields = checkpoint::show(folder.path()).unwrap().shown.fields;
    let really: BTreeSet<(String, String)> = fields
        .iter()
        .filter(|field| field.kind != Kind::Group)
        .map(|field| listed(&field.path, &field.type_name, field.shape.len()))
        .collect();
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/checkpoint.md")).unwrap();
    let mut on_page = BTreeSet::new();
    for line in page.lines().filter(|line| line.starts_with("| `/")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [path, type_name, unit, meaning] = cells[..] else { panic!("{line}") };
        assert!(!unit.is_empty() && !meaning.is_empty(), "{line}");
        let edges = type_name.matches('[').count();
        let type_name = type_name.split(' ').next().unwrap();
        let new = on_page.insert(listed(path.trim_matches('`'), type_name, edges));
        assert!(new, "twice: {line}");
    }
    let missing: Vec<_> = really.difference(&on_page).collect();
    let invented: Vec<_> = on_page.difference(&really).collect();
    assert!(missing.is_empty() && invented.is_empty(), "not on the page: {missing:#?}\nnot in a file: {invented:#?}");
}
