//! The batch scripts: golden texts, what a shell makes of them, and what is refused.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use relion_rs::plan::Cluster;
use relion_rs::plan::Continuation;
use relion_rs::plan::GpuRequest;
use relion_rs::plan::RankLauncher;
use relion_rs::slurm::script;
use relion_rs::slurm::script::Places;
use relion_rs::slurm::script::Request;
use relion_rs::slurm::script::Step;
use tempfile::TempDir;

fn places(run: &str) -> Places {
    Places {
        run: PathBuf::from(run),
        working_directory: PathBuf::from("/data/ada/project"),
        programs: PathBuf::from("/opt/relion-rs/bin"),
        stage: None,
    }
}

fn request() -> Request {
    Request {
        partition: Some("gpu".to_owned()),
        nodes: 1,
        ranks: 1,
        cpus_per_rank: 8,
        mem_mib: Some(12_288),
        seconds: Some(43_200),
        gpus_per_node: 0,
        has_leader: false,
        continuation: Continuation::Requeue,
    }
}

fn words(words: &[&str]) -> Option<Vec<String>> {
    Some(words.iter().map(|word| (*word).to_owned()).collect())
}

/// Compares with a file of the repository (with BLESS=1 writes it), and lets bash look at the grammar.
fn golden(name: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/slurm").join(name);
    // The version changes with every release.
    let text = text.replace(concat!("relion-rs ", env!("CARGO_PKG_VERSION")), "relion-rs VERSION");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&file, &text).unwrap();
    }
    let kept = fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(kept, text, "{name} is out of date: `make bless` writes it anew");
    let checked = Command::new("bash").arg("-n").arg(&file).output().unwrap();
    assert!(checked.status.success(), "{name}: {}", String::from_utf8_lossy(&checked.stderr));
    let slot =
        text.lines().find(|line| line.split('@').nth(1).is_some_and(|name| name.chars().all(char::is_uppercase)));
    assert!(slot.is_none(), "{name} has an empty slot: {slot:?}");
    let lines = text.lines().count();
    assert!(lines <= 60, "{name} has {lines} lines: a user is to understand it");
    // Slurm stops to read at the first line that is no comment.
    let head = text.lines().take_while(|line| line.starts_with('#')).filter(|line| line.starts_with("#SBATCH")).count();
    assert_eq!(head, text.matches("#SBATCH").count(), "{name}");
}

#[test]
fn three_nodes_with_a_gpu_each() {
    let request = Request { nodes: 3, ranks: 3, gpus_per_node: 1, ..request() };
    let cluster = Cluster { mpi: Some("pmix".to_owned()), ..Cluster::defaults() };
    let text = script::job(&places("/data/ada/project/refine"), &request, &cluster, &[]).unwrap();
    golden("srun-3x1.sbatch", &text);
    for part in ["--kill-on-bad-exit=1", "--gpu-bind=single:1", "--mpi=pmix", "--gpus-per-task=1", "USR2@120"] {
        assert!(text.contains(part), "{part}");
    }
    assert!(!text.contains("OMPI_"), "users are not root");
}

#[test]
fn gpus_by_gres() {
    let request = Request { nodes: 2, ranks: 8, gpus_per_node: 4, ..request() };
    let cluster = Cluster {
        gpu_request: Some(GpuRequest::Gres),
        gpu_type: Some("a100".to_owned()),
        account: Some("lab".to_owned()),
        qos: Some("long".to_owned()),
        constraint: Some("a100&ib".to_owned()),
        exclude: Some("n[1-3],n7".to_owned()),
        sbatch: words(&["--reservation=cryo", "--mail-type=END"]),
        ..Cluster::defaults()
    };
    golden("gres.sbatch", &script::job(&places("/data/ada/project/refine"), &request, &cluster, &[]).unwrap());
}

#[test]
fn by_mpirun_with_modules_of_the_site() {
    let request = Request { nodes: 2, ranks: 4, gpus_per_node: 2, ..request() };
    let cluster = Cluster {
        launcher: Some(RankLauncher::Mpirun),
        modules: words(&["gcc/12", "openmpi/4.1"]),
        setup: words(&["ulimit -s unlimited", "export UCX_TLS=rc,sm"]),
        signal_margin_seconds: Some(300),
        ..Cluster::defaults()
    };
    let text = script::job(&places("/data/ada/project/refine"), &request, &cluster, &["--force"]).unwrap();
    golden("mpirun-modules.sbatch", &text);
    assert!(text.contains("--signal=B:USR2@300"), "mpirun is no step of Slurm");
    let other = script::with_flags(&text, &["--exact"]).unwrap().unwrap();
    assert_eq!(other, text.replace("flags=(--force)", "flags=(--exact)"));
    assert!(script::with_flags("#!/bin/bash\nsleep 1\n", &[]).unwrap().is_none());
}

#[test]
fn on_cpus_with_a_copy_of_the_stacks_and_names_that_need_quotes() {
    let stage = Some(PathBuf::from("/scratch/ada lovelace/relion-rs-stage"));
    let places = Places { stage, ..places("/data/ada/it's 50%/refine") };
    golden("cpu-stage-quotes.sbatch", &script::job(&places, &request(), &Cluster::defaults(), &[]).unwrap());
}

#[test]
fn without_requeue() {
    let cluster = Cluster { requeue: Some(false), max_restarts: Some(0), ..Cluster::defaults() };
    let plain = script::job(&places("/data/ada/project/refine"), &request(), &cluster, &[]).unwrap();
    golden("no-requeue.sbatch", &plain);
    let chained = Request { continuation: Continuation::Dependency, ..request() };
    let text = script::job(&places("/data/ada/project/refine"), &chained, &Cluster::defaults(), &[]).unwrap();
    golden("dependency.sbatch", &text);
    assert!(text.contains("#SBATCH --no-requeue"));
}

#[test]
fn a_scan_and_the_steps_around_a_run() {
    let like =
        script::job(&places("/data/ada/project/refine-symmetry-C1"), &request(), &Cluster::defaults(), &[]).unwrap();
    let runs = ["C1", "D2", "it's"].map(|end| PathBuf::from(format!("/data/ada/project/refine-symmetry-{end}")));
    let text = script::array(Path::new("/data/ada/project/refine-scan"), &runs, "job.sbatch", &like).unwrap();
    golden("array.sbatch", &text);
    let step = Step {
        about: "Copies the run's stacks to the scratch; the run waits for it, and holds no GPU meanwhile.",
        name: "stage",
        partition: Some("gpu"),
        cpus: 1,
        mem_mib: 1024,
        seconds: 3600,
        command: words(&["relion-rs", "stage", "/data/ada/project/refine", "--to", "/scratch/my copies"]).unwrap(),
    };
    let cluster = Cluster { constraint: Some("a100".to_owned()), ..Cluster::defaults() };
    let text = script::step(&places("/data/ada/project/refine"), &step, &cluster).unwrap();
    golden("stage.sbatch", &text);
    assert!(!text.contains("gpu:") && !text.contains("--constraint") && !text.contains("--gpus"), "{text}");
}

#[test]
fn what_would_be_another_line_is_refused() {
    let bad = [
        Cluster { account: Some("a\n#SBATCH --uid=0".to_owned()), ..Cluster::defaults() },
        Cluster { setup: words(&["true\nrm x"]), ..Cluster::defaults() },
        Cluster { modules: words(&["a\nb"]), ..Cluster::defaults() },
        Cluster { mpi: Some("p\nq".to_owned()), ..Cluster::defaults() },
        Cluster { sbatch: words(&["--comment=\"x\""]), ..Cluster::defaults() },
    ];
    for cluster in bad {
        let error = script::job(&places("/run"), &request(), &cluster, &[]).unwrap_err();
        assert!(error.problem.contains("line") && !error.fix.is_empty(), "{error}");
    }
    assert!(script::job(&places("/run\n/x"), &request(), &Cluster::defaults(), &[]).is_err());
    // A value is no template.
    let text = script::job(&places("/run/@FOLDER@"), &request(), &Cluster::defaults(), &[]).unwrap();
    assert!(text.contains("run=/run/@FOLDER@\n"), "{text}");
}

/// A folder with programs that write down what they are asked, and a script that uses them.
struct Scene {
    folder: TempDir,
    script: PathBuf,
}

fn executable(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

impl Scene {
    fn new(launcher: &str, rank: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        executable(&at("relion-rs"), &format!("#!/bin/bash\necho \"$@\" >> {}\n{launcher}\n", at("told").display()));
        executable(&at("relion-rs-rank"), rank);
        executable(&at("srun"), "#!/bin/bash\nwhile [ $1 != relion-rs-rank ]; do shift; done\nexec \"$@\"\n");
        fs::create_dir(at("my run")).unwrap();
        let places = Places {
            run: at("my run"),
            working_directory: folder.path().to_path_buf(),
            programs: folder.path().to_path_buf(),
            stage: None,
        };
        let script = at("my run/job.sbatch");
        fs::write(&script, script::job(&places, &request(), &Cluster::defaults(), &["--force"]).unwrap()).unwrap();
        Self { folder, script }
    }

    fn command(&self, job: bool) -> Command {
        let mut command = Command::new("bash");
        command.arg(&self.script).env_remove("SLURM_JOB_ID").stdin(Stdio::null());
        if job {
            command.env("SLURM_JOB_ID", "7").env("SLURM_TRES_PER_TASK", "cpu:8");
        }
        command
    }

    fn told(&self) -> String {
        let run = self.folder.path().join("my run").display().to_string();
        fs::read_to_string(self.folder.path().join("told")).unwrap_or_default().replace(&run, "RUN")
    }
}

#[test]
fn by_hand_the_script_works_on_this_machine() {
    let scene = Scene::new("exit 75", "#!/bin/bash\nexit 1\n");
    assert_eq!(scene.command(false).status().unwrap().code(), Some(75));
    assert_eq!(scene.told(), "resume --here RUN --force\n");
}

#[test]
fn a_job_begins_works_and_ends() {
    let launcher = "[ $2 = begin ] && echo 'export SLURM_JOB_END_TIME=12345'; [ $2 = end ] && exit ${!#}; true";
    let rank = "#!/bin/bash\n[ -z \"$SLURM_TRES_PER_TASK$SLURM_GPUS_PER_TASK\" ] && [ $SLURM_JOB_END_TIME = 12345 ] && \
                [ \"$2\" = --force ] && [ $RELION_RS_MAX_RESTARTS = 50 ] && exit 74\nexit 1\n";
    let scene = Scene::new(launcher, rank);
    assert_eq!(scene.command(true).status().unwrap().code(), Some(74));
    assert_eq!(scene.told(), "job begin RUN\njob end RUN --code 74\n");

    // Nothing is left to do; or the beginning fails.
    let scene = Scene::new("[ $2 = begin ] && echo 'echo nothing is left; exit 0'", "#!/bin/bash\nexit 1\n");
    assert_eq!((scene.command(true).status().unwrap().code(), scene.told().as_str()), (Some(0), "job begin RUN\n"));
    let scene = Scene::new("exit 66", "#!/bin/bash\nexit 1\n");
    assert_eq!((scene.command(true).status().unwrap().code(), scene.told().as_str()), (Some(66), "job begin RUN\n"));
}

#[test]
fn signals_to_the_shell_do_not_end_the_waiting() {
    let rank = "#!/bin/bash\ntrap 'echo usr2 >> \"$1/got\"' USR2\n: > \"$1/ready\"\n\
                for i in {1..300}; do [ -e \"$1/end\" ] && exit 75; sleep 0.02; done\nexit 1\n";
    let scene = Scene::new("[ $2 = end ] && exit ${!#}; true", rank);
    let at = |name: &str| scene.folder.path().join("my run").join(name);
    let mut child = scene.command(true).spawn().unwrap();
    let wait_for = |name: &str| {
        for _ in 0..500 {
            if at(name).exists() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("no {name}: {}", scene.told());
    };
    wait_for("ready");
    for signal in ["TERM", "USR2", "TERM"] {
        let sent = Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        std::thread::sleep(Duration::from_millis(100));
        assert!(child.try_wait().unwrap().is_none(), "ended by {signal}");
    }
    wait_for("got");
    fs::write(at("end"), "").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(75));
    assert_eq!(scene.told(), "job begin RUN\njob end RUN --code 75\n");
}

#[test]
fn a_task_of_an_array_works_in_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let runs = ["a", "b"].map(|name| folder.path().join(name));
    for run in &runs {
        fs::create_dir_all(run.join("log")).unwrap();
        fs::write(run.join("job.sbatch"), "echo \"works in $0\"; exit 75\n").unwrap();
    }
    let text = script::array(&folder.path().join("scan"), &runs, "job.sbatch", "#SBATCH --nodes=1\n").unwrap();
    fs::write(folder.path().join("array"), text).unwrap();
    let mut task = Command::new("bash");
    task.arg(folder.path().join("array")).env("SLURM_JOB_ID", "12").env("SLURM_ARRAY_TASK_ID", "1");
    assert_eq!(task.status().unwrap().code(), Some(75));
    let log = fs::read_to_string(runs[1].join("log/slurm-12.out")).unwrap();
    assert!(log.contains("works in") && log.contains("/b/job.sbatch"), "{log}");
    assert!(fs::read_dir(runs[0].join("log")).unwrap().next().is_none());
    let output = task.env_remove("SLURM_ARRAY_TASK_ID").output().unwrap();
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("--array=0-1"));
}
