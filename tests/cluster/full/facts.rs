//! What this Slurm does, measured: signals, times and states that the batch script and `job` rely on.

use std::collections::BTreeMap;
use std::time::Duration;
use std::time::Instant;

use crate::processes;
use crate::sandbox::JobId;
use crate::sandbox::Options;
use crate::sandbox::Sandbox;
use crate::sandbox::now;

const PATIENCE: Duration = Duration::from_secs(180);
/// A task that notes when which signal came, as `signal seconds`, and goes on.
const NOTING: &str = r#"
cat > note.sh <<'END'
for signal in CONT USR2 TERM; do trap "echo step $signal \$(date +%s)" $signal; done
echo step begins $(date +%s)
while :; do sleep 0.2; done
END
trap 'echo shell TERM $(date +%s)' TERM
trap 'echo shell USR2 $(date +%s)' USR2
srun bash note.sh &
step=$!
while kill -0 $step 2>/dev/null; do wait $step; done
sleep 600
"#;

fn node() -> Sandbox {
    Sandbox::start(Options { nodes: 1, ..Options::default() })
}

/// When which signal came first, from the log.
fn notes(sandbox: &Sandbox, job: JobId) -> BTreeMap<String, u64> {
    let mut notes = BTreeMap::new();
    for line in sandbox.log_of(job).lines() {
        if let Some((what, seconds)) = line.rsplit_once(' ')
            && let Ok(seconds) = seconds.parse()
            && (what.starts_with("step ") || what.starts_with("shell "))
        {
            notes.entry(what.to_owned()).or_insert(seconds);
        }
    }
    notes
}

fn submit_noting(sandbox: &Sandbox, flags: &str) -> JobId {
    let job = sandbox.submit(flags, NOTING);
    sandbox.wait_for("the step begins", PATIENCE, || notes(sandbox, job).get("step begins").copied());
    job
}

/// The nodes of all tasks that note.
fn tasks(sandbox: &Sandbox) -> Vec<String> {
    let all = processes::of_sandbox(sandbox.folder()).into_iter();
    let tasks = all.filter(|process| process.name == "bash" && process.arguments.ends_with(&["note.sh".to_owned()]));
    let mut nodes: Vec<_> = tasks.map(|process| process.variable("SLURMD_NODENAME").to_owned()).collect();
    nodes.sort();
    nodes
}

/// How long it takes until a job is in one of these states.
fn time_to(sandbox: &Sandbox, job: JobId, states: &[&str]) -> f64 {
    let begin = Instant::now();
    sandbox.wait_for_state(job, states, PATIENCE);
    begin.elapsed().as_secs_f64()
}

#[test]
#[ignore = "needs root and Debian's slurm-wlm; make test-cluster"]
fn the_time_limit() {
    let sandbox = node();
    let limited = submit_noting(&sandbox, "--time=1 --signal=USR2@30");
    let mut jobs = vec![("one minute", limited, notes(&sandbox, limited)["step begins"] + 60, 30)];
    for (name, seconds, margin) in [("brought near: 70", 70, 30), ("brought near: 45", 45, 10)] {
        let job = submit_noting(&sandbox, &format!("--time=10 --signal=USR2@{margin}"));
        sandbox.end_in(job, seconds);
        jobs.push((name, job, now() + seconds, margin));
        let told = sandbox.text("squeue", &format!("-h -j {job} -o %L|%e")).unwrap();
        println!(
            "now {}; squeue tells of a job that ends in {seconds} s: {told}",
            sandbox.text("date", "+%T").unwrap()
        );
    }
    for (name, job, end, margin) in jobs {
        sandbox.wait_for_state(job, &["TIMEOUT"], PATIENCE);
        let notes = notes(&sandbox, job);
        let told: Vec<_> = notes.iter().map(|(what, at)| format!("{what} {:+}", *at as i64 - end as i64)).collect();
        println!("{name}, margin {margin}; seconds from its end: {}", told.join(", "));
        let early = end as i64 - notes["step USR2"] as i64;
        // Slurm looks every 30 s, and sends early rather than late.
        assert!((margin - 5..=margin + 65).contains(&early), "{early} s before the end: {told:?}");
        assert!(!notes.contains_key("shell USR2"), "without B: only steps are told");
    }
}

#[test]
#[ignore = "needs root and Debian's slurm-wlm; make test-cluster"]
fn preemption_requeues_or_cancels() {
    let sandbox = node();
    for (partition, state) in [("low", "PENDING"), ("lowcancel", "PREEMPTED")] {
        let job = submit_noting(&sandbox, &format!("--partition={partition} --signal=USR2@60 --time=10"));
        let begin = now();
        let intruder = sandbox.preempt(2);
        sandbox.wait_for_state(job, &[state], PATIENCE);
        let lasted = now() - begin;
        let queue = sandbox.text("squeue", "-h -t all -o %i|%P|%T|%r|%S").unwrap();
        println!("{partition}: {state} after {lasted} s; {:?}\n{queue}", notes(&sandbox, job));
        let grace = u64::from(Options::default().grace_seconds);
        assert!((grace - 2..grace + 40).contains(&lasted), "it has its grace time: {lasted} s");
        assert!(notes(&sandbox, job)["step TERM"] <= begin + 15, "the step is told at once");
        assert!(!notes(&sandbox, job).contains_key("step USR2"));
        sandbox.wait_for_state(intruder, &["COMPLETED"], PATIENCE);
        if state == "PENDING" {
            assert_eq!(sandbox.field(job, "Reason"), "BeginTime");
            sandbox.hurry(job);
            sandbox.wait_for_state(job, &["RUNNING"], PATIENCE);
            sandbox.text("scancel", &job.to_string()).unwrap();
            println!("scancel takes {:.1} s", time_to(&sandbox, job, &["CANCELLED"]));
        }
    }
}

/// Ending by itself in the grace time, whatever the code, is an end: the job does not come back.
#[test]
#[ignore = "needs root and Debian's slurm-wlm; make test-cluster"]
fn an_exit_in_the_grace_time_is_an_end() {
    let sandbox = node();
    for code in [0, 75] {
        let script =
            format!("srun bash -c 'trap \"exit {code}\" TERM; echo step begins 0; while :; do sleep 0.2; done'");
        let job = sandbox.submit("--requeue", &script);
        sandbox.wait_for("the step begins", PATIENCE, || notes(&sandbox, job).get("step begins").copied());
        let intruder = sandbox.preempt(1);
        let state = sandbox.wait_for_state(job, &["COMPLETED", "FAILED", "PREEMPTED", "PENDING"], PATIENCE);
        println!("code {code}: {state}, {}", sandbox.field(job, "ExitCode"));
        assert_eq!(state, if code == 0 { "COMPLETED" } else { "FAILED" });
        sandbox.wait_for_state(intruder, &["COMPLETED"], PATIENCE);
    }
}

#[test]
#[ignore = "needs root and Debian's slurm-wlm; make test-cluster"]
fn a_slurmd_that_is_started_again_costs_nothing() {
    let mut sandbox = node();
    let job = submit_noting(&sandbox, "--requeue");
    sandbox.kill_slurmd(1);
    std::thread::sleep(Duration::from_secs(5));
    println!("5 s after its slurmd was killed: job {}, node {}", sandbox.state(job), sandbox.node_state(1));
    sandbox.start_slurmd(1);
    std::thread::sleep(Duration::from_secs(10));
    assert_eq!((sandbox.state(job).as_str(), sandbox.field(job, "Restarts").as_str()), ("RUNNING", "0"));
    sandbox.text("scancel", &job.to_string()).unwrap();
    println!("scancel takes {:.1} s", time_to(&sandbox, job, &["CANCELLED"]));
}

/// The job comes back on another node while its first step lives on, because nobody is there to end it. Where the node
/// comes back first and gets the job again, Slurm drains it (Duplicate jobid) and holds the job.
#[test]
#[ignore = "needs root and Debian's slurm-wlm; make test-cluster"]
fn a_slurmd_that_stays_away_requeues_its_jobs() {
    let mut sandbox = Sandbox::start(Options { nodes: 2, ..Options::default() });
    let job = submit_noting(&sandbox, "--requeue");
    assert_eq!(sandbox.field(job, "NodeList"), "n1");
    sandbox.kill_slurmd(1);
    println!("requeued {:.0} s after slurmd was killed", time_to(&sandbox, job, &["PENDING"]));
    println!("{}\nStartTime={}", sandbox.text("squeue", "-l").unwrap(), sandbox.field(job, "StartTime"));
    assert_eq!(sandbox.node_state(1), "down*");
    sandbox.hurry(job);
    sandbox.wait_for_state(job, &["RUNNING"], PATIENCE);
    sandbox.wait_for("two steps of one job", PATIENCE, || (tasks(&sandbox) == ["n1", "n2"]).then_some(()));
    sandbox.start_slurmd(1);
    let begin = Instant::now();
    sandbox.wait_for("the old step's end", PATIENCE, || (tasks(&sandbox) == ["n2"]).then_some(()));
    println!("the old step ends {:.0} s after slurmd is back", begin.elapsed().as_secs_f64());
    sandbox.wait_for("the node is back", PATIENCE, || (sandbox.node_state(1) == "idle").then_some(()));
}

#[test]
#[ignore = "needs root and Debian's slurm-wlm; make test-cluster"]
fn a_node_that_is_set_down_requeues_its_jobs() {
    let sandbox = Sandbox::start(Options { nodes: 2, ..Options::default() });
    for (flags, state) in [("--requeue", "PENDING"), ("--no-requeue", "NODE_FAIL")] {
        let job = submit_noting(&sandbox, flags);
        assert_eq!(sandbox.field(job, "NodeList"), "n1");
        sandbox.node_down(1);
        let begin = Instant::now();
        let seconds = time_to(&sandbox, job, &[state]);
        println!("{flags}: {state} {seconds:.1} s after its node was set down");
        println!("{}\nStartTime={}", sandbox.text("squeue", "-l -t all").unwrap(), sandbox.field(job, "StartTime"));
        sandbox
            .wait_for("the old step's end", PATIENCE, || (!tasks(&sandbox).contains(&"n1".to_owned())).then_some(()));
        println!("its step ended {:.1} s after; {:?}", begin.elapsed().as_secs_f64(), notes(&sandbox, job));
        if state == "PENDING" {
            sandbox.hurry(job);
            sandbox.wait_for_state(job, &["RUNNING"], PATIENCE);
            assert_eq!(sandbox.field(job, "NodeList"), "n2");
            sandbox.text("scancel", &job.to_string()).unwrap();
            sandbox.wait_for_state(job, &["CANCELLED"], PATIENCE);
        }
        sandbox.node_up(1);
        sandbox.wait_for("the node is back", PATIENCE, || (sandbox.node_state(1) == "idle").then_some(()));
    }
}

#[test]
#[ignore = "needs root and Debian's slurm-wlm; make test-cluster"]
fn accounting_remembers_jobs() {
    let begin = Instant::now();
    let sandbox = Sandbox::start(Options { nodes: 1, accounting: true, ..Options::default() });
    println!("started in {:.1} s", begin.elapsed().as_secs_f64());
    let job = sandbox.submit("--gres=gpu:1", "exit 3");
    let ask = || sandbox.text("sacct", &format!("-n -X -P -j {job} -o State,ExitCode,AllocTRES")).ok();
    let line = sandbox.wait_for("sacct knows", PATIENCE, || ask().filter(|line| line.starts_with("FAILED")));
    assert!(line.starts_with("FAILED|3:0|") && line.contains("gres/gpu=1"), "{line}");
}
