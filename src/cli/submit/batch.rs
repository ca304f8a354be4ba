//! The scripts of a submission, and their way to Slurm.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use crate::error::Error;
use crate::error::Result;
use crate::formats::atomic::write_text;
use crate::plan::Continuation;
use crate::plan::Plan;
use crate::plan::RunDir;
use crate::refine::plan::plan as count;
use crate::slurm::partition::Partition;
use crate::slurm::script;
use crate::slurm::script::Places;
use crate::slurm::script::Request;

use super::super::screen::Screen;
use super::super::stage::stacks;
use super::Arguments;
use super::Run;
use super::gpu;
use super::resources;
use super::scan;
use super::send;
use super::send::Script;
use super::site::continuation;
use super::site::need;
use super::steps;

/// Everything that will be submitted, in its order.
pub struct Batch {
    pub stage: Option<Script>,
    pub main: Script,
    pub then: Vec<Script>,
    /// Scripts of single runs that an array starts, and nobody submits.
    pub of_tasks: Vec<Script>,
    pub request: Request,
    pub continuations: u32,
    pub dependency: Option<String>,
    /// The kind of dependency by which the following jobs wait.
    pub waits: &'static str,
}

/// The numbers that Slurm gave.
#[derive(Debug)]
pub struct Told {
    pub stage: Option<String>,
    pub main: Vec<String>,
    pub then: Vec<String>,
}

/// All scripts, and what a person should know.
///
/// # Errors
/// What fits on no node, contradicts itself, or cannot stand in a script.
pub fn batch(
    arguments: &Arguments,
    runs: &[Run],
    programs: &Path,
    partition: Option<&Partition>,
) -> Result<(Batch, Vec<String>)> {
    let first = &runs[0];
    let (layers, cluster) = (&first.layers, &first.layers.cluster);
    let plans: Vec<Plan> = runs.iter().map(|run| gpu::counted(&run.plan, &run.layers)).collect();
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
        let tasks = scan::tasks(arguments.array.as_deref(), runs.len())?;
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
        dependency.push(send::after(word)?);
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
        dependency: send::all_of(&dependency)?,
        waits: if is_array { "aftercorr" } else { "afterok" },
    };
    Ok((batch, notes))
}

/// The folder of a scan's own files, beside its run folders.
fn scan_folder(arguments: &Arguments, runs: &[Run]) -> Result<PathBuf> {
    let variants = scan::variants(&arguments.scan)?;
    let first = runs[0].dir.root();
    let name = first.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let base = name.strip_suffix(variants[0].end.as_str()).unwrap_or(&name);
    Ok(first.with_file_name(format!("{base}-scan")))
}

impl Batch {
    /// Writes all scripts.
    ///
    /// # Errors
    /// A file or the folder of a log cannot be written.
    pub fn write(&self) -> Result<()> {
        let scripts = self.stage.iter().chain([&self.main]).chain(&self.then).chain(&self.of_tasks);
        for script in scripts {
            let folder = script.path.parent().unwrap_or(Path::new("/"));
            let log = folder.join("log");
            // Slurm does not make the folder of a log; without it a job fails without a word.
            fs::create_dir_all(&log).map_err(|cause| Error::writing(&log, &cause))?;
            write_text(&script.path, &script.text)?;
        }
        Ok(())
    }

    /// Hands all of them to Slurm, and writes the numbers into the run folders.
    ///
    /// # Errors
    /// Slurm's refusal; what was submitted before it is taken back.
    pub fn submit(&self, runs: &[Run], screen: &Screen) -> Result<Told> {
        let mut all: Vec<String> = Vec::new();
        let mut dependency = self.dependency.clone();
        let stage = match &self.stage {
            None => None,
            Some(script) => {
                let id = script.submit(dependency.as_deref(), screen)?;
                dependency = Some(format!("afterok:{id}"));
                all.push(id.clone());
                Some(id)
            }
        };
        let main = send::chain(&self.main, dependency.as_deref(), self.continuations, screen)
            .map_err(|error| send::taken_back(error, &all))?;
        all.extend(main.iter().cloned());
        let mut then = Vec::new();
        let mut after = send::after_good_end(self.waits, &main);
        for script in &self.then {
            let id = script.submit(Some(&after), screen).map_err(|error| send::taken_back(error, &all))?;
            after = format!("{}:{id}", self.waits);
            all.push(id.clone());
            then.push(id);
        }
        for (task, run) in runs.iter().enumerate() {
            let ids: Vec<String> = match self.main.arguments.is_empty() {
                true => main.clone(),
                false => main.iter().map(|id| format!("{id}_{task}")).collect(),
            };
            send::remember(&run.dir, &ids)?;
        }
        if !self.main.arguments.is_empty() {
            let folder = self.main.path.parent().unwrap_or(Path::new("/"));
            send::remember(&RunDir::new(folder), &main)?;
        }
        Ok(Told { stage, main, then })
    }
}
