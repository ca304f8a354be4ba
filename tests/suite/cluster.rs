//! The settings of the cluster: their layers, their tables for partitions, and what is refused.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use relion_rs::error::ExitCode;
use relion_rs::plan::Cluster;
use relion_rs::plan::Continuation;
use relion_rs::plan::GpuRequest;
use relion_rs::plan::JobFile;
use relion_rs::plan::Layers;
use relion_rs::plan::Sources;
use tempfile::TempDir;

fn file(folder: &TempDir, name: &str, text: &str) -> Option<PathBuf> {
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    Some(path)
}

#[test]
fn a_partition_has_a_table_in_every_file_and_flags_win() {
    let folder = tempfile::tempdir().unwrap();
    let site = "[cluster]\npartition = \"low\"\nmem = \"1G\"\nqos = \"site\"\naccount = \"site\"\nmodules = [\"gcc\"]\n\
                [cluster.partitions.gpu]\nmem = \"2G\"\nqos = \"site-gpu\"\ntime = \"10\"\ngpu_request = \"gres\"\n\
                [cluster.partitions.low]\nmem = \"9G\"\n";
    let sources = Sources {
        site_file: file(&folder, "site.toml", site),
        user_file: file(&folder, "user.toml", "[cluster]\nqos = \"mine\"\n[cluster.partitions.gpu]\ntime = \"20\"\n"),
        job_file: file(&folder, "job.toml", "seed = 3\n[cluster]\npartition = \"gpu\"\nnodes = 2\n"),
        environment: BTreeMap::from(
            [
                ("RELION_RS_NODES", "3"),
                ("RELION_RS_RANKS", "4"),
                ("RELION_RS_SETUP", "ulimit -s 8, x"),
                ("RELION_RS_SBATCH", "[--a, --b]"),
            ]
            .map(|(name, value)| (name.to_string(), value.to_string())),
        ),
        cluster_flags: Cluster { ranks: Some(5), ..Cluster::default() },
        ..Sources::default()
    };
    let layers = Layers::load(&sources).unwrap();
    let got = &layers.cluster;
    assert_eq!(
        (got.partition.as_deref(), got.mem.as_deref(), got.qos.as_deref()),
        (Some("gpu"), Some("2G"), Some("mine"))
    );
    assert_eq!((got.time.as_deref(), got.account.as_deref()), (Some("20"), Some("site")));
    assert_eq!((got.nodes, got.ranks, got.gpu_request), (Some(3), Some(5), Some(GpuRequest::Gres)));
    assert_eq!(got.setup, Some(vec!["ulimit -s 8, x".to_string()]), "one word is a list of one");
    assert_eq!(got.sbatch, Some(vec!["--a".to_string(), "--b".to_string()]));
    assert_eq!((got.max_restarts, got.continuation), (Some(50), Some(Continuation::Auto)));
    assert_eq!(layers.values.seed, Some(3));
    assert!(layers.source("cluster.mem").ends_with("site.toml, [cluster.partitions.gpu]"));
    assert!(layers.source("cluster.partition").ends_with("job.toml"));
    assert_eq!(layers.source("cluster.nodes"), "RELION_RS_NODES");
    assert_eq!((layers.source("cluster.ranks"), layers.place("cluster.ranks").as_str()), ("flag", "--ranks"));
    assert_eq!((layers.source("cluster.continuations"), layers.source("cluster.mpi")), ("built-in default", "not set"));
    // The run folder remembers what was asked for it, not what the site says.
    let asked = layers.asked_of_cluster().unwrap();
    assert_eq!((asked.partition.as_deref(), asked.ranks, asked.mem, asked.qos), (Some("gpu"), Some(5), None, None));

    // An empty text takes away what a lower layer says.
    let none = Cluster { qos: Some(String::new()), ..Cluster::default() };
    let layers = Layers::load(&Sources { cluster_flags: none, ..sources.clone() }).unwrap();
    assert_eq!((layers.cluster.qos.as_deref(), layers.source("cluster.qos")), (None, "flag"));

    // Flags win over the tables, and the partition of a flag chooses the table.
    let flags = Cluster { partition: Some("low".to_string()), time: Some("7".to_string()), ..Cluster::default() };
    let layers = Layers::load(&Sources { cluster_flags: flags, ..sources }).unwrap();
    assert_eq!((layers.cluster.mem.as_deref(), layers.cluster.time.as_deref()), (Some("9G"), Some("7")));
}

#[test]
fn unknown_keys_and_wrong_values_are_told_with_their_place() {
    let folder = tempfile::tempdir().unwrap();
    for (text, line, said, fix) in [
        (
            "seed = 1\n[cluster]\nnodes = 1\npartitoin = \"x\"\n",
            4,
            "unknown key `partitoin` in [cluster]",
            "`partition`",
        ),
        ("[cluster]\nnodes = 1\n[cluster.partitions.gpu]\nnodse = 1\n", 4, "in [cluster.partitions.gpu]", "`nodes`"),
        ("[cluster.partitions.gpu]\npartition = \"x\"\n", 2, "unknown key `partition`", "name of the table"),
        ("partition = \"x\"\n", 1, "unknown key `partition`", "[cluster]"),
        ("[cluster]\ndiameter = 3\n", 2, "unknown key `diameter`", "above the line [cluster]"),
        ("cluster = 3\n", 1, "`cluster` is no table", "[cluster]"),
        ("[cluster.partitions]\ngpu = 3\n", 2, "is no table", "[cluster.partitions.gpu]"),
    ] {
        let error =
            Layers::load(&Sources { site_file: file(&folder, "s.toml", text), ..Sources::default() }).unwrap_err();
        assert_eq!(error.code, ExitCode::Config, "{error}");
        assert!(error.place.ends_with(&format!("s.toml, line {line}")), "{text}: {error}");
        assert!(error.problem.contains(said) && error.fix.contains(fix), "{text}: {error}");
    }
    let site_file = file(&folder, "s.toml", "[cluster]\nlauncher = \"qsub\"\n");
    let error = Layers::load(&Sources { site_file, ..Sources::default() }).unwrap_err();
    assert!(error.code == ExitCode::Config && error.place.contains("cluster.launcher"), "{error}");
    let environment = BTreeMap::from([("RELION_RS_NODES".to_string(), "many".to_string())]);
    let error = Layers::load(&Sources { environment, ..Sources::default() }).unwrap_err();
    assert!(error.code == ExitCode::Usage && error.place.contains("RELION_RS_NODES"), "{error}");
}

#[test]
fn the_shipped_job_file_shows_every_key_of_the_cluster_in_its_table() {
    let text = include_str!("../../config/job.toml");
    let (_, section) = text.split_once("\n[cluster]\n").expect("config/job.toml has a table for the cluster");
    let mut toml = String::from("[cluster]\n");
    for line in section.lines() {
        let (setting, comment) =
            line.strip_prefix("# ").unwrap().split_once("  # ").unwrap_or_else(|| panic!("{line}"));
        assert!(!comment.trim().is_empty(), "{line}");
        toml.push_str(&format!("{setting}\n"));
    }
    #[derive(serde::Deserialize)]
    struct File {
        cluster: Cluster,
    }
    let shown = toml::from_str::<File>(&toml).unwrap().cluster;
    let values = shown.set_values().unwrap();
    for key in Cluster::keys() {
        assert!(values.contains_key(&key), "config/job.toml lacks {key}");
    }
    for (key, value) in Cluster::defaults().set_values().unwrap() {
        assert_eq!(values[&key], value, "{key}");
    }
    // The one that is a key of both means the same in both.
    let of_both: Vec<String> = JobFile::keys().into_iter().filter(|key| values.contains_key(key)).collect();
    assert_eq!(of_both, ["gpu_memory"], "a variable would mean two keys");
}
