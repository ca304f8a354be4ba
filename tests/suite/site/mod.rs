//! The site: installed versions and their module files, profiles, the doctor, RELION's entries. Commands of the cluster
//! are scripts in a folder that is all of the PATH.

mod doctor;
mod external;
mod install;
mod profiles;
mod recipes;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use tempfile::TempDir;

const LAUNCHER: &str = env!("CARGO_BIN_EXE_relion-rs");
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// An engine that tells what it is, and ends at once when it is to work.
const ENGINE: &str = r#"case "$1" in
--version) echo "relion-rs-rank VERSION" ;;
--probe) echo '{"version":"VERSION","hdf5":"1.10.8","cores":8,"instruction_set":"avx2","backends":["cpu"]}' ;;
*) exit 0 ;;
esac
"#;

/// A folder with the launcher in `bin`, an engine that is a script, and commands in `fake`.
struct Desk {
    folder: TempDir,
}

impl Desk {
    fn new() -> Self {
        let desk = Self { folder: tempfile::tempdir().unwrap() };
        for name in ["bin", "fake", "tmp"] {
            fs::create_dir(desk.path(name)).unwrap();
        }
        if fs::hard_link(LAUNCHER, desk.path("bin/relion-rs")).is_err() {
            fs::copy(LAUNCHER, desk.path("bin/relion-rs")).unwrap();
        }
        desk.script("bin/relion-rs-rank", ENGINE);
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a program. `VERSION` in it is this version.
    fn script(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::write(&path, format!("#!/bin/sh\n{}", text.replace("VERSION", VERSION))).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A command of the cluster.
    fn fake(&self, name: &str, text: &str) {
        self.script(&format!("fake/{name}"), text);
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|cause| panic!("{name}: {cause}"))
    }

    /// A program that sees nothing of the person who runs the tests.
    fn command(&self, program: &str, words: &str) -> Command {
        let mut command = Command::new(if program.contains('/') { self.path(program) } else { program.into() });
        command.env_clear().env("PATH", self.path("fake")).env("HOME", self.folder.path());
        command.env("TMPDIR", self.path("tmp")).current_dir(self.folder.path());
        command.args(words.split_whitespace()).stdin(Stdio::null());
        command
    }

    /// The launcher's code, and all that it says.
    fn told(&self, words: &str) -> (i32, String) {
        told(&mut self.command("bin/relion-rs", words))
    }
}

fn told(command: &mut Command) -> (i32, String) {
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (output.status.code().unwrap_or(-1), text)
}
