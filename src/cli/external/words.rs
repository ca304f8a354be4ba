//! From RELION's words to the keys of a job.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use clap::Command;
use clap::FromArgMatches;
use clap::ValueEnum;

use crate::error::Error;
use crate::error::Result;
use crate::plan::JobFile;
use crate::plan::JobKind;
use crate::plan::nearest;

/// RELION's names for our keys: those of the External job, and of relion_refine where they mean the same.
const SPELLINGS: [(&str, &str); 14] = [
    ("o", "out"),
    ("in_parts", "particles"),
    ("in_3dref", "reference"),
    ("in_mask", "mask"),
    ("j", "threads"),
    ("sym", "symmetry"),
    ("particle_diameter", "diameter"),
    ("solvent_mask", "mask"),
    ("K", "classes"),
    ("iter", "iterations"),
    ("low_resol_join_halves", "low_resolution_join"),
    ("auto_local_healpix_order", "local_search_order"),
    ("random_seed", "seed"),
    ("pad", "padding"),
];
/// Inputs that a refinement has no use for.
const OTHER_INPUTS: [&str; 3] = ["in_movies", "in_mics", "in_coords"];

/// What RELION said.
#[derive(Clone, Debug, PartialEq)]
pub struct Words {
    /// The job's folder, as RELION mentions it, without the slash at the end.
    pub out: String,
    /// Where RELION looks for the files that tell the end.
    pub flag_folder: PathBuf,
    kind: Option<String>,
    keys: Vec<(String, String)>,
}

impl Words {
    /// Reads `--label value`; a label without a value is a switch.
    ///
    /// # Errors
    /// `Usage` without `--o`, for a word that is no label, and for text that is not UTF-8.
    pub fn read(words: &[OsString]) -> Result<Self> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for word in words {
            let word = word.to_str().ok_or_else(|| {
                Error::usage(format!("{word:?} is no UTF-8 text"), "Rename the file or folder; RELION wants ASCII too.")
            })?;
            match (word.strip_prefix("--"), pairs.last_mut()) {
                (Some(label), _) => pairs.push((label.to_owned(), String::new())),
                (None, Some((_, value))) if value.is_empty() => value.push_str(word),
                _ => {
                    return Err(Error::usage(
                        format!("`{word}` follows no label"),
                        "RELION's External job gives `--label value`: check the parameters of the job.",
                    ));
                }
            }
        }
        let mut take = |label: &str| {
            let at = pairs.iter().position(|(name, _)| name == label)?;
            Some(pairs.remove(at).1).filter(|value| !value.is_empty())
        };
        let out = take("o").ok_or_else(|| {
            Error::usage("--o is missing", "RELION gives the job's folder so; by hand: --o External/job001/")
        })?;
        let control = take("pipeline_control").map(PathBuf::from);
        let kind = take("kind");
        let out = if out == "/" { out } else { out.trim_end_matches('/').to_owned() };
        Ok(Self { flag_folder: control.unwrap_or_else(|| PathBuf::from(&out)), out, kind, keys: pairs })
    }

    /// The kind of job and its keys. More than one class is a classification.
    ///
    /// # Errors
    /// `Usage` for a word that is no key, a value that the key does not take, or an input that is of no use.
    pub fn job(&self) -> Result<(JobKind, JobFile)> {
        let known: Vec<String> = JobFile::keys().into_iter().filter(|key| key != "kind").collect();
        let mut flags = vec![format!("--out={}", self.out)];
        let mut classes = 1;
        for (label, value) in &self.keys {
            if OTHER_INPUTS.contains(&label.as_str()) {
                return Err(Error::usage(
                    format!("--{label} {value}: relion-rs refines particles"),
                    "Leave that input of the External job empty; give particles and a 3D reference.",
                ));
            }
            let plain = label.replace('-', "_");
            let key = SPELLINGS.iter().find(|(theirs, _)| theirs == label).map_or(plain.as_str(), |(_, ours)| *ours);
            if !known.iter().any(|name| name == key) {
                let names = known.iter().map(String::as_str).chain(SPELLINGS.iter().map(|(theirs, _)| *theirs));
                let fix = nearest(label, names).map_or_else(String::new, |other| format!("Did you mean --{other}? "));
                return Err(Error::usage(
                    format!("--{label} is no key of a job"),
                    format!("{fix}`relion-rs new -` lists all keys; correct the parameters of the External job."),
                ));
            }
            if key == "classes" {
                classes = value.parse().unwrap_or(1);
            }
            let flag = key.replace('_', "-");
            flags.push(if value.is_empty() { format!("--{flag}") } else { format!("--{flag}={value}") });
        }
        let kind = match &self.kind {
            Some(name) => JobKind::from_str(name, false).map_err(|_| {
                Error::usage(format!("--kind {name} is none"), "Say --kind refine3d or --kind class3d.")
            })?,
            None if classes > 1 => JobKind::Class3d,
            None => JobKind::Refine3d,
        };
        let parser = JobFile::augment_args(Command::new("external").no_binary_name(true).disable_help_flag(true));
        let matches = parser.try_get_matches_from(&flags);
        let keys = matches.and_then(|matches| JobFile::from_arg_matches(&matches)).map_err(|cause| {
            let text = cause.render().to_string();
            let problem = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
            Error::usage(problem, "Correct the parameters of the External job; `relion-rs new -` explains each key.")
        })?;
        Ok((kind, keys))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(JobKind, JobFile)> {
        Words::read(&text.split_whitespace().map(OsString::from).collect::<Vec<_>>())?.job()
    }

    #[test]
    fn words_of_relion_become_keys() {
        let text = "--o External/job012/ --in_parts Select/job011/particles.star --in_3dref ref.mrc --in_mask mask.mrc \
                    --sym D2 --particle_diameter 180 --ini_high 50 --skip-align --perturb -1 --j 4";
        let (kind, job) = read(text).unwrap();
        assert_eq!(kind, JobKind::Refine3d);
        assert_eq!(job.out, Some("External/job012".into()));
        assert_eq!(job.particles, Some("Select/job011/particles.star".into()));
        assert_eq!((job.reference, job.mask), (Some("ref.mrc".into()), Some("mask.mrc".into())));
        assert_eq!((job.symmetry.as_deref(), job.diameter, job.ini_high), (Some("D2"), Some(180.0), Some(50.0)));
        assert_eq!((job.skip_align, job.perturb, job.threads), (Some(true), Some(-1.0), Some(4)));
        assert_eq!(read("--o a --K 3").unwrap().0, JobKind::Class3d);
        assert_eq!(read("--o a --K 3 --kind refine3d").unwrap().0, JobKind::Refine3d);
    }

    #[test]
    fn wrong_words_are_told() {
        for (text, part) in [
            ("--in_parts p.star", "--o is missing"),
            ("p.star --o a", "follows no label"),
            ("--o a b", "follows no label"),
            ("--o a --in_mics m.star", "refines particles"),
            ("--o a --diametre 3", "is no key"),
            ("--o a --diameter wide", "wide"),
            ("--o a --kind class2d", "class2d"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.problem.contains(part) && !error.fix.is_empty(), "{text}: {error}");
        }
    }
}
