//! GPUs, their driver, and the library that compiles kernels.

use std::env;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use crate::plan::format_bytes;
use crate::slurm::Failure;
use crate::slurm::call;

use super::answer::Finding;
use super::answer::Gpu;

const QUERY: &str = "--query-gpu=name,uuid,memory.total,driver_version,compute_cap";

/// The GPUs that this process may use.
pub fn look(is_gpu_engine: bool, findings: &mut Vec<Finding>) -> Vec<Gpu> {
    let gpus = gpus(findings);
    let library = |name: &str| library(name).map(|path| path.display().to_string());
    if !gpus.is_empty() {
        findings.push(match library("libcuda.so") {
            Some(path) => Finding::ok("driver", format!("{}, {path}", gpus[0].driver)),
            None => Finding::warning(
                "driver",
                "libcuda.so was not found where the loader looks",
                "It comes with the driver: add its folder to LD_LIBRARY_PATH, or run ldconfig.",
            ),
        });
        if !is_gpu_engine {
            findings.push(Finding::warning(
                "backend",
                "this engine computes on CPUs only",
                "The GPUs stay idle: install a relion-rs that was built with the feature `cuda`.",
            ));
        }
    }
    // Compiled kernels for common GPUs are part of the engine; the library is for all others.
    match library("libnvrtc.so") {
        Some(path) => findings.push(Finding::ok("NVRTC", path)),
        None if is_gpu_engine => findings.push(Finding::missing(
            "NVRTC",
            "libnvrtc.so was not found where the loader looks",
            "Needed for GPUs that this version has no compiled kernels for: load a CUDA module (`modules` in the site \
             file), or set LD_LIBRARY_PATH.",
        )),
        None => findings.push(Finding::ok("NVRTC", "not found, and not needed on CPUs")),
    }
    gpus
}

fn gpus(findings: &mut Vec<Finding>) -> Vec<Gpu> {
    let topic = "GPU";
    let listed = match call("nvidia-smi", &[QUERY, "--format=csv,noheader,nounits"]) {
        Ok(text) => text,
        Err(Failure::Absent { .. }) => {
            let driver = fs::read_to_string("/proc/driver/nvidia/version").ok();
            findings.push(match driver {
                Some(text) => Finding::warning(
                    topic,
                    format!("a driver is loaded ({}) and nvidia-smi is not on the PATH", first_line(&text)),
                    "Install nvidia-smi, or add its folder to the PATH: GPUs are known by what it tells.",
                ),
                None if env::var_os("SLURM_JOB_ID").is_some() => Finding::missing(
                    topic,
                    "none here: neither nvidia-smi nor a driver",
                    "Jobs on this node work on CPUs. Should there be GPUs, ask the administrator for the driver.",
                ),
                None => Finding::missing(
                    topic,
                    "none here: neither nvidia-smi nor a driver",
                    "Right for a login node: `relion-rs doctor --on-node PARTITION` looks at a node. Work here is done on \
                     CPUs.",
                ),
            });
            return Vec::new();
        }
        Err(cause) => {
            let remedy = "Ask the administrator: usually the driver and its library are of different versions until the \
                          next reboot.";
            findings.push(Finding::warning(topic, cause.to_string().replace('\n', "; "), remedy));
            return Vec::new();
        }
    };
    let gpus: Vec<Gpu> = listed.lines().filter_map(parse).collect();
    if gpus.is_empty() {
        let found = format!("nvidia-smi names none: {}", first_line(&listed));
        findings.push(Finding::missing(topic, found, "In a job, ask for some: --gpus or --gres=gpu:1."));
    }
    for (number, gpu) in gpus.iter().enumerate() {
        let found = format!("{number}: {}, {}, {}", gpu.name, format_bytes(gpu.memory_bytes), gpu.uuid);
        findings.push(Finding::ok(topic, found));
    }
    gpus
}

/// A line of nvidia-smi. A card that is cut into instances tells no memory of its own.
fn parse(line: &str) -> Option<Gpu> {
    let mut fields = line.split(',').map(str::trim);
    let (name, uuid, memory, driver) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let mebibytes: u64 = memory.parse().unwrap_or(0);
    uuid.starts_with("GPU-").then(|| Gpu {
        name: name.to_owned(),
        uuid: uuid.to_owned(),
        memory_bytes: mebibytes << 20,
        driver: driver.to_owned(),
        compute_capability: fields.next().filter(|word| !word.contains("N/A")).unwrap_or_default().to_owned(),
    })
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default().trim()
}

/// A shared library, whatever the number behind its name, where the loader looks and where CUDA is usually put.
fn library(name: &str) -> Option<PathBuf> {
    let list = |variable: &str| env::var(variable).unwrap_or_default();
    let mut folders: Vec<PathBuf> = env::split_paths(&list("LD_LIBRARY_PATH")).collect();
    for variable in ["CUDA_HOME", "CUDA_PATH", "CUDA_ROOT"] {
        let root = list(variable);
        if !root.is_empty() {
            folders.push(Path::new(&root).join("lib64"));
        }
    }
    let beside = folders.iter().find_map(|folder| starting_with(folder, name));
    let cached = || {
        let text = call("ldconfig", &["-p"]).or_else(|_| call("/sbin/ldconfig", &["-p"])).ok()?;
        let line = text.lines().find(|line| line.trim_start().starts_with(name))?;
        Some(PathBuf::from(line.split("=>").nth(1)?.trim()))
    };
    beside.or_else(cached).or_else(|| starting_with(Path::new("/usr/local/cuda/lib64"), name))
}

fn starting_with(folder: &Path, name: &str) -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(name)))
        .collect();
    found.sort();
    found.into_iter().next()
}
