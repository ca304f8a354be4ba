//! `new`: writes a commented job file with every key.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::plan::JobFile;
use crate::plan::JobKind;

use super::screen::Screen;

/// The shipped file: every key, its default and a line about it.
const TEMPLATE: &str = include_str!("../../config/job.toml");

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// File to write; - for standard output
    #[arg(value_name = "FILE", default_value = "job.toml")]
    pub file: PathBuf,
    /// What to compute
    #[arg(long, value_enum)]
    pub kind: Option<JobKind>,
    /// Replace an existing file
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub flags: Box<JobFile>,
}

pub fn run(arguments: &Arguments, screen: &Screen) -> Result<ExitCode> {
    let mut flags = *arguments.flags.clone();
    flags.kind = arguments.kind;
    let text = with_values(&flags)?;
    if arguments.file.as_os_str() == "-" {
        screen.print(&text)?;
        return Ok(ExitCode::Done);
    }
    write(&arguments.file, &text, arguments.force)?;
    if screen.is_json() {
        screen.print_json(&serde_json::json!({ "written": arguments.file }))?;
    } else {
        let name = arguments.file.display();
        screen.print(&format!("wrote {name}; edit it, then `relion-rs check {name}` and `relion-rs run {name}`"))?;
    }
    Ok(ExitCode::Done)
}

/// The template with the given keys set.
fn with_values(flags: &JobFile) -> Result<String> {
    let set: toml::Table = flags.to_toml()?.parse().map_err(|cause| Error::internal(format!("job file: {cause}")))?;
    let mut text = String::new();
    let mut is_of_cluster = false;
    for line in TEMPLATE.lines() {
        is_of_cluster |= line == "[cluster]";
        let key = line.strip_prefix("# ").and_then(|line| line.split_once(" = ")).map(|(key, _)| key);
        let key = key.filter(|_| !is_of_cluster);
        match key.and_then(|key| set.get_key_value(key)) {
            Some((key, value)) => {
                let comment = line.split_once("  # ").map_or("", |(_, comment)| comment);
                text.push_str(&format!("{:<34} # {comment}", format!("{key} = {value}")));
            }
            None => text.push_str(line),
        }
        text.push('\n');
    }
    Ok(text)
}

fn write(path: &Path, text: &str, force: bool) -> Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).create_new(!force);
    let mut file = options.open(path).map_err(|cause| match cause.kind() {
        std::io::ErrorKind::AlreadyExists => Error::new(
            ExitCode::CannotCreate,
            path.display().to_string(),
            "exists already",
            "Name another file, or use --force to replace it.",
        ),
        _ => Error::writing(path, &cause),
    })?;
    file.write_all(text.as_bytes()).map_err(|cause| Error::writing(path, &cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_keys_are_set_and_the_rest_stays_commented() {
        let flags = JobFile { diameter: Some(180.0), symmetry: Some("D2".to_string()), ..JobFile::default() };
        let text = with_values(&flags).unwrap();
        let read: JobFile = toml::from_str(&text).unwrap();
        assert_eq!(read, flags);
        assert_eq!(text.lines().count(), TEMPLATE.lines().count());
    }
}
