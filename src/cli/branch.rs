//! A branch: a run folder that goes on from an iteration of another one, which stays as it is.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::formats::atomic::write_text;
use crate::plan::Plan;
use crate::plan::RunDir;
use crate::plan::read_table;

/// Makes the branch (or finds it, when it was made before) and returns its folder and plan.
///
/// # Errors
/// `NoInput` when there is no checkpoint of that iteration; `Usage` when the folder holds another run.
pub fn off(run_dir: &RunDir, plan: Plan, iteration: u32, out: Option<&Path>) -> Result<(RunDir, Plan)> {
    let from = run_dir.checkpoint().join(format!("iter-{iteration:03}.h5"));
    let absolute = |path: &Path| std::path::absolute(path).map_err(|cause| Error::reading(path, &cause));
    let root = absolute(run_dir.root())?;
    let out = match out {
        Some(out) => absolute(out)?,
        None => {
            let mut name = root.file_name().unwrap_or_default().to_os_string();
            name.push(format!("-from-{iteration:03}"));
            root.with_file_name(name)
        }
    };
    let branch = RunDir::new(&out);
    let out = out.strip_prefix(&plan.working_directory).map(PathBuf::from).unwrap_or(out);
    let plan = Plan { out, ..plan };
    if branch.plan().exists() {
        let there = Plan::read(&branch.plan())?;
        let differences = there.differences(&plan);
        if differences.is_empty() {
            return Ok((branch, plan));
        }
        return Err(Error::new(
            ExitCode::Usage,
            branch.root().display().to_string(),
            format!("holds a run with another {}", differences[0].0),
            "Name another folder with --out.",
        ));
    }
    if !from.is_file() {
        return Err(Error::new(
            ExitCode::NoInput,
            from.display().to_string(),
            format!("there is no checkpoint of iteration {iteration}; there are those of {}", kept(run_dir)?),
            "Name one of these iterations; --keep-every and --keep-last say which are kept.",
        ));
    }
    branch.create()?;
    let name = from.file_name().unwrap_or_default().to_os_string();
    for (end, source) in [(".b3", with_end(&from, ".b3")), ("", from.clone())] {
        let target = with_end(&branch.checkpoint().join(&name), end);
        fs::copy(&source, &target).map_err(|cause| Error::writing(&target, &cause))?;
    }
    if run_dir.job().is_file() {
        let mut job = read_table(&run_dir.job())?;
        job.insert("out".to_owned(), toml::Value::String(plan.out.display().to_string()));
        let header = format!("# A branch of {} after iteration {iteration}.\n", root.display());
        write_text(&branch.job(), &format!("{header}{job}"))?;
    }
    // Last: with it the folder is a run.
    write_text(&branch.plan(), &plan.to_json()?)?;
    Ok((branch, plan))
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(end);
    PathBuf::from(name)
}

/// Iterations that have a checkpoint.
fn kept(run_dir: &RunDir) -> Result<String> {
    let folder = run_dir.checkpoint();
    let entries = fs::read_dir(&folder).map_err(|cause| Error::reading(&folder, &cause))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut iterations: Vec<u32> =
        names.filter_map(|name| name.strip_prefix("iter-")?.strip_suffix(".h5")?.parse().ok()).collect();
    iterations.sort_unstable();
    Ok(iterations.iter().map(u32::to_string).collect::<Vec<_>>().join(", "))
}
