//! The sandbox itself: it comes, it goes, and it takes everything with it.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use crate::processes;
use crate::sandbox::Options;
use crate::sandbox::Sandbox;

/// Set for the process that is killed: the file in which it tells the folder of its sandbox.
const TELL: &str = "SANDBOX_TELLS";

#[test]
#[ignore = "needs root and Debian's slurm-wlm; make test-cluster"]
fn it_comes_and_goes() {
    let sandbox = Sandbox::start(Options::default());
    let folder = sandbox.folder().to_owned();
    let job = sandbox.submit("--nodes=3 --ntasks-per-node=1", "srun sleep 600 & wait");
    let step = |name: &str| processes::of_sandbox(&folder).iter().filter(|process| process.name == name).count();
    sandbox.wait_for("three tasks", Duration::from_secs(60), || (step("sleep") == 3).then_some(()));
    sandbox.wait_for_state(job, &["RUNNING"], Duration::from_secs(10));
    assert_eq!((step("slurmd"), step("slurmctld"), step("munged")), (3, 1, 1));
    let begin = Instant::now();
    let left = sandbox.stop();
    println!("stopped in {:.1} s", begin.elapsed().as_secs_f64());
    assert!(left.is_empty(), "{left:?}");
    assert!(!folder.exists(), "{} is left", folder.display());
}

#[test]
#[ignore = "needs root and Debian's slurm-wlm; make test-cluster"]
fn two_of_them_live_side_by_side() {
    let options = Options { nodes: 1, ..Options::default() };
    let (first, second) = (Sandbox::start(options.clone()), Sandbox::start(options));
    let second_job = second.submit("", "echo second");
    let jobs = [first.submit("", "echo first"), first.submit("", "echo first")];
    first.wait_for_state(jobs[1], &["COMPLETED"], Duration::from_secs(60));
    second.wait_for_state(second_job, &["COMPLETED"], Duration::from_secs(60));
    assert_eq!((first.log_of(jobs[1]).trim(), second.log_of(second_job).trim()), ("first", "second"));
    assert_eq!(second.state(jobs[1]), "", "the second knows nothing of the first one's jobs");
}

/// The test process is killed (this test again, in a process of its own): nobody unwinds, nobody drops.
#[test]
#[ignore = "needs root and Debian's slurm-wlm; make test-cluster"]
fn it_goes_with_a_killed_test() {
    if let Some(tell) = std::env::var_os(TELL) {
        live_until_killed(Path::new(&tell));
    }
    let told = tempfile::NamedTempFile::new().unwrap();
    let mut test = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "short::sandboxes::it_goes_with_a_killed_test", "--ignored"])
        .env(TELL, told.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let begin = Instant::now();
    let folder = loop {
        let text = std::fs::read_to_string(told.path()).unwrap();
        if !text.is_empty() {
            break PathBuf::from(text);
        }
        assert!(begin.elapsed() < Duration::from_secs(120), "the other test does not tell its folder");
        assert!(test.try_wait().unwrap().is_none(), "the other test ended");
        std::thread::sleep(Duration::from_millis(50));
    };
    let before = processes::of_sandbox(&folder).len();
    assert!(before > 6, "daemons, and a job with its step: {before}");
    test.kill().unwrap();
    test.wait().unwrap();
    let begin = Instant::now();
    while folder.exists() || !processes::of_sandbox(&folder).is_empty() {
        let left: Vec<_> = processes::of_sandbox(&folder).iter().map(ToString::to_string).collect();
        assert!(begin.elapsed() < Duration::from_secs(60), "{} is left, and {left:?}", folder.display());
        std::thread::sleep(Duration::from_millis(50));
    }
    println!("gone {:.1} s after the test, {before} processes", begin.elapsed().as_secs_f64());
}

/// A sandbox with a job, until this process is killed.
fn live_until_killed(tell: &Path) -> ! {
    let sandbox = Sandbox::start(Options { nodes: 1, ..Options::default() });
    let folder = sandbox.folder().to_owned();
    sandbox.submit("", "srun sleep 600");
    sandbox.wait_for("its task", Duration::from_secs(60), || {
        processes::of_sandbox(&folder).iter().any(|process| process.name == "sleep").then_some(())
    });
    std::fs::write(tell, folder.to_str().unwrap()).unwrap();
    std::thread::sleep(Duration::from_secs(600));
    panic!("nobody killed this process");
}

#[test]
#[ignore = "needs root and Debian's slurm-wlm; make test-cluster"]
fn a_wait_in_vain_tells_the_logs() {
    let sandbox = Sandbox::start(Options { nodes: 1, ..Options::default() });
    let wait = || sandbox.wait_for("a miracle", Duration::from_secs(1), || None::<()>);
    let told = *std::panic::catch_unwind(std::panic::AssertUnwindSafe(wait)).unwrap_err().downcast::<String>().unwrap();
    assert!(told.starts_with("a miracle did not come within 1 s"), "{told}");
    assert!(told.contains("slurmctld.log") && told.contains("slurmd.n1.log"), "{told}");
}

#[test]
#[ignore = "needs root and Debian's slurm-wlm; make test-cluster"]
fn jobs_do_not_see_hidden_commands() {
    let options = Options { nodes: 1, hidden: &["scontrol", "sacct"], ..Options::default() };
    let sandbox = Sandbox::start(options);
    let script = "command -v scontrol sacct; command -v squeue; srun sh -c 'command -v scontrol; command -v squeue'";
    let job = sandbox.submit("", script);
    sandbox.wait_for_state(job, &["COMPLETED"], Duration::from_secs(60));
    let log = sandbox.log_of(job);
    let found: Vec<_> = log.lines().filter_map(|line| line.rsplit('/').next()).collect();
    assert_eq!(found, ["squeue", "squeue"], "{log}");
}
