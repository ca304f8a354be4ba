//! Slurm's own refusals, as this Slurm writes them, each with what to do.

use crate::runs::JOB;
use crate::runs::Run;
use crate::sandbox::Options;
use crate::sandbox::Sandbox;

const NO_NODE: &str = "No node has what is asked for: see `sinfo -e -o '%P %D %c %m %G %f'`, and give --gpus, --nodes";

/// A submission that is refused: its exit code, a part of the sentence, and the begin of the way out.
struct Refused {
    flags: &'static str,
    code: i32,
    words: &'static str,
    fix: &'static str,
}

const fn refused(flags: &'static str, code: i32, words: &'static str, fix: &'static str) -> Refused {
    Refused { flags, code, words, fix }
}

/// What is typed goes through the checks of the launcher first; what follows `--` does not.
fn assert_refused(sandbox: &Sandbox, name: &str, cases: &[Refused]) {
    let run = Run::new(sandbox, name);
    let mut faults = vec![];
    for Refused { flags, code, words, fix } in cases {
        let output = run.output(sandbox, &format!("submit {JOB} {flags}"));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        println!("{flags}: {:?}\n{text}", output.status.code());
        // The fix is one line of the table; screens may break it.
        let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let is_ours = flat.contains("fix: ") && flat.contains(fix);
        if output.status.code() != Some(*code) || !flat.contains(words) || !is_ours {
            faults.push(format!("{flags}: wanted {code}, {words:?}, {fix:?}; told {text}"));
        }
        // One that was taken would be in the way of the next.
        let queue = sandbox.text("squeue", "-h -o %i,%r").unwrap();
        for (job, reason) in queue.lines().filter_map(|line| line.split_once(',')) {
            faults.push(format!("{flags}: is queued, {reason}"));
            sandbox.text("scancel", job).unwrap();
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The launcher's own checks, before Slurm is asked.
#[test]
#[ignore = "needs root and Debian's slurm-wlm; make test-cluster"]
fn before_slurm_is_asked() {
    let sandbox = Sandbox::start(Options { nodes: 1, ..Options::default() });
    let cases = [
        refused("--partition absent", 64, "no partition \"absent\"", "This cluster has: low, lowcancel, high."),
        refused("--partition low --gpus 64", 64, "32 nodes needed; the partition low has 1", "Ask for fewer --nodes,"),
        refused("--partition low --after 4711x", 64, "neither the number of a job", "run folder of a submitted run"),
    ];
    assert_refused(&sandbox, "checked", &cases);
}

#[test]
#[ignore = "needs root and Debian's slurm-wlm; make test-cluster"]
fn each_is_shown_with_its_fix() {
    let sandbox = Sandbox::start(Options { nodes: 2, limits_are_enforced: true, ..Options::default() });
    let cases = [
        refused("-- --partition=absent", 64, "invalid partition specified: absent", "`sinfo -s` lists the partitions;"),
        refused(
            "-- --partition=small --nodes=2 --ntasks=2",
            64,
            "Node count specification invalid",
            "Ask for a number of nodes",
        ),
        refused("-- --gres=gpu:64", 64, "Requested node configuration is not available", NO_NODE),
        refused("-- --time=61", 64, "Requested time limit is invalid", "Give a --time that the partition allows"),
        refused("-- --constraint=nope", 64, "Invalid feature specification", "`sinfo -o '%P %f'` lists the features;"),
        refused("-- --mem=9000G", 71, "Memory specification can not be satisfied", "Give a --mem that a node has"),
        refused("-- --gres=nonsense:1", 64, "Invalid generic resource", "`sinfo -o '%P %G'` shows how this site names"),
        refused("-- --nodelist=n9", 64, "Invalid node name specified", "`sinfo -N` lists the nodes;"),
        refused("-- --reservation=none", 64, "Requested reservation is invalid", "`scontrol show reservation` lists"),
        refused(
            "-- --nonsense",
            64,
            "unrecognized option",
            "This Slurm does not know an option of the script or after",
        ),
        refused("--dependency nonsense:1", 64, "Job dependency problem", "The job to wait for is unknown or its"),
        refused("-- --cpus-per-task=99", 64, "More processors requested than permitted", "--cpus-per-rank"),
        refused("-- --time=soon", 64, "Invalid --time specification", "12:00:00"),
    ];
    assert_refused(&sandbox, "refused", &cases);
}

/// With a database that says who may what.
#[test]
#[ignore = "needs root and Debian's slurm-wlm, slurmdbd and mariadb-server; make test-long"]
fn accounts_and_qualities_of_service() {
    let sandbox = Sandbox::start(Options { nodes: 1, accounting: true, ..Options::default() });
    for words in ["-i add qos full MaxSubmitJobsPerUser=0", "-i modify user root set qos+=full"] {
        sandbox.text("sacctmgr", words).unwrap();
    }
    const ACCOUNT: &str = "with --account: `sacctmgr show associations user=$USER` lists them.";
    let cases = [
        refused("--account nobody", 64, "Invalid account or account/partition combination", ACCOUNT),
        refused("-- --account=nobody", 64, "Invalid account or account/partition combination", ACCOUNT),
        refused("--qos nothing", 64, "Invalid qos specification", "`sacctmgr show qos format=name` lists"),
        refused(
            "--qos full",
            69,
            "QOSMaxSubmitJobPerUserLimit",
            "You have as many jobs in the queue as this QOS allows",
        ),
    ];
    assert_refused(&sandbox, "accounts", &cases);
}
