//! What a submitted run computes on. The engine decides on the node: with `backend = "auto"` a job that has GPUs computes
//! on them, and one that has none on CPUs. Here it is seen to that this can work before anything is queued.

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::plan::Backend;
use crate::plan::Cluster;
use crate::plan::Layers;
use crate::plan::Plan;
use crate::plan::parse_bytes;
use crate::site::saved_gpu_memory;

use super::super::screen::Screen;

const AUTO: &str = "auto";

/// What `asked` becomes in a job with these resources.
pub fn backend(asked: Backend, cluster: &Cluster) -> Backend {
    match asked {
        Backend::Auto if asks_for_gpus(cluster) => Backend::Cuda,
        Backend::Auto => Backend::Cpu,
        decided => decided,
    }
}

/// By a key, or by an argument of sbatch.
fn asks_for_gpus(cluster: &Cluster) -> bool {
    let is_of_gpus = |word: &String| word.contains("gpu") || word.contains("gres");
    cluster.gpus.unwrap_or(0) > 0 || cluster.sbatch.iter().flatten().any(is_of_gpus)
}

/// The plan as it is counted for a job with these resources.
pub fn counted(plan: &Plan, layers: &Layers) -> Plan {
    let backend = backend(plan.backend, &layers.cluster);
    let known = if backend == Backend::Cuda { known_memory(layers) } else { None };
    Plan { backend, gpu_memory_bytes: plan.gpu_memory_bytes.or(known), ..plan.clone() }
}

/// Checks backend and GPUs against each other. `gpu_memory` of the cluster's table becomes the job's where that is `auto`.
///
/// # Errors
/// `Usage`: CUDA without a GPU, or with one whose memory nobody knows.
pub fn settle(layers: &mut Layers, screen: &Screen) -> Result<()> {
    if let Some(text) = layers.cluster.gpu_memory.clone() {
        if parse_bytes(&text).is_none_or(|bytes| bytes == 0) {
            let problem = format!("{text:?} is not a size of memory");
            return Err(layers.error("cluster.gpu_memory", problem, "Write it like 40GiB."));
        }
        if layers.values.gpu_memory.as_deref() == Some(AUTO) {
            layers.values.gpu_memory = Some(text);
        }
    }
    let asked = layers.values.backend.unwrap_or_default();
    let has_gpus = asks_for_gpus(&layers.cluster);
    match backend(asked, &layers.cluster) {
        Backend::Cuda if !has_gpus => Err(layers.error(
            "backend",
            "the backend cuda, and the job asks for no GPU",
            "Ask for some: --gpus 1, a rank each. Or leave the backend at auto.",
        )),
        Backend::Cuda => knows_its_gpu(layers),
        _ if has_gpus => {
            screen.warning("the job asks for GPUs, and they stay idle: backend = \"cpu\"");
            Ok(())
        }
        _ => Ok(()),
    }
}

/// A GPU's memory decides what fits there, and a login node has no GPU to ask.
fn knows_its_gpu(layers: &Layers) -> Result<()> {
    let is_told = layers.values.gpu_memory.as_deref().is_some_and(|text| text != AUTO);
    if is_told || known_memory(layers).is_some() {
        return Ok(());
    }
    let partition = layers.cluster.partition.as_deref().unwrap_or("PARTITION");
    Err(Error::new(
        ExitCode::Usage,
        layers.place("gpu_memory"),
        "what is computed on a GPU must fit there, and nobody has told its memory",
        format!(
            "Give --gpu-memory 40GiB, or set gpu_memory in the site's file (below [cluster.partitions.{partition}]), or \
             let a node tell: relion-rs doctor --on-node {partition}."
        ),
    ))
}

/// What the cluster's table says, or a node of the partition said.
fn known_memory(layers: &Layers) -> Option<u64> {
    let told = layers.cluster.gpu_memory.as_deref().and_then(parse_bytes);
    told.or_else(|| saved_gpu_memory(layers.cluster.partition.as_deref()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_is_what_the_job_asks_for() {
        let with = |gpus: u32, sbatch: &[&str]| Cluster {
            gpus: Some(gpus),
            sbatch: Some(sbatch.iter().map(|word| (*word).to_owned()).collect()),
            ..Cluster::default()
        };
        assert_eq!(backend(Backend::Auto, &Cluster::default()), Backend::Cpu);
        assert_eq!(backend(Backend::Auto, &with(0, &["--qos=x"])), Backend::Cpu);
        assert_eq!(backend(Backend::Auto, &with(2, &[])), Backend::Cuda);
        assert_eq!(backend(Backend::Auto, &with(0, &["--gres=gpu:1"])), Backend::Cuda);
        assert_eq!(backend(Backend::Cpu, &with(2, &[])), Backend::Cpu);
        assert_eq!(backend(Backend::Cuda, &Cluster::default()), Backend::Cuda);
    }
}
