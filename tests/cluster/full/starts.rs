//! Other ways to start the ranks: without the environment of the one who submits, and by mpirun.

use std::fs;
use std::time::Instant;

use relion_rs::plan::progress::Event;
use relion_rs::plan::progress::Outcome;
use relion_rs::plan::progress::Record;

use crate::processes;
use crate::runs::Run;
use crate::sandbox::Options;
use crate::sandbox::Sandbox;

const TWO: &str = "--partition low --nodes 1 --gpus 2";
/// As for every job of this site's; and OpenMPI's words for a job of root.
const SETUP: &str = "export OMPI_MCA_btl=tcp,self OMPI_MCA_btl_tcp_if_include=lo \
                     OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1";
/// As on the first node of a real cluster, whose name is the machine's: no daemon, mpirun itself starts the ranks.
const BY_ITSELF: &str = "export OMPI_MCA_ras=^slurm OMPI_MCA_plm=isolated";
/// OpenMPI leaves its ranks so many seconds between SIGTERM and SIGKILL, instead of one; it waits for all of them.
const PATIENT: &str = "export OMPI_MCA_odls_base_sigkill_timeout=15";
/// The sandbox's grace time in seconds.
const GRACE: f64 = 20.0;

fn one_node() -> Sandbox {
    Sandbox::start(Options { nodes: 1, ..Options::default() })
}

/// A site that wants mpirun: the settings of a user, who has more to say than the site's file.
fn with_mpirun(sandbox: &Sandbox, further: &[&str]) {
    let folder = sandbox.folder().join(".config/relion-rs");
    fs::create_dir_all(&folder).unwrap();
    let setup: Vec<&str> = [SETUP].into_iter().chain(further.iter().copied()).collect();
    let text = format!("[cluster]\nlauncher = \"mpirun\"\nsetup = {setup:?}\n");
    fs::write(folder.join("config.toml"), text).unwrap();
}

/// The name of the process that started the ranks.
fn starter(run: &Run) -> String {
    let ranks = processes::ranks(&run.root());
    let parents: Vec<String> = ranks.iter().map(|rank| rank.parent_name()).collect();
    assert!(parents.len() == 2 && parents[0] == parents[1], "{parents:?}");
    parents[0].clone()
}

/// Jobs of some sites begin with an empty environment; ranks need what the script has set.
#[test]
#[ignore = "needs root and Debian's slurm-wlm; make test-cluster"]
fn without_the_environment_of_the_submitter() {
    let sandbox = one_node();
    let run = Run::new(&sandbox, "bare");
    let job = run.submit(&sandbox, &format!("{TWO} -- --export=NONE"));
    run.wait_for_work(&sandbox, 1);
    let ranks = processes::ranks(&run.root());
    assert_eq!(ranks.len(), 2);
    for rank in &ranks {
        assert_eq!(rank.variable("CARGO_MANIFEST_DIR"), "", "{rank} has the variables of the one who submitted");
        // Of the script, which came through.
        assert_eq!(rank.variable("RELION_RS_SIGNAL_MARGIN_SECONDS"), "30", "{rank}");
    }
    run.assert_done(&sandbox, job);
    assert_eq!(run.tables()[0].len(), 2);
}

/// mpirun makes a step of its daemon where the node is not the machine that it runs on, else none at all.
#[test]
#[ignore = "needs root and Debian's slurm-wlm; make test-cluster"]
fn by_mpirun_and_stopped_by_the_time_limit() {
    for (further, parent) in [(&[][..], "orted"), (&[BY_ITSELF][..], "mpirun")] {
        let sandbox = one_node();
        with_mpirun(&sandbox, further);
        let run = Run::new(&sandbox, "mpirun");
        let job = run.submit(&sandbox, &format!("{TWO} --time 1 --signal-margin-seconds 20"));
        run.wait_for_work(&sandbox, 1);
        let steps = sandbox.text("squeue", &format!("-h -s -j {job} -o %j")).unwrap();
        assert_eq!((starter(&run).as_str(), steps.contains("orted")), (parent, parent == "orted"), "{steps}");
        run.braked(&sandbox, "the end of its time", || (run.ends().len() == 1).then_some(()));
        sandbox.give_time(job);
        run.comes_back(&sandbox, job, 2);
        run.assert_done(&sandbox, job);
        assert_eq!(run.outcomes(), [Outcome::Requeued, Outcome::Done], "{:?}", run.ends());
        assert!(run.ends()[0].why.contains("the time of the job is nearly over"), "{:?}", run.ends());
        assert_eq!(run.tables().iter().map(Vec::len).collect::<Vec<_>>(), [2, 2]);
        run.assert_goes_on();
    }
}

/// What a preemption did to ranks that mpirun started.
#[derive(Debug)]
struct Preempted {
    /// When they were told to stop after the other job came, and by what; `None`: they were killed.
    told: Option<(f64, String)>,
    /// With a checkpoint.
    stopped: bool,
}

impl Preempted {
    /// In the grace time.
    fn assert_saved(&self, signal: &str) {
        let is_told = self.told.as_ref().is_some_and(|(at, cause)| cause == signal && *at < GRACE - 2.0);
        assert!(is_told && self.stopped, "{signal}: {self:?}");
    }
}

/// Preempts a run, which comes back whatever becomes of its ranks.
fn preempted(sandbox: &Sandbox, further: &[&str]) -> Preempted {
    with_mpirun(sandbox, further);
    let run = Run::new(sandbox, "mpirun");
    let job = run.submit(sandbox, TWO);
    run.wait_for_work(sandbox, 1);
    let (begin, intruder) = (Instant::now(), sandbox.preempt(2));
    let mut told = None;
    run.braked(sandbox, "the other's end", || {
        let cause = run.causes().first().cloned();
        told = told.take().or_else(|| Some((begin.elapsed().as_secs_f64(), cause?)));
        (sandbox.state(intruder) == "COMPLETED").then_some(())
    });
    let is_stop = |record: &Record| matches!(record.event, Event::Finished { checkpointed: true, .. });
    let seen = Preempted { told, stopped: run.records().iter().any(is_stop) };
    println!("{further:?}: {seen:?}, {:?}", run.ends());
    run.comes_back(sandbox, job, 2);
    run.assert_done(sandbox, job);
    assert_eq!(run.outcomes(), [Outcome::Requeued, Outcome::Done], "{:?}", run.ends());
    assert_eq!(sandbox.field(job, "Restarts"), "1");
    seen
}

/// The grace time is lost on ranks that are no step: they are told at its end.
#[test]
#[ignore = "needs root and Debian's slurm-wlm; make test-cluster"]
fn by_mpirun_itself_and_preempted() {
    let seen = preempted(&one_node(), &[BY_ITSELF]);
    assert!(seen.told.as_ref().is_some_and(|(at, cause)| cause == "SIGTERM" && *at >= GRACE - 2.0), "{seen:?}");
}

/// The daemon is a step and gets SIGTERM at once: it hands it on, and kills a second later unless told to wait.
#[test]
#[ignore = "needs root and Debian's slurm-wlm; make test-cluster"]
fn by_a_daemon_of_mpirun_and_preempted() {
    preempted(&one_node(), &[]);
    preempted(&one_node(), &[PATIENT]).assert_saved("SIGTERM");
}

/// Where the site sends the signal of `--signal` at preemption, the script passes it on by way of mpirun.
#[test]
#[ignore = "needs root and Debian's slurm-wlm; make test-cluster"]
fn by_mpirun_and_preempted_by_the_user_signal() {
    for further in [&[][..], &[BY_ITSELF][..]] {
        let sandbox = Sandbox::start(Options { nodes: 1, user_signal_at_preemption: true, ..Options::default() });
        preempted(&sandbox, further).assert_saved("SIGUSR2");
    }
}
