//! `submit` and `resume` against commands of Slurm that write down what they are asked.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use relion_rs::formats::mrc::read_map;
use tempfile::TempDir;

use crate::support::golden;

/// A small refinement.
const JOB: &str = "submit refine3d --particles set/particles.star --reference ref.mrc --diameter 180 --out out \
                   --threads 1 --healpix-order 1";
const SINFO: &str = "\
gpu|up|3|16|64000|gpu:a100:4|1-00:00:00|n/a|idle
cpu*|up|10|8|16000|(null)|infinite|n/a|idle
";
const MODES: &str = "PartitionName=gpu PreemptMode=REQUEUE State=UP";

/// A folder with inputs, and another with the only commands on the PATH.
struct Site {
    folder: TempDir,
    commands: TempDir,
}

impl Site {
    /// All commands work; `sbatch` counts from 101.
    fn new() -> Self {
        let site = Self { folder: tempfile::tempdir().unwrap(), commands: tempfile::tempdir().unwrap() };
        site.install(r#"echo '{"mpi": "Open MPI v4.1.4"}'"#);
        fs::copy(golden("inputs/ref32.mrc"), site.at("ref.mrc")).unwrap();
        let (code, text) = site.told("simulate --map ref.mrc --count 12 --snr 0.5 --micrographs 3 --out set");
        assert_eq!(code, 0, "{text}");
        site.fake("sinfo", &format!("echo '{SINFO}'"));
        site.fake("scontrol", &format!("echo '{MODES}'"));
        site.fake("squeue", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1");
        site.fake("scancel", "");
        let count = site.commands.path().join("count");
        fs::write(&count, "100\n").unwrap();
        let count = count.display();
        site.fake("sbatch", &format!("read n < {count}; n=$((n+1)); echo $n > {count}; echo $n"));
        site
    }

    /// The launcher, beside an engine that does this to tell what it is made of.
    fn install(&self, tell: &str) {
        let bin = self.at("bin");
        fs::create_dir_all(&bin).unwrap();
        let (launcher, engine) = (bin.join("relion-rs"), bin.join("relion-rs-rank"));
        let built = env!("CARGO_BIN_EXE_relion-rs");
        if !launcher.exists() && fs::hard_link(built, &launcher).is_err() {
            fs::copy(built, &launcher).unwrap();
        }
        let real = env!("CARGO_BIN_EXE_relion-rs-rank");
        let probe = format!("#!/bin/sh\n[ \"$1\" = --probe ] && {{ {tell}; exit; }}\nexec {real} \"$@\"\n");
        fs::write(&engine, probe).unwrap();
        fs::set_permissions(&engine, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A command that writes down its words and then does this.
    fn fake(&self, name: &str, text: &str) {
        let path = self.commands.path().join(name);
        let log = self.commands.path().join("log");
        fs::write(&path, format!("#!/bin/sh\necho {name} \"$@\" >> {}\n{text}\n", log.display())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn without(&self, name: &str) {
        fs::remove_file(self.commands.path().join(name)).unwrap();
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.at(name)).unwrap_or_else(|cause| panic!("{name}: {cause}"))
    }

    fn command(&self, words: &str) -> Command {
        let mut command = Command::new(self.at("bin/relion-rs"));
        let ours =
            |name: &str| name.starts_with("RELION_RS_") || name.starts_with("SLURM") || name.starts_with("SBATCH");
        for (name, _) in std::env::vars_os().filter(|(name, _)| ours(&name.to_string_lossy())) {
            command.env_remove(name);
        }
        command.current_dir(self.folder.path()).env("HOME", self.folder.path()).env_remove("XDG_CONFIG_HOME");
        // A login node has no GPU to ask.
        command.env("RELION_RS_GPU_MEMORY", "40GiB");
        command.env("PATH", self.commands.path()).args(words.split_whitespace());
        command
    }

    fn told(&self, words: &str) -> (i32, String) {
        said(&mut self.command(words))
    }

    /// What a command is told when all goes well.
    fn good(&self, words: &str) -> String {
        let (code, text) = self.told(words);
        assert_eq!(code, 0, "{words}: {text}");
        text
    }

    /// A command that is refused, with a fix.
    fn refused(&self, words: &str, wanted: i32, parts: &[&str]) {
        let (code, text) = self.told(words);
        assert_eq!(code, wanted, "{words}: {text}");
        for part in parts.iter().chain(&["fix:"]) {
            assert!(text.contains(part), "{words}: {part}: {text}");
        }
    }

    /// The lines of a command in the log, without its name and the folders' place.
    fn calls(&self, name: &str) -> Vec<String> {
        let log = fs::read_to_string(self.commands.path().join("log")).unwrap_or_default();
        let place = fs::canonicalize(self.folder.path()).unwrap().display().to_string();
        let log = log.replace(&place, "HERE").replace(&self.folder.path().display().to_string(), "HERE");
        log.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned)).collect()
    }
}

fn said(command: &mut Command) -> (i32, String) {
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (output.status.code().unwrap_or(-1), text)
}

fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_folder_with_a_job_file_is_complete() {
    let site = Site::new();
    let job = "kind = \"refine3d\"\nparticles = \"set/particles.star\"\nreference = \"ref.mrc\"\ndiameter = 180.0\n\
               out = \"out\"\n[cluster]\naccount = \"lab\"\n";
    fs::write(site.at("job.toml"), job).unwrap();
    let text = site.good("submit --partition gpu --gpus 3");
    has(
        &text,
        &[
            "submitted job 101: 3 ranks on 1 node, a GPU each, 4 cores a rank",
            "partition gpu",
            "next: relion-rs status out",
        ],
    );
    assert_eq!(site.calls("sbatch"), ["--parsable HERE/out/job.sbatch"]);
    assert_eq!(site.read("out/jobid"), "101\n");
    let script = site.read("out/job.sbatch");
    has(
        &script,
        &["#SBATCH --partition=gpu\n", "#SBATCH --account=lab\n", "#SBATCH --gpus-per-task=1\n", "--ntasks=3 "],
    );
    has(&site.read("out/cluster.toml"), &["[cluster]\n", "partition = \"gpu\"", "gpus = 3", "account = \"lab\""]);
    assert!(site.at("out/log").is_dir() && site.at("out/plan.json").is_file());
    has(&site.read("out/job.toml"), &["diameter = 180.0", "[cluster]\n", "account = \"lab\""]);
    // What the cluster was asked for is no part of the plan.
    assert!(!site.read("out/plan.json").contains("\"gpus\""));
}

#[test]
fn flags_end_up_in_the_script_and_what_follows_dashes_too() {
    let site = Site::new();
    let flags = "--partition gpu --gpus 2 --nodes 2 --time 10:00:00 --account a1 --qos q1 --constraint ib --mem 20G \
                 --cpus-per-rank 3 --exclude n[1-2] --gpu-request gres --gpu-type a100 --mpi pmix --setup date \
                 --modules gcc,openmpi --signal-margin-seconds 300 --max-restarts 7 --exclude-broken-nodes=false \
                 -- --reservation=cryo --comment mine";
    site.good(&format!("{JOB} {flags}"));
    let script = site.read("out/job.sbatch");
    for line in [
        "--account=a1",
        "--qos=q1",
        "--constraint=ib",
        "--nodes=2",
        "--ntasks=2",
        "--cpus-per-task=3",
        "--gres=gpu:a100:1",
        "--mem=20480M",
        "--time=10:00:00",
        "--exclude=n[1-2]",
        "--signal=USR2@300",
        "--reservation=cryo",
        "--comment=mine",
        "--requeue",
    ] {
        assert!(script.lines().any(|there| there == format!("#SBATCH {line}")), "{line}: {script}");
    }
    has(
        &script,
        &[
            "module load gcc openmpi",
            "\ndate\n",
            "--mpi=pmix",
            "RELION_RS_MAX_RESTARTS=7",
            "EXCLUDE_BROKEN_NODES=false",
        ],
    );
    // The environment of a job that submits is not the new job's, and the way to the cluster stays.
    let there = site.commands.path().join("environment");
    site.fake("sbatch", &format!("echo \"$SLURM_RESTART_COUNT,$SLURM_CONF,$SLURM_JWT\" > {}; echo 7", there.display()));
    let mut command = site.command(&JOB.replace("--out out", "--out other"));
    command.envs([("SLURM_RESTART_COUNT", "9"), ("SLURM_CONF", "/etc/slurm.conf"), ("SLURM_JWT", "token")]);
    assert_eq!(said(&mut command).0, 0);
    assert_eq!(fs::read_to_string(there).unwrap(), ",/etc/slurm.conf,token\n");
}

#[test]
fn a_dry_run_prints_exactly_the_script_and_leaves_nothing() {
    let site = Site::new();
    let output = site.command(&format!("{JOB} --partition gpu --gpus 1 --dry-run")).output().unwrap();
    assert!(output.status.success());
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(!site.at("out").exists() && site.calls("sbatch").is_empty());
    site.good(&format!("{JOB} --partition gpu --gpus 1"));
    assert_eq!(shown, site.read("out/job.sbatch"));
    let json: serde_json::Value =
        serde_json::from_str(site.good(&format!("{JOB} --partition gpu --gpus 1 --dry-run --json")).trim()).unwrap();
    assert_eq!(json["scripts"][0]["text"], shown);
    assert_eq!(json["resources"]["gpus"], 1);
    // A machine without Slurm can show a script too.
    for name in ["sinfo", "sbatch", "scontrol", "squeue"] {
        site.without(name);
    }
    let text = site.good(&format!("{} --dry-run", JOB.replace("--out out", "--out other")));
    has(&text, &["sinfo is not on the PATH", "#SBATCH --ntasks=1\n"]);
}

#[test]
fn resources_come_from_the_plan_and_the_partition() {
    let site = Site::new();
    // Without a partition, the default one.
    let text = site.good(&format!("{} --dry-run", JOB.replace("--threads 1", "")));
    has(&text, &["#SBATCH --cpus-per-task=8\n", "#SBATCH --time=01:00:00\n", "#SBATCH --mem="]);
    let text = site.good(&format!("{JOB} --partition gpu --mem 1000G --time 9-0 --cpus-per-rank 99 --dry-run"));
    has(
        &text,
        &["62.5 GiB a node instead of", "1-00:00:00 of time instead of 9-00:00:00", "16 cores a rank instead of 99"],
    );
    has(&text, &["#SBATCH --mem=64000M", "#SBATCH --time=1-00:00:00", "#SBATCH --cpus-per-task=16"]);
    let tiny = SINFO.replace("64000", "100");
    site.fake("sinfo", &format!("echo '{tiny}'"));
    site.refused(&format!("{JOB} --partition gpu"), 71, &["a node needs", "gpu has 100.0 MiB", "--memory"]);
    site.refused(&format!("{JOB} --partition cpu --mem 1M"), 71, &["--mem", "1.0 MiB a node is asked for"]);
    site.refused(&format!("{JOB} --partition cpu --gpus 1"), 64, &["--gpus", "the partition cpu has none"]);
    site.refused(&format!("{JOB} --partition gpu --gpus 13"), 64, &["4 nodes needed", "has 3"]);
    site.refused(&format!("{JOB} --partition gup"), 64, &["no partition \"gup\"", "`gpu`", "gpu, cpu"]);
    site.refused(&format!("{JOB} --time soon"), 64, &["--time", "is no time limit"]);
    site.refused(&format!("{JOB} --gpu-memory much"), 64, &["--gpu-memory", "is not a size"]);
    site.refused(&format!("{JOB} --backend cuda"), 64, &["--backend", "asks for no GPU", "--gpus 1"]);
    assert!(site.calls("sbatch").is_empty() && !site.at("out").exists());
    // Inputs are looked at before anything is queued.
    site.refused(&JOB.replace("ref.mrc", "absent.mrc"), 66, &["absent.mrc"]);
    site.fake("sinfo", &format!("echo '{}'", SINFO.replace("idle", "down*")));
    has(&site.good(&format!("{JOB} --partition gpu --dry-run")), &["all nodes of gpu are down or drained"]);
}

#[test]
fn each_refusal_of_sbatch_is_shown_with_its_fix_and_leaves_no_job() {
    let site = Site::new();
    for (sentence, code, fix) in [
        ("sbatch: error: invalid partition specified: x", 64, "sinfo -s"),
        (
            "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified",
            64,
            "--account",
        ),
        ("sbatch: error: Batch job submission failed: Invalid qos specification", 64, "--qos"),
        ("sbatch: error: QOSMaxSubmitJobPerUserLimit", 69, "squeue --me"),
        ("sbatch: error: Batch job submission failed: Requested node configuration is not available", 64, "--gpu-type"),
        (
            "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)",
            69,
            "scontrol ping",
        ),
        ("sbatch: error: Batch job submission failed: Protocol authentication error", 69, "munge"),
    ] {
        site.fake("sbatch", &format!("echo '{sentence}' >&2; exit 1"));
        site.refused(JOB, code, &[sentence, fix]);
        assert!(!site.at("out/jobid").exists());
    }
    site.fake("sbatch", "echo welcome to the cluster");
    site.refused(JOB, 64, &["and no job number"]);
    site.without("sbatch");
    site.refused(JOB, 69, &["sbatch is not on the PATH", "login node"]);
    let (_, text) = site.told(&format!("--json {JOB}"));
    let line = text.lines().last().unwrap();
    let json: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(json["error"]["code"], 69);
}

#[test]
fn a_run_has_one_job_at_a_time() {
    let site = Site::new();
    site.good(JOB);
    site.fake("squeue", "echo '101 PENDING'");
    site.refused(JOB, 64, &["has a job already: 101 PENDING", "scancel 101"]);
    site.refused("resume out", 64, &["has a job already"]);
    assert_eq!(site.calls("squeue")[0], "-h -j 101 -r -o %i %T");
    site.fake("squeue", "echo '101 COMPLETED'");
    site.good(JOB);
    assert_eq!(site.read("out/jobid"), "101\n102\n");
    site.without("squeue");
    has(&site.good(JOB), &["whether the job 102 has ended is not known", "squeue is not on the PATH"]);
    // Other settings are another run.
    site.refused(&format!("{JOB} --symmetry D2"), 64, &["symmetry"]);
}

#[test]
fn dependencies_name_jobs_and_run_folders() {
    let site = Site::new();
    site.good(JOB);
    let text = JOB.replace("--out out", "--out next");
    site.good(&format!("{text} --after out --after 55 --dependency afterany:9"));
    let call =
        "--parsable --dependency=afterok:101,afterok:55,afterany:9 --kill-on-invalid-dep=yes HERE/next/job.sbatch";
    assert_eq!(site.calls("sbatch")[1], call);
    site.refused(&format!("{text} --after nothing"), 64, &["--after nothing", "neither"]);
}

#[test]
fn what_follows_waits_for_a_good_end() {
    let site = Site::new();
    fs::copy(site.at("ref.mrc"), site.at("mask.mrc")).unwrap();
    let text = site.good(&format!("{JOB} --then postprocess --then report"));
    has(&text, &["submitted job 102: postprocess", "submitted job 103: report"]);
    let calls = site.calls("sbatch");
    assert_eq!(calls[1], "--parsable --dependency=afterok:101 --kill-on-invalid-dep=yes HERE/out/postprocess.sbatch");
    assert_eq!(calls[2], "--parsable --dependency=afterok:102 --kill-on-invalid-dep=yes HERE/out/report.sbatch");
    assert_eq!(site.read("out/jobid"), "101\n");
    has(
        &site.read("out/postprocess.sbatch"),
        &["exec relion-rs postprocess --half1 ", "/out/run_half1_class001_unfil.mrc"],
    );
    has(&site.read("out/report.sbatch"), &["exec relion-rs report "]);
    let classes = JOB.replace("refine3d", "class3d").replace("--out out", "--out classes");
    site.refused(&format!("{classes} --then postprocess"), 64, &["makes no half maps"]);
    // When one is refused, those before it are taken back.
    let count = site.commands.path().join("count");
    site.fake(
        "sbatch",
        &format!("read n < {0}; [ $n = 104 ] && exit 1; n=$((n+1)); echo $n > {0}; echo $n", count.display()),
    );
    let other = JOB.replace("--out out", "--out other");
    site.refused(&format!("{other} --then report"), 64, &["were cancelled: 104"]);
    assert_eq!(site.calls("scancel"), ["104"]);
    assert!(!site.at("other/jobid").exists());
}

#[test]
fn a_scan_is_an_array_of_run_folders() {
    let site = Site::new();
    let text = site.good(&format!("{JOB} --scan symmetry=C1,D2 --scan ini-high=30,40 --array %2 --then report"));
    has(&text, &["an array of 4 runs (--array=0-3%2)", "next: relion-rs status out-symmetry-C1-ini_high-30"]);
    let calls = site.calls("sbatch");
    assert_eq!(calls[0], "--parsable --array=0-3%2 HERE/out-scan/job.sbatch");
    assert_eq!(
        calls[1],
        "--parsable --dependency=aftercorr:101 --kill-on-invalid-dep=yes --array=0-3%2 HERE/out-scan/report.sbatch"
    );
    for (task, end) in ["C1-ini_high-30", "C1-ini_high-40", "D2-ini_high-30", "D2-ini_high-40"].iter().enumerate() {
        let run = format!("out-symmetry-{end}");
        assert_eq!(site.read(&format!("{run}/jobid")), format!("101_{task}\n"));
        let plan: serde_json::Value = serde_json::from_str(&site.read(&format!("{run}/plan.json"))).unwrap();
        assert_eq!(
            (plan["symmetry"].as_str(), plan["ini_high"].as_f64()),
            (end.get(..2), end[end.len() - 2..].parse().ok())
        );
        has(&site.read(&format!("{run}/job.sbatch")), &[&format!("{run}\n"), "relion-rs job end"]);
        has(&site.read(&format!("{run}/report.sbatch")), &["exec relion-rs report"]);
    }
    has(&site.read("out-scan/job.sbatch"), &["out-symmetry-D2-ini_high-40\n)", "#SBATCH --mem="]);
    assert_eq!(site.read("out-scan/jobid"), "101\n");
    assert!(!site.at("out").exists());
    let text = site.good(&format!("{} --scan seed=1,2 --dry-run", JOB.replace("--out out", "--out dry")));
    has(&text, &["dry-scan/job.sbatch =====", "dry-seed-1/job.sbatch =====", "relion-rs job end"]);
    assert!(!site.at("dry-scan").exists() && !site.at("dry-seed-1").exists());
    let twenty: Vec<String> = (1..=20).map(|seed| seed.to_string()).collect();
    let job = JOB.replace("--out out", "--out many");
    site.good(&format!("{job} --scan seed={} --array 0-19", twenty.join(",")));
    assert!(site.calls("sbatch")[2].contains("--array=0-19 ") && site.at("many-seed-20/job.sbatch").is_file());
    for (flags, said) in [
        ("--array 0-3", "--scan KEY"),
        ("--scan symmetry=C1,D2 --array 0-2", "which has 2"),
        ("--scan symmetri=C1,D2", "`symmetry`"),
        ("--scan symmetry=C1,Q2", "Q2"),
    ] {
        site.refused(&format!("{} {flags}", JOB.replace("--out out", "--out bad")), 64, &[said]);
    }
    assert!(!site.at("bad-symmetry-C1").exists() && site.calls("sbatch").len() == 3);
}

#[test]
fn stacks_are_staged_by_a_job_of_their_own_and_shared() {
    let site = Site::new();
    let scratch = tempfile::tempdir().unwrap();
    let text = site.good(&format!("{JOB} --partition gpu --gpus 1 --stage --scratch {}", scratch.path().display()));
    has(&text, &["submitted job 101: copies the stacks first", "submitted job 102"]);
    let calls = site.calls("sbatch");
    assert_eq!(calls[0], "--parsable HERE/out/stage.sbatch");
    assert_eq!(calls[1], "--parsable --dependency=afterok:101 --kill-on-invalid-dep=yes HERE/out/job.sbatch");
    assert_eq!(site.read("out/jobid"), "102\n");
    let folder = scratch.path().join("relion-rs-stage");
    has(&site.read("out/job.sbatch"), &[&format!("export RELION_RS_STAGE={}\n", folder.display())]);
    let stage = site.read("out/stage.sbatch");
    has(&stage, &["exec relion-rs stage "]);
    assert!(!stage.contains("gpus-per-task") && !stage.contains("gres"), "{stage}");

    // A resume with other resources reads the copies too.
    has(&site.good("resume out --gpus 2 --dry-run"), &[&format!("export RELION_RS_STAGE={}\n", folder.display())]);

    // The verb of that job, twice, and from two processes at once.
    let words = format!("stage out --to {}", folder.display());
    let mut both: Vec<_> = (0..2).map(|_| site.command(&words).spawn().unwrap()).collect();
    assert!(both.iter_mut().all(|child| child.wait().unwrap().success()));
    has(&site.good(&words), &["0 stacks copied", "1 were there"]);
    let copies: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let copies: Vec<&PathBuf> =
        copies.iter().filter(|path| path.extension().is_some_and(|end| end == "mrcs")).collect();
    assert_eq!(copies.len(), 1);
    assert_eq!(fs::read(copies[0]).unwrap(), fs::read(site.at("set/particles.mrcs")).unwrap());

    let job = JOB.replace("--out out", "--out other");
    site.refused(&format!("{job} --stage"), 64, &["--stage", "no scratch", "--scratch DIR"]);
    site.refused(&format!("{job} --stage --scratch $SLURM_TMPDIR"), 64, &["one job on one node", "all nodes share"]);
    site.refused(&format!("stage nowhere --to {}", folder.display()), 66, &["nowhere"]);
    fs::write(site.at("file"), "").unwrap();
    site.refused("stage out --to file/x", 73, &["file/x"]);
}

#[test]
fn a_staged_run_gives_the_same_files() {
    let site = Site::new();
    let job = "class3d --particles set/particles.star --reference ref.mrc --diameter 180 --classes 2 --iterations 1 \
               --threads 1 --healpix-order 1 --offset-range-pixels 2 --ini-high 40";
    site.good(&format!("run {job} --out plain"));
    site.good("stage plain --to copies");
    let copies = site.at("copies");
    let run =
        |out: &str, folder: &Path| said(site.command(&format!("run {job} --out {out}")).env("RELION_RS_STAGE", folder));
    let (code, text) = run("staged", &copies);
    assert!(code == 0 && !text.contains("have no copy"), "{text}");
    let (code, text) = run("unstaged", &site.at("empty"));
    assert!(code == 0 && text.contains("1 of 1 stacks have no copy"), "{text}");
    for out in ["staged", "unstaged"] {
        for name in ["run_it001_data.star", "run_it001_model.star", "run_it001_class001.mrc"] {
            let [a, b] = ["plain", out].map(|folder| fs::read(site.at(folder).join(name)).unwrap());
            let [a, b] = [a, b].map(|bytes| String::from_utf8_lossy(&bytes).replace(out, "plain"));
            assert!(a == b, "{out}/{name}");
        }
    }
    // It was the copy that was read: a copy of other pixels gives another map.
    let copy =
        fs::read_dir(&copies).unwrap().map(|e| e.unwrap().path()).find(|p| p.extension().is_some_and(|e| e == "mrcs"));
    let copy = copy.unwrap();
    let mut bytes = fs::read(&copy).unwrap();
    let pixels = bytes.len() - 1024;
    bytes[1024..].rotate_left(pixels / 2);
    fs::write(&copy, bytes).unwrap();
    let (code, text) = run("changed", &copies);
    assert_eq!(code, 0, "{text}");
    let map = |out: &str| read_map(&site.at(out).join("run_it001_class001.mrc")).unwrap().data;
    assert!(map("changed") != map("plain"));
}

#[test]
fn a_run_goes_on_in_further_jobs_where_a_preempted_one_is_cancelled() {
    let site = Site::new();
    site.fake("scontrol", "echo 'PartitionName=gpu PreemptMode=CANCEL'");
    let text = site.good(&format!("{JOB} --partition gpu --then report"));
    has(&text, &["submitted job 101", "goes on in: 102, 103, 104", "submitted job 105: report"]);
    let calls = site.calls("sbatch");
    for (n, call) in calls.iter().enumerate().take(4).skip(1) {
        let wanted =
            format!("--parsable --dependency=afterany:{} --kill-on-invalid-dep=yes HERE/out/job.sbatch", 100 + n);
        assert_eq!(*call, wanted);
    }
    // Whichever of them finishes the run.
    let any = "afterok:101?afterok:102?afterok:103?afterok:104";
    assert!(calls[4].contains(&format!("--dependency={any} ")));
    let job = |out: &str| JOB.replace("--out out", &format!("--out {out}"));
    has(&site.good(&format!("{} --partition cpu --after out --dry-run", job("next"))), &["#SBATCH"]);
    site.refused(&format!("{} --after out --after 7", job("next")), 64, &["Slurm cannot wait", any]);
    assert_eq!(site.read("out/jobid"), "101 102 103 104\n");
    has(&site.read("out/job.sbatch"), &["#SBATCH --no-requeue\n", "RELION_RS_CONTINUATION=dependency"]);
    has(&site.good("resume out"), &["submitted job 106", "goes on in: 107, 108, 109"]);
    // Asked for, and switched off.
    site.fake("scontrol", &format!("echo '{MODES}'"));
    site.good(&format!("{} --continuation dependency --continuations 1", job("two")));
    assert_eq!(site.read("two/jobid"), "110 111\n");
    site.good(&format!("{} --requeue false", job("off")));
    has(&site.read("off/job.sbatch"), &["#SBATCH --no-requeue\n", "RELION_RS_REQUEUE=false"]);
    assert_eq!(site.read("off/jobid"), "112\n");
}

#[test]
fn resume_submits_the_same_script_or_one_with_other_resources() {
    let site = Site::new();
    site.refused("resume nowhere --partition gpu", 66, &["nowhere"]);
    site.good(&format!("{JOB} --partition gpu --gpus 1 --qos q1"));
    // What was edited by hand stays.
    let edited = site.read("out/job.sbatch") + "# mine\n";
    fs::write(site.at("out/job.sbatch"), &edited).unwrap();
    has(&site.good("resume out"), &["submitted job 102, which goes on", "next: relion-rs status"]);
    assert_eq!(site.read("out/job.sbatch"), edited);
    assert_eq!(site.read("out/jobid"), "101\n102\n");
    site.good("resume out --force --exact");
    assert_eq!(site.read("out/job.sbatch"), edited.replace("flags=()", "flags=(--force --exact)"));
    site.good("resume out");
    assert_eq!(site.read("out/job.sbatch"), edited);
    let text = site.good("resume out --gpus 2 --dry-run");
    has(&text, &["#SBATCH --ntasks=2\n", "#SBATCH --qos=q1\n"]);
    assert_eq!(site.read("out/job.sbatch"), edited);
    site.good("resume out --gpus 2 -- --reservation=r1");
    let script = site.read("out/job.sbatch");
    has(
        &script,
        &["#SBATCH --partition=gpu\n", "#SBATCH --ntasks=2\n", "#SBATCH --qos=q1\n", "#SBATCH --reservation=r1\n"],
    );
    // And the next time that is what is remembered.
    site.good("resume out --time 3:00:00");
    has(
        &site.read("out/job.sbatch"),
        &["#SBATCH --ntasks=2\n", "#SBATCH --reservation=r1\n", "#SBATCH --time=03:00:00\n"],
    );
    site.refused("resume out --gpus 99", 64, &["nodes needed"]);
    assert_eq!(site.calls("sbatch").len(), 6);
    site.refused("resume out --here --gpus 1", 64, &["no meaning", "relion-rs submit"]);
}

#[test]
fn resume_works_here_when_the_run_was_not_submitted_or_is_told_to() {
    let site = Site::new();
    let job = "class3d --particles set/particles.star --reference ref.mrc --diameter 180 --classes 2 --iterations 1 \
               --threads 1 --healpix-order 1 --offset-range-pixels 2 --ini-high 40 --out out";
    site.good(&format!("submit {job}"));
    has(&site.good("resume --here out"), &["finished"]);
    fs::remove_file(site.at("out/jobid")).unwrap();
    has(&site.good(&format!("run {job}")), &["finished"]);
    site.good("resume out");
    assert_eq!(site.calls("sbatch").len(), 1);
    // A branch of a run that was submitted is submitted.
    fs::write(site.at("out/jobid"), "101\n").unwrap();
    has(&site.good("resume out --from-iteration 1"), &["submitted job 102"]);
    has(&site.read("out-from-001/job.sbatch"), &["out-from-001\n"]);
    assert_eq!(site.read("out-from-001/jobid"), "102\n");
    assert_eq!(site.read("out/jobid"), "101\n");
    // Without sbatch, here.
    site.without("sbatch");
    site.good("resume out");
}

#[test]
fn settings_of_the_cluster_are_shown_with_their_sources() {
    let site = Site::new();
    fs::write(
        site.at("site.toml"),
        "[cluster]\nmodules = [\"gcc\", \"openmpi\"]\n[cluster.partitions.gpu]\nqos = \"q\"\n",
    )
    .unwrap();
    let show = |words: &str| {
        said(site.command(words).env("RELION_RS_SITE_FILE", "site.toml").env("RELION_RS_PARTITION", "gpu"))
    };
    let (code, text) = show("config show");
    assert_eq!(code, 0, "{text}");
    has(&text, &["cluster.partition = \"gpu\"", "# RELION_RS_PARTITION", "cluster.modules = [\"gcc\", \"openmpi\"]"]);
    has(&text, &["cluster.qos = \"q\"", "site.toml, [cluster.partitions.gpu]", "cluster.launcher = \"srun\""]);
    let json: serde_json::Value = serde_json::from_str(&show("config show --json").1).unwrap();
    assert_eq!(json["cluster.max_restarts"], serde_json::json!({ "value": 50, "source": "built-in default" }));
    site.good("new job2.toml --diameter 180");
    has(&site.read("job2.toml"), &["\n[cluster]\n", "# partition = \"gpu\""]);
}

#[test]
fn several_ranks_are_queued_only_for_an_engine_that_takes_them() {
    let site = Site::new();
    site.install(r#"echo '{"mpi": null}'"#);
    let parts = ["bin/relion-rs-rank: the engine was built without MPI, and 3 ranks are asked for", "make build-mpi"];
    site.refused(&format!("{JOB} --partition gpu --gpus 3"), 69, &parts);
    assert!(site.calls("sbatch").is_empty() && !site.at("out").exists());
    let text = site.good(&format!("{JOB} --partition gpu --gpus 3 --dry-run"));
    has(&text, &["built without MPI", "#SBATCH --ntasks=3"]);
    site.good(&format!("{JOB} --partition gpu --gpus 1"));
    // A run that one rank began goes on with more.
    site.refused("resume out --gpus 2", 69, &["built without MPI, and 2 ranks"]);
    // A login node without the libraries of the others.
    site.install("echo 'libmpi.so.40: cannot open shared object file' >&2; exit 127");
    let text = site.good("resume out --gpus 2");
    has(&text, &["warning", "could not be asked on this machine", "libmpi.so.40", "submitted job"]);
}

#[test]
fn gpus_are_asked_for_where_they_are_computed_on() {
    let site = Site::new();
    let on_gpu = format!("{JOB} --partition gpu --gpus 1");
    // Nobody tells the memory of a GPU.
    let told = |site: &Site, words: &str| said(site.command(words).env_remove("RELION_RS_GPU_MEMORY"));
    let (code, text) = told(&site, &on_gpu);
    assert_eq!(code, 64, "{text}");
    has(&text, &["--gpu-memory", "site's file", "doctor --on-node gpu"]);
    fs::create_dir_all(site.at(".config/relion-rs")).unwrap();
    let user = site.at(".config/relion-rs/config.toml");
    fs::write(&user, "[cluster.partitions.gpu]\ngpu_memory = \"much\"\n").unwrap();
    let (code, text) = told(&site, &on_gpu);
    assert!(code == 78 && text.contains("gpu_memory") && text.contains("is not a size"), "{text}");
    fs::write(&user, "[cluster.partitions.gpu]\ngpu_memory = \"40GiB\"\n").unwrap();
    let (code, text) = told(&site, &on_gpu);
    assert_eq!(code, 0, "{text}");
    // The node decides; the table's memory is the job's.
    has(&site.read("out/plan.json"), &["\"backend\": \"auto\"", &format!("\"gpu_memory\": {}", 40_u64 << 30)]);
    assert!(!site.read("out/job.toml").contains("gpu_memory"));
    // An engine that could not use them.
    site.install(r#"echo '{"mpi": "Open MPI v4.1.4", "backends": ["cpu"]}'"#);
    site.refused(&on_gpu, 69, &["built without CUDA", "--features cuda", "--backend cpu"]);
    site.refused("resume out --gpus 1", 69, &["built without CUDA"]);
    has(&site.good(&format!("{on_gpu} --dry-run")), &["built without CUDA", "#SBATCH --gpus-per-task=1"]);
    let elsewhere = |out: &str| JOB.replace("--out out", &format!("--out {out}"));
    let text = site.good(&format!("{} --partition gpu --gpus 1 --backend cpu", elsewhere("idle")));
    has(&text, &["stay idle", "submitted job"]);
    site.good(&format!("{} --partition cpu", elsewhere("plain")));
}

#[test]
fn memory_a_core_takes_the_place_of_memory_a_node() {
    let site = Site::new();
    let text = site.good(&format!("{JOB} --partition gpu --dry-run -- --mem-per-cpu=2G"));
    has(&text, &["#SBATCH --mem-per-cpu=2G", "asked for by an argument of yours"]);
    assert!(!text.contains("#SBATCH --mem="), "{text}");
}

#[test]
fn what_slurm_remarks_of_a_job_that_it_takes_is_shown() {
    let site = Site::new();
    site.fake(
        "sbatch",
        "echo 'sbatch: warning: can not run 1 processes on 9 nodes, setting nnodes to 1' >&2; echo 101",
    );
    let text = site.good(JOB);
    has(&text, &["warning", "setting nnodes to 1", "submitted job 101"]);
}

#[test]
fn a_full_queue_is_told_with_slurms_own_sentence() {
    let site = Site::new();
    site.fake("sbatch", "echo 'sbatch: error: Slurm job queue full, sleeping and retrying' >&2; exit 1");
    site.refused(JOB, 69, &["queue full", "MaxJobCount"]);
}

#[test]
fn a_dedicated_leader_is_a_rank_without_a_gpu() {
    let site = Site::new();
    let text = site.good(&format!("{JOB} --partition gpu --gpus 2 --dedicated-leader --dry-run"));
    has(
        &text,
        &[
            "#SBATCH --ntasks=3\n",
            "#SBATCH --ntasks-per-node=3\n",
            "#SBATCH --gres=gpu:2\n",
            "--gres=gpu:2 relion-rs-rank",
        ],
    );
    assert!(!text.contains("gpus-per-task=") && !text.contains("gpu-bind"), "{text}");
    let text = site.good(&format!("{JOB} --partition gpu --gpus 2 --dedicated-leader"));
    has(&text, &["3 ranks on 1 node, a GPU each but for the leader"]);
}
