//! `logs`.

use std::fs;
use std::io::Read;
use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use super::stage::Stage;
use super::stage::finished;
use super::stage::job_started;
use super::stage::started;

const RUNNING: &str = "echo \"$3|RUNNING|low|1:00:00|9:00|N/A|N/A|n1|None\"";

fn write(stage: &Stage, name: &str, text: &str) {
    let path = stage.run_dir().logs().join(name);
    let mut file = fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

#[test]
fn the_newest_log_of_a_job_is_shown_or_that_of_a_rank() {
    let stage = Stage::new("class3d");
    stage.jobid("5\n7\n");
    let told = stage.run("logs out", &[]);
    assert!(told.code == 66 && told.err.contains("job 7 has not written a log yet"), "{told:?}");
    write(&stage, "slurm-5.out", "old\n");
    std::thread::sleep(Duration::from_millis(20));
    write(&stage, "slurm-7.out", "new\nline without end");
    write(&stage, "rank-000.log", "rank 0 starts\n");
    write(&stage, "rank-002.log", "rank 2 starts\n");
    assert_eq!(stage.run("logs out", &[]).out, "new\nline without end");
    assert_eq!(stage.run("logs out --json", &[]).out, "{\"line\":\"new\"}\n{\"line\":\"line without end\"}\n");
    assert_eq!(stage.run("logs out --rank 2", &[]).out, "rank 2 starts\n");
    let told = stage.run("logs out --rank 1", &[]);
    assert!(told.code == 66 && told.err.contains("There are those of rank 000, 002."), "{told:?}");
    assert_eq!(stage.run("logs absent", &[]).code, 66);
}

#[test]
fn a_run_on_this_machine_has_the_log_of_its_rank() {
    let stage = Stage::new("class3d");
    let told = stage.run("logs out", &[]);
    assert!(told.code == 66 && told.err.contains("nothing has been logged yet"), "{told:?}");
    write(&stage, "rank-000.log", "rank 0 starts\n");
    assert_eq!(stage.run("logs out", &[]).out, "rank 0 starts\n");
    // Not at work, so that there is nothing to wait for.
    assert_eq!(stage.run("logs out -f", &[]).out, "rank 0 starts\n");
}

#[test]
fn following_goes_over_to_the_next_job_and_ends_with_the_run() {
    let stage = Stage::new("class3d");
    stage.jobid("7\n").fake("squeue", RUNNING);
    let mut child = stage.command("logs out -f", &[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let wait = || std::thread::sleep(Duration::from_millis(1300));
    wait();
    stage.tell(vec![job_started("7", 0), started()]);
    write(&stage, "slurm-7.out", "first\n");
    wait();
    write(&stage, "slurm-7.out", "last of the first\n");
    stage.jobid("7\n8 afterany:7\n");
    std::thread::sleep(Duration::from_millis(20));
    write(&stage, "slurm-8.out", "second\n");
    wait();
    assert!(child.try_wait().unwrap().is_none(), "the run goes on");
    write(&stage, "slurm-8.out", "the end\n");
    stage.tell(vec![finished(false)]);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "first\nlast of the first\nsecond\nthe end\n");
    assert!(String::from_utf8(output.stderr).unwrap().contains("slurm-8.out <=="));
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let stage = Stage::new("class3d");
    stage.jobid("7\n").fake("squeue", RUNNING);
    stage.tell(vec![started()]);
    write(&stage, "slurm-7.out", &"a long line\n".repeat(100_000));
    for words in ["logs out", "logs out -f"] {
        let mut child = stage.command(words, &[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut some = [0; 100];
        child.stdout.take().unwrap().read_exact(&mut some).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{words}: {output:?}");
    }
}
