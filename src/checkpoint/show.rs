//! A look at the checkpoints of a run: the newest whole one (or the one that is named) and what lies beside it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use serde::Serialize;

use crate::error::Error;
use crate::error::Result;
use crate::plan::Plan;
use crate::plan::RunDir;
use crate::plan::format_bytes;

use super::contents::Contents;
use super::contents::Field;
use super::contents::Kind;
use super::folder;
use super::folder::Retention;
use super::verify::files;

/// Name of the file in which an index of parts ends, and what is in the middle of the name of a part.
const PARTS: [&str; 2] = [".parts", ".part."];

/// What there is to say.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Overview {
    /// The file that was looked into.
    pub shown: Contents,
    /// What else lies in its folder, by name.
    pub beside: Vec<Beside>,
    /// What the run keeps; none when there is no plan beside the folder.
    pub retention: Option<Retention>,
    /// Why newer files were passed over.
    pub warnings: Vec<String>,
}

/// Another file in the folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Beside {
    pub name: String,
    pub bytes: u64,
    pub role: Role,
}

/// What a file in the folder is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The state after another iteration.
    Checkpoint,
    /// The digest of a checkpoint.
    Digest,
    /// Of an iteration that was interrupted.
    Part,
    /// Being written, or left by a killed process.
    Temporary,
    Other,
}

impl Role {
    fn of(name: &str) -> Self {
        if folder::iteration_of(name).is_some() {
            Self::Checkpoint
        } else if name.strip_suffix(".b3").and_then(folder::iteration_of).is_some() {
            Self::Digest
        } else if name.starts_with('.') {
            Self::Temporary
        } else if name.starts_with("iter-") && PARTS.iter().any(|part| name.contains(part)) {
            Self::Part
        } else {
            Self::Other
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Checkpoint => "checkpoint",
            Self::Digest => "digest",
            Self::Part => "part of an iteration",
            Self::Temporary => "temporary",
            Self::Other => "not known",
        }
    }
}

/// Looks into the newest whole checkpoint of a run folder (or of its `checkpoint` folder), or into the file `path`.
///
/// # Errors
/// There is no checkpoint, or none that can be read.
pub fn show(path: &Path) -> Result<Overview> {
    let found = files(path)?;
    let (shown, warnings) = if path.is_file() {
        (Contents::read(path)?, Vec::new())
    } else {
        let folder = parent(&found[0].1);
        match folder::latest_in(&folder, false)? {
            Some(latest) => (Contents::read(&latest.path)?, latest.warnings),
            None => return Err(Error::internal("a checkpoint that was listed is gone")),
        }
    };
    let folder = parent(&shown.file);
    let plan = folder.canonicalize().ok().and_then(|folder| Plan::read(&RunDir::new(folder.parent()?).plan()).ok());
    let retention = plan.map(|plan| Retention {
        keep_last: u32::try_from(plan.keep_last).unwrap_or(u32::MAX),
        keep_every: plan.keep_every,
    });
    Ok(Overview { beside: beside(&folder, &shown.file)?, shown, retention, warnings })
}

fn parent(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

fn beside(folder: &Path, shown: &Path) -> Result<Vec<Beside>> {
    let failed = |e| Error::reading(folder, &e);
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if Some(entry.file_name().as_os_str()) != shown.file_name() {
            let name = entry.file_name().to_string_lossy().into_owned();
            // A file that is being renamed may be gone by now.
            let bytes = entry.metadata().map_or(0, |metadata| metadata.len());
            found.push(Beside { role: Role::of(&name), name, bytes });
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

impl Overview {
    /// For people; headings in bold with `colour`.
    pub fn text(&self, colour: bool) -> String {
        let bold = |word: &str| if colour { format!("\x1b[1m{word}\x1b[0m") } else { word.to_owned() };
        let shown = &self.shown;
        let mut lines = vec![bold(&format!("{}: iteration {}", shown.file.display(), shown.iteration))];
        lines.extend(self.summary().into_iter().map(|(name, text)| format!("  {name:<12} {text}")));
        lines.push(bold("inputs"));
        lines.extend(shown.inputs.iter().map(|input| {
            format!("  {} {}: {}, BLAKE3 {:.16}", input.role, input.path, format_bytes(input.bytes), input.digest)
        }));
        lines.push(bold("fields"));
        lines.extend(shown.fields.iter().filter(|field| !is_repeated(field)).map(line));
        if !self.beside.is_empty() {
            lines.push(bold("beside it"));
        }
        lines.extend(
            self.beside
                .iter()
                .map(|file| format!("  {:<32} {:>12}  {}", file.name, format_bytes(file.bytes), file.role.word())),
        );
        lines.join("\n")
    }

    fn summary(&self) -> Vec<(&'static str, String)> {
        let shown = &self.shown;
        let identity = &shown.identity;
        let state = format!(
            "{} particles, {} {} in {} {}, maps of {} pixels of {:.4} A, {:.2} A{}",
            shown.particles,
            shown.classes,
            if shown.classes == 1 { "class" } else { "classes" },
            shown.halves,
            if shown.halves == 1 { "set" } else { "half sets" },
            shown.box_pixels,
            shown.pixel_size_angstrom,
            shown.resolution_angstrom,
            if shown.has_converged { ", converged" } else { "" }
        );
        let writer = format!(
            "relion-rs {}, {} precision, blocks of {} particles, {}{}",
            identity.program_version,
            identity.precision,
            identity.block_particles,
            identity.instruction_set,
            identity.gpu_words()
        );
        let mut rows = vec![
            ("state", state),
            ("size", format!("{} ({} bytes)", format_bytes(shown.bytes), shown.bytes)),
            ("format", shown.format.clone()),
            ("written by", writer),
            ("BLAKE3", shown.digest.clone()),
            ("plan", shown.plan_digest.clone()),
        ];
        let parts: Vec<&Beside> = self.beside.iter().filter(|file| file.role == Role::Part).collect();
        if !parts.is_empty() {
            let bytes = parts.iter().map(|file| file.bytes).sum();
            let files = if parts.len() == 1 { "file" } else { "files" };
            rows.push((
                "unfinished",
                format!("{} {files} of an interrupted iteration, {}", parts.len(), format_bytes(bytes)),
            ));
        }
        if let Some(Retention { keep_last, keep_every }) = self.retention {
            let every = keep_every.map_or_else(String::new, |every| format!(", and every {every}th iteration"));
            rows.push(("kept", format!("the last {keep_last}{every}")));
        }
        rows
    }
}

/// Lists are told by their first member.
fn is_repeated(field: &Field) -> bool {
    field.path.split('/').any(|part| part != "000" && is_member_number(part))
}

fn is_member_number(part: &str) -> bool {
    part.len() >= 3 && part.bytes().all(|byte| byte.is_ascii_digit())
}

/// A field, indented by its depth.
fn line(field: &Field) -> String {
    let depth = field.path.matches('/').count();
    let name = field.path.rsplit('/').next().unwrap_or_default();
    let mut text = format!("{}{name}", "  ".repeat(depth));
    match (field.kind, &field.value) {
        (Kind::Group, _) => text.push('/'),
        (Kind::Attribute, Some(value)) => {
            // Writing to a text cannot fail.
            let _ = write!(text, " = {value}");
        }
        _ => {
            let shape: Vec<String> = field.shape.iter().map(ToString::to_string).collect();
            let sizes = format!("{} [{}]", field.type_name, shape.join(" x "));
            text = format!("{text:<44} {sizes:<20} {:>12}", format_bytes(field.bytes));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_by_their_names() {
        for (name, role) in [
            ("iter-012.h5", Role::Checkpoint),
            ("iter-012.h5.b3", Role::Digest),
            ("iter-013.parts", Role::Part),
            ("iter-013.part.000.1.h5", Role::Part),
            (".iter-013.h5.tmp", Role::Temporary),
            ("notes.txt", Role::Other),
        ] {
            assert_eq!(Role::of(name), role, "{name}");
        }
    }
}
