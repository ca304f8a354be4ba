//! A version in its own folder, complete or not at all: `PREFIX/relion-rs/VERSION`, and its module files.

use std::fs;
use std::fs::File;
use std::fs::Permissions;
use std::io;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;

use nix::fcntl::AT_FDCWD;
use nix::fcntl::RenameFlags;
use nix::fcntl::renameat2;
use tempfile::NamedTempFile;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;

use super::manifest;
use super::manifest::Listed;
use super::manifest::ListedModule;
use super::manifest::Manifest;
use super::modulefile::DEFAULT_MARK;
use super::modulefile::ModuleKind;
use super::modulefile::default_text;
use super::version;

/// The program's folder below the prefix, and the name of the module.
pub(super) const NAME: &str = "relion-rs";
/// Below the folder of a version: the launcher looks for it beside its own `bin`.
pub const SITE_FILE: &str = "etc/relion-rs/site.toml";
pub(super) const DEFAULT_FILE: &str = ".version";
const FOLDER_MODE: u32 = 0o755;

/// A file to install.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Below the version's folder.
    pub path: PathBuf,
    pub content: Content,
    pub is_program: bool,
}

#[derive(Clone, Debug)]
pub enum Content {
    Text(Vec<u8>),
    CopyOf(PathBuf),
}

/// Where module files go; one of each kind.
#[derive(Clone, Debug)]
pub struct Modules {
    pub folders: Vec<(ModuleKind, PathBuf)>,
}

/// What an installation did.
#[derive(Clone, Debug)]
pub struct Installed {
    pub root: PathBuf,
    pub modules: Vec<PathBuf>,
    /// The same version was there before.
    pub replaced: bool,
    pub warnings: Vec<String>,
}

/// Installs a version below an absolute prefix. Until the last moment everything lies beside it under another name, and
/// what fails leaves nothing behind.
///
/// # Errors
/// `CannotCreate` for a prefix that cannot be written or a folder of somebody else in the way; `Io` for a full disk.
pub fn install(prefix: &Path, version: &str, entries: &[Entry], modules: &Modules) -> Result<Installed> {
    let base = prefix.join(NAME);
    let root = base.join(version);
    refuse_strangers(&root)?;
    let mut made = Made::default();
    let outcome = stage(&base, &root, version, entries, modules, &mut made);
    let (staged, files) = match outcome {
        Ok(staged) => staged,
        Err(error) => {
            made.undo();
            return Err(writing_fix(error));
        }
    };
    let earlier = Manifest::read(&root)?;
    let replaced = root.exists();
    let put = if replaced { exchange(staged.path(), &root) } else { fs::rename(staged.path(), &root) };
    if let Err(cause) = put {
        drop((staged, files));
        made.undo();
        return Err(writing_fix(Error::writing(&root, &cause)));
    }
    if replaced {
        // What was there before now has the other's name and goes with it.
        drop(staged);
    } else {
        // Nothing is left under that name.
        let _ = staged.keep();
    }
    sync_folder(&base)?;
    let mut installed = Installed { root, modules: Vec::new(), replaced, warnings: Vec::new() };
    for (path, file) in files {
        file.persist(&path).map_err(|cause| Error::writing(&path, &cause.error))?;
        installed.modules.push(path);
    }
    // Module files of the same version that lay elsewhere.
    for old in earlier.into_iter().flat_map(|manifest| manifest.modules) {
        if !installed.modules.contains(&old.path) {
            if manifest::digest(&old.path).is_ok_and(|digest| digest == old.blake3) {
                fs::remove_file(&old.path).map_err(|cause| Error::writing(&old.path, &cause))?;
                if let Some(folder) = old.path.parent() {
                    installed.warnings.extend(set_default(old.kind, folder)?);
                }
            } else if old.path.exists() {
                installed.warnings.push(format!("{} was changed by hand and is left there", old.path.display()));
            }
        }
    }
    for (kind, folder) in &modules.folders {
        installed.warnings.extend(set_default(*kind, &folder.join(NAME))?);
    }
    Ok(installed)
}

type StagedModules = Vec<(PathBuf, NamedTempFile)>;

/// Writes everything under names that nobody looks at.
fn stage(
    base: &Path,
    root: &Path,
    version: &str,
    entries: &[Entry],
    modules: &Modules,
    made: &mut Made,
) -> Result<(tempfile::TempDir, StagedModules)> {
    made.folders(base)?;
    let staged = tempfile::Builder::new()
        .prefix(".new-")
        .permissions(Permissions::from_mode(FOLDER_MODE))
        .tempdir_in(base)
        .map_err(|cause| Error::writing(base, &cause))?;
    // The mode above is subject to the umask of the one who installs; others shall read it all the same.
    set_mode(staged.path(), FOLDER_MODE)?;
    let mut list = Manifest { version: version.to_owned(), ..Manifest::default() };
    for entry in entries {
        let path = staged.path().join(&entry.path);
        let bytes = match &entry.content {
            Content::Text(text) => text.clone(),
            Content::CopyOf(from) => fs::read(from).map_err(|cause| Error::reading(from, &cause))?,
        };
        put(&path, staged.path(), &bytes, if entry.is_program { 0o755 } else { 0o644 })?;
        list.files.push(Listed { path: entry.path.clone(), blake3: blake3::hash(&bytes).to_hex().to_string() });
    }
    let mut files = Vec::new();
    for (kind, folder) in &modules.folders {
        let folder = folder.join(NAME);
        made.folders(&folder)?;
        let text = kind.text(version, root);
        let path = folder.join(kind.file_name(version));
        refuse_other_module(&path, version)?;
        let file = new_file(&folder, text.as_bytes())?;
        let blake3 = blake3::hash(text.as_bytes()).to_hex().to_string();
        list.modules.push(ListedModule { kind: *kind, path: path.clone(), blake3 });
        files.push((path, file));
    }
    put(&staged.path().join(manifest::NAME), staged.path(), list.text()?.as_bytes(), 0o644)?;
    Ok((staged, files))
}

/// The folder of a version may hold what was installed there and its settings. Anything else is somebody's, and would be
/// lost with it.
fn refuse_strangers(root: &Path) -> Result<()> {
    if !root.exists() {
        return Ok(());
    }
    if !root.is_dir() {
        return Err(in_the_way(root, "is a file"));
    }
    let known = Manifest::read(root)?.unwrap_or_default();
    let is_known = |path: &Path| {
        path == Path::new(SITE_FILE)
            || path == Path::new(manifest::NAME)
            || known.files.iter().any(|listed| listed.path == path)
    };
    match manifest::files_below(root)?.into_iter().find(|path| !is_known(path)) {
        Some(stranger) => Err(in_the_way(&root.join(stranger), "was not installed by `relion-rs module install`")),
        None => Ok(()),
    }
}

/// A module file of this name that says something else than ours ever did.
fn refuse_other_module(path: &Path, version: &str) -> Result<()> {
    match fs::read_to_string(path) {
        Ok(text) if !text.contains(&format!("relion-rs {version}, written by `relion-rs module install")) => {
            Err(in_the_way(path, "is another's module file"))
        }
        _ => Ok(()),
    }
}

fn in_the_way(path: &Path, problem: &str) -> Error {
    Error::new(
        ExitCode::CannotCreate,
        path.display().to_string(),
        problem,
        "Move it away, or choose another folder: nothing of others is replaced.",
    )
}

/// The usual advice about full disks speaks of checkpoints.
fn writing_fix(mut error: Error) -> Error {
    match error.code {
        ExitCode::Io => error.fix = "Nothing was installed. Free some space and run the same command again.".to_owned(),
        ExitCode::CannotCreate if error.problem.starts_with("cannot write") => {
            error.fix = "Nothing was installed. Choose a PREFIX that you may write to.".to_owned();
        }
        _ => {}
    }
    error
}

/// Settings of this version, or of the newest other one below the prefix: what an upgrade goes on with.
///
/// # Errors
/// A folder or file cannot be read.
pub fn earlier_settings(prefix: &Path, version: &str) -> Result<Option<(PathBuf, Vec<u8>)>> {
    let base = prefix.join(NAME);
    let own = base.join(version).join(SITE_FILE);
    let mut others: Vec<String> = match fs::read_dir(&base) {
        Ok(entries) => entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| !name.starts_with('.') && name != version)
            .collect(),
        Err(_) => Vec::new(),
    };
    others.sort_by(|left, right| version::compare(right, left));
    let candidates = std::iter::once(own).chain(others.iter().map(|other| base.join(other).join(SITE_FILE)));
    for path in candidates {
        match fs::read(&path) {
            Ok(text) => return Ok(Some((path, text))),
            Err(cause) if matches!(cause.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(cause) => return Err(Error::reading(&path, &cause)),
        }
    }
    Ok(None)
}

/// Makes the newest version in a folder of module files the default; without versions nothing stays. Returns a warning
/// when somebody else has chosen the default.
pub(super) fn set_default(kind: ModuleKind, folder: &Path) -> Result<Option<String>> {
    let names: Vec<String> = match fs::read_dir(folder) {
        Ok(entries) => entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect(),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(Error::reading(folder, &cause)),
    };
    let newest =
        names.iter().filter_map(|name| kind.version_of(name)).max_by(|left, right| version::compare(left, right));
    let path = folder.join(DEFAULT_FILE);
    let present = fs::read_to_string(&path).ok();
    if present.as_ref().is_some_and(|text| !text.contains(DEFAULT_MARK)) {
        return Ok(Some(format!("{} was written by somebody else: the default version stays", path.display())));
    }
    match newest {
        Some(newest) => {
            let file = new_file(folder, default_text(newest).as_bytes())?;
            file.persist(&path).map_err(|cause| Error::writing(&path, &cause.error))?;
        }
        None => {
            if present.is_some() {
                fs::remove_file(&path).map_err(|cause| Error::writing(&path, &cause))?;
            }
            // Others may have something in it; then it stays.
            let _ = fs::remove_dir(folder);
        }
    }
    Ok(None)
}

/// Two folders change places in one step; where the file system cannot, in two, with the old one back if the second fails.
fn exchange(new: &Path, old: &Path) -> io::Result<()> {
    match renameat2(AT_FDCWD, new, AT_FDCWD, old, RenameFlags::RENAME_EXCHANGE) {
        Ok(()) => Ok(()),
        Err(nix::Error::EINVAL | nix::Error::ENOSYS | nix::Error::EOPNOTSUPP) => {
            let aside = new.with_extension("old");
            fs::rename(old, &aside)?;
            if let Err(cause) = fs::rename(new, old) {
                fs::rename(&aside, old)?;
                return Err(cause);
            }
            fs::rename(&aside, new)
        }
        Err(cause) => Err(cause.into()),
    }
}

/// Folders that did not exist before.
#[derive(Default)]
struct Made(Vec<PathBuf>);

impl Made {
    fn folders(&mut self, folder: &Path) -> Result<()> {
        let missing: Vec<&Path> = folder.ancestors().take_while(|path| !path.exists()).collect();
        for path in missing.into_iter().rev() {
            fs::create_dir(path).map_err(|cause| Error::writing(path, &cause))?;
            self.0.push(path.to_path_buf());
            set_mode(path, FOLDER_MODE)?;
        }
        if folder.is_dir() { Ok(()) } else { Err(in_the_way(folder, "is a file")) }
    }

    /// Takes them away again, unless somebody has put something into them meanwhile.
    fn undo(&self) {
        for folder in self.0.iter().rev() {
            let _ = fs::remove_dir(folder);
        }
    }
}

/// Writes a file below `top`, with its folders.
fn put(path: &Path, top: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let failed = |cause: io::Error| Error::writing(path, &cause);
    let folder = path.parent().unwrap_or(top);
    let missing: Vec<&Path> = folder.ancestors().take_while(|folder| !folder.exists()).collect();
    for folder in missing.into_iter().rev() {
        fs::create_dir(folder).map_err(failed)?;
        set_mode(folder, FOLDER_MODE)?;
    }
    let mut file = File::create(path).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)?;
    set_mode(path, mode)
}

fn new_file(folder: &Path, bytes: &[u8]) -> Result<NamedTempFile> {
    let failed = |cause: io::Error| Error::writing(folder, &cause);
    let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(folder).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    set_mode(file.path(), 0o644)?;
    Ok(file)
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(|cause| Error::writing(path, &cause))
}

fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|cause| Error::writing(folder, &cause))
}
