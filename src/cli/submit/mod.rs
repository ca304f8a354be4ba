//! `submit`: from a job to a batch script with the resources that its plan needs, and to Slurm.

mod again;
mod resources;
mod scan;
mod send;
mod steps;

use std::fs;
use std::path::Path;
use std::path::PathBuf;

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
use crate::plan::format_bytes;
use crate::plan::parse_bytes;
use crate::refine::plan::plan as count;
use crate::site::saved_gpu_memory;
use crate::slurm::partition;
use crate::slurm::partition::Partition;
use crate::slurm::script;
use crate::slurm::script::Places;
use crate::slurm::script::Request;
use crate::slurm::time;

pub use again::Asked;
pub use again::again;
pub use again::was_submitted;

use super::engine;
use super::job::Job;
use super::job::JobArguments;
use super::run;
use super::screen::Screen;
use super::screen::counted;
use super::stage::stacks;
use resources::Need;
use scan::Variant;
use send::Script;
use steps::Then;

/// In a partition with one of these modes a preempted job comes back by itself.
const CANCEL: &str = "CANCEL";

#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    pub job: JobArguments,
    #[command(flatten)]
    pub cluster: Cluster,
    /// Begin when this job has ended well: its number, or a run folder that was submitted; may be repeated
    #[arg(long, value_name = "JOBID|DIR", help_heading = "Submission")]
    pub after: Vec<String>,
    /// Dependency as sbatch takes it: afterany:123
    #[arg(long, value_name = "LIST", help_heading = "Submission")]
    pub dependency: Option<String>,
    /// A run for each value of a key, as one job array: symmetry=C1,D2; may be repeated, several multiply
    #[arg(long, value_name = "KEY=A,B", help_heading = "Submission")]
    pub scan: Vec<String>,
    /// Tasks of a scan: 0-9 (these), %4 (four at a time), 0-9%4
    #[arg(long, value_name = "TASKS", help_heading = "Submission")]
    pub array: Option<String>,
    /// What follows when the run has ended well; may be repeated
    #[arg(long, value_enum, value_name = "WHAT", help_heading = "Submission")]
    pub then: Vec<Then>,
    /// Copy the stacks to the scratch first, in a job of its own without a GPU
    #[arg(long, help_heading = "Submission")]
    pub stage: bool,
    /// Show the script and submit nothing
    #[arg(long, help_heading = "Submission")]
    pub dry_run: bool,
    /// Further arguments of sbatch, word for word
    #[arg(last = true, value_name = "SBATCH ARGUMENTS")]
    pub sbatch: Vec<String>,
}

/// One run folder of a submission.
struct Run {
    dir: RunDir,
    plan: Plan,
    layers: Layers,
}

/// What is known of the cluster.
struct Site {
    partition: Option<Partition>,
    notes: Vec<String>,
}

/// Everything that will be submitted, in its order.
struct Batch {
    stage: Option<Script>,
    main: Script,
    then: Vec<Script>,
    /// Scripts of single runs that an array starts, and nobody submits.
    of_tasks: Vec<Script>,
    request: Request,
    continuations: u32,
    dependency: Option<String>,
    /// The kind of dependency by which the following jobs wait.
    waits: &'static str,
}

pub fn run(arguments: Arguments, screen: &Screen) -> Result<ExitCode> {
    if arguments.array.is_some() && arguments.scan.is_empty() {
        return Err(Error::new(
            ExitCode::Usage,
            "--array",
            "an array of one run would start the same run folder several times",
            "Give --scan KEY=A,B as well: --array then says which of its runs are started, and how many at a time.",
        ));
    }
    if arguments.stage && arguments.scan.iter().any(|scan| scan.starts_with("particles=")) {
        return Err(Error::usage(
            "--stage copies the stacks of one particle table, and several are scanned",
            "Leave --stage out, or submit these runs one by one.",
        ));
    }
    // Nothing is queued that could not start.
    let programs = engine::program()?.parent().map(Path::to_path_buf).unwrap_or_default();
    let runs = runs(&arguments, screen)?;
    let site = site(&runs[0].layers.cluster)?;
    for note in &site.notes {
        screen.warning(note);
    }
    let (batch, notes) = batch(&arguments, &runs, &programs, site.partition.as_ref())?;
    for note in &notes {
        screen.warning(note);
    }
    if arguments.dry_run {
        show(&batch, screen)?;
        return Ok(ExitCode::Done);
    }
    for run in &runs {
        send::refuse_active(&run.dir, screen)?;
    }
    for run in &runs {
        run::prepare(&run.dir, &run.plan, &run.layers)?;
        remember_cluster(&run.dir, &run.layers)?;
    }
    write(&batch)?;
    let told = submit(&batch, &runs)?;
    tell(&told, &batch, &runs, screen)?;
    Ok(ExitCode::Done)
}

/// The runs of all combinations of a scan, checked and with their folders named.
fn runs(arguments: &Arguments, screen: &Screen) -> Result<Vec<Run>> {
    let variants = scan::variants(&arguments.scan)?;
    let mut runs = Vec::new();
    for variant in &variants {
        runs.push(one(arguments, variant, screen)?);
    }
    Ok(runs)
}

fn one(arguments: &Arguments, variant: &Variant, screen: &Screen) -> Result<Run> {
    let flags = arguments.job.flags.with(&variant.keys)?;
    let words = JobArguments { flags, ..arguments.job.clone() };
    let mut job = Job::load_with(words, arguments.cluster.clone(), None)?;
    add_arguments(&mut job.layers.cluster, &arguments.sbatch);
    knows_its_gpu(&job.layers)?;
    if let Some(out) = &job.layers.values.out {
        job.layers.values.out = Some(scan::folder(out, variant));
    }
    let resolved = job.resolve()?;
    for warning in &resolved.warnings {
        screen.warning(warning);
    }
    let plan = resolved.plan;
    run::fits(&plan, screen)?;
    let root = std::path::absolute(plan.file(&plan.out)).map_err(|cause| Error::reading(&plan.out, &cause))?;
    Ok(Run { dir: RunDir::new(root), plan, layers: job.layers })
}

fn add_arguments(cluster: &mut Cluster, further: &[String]) {
    if !further.is_empty() {
        cluster.sbatch.get_or_insert_default().extend(joined(further));
    }
}

/// `--comment x` becomes one argument, as a line of a script holds one.
fn joined(words: &[String]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for word in words {
        match all.last_mut() {
            Some(last) if !word.starts_with('-') && last.starts_with("--") && !last.contains('=') => {
                *last = format!("{last}={word}");
            }
            Some(last) if !word.starts_with('-') && last.len() == 2 => *last = format!("{last}{word}"),
            _ => all.push(word.clone()),
        }
    }
    all
}

/// A GPU's memory decides what fits there, and a login node has no GPU to ask.
fn knows_its_gpu(layers: &Layers) -> Result<()> {
    if let Some(text) = layers.cluster.gpu_memory.as_ref().filter(|text| parse_bytes(text).is_none()) {
        let problem = format!("{text:?} is not a size of memory");
        return Err(layers.error("cluster.gpu_memory", problem, "Write it like 40GiB."));
    }
    if layers.values.backend != Some(Backend::Cuda) || layers.cluster.gpu_memory.is_some() {
        return Ok(());
    }
    let partition = layers.cluster.partition.as_deref();
    if partition.and_then(saved_gpu_memory).is_some() {
        return Ok(());
    }
    let partition = partition.unwrap_or("PARTITION");
    Err(Error::new(
        ExitCode::Usage,
        layers.place("backend"),
        "the backend cuda needs to know the memory of a GPU, and nobody has told it",
        format!(
            "Give --gpu-memory 40GiB, or set gpu_memory in the site's file (below [cluster.partitions.{partition}]), or \
             let a node tell: relion-rs doctor --on-node {partition}."
        ),
    ))
}

/// What `sinfo` says. Without it, the settings alone decide.
///
/// # Errors
/// `Usage` for a partition that is not there.
fn site(cluster: &Cluster) -> Result<Site> {
    let all = match partition::partitions() {
        Ok(all) if !all.is_empty() => all,
        Ok(_) => {
            let notes = vec!["sinfo shows no partition: nothing is checked against the nodes".to_owned()];
            return Ok(Site { partition: None, notes });
        }
        Err(failure) => {
            let notes = vec![format!("{failure}: nothing is checked against the nodes")];
            return Ok(Site { partition: None, notes });
        }
    };
    let partition = partition::choose(&all, cluster.partition.as_deref())?.cloned();
    let mut notes = Vec::new();
    if let Some(partition) = &partition {
        if !partition.is_up {
            notes.push(format!("the partition {} is down: the job will wait", partition.name));
        } else if !partition.has_usable_node() {
            notes.push(format!("all nodes of {} are down or drained: the job will wait", partition.name));
        }
    }
    Ok(Site { partition, notes })
}

/// All scripts, and what a person should know.
fn batch(
    arguments: &Arguments,
    runs: &[Run],
    programs: &Path,
    partition: Option<&Partition>,
) -> Result<(Batch, Vec<String>)> {
    let first = &runs[0];
    let (layers, cluster) = (&first.layers, &first.layers.cluster);
    let plans: Vec<&Plan> = runs.iter().map(|run| &run.plan).collect();
    let decided = resources::decide(layers, partition, first.plan.threads, &|cpus| need(&plans, cpus))?;
    let (mut request, mut notes) = (decided.request, decided.notes);
    request.continuation = continuation(cluster, partition);
    let stage_folder = match arguments.stage {
        true => Some(steps::stage_folder(cluster.scratch.as_deref(), &|name| std::env::var(name).ok())?),
        false => None,
    };
    notes.extend(stage_folder.as_deref().and_then(steps::doubt));
    let places = |run: &Run| Places {
        run: run.dir.root().to_path_buf(),
        working_directory: run.plan.working_directory.clone(),
        programs: programs.to_path_buf(),
        stage: stage_folder.clone(),
    };
    let single = |run: &Run| -> Result<Script> {
        Ok(Script::new(run.dir.script(), script::job(&places(run), &request, cluster, &[])?))
    };
    let stage = match &stage_folder {
        None => None,
        Some(folder) => Some(steps::stage(&places(first), folder, &stacks(&first.plan)?, cluster, partition)?),
    };
    let mut of_tasks = runs.iter().map(single).collect::<Result<Vec<_>>>()?;
    let mut then = Vec::new();
    for what in &arguments.then {
        let each = runs.iter().map(|run| {
            let box_pixels = count(&run.plan)?.box_pixels;
            steps::then(*what, &places(run), &run.plan, box_pixels, cluster, partition)
        });
        let each: Vec<Script> = each.collect::<Result<_>>()?;
        then.push(each);
    }
    let is_array = !arguments.scan.is_empty();
    let (main, then) = if is_array {
        let folders: Vec<PathBuf> = runs.iter().map(|run| run.dir.root().to_path_buf()).collect();
        let folder = scan_folder(arguments, runs)?;
        let tasks = tasks(arguments.array.as_deref(), runs.len())?;
        let whole = |name: &str, scripts: &[Script]| -> Result<Script> {
            let text = script::array(&folder, &folders, &format!("{name}.sbatch"), &scripts[0].text)?;
            let arguments = vec![format!("--array={tasks}")];
            Ok(Script { path: folder.join(format!("{name}.sbatch")), text, arguments })
        };
        let main = whole("job", &of_tasks)?;
        let mut chain = Vec::new();
        for (what, scripts) in arguments.then.iter().zip(then) {
            chain.push(whole(what.name(), &scripts)?);
            of_tasks.extend(scripts);
        }
        (main, chain)
    } else {
        (of_tasks.remove(0), then.into_iter().flatten().collect())
    };
    let mut dependency: Vec<String> = Vec::new();
    for word in &arguments.after {
        dependency.push(format!("afterok:{}", send::job_of(word)?));
    }
    dependency.extend(arguments.dependency.clone());
    let batch = Batch {
        stage,
        main,
        then,
        of_tasks,
        continuations: match request.continuation {
            Continuation::Dependency => cluster.continuations.unwrap_or(0),
            _ => 0,
        },
        request,
        dependency: (!dependency.is_empty()).then(|| dependency.join(",")),
        waits: if is_array { "aftercorr" } else { "afterok" },
    };
    Ok((batch, notes))
}

/// What a rank with so many threads needs, for the largest of the runs.
fn need(plans: &[&Plan], threads: u32) -> Result<Need> {
    let mut most = Need { bytes: 0, seconds: 0.0 };
    for plan in plans {
        let estimate = count(&Plan { threads: threads as usize, ..(*plan).clone() })?;
        most.bytes = most.bytes.max(estimate.peak as u64);
        most.seconds = most.seconds.max(estimate.seconds);
    }
    Ok(most)
}

/// `auto` is decided by what happens to a preempted job.
fn continuation(cluster: &Cluster, partition: Option<&Partition>) -> Continuation {
    match cluster.continuation.unwrap_or(Continuation::Auto) {
        // The off switch: neither comes back.
        _ if cluster.requeue == Some(false) && cluster.continuation != Some(Continuation::Dependency) => {
            Continuation::Requeue
        }
        Continuation::Auto => {
            let name = cluster.partition.as_deref().or(partition.map(|partition| partition.name.as_str()));
            let mode = partition::preempt_mode(name).unwrap_or_default();
            if mode.split(',').any(|word| word == CANCEL) { Continuation::Dependency } else { Continuation::Requeue }
        }
        decided => decided,
    }
}

/// The folder of a scan's own files, beside its run folders.
fn scan_folder(arguments: &Arguments, runs: &[Run]) -> Result<PathBuf> {
    let variants = scan::variants(&arguments.scan)?;
    let first = runs[0].dir.root();
    let name = first.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let base = name.strip_suffix(variants[0].end.as_str()).unwrap_or(&name);
    Ok(first.with_file_name(format!("{base}-scan")))
}

/// The value of `--array` of sbatch: all tasks, unless some were named.
fn tasks(asked: Option<&str>, count: usize) -> Result<String> {
    let all = format!("0-{}", count - 1);
    let Some(asked) = asked.map(str::trim) else { return Ok(all) };
    let (tasks, limit) = asked.split_once('%').map_or((asked, None), |(tasks, limit)| (tasks, Some(limit)));
    let number = |text: &str| text.parse::<usize>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    let is_range = |part: &str| {
        let (range, step) = part.split_once(':').map_or((part, None), |(range, step)| (range, Some(step)));
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        let in_scan = number(from).zip(number(to)).is_some_and(|(from, to)| from <= to && to < count);
        in_scan && step.is_none_or(|step| number(step).is_some_and(|step| step > 0))
    };
    let is_good = (tasks.is_empty() || tasks.split(',').all(is_range))
        && limit.is_none_or(|limit| number(limit).is_some_and(|limit| limit > 0))
        && !asked.is_empty();
    if !is_good {
        return Err(Error::new(
            ExitCode::Usage,
            format!("--array {asked}"),
            format!("names no tasks of this scan, which has {count}: {all}"),
            format!("Write {all} for all, 0,{} for two of them, %4 for four at a time.", count - 1),
        ));
    }
    let limit = limit.map(|limit| format!("%{limit}")).unwrap_or_default();
    Ok(format!("{}{limit}", if tasks.is_empty() { &all } else { tasks }))
}

/// What the next `resume` starts from.
fn remember_cluster(run_dir: &RunDir, layers: &Layers) -> Result<()> {
    let mut asked = layers.asked_of_cluster()?;
    if layers.cluster.sbatch.as_ref().is_some_and(|further| !further.is_empty()) {
        asked.sbatch.clone_from(&layers.cluster.sbatch);
    }
    let text = "# What the last submission asked of the cluster, beside the site's and your own settings.\n";
    write_text(&run_dir.cluster(), &format!("{text}{}", asked.to_toml()?))
}

fn write(batch: &Batch) -> Result<()> {
    let scripts = batch.stage.iter().chain([&batch.main]).chain(&batch.then).chain(&batch.of_tasks);
    for script in scripts {
        let folder = script.path.parent().unwrap_or(Path::new("/"));
        let log = folder.join("log");
        // Slurm does not make the folder of a log; without it a job fails without a word.
        fs::create_dir_all(&log).map_err(|cause| Error::writing(&log, &cause))?;
        write_text(&script.path, &script.text)?;
    }
    Ok(())
}

/// The numbers that Slurm gave.
#[derive(Debug)]
struct Told {
    stage: Option<String>,
    main: Vec<String>,
    then: Vec<String>,
}

fn submit(batch: &Batch, runs: &[Run]) -> Result<Told> {
    let mut all: Vec<String> = Vec::new();
    let mut dependency = batch.dependency.clone();
    let stage = match &batch.stage {
        None => None,
        Some(script) => {
            let id = script.submit(dependency.as_deref())?;
            dependency = Some(format!("afterok:{id}"));
            all.push(id.clone());
            Some(id)
        }
    };
    let main = send::chain(&batch.main, dependency.as_deref(), batch.continuations)
        .map_err(|error| send::taken_back(error, &all))?;
    all.extend(main.iter().cloned());
    let mut then = Vec::new();
    // A chain has ended when its last job has.
    let mut last = main[main.len() - 1].clone();
    for script in &batch.then {
        let after = format!("{}:{last}", batch.waits);
        last = script.submit(Some(&after)).map_err(|error| send::taken_back(error, &all))?;
        all.push(last.clone());
        then.push(last.clone());
    }
    for (task, run) in runs.iter().enumerate() {
        let ids: Vec<String> = match batch.main.arguments.is_empty() {
            true => main.clone(),
            false => main.iter().map(|id| format!("{id}_{task}")).collect(),
        };
        send::remember(&run.dir, &ids)?;
    }
    if !batch.main.arguments.is_empty() {
        let folder = batch.main.path.parent().unwrap_or(Path::new("/"));
        send::remember(&RunDir::new(folder), &main)?;
    }
    Ok(Told { stage, main, then })
}

fn show(batch: &Batch, screen: &Screen) -> Result<()> {
    // The scripts of a scan's runs are alike: one is enough to see.
    let scripts = batch.stage.iter().chain([&batch.main]).chain(&batch.then).chain(batch.of_tasks.first());
    let scripts: Vec<&Script> = scripts.collect();
    if screen.is_json() {
        let shown: Vec<serde_json::Value> = scripts
            .iter()
            .map(|script| json!({ "script": script.path, "text": script.text, "arguments": script.arguments }))
            .collect();
        return screen
            .print_json(&json!({ "dry_run": true, "scripts": shown, "resources": resources_of(&batch.request) }));
    }
    if scripts.len() == 1 {
        return screen.print(&batch.main.text);
    }
    let parts: Vec<String> =
        scripts.iter().map(|script| format!("# ===== {} =====\n{}", script.path.display(), script.text)).collect();
    screen.print(&parts.join("\n"))
}

fn resources_of(request: &Request) -> serde_json::Value {
    json!({
        "partition": request.partition,
        "nodes": request.nodes,
        "ranks": request.ranks,
        "cpus_per_rank": request.cpus_per_rank,
        "gpus": if request.gpus_per_node > 0 { request.ranks } else { 0 },
        "mem_mib_per_node": request.mem_mib,
        "seconds": request.seconds,
    })
}

/// `2 ranks on 1 node, a GPU each, 8 cores a rank, 12 GiB a node, 12:00:00`
fn summary(request: &Request) -> String {
    let mut text =
        format!("{} on {}", counted(request.ranks as usize, "rank"), counted(request.nodes as usize, "node"));
    if request.gpus_per_node > 0 {
        text += ", a GPU each";
    }
    text += &format!(", {} a rank", counted(request.cpus_per_rank as usize, "core"));
    if let Some(mib) = request.mem_mib {
        text += &format!(", {} a node", format_bytes(mib << 20));
    }
    if let Some(seconds) = request.seconds {
        text += &format!(", {}", time::text(seconds));
    }
    text + &request.partition.as_ref().map(|name| format!(", partition {name}")).unwrap_or_default()
}

fn tell(told: &Told, batch: &Batch, runs: &[Run], screen: &Screen) -> Result<()> {
    if screen.is_json() {
        return screen.print_json(&json!({
            "job_id": told.main[0],
            "job_ids": told.main,
            "stage_job_id": told.stage,
            "then_job_ids": told.then,
            "script": batch.main.path,
            "run_dirs": runs.iter().map(|run| run.dir.root()).collect::<Vec<_>>(),
            "resources": resources_of(&batch.request),
        }));
    }
    let mut lines = Vec::new();
    if let Some(id) = &told.stage {
        lines.push(format!("submitted job {id}: copies the stacks first"));
    }
    lines.push(format!("submitted job {}: {}", told.main[0], summary(&batch.request)));
    if !batch.main.arguments.is_empty() {
        lines.push(format!("an array of {} ({})", counted(runs.len(), "run"), batch.main.arguments.join(" ")));
    }
    if told.main.len() > 1 {
        lines.push(format!("goes on in: {}", told.main[1..].join(", ")));
    }
    for (id, script) in told.then.iter().zip(&batch.then) {
        let name = script.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        lines.push(format!("submitted job {id}: {name}, when the run has ended well"));
    }
    lines.push(format!("next: relion-rs status {}", runs[0].plan.out.display()));
    screen.print(&lines.join("\n"))
}
