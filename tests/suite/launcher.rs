//! The launcher beside an engine at work: nothing that happens to one of them harms the other or the run.

use std::fs;
use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use tempfile::TempDir;

const LAUNCHER: &str = env!("CARGO_BIN_EXE_relion-rs");
const JOB: &str = "run refine3d --particles p.star --reference r.mrc --diameter 200 --out out";

/// A launcher beside an engine that is a script, and inputs that are looked at by nobody.
struct Stage {
    folder: TempDir,
}

impl Stage {
    fn new(engine: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let stage = Self { folder };
        if fs::hard_link(LAUNCHER, stage.path("relion-rs")).is_err() {
            fs::copy(LAUNCHER, stage.path("relion-rs")).unwrap();
        }
        fs::write(stage.path("relion-rs-rank"), engine).unwrap();
        fs::set_permissions(stage.path("relion-rs-rank"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(stage.path("p.star"), "data_particles\n").unwrap();
        fs::write(stage.path("r.mrc"), "map").unwrap();
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, words: &str) -> Command {
        command(&self.path("relion-rs"), self.folder.path(), words)
    }
}

fn command(program: &Path, folder: &Path, words: &str) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("RELION_RS_")) {
        command.env_remove(name);
    }
    command.current_dir(folder).env("HOME", folder).env_remove("XDG_CONFIG_HOME").env_remove("SLURM_JOB_END_TIME");
    command.args(words.split_whitespace()).stdin(Stdio::null());
    command
}

/// What a command says, and its code.
fn told(command: &mut Command) -> (i32, String) {
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (output.status.code().unwrap_or(-1), text)
}

#[test]
fn a_display_that_fails_does_not_end_the_engine() {
    for wanted in [0, 65, 75] {
        let event = r#"{"unix_seconds":1.0,"event":"stopping","cause":"test","iteration":1,"particles_done":0}"#;
        let engine = format!(
            "#!/bin/sh\necho '{event}' >> $1/progress.jsonl\nsleep 0.5\n\
             echo '{event}' >> $1/progress.jsonl\ntouch $1/done\nexit {wanted}\n"
        );
        let stage = Stage::new(&engine);
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = stage.command(JOB).stdout(full).stderr(Stdio::piped()).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(stage.path("out/done").exists(), "the engine was ended: {text}");
        // Work that is done and could not be shown is told; anything else matters more.
        assert_eq!(output.status.code(), Some(if wanted == 0 { 74 } else { wanted }), "{text}");
        assert_eq!(text.matches("standard output").count(), usize::from(wanted == 0), "{text}");
    }
}
