//! Every end of the ranks, with everything that Slurm may say about it.

use super::*;

const TIME: Option<&str> = Some(END_OF_TIME);
const STANDINGS: [Standing; 6] = [
    Standing::Running,
    Standing::Preempted,
    Standing::TimedOut,
    Standing::Cancelled,
    Standing::ComesBack,
    Standing::Unknown,
];

fn facts() -> Facts<'static> {
    Facts {
        code: 75,
        is_finished: false,
        cause: None,
        failure: None,
        death: None,
        broken_node: None,
        seconds_left: Some(3600.0),
        margin_seconds: 120.0,
        standing: Standing::Running,
        restarts: 2,
        max_restarts: 50,
        may_requeue: true,
        is_stuck: false,
        next_job: None,
        waited_seconds: 0.0,
        patience_seconds: [900.0, 30.0],
        go_on: "sbatch run/job.sbatch",
    }
}

/// One letter a decision: Done, Failed, Requeue, Back by itself, Stopped, Wait, Paused, Continued.
fn letter(facts: &Facts<'_>) -> char {
    let decision = decide(facts);
    assert!(!decision.why.is_empty() && !decision.why.contains('\n'), "{decision:?}");
    match decision.step {
        Step::Wait => 'W',
        Step::Requeue { .. } => 'R',
        Step::End(outcome, code) => {
            assert_eq!(code == 0, outcome == Outcome::Done, "{decision:?}");
            match outcome {
                Outcome::Done => 'D',
                Outcome::Failed => 'F',
                Outcome::Requeued => 'B',
                Outcome::Stopped => 'S',
                Outcome::Paused => 'P',
                Outcome::Continued => 'C',
                Outcome::Waits => panic!("{decision:?}"),
            }
        }
    }
}

/// The letters for all standings: running, preempted, timed out, cancelled, comes back, unknown.
fn letters(facts: &Facts<'_>) -> String {
    STANDINGS.into_iter().map(|standing| letter(&Facts { standing, ..facts.clone() })).collect()
}

#[test]
fn every_end_meets_every_standing() {
    let killed = Death::Signal { ranks: "rank 1".to_owned(), node: "n2".to_owned(), word: "Killed".to_owned() };
    let node = Death::Node { node: "n2".to_owned() };
    let silent = Death::Silent { node: "n2".to_owned(), what: "rank 1 on n2 is stuck".to_owned() };
    let plain = facts();
    let near = Some(179.0);
    let disk = Some((74, "disk full"));
    let lost = Some((70, "the connection to rank 1 is closed"));
    let taken = format!("run: {TAKEN}");
    let taken = Some((64, taken.as_str()));
    for (name, facts, wanted) in [
        ("finished", Facts { code: 0, is_finished: true, ..facts() }, "DDDDDD"),
        ("0 and not finished", Facts { code: 0, ..facts() }, "RRRSBR"),
        ("0 of srun without a node", Facts { code: 0, death: Some(&node), ..facts() }, "RRRSBR"),
        ("0 of srun and an error", Facts { code: 0, failure: disk, ..facts() }, "FFFFFF"),
        ("finished at the limit", Facts { code: 0, is_finished: true, seconds_left: near, ..facts() }, "DDDDDD"),
        ("the engine's clock", Facts { cause: TIME, ..facts() }, "RRRSBR"),
        ("max_hours", Facts { cause: Some(END_OF_HOURS), ..facts() }, "SSSSBS"),
        ("USR2 near", Facts { cause: Some("SIGUSR2"), seconds_left: near, ..facts() }, "RRRSBR"),
        ("USR2 far", Facts { cause: Some("SIGUSR2"), ..facts() }, "WRRSBW"),
        ("USR2, no limit", Facts { cause: Some("SIGUSR2"), seconds_left: None, ..facts() }, "WRRSBW"),
        ("USR2 far, waited", Facts { cause: Some("SIGUSR2"), waited_seconds: 31.0, ..facts() }, "RRRSBP"),
        ("TERM", Facts { cause: Some("SIGTERM"), ..facts() }, "WRRSBW"),
        ("TERM near", Facts { cause: Some("SIGTERM"), seconds_left: near, ..facts() }, "WRRSBW"),
        ("TERM, waited", Facts { cause: Some("SIGTERM"), waited_seconds: 901.0, ..facts() }, "PRRSBP"),
        ("75 and no word", plain.clone(), "WRRSBW"),
        ("the file", Facts { cause: Some("RELION_JOB_ABORT_NOW"), ..facts() }, "SSSSBS"),
        ("Ctrl-C", Facts { cause: Some("SIGINT"), ..facts() }, "SSSSBS"),
        ("an error", Facts { code: 74, failure: disk, ..facts() }, "FFFFFF"),
        ("an error without an event", Facts { code: 66, ..facts() }, "FFFFFF"),
        ("a strange code", Facts { code: 1, ..facts() }, "FRRSBF"),
        ("a strange code of an error", Facts { code: 1, failure: disk, ..facts() }, "FFFFFF"),
        ("an error, the rest killed", Facts { code: 137, failure: disk, ..facts() }, "FFFFFF"),
        ("the same by the log", Facts { code: 137, failure: disk, death: Some(&Death::Code), ..facts() }, "FFFFFF"),
        ("memory", Facts { code: 137, death: Some(&Death::Memory), ..facts() }, "FFFFFF"),
        ("a killed rank", Facts { code: 137, ..facts() }, "RRRSBR"),
        ("terminated", Facts { code: 143, ..facts() }, "RRRSBR"),
        ("a killed rank by the log", Facts { code: 137, death: Some(&killed), ..facts() }, "RRRSBR"),
        ("and the others complain", Facts { code: 70, failure: lost, death: Some(&killed), ..facts() }, "RRRSBR"),
        ("killed for an error", Facts { code: 137, failure: disk, death: Some(&killed), ..facts() }, "FFFFFF"),
        ("an error as a node was lost", Facts { code: 137, failure: disk, death: Some(&node), ..facts() }, "RRRSBR"),
        ("a silent rank", Facts { code: 70, failure: Some((70, "rank 1")), death: Some(&silent), ..facts() }, "RRRSBR"),
        ("an earlier process is still there", Facts { code: 64, failure: taken, ..facts() }, "RRRSBR"),
        ("a lost node", Facts { code: 143, death: Some(&node), ..facts() }, "RRRSBR"),
    ] {
        assert_eq!(letters(&facts), wanted, "{name}");
        let off = Facts { may_requeue: false, ..facts.clone() };
        assert_eq!(letters(&off), wanted.replace('R', "P"), "{name}, switched off");
        let next = Facts { next_job: Some("9"), ..off };
        assert_eq!(letters(&next), wanted.replace(['R', 'P'], "C"), "{name}, a continuation is queued");
        for spent in [Facts { restarts: 50, ..facts.clone() }, Facts { is_stuck: true, ..facts.clone() }] {
            assert_eq!(letters(&spent), wanted.replace('R', "P"), "{name}, enough restarts");
            let next = Facts { next_job: Some("9"), ..spent };
            // What nobody may start again is not left to a continuation either.
            let wanted = wanted.replace('P', "C").replace('R', "P");
            assert_eq!(letters(&next), wanted, "{name}, enough restarts: no continuation either");
        }
    }
}

#[test]
fn the_broken_node_is_left_out_of_the_next_try_only_when_a_rank_was_lost() {
    let step = |facts: Facts<'_>| decide(&facts).step;
    let without = Some("n2".to_owned());
    let lost = Facts { code: 137, broken_node: Some("n2"), ..facts() };
    assert_eq!(step(lost.clone()), Step::Requeue { without });
    let none = Step::Requeue { without: None };
    assert_eq!(step(Facts { standing: Standing::Preempted, ..lost.clone() }), none);
    assert_eq!(step(Facts { code: 75, cause: TIME, ..lost }), none);
}

#[test]
fn sentences_name_cause_decision_and_remedy() {
    let why = |facts: Facts<'_>| decide(&facts).why;
    let error = Facts { code: 137, failure: Some((74, "a.h5: cannot write\n  fix: make room")), ..facts() };
    assert_eq!(why(error), "the run failed with code 74: a.h5: cannot write fix: make room; it is not started again");
    assert!(why(Facts { code: 74, ..facts() }).contains("code 74 (Io)"));
    let time = why(Facts { cause: TIME, ..facts() });
    assert!(time.contains("nearly over") && time.contains("restart 3 of at most 50"), "{time}");
    let spent = why(Facts { cause: TIME, restarts: 50, ..facts() });
    assert!(spent.contains("restarted 50 times") && spent.contains("`sbatch run/job.sbatch`"), "{spent}");
    assert!(why(Facts { is_stuck: true, code: 137, ..facts() }).contains("no progress"));
}
