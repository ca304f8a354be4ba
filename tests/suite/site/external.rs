//! RELION's entries: the External job, and the batch script that its GUI fills in.

use std::fs;

use relion_rs::formats::star::StarFile;

use super::Desk;
use super::told;

const JOB: &str = "external --o External/job007/ --in_parts p.star --in_3dref r.mrc --particle_diameter 200 --sym D2 --j 2 \
                   --pipeline_control External/job007/";

/// A project, and an engine that leaves the final files of a refinement.
fn project(engine: &str) -> Desk {
    let desk = Desk::new();
    fs::write(desk.path("p.star"), "data_particles\n").unwrap();
    fs::write(desk.path("r.mrc"), "map").unwrap();
    desk.script("bin/relion-rs-rank", engine);
    desk
}

const WORKS: &str = "for name in data.star optimiser.star class001.mrc half1_class001_unfil.mrc it003_data.star; do
: > \"$1/run_$name\"; done\n";

fn ends(desk: &Desk) -> Vec<String> {
    let names = fs::read_dir(desk.path("External/job007")).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.filter_map(|name| name.into_string().ok()).collect();
    names.retain(|name| name.starts_with("RELION_JOB_EXIT"));
    names.sort();
    names
}

fn nodes(desk: &Desk) -> Vec<(String, String)> {
    let star = StarFile::read(&desk.path("External/job007/RELION_OUTPUT_NODES.star")).unwrap();
    let table = star.require("output_nodes").unwrap();
    let types = table.column("rlnPipeLineNodeTypeLabel").or_else(|| table.column("rlnPipeLineNodeType")).unwrap();
    let names = table.require("rlnPipeLineNodeName").unwrap();
    names.strs().map(str::to_owned).zip(types.strs().map(str::to_owned)).collect()
}

#[test]
fn an_external_job_runs_in_its_folder_and_offers_its_results() {
    let desk = project(WORKS);
    fs::create_dir_all(desk.path("External/job007")).unwrap();
    fs::write(desk.path("External/job007/RELION_JOB_EXIT_FAILURE"), "").unwrap();
    let (code, text) = desk.told(JOB);
    assert_eq!(code, 0, "{text}");
    assert_eq!(ends(&desk), ["RELION_JOB_EXIT_SUCCESS"]);
    let plan: serde_json::Value = serde_json::from_str(&desk.read("External/job007/plan.json")).unwrap();
    assert_eq!((plan["symmetry"].as_str(), plan["threads"].as_u64()), (Some("D2"), Some(2)));
    let named = |name: &str, what: &str| (format!("External/job007/{name}"), what.to_owned());
    let wanted = [
        named("run_class001.mrc", "DensityMap.mrc.relion.refine3d"),
        named("run_data.star", "ParticleGroupMetadata.star.relion.refine3d"),
        named("run_half1_class001_unfil.mrc", "DensityMap.mrc.relion.halfmap.refine3d"),
        named("run_optimiser.star", "OptimiserData.star.relion.refine3d"),
    ];
    assert_eq!(nodes(&desk), wanted);
    // A project of RELION 3.1 has numbers.
    let pipeline =
        "data_pipeline_processes\n\nloop_\n_rlnPipeLineProcessName #1\n_rlnPipeLineProcessType #2\nImport/job001/ 0\n";
    fs::write(desk.path("default_pipeline.star"), pipeline).unwrap();
    let (code, text) = desk.told(JOB);
    assert_eq!(code, 0, "{text}");
    let numbers: Vec<String> = nodes(&desk).into_iter().map(|(_, number)| number).collect();
    assert_eq!(numbers, ["6", "3", "10", "9"]);
}

#[test]
fn the_end_of_an_external_job_is_told_to_relion() {
    for (engine, code, wanted) in
        [("exit 65", 65, "FAILURE"), ("kill -9 $$", 70, "FAILURE"), ("exit 75", 75, "ABORTED")]
    {
        let desk = project(engine);
        let (found, text) = desk.told(JOB);
        assert_eq!(found, code, "{text}");
        assert_eq!(ends(&desk), [format!("RELION_JOB_EXIT_{wanted}")], "{engine}");
        assert!(!desk.path("External/job007/RELION_OUTPUT_NODES.star").exists());
    }
    // In a batch job that will come back nothing is told, unless RELION asked for the end.
    let stopping = |cause: &str| {
        format!(
            "echo '{{\"unix_seconds\":1.0,\"event\":\"stopping\",\"cause\":\"{cause}\",\"iteration\":1,\"particles_done\":0}}' \
             >> $1/progress.jsonl; exit 75"
        )
    };
    for (cause, wanted) in [("SIGTERM", 0), ("RELION_JOB_ABORT_NOW", 1)] {
        let desk = project(&stopping(cause));
        let (code, text) = told(desk.command("bin/relion-rs", JOB).env("SLURM_JOB_ID", "1"));
        assert_eq!((code, ends(&desk).len()), (75, wanted), "{cause}: {text}");
    }
    let desk = project(WORKS);
    let (code, text) = desk.told(&format!("{JOB} --diametre 5"));
    assert!(code == 64 && text.contains("--diametre is no key") && text.contains("--diameter"), "{text}");
    assert_eq!(ends(&desk), ["RELION_JOB_EXIT_FAILURE"]);
    let (code, text) = desk.told("external --in_parts p.star");
    assert!(code == 64 && text.contains("--o is missing"), "{text}");
}

/// The template as RELION fills it in: for a program without MPI the whole line of the command is replaced.
fn filled(desk: &Desk, command: &str, has_mpi: bool) -> String {
    let (code, text) = desk.told("relion-template");
    assert_eq!(code, 0, "{text}");
    let is_command = |line: &str| line.contains("XXXcommandXXX");
    let lines = text.lines().map(|line| if is_command(line) && !has_mpi { "XXXcommandXXX" } else { line });
    let mut script = lines.collect::<Vec<_>>().join("\n");
    for (name, value) in [
        ("name", "External/job007/"),
        ("queue", "gpu"),
        ("mpinodes", "3"),
        ("threads", "4"),
        ("cores", "4"),
        ("dedicated", "8"),
        ("extra1", "2"),
        ("extra2", "12:00:00"),
        ("outfile", "External/job007/run.out"),
        ("errfile", "External/job007/run.err"),
        ("command", command),
    ] {
        assert!(script.contains(&format!("XXX{name}XXX")), "the template lacks XXX{name}XXX");
        script = script.replace(&format!("XXX{name}XXX"), value);
    }
    assert_eq!(script.matches("XXX").count(), 2, "only the comment may speak of XXX...XXX: {script}");
    script
}

#[test]
fn the_template_starts_the_job_and_lets_it_come_back() {
    let desk = project("exit 75");
    fs::create_dir_all(desk.path("External/job007")).unwrap();
    desk.fake("dirname", "echo External/job007");
    desk.fake("srun", "echo \"$*\" >> srun\nread code < code; exit $code");
    desk.fake("program", "echo \"alone $*\" >> srun\nread code < code; exit $code");
    desk.fake("relion-rs", "echo \"$*\" > ended; exit 0");
    let run = |has_mpi: bool, code: &str| {
        fs::write(desk.path("job.sh"), filled(&desk, "program --o External/job007/", has_mpi)).unwrap();
        fs::write(desk.path("code"), format!("{code}\n")).unwrap();
        told(&mut desk.command("/bin/bash", "job.sh"))
    };
    assert_eq!(run(true, "0"), (0, String::new()));
    assert_eq!(run(false, "0"), (0, String::new()));
    let wanted = "--ntasks=3 --cpus-per-task=4 --kill-on-bad-exit=1 program --o External/job007/\n\
                  alone --o External/job007/\n";
    assert_eq!(desk.read("srun"), wanted);
    let header = desk.read("job.sh");
    for line in
        ["--partition=gpu", "--gres=gpu:2", "--time=12:00:00", "--signal=USR2@120", "--open-mode=append", "--requeue"]
    {
        assert!(header.contains(&format!("#SBATCH {line}\n")), "{line}");
    }
    // An error stays an error, and 75 of another program too.
    for code in ["65", "75"] {
        assert_eq!(run(false, code).0.to_string(), code);
        assert!(!desk.path("ended").exists());
    }
    fs::write(desk.path("External/job007/plan.json"), "{}").unwrap();
    assert_eq!(run(false, "75").0, 0);
    assert_eq!(desk.read("ended"), "job end External/job007 --code 75\n");
}

#[test]
fn in_a_batch_script_it_becomes_a_step_that_knows_its_end() {
    let desk = project(WORKS);
    desk.fake("squeue", "echo 1:00");
    desk.fake(
        "srun",
        "echo \"$*\" > srun; echo \"$SLURM_JOB_END_TIME ${SLURM_CPUS_PER_TASK:-unset}\" > env\n\
         while [ \"${1#/}\" = \"$1\" ]; do shift; done\nSLURM_STEP_ID=0 exec \"$@\"",
    );
    let mut command = desk.command("bin/relion-rs", JOB);
    let (code, text) = told(command.env("SLURM_JOB_ID", "5").env("SLURM_CPUS_PER_TASK", "9"));
    assert_eq!(code, 0, "{text}");
    assert_eq!(ends(&desk), ["RELION_JOB_EXIT_SUCCESS"]);
    let srun = desk.read("srun");
    assert!(srun.starts_with("--ntasks=1 --kill-on-bad-exit=1 --cpus-per-task=2 /"), "{srun}");
    assert!(srun.trim_end().ends_with(&JOB.split_whitespace().collect::<Vec<_>>().join(" ")), "{srun}");
    let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let said = desk.read("env");
    let (end, cpus) = said.trim().split_once(' ').unwrap();
    let end: u64 = end.parse().unwrap();
    assert!((seconds..=seconds + 60).contains(&end) && cpus == "unset", "{said}");
    // Without srun it works, and says what that costs.
    fs::remove_file(desk.path("fake/srun")).unwrap();
    let (code, text) = told(desk.command("bin/relion-rs", JOB).env("SLURM_JOB_ID", "5"));
    assert!(code == 0 && text.contains("since the last checkpoint"), "{text}");
}
