//! `resume` of a run that was submitted: the same script again, or one with other resources.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde_json::json;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::formats::atomic::write_text;
use crate::plan::Backend;
use crate::plan::Cluster;
use crate::plan::Continuation;
use crate::plan::Layers;
use crate::plan::Plan;
use crate::plan::RunDir;
use crate::slurm::script;
use crate::slurm::script::Places;

use super::super::engine;
use super::super::job::Job;
use super::super::job::JobArguments;
use super::super::screen::Screen;
use super::send;
use super::send::Script;

/// What a script says where a run goes on in further jobs.
const IN_FURTHER_JOBS: &str = "RELION_RS_CONTINUATION=dependency";
const STAGE_LINE: &str = "export RELION_RS_STAGE=";

/// What is asked for this time.
pub struct Asked<'a> {
    pub cluster: &'a Cluster,
    pub sbatch: &'a [String],
    /// For the engine.
    pub flags: &'a [&'a str],
    pub dry_run: bool,
}

/// Whether a run was handed to Slurm, and can be again from this machine.
pub fn was_submitted(run_dir: &RunDir) -> bool {
    run_dir.jobid().is_file() && is_on_path("sbatch")
}

fn is_on_path(command: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(command).is_file())
}

/// Submits a run again. `like` is the run folder whose script and settings are used: its own, or that of the run which
/// it is a branch of.
///
/// # Errors
/// `Usage` while its job waits or runs; those of `submit`.
pub fn again(run_dir: &RunDir, like: &RunDir, plan: &Plan, asked: &Asked<'_>, screen: &Screen) -> Result<ExitCode> {
    send::refuse_active(run_dir, screen)?;
    let words = JobArguments { job: Some(like.root().to_path_buf()), ..JobArguments::default() };
    let earlier = Some(like.cluster()).filter(|file| file.is_file());
    let mut layers = Job::load_with(words, asked.cluster.clone(), earlier)?.layers;
    super::add_arguments(&mut layers.cluster, asked.sbatch);
    let there = match fs::read_to_string(like.script()) {
        Err(cause) if cause.kind() == ErrorKind::NotFound => None,
        text => Some(text.map_err(|cause| Error::reading(&like.script(), &cause))?),
    };
    let is_same = *asked.cluster == Cluster::default() && asked.sbatch.is_empty() && run_dir == like;
    let same = match &there {
        Some(text) if is_same => script::with_flags(text, asked.flags)?,
        _ => None,
    };
    let text = match same {
        Some(text) => text,
        None => anew(run_dir, plan, &layers, there.as_deref(), asked, screen)?,
    };
    let script = Script::new(absolute(&run_dir.script())?, text);
    if asked.dry_run {
        if screen.is_json() {
            screen
                .print_json(&json!({ "dry_run": true, "scripts": [{ "script": script.path, "text": script.text }] }))?;
        } else {
            screen.print(&script.text)?;
        }
        return Ok(ExitCode::Done);
    }
    run_dir.create()?;
    write_text(&script.path, &script.text)?;
    super::remember_cluster(run_dir, &layers)?;
    let is_chain = script.text.contains(IN_FURTHER_JOBS);
    let further = if is_chain { layers.cluster.continuations.unwrap_or(0) } else { 0 };
    let ids = send::chain(&script, None, further, screen)?;
    send::remember(run_dir, &ids)?;
    if screen.is_json() {
        screen.print_json(
            &json!({ "job_id": ids[0], "job_ids": ids, "script": script.path, "run_dirs": [run_dir.root()] }),
        )?;
    } else {
        let further = if ids.len() > 1 { format!("; goes on in: {}", ids[1..].join(", ")) } else { String::new() };
        let out = run_dir.root().display();
        screen.print(&format!("submitted job {}, which goes on{further}\nnext: relion-rs status {out}", ids[0]))?;
    }
    Ok(ExitCode::Done)
}

/// A script with the resources of this time.
fn anew(
    run_dir: &RunDir,
    plan: &Plan,
    layers: &Layers,
    there: Option<&str>,
    asked: &Asked<'_>,
    screen: &Screen,
) -> Result<String> {
    let site = super::site::site(&layers.cluster)?;
    let counted = super::gpu::counted(plan, layers);
    let needs_cuda = counted.backend == Backend::Cuda;
    let count = |cpus: u32| super::site::need(std::slice::from_ref(&counted), cpus);
    let decided = super::resources::decide(layers, site.partition.as_ref(), plan.threads, &count)?;
    for note in site.notes.iter().chain(&decided.notes) {
        screen.warning(note);
    }
    engine::suits(decided.request.ranks, needs_cuda, screen)?;
    let mut request = decided.request;
    request.continuation = match super::site::continuation(&layers.cluster, site.partition.as_ref()) {
        Continuation::Dependency => Continuation::Dependency,
        _ => Continuation::Requeue,
    };
    // Copies that were made are there still, or are told as missing.
    let has_copies = there.is_some_and(|text| text.lines().any(|line| line.starts_with(STAGE_LINE)));
    let variable = |name: &str| std::env::var(name).ok();
    let folder = || super::steps::stage_folder(layers.cluster.scratch.as_deref(), &variable);
    let stage = if has_copies { Some(folder()?) } else { None };
    let places = Places {
        run: absolute(run_dir.root())?,
        working_directory: plan.working_directory.clone(),
        programs: engine::program()?.parent().map(Path::to_path_buf).unwrap_or_default(),
        stage,
    };
    script::job(&places, &request, &layers.cluster, asked.flags)
}

fn absolute(path: &Path) -> Result<std::path::PathBuf> {
    std::path::absolute(path).map_err(|cause| Error::reading(path, &cause))
}
