//! What a cluster is asked for: the keys of the table `[cluster]`, each also a flag of `submit`, and everything optional.
//! None of them changes a result, so none is part of the plan.

use std::path::PathBuf;

use clap::Args;
use clap::Command;
use figment::value::Dict;
use figment::value::Value;
use serde::Deserialize;
use serde::Serialize;

use crate::error::Error;
use crate::error::Result;

/// Name of the table in a TOML file, and start of its keys' names elsewhere: `cluster.partition`.
pub const CLUSTER_TABLE: &str = "cluster";
/// Table within it: what differs between partitions, `[cluster.partitions.gpu]`.
pub const PARTITIONS_TABLE: &str = "partitions";

/// Keys that are no flags of `submit`.
const FILE_KEYS: [&str; 2] = ["gpu_memory", "sbatch"];

/// How a script asks for GPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum GpuRequest {
    /// `--gpus-per-task=1`
    GpusPerTask,
    /// `--gres=gpu:N`, N a node
    Gres,
}

/// What starts the ranks in a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum RankLauncher {
    Srun,
    Mpirun,
}

/// How a run that needs several jobs goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Continuation {
    /// By requeue, unless the partition cancels the jobs that it preempts.
    Auto,
    /// The job asks Slurm to queue it again.
    Requeue,
    /// Further jobs wait for the end of the one before.
    Dependency,
}

/// The keys of `[cluster]`. This list is the only one: the flags of `submit`, the known names in files and in the
/// environment, and the help texts come from it.
#[derive(Args, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cluster {
    /// Partition (queue) of Slurm
    #[arg(long, value_name = "NAME", help_heading = "Cluster")]
    pub partition: Option<String>,
    /// Account that is charged
    #[arg(long, value_name = "NAME", help_heading = "Cluster")]
    pub account: Option<String>,
    /// Quality of service
    #[arg(long, value_name = "NAME", help_heading = "Cluster")]
    pub qos: Option<String>,
    /// Features that the nodes must have
    #[arg(long, value_name = "FEATURES", help_heading = "Cluster")]
    pub constraint: Option<String>,
    /// Time limit as Slurm writes it: 90 (minutes), 12:00:00, 2-00:00:00; without it, from the plan
    #[arg(long, value_name = "TIME", help_heading = "Cluster")]
    pub time: Option<String>,
    /// Nodes; without it, as few as hold the ranks
    #[arg(long, value_name = "N", help_heading = "Cluster")]
    pub nodes: Option<u32>,
    /// GPUs of the whole job: one a rank
    #[arg(long, value_name = "N", help_heading = "Cluster")]
    pub gpus: Option<u32>,
    /// Ranks; without it, one a GPU, or one a node
    #[arg(long, value_name = "N", help_heading = "Cluster")]
    pub ranks: Option<u32>,
    /// Cores of a rank; without it, its share of a node
    #[arg(long, value_name = "N", help_heading = "Cluster")]
    pub cpus_per_rank: Option<u32>,
    /// Memory of a node, as 64G; without it, from the plan
    #[arg(long, value_name = "SIZE", help_heading = "Cluster")]
    pub mem: Option<String>,
    /// Nodes that are not to be used, as n[1-3],n7
    #[arg(long, value_name = "NODES", help_heading = "Cluster")]
    pub exclude: Option<String>,
    /// How the site wants GPUs to be asked for
    #[arg(long, value_enum, help_heading = "Cluster")]
    pub gpu_request: Option<GpuRequest>,
    /// Type of the GPUs, as Slurm names it
    #[arg(long, value_name = "TYPE", help_heading = "Cluster")]
    pub gpu_type: Option<String>,
    /// GPUs of a node; without it, what sinfo says
    #[arg(long, value_name = "N", help_heading = "Cluster")]
    pub gpus_per_node: Option<u32>,
    /// The job's key of this name, for all jobs of a partition that do not set it (as a flag: the job's)
    #[arg(skip)]
    pub gpu_memory: Option<String>,
    /// What starts the ranks
    #[arg(long, value_enum, help_heading = "Cluster")]
    pub launcher: Option<RankLauncher>,
    /// The --mpi of srun, as pmix; without it, Slurm's default
    #[arg(long, value_name = "TYPE", help_heading = "Cluster")]
    pub mpi: Option<String>,
    /// Modules to load in the job
    #[arg(long, value_name = "MODULE", value_delimiter = ',', help_heading = "Cluster")]
    pub modules: Option<Vec<String>>,
    /// Line of shell at the start of the job; may be repeated
    #[arg(long, value_name = "LINE", help_heading = "Cluster")]
    pub setup: Option<Vec<String>>,
    /// Folder that all nodes share and read fast, for --stage; may hold $VARIABLES
    #[arg(long, value_name = "DIR", help_heading = "Cluster")]
    pub scratch: Option<PathBuf>,
    /// Seconds before the time limit at which the run is told to stop
    #[arg(long, value_name = "SECONDS", help_heading = "Cluster")]
    pub signal_margin_seconds: Option<u32>,
    /// Most restarts of a job before it gives up
    #[arg(long, value_name = "N", help_heading = "Cluster")]
    pub max_restarts: Option<u32>,
    /// Let Slurm queue the job again after a preemption, a lost node or its time limit
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Cluster")]
    pub requeue: Option<bool>,
    /// How a run that needs several jobs goes on
    #[arg(long, value_enum, help_heading = "Cluster")]
    pub continuation: Option<Continuation>,
    /// Further jobs that are queued for a continuation by dependency
    #[arg(long, value_name = "N", help_heading = "Cluster")]
    pub continuations: Option<u32>,
    /// Leave out a node that failed when the job is queued again
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Cluster")]
    pub exclude_broken_nodes: Option<bool>,
    /// Further arguments of sbatch (as flags: after --)
    #[arg(skip)]
    pub sbatch: Option<Vec<String>>,
}

impl Cluster {
    /// The names of all keys, in the order of the documentation.
    pub fn keys() -> Vec<String> {
        let flags = Self::augment_args(Command::new("keys"));
        let names = flags.get_arguments().map(|flag| flag.get_id().to_string());
        names.chain(FILE_KEYS.map(str::to_string)).collect()
    }

    /// Every key that has a default.
    pub fn defaults() -> Self {
        Self {
            gpu_request: Some(GpuRequest::GpusPerTask),
            launcher: Some(RankLauncher::Srun),
            modules: Some(Vec::new()),
            setup: Some(Vec::new()),
            signal_margin_seconds: Some(120),
            max_restarts: Some(50),
            requeue: Some(true),
            continuation: Some(Continuation::Auto),
            continuations: Some(3),
            exclude_broken_nodes: Some(true),
            sbatch: Some(Vec::new()),
            ..Self::default()
        }
    }

    /// An empty text means none: it takes away what a lower layer sets.
    pub(super) fn without_empty(mut self) -> Self {
        for value in [
            &mut self.partition,
            &mut self.account,
            &mut self.qos,
            &mut self.constraint,
            &mut self.time,
            &mut self.mem,
            &mut self.exclude,
            &mut self.gpu_type,
            &mut self.gpu_memory,
            &mut self.mpi,
        ] {
            if value.as_deref().is_some_and(|text| text.trim().is_empty()) {
                *value = None;
            }
        }
        self
    }

    /// The values that were set, by key.
    pub fn set_values(&self) -> Result<Dict> {
        let all = Value::serialize(self).map_err(|cause| Error::internal(format!("cluster: {cause}")))?;
        let all = all.into_dict().unwrap_or_default();
        Ok(all.into_iter().filter(|(_, value)| !matches!(value, Value::Empty(..))).collect())
    }

    /// The text of a table `[cluster]` that sets what is set here; empty when nothing is.
    pub fn to_toml(&self) -> Result<String> {
        let keys = toml::to_string(self).map_err(|cause| Error::internal(format!("cannot write settings: {cause}")))?;
        Ok(if keys.is_empty() { keys } else { format!("[{CLUSTER_TABLE}]\n{keys}") })
    }

    /// Keys whose value is a list: in a variable, one word is a list of one.
    pub(super) fn is_list(key: &str) -> bool {
        ["modules", "setup", "sbatch"].contains(&key)
    }
}
