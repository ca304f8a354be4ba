//! The batch scripts: values in, text out. The templates are in `slurm/`, where a page explains every slot.

use std::path::Path;
use std::path::PathBuf;

use crate::error::Error;
use crate::error::Result;
use crate::plan::Cluster;
use crate::plan::Continuation;
use crate::plan::GpuRequest;
use crate::plan::RankLauncher;

use super::quote;
use super::time;

const JOB: &str = include_str!("../../slurm/job.sbatch");
const ARRAY: &str = include_str!("../../slurm/array.sbatch");
const STEP: &str = include_str!("../../slurm/step.sbatch");
/// The line of a job's script that names the engine's flags.
const FLAGS_LINE: &str = "flags=(";
/// Where shells find `module` when the one that submitted did not hand it on.
const MODULES_START: &str = "command -v module >/dev/null || for start in /etc/profile.d/{lmod,modules}.sh; do \
                             [ -r $start ] && . $start; done";

/// What a job asks of the cluster, everything decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub partition: Option<String>,
    pub nodes: u32,
    pub ranks: u32,
    pub cpus_per_rank: u32,
    /// Memory of a node; `None`: asked for in another way.
    pub mem_mib: Option<u64>,
    /// `None`: the partition's default.
    pub seconds: Option<u64>,
    /// GPUs of a node, one a rank.
    pub gpus_per_node: u32,
    /// One rank more than GPUs, that leads the others and has none.
    pub has_leader: bool,
    pub continuation: Continuation,
}

/// Where a script works.
#[derive(Clone, Debug)]
pub struct Places {
    /// Of the run, absolute.
    pub run: PathBuf,
    /// Where relative paths start.
    pub working_directory: PathBuf,
    /// The folder of the programs.
    pub programs: PathBuf,
    /// Copies of the stacks.
    pub stage: Option<PathBuf>,
}

impl Request {
    /// Ranks of the fullest node.
    pub fn ranks_per_node(&self) -> u32 {
        self.ranks.div_ceil(self.nodes.max(1))
    }

    /// GPUs of all nodes.
    pub fn gpus(&self) -> u32 {
        if self.gpus_per_node == 0 { 0 } else { self.ranks - u32::from(self.has_leader) }
    }
}

/// The script of a run.
///
/// # Errors
/// `Usage` for values that cannot stand in a script.
pub fn job(places: &Places, request: &Request, cluster: &Cluster, flags: &[&str]) -> Result<String> {
    let mut header = header(cluster, request.partition.as_deref(), &name_of(&places.run), &log(&places.run, "%j"));
    let mut add = |argument: String| header.push(argument);
    add(format!("--nodes={}", request.nodes));
    add(format!("--ntasks={}", request.ranks));
    // A node of a leader has one more than the others: then it is the most that a node gets.
    if request.has_leader || request.ranks.is_multiple_of(request.nodes.max(1)) {
        add(format!("--ntasks-per-node={}", request.ranks_per_node()));
    }
    add(format!("--cpus-per-task={}", request.cpus_per_rank));
    let gpus = gpus(request, cluster);
    if let Some(argument) = &gpus {
        add(argument.clone());
    }
    if let Some(mib) = request.mem_mib {
        add(format!("--mem={mib}M"));
    }
    if let Some(seconds) = request.seconds {
        add(format!("--time={}", time::text(seconds)));
    }
    if let Some(nodes) = &cluster.exclude {
        add(format!("--exclude={nodes}"));
    }
    // To the steps, which srun makes; mpirun is no step, so there the shell is told and passes it on.
    let to_shell = if launcher(cluster) == RankLauncher::Mpirun { "B:" } else { "" };
    add(format!("--signal={to_shell}USR2@{}", margin(cluster)));
    let is_requeued = cluster.requeue != Some(false) && request.continuation != Continuation::Dependency;
    add(if is_requeued { "--requeue" } else { "--no-requeue" }.to_owned());
    header.extend(cluster.sbatch.iter().flatten().cloned());

    let settings = settings(places, request, cluster, is_requeued)?;
    let launch = launch(request, cluster, gpus.as_deref())?;
    let flags: Result<Vec<String>> = flags.iter().map(|flag| quote::shell("a flag", flag)).collect();
    filled(
        JOB,
        &[
            ("HEADER", lines(&header)?),
            ("RUN", path("the run folder", &places.run)?),
            ("FLAGS", flags?.join(" ")),
            ("FOLDER", path("the working directory", &places.working_directory)?),
            ("SETUP", setup(cluster)?),
            ("PROGRAMS", path("the folder of the programs", &places.programs)?),
            ("SETTINGS", settings),
            ("LAUNCH", launch),
        ],
    )
}

/// The same script with other flags for the engine; `None` when it has no line for them.
///
/// # Errors
/// Those of [`job`].
pub fn with_flags(script: &str, flags: &[&str]) -> Result<Option<String>> {
    let flags: Result<Vec<String>> = flags.iter().map(|flag| quote::shell("a flag", flag)).collect();
    let new = format!("{FLAGS_LINE}{})", flags?.join(" "));
    let mut found = false;
    let lines = script.lines().map(|line| {
        let is_it = line.starts_with(FLAGS_LINE);
        found |= is_it;
        if is_it { new.as_str() } else { line }
    });
    let text = lines.map(|line| format!("{line}\n")).collect();
    Ok(found.then_some(text))
}

/// The script of an array, a task a run folder; each folder holds a script of this name. `like` is the text of one of
/// those: the array asks for what each of them asks for.
///
/// # Errors
/// Those of [`job`].
pub fn array(folder: &Path, runs: &[PathBuf], name: &str, like: &str) -> Result<String> {
    let own = [format!("--job-name={}", name_of(folder)), format!("--output={}", log(folder, "%A_%a"))];
    let is_same = |line: &&str| !["--job-name=", "--output="].iter().any(|key| line.contains(key));
    let mut header: Vec<String> = own.iter().map(|argument| sbatch_line(argument)).collect::<Result<_>>()?;
    header.extend(like.lines().filter(|line| line.starts_with("#SBATCH ")).filter(is_same).map(str::to_owned));
    let runs: Result<Vec<String>> = runs.iter().map(|run| Ok(format!("  {}", path("a run folder", run)?))).collect();
    let runs = runs?;
    filled(
        ARRAY,
        &[
            ("HEADER", header.join("\n")),
            ("RUNS", runs.join("\n")),
            ("NAME", name.to_owned()),
            ("LAST", runs.len().saturating_sub(1).to_string()),
        ],
    )
}

/// A job of one process beside the refinement: staging, postprocessing, a report.
#[derive(Clone, Debug)]
pub struct Step<'a> {
    /// What it does, a sentence.
    pub about: &'a str,
    /// End of its name, and of its log's.
    pub name: &'a str,
    pub partition: Option<&'a str>,
    pub cpus: u32,
    pub mem_mib: u64,
    pub seconds: u64,
    /// The words of its command.
    pub command: Vec<String>,
}

/// The script of a step.
///
/// # Errors
/// Those of [`job`].
pub fn step(places: &Places, step: &Step, cluster: &Cluster) -> Result<String> {
    let name = format!("{}-{}", name_of(&places.run), step.name);
    // It holds no GPU: what the run wants of its nodes is not wanted here.
    let plain = Cluster { constraint: None, ..cluster.clone() };
    let mut header = header(&plain, step.partition, &name, &log(&places.run, &format!("{}-%j", step.name)));
    header.extend([
        "--ntasks=1".to_owned(),
        format!("--cpus-per-task={}", step.cpus),
        format!("--mem={}M", step.mem_mib),
        format!("--time={}", time::text(step.seconds)),
    ]);
    let command: Result<Vec<String>> = step.command.iter().map(|word| quote::shell("a word", word)).collect();
    filled(
        STEP,
        &[
            ("HEADER", lines(&header)?),
            ("ABOUT", step.about.to_owned()),
            ("FOLDER", path("the working directory", &places.working_directory)?),
            ("SETUP", setup(cluster)?),
            ("PROGRAMS", path("the folder of the programs", &places.programs)?),
            ("SETTINGS", String::new()),
            ("COMMAND", format!("exec {}", command?.join(" "))),
        ],
    )
}

/// The lines that every kind of job has.
fn header(cluster: &Cluster, partition: Option<&str>, name: &str, log: &str) -> Vec<String> {
    let named = [("partition", partition), ("account", cluster.account.as_deref()), ("qos", cluster.qos.as_deref())];
    let features = [("constraint", cluster.constraint.as_deref())];
    let mut all = vec![format!("--job-name={name}")];
    all.extend(named.iter().chain(&features).filter_map(|(key, value)| Some(format!("--{key}={}", (*value)?))));
    all.extend([format!("--output={log}"), "--open-mode=append".to_owned()]);
    all
}

fn gpus(request: &Request, cluster: &Cluster) -> Option<String> {
    let kind = cluster.gpu_type.as_ref().map(|name| format!("{name}:")).unwrap_or_default();
    match (request.gpus_per_node, cluster.gpu_request) {
        (0, _) => None,
        // A leader needs none: the others choose among those of their node.
        (count, _) if request.has_leader => Some(format!("--gres=gpu:{kind}{count}")),
        (count, Some(GpuRequest::Gres)) => Some(format!("--gres=gpu:{kind}{count}")),
        (..) => Some(format!("--gpus-per-task={kind}1")),
    }
}

fn launch(request: &Request, cluster: &Cluster, gpus: Option<&str>) -> Result<String> {
    if launcher(cluster) == RankLauncher::Mpirun {
        // Ranks have threads: they must not be bound to a core each, and are told how many cores they have.
        let (cpus, ranks) = (request.cpus_per_rank, request.ranks);
        return Ok(format!("SLURM_CPUS_PER_TASK={cpus} mpirun -np {ranks} --bind-to none"));
    }
    let mut words = vec!["srun --kill-on-bad-exit=1".to_owned()];
    if let Some(mpi) = &cluster.mpi {
        words.push(format!("--mpi={}", quote::shell("mpi", mpi)?));
    }
    words.push(format!("--ntasks={} --cpus-per-task={}", request.ranks, request.cpus_per_rank));
    if let Some(gpus) = gpus {
        let bind = if request.has_leader { "" } else { " --gpu-bind=single:1" };
        words.push(format!("{}{bind}", quote::shell("gpu_type", gpus)?));
    }
    Ok(words.join(" "))
}

/// Lines of the site, in their order.
fn setup(cluster: &Cluster) -> Result<String> {
    let mut text = Vec::new();
    for line in cluster.setup.iter().flatten() {
        text.push(quote::one_line("a line of setup", line)?.to_owned());
    }
    let modules: Result<Vec<String>> =
        cluster.modules.iter().flatten().map(|module| quote::shell("a module", module)).collect();
    let modules = modules?;
    if !modules.is_empty() {
        text.extend([MODULES_START.to_owned(), format!("module load {} || exit 69", modules.join(" "))]);
    }
    Ok(text.join("\n"))
}

/// What `relion-rs job` and the ranks have to know, as variables.
fn settings(places: &Places, request: &Request, cluster: &Cluster, is_requeued: bool) -> Result<String> {
    let mut text = format!(
        "export RELION_RS_REQUEUE={is_requeued} RELION_RS_MAX_RESTARTS={} RELION_RS_EXCLUDE_BROKEN_NODES={}\n\
         export RELION_RS_CONTINUATION={} RELION_RS_SIGNAL_MARGIN_SECONDS={}",
        cluster.max_restarts.unwrap_or(50),
        cluster.exclude_broken_nodes.unwrap_or(true),
        if request.continuation == Continuation::Dependency { "dependency" } else { "requeue" },
        margin(cluster),
    );
    if let Some(stage) = &places.stage {
        text += &format!("\nexport RELION_RS_STAGE={}", path("the scratch folder", stage)?);
    }
    Ok(text)
}

fn launcher(cluster: &Cluster) -> RankLauncher {
    cluster.launcher.unwrap_or(RankLauncher::Srun)
}

fn margin(cluster: &Cluster) -> u32 {
    cluster.signal_margin_seconds.unwrap_or(120)
}

/// A job is called like its folder.
fn name_of(folder: &Path) -> String {
    folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_else(|| "relion-rs".to_owned())
}

/// Slurm replaces `%j` and the like in the name of a log; a percent sign of the folder's own is written twice.
fn log(folder: &Path, end: &str) -> String {
    format!("{}/log/slurm-{end}.out", folder.display().to_string().replace('%', "%%"))
}

fn path(what: &str, path: &Path) -> Result<String> {
    let text = path.to_str().ok_or_else(|| {
        Error::usage(
            format!("{what} {} is not UTF-8 text", path.display()),
            "Rename the folder: a batch script is text.",
        )
    })?;
    quote::shell(what, text)
}

fn sbatch_line(argument: &str) -> Result<String> {
    Ok(format!("#SBATCH {}", quote::header(argument)?))
}

fn lines(arguments: &[String]) -> Result<String> {
    let lines: Result<Vec<String>> = arguments.iter().map(|argument| sbatch_line(argument)).collect();
    Ok(lines?.join("\n"))
}

/// The template with its slots filled, and without the empty lines that empty slots leave.
fn filled(template: &str, slots: &[(&str, String)]) -> Result<String> {
    let mut text = String::new();
    for line in template.lines() {
        let mut line = line.to_owned();
        let whole = line.strip_prefix('@').and_then(|rest| rest.strip_suffix('@')).map(str::to_owned);
        line = line.replace("@VERSION@", env!("CARGO_PKG_VERSION"));
        if let Some(value) = whole.and_then(|name| slots.iter().find(|slot| slot.0 == name)).map(|slot| &slot.1) {
            if value.is_empty() {
                continue;
            }
            line.clone_from(value);
        } else {
            for (name, value) in slots {
                // A line has one slot: what it holds is text of a user and no template.
                if let Some((before, after)) = line.clone().split_once(&format!("@{name}@")) {
                    line = format!("{before}{value}{after}");
                    break;
                }
            }
        }
        text.push_str(&line);
        text.push('\n');
    }
    Ok(text)
}
