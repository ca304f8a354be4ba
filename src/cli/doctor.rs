//! `doctor`: what this machine, or a node of a partition, offers.

use std::io::IsTerminal;
use std::path::Path;
use std::path::PathBuf;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::plan::Cluster;
use crate::plan::JobFile;
use crate::plan::Layers;
use crate::plan::Sources;
use crate::site;
use crate::site::Answer;
use crate::site::Examination;
use crate::site::Finding;
use crate::site::OnNode;
use crate::site::State;

use super::engine;
use super::screen::Screen;

const MIB: u64 = 1 << 20;

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Look at a node of this partition, and keep what it answers for `submit`
    #[arg(long, value_name = "PARTITION")]
    pub on_node: Option<String>,
    /// How long to wait for that node
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    pub wait: u64,
    /// How much is written to scratch to measure its speed; 0: nothing
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    pub scratch_mib: u64,
    /// On a node: this is the answer for a partition, and an answer is a success whatever it tells
    #[arg(long, hide = true, value_name = "PARTITION")]
    pub answer_for: Option<String>,
    /// For srun, with --on-node: -- --account=NAME
    #[arg(last = true, value_name = "ARGUMENTS", requires = "on_node")]
    pub srun: Vec<String>,
}

pub fn run(arguments: &Arguments, screen: &Screen) -> Result<ExitCode> {
    let answer = match &arguments.on_node {
        Some(partition) => {
            let mut words = asked_of(partition)?;
            words.extend(arguments.srun.iter().cloned());
            let program = std::env::current_exe().map_err(|cause| Error::internal(format!("own path: {cause}")))?;
            let answer = site::ask(&OnNode {
                partition: partition.clone(),
                wait_seconds: arguments.wait,
                arguments: words,
                program,
                scratch_mib: arguments.scratch_mib,
            })?;
            let kept = answer.save(partition)?;
            if !screen.is_json() {
                screen.message(&format!("kept in {}", kept.display()));
            }
            answer
        }
        None => Answer { partition: arguments.answer_for.clone(), ..here(arguments)? },
    };
    if screen.is_json() {
        screen.print_json(&answer)?;
    } else {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        screen.print(&text(&answer, colour))?;
    }
    let is_told = arguments.answer_for.is_some() || answer.is_fit();
    Ok(if is_told { ExitCode::Done } else { ExitCode::Unavailable })
}

/// What the settings say about every job in a partition.
fn asked_of(partition: &str) -> Result<Vec<String>> {
    let cluster_flags = Cluster { partition: Some(partition.to_owned()), ..Cluster::default() };
    let sources = Sources { cluster_flags, ..Sources::of_process(None, JobFile::default())? };
    let cluster = Layers::load(&sources)?.cluster;
    let pairs = [("account", cluster.account), ("qos", cluster.qos), ("constraint", cluster.constraint)];
    Ok(pairs.into_iter().filter_map(|(name, value)| Some(format!("--{name}={}", value?))).collect())
}

/// Looks at this machine.
fn here(arguments: &Arguments) -> Result<Answer> {
    let folder = std::env::current_dir().map_err(|cause| Error::reading(Path::new("working directory"), &cause))?;
    let engine = engine::program()
        .map_err(|error| Finding::failed("engine", format!("{}: {}", error.place, error.problem), error.fix));
    let (settings, scratch) = settings(arguments.answer_for.as_deref());
    site::examine(&Examination {
        engine,
        settings,
        folder,
        scratch: scratch.unwrap_or_else(usual_scratch),
        scratch_bytes: arguments.scratch_mib * MIB,
    })
}

/// Which files of settings count, whether they can be read, and the scratch folder that they name for this partition.
fn settings(partition: Option<&str>) -> (Vec<Finding>, Option<PathBuf>) {
    let topic = "settings";
    let named = Cluster { partition: partition.map(str::to_owned), ..Cluster::default() };
    let loaded = Sources::of_process(None, JobFile::default()).and_then(|sources| {
        let sources = Sources { cluster_flags: named, ..sources };
        let layers = Layers::load(&sources)?;
        Ok((sources, layers.cluster.scratch))
    });
    let (sources, scratch) = match loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            let failed = Finding::failed(topic, format!("{}: {}", error.place, error.problem), error.fix);
            return (vec![failed], None);
        }
    };
    let shown = |file: &Option<PathBuf>, what: &str| match file {
        Some(path) => format!("{what} {}", path.display()),
        None => format!("no {what}"),
    };
    let found = format!("{}, {}", shown(&sources.site_file, "site file"), shown(&sources.user_file, "user file"));
    let mut told = vec![Finding::ok(topic, found)];
    let Some(scratch) = scratch else { return (told, None) };
    match expanded(&scratch.display().to_string()) {
        Ok(folder) => (told, Some(PathBuf::from(folder))),
        Err(variable) => {
            told.push(Finding::warning(
                topic,
                format!("scratch = \"{}\": ${variable} is not set here", scratch.display()),
                "Right if a job sets it; else name a folder that is there.",
            ));
            (told, None)
        }
    }
}

/// A text with its $VARIABLES replaced, as the shell of a job does it; the name of the first that is not set otherwise.
fn expanded(text: &str) -> std::result::Result<String, String> {
    let mut parts = text.split('$');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = match part.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            Some(inner) => inner,
            None => part.split_at(part.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(part.len())),
        };
        out.push_str(&std::env::var(name).map_err(|_| name.to_owned())?);
        out.push_str(rest);
    }
    Ok(out)
}

/// A job's own folder where Slurm makes one, else that for temporary files.
fn usual_scratch() -> PathBuf {
    let named = std::env::var_os("SLURM_TMPDIR").filter(|folder| !folder.is_empty()).map(PathBuf::from);
    named.unwrap_or_else(std::env::temp_dir)
}

fn text(answer: &Answer, colour: bool) -> String {
    let place = match &answer.partition {
        Some(partition) => format!("{}, a node of partition {partition}", answer.host),
        None => answer.host.clone(),
    };
    let mut text = format!("relion-rs {} on {place}\n", answer.version);
    for finding in &answer.findings {
        let state = format!("{:<7}", finding.state);
        let paint = match finding.state {
            State::Ok => "32",
            State::Warning => "33",
            State::Missing => "36",
            State::Failed => "1;31",
        };
        let state = if colour { format!("\x1b[{paint}m{state}\x1b[0m") } else { state };
        text.push_str(&format!("{state}  {:<11} {}\n", finding.topic, finding.found));
        if !finding.remedy.is_empty() {
            text.push_str(&format!("{:>20} {}\n", "->", finding.remedy));
        }
    }
    let count = |state: State| answer.findings.iter().filter(|finding| finding.state == state).count();
    text.push_str(&match (count(State::Failed), count(State::Warning)) {
        (0, 0) => "`relion-rs run` works here\n".to_owned(),
        (0, warnings) => format!("`relion-rs run` works here; {}\n", super::screen::counted(warnings, "warning")),
        (failed, _) => format!("`relion-rs run` will not work here: {failed} failed\n"),
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_in_a_folder_are_those_of_the_shell() {
        let path = std::env::var("PATH").unwrap();
        assert_eq!(expanded("/a/$PATH/b"), Ok(format!("/a/{path}/b")));
        assert_eq!(expanded("/a/${PATH}b"), Ok(format!("/a/{path}b")));
        assert_eq!(expanded("/plain"), Ok("/plain".to_owned()));
        assert_eq!(expanded("/$NO_SUCH_THING/x"), Err("NO_SUCH_THING".to_owned()));
    }
}
