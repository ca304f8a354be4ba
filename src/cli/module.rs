//! `module install` and `module uninstall`: a version in its own folder, with module files beside those of others.

mod pages;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use clap_complete::Shell;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::plan::CLUSTER_TABLE;
use crate::plan::Cluster;
use crate::plan::Layers;
use crate::plan::PARTITIONS_TABLE;
use crate::plan::Sources;
use crate::site;
use crate::site::Content;
use crate::site::Entry;
use crate::site::ModuleKind;
use crate::site::Modules;
use crate::slurm::call_within;

use super::completions;
use super::engine;
use super::man;
use super::relion;
use super::screen::Screen;

const VERSION: &str = env!("CARGO_PKG_VERSION");
const ENGINE_PATIENCE: Duration = Duration::from_secs(60);

#[derive(Subcommand, Debug)]
pub enum Verb {
    /// Install this version below a folder, with module files, man pages, completions and a site file
    Install(Install),
    /// Take a version away again; others, and files that were changed, stay
    Uninstall(Uninstall),
}

#[derive(clap::Args, Debug)]
pub struct Install {
    /// Folder that all nodes see; versions lie in PREFIX/relion-rs/VERSION, module files in PREFIX/modulefiles
    #[arg(value_name = "PREFIX")]
    pub prefix: PathBuf,
    /// Site file to start from: a profile (generic, srun-pmix, gres-mpirun, cpu-only, sandbox) or a file of your own
    /// [default: the site file of the version installed before, else generic]
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// Folder of module files to use instead of PREFIX/modulefiles
    #[arg(long, value_name = "DIR")]
    pub module_path: Option<PathBuf>,
    /// Write a module file in Lua too, in PREFIX/modulefiles-lua
    #[arg(long)]
    pub lua: bool,
    /// Take this version away instead
    #[arg(long, conflicts_with_all = ["profile", "module_path", "lua"])]
    pub uninstall: bool,
}

#[derive(clap::Args, Debug)]
pub struct Uninstall {
    /// The folder that was given to `module install`
    #[arg(value_name = "PREFIX")]
    pub prefix: PathBuf,
    /// Version to take away
    #[arg(value_name = "VERSION", default_value = VERSION)]
    pub release: String,
}

pub fn run(verb: &Verb, screen: &Screen) -> Result<ExitCode> {
    match verb {
        Verb::Install(arguments) if arguments.uninstall => uninstall(&arguments.prefix, VERSION, screen),
        Verb::Install(arguments) => install(arguments, screen),
        Verb::Uninstall(arguments) => uninstall(&arguments.prefix, &arguments.release, screen),
    }
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|cause| Error::reading(path, &cause))
}

fn install(arguments: &Install, screen: &Screen) -> Result<ExitCode> {
    let prefix = absolute(&arguments.prefix)?;
    if prefix.to_str().is_none_or(|text| text.contains(['\n', ':'])) {
        return Err(Error::usage(
            format!("{} cannot be a part of PATH", prefix.display()),
            "Choose a PREFIX without colons and line ends.",
        ));
    }
    let (settings, origin) = settings(arguments.profile.as_deref(), &prefix)?;
    let entries = entries(settings)?;
    let tcl = match &arguments.module_path {
        Some(folder) => absolute(folder)?,
        None => prefix.join(ModuleKind::Tcl.usual_folder()),
    };
    let mut folders = vec![(ModuleKind::Tcl, tcl.clone())];
    if arguments.lua {
        folders.push((ModuleKind::Lua, prefix.join(ModuleKind::Lua.usual_folder())));
    }
    let done = site::install(&prefix, VERSION, &entries, &Modules { folders })?;
    done.warnings.iter().for_each(|warning| screen.warning(warning));
    let site_file = done.root.join(site::SITE_FILE);
    if screen.is_json() {
        screen.print_json(&serde_json::json!({
            "version": VERSION, "root": done.root, "modules": done.modules, "site_file": site_file,
            "profile": origin, "replaced": done.replaced,
        }))?;
        return Ok(ExitCode::Done);
    }
    let verb = if done.replaced { "replaced" } else { "installed" };
    screen.print(&format!(
        "{verb} {}\n  site file: {}, from {origin}\n  try it:    module use {} && module load relion-rs && relion-rs doctor",
        done.root.display(),
        site_file.display(),
        tcl.display()
    ))?;
    Ok(ExitCode::Done)
}

fn uninstall(prefix: &Path, version: &str, screen: &Screen) -> Result<ExitCode> {
    let removed = site::uninstall(&absolute(prefix)?, version)?;
    removed.warnings.iter().for_each(|warning| screen.warning(warning));
    if screen.is_json() {
        screen.print_json(&serde_json::json!({ "removed": removed.root, "kept": removed.kept }))?;
        return Ok(ExitCode::Done);
    }
    for path in &removed.kept {
        screen.warning(&format!("{} is not as it was installed, and stays", path.display()));
    }
    screen.print(&format!("removed {}", removed.root.display()))?;
    Ok(ExitCode::Done)
}

/// The text of the site file, and where it is from.
fn settings(profile: Option<&str>, prefix: &Path) -> Result<(Vec<u8>, String)> {
    let (text, origin) = match profile {
        Some(name) => {
            let path = Path::new(name);
            if path.is_file() {
                (fs::read(path).map_err(|cause| Error::reading(path, &cause))?, path.display().to_string())
            } else {
                (site::profile(name)?.text.as_bytes().to_vec(), format!("the profile {name}"))
            }
        }
        None => match site::earlier_settings(prefix, VERSION)? {
            Some((path, text)) => (text, path.display().to_string()),
            None => (site::profile("generic")?.text.as_bytes().to_vec(), "the profile generic".to_owned()),
        },
    };
    // A site file that cannot be read would stop every command of every user.
    check_settings(&origin, &text).map_err(|mut error| {
        if profile.is_none() {
            error.fix.push_str(" Then install again, or name another with --profile.");
        }
        error
    })?;
    Ok((text, origin))
}

/// Reads a site file as every command will.
fn check_settings(origin: &str, text: &[u8]) -> Result<()> {
    let failed = |cause: std::io::Error| Error::writing(&std::env::temp_dir(), &cause);
    let mut file = tempfile::NamedTempFile::new().map_err(failed)?;
    file.write_all(text).map_err(failed)?;
    let site_file = Some(file.path().to_path_buf());
    let load = |partition: Option<String>| {
        let cluster_flags = Cluster { partition, ..Cluster::default() };
        let sources = Sources { site_file: site_file.clone(), cluster_flags, ..Sources::default() };
        Layers::load(&sources).map(drop).map_err(|mut error| {
            error.place = error.place.replace(&file.path().display().to_string(), origin);
            error
        })
    };
    load(None)?;
    // A partition's table is looked at where a job goes there.
    let table: toml::Table = String::from_utf8_lossy(text).parse().unwrap_or_default();
    let partitions = table.get(CLUSTER_TABLE).and_then(|cluster| cluster.get(PARTITIONS_TABLE)?.as_table());
    partitions.into_iter().flat_map(toml::Table::keys).try_for_each(|name| load(Some(name.clone())))
}

/// All files of a version.
fn entries(settings: Vec<u8>) -> Result<Vec<Entry>> {
    let engine = engine::program()?;
    same_version(&engine)?;
    let own = std::env::current_exe().map_err(|cause| Error::internal(format!("own path: {cause}")))?;
    let program = |name: &str, from: PathBuf| Entry {
        path: Path::new("bin").join(name),
        content: Content::CopyOf(from),
        is_program: true,
    };
    let text =
        |path: String, text: Vec<u8>| Entry { path: path.into(), content: Content::Text(text), is_program: false };
    let mut entries = vec![
        program("relion-rs", own),
        program("relion-rs-rank", engine),
        text(site::SITE_FILE.to_owned(), settings),
        text("share/relion-rs/relion-qsub.sh".to_owned(), relion::TEMPLATE.as_bytes().to_vec()),
    ];
    for profile in site::PROFILES {
        entries.push(text(format!("share/relion-rs/sites/{}.toml", profile.name), profile.text.as_bytes().to_vec()));
    }
    for (name, page) in pages::all() {
        entries.push(text(format!("share/doc/relion-rs/{name}"), page.into_bytes()));
    }
    for (shell, path) in [
        (Shell::Bash, "share/bash-completion/completions/relion-rs"),
        (Shell::Zsh, "share/zsh/site-functions/_relion-rs"),
        (Shell::Fish, "share/fish/vendor_completions.d/relion-rs.fish"),
    ] {
        entries.push(text(path.to_owned(), completions::script(shell)));
    }
    for (name, page) in man::pages()? {
        entries.push(text(format!("share/man/man1/{name}"), page));
    }
    Ok(entries)
}

/// A launcher with the engine of another version would refuse every run.
fn same_version(engine: &Path) -> Result<()> {
    let name = engine.display().to_string();
    let unavailable = |problem: String, fix: &str| Error::new(ExitCode::Unavailable, &name, problem, fix);
    let text = call_within(&name, &["--version"], ENGINE_PATIENCE).map_err(|cause| {
        unavailable(
            format!("does not start: {cause}"),
            "Install the libraries that it was built with (HDF5, MPI), or load their modules first.",
        )
    })?;
    let found = text.split_whitespace().last().unwrap_or_default().to_owned();
    if found == VERSION {
        return Ok(());
    }
    Err(unavailable(
        format!("is version {found}, and this launcher {VERSION}"),
        "Build both programs together: `make build`, then `target/release/relion-rs module install PREFIX`.",
    ))
}
