//! The text that `squeue`, `scontrol` and `sacct` print about jobs, read into records.

use super::job::Job;
use super::job::State;
use super::job::known;
use super::span::Span;

/// What `squeue` is asked for; the order of [`squeue_line`].
pub const SQUEUE_FORMAT: &str = "%i|%T|%P|%l|%L|%S|%e|%N|%r";
/// What `squeue` is asked for where `scontrol` cannot be.
pub const SQUEUE_WIDE: &str = "State:24,RestartCnt:12,PreemptTime:24";
/// What `sacct` is asked for; the order of [`sacct_line`].
pub const SACCT_FORMAT: &str = "JobID,State,Partition,ExitCode,End,NodeList";

/// One line in [`SQUEUE_FORMAT`]. The reason stands last, because it may hold anything.
pub fn squeue_line(line: &str) -> Option<Job> {
    let fields: Vec<&str> = line.splitn(9, '|').collect();
    let [id, state, partition, limit, left, start, end, nodes, reason] = fields[..] else { return None };
    let mut job = Job::new(id.trim(), State::parse(state), "squeue");
    job.partition = known(partition);
    job.time_limit = Span::parse(limit);
    job.time_left = Span::parse(left);
    job.start = known(start);
    job.end = known(end);
    job.nodes = known(nodes);
    job.reason = known(reason.trim_matches(['(', ')']));
    Some(job)
}

/// One line in [`SQUEUE_WIDE`]: adds restarts and preemption to what is known.
pub fn squeue_wide(id: &str, line: &str) -> Option<Job> {
    let mut words = line.split_whitespace();
    let mut job = Job::new(id, State::parse(words.next()?), "squeue");
    job.restarts = words.next().and_then(|word| word.parse().ok());
    job.is_preempted = words.next().map(|word| known(word).is_some());
    Some(job)
}

/// One line of `scontrol -o show job`.
pub fn scontrol_line(line: &str) -> Option<Job> {
    let fields = pairs(line);
    let value = |wanted: &str| fields.iter().find(|(key, _)| *key == wanted).map(|(_, value)| value.as_str());
    let some = |wanted: &str| value(wanted).and_then(known);
    let mut job = Job::new(value("JobId")?, State::parse(value("JobState")?), "scontrol");
    job.reason = some("Reason");
    job.partition = some("Partition");
    job.nodes = some("NodeList");
    job.time_limit = value("TimeLimit").and_then(Span::parse);
    job.time_left = match (job.time_limit, value("RunTime").and_then(Span::parse)) {
        (Some(Span::Seconds(limit)), Some(Span::Seconds(run))) if job.state.is_running() => {
            Some(Span::Seconds(limit.saturating_sub(run)))
        }
        (Some(Span::Unlimited), _) => Some(Span::Unlimited),
        _ => None,
    };
    job.start = some("StartTime");
    job.end = some("EndTime");
    job.restarts = value("Restarts").and_then(|count| count.parse().ok());
    // The time is forgotten when the job is queued again; one of before its start would not be about this start.
    job.is_preempted = value("PreemptTime").map(|time| known(time).is_some_and(|time| Some(time) >= job.start));
    // Slurm notes the time anew when the grace time is over and it ends the job.
    job.is_ended_by_preemption = match (value("PreemptTime"), &job.end) {
        (Some(preempted), Some(end)) => job.is_preempted == Some(true) && is_about(preempted, end),
        _ => false,
    };
    job.may_requeue = value("Requeue").map(|word| word != "0");
    job.excluded_nodes = some("ExcNodeList");
    job.exit_code = some("ExitCode");
    job.log = some("StdOut");
    Some(job)
}

/// Whether two moments of one day are at most two seconds apart.
fn is_about(one: &str, other: &str) -> bool {
    let clock = |text: &str| {
        let (day, clock) = text.split_once('T')?;
        Some((day.to_owned(), Span::parse(clock)?.seconds()?))
    };
    match (clock(one), clock(other)) {
        (Some((day, at)), Some((other_day, other_at))) => day == other_day && at.abs_diff(other_at) <= 2,
        _ => false,
    }
}

/// `Key=value Key=value with spaces Key=value`: a word with a key begins a value, any other goes on with it.
fn pairs(line: &str) -> Vec<(&str, String)> {
    let mut pairs: Vec<(&str, String)> = Vec::new();
    for word in line.split_whitespace() {
        let is_key = |key: &str| {
            key.starts_with(|c: char| c.is_ascii_uppercase())
                && key.chars().all(|c| c.is_ascii_alphanumeric() || "/:&_".contains(c))
        };
        match (word.split_once('='), pairs.last_mut()) {
            (Some((key, value)), _) if is_key(key) => pairs.push((key, value.to_owned())),
            (_, Some((_, value))) => {
                value.push(' ');
                value.push_str(word);
            }
            (_, None) => {}
        }
    }
    pairs
}

/// One line in [`SACCT_FORMAT`]; steps of a job (`12.batch`, `12.0`) are none.
pub fn sacct_line(line: &str) -> Option<Job> {
    let fields: Vec<&str> = line.splitn(6, '|').collect();
    let [id, state, partition, code, end, nodes] = fields[..] else { return None };
    if id.contains('.') {
        return None;
    }
    let mut job = Job::new(id.trim(), State::parse(state), "sacct");
    job.partition = known(partition);
    job.exit_code = known(code);
    job.end = known(end);
    job.nodes = known(nodes);
    Some(job)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As 22.05 printed it in the grace time of a preemption.
    const GRACE: &str = "JobId=1 JobName=job.sh UserId=root(0) GroupId=root(0) MCS_label=N/A Priority=4294901759 Nice=0 \
        Account=root QOS=normal JobState=RUNNING Reason=None Dependency=(null) Requeue=1 Restarts=0 BatchFlag=1 Reboot=0 \
        ExitCode=0:0 RunTime=00:00:08 TimeLimit=00:05:00 TimeMin=N/A SubmitTime=2026-11-26T03:15:24 \
        EligibleTime=2026-11-26T03:15:24 AccrueTime=2026-11-26T03:15:24 StartTime=2026-11-26T03:15:24 \
        EndTime=2026-11-26T03:15:39 Deadline=N/A PreemptEligibleTime=2026-11-26T03:15:24 \
        PreemptTime=2026-11-26T03:15:29 SuspendTime=None SecsPreSuspend=0 LastSchedEval=2026-11-26T03:15:24 \
        Scheduler=Backfill Partition=low AllocNode:Sid=localhost:19248 ReqNodeList=(null) ExcNodeList=(null) NodeList=n1 \
        BatchHost=n1 NumNodes=1 NumCPUs=1 NumTasks=1 CPUs/Task=1 ReqB:S:C:T=0:0:*:* TRES=cpu=1,mem=100M,node=1,billing=1 \
        Socks/Node=* NtasksPerN:B:S:C=0:0:*:* CoreSpec=* MinCPUsNode=1 MinMemoryCPU=100M MinTmpDiskNode=0 \
        Features=(null) DelayBoot=00:00:00 OverSubscribe=OK Contiguous=0 Licenses=(null) Network=(null) \
        Command=/home/ann/my job.sh WorkDir=/home/ann StdErr=/home/ann/A.1.out StdIn=/dev/null \
        StdOut=/home/ann/A.1.out Power= ";

    #[test]
    fn a_preemption_shows_in_its_grace_time() {
        let job = scontrol_line(GRACE).unwrap();
        assert_eq!((job.id.as_str(), &job.state, job.is_preempted), ("1", &State::Running, Some(true)));
        assert_eq!((job.restarts, job.may_requeue), (Some(0), Some(true)));
        assert_eq!(job.time_left, Some(Span::Seconds(292)));
        assert_eq!((job.nodes.as_deref(), job.partition.as_deref()), (Some("n1"), Some("low")));
        assert_eq!(job.log.as_deref(), Some("/home/ann/A.1.out"));
        assert_eq!((job.reason, job.excluded_nodes), (None, None));
        let before = GRACE.replace("PreemptTime=2026-11-26T03:15:29", "PreemptTime=None");
        assert_eq!(scontrol_line(&before).unwrap().is_preempted, Some(false));
        let old = GRACE.replace("PreemptTime=2026-11-26T03:15:29", "PreemptTime=2026-11-26T02:00:00");
        assert_eq!(scontrol_line(&old).unwrap().is_preempted, Some(false), "of an earlier start");
    }

    #[test]
    fn an_end_by_preemption_is_told_from_a_cancel_within_its_grace_time() {
        let ends = |end: &str, preempted: &str| {
            let text = GRACE.replace("JobState=RUNNING", "JobState=COMPLETING");
            let text = text.replace("EndTime=2026-11-26T03:15:39", &format!("EndTime=2026-11-26T{end}"));
            let text = text.replace("PreemptTime=2026-11-26T03:15:29", &format!("PreemptTime={preempted}"));
            scontrol_line(&text).unwrap().is_ended_by_preemption
        };
        assert!(ends("03:15:40", "2026-11-26T03:15:40") && ends("03:15:41", "2026-11-26T03:15:40"));
        assert!(!ends("03:15:35", "2026-11-26T03:15:29") && !ends("03:15:40", "None"));
        assert!(!ends("03:15:40", "2026-11-25T03:15:40"));
    }

    #[test]
    fn a_job_that_comes_back_has_one_restart_more_and_no_nodes() {
        let text = "JobId=6 JobName=job.sh JobState=PENDING Reason=BeginTime Dependency=(null) Requeue=1 Restarts=1 \
            ExitCode=0:0 RunTime=00:00:00 TimeLimit=UNLIMITED StartTime=2026-11-26T03:18:45 EndTime=Unknown NodeList= \
            NumNodes=1 ExcNodeList=n[1-2],n7";
        let job = scontrol_line(text).unwrap();
        assert_eq!((job.state, job.restarts, job.nodes), (State::Pending, Some(1), None));
        assert_eq!((job.reason.as_deref(), job.time_limit), (Some("BeginTime"), Some(Span::Unlimited)));
        assert_eq!((job.is_preempted, job.excluded_nodes.as_deref()), (None, Some("n[1-2],n7")));
    }

    #[test]
    fn a_newer_scontrol_with_other_keys_is_read() {
        let text = "JobId=77 ArrayJobId=70 ArrayTaskId=7 JobName=a UserId=ann(1000) JobState=RUNNING Reason=None \
            Requeue=0 Restarts=2 Comment=two words NodeList=gpu[01-02] SLUID=sABC TresPerTask=gres/gpu=1 Extra=x=y \
            RunTime=1-00:00:00 TimeLimit=2-00:00:00 StartTime=2026-01-01T00:00:00 PreemptTime=None";
        let job = scontrol_line(text).unwrap();
        assert_eq!((job.restarts, job.may_requeue, job.nodes.as_deref()), (Some(2), Some(false), Some("gpu[01-02]")));
        assert_eq!(job.time_left, Some(Span::Seconds(86400)));
        assert_eq!(scontrol_line("No jobs in the system"), None);
    }

    #[test]
    fn squeue_is_read_whatever_the_reason_holds() {
        let job = squeue_line("1|RUNNING|low|5:00|4:56|2026-11-26T03:15:24|2026-11-26T03:20:24|n[1-2]|None").unwrap();
        assert_eq!((job.time_left, job.reason), (Some(Span::Seconds(296)), None));
        let text = "12_3|PENDING|gpu|1-00:00:00|1-00:00:00|N/A|N/A||(ReqNodeNotAvail, UnavailableNodes:n1|n2)";
        let job = squeue_line(text).unwrap();
        assert_eq!((job.id.as_str(), job.start, job.nodes), ("12_3", None, None));
        assert_eq!(job.reason.as_deref(), Some("ReqNodeNotAvail, UnavailableNodes:n1|n2"));
        let over = squeue_line("7|RUNNING|low|1:00|INVALID|2026-11-26T03:16:49|2026-11-26T03:17:49|n2|None").unwrap();
        assert_eq!(over.time_left, None);
        assert_eq!(squeue_line("slurm_load_jobs error"), None);
        let wide = squeue_wide("1", "COMPLETING              1           2026-11-26T03:15:40     ").unwrap();
        assert_eq!((wide.state, wide.restarts, wide.is_preempted), (State::Completing, Some(1), Some(true)));
        assert_eq!(squeue_wide("1", "RUNNING 0 N/A").unwrap().is_preempted, Some(false));
    }

    #[test]
    fn sacct_tells_how_a_job_ended() {
        let job = sacct_line("3|CANCELLED by 0|low|0:0|2026-11-26T03:16:06|n[1-2]").unwrap();
        assert_eq!((job.state, job.nodes.as_deref()), (State::Cancelled, Some("n[1-2]")));
        assert_eq!(sacct_line("3.batch|CANCELLED||0:9|2026-11-26T03:16:11|n1"), None);
        assert_eq!(sacct_line("6|FAILED|low|74:0|Unknown|None assigned").unwrap().end, None);
        assert_eq!(sacct_line("Slurm accounting storage is disabled"), None);
    }
}
