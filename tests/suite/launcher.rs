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

use relion_rs::plan::RunDir;
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

/// An engine that says that it is ready, and waits for a signal.
const WAITING: &str = r#"#!/usr/bin/perl
use POSIX;
$parent = getppid();
$SIG{$_} = sub { my $name = shift; open(F, ">$ARGV[0]/got"); print F $name; close(F); exit 75 } for qw(TERM HUP);
sigprocmask(SIG_UNBLOCK, POSIX::SigSet->new(SIGTERM, SIGINT, SIGHUP));
mkdir "$ARGV[0]/checkpoint";
for my $name ("iter-000.h5", "iter-001.parts.json", "iter-001.part.000.h5") { open(F, ">$ARGV[0]/checkpoint/$name"); close(F) }
open(F, ">$ARGV[0]/pids"); print F "$$ $parent "; close(F);
for (1..300) { select(undef, undef, undef, 0.1); exit 1 if getppid() != $parent; }
"#;

/// Waits for something that takes a moment.
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn send(signal: &str, child: &Child) {
    assert!(Command::new("sh").args(["-c", &format!("kill -{signal} {}", child.id())]).status().unwrap().success());
}

fn end_of(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_closed_terminal_stops_the_engine_with_its_work_and_nohup_holds() {
    let stage = Stage::new(WAITING);
    let child = stage.command(JOB).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("the engine", || stage.path("out/pids").exists());
    send("HUP", &child);
    let (code, text) = end_of(child);
    assert_eq!(code, Some(75), "{text}");
    assert_eq!(fs::read_to_string(stage.path("out/got")).unwrap(), "TERM");

    let stage = Stage::new(WAITING);
    let script = format!("trap '' HUP; exec ./relion-rs {JOB}");
    let mut command = command(Path::new("sh"), stage.folder.path(), "-c");
    let mut child = command.arg(script).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("the engine", || stage.path("out/pids").exists());
    send("HUP", &child);
    std::thread::sleep(Duration::from_millis(500));
    assert!(child.try_wait().unwrap().is_none() && !stage.path("out/got").exists(), "nohup was forgotten");
    send("TERM", &child);
    assert_eq!(end_of(child).0, Some(75));
}

#[test]
fn the_last_words_tell_what_is_on_disk() {
    let stage = Stage::new(WAITING);
    let child = stage.command(JOB).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("the engine", || stage.path("out/pids").exists());
    send("INT", &child);
    let (code, text) = end_of(child);
    assert_eq!(code, Some(75), "{text}");
    assert!(text.contains("goes on after iteration 0, with what is finished of iteration 1"), "{text}");
}

#[test]
fn nobody_outlives_the_process_that_started_it() {
    let folder = tempfile::tempdir().unwrap();
    let own = std::process::id().to_string();
    for (parent, wanted) in [("1", 75), (own.as_str(), 0)] {
        let rank = Path::new(env!("CARGO_BIN_EXE_relion-rs-rank"));
        let (code, text) = told(&mut command(rank, folder.path(), &format!("--probe --die-with-parent {parent}")));
        assert_eq!((code, text.is_empty()), (wanted, wanted == 75), "{text}");
        let words = format!("--die-with-parent {parent} completions bash");
        let (code, text) = told(&mut command(Path::new(LAUNCHER), folder.path(), &words));
        assert_eq!((code, text.is_empty()), (wanted, wanted == 75), "{text}");
    }
}

#[test]
fn a_folder_whose_engine_is_about_to_die_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let run_dir = RunDir::new(folder.path());
    run_dir.create().unwrap();
    let lock = run_dir.lock().unwrap();
    let dies = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(500));
        drop(lock);
    });
    run_dir.lock().unwrap();
    dies.join().unwrap();
}

#[test]
fn a_drill_takes_its_run_with_it() {
    let job = "drill refine3d --particles p.star --reference r.mrc --diameter 200 --kill";
    let stage = Stage::new(WAITING);
    let run = || {
        let folders = fs::read_dir(stage.folder.path()).unwrap().map(|entry| entry.unwrap().path());
        folders.map(|folder| folder.join("run/pids")).find(|path| fs::read_to_string(path).is_ok_and(|t| !t.is_empty()))
    };
    let child = stage.command(job).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("the engine", || run().is_some());
    let before = fs::read_dir(stage.folder.path()).unwrap().count();
    send("TERM", &child);
    let (code, text) = end_of(child);
    assert!(code == Some(75) && text.contains("stopped by SIGTERM, after 0 interruptions of 1"), "{text}");
    assert_eq!(fs::read_dir(stage.folder.path()).unwrap().count(), before - 1, "its folder is left");

    let mut child = stage.command(job).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_until("the engine", || run().is_some());
    let pids = fs::read_to_string(run().unwrap()).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    for pid in pids.split_whitespace() {
        let status = Path::new("/proc").join(pid).join("status");
        // A zombie is dead; who reaps it is not ours to say.
        let is_gone = || fs::read_to_string(&status).map_or(true, |text| text.contains("State:\tZ"));
        wait_until("a process that outlives the drill", is_gone);
    }
}

#[test]
fn a_drill_that_interrupts_nothing_says_so() {
    let stage = Stage::new("#!/bin/sh\necho same > $1/run_same.star\n");
    let job = "drill refine3d --particles p.star --reference r.mrc --diameter 200 --kill --after 1h";
    let (code, text) = told(&mut stage.command(job));
    assert_eq!(code, 64, "{text}");
    assert!(text.contains("no run was interrupted") && text.contains("shorter --after"), "{text}");
    assert!(!text.contains("are the same after"), "{text}");
}

#[test]
fn a_branch_appears_whole_or_not_at_all_and_only_where_it_may() {
    let stage = Stage::new("#!/bin/sh\nexit 0\n");
    let say = |words: &str| told(&mut stage.command(words));
    assert_eq!(say(JOB).0, 0);
    for iteration in [3, 4, 5] {
        let path = stage.path(&format!("out/checkpoint/iter-{iteration:03}.h5"));
        let bytes = vec![iteration; 3 << 20];
        fs::write(&path, &bytes).unwrap();
        fs::write(format!("{}.b3", path.display()), format!("{}\n", blake3::hash(&bytes).to_hex())).unwrap();
    }
    let (code, text) = say("resume out --from-iteration 3 --out new/deep/b");
    assert_eq!(code, 0, "{text}");
    let same = |name: &str| {
        fs::read(stage.path(&format!("out/{name}"))).unwrap()
            == fs::read(stage.path(&format!("new/deep/b/{name}"))).unwrap()
    };
    assert!(same("checkpoint/iter-003.h5") && same("checkpoint/iter-003.h5.b3"));
    let json = fs::read_to_string(stage.path("new/deep/b/branch.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["iteration"], 3);
    assert_eq!(json["source"], stage.path("out").canonicalize().unwrap().to_str().unwrap());
    let others_may_read = fs::metadata(stage.path("new/deep/b")).unwrap().permissions().mode();
    assert_eq!(others_may_read, fs::metadata(stage.path("out")).unwrap().permissions().mode());
    assert_eq!(say("resume out --from-iteration 3 --out new/deep/b").0, 0, "the same goes on");

    fs::write(stage.path("out/checkpoint/iter-005.h5"), "damaged").unwrap();
    fs::create_dir_all(stage.path("full")).unwrap();
    fs::write(stage.path("full/notes.txt"), "").unwrap();
    let before = fs::read_dir(stage.folder.path()).unwrap().count();
    for (words, wanted, said) in [
        ("4 --out new/deep/b", 64, "after iteration 3"),
        ("4 --out out", 64, "is the run itself"),
        ("4 --out full/../out/", 64, "is the run itself"),
        ("4 --out full", 64, "is not empty"),
        ("5 --out c", 65, "iter-005.h5: is damaged"),
        ("7 --out c", 66, "there are those of 3, 4, 5"),
        ("4 --out p.star/c", 73, "p.star/c"),
    ] {
        let (code, text) = say(&format!("resume out --from-iteration {words}"));
        assert!(code == wanted && text.contains(said), "{words}: {code} {text}");
        assert_eq!(fs::read_dir(stage.folder.path()).unwrap().count(), before, "{words}: something is left");
    }
    assert_eq!(say("resume out --from-iteration 4").0, 0);
    assert!(stage.path("out-from-004/plan.json").is_file());
}
