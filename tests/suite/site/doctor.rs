//! `doctor`, on machines that are made of scripts.

use std::fs;

use relion_rs::site::Answer;
use relion_rs::site::State;

use super::Desk;
use super::VERSION;
use super::told;

const PARTITIONS: &str = "PartitionName=gpu GraceTime=120 MaxTime=2-00:00:00 PreemptMode=REQUEUE State=UP TotalNodes=4 \
                          TRES=cpu=64,node=4,gres/gpu=16\n\
                          PartitionName=scavenge GraceTime=0 MaxTime=12:00:00 PreemptMode=CANCEL State=UP TotalNodes=2 TRES=cpu=8\n\
                          PartitionName=old GraceTime=0 MaxTime=1:00 PreemptMode=OFF State=DRAIN TotalNodes=1 TRES=cpu=8\n";

/// A login node of a cluster. Its srun runs the task at once.
fn cluster() -> Desk {
    let desk = Desk::new();
    desk.fake("sinfo", "case \"$*\" in *%R*) echo 'gpu|gpu:a100:4(S:0-1)' ;; *%G*) echo 'gpu:a100:4(S:0-1)' ;; *) echo slurm 23.11.4 ;; esac");
    for name in ["sbatch", "squeue", "scancel", "sacct"] {
        desk.fake(name, "exit 0");
    }
    desk.fake(
        "scontrol",
        &format!(
            "case \"$*\" in\nping) echo 'Slurmctld(primary) at head is UP' ;;\n\
             'show config') printf 'PreemptType             = preempt/partition_prio\\nAccountingStorageType   = \
             accounting_storage/slurmdbd\\nJobRequeue              = 0\\n' ;;\n\
             *partition*) printf '%s' '{PARTITIONS}' ;;\nesac"
        ),
    );
    desk.fake(
        "srun",
        "case \"$1\" in --mpi=list) printf 'MPI plugin types are...\\n\\tnone\\n\\tpmi2\\n\\tpmix\\nspecific pmix plugin \
         versions available: pmix_v4\\n'; exit 0 ;; esac\necho \"$*\" > \"$HOME/srun\"\n\
         while [ \"${1#/}\" = \"$1\" ]; do shift; done\nexec \"$@\"",
    );
    desk.fake("mpirun", "echo 'mpirun (Open MPI) 4.1.4'");
    desk.fake(
        "nvidia-smi",
        "[ \"$1\" = -L ] || printf 'NVIDIA A100-SXM4-40GB, GPU-aaaa, 40960, 550.54, 8.0\\nNVIDIA A100-SXM4-80GB, GPU-bbbb, 81920, 550.54, 8.0\\n'",
    );
    desk
}

/// The line of a topic, with its remedy.
fn line<'a>(text: &'a str, topic: &str) -> Vec<&'a str> {
    let lines: Vec<&str> = text.lines().collect();
    let starts = |line: &&str| line.get(9..).is_some_and(|rest| rest.starts_with(topic));
    let at: Vec<usize> = (0..lines.len()).filter(|n| starts(&lines[*n])).collect();
    at.into_iter().flat_map(|n| lines[n..lines.len().min(n + 2)].iter().copied()).collect()
}

#[test]
fn a_laptop_without_slurm_and_gpu_is_fine() {
    let desk = Desk::new();
    let (code, text) = desk.told("doctor --scratch-mib 8");
    assert_eq!(code, 0, "{text}");
    for part in [
        "missing  Slurm       not on this machine",
        "`relion-rs run` works without",
        "missing  GPU         none here",
        "missing  MPI ",
        "ok       HDF5        1.10.8",
        "ok       cores       8 usable, instruction set avx2",
        "file locks work",
        "MB/s",
        "`relion-rs run` works here",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains('\x1b'), "colour without a terminal");
    assert_eq!(fs::read_dir(desk.path("tmp")).unwrap().count(), 0, "nothing stays on scratch");
}

#[test]
fn a_cluster_is_told_in_full() {
    let desk = cluster();
    let (code, text) = desk.told("doctor --scratch-mib 0");
    assert_eq!(code, 0, "{text}");
    for part in [
        "ok       Slurm       slurm 23.11.4",
        "ok       controller  Slurmctld(primary) at head is UP",
        "ok       accounting  accounting_storage/slurmdbd, sacct",
        "JobRequeue=0",
        "ok       partition   gpu: 4 nodes with gpu:a100:4, limit 2-00:00:00, preempted jobs: REQUEUE, GraceTime 120 s",
        "warning  partition   scavenge: 2 nodes",
        "warning  partition   old: 1 nodes",
        "ok       srun --mpi  none, pmi2, pmix\n",
        "mpirun: mpirun (Open MPI) 4.1.4",
        "0: NVIDIA A100-SXM4-40GB, 40.0 GiB, GPU-aaaa",
        "GPU-bbbb, compute capability 8.0",
        "warning  backend     this engine was built without CUDA",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let (code, text) = desk.told("doctor --json --scratch-mib 0");
    let answer: Answer = serde_json::from_str(&text).unwrap();
    assert_eq!((code, answer.version.as_str(), answer.gpus.len()), (0, VERSION, 2));
    assert_eq!((answer.gpus[1].memory_bytes, answer.least_gpu_memory()), (80 << 30, Some(40 << 30)));
    assert!(answer.findings.iter().all(|finding| finding.state == State::Ok || !finding.remedy.is_empty()));
}

#[test]
fn an_engine_with_mpi_needs_something_that_starts_its_ranks() {
    let desk = cluster();
    let engine = |mpi: &str| {
        let probe = format!(
            r#"{{"version":"VERSION","hdf5":"1.14.0","instruction_set":"avx2","backends":["cpu","cuda"],"mpi":"{mpi}"}}"#
        );
        desk.script("bin/relion-rs-rank", &format!("printf '%s' '{probe}'"));
        desk.told("doctor --scratch-mib 0").1
    };
    let text = engine("Open MPI v4.1.4, package: Debian OpenMPI, ident: 4.1.4");
    assert!(
        text.contains("engine: Open MPI v4.1.4; mpirun")
            && text.contains("ok       PMIx        srun --mpi=pmix")
            && text.contains("missing  NVRTC"),
        "{text}"
    );
    desk.fake("srun", "printf 'MPI plugin types are...\\n\\tnone\\n\\tpmi2\\n'");
    assert!(line(&engine("Open MPI 4.1.4"), "PMIx")[1].contains("launcher = \"mpirun\""));
    assert!(engine("MPICH Version:\\t4.0.2\\nMPICH CC: gcc").contains("engine: MPICH Version: 4.0.2;"));
    assert!(engine("MPICH 4.0.2").contains("ok       PMIx        not there; srun --mpi=pmi2 suits"));
    desk.fake("srun", "echo 'srun: fatal: no plugins' >&2; exit 1");
    fs::remove_file(desk.path("fake/mpirun")).unwrap();
    let text = engine("Open MPI 4.1.4");
    assert!(text.contains("warning  MPI         engine: Open MPI 4.1.4; mpirun is not on the PATH"), "{text}");
}

#[test]
fn an_engine_with_cuda_tells_what_it_sees() {
    let desk = cluster();
    let engine = |rest: &str| {
        let of_all = r#""version":"VERSION","hdf5":"1.14.0","instruction_set":"avx2","backends":["cpu","cuda"]"#;
        let probe = format!(r#"{{{of_all},"kernels":"0123456789abcdef01",{rest}}}"#);
        desk.script("bin/relion-rs-rank", &format!("printf '%s' '{probe}'"));
        desk.told("doctor --scratch-mib 0").1
    };
    let text = engine(
        r#""devices":[{"ordinal":0,"uuid":"MIG-1","name":"NVIDIA H100","capability":[9,0],"processors":16,
           "memory_bytes":10737418240}],"no_device":null,"libraries":[{"name":"driver","version":"570.1","problem":""},
           {"name":"NVRTC","version":"12.8","problem":""},
           {"name":"cuFFT","version":null,"problem":"libcufft.so.11: cannot open"}]"#,
    );
    for part in [
        "ok       GPU         0: NVIDIA H100, 10.0 GiB, MIG-1, compute capability 9.0",
        "ok       driver      570.1",
        "ok       backend     cuda; kernels 0123456789abcdef\n",
        "ok       NVRTC       12.8",
        "warning  cuFFT       libcufft.so.11: cannot open",
        "more slowly on the host without",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("GPU-aaaa"), "what the engine sees counts: {text}");
    let text = engine(r#""devices":[],"no_device":{"problem":"no GPU is visible","fix":"Look."},"libraries":[]"#);
    assert!(text.contains("warning  backend     the engine uses no GPU: no GPU is visible"), "{text}");
    assert!(text.contains("GPU-aaaa") && text.contains("warning  cuFFT"), "{text}");
}

#[test]
fn what_run_needs_and_is_not_there_fails() {
    let desk = Desk::new();
    let failed = |part: &str, remedy: &str| {
        let (code, text) = desk.told("doctor --scratch-mib 0");
        assert!(code == 69 && text.contains("FAILED") && text.contains("will not work here"), "{text}");
        assert!(text.contains(part) && text.contains(remedy), "{text}");
    };
    desk.script("bin/relion-rs-rank", "echo libhdf5.so.103: cannot open >&2; exit 127");
    failed("libhdf5.so.103: cannot open", "load their modules");
    desk.script("bin/relion-rs-rank", "echo hello");
    failed("wrote no JSON", "Install both programs anew");
    desk.script("bin/relion-rs-rank", r#"echo '{"version":"0.0.1","backends":["cpu"]}'"#);
    failed("is version 0.0.1", "of one version");
    fs::remove_file(desk.path("bin/relion-rs-rank")).unwrap();
    failed("not beside the launcher", "make install");
    desk.script("bin/relion-rs-rank", super::ENGINE);
    fs::create_dir_all(desk.path("etc/relion-rs")).unwrap();
    fs::write(desk.path("etc/relion-rs/site.toml"), "[cluster]\npartitoin = \"gpu\"\n").unwrap();
    failed("partitoin", "`partition`");
    let (code, text) = desk.told("doctor --json --scratch-mib 0");
    let answer: Answer = serde_json::from_str(&text).unwrap();
    assert!(code == 69 && !answer.is_fit());
}

#[test]
fn parts_of_a_cluster_may_be_missing() {
    let desk = cluster();
    fs::remove_file(desk.path("fake/scontrol")).unwrap();
    fs::remove_file(desk.path("fake/sacct")).unwrap();
    let (code, text) = desk.told("doctor --scratch-mib 0");
    assert!(
        code == 0 && text.contains("continuation = \"dependency\"") && text.contains("ok       controller"),
        "{text}"
    );
    desk.fake("scontrol", "echo 'Slurmctld(primary) at head is DOWN'");
    let (code, text) = desk.told("doctor --scratch-mib 0");
    assert!(code == 0 && text.contains("warning  controller") && !text.contains("partition "), "{text}");
    desk.fake("sinfo", "echo 'sinfo: error: dns' >&2; echo 'sinfo: fatal: no configuration' >&2; exit 1");
    let (code, text) = desk.told("doctor --scratch-mib 0");
    assert!(code == 0 && text.contains("warning  Slurm       sinfo: fatal: no configuration"), "{text}");
    desk.fake("nvidia-smi", "echo 'Driver/library version mismatch'; exit 18");
    let (code, text) = desk.told("doctor --scratch-mib 0");
    assert!(code == 0 && text.contains("Driver/library version mismatch"), "{text}");
}

#[test]
fn scratch_is_the_folder_of_the_settings_or_of_the_job() {
    let desk = Desk::new();
    fs::create_dir_all(desk.path("etc/relion-rs")).unwrap();
    fs::write(desk.path("etc/relion-rs/site.toml"), "[cluster]\nscratch = \"$HOME/fast\"\n").unwrap();
    let (code, text) = desk.told("doctor --scratch-mib 8");
    assert!(code == 0 && text.contains("warning  scratch") && text.contains("fast: ENOENT"), "{text}");
    fs::create_dir(desk.path("fast")).unwrap();
    let (_, text) = desk.told("doctor --scratch-mib 8");
    assert!(text.contains("/fast, ") && text.contains("MB/s"), "{text}");
    fs::write(desk.path("etc/relion-rs/site.toml"), "[cluster]\nscratch = \"/x/$NOTHING\"\n").unwrap();
    let mut command = desk.command("bin/relion-rs", "doctor --scratch-mib 0");
    let (code, text) = told(command.env("SLURM_TMPDIR", desk.path("fast")));
    assert!(code == 0 && text.contains("$NOTHING is not set here") && text.contains("/fast, "), "{text}");
}

#[test]
fn a_node_answers_and_its_answer_is_kept() {
    let desk = cluster();
    fs::create_dir_all(desk.path("etc/relion-rs")).unwrap();
    fs::write(desk.path("etc/relion-rs/site.toml"), "[cluster]\naccount = \"emlab\"\n").unwrap();
    let (code, text) = desk.told("doctor --on-node gpu --wait 5 --scratch-mib 0 -- --qos=high");
    assert!(code == 0 && text.contains("a node of partition gpu") && text.contains("nodes/gpu.json"), "{text}");
    let srun = desk.read("srun");
    for word in ["--partition=gpu", "--ntasks=1", "--immediate=5", "--gres=gpu:1", "--account=emlab", "--qos=high"] {
        assert!(srun.contains(word), "{word}: {srun}");
    }
    let answer: Answer = serde_json::from_str(&desk.read(".config/relion-rs/nodes/gpu.json")).unwrap();
    assert_eq!((answer.partition.as_deref(), answer.least_gpu_memory()), (Some("gpu"), Some(40 << 30)));
    // A node on which nothing works answers too; the code says what it says.
    desk.script("bin/relion-rs-rank", "exit 1");
    let (code, text) = desk.told("doctor --on-node gpu --scratch-mib 0 -- --gpus=2");
    assert!(code == 69 && text.contains("FAILED"), "{text}");
    assert!(!desk.read("srun").contains("--gres"), "{}", desk.read("srun"));
}

#[test]
fn a_node_that_is_not_given_is_told() {
    let desk = cluster();
    for (said, remedy) in [
        ("srun: error: Unable to allocate resources: Immediate execution impossible", "--wait SECONDS"),
        ("srun: error: invalid partition specified: gpu", "sinfo -s"),
        ("srun: error: Unable to allocate resources: Invalid account or account/partition", "--account=NAME"),
        ("slurmstepd: error: execve(): /a/relion-rs: No such file or directory", "file system that all nodes share"),
    ] {
        desk.fake("srun", &format!("echo '{said}' >&2; exit 1"));
        let (code, text) = desk.told("doctor --on-node gpu");
        assert!(code == 69 && text.contains(said) && text.contains(remedy), "{text}");
    }
    desk.fake("srun", "echo hello");
    let (code, text) = desk.told("doctor --on-node gpu");
    assert!(code == 70 && text.contains("answered: hello"), "{text}");
    fs::remove_file(desk.path("fake/srun")).unwrap();
    let (code, text) = desk.told("doctor --on-node gpu");
    assert!(code == 69 && text.contains("srun is not on the PATH"), "{text}");
    let (code, text) = told(desk.command("bin/relion-rs", "doctor --on-node gpu").env("SLURM_JOB_ID", "7"));
    assert!(code == 64 && text.contains("this is job 7"), "{text}");
    let (code, text) = desk.told("doctor -- --qos=high");
    assert!(code == 64 && text.contains("--on-node"), "{text}");
    assert!(!desk.path(".config").exists());
}
