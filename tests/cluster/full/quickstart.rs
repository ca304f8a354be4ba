//! The tutorial, command by command, as a new user types it: in one shell, in a checkout, with a home of its own.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use std::time::Instant;

use relion_rs::plan::RunDir;
use relion_rs::plan::progress;
use relion_rs::plan::progress::Event;

use crate::runs::program;
use crate::sandbox::Options;
use crate::sandbox::Sandbox;

const PAGE: &str = include_str!("../../../docs/quickstart.md");
const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const FENCE: &str = "```";
/// Of all commands together.
const LONGEST: Duration = Duration::from_secs(900);
/// Where there is no module system: what `module use` and `module load` do with a module file that only sets paths.
const MODULE: &str = r#"
for start in /etc/profile.d/lmod.sh /etc/profile.d/modules.sh; do [ -r $start ] && . $start; done
command -v module >/dev/null || module() {
    case $1 in
        use) MODULEPATH=$2 ;;
        load) PATH=$(sed -n 's/^ *prepend-path *PATH *//p' "$MODULEPATH/$2/"[0-9]* | sed "s#\$root#$HOME/apps/$2/$VERSION#"):$PATH ;;
    esac
}
"#;

/// The commands of the page, in their order.
fn commands() -> Vec<String> {
    let mut commands = vec![];
    let mut is_code = false;
    for line in PAGE.lines() {
        match line.strip_prefix(FENCE) {
            Some(kind) => {
                assert!(is_code || kind == "sh", "only commands are in blocks");
                is_code = !is_code;
            }
            None if is_code => commands.push(line.to_owned()),
            None => {}
        }
    }
    commands
}

/// A checkout in which `make` finds everything built already: compiling is what the test itself did.
fn checkout(folder: &Path) {
    for name in ["Makefile", ".ci", "tests", "config", "docs"] {
        symlink(Path::new(ROOT).join(name), folder.join(name)).unwrap();
    }
    for (built, name) in [
        ("target/release", "relion-rs"),
        ("target/release", "relion-rs-rank"),
        ("target/mpi/release", "relion-rs-rank"),
    ] {
        fs::create_dir_all(folder.join(built)).unwrap();
        fs::copy(program(name), folder.join(built).join(name)).unwrap();
    }
}

#[test]
#[ignore = "needs root and Debian's slurm-wlm; make test-cluster"]
fn every_command_of_the_tutorial() {
    let commands = commands();
    assert!(commands.len() > 20, "{commands:?}");
    let sandbox = Sandbox::start(Options::default());
    let folder = sandbox.jobs().join("checkout");
    fs::create_dir(&folder).unwrap();
    checkout(&folder);
    // Each command is shown, and the first that fails ends it.
    let mut script = format!("VERSION={}\n{MODULE}\nset -e -o pipefail\n", env!("CARGO_PKG_VERSION"));
    for command in &commands {
        script += &format!("echo '$ {}'\n{command}\n", command.replace('\'', "'\\''"));
    }
    let path = folder.join("typed.sh");
    fs::write(&path, script).unwrap();
    let log = sandbox.jobs().join("typed.out");
    let out = fs::File::create(&log).unwrap();
    let mut shell = sandbox.command("bash");
    // `make` calls a compiler that does nothing.
    shell.arg(&path).current_dir(&folder).env("CARGO", "true").stdout(out.try_clone().unwrap()).stderr(out);
    let mut shell = shell.spawn().unwrap();
    let over = AtomicBool::new(false);
    let status = std::thread::scope(|scope| {
        // Slurm's two minutes are over at once.
        scope.spawn(|| {
            while !over.load(SeqCst) {
                let waiting = sandbox.text("squeue", "-h -t PENDING -o %i").unwrap_or_default();
                for job in waiting.lines() {
                    let _ = sandbox.text("scontrol", &format!("update jobid={job} StartTime=now"));
                }
                std::thread::sleep(Duration::from_secs(1));
            }
        });
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = shell.try_wait().unwrap() {
                break Some(status);
            }
            if begin.elapsed() > LONGEST {
                let _ = shell.kill();
                break None;
            }
            std::thread::sleep(Duration::from_millis(200));
        };
        over.store(true, SeqCst);
        println!("{} commands in {:.0} s", commands.len(), begin.elapsed().as_secs_f64());
        status
    });
    let told = fs::read_to_string(&log).unwrap();
    println!("{told}");
    assert!(status.is_some_and(|status| status.success()), "{told}\n{}", sandbox.logs());
    // What the page promises.
    let work = folder.join("quickstart");
    let run = RunDir::new(work.join("refine"));
    for file in ["postprocess.mrc", "refine/report.html", "refine/job.sbatch", "refine/run_class001.mrc"] {
        assert!(work.join(file).is_file(), "{file}");
    }
    let records = progress::read(&run.progress()).unwrap();
    let starts = records.iter().filter(|record| matches!(record.event, Event::Started(_))).count();
    let ranks = records.iter().filter_map(|record| match &record.event {
        Event::Ranks { ranks } => Some(ranks.len()),
        _ => None,
    });
    assert_eq!((starts, ranks.collect::<Vec<_>>()), (2, vec![2, 2]), "it came back once, on two ranks");
    assert!(records.iter().any(|record| matches!(record.event, Event::Finished { checkpointed: false, .. })));
    assert!(told.contains("job 1, restart 1, on"), "{told}");
}
