//! RELION_OUTPUT_NODES.star: which results of the job others can take as their input.

use std::fs;
use std::path::Path;

use crate::error::Error;
use crate::error::Result;
use crate::formats::star::Block;
use crate::formats::star::StarFile;
use crate::plan::JobKind;

const PROJECT: &str = "default_pipeline.star";
const NODES: &str = "RELION_OUTPUT_NODES.star";

/// What a file is to RELION: a number up to version 3.1, words from version 4 on.
struct Type {
    number: i64,
    words: &'static str,
}

const PARTICLES: Type = Type { number: 3, words: "ParticleGroupMetadata.star.relion" };
const MAP: Type = Type { number: 6, words: "DensityMap.mrc.relion" };
const OPTIMISER: Type = Type { number: 9, words: "OptimiserData.star.relion" };
const HALF_MAP: Type = Type { number: 10, words: "DensityMap.mrc.relion.halfmap" };

/// Writes the table for what a finished run left in its folder, named from the project's folder, where this runs.
///
/// # Errors
/// The folder cannot be read or written.
pub fn write(out: &str, kind: JobKind) -> Result<()> {
    let folder = Path::new(out);
    let failed = |cause: std::io::Error| Error::reading(folder, &cause);
    let mut names: Vec<String> = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        names.extend(entry.map_err(failed)?.file_name().into_string());
    }
    names.sort();
    let results = results(&names, kind);
    let mut table = Block::table("output_nodes");
    let paths: Vec<String> = results.iter().map(|(name, _)| format!("{out}/{name}")).collect();
    table.set_str("rlnPipeLineNodeName", &paths);
    if names_types(Path::new(PROJECT))? {
        let types: Vec<String> = results.iter().map(|(_, what)| format!("{}.{}", what.words, kind.name())).collect();
        table.set_str("rlnPipeLineNodeTypeLabel", &types);
    } else {
        let types: Vec<i64> = results.iter().map(|(_, what)| what.number).collect();
        table.set_i64("rlnPipeLineNodeType", &types);
    }
    StarFile::new(vec![table]).write(&folder.join(NODES))
}

/// The results among the files of a run: the final ones of a refinement; where it ended before it converged, and of a
/// classification, those of the last iteration.
fn results(names: &[String], kind: JobKind) -> Vec<(&str, &'static Type)> {
    let final_type = |name: &str| match name {
        "run_data.star" => Some(&PARTICLES),
        "run_optimiser.star" => Some(&OPTIMISER),
        "run_half1_class001_unfil.mrc" => Some(&HALF_MAP),
        "run_class001.mrc" => Some(&MAP),
        _ => None,
    };
    let offered = |name: &str, rest: &str| match rest {
        "_data.star" => Some(&PARTICLES),
        "_optimiser.star" => Some(&OPTIMISER),
        _ if !rest.ends_with(".mrc") => None,
        _ if rest.starts_with("_class") || (rest.starts_with("_half1_class") && !name.contains("_unfil")) => Some(&MAP),
        _ => None,
    };
    if kind == JobKind::Refine3d && names.iter().any(|name| name == "run_class001.mrc") {
        return names.iter().filter_map(|name| Some((name.as_str(), final_type(name)?))).collect();
    }
    let iteration = |name: &str| name.strip_prefix("run_it")?.get(..3)?.parse::<u32>().ok();
    let last = names.iter().filter(|name| name.ends_with("_data.star")).filter_map(|name| iteration(name)).max();
    let of_last = names.iter().filter(|name| last.is_some() && iteration(name) == last);
    of_last.filter_map(|name| Some((name.as_str(), offered(name, name.get(9..)?)?))).collect()
}

/// Whether the project is one of RELION 4 or later, whose tables name types in words; so is one without a pipeline.
fn names_types(project: &Path) -> Result<bool> {
    if !project.is_file() {
        return Ok(true);
    }
    let star = StarFile::read(project)?;
    let old = ["rlnPipeLineProcessType", "rlnPipeLineNodeType"];
    Ok(!star.blocks.iter().any(|block| old.iter().any(|label| block.has(label))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_classification_offers_its_last_iteration() {
        let names: Vec<String> = [
            "run_it001_class001.mrc",
            "run_it001_data.star",
            "run_it002_class001.mrc",
            "run_it002_class002.mrc",
            "run_it002_data.star",
            "run_it002_model.star",
            "run_it002_optimiser.star",
        ]
        .map(str::to_owned)
        .to_vec();
        let told: Vec<(&str, i64)> =
            results(&names, JobKind::Class3d).into_iter().map(|(name, what)| (name, what.number)).collect();
        let wanted = [
            ("run_it002_class001.mrc", 6),
            ("run_it002_class002.mrc", 6),
            ("run_it002_data.star", 3),
            ("run_it002_optimiser.star", 9),
        ];
        assert_eq!(told, wanted);
        assert!(results(&[], JobKind::Class3d).is_empty());
    }

    #[test]
    fn a_refinement_that_did_not_converge_offers_a_half() {
        let names: Vec<String> = [
            "run_it003_data.star",
            "run_it003_half1_class001.mrc",
            "run_it003_half1_model.star",
            "run_it003_half2_class001.mrc",
        ]
        .map(str::to_owned)
        .to_vec();
        let told: Vec<&str> = results(&names, JobKind::Refine3d).into_iter().map(|(name, _)| name).collect();
        assert_eq!(told, ["run_it003_data.star", "run_it003_half1_class001.mrc"]);
    }
}
