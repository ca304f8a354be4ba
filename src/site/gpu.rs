//! GPUs, their driver, and the libraries of the CUDA engine.

use std::env;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use serde_json::Value;

use crate::plan::format_bytes;
use crate::slurm::Failure;
use crate::slurm::call;

use super::answer::Finding;
use super::answer::Gpu;

const QUERY: &str = "--query-gpu=name,uuid,memory.total,driver_version,compute_cap";

/// Libraries that an engine with CUDA loads, what their files' names begin with, and what for.
const LIBRARIES: [(&str, &str, &str); 2] = [
    ("NVRTC", "libnvrtc.so", "compiles its kernels with it"),
    (SPARED, "libcufft.so", "transforms images with it, and more slowly on the host without"),
];
/// The one that it can do without.
const SPARED: &str = "cuFFT";

/// The GPUs that this process may use: those that the engine sees, else those that `nvidia-smi` names.
pub fn look(probe: &Value, findings: &mut Vec<Finding>) -> Vec<Gpu> {
    let is_gpu_engine = probe["backends"].as_array().is_some_and(|list| list.iter().any(|name| name == "cuda"));
    let seen = of_engine(probe);
    let gpus = if seen.is_empty() { gpus(findings) } else { seen.clone() };
    for (number, gpu) in gpus.iter().enumerate() {
        findings.push(Finding::ok("GPU", format!("{number}: {}", words(gpu))));
    }
    if let Some(first) = gpus.first() {
        findings.push(driver(first, !seen.is_empty()));
        findings.push(backend(probe, is_gpu_engine, seen.is_empty()));
    }
    libraries(probe, is_gpu_engine, findings);
    gpus
}

/// The devices in the engine's own words.
fn of_engine(probe: &Value) -> Vec<Gpu> {
    let driver = libraries_of(probe).find(|library| library["name"] == "driver");
    let driver = driver.and_then(|library| library["version"].as_str()).unwrap_or_default();
    let gpu = |device: &Value| {
        let number = |part: usize| device["capability"][part].as_u64();
        Some(Gpu {
            name: device["name"].as_str()?.to_owned(),
            uuid: device["uuid"].as_str()?.to_owned(),
            memory_bytes: device["memory_bytes"].as_u64()?,
            driver: driver.to_owned(),
            compute_capability: format!("{}.{}", number(0)?, number(1)?),
        })
    };
    probe["devices"].as_array().into_iter().flatten().filter_map(gpu).collect()
}

fn libraries_of(probe: &Value) -> impl Iterator<Item = &Value> {
    probe["libraries"].as_array().into_iter().flatten()
}

fn words(gpu: &Gpu) -> String {
    let capability = match gpu.compute_capability.as_str() {
        "" => String::new(),
        capability => format!(", compute capability {capability}"),
    };
    format!("{}, {}, {}{capability}", gpu.name, format_bytes(gpu.memory_bytes), gpu.uuid)
}

fn driver(gpu: &Gpu, is_loaded: bool) -> Finding {
    match library("libcuda.so") {
        Some(path) => Finding::ok("driver", format!("{}, {}", gpu.driver, path.display())),
        None if is_loaded => Finding::ok("driver", gpu.driver.clone()),
        None => Finding::warning(
            "driver",
            "libcuda.so was not found where the loader looks",
            "It comes with the driver: add its folder to LD_LIBRARY_PATH, or run ldconfig.",
        ),
    }
}

/// Whether the engine computes on the GPUs that are there.
fn backend(probe: &Value, is_gpu_engine: bool, sees_none: bool) -> Finding {
    if !is_gpu_engine {
        return Finding::warning(
            "backend",
            "this engine was built without CUDA",
            "The GPUs stay idle; `cargo build --release --features cuda --bin relion-rs-rank` makes one that uses them.",
        );
    }
    let told = |key: &str| probe["no_device"][key].as_str();
    match told("problem") {
        Some(problem) if sees_none => {
            Finding::warning("backend", format!("the engine uses no GPU: {problem}"), told("fix").unwrap_or_default())
        }
        _ => Finding::ok("backend", format!("cuda; kernels {:.16}", probe["kernels"].as_str().unwrap_or("?"))),
    }
}

/// What the engine loaded; where it tells nothing, what lies where the loader looks.
fn libraries(probe: &Value, is_gpu_engine: bool, findings: &mut Vec<Finding>) {
    for (name, file, purpose) in LIBRARIES {
        let told = libraries_of(probe).find(|library| library["name"] == name);
        let version = told.and_then(|library| library["version"].as_str());
        let path = library(file).map(|path| path.display().to_string());
        findings.push(match (version, path) {
            (Some(version), Some(path)) => Finding::ok(name, format!("{version}, {path}")),
            (Some(version), None) => Finding::ok(name, version),
            (None, Some(path)) if told.is_none() => Finding::ok(name, path),
            _ if is_gpu_engine => {
                let problem = told.and_then(|library| library["problem"].as_str()).map(str::to_owned);
                let problem = problem.unwrap_or_else(|| format!("{file} was not found where the loader looks"));
                let remedy = format!(
                    "The engine {purpose}: load a CUDA module (`modules` in the site file), or set LD_LIBRARY_PATH."
                );
                let finding = if name == SPARED { Finding::warning } else { Finding::missing };
                finding(name, problem, remedy)
            }
            _ => Finding::ok(name, "not found, and not needed on CPUs"),
        });
    }
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
    let instances = call("nvidia-smi", &["-L"]).unwrap_or_default();
    let gpus = instead_of_cards(listed.lines().filter_map(parse).collect(), &instances);
    if gpus.is_empty() {
        let found = format!("nvidia-smi names none: {}", first_line(&listed));
        findings.push(Finding::missing(topic, found, "In a job, ask for some: --gpus or --gres=gpu:1."));
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

/// A card that is cut into instances (MIG) computes through them only; `nvidia-smi -L` lists them below it.
fn instead_of_cards(cards: Vec<Gpu>, list: &str) -> Vec<Gpu> {
    let mut all: Vec<Gpu> = Vec::new();
    for card in cards {
        let mut below = list.lines().skip_while(|line| !line.contains(&card.uuid)).skip(1);
        let own = below.by_ref().take_while(|line| !line.starts_with("GPU ")).filter_map(|line| instance(&card, line));
        let own: Vec<Gpu> = own.collect();
        if own.is_empty() {
            all.push(card);
        } else {
            all.extend(own);
        }
    }
    all
}

/// A line such as `  MIG 3g.20gb     Device  0: (UUID: MIG-5c89852c)`. The name tells the memory, rounded up.
fn instance(card: &Gpu, line: &str) -> Option<Gpu> {
    let rest = line.trim_start().strip_prefix("MIG ")?;
    let kind = rest.split_whitespace().next()?;
    let gigabytes: u64 = kind.split('.').find_map(|part| part.split('+').next()?.strip_suffix("gb"))?.parse().ok()?;
    let uuid = rest.split_once("UUID: ")?.1.trim_end_matches(')').to_owned();
    let memory_bytes = gigabytes * 1_000_000_000;
    Some(Gpu { name: format!("{}, MIG {kind}", card.name), uuid, memory_bytes, ..card.clone() })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_stand_for_the_card_that_they_are_cut_from() {
        let csv =
            "NVIDIA A100-SXM4-40GB, GPU-aa, 40960, 550.54, 8.0\nNVIDIA A100-SXM4-40GB, GPU-bb, 40960, 550.54, 8.0";
        let list = "GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-aa)\n  MIG 3g.20gb     Device  0: (UUID: MIG-1)\n  \
                    MIG 1g.5gb+me   Device  1: (UUID: MIG-2)\nGPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-bb)\n";
        let told: Vec<(String, u64)> = instead_of_cards(csv.lines().filter_map(parse).collect(), list)
            .into_iter()
            .map(|gpu| (gpu.uuid, gpu.memory_bytes))
            .collect();
        let wanted = [("MIG-1", 20_000_000_000), ("MIG-2", 5_000_000_000), ("GPU-bb", 40960 << 20)];
        assert_eq!(told, wanted.map(|(uuid, bytes)| (uuid.to_owned(), bytes)));
        assert!(parse("No devices were found").is_none());
        assert_eq!(parse("NVIDIA X, GPU-cc, [N/A], 550, [N/A]").unwrap().memory_bytes, 0);
    }
}
