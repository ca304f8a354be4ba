//! The profiles in `config/sites`, through the layers that every command reads.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use relion_rs::plan::Cluster;
use relion_rs::plan::Continuation;
use relion_rs::plan::Layers;
use relion_rs::plan::Sources;
use relion_rs::site::PROFILES;
use relion_rs::site::profile;
use relion_rs::slurm::script;
use relion_rs::slurm::script::Places;
use relion_rs::slurm::script::Request;

/// The settings of a site file for jobs in a partition.
fn load(text: &str, partition: Option<&str>) -> Layers {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("site.toml");
    fs::write(&path, text).unwrap();
    let cluster_flags = Cluster { partition: partition.map(str::to_owned), ..Cluster::default() };
    Layers::load(&Sources { site_file: Some(path), cluster_flags, ..Sources::default() }).unwrap()
}

/// The partitions that have a table of their own.
fn partitions(text: &str) -> Vec<String> {
    let table: toml::Table = text.parse().unwrap();
    let tables = table.get("cluster").and_then(|cluster| cluster.get("partitions"));
    tables.and_then(|tables| tables.as_table()).into_iter().flat_map(toml::Table::keys).cloned().collect()
}

#[test]
fn every_profile_loads_for_each_of_its_partitions() {
    assert_eq!(PROFILES.len(), fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/config/sites")).unwrap().count());
    for profile in PROFILES {
        let usual = load(profile.text, None).cluster;
        let partitions = partitions(profile.text);
        if let Some(partition) = &usual.partition {
            assert!(partitions.contains(partition), "{}: {partition} has no table", profile.name);
        }
        for partition in partitions {
            let cluster = load(profile.text, Some(&partition)).cluster;
            assert_eq!(cluster.partition.as_ref(), Some(&partition));
            assert!(cluster.time.is_some(), "{}: {partition}", profile.name);
            renders(profile.name, &cluster);
        }
    }
    assert_eq!(profile("generic").unwrap().name, "generic");
    assert!(profile("genric").unwrap_err().fix.contains("`generic`"));
}

/// A batch script of one node from the settings, which must be shell and hold what they say.
fn renders(name: &str, cluster: &Cluster) {
    let places = Places {
        run: "/data/refine".into(),
        working_directory: "/data".into(),
        programs: "/apps/bin".into(),
        stage: None,
    };
    let request = Request {
        partition: cluster.partition.clone(),
        nodes: 1,
        ranks: 1,
        cpus_per_rank: cluster.cpus_per_rank.unwrap_or(4),
        mem_mib: Some(4096),
        seconds: Some(3600),
        gpus_per_node: u32::from(cluster.gpus_per_node.is_some()),
        has_leader: false,
        continuation: Continuation::Requeue,
    };
    let text = script::job(&places, &request, cluster, &[]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("job.sbatch"), &text).unwrap();
    let checked = Command::new("bash").arg("-n").arg(folder.path().join("job.sbatch")).output().unwrap();
    assert!(checked.status.success(), "{name}: {}\n{text}", String::from_utf8_lossy(&checked.stderr));
    let mut parts = vec![format!("#SBATCH --partition={}", cluster.partition.as_deref().unwrap())];
    parts.extend(cluster.account.as_ref().map(|account| format!("#SBATCH --account={account}")));
    parts.extend(cluster.mpi.as_ref().map(|mpi| format!("--mpi={mpi}")));
    parts.extend(cluster.modules.iter().flatten().cloned());
    parts.extend(cluster.setup.iter().flatten().cloned());
    for part in parts {
        assert!(text.contains(&part), "{name}: {part}\n{text}");
    }
}

#[test]
fn the_generic_profile_names_every_key_and_sets_none() {
    let text = profile("generic").unwrap().text;
    let defaults = Cluster::defaults();
    assert_eq!(load(text, None).cluster, defaults);
    // Each key as it stands there, without the mark in front of it.
    let is_key =
        |line: &&str| line.split_once(" = ").is_some_and(|(key, _)| key.starts_with("# ") && !key[2..].contains(' '));
    let lines: Vec<&str> = text.split("What differs in one").next().unwrap().lines().filter(is_key).collect();
    let shown: BTreeSet<String> = lines.iter().map(|line| line[2..].split(' ').next().unwrap().to_owned()).collect();
    let (job, cluster): (Vec<&str>, Vec<&str>) =
        lines.iter().map(|line| &line[2..]).partition(|line| line.starts_with("checkpoint_minutes"));
    let loaded = load(&format!("{}\n[cluster]\n{}", job.join("\n"), cluster.join("\n")), None);
    for key in Cluster::keys() {
        assert!(shown.contains(&key), "the generic profile lacks {key}");
        assert!(loaded.source(&format!("cluster.{key}")).ends_with("site.toml"), "{key}");
    }
    // Where there is a default, the line shows it.
    let default = defaults.set_values().unwrap();
    let set = loaded.cluster.set_values().unwrap();
    for key in
        ["gpu_request", "launcher", "signal_margin_seconds", "max_restarts", "requeue", "continuation", "continuations"]
    {
        assert_eq!(
            format!("{:?}", default[key]).split('(').nth(2),
            format!("{:?}", set[key]).split('(').nth(2),
            "{key}"
        );
    }
}
