//! `submit`, as a user types it: a rank a node or two on one, each with its own GPU, and the bytes of a single process.

use std::collections::BTreeSet;

use relion_rs::plan::progress::RankPlace;

use crate::runs::Run;
use crate::sandbox::Options;
use crate::sandbox::Sandbox;
use crate::submitted::PATIENCE;

fn hosts(table: &[RankPlace]) -> Vec<&str> {
    table.iter().map(|place| place.host.as_str()).collect()
}

fn devices(table: &[RankPlace]) -> BTreeSet<String> {
    table.iter().filter_map(|place| place.device.clone()).collect()
}

#[test]
#[ignore = "needs root and Debian's slurm-wlm; make test-cluster"]
fn ranks_take_their_own_nodes_and_devices() {
    let sandbox = Sandbox::start(Options::default());
    let run = Run::new(&sandbox, "three");
    let job = run.submit(&sandbox, "--partition low --nodes 3 --gpus 3");
    sandbox.wait_for("ranks", PATIENCE, || (run.tables().len() == 1).then_some(()));
    run.assert_done(&sandbox, job);
    let tables = run.tables();
    assert_eq!(hosts(&tables[0]), ["n1", "n2", "n3"]);
    assert_eq!(devices(&tables[0]).len(), 1, "each is the first of its node: {:?}", tables[0]);
    assert!(tables[0].iter().all(|place| place.device.is_some()), "{:?}", tables[0]);
    let log = run.log(job);
    assert!(log.contains("n3") && log.contains("on n[1-3] (low)"), "the table of ranks is in the log: {log}");

    let run = Run::new(&sandbox, "two");
    let job = run.submit(&sandbox, "--partition low --nodes 1 --gpus 2");
    run.assert_done(&sandbox, job);
    let tables = run.tables();
    assert_eq!(hosts(&tables[0]), ["n1", "n1"]);
    assert_eq!(devices(&tables[0]).len(), 2, "{:?}", tables[0]);
}
