//! Several jobs by one command: an array of runs, and a chain of small jobs around one.

use std::fs;

use relion_rs::plan::RunDir;
use relion_rs::plan::progress;
use relion_rs::plan::progress::Event;

use crate::runs::JOB;
use crate::runs::Run;
use crate::sandbox::Options;
use crate::sandbox::Sandbox;
use crate::submitted::PATIENCE;

const SHORT: &str = "class3d --particles set/particles.star --reference ref.mrc --out scan --diameter 180 --ini-high 40 \
                     --classes 1 --iterations 1 --healpix-order 1 --offset-range-pixels 2 --threads 1";

#[test]
#[ignore = "needs root and Debian's slurm-wlm; make test-cluster"]
fn an_array_of_twenty() {
    let sandbox = Sandbox::start(Options::default());
    let run = Run::new(&sandbox, "array");
    let seeds: Vec<String> = (1..=20).map(|seed| seed.to_string()).collect();
    let told = run.json(
        &sandbox,
        &format!("submit {SHORT} --scan seed={} --array %4 --partition low --then report", seeds.join(",")),
    );
    let folders = told["run_dirs"].as_array().unwrap();
    assert_eq!(folders.len(), 20, "{told}");
    for (task, folder) in folders.iter().enumerate() {
        let dir = RunDir::new(folder.as_str().unwrap());
        let is_over = |event: &Event| matches!(event, Event::Finished { checkpointed: false, iteration: 1, .. });
        sandbox.wait_for(&format!("the end of task {task}"), PATIENCE, || {
            progress::read(&dir.progress()).ok()?.iter().any(|record| is_over(&record.event)).then_some(())
        });
        let id = format!("{}_{task}", told["job_id"].as_str().unwrap());
        assert_eq!(fs::read_to_string(dir.jobid()).unwrap().trim(), id);
        sandbox.wait_for(&format!("the report of task {task}"), PATIENCE, || dir.report().is_file().then_some(()));
    }
    let status = run.json(&sandbox, "status scan-seed-7");
    assert_eq!(status["state"], "finished", "{status}");
}

/// With a map that is fine enough to be sharpened.
#[test]
#[ignore = "needs root and Debian's slurm-wlm; make test-cluster"]
fn a_chain_of_stage_refinement_postprocess_and_report() {
    let sandbox = Sandbox::start(Options::default());
    let run = Run::new(&sandbox, "chain");
    let map = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/beta_galactosidase.mrc");
    run.tell(&sandbox, &format!("simulate --map {map} --count 300 --snr 0.1 --out fine"));
    let job = "refine3d --particles fine/particles.star --reference fine/truth.mrc --out out --symmetry D2 \
               --diameter 200 --ini-high 50 --local-search-order 3";
    let scratch = run.folder.join("scratch");
    fs::create_dir(&scratch).unwrap();
    let told = run.json(
        &sandbox,
        &format!(
            "submit {job} --partition low --nodes 1 --gpus 2 --stage --scratch {} --then postprocess --then report",
            scratch.display()
        ),
    );
    let number = |value: &serde_json::Value| value.as_str().unwrap().parse::<u32>().unwrap();
    let (stage, job) = (number(&told["stage_job_id"]), number(&told["job_id"]));
    let then: Vec<u32> = told["then_job_ids"].as_array().unwrap().iter().map(number).collect();
    assert_eq!(then.len(), 2, "{told}");
    for id in [stage, job, then[0], then[1]] {
        sandbox.wait_for_state(id, &["COMPLETED"], PATIENCE);
    }
    assert!(!sandbox.field(stage, "TresPerNode").contains("gpu"), "copying holds no GPU");
    assert!(run.root().join("postprocess.star").is_file() && run.dir().report().is_file());
    assert!(fs::read_dir(scratch.join("relion-rs-stage")).unwrap().count() > 0, "the stack was copied");
    let is_warning = |event: &Event| matches!(event, Event::Warning { text } if text.contains("cop"));
    assert!(!run.records().iter().any(|record| is_warning(&record.event)), "and all of it was read from there");
}

/// The first link fails: what was to follow is taken out of the queue.
#[test]
#[ignore = "needs root and Debian's slurm-wlm; make test-cluster"]
fn after_a_failed_run_nothing_follows() {
    let sandbox = Sandbox::start(Options { nodes: 1, ..Options::default() });
    let run = Run::new(&sandbox, "broken");
    let told = run.json(&sandbox, &format!("submit {JOB} --partition low --then report -- --hold"));
    let job: u32 = told["job_id"].as_str().unwrap().parse().unwrap();
    let then: u32 = told["then_job_ids"][0].as_str().unwrap().parse().unwrap();
    fs::remove_file(run.folder.join("ref.mrc")).unwrap();
    sandbox.text("scontrol", &format!("release {job}")).unwrap();
    sandbox.wait_for_state(job, &["FAILED"], PATIENCE);
    sandbox.wait_for_state(then, &["CANCELLED"], PATIENCE);
    assert_eq!(sandbox.field(job, "ExitCode"), "66:0", "{}", run.log(job));
    assert!(!run.dir().report().exists());
}
