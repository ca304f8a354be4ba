//! Jobs beside the run: the one that stages before it, and those that work with its result.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::plan::Cluster;
use crate::plan::JobKind;
use crate::plan::Plan;
use crate::plan::RunDir;
use crate::slurm::partition::Partition;
use crate::slurm::script;
use crate::slurm::script::Places;
use crate::slurm::script::Step;
use crate::slurm::time::Limit;

use super::send::Script;
use crate::dataset::staged;

/// A shared file system gives a copy at least so many bytes a second.
const COPY_RATE: u64 = 50 << 20;
/// Maps of 64-bit numbers that postprocessing holds at a time, and a report.
const POSTPROCESS_MAPS: u64 = 14;
const REPORT_MAPS: u64 = 8;
const STEP_BYTES: u64 = 1 << 30;
const STEP_SECONDS: u64 = 3600;
/// Variables for a folder of one node and one job.
const NODE_LOCAL: [&str; 3] = ["SLURM_TMPDIR", "TMPDIR", "SLURM_JOB_ID"];

/// What works with the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Then {
    /// FSC and sharpened map of the final half maps, with the run's mask
    Postprocess,
    /// The page of figures
    Report,
}

impl Then {
    pub fn name(self) -> &'static str {
        match self {
            Self::Postprocess => "postprocess",
            Self::Report => "report",
        }
    }
}

fn clamped(partition: Option<&Partition>, seconds: u64) -> u64 {
    match partition.map(|partition| partition.limit) {
        Some(Limit::Seconds(limit)) => seconds.min(limit),
        _ => seconds,
    }
}

/// The job after the run.
///
/// # Errors
/// `Usage` for postprocessing of a run without half maps.
pub fn then(
    what: Then,
    places: &Places,
    plan: &Plan,
    box_pixels: usize,
    cluster: &Cluster,
    partition: Option<&Partition>,
) -> Result<Script> {
    let run_dir = RunDir::new(&places.run);
    let text = |path: &Path| path.display().to_string();
    let (maps, about, mut command) = match what {
        Then::Postprocess if plan.kind != JobKind::Refine3d => {
            return Err(Error::new(
                ExitCode::Usage,
                "--then postprocess",
                format!("{} makes no half maps", plan.kind),
                "Postprocess the result of a refine3d; --then report works for both.",
            ));
        }
        Then::Postprocess => {
            let half = text(&run_dir.output("half1_class001_unfil.mrc"));
            let out = text(&run_dir.root().join("postprocess"));
            let words = ["relion-rs", "postprocess", "--half1", &half, "--out", &out].map(str::to_owned).to_vec();
            (POSTPROCESS_MAPS, "FSC and sharpened map of the run's half maps.", words)
        }
        Then::Report => {
            let words = ["relion-rs", "report", &text(run_dir.root())].map(str::to_owned).to_vec();
            (REPORT_MAPS, "The page of figures about the run.", words)
        }
    };
    if let (Then::Postprocess, Some(mask)) = (what, &plan.mask) {
        command.extend(["--mask".to_owned(), text(&plan.file(mask))]);
    }
    let bytes = STEP_BYTES + maps * 8 * (box_pixels as u64).pow(3);
    let step = Step {
        about,
        name: what.name(),
        partition: cluster.partition.as_deref(),
        cpus: 1,
        mem_mib: bytes.div_ceil(1 << 20),
        seconds: clamped(partition, STEP_SECONDS),
        command,
    };
    let path = places.run.join(format!("{}.sbatch", what.name()));
    Ok(Script::new(path, script::step(places, &step, cluster)?))
}

/// The job that copies the stacks before the run.
///
/// # Errors
/// Those of reading the stacks' sizes, and `Io` when the scratch has no room for them.
pub fn stage(
    places: &Places,
    folder: &Path,
    stacks: &[PathBuf],
    cluster: &Cluster,
    partition: Option<&Partition>,
) -> Result<Script> {
    let mut bytes = 0;
    for stack in stacks {
        let there = fs::metadata(staged::place(folder, stack)?).map_or(0, |there| there.len());
        let all = fs::metadata(stack).map_err(|cause| Error::reading(stack, &cause))?.len();
        bytes += all.saturating_sub(there);
    }
    // The nodes may see a scratch that this machine does not.
    if let Some(scratch) = folder.parent().filter(|scratch| scratch.is_dir()) {
        staged::has_room(scratch, bytes)?;
    }
    let text = |path: &Path| path.display().to_string();
    let step = Step {
        about: "Copies the run's stacks to the scratch; the run waits for it, and holds no GPU meanwhile.",
        name: "stage",
        partition: cluster.partition.as_deref(),
        cpus: 1,
        mem_mib: 1024,
        seconds: clamped(partition, STEP_SECONDS.max(bytes / COPY_RATE)),
        command: ["relion-rs", "stage", &text(&places.run), "--to", &text(folder)].map(str::to_owned).to_vec(),
    };
    Ok(Script::new(places.run.join("stage.sbatch"), script::step(places, &step, cluster)?))
}

/// The folder of the copies: a scratch that all nodes share.
///
/// # Errors
/// `Usage` without a scratch, or for one that only a node or a job sees.
pub fn stage_folder(scratch: Option<&Path>, variable: &dyn Fn(&str) -> Option<String>) -> Result<PathBuf> {
    let refused = |problem: String, fix: &str| Err(Error::new(ExitCode::Usage, "--stage", problem, fix));
    let Some(scratch) = scratch.filter(|scratch| !scratch.as_os_str().is_empty()) else {
        let fix = "Name a fast folder that all nodes share: --scratch DIR, or scratch = \"DIR\" in [cluster].";
        return refused("there is no scratch to copy the stacks to".to_owned(), fix);
    };
    let text = scratch.display().to_string();
    const SHARED: &str = "Another job cannot fill what only one job or node sees. Name a folder that all nodes share, \
                          or submit without --stage: a run reads its stacks once an iteration, in large pieces.";
    if NODE_LOCAL.iter().any(|name| text.contains(&format!("${name}")) || text.contains(&format!("${{{name}}}"))) {
        return refused(format!("the scratch {text} belongs to one job on one node"), SHARED);
    }
    let folder = PathBuf::from(expanded(&text, variable)?);
    if !folder.is_absolute() {
        return refused(format!("the scratch {text} is no absolute path"), "Write it from the root: /scratch/...");
    }
    Ok(folder.join(staged::STAGE_FOLDER))
}

/// A doubt about a folder of the copies, where its name is usually one of each node's own.
pub fn doubt(folder: &Path) -> Option<String> {
    let local = ["/tmp", "/dev/shm", "/var/tmp"].iter().find(|local| folder.starts_with(local))?;
    Some(format!(
        "{local} is usually a disk of its own in every node: where the run finds no copy, it reads the stacks where they lie"
    ))
}

/// `$NAME` and `${NAME}` replaced.
fn expanded(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String> {
    let mut result = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        result.push_str(before);
        let after_brace = after.strip_prefix('{');
        let body = after_brace.unwrap_or(after);
        let length = body.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(body.len());
        let (name, end) = body.split_at(length);
        rest = if after_brace.is_some() { end.strip_prefix('}').unwrap_or(end) } else { end };
        result += &variable(name).ok_or_else(|| {
            Error::new(
                ExitCode::Usage,
                "--stage",
                format!("the scratch {text} needs the variable {name:?}, which is not set here"),
                "Set it, or name another --scratch.",
            )
        })?;
    }
    Ok(result + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scratch_is_shared_and_its_variables_are_filled() {
        let variable = |name: &str| (name == "USER").then(|| "ada".to_owned());
        let folder = |text: &str| stage_folder(Some(Path::new(text)), &variable);
        assert_eq!(folder("/scratch/$USER/x").unwrap(), Path::new("/scratch/ada/x/relion-rs-stage"));
        assert_eq!(folder("/s/${USER}s").unwrap(), Path::new("/s/adas/relion-rs-stage"));
        for (text, said) in [
            ("$SLURM_TMPDIR", "one job on one node"),
            ("${TMPDIR}/x", "one job on one node"),
            ("scratch", "no absolute path"),
            ("/s/$GROUP", "\"GROUP\", which is not set"),
            ("", "there is no scratch"),
        ] {
            let error = folder(text).unwrap_err();
            assert!(error.code == ExitCode::Usage && error.problem.contains(said), "{text}: {error}");
        }
    }
}
