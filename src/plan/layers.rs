//! The layers of settings, lowest first: built-in defaults, site file, user file, `job.toml`,
//! `RELION_RS_*` variables, flags. Every value remembers the layer it came from.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;

use figment::Figment;
use figment::Metadata;
use figment::Profile;
use figment::Provider;
use figment::value::Dict;
use figment::value::Map;
use figment::value::Value;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;

use super::cluster::CLUSTER_TABLE;
use super::cluster::Cluster;
use super::cluster::PARTITIONS_TABLE;
use super::defaults::defaults;
use super::job_file::JobFile;
use super::job_file::read_table;
use super::job_file::unknown_key;
use super::kinds::JobKind;

/// Prefix of the environment variables that set keys.
pub const ENVIRONMENT_PREFIX: &str = "RELION_RS_";
/// Variables with that prefix that are not keys: places of files, and how kernels are run in tests.
const OTHER_VARIABLES: [&str; 12] = [
    "SITE_FILE",
    "USER_FILE",
    "DATA",
    "STAGE",
    "TIME_LIMIT",
    "MPIRUN",
    "KERNELS",
    "KERNEL_FLAGS",
    "KERNEL_ORDER",
    "KERNEL_THREADS",
    "NVRTC",
    "TWIN",
];
const DEFAULT: &str = "built-in default";
const FLAG: &str = "flag";

/// Where settings come from. [`Sources::of_process`] looks at this process; tests fill it by hand.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    pub site_file: Option<PathBuf>,
    pub user_file: Option<PathBuf>,
    pub job_file: Option<PathBuf>,
    /// Variables with the prefix `RELION_RS_`, whole names.
    pub environment: BTreeMap<String, String>,
    pub flags: JobFile,
    /// What an earlier `submit` of this run was asked for: above the job file, below the environment.
    pub submitted: Option<PathBuf>,
    pub cluster_flags: Cluster,
}

/// All layers, merged.
#[derive(Clone, Debug)]
pub struct Layers {
    /// Every key that has a value.
    pub values: JobFile,
    /// Every key of the cluster that has a value.
    pub cluster: Cluster,
    /// By key; those of the cluster with its name in front: `cluster.partition`.
    sources: BTreeMap<String, String>,
    /// Files that more than this job are set by.
    shared_files: Vec<String>,
}

/// One layer: a name and the values it sets.
struct Layer {
    name: String,
    values: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> std::result::Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.values.clone())]))
    }
}

impl Sources {
    /// The site file (`$RELION_RS_SITE_FILE`, else `etc/relion-rs/site.toml` beside this program's `bin`, else below
    /// `/`), the user's file (`~/.config/relion-rs/config.toml` or `$RELION_RS_USER_FILE`) and the environment of this
    /// process.
    ///
    /// # Errors
    /// `NoInput` when a variable names a file that does not exist.
    pub fn of_process(job_file: Option<PathBuf>, flags: JobFile) -> Result<Self> {
        let environment: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())))
            .filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX))
            .collect();
        let named = |variable: &str| environment.get(&format!("{ENVIRONMENT_PREFIX}{variable}")).map(PathBuf::from);
        let home = std::env::var_os("XDG_CONFIG_HOME")
            .filter(|folder| !folder.is_empty())
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config")));
        let usual_site = usual_site_files().into_iter().find(|path| path.is_file());
        let usual_user = home.map(|folder| folder.join("relion-rs/config.toml")).filter(|path| path.is_file());
        Ok(Self {
            site_file: named("SITE_FILE").or(usual_site),
            user_file: named("USER_FILE").or(usual_user),
            job_file,
            environment,
            flags,
            ..Self::default()
        })
    }
}

/// Where a site file lies if no variable names one: with the installed program, else on the machine.
fn usual_site_files() -> Vec<PathBuf> {
    const NAME: &str = "etc/relion-rs/site.toml";
    let program = std::env::current_exe().ok();
    let beside = program.as_deref().and_then(Path::parent).and_then(Path::parent).map(|prefix| prefix.join(NAME));
    beside.into_iter().chain([Path::new("/").join(NAME)]).collect()
}

impl Layers {
    /// Reads and merges all layers.
    ///
    /// # Errors
    /// `Config` (files) or `Usage` (environment) for an unknown key or a value of the wrong type;
    /// `NoInput` for a missing file.
    pub fn load(sources: &Sources) -> Result<Self> {
        let mut asked = Figment::new();
        let mut cluster = Vec::new();
        for path in
            [&sources.site_file, &sources.user_file, &sources.job_file, &sources.submitted].into_iter().flatten()
        {
            let mut layer = file_layer(path)?;
            if let Some(Value::Dict(_, values)) = layer.values.remove(CLUSTER_TABLE) {
                cluster.push(Layer { name: layer.name.clone(), values });
            }
            asked = asked.merge(layer);
        }
        let (variables, of_cluster) = environment_layers(&sources.environment)?;
        for layer in variables {
            asked = asked.merge(layer);
        }
        let mut above = of_cluster;
        above.push(Layer { name: FLAG.to_string(), values: sources.cluster_flags.set_values()? });
        let cluster = merge_cluster(cluster, above)?;
        let flags = sources.flags.set_values()?;
        asked = asked.merge(Layer { name: FLAG.to_string(), values: flags });

        // The defaults depend on the kind, so the kind is read first.
        let kind: JobFile = asked.extract().map_err(wrong_value)?;
        let base = defaults(kind.kind.unwrap_or(JobKind::Refine3d));
        let base = Layer { name: DEFAULT.to_string(), values: base.set_values()? };
        let all = Figment::from(base).merge(asked);
        let values: JobFile = all.extract().map_err(wrong_value)?;
        let named = |all: &Figment, key: &str| all.find_metadata(key).map(|metadata| metadata.name.to_string());
        let of_job = JobFile::keys().into_iter().filter_map(|key| Some((key.clone(), named(&all, &key)?)));
        let of_cluster = Cluster::keys()
            .into_iter()
            .filter_map(|key| Some((format!("{CLUSTER_TABLE}.{key}"), named(&cluster, &key)?)));
        let shared_files = [&sources.site_file, &sources.user_file].into_iter().flatten();
        Ok(Self {
            values,
            sources: of_job.chain(of_cluster).collect(),
            cluster: cluster.extract::<Cluster>().map_err(of_cluster_table)?.without_empty(),
            shared_files: shared_files.map(|path| path.display().to_string()).collect(),
        })
    }

    /// The layer a key's value came from: `built-in default`, a file, a variable or `flag`.
    pub fn source(&self, key: &str) -> &str {
        self.sources.get(key).map_or("not set", String::as_str)
    }

    /// Whether someone asked for this key: any layer above the defaults.
    pub fn is_asked(&self, key: &str) -> bool {
        self.sources.get(key).is_some_and(|source| source != DEFAULT)
    }

    /// Only what was asked, without defaults: the `job.toml` of the run folder.
    pub fn asked(&self) -> Result<JobFile> {
        let asked: Dict = self.values.set_values()?.into_iter().filter(|(key, _)| self.is_asked(key)).collect();
        Figment::from(Layer { name: String::new(), values: asked }).extract().map_err(wrong_value)
    }

    /// What was asked of the cluster for this job, without the defaults and the files that others share: what the run
    /// folder remembers. A change of the site's file reaches a run that goes on.
    pub fn asked_of_cluster(&self) -> Result<Cluster> {
        let is_own = |key: &str| {
            let key = format!("{CLUSTER_TABLE}.{key}");
            let is_shared = |file: &String| self.source(&key).strip_prefix(file.as_str()).is_some_and(is_table);
            self.is_asked(&key) && !self.shared_files.iter().any(is_shared)
        };
        let asked: Dict = self.cluster.set_values()?.into_iter().filter(|(key, _)| is_own(key)).collect();
        Figment::from(Layer { name: String::new(), values: asked }).extract().map_err(wrong_value)
    }

    /// How a user would find the setting of a key: `--diameter`, `job.toml, key diameter` ...
    pub fn place(&self, key: &str) -> String {
        let flag = key.strip_prefix("cluster.").unwrap_or(key);
        match self.source(key) {
            DEFAULT | "not set" => key.to_string(),
            FLAG if key == "kind" => key.to_string(),
            FLAG => format!("--{}", flag.replace('_', "-")),
            variable if variable.starts_with(ENVIRONMENT_PREFIX) => variable.to_string(),
            file => format!("{file}, key {key}"),
        }
    }

    /// An error about the value of a key; its code follows from where the value was set.
    pub fn error(&self, key: &str, problem: impl Into<String>, fix: impl Into<String>) -> Error {
        let source = self.source(key);
        let is_file = self.is_asked(key) && source != FLAG && !source.starts_with(ENVIRONMENT_PREFIX);
        let code = if is_file { ExitCode::Config } else { ExitCode::Usage };
        Error::new(code, self.place(key), problem, fix)
    }
}

fn file_layer(path: &Path) -> Result<Layer> {
    let mut values = Dict::new();
    for (key, value) in read_table(path)? {
        let value = Value::serialize(value).map_err(|cause| Error::internal(format!("{key}: {cause}")))?;
        values.insert(key, value);
    }
    Ok(Layer { name: path.display().to_string(), values })
}

/// The layers of the cluster's table. A partition has a table of its own in each file, which counts where the job goes
/// to that partition, above the other keys of the same file.
fn merge_cluster(files: Vec<Layer>, above: Vec<Layer>) -> Result<Figment> {
    let partition = files.iter().chain(&above).filter_map(|layer| layer.values.get("partition")).next_back();
    let partition = partition.and_then(Value::as_str).unwrap_or_default().to_string();
    let mut merged = Figment::from(Layer { name: DEFAULT.to_string(), values: Cluster::defaults().set_values()? });
    for mut layer in files {
        let own = match layer.values.remove(PARTITIONS_TABLE) {
            Some(Value::Dict(_, mut tables)) => tables.remove(&partition),
            _ => None,
        };
        let name = format!("{}, [{CLUSTER_TABLE}.{PARTITIONS_TABLE}.{partition}]", layer.name);
        merged = merged.merge(layer);
        if let Some(Value::Dict(_, values)) = own {
            merged = merged.merge(Layer { name, values });
        }
    }
    Ok(above.into_iter().fold(merged, Figment::merge))
}

/// What follows a file's name where a value comes from one of its tables.
fn is_table(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with(", [")
}

/// One layer a variable, so that each value names its own: those of the job, and those of the cluster.
fn environment_layers(variables: &BTreeMap<String, String>) -> Result<(Vec<Layer>, Vec<Layer>)> {
    let (known, of_cluster) = (JobFile::keys(), Cluster::keys());
    let (mut layers, mut cluster) = (Vec::new(), Vec::new());
    for (name, text) in variables {
        let Some(key) = name.strip_prefix(ENVIRONMENT_PREFIX) else { continue };
        if OTHER_VARIABLES.contains(&key) {
            continue;
        }
        let key = key.to_lowercase();
        // A key of both is the job's.
        let is_cluster = of_cluster.contains(&key) && !known.contains(&key);
        if !is_cluster && !known.contains(&key) {
            return Err(unknown_key(ExitCode::Usage, name.clone(), &key));
        }
        // Text that is a number or a truth value becomes one, unless the key wants text (a folder may be called 5).
        let layer = |value: Value| Layer { name: name.clone(), values: Dict::from([(key.clone(), value)]) };
        let parsed: Value = text.parse().unwrap_or_else(|never| match never {});
        let plain = match &parsed {
            Value::Array(..) => parsed.clone(),
            _ if is_cluster && Cluster::is_list(&key) => Value::from(vec![text.as_str()]),
            _ => Value::from(text.as_str()),
        };
        let tried = Figment::from(layer(plain.clone()));
        let wants_text =
            if is_cluster { tried.extract::<Cluster>().is_ok() } else { tried.extract::<JobFile>().is_ok() };
        let found = layer(if wants_text { plain } else { parsed });
        if is_cluster { cluster.push(found) } else { layers.push(found) }
    }
    Ok((layers, cluster))
}

fn of_cluster_table(mut cause: figment::Error) -> Error {
    cause.path.insert(0, CLUSTER_TABLE.to_string());
    wrong_value(cause)
}

/// A value of the wrong type, told with its key and layer.
fn wrong_value(cause: figment::Error) -> Error {
    let key = cause.path.join(".");
    let layer = cause.metadata.as_ref().map_or_else(String::new, |metadata| metadata.name.to_string());
    let is_file = !layer.is_empty() && layer != FLAG && !layer.starts_with(ENVIRONMENT_PREFIX);
    let (code, place) = if is_file {
        (ExitCode::Config, format!("{layer}, key {key}"))
    } else {
        (ExitCode::Usage, if layer.is_empty() { key } else { format!("{layer}, key {key}") })
    };
    Error::new(
        code,
        place,
        cause.kind.to_string(),
        "Give the key a value like the one `relion-rs new` writes for it (text in double quotes, numbers without).",
    )
}
