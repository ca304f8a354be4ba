//! Where the expectation step runs: what `backend = "auto"` becomes, and which rank computes on which device.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::device::Found;
use crate::plan::Backend;

use super::place::Place;

/// What was decided for all ranks, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    pub backend: Backend,
    pub why: String,
    /// The device of each rank; none for a leader that computes nothing, and on CPUs.
    pub devices: Vec<Option<Found>>,
}

/// Problem and fix.
pub type Refusal = (String, String);

/// Decides. The ranks before the `first` compute nothing.
///
/// # Errors
/// CUDA is wanted, and a rank sees no device or none for itself.
pub fn choose(asked: Backend, may_share: bool, places: &[Place], first: usize) -> Result<Choice, Refusal> {
    let is_job = places.iter().any(|place| place.is_job);
    let job_has_gpus = places.iter().any(Place::is_given_gpus);
    match asked {
        Backend::Cpu => Ok(on_cpus(places, "asked for")),
        Backend::Cuda => on_gpus(places, first, may_share, "asked for"),
        // None stays idle unless somebody says so.
        Backend::Auto if is_job && job_has_gpus => on_gpus(places, first, may_share, "the job has GPUs")
            .map_err(|(problem, fix)| (format!("the job has GPUs: {problem}"), fix)),
        Backend::Auto if is_job => Ok(on_cpus(places, "the job has no GPU")),
        Backend::Auto => Ok(match on_gpus(places, first, may_share, "a GPU for every rank") {
            Ok(choice) => choice,
            Err((cause, _)) => on_cpus(places, &cause),
        }),
    }
}

fn on_cpus(places: &[Place], why: &str) -> Choice {
    Choice { backend: Backend::Cpu, why: why.to_owned(), devices: vec![None; places.len()] }
}

fn on_gpus(places: &[Place], first: usize, may_share: bool, why: &str) -> Result<Choice, Refusal> {
    // What holds for all of them needs no place.
    let is_everywhere =
        |rank: usize| places[first..].iter().all(|place| place.sight.absent == places[rank].sight.absent);
    let place_of = |rank: usize| match is_everywhere(rank) {
        true => String::new(),
        false => format!("rank {rank} on {}: ", places[rank].host),
    };
    if let Some(rank) = (first..places.len()).find(|rank| places[*rank].sight.devices.is_empty()) {
        let (problem, fix) = places[rank].sight.absent.clone().unwrap_or_default();
        return Err((format!("{}{problem}", place_of(rank)), fix));
    }
    let devices = deal(places, first);
    if let Some((one, other)) = shared(places, &devices).filter(|_| !may_share) {
        let device = devices[other].as_ref().map(words).unwrap_or_default();
        let host = &places[other].host;
        return Err((
            format!("ranks {one} and {other} on {host} would share {device}"),
            "Ask for one GPU a rank (--gpus-per-task=1 --gpu-bind=single:1), start fewer ranks, or allow it: --share-gpu."
                .to_owned(),
        ));
    }
    Ok(Choice { backend: Backend::Cuda, why: why.to_owned(), devices })
}

/// A device for each rank from the `first` on: those with the least choice take theirs first, each the one that the
/// fewest have.
fn deal(places: &[Place], first: usize) -> Vec<Option<Found>> {
    let mut order: Vec<usize> = (first..places.len()).collect();
    order.sort_by_key(|rank| (places[*rank].sight.devices.len(), *rank));
    let mut taken: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut devices = vec![None; places.len()];
    for rank in order {
        let host = places[rank].host.as_str();
        let users = |device: &&Found| taken.get(&(host, device.uuid.as_str())).copied().unwrap_or(0);
        if let Some(device) = places[rank].sight.devices.iter().min_by_key(users) {
            *taken.entry((host, &device.uuid)).or_default() += 1;
            devices[rank] = Some(device.clone());
        }
    }
    devices
}

/// The first two ranks on one device.
fn shared(places: &[Place], devices: &[Option<Found>]) -> Option<(usize, usize)> {
    (0..devices.len()).find_map(|rank| users(places, devices, rank).find(|other| *other < rank).map(|one| (one, rank)))
}

/// The ranks on this one's device, itself included.
pub fn users<'a>(places: &'a [Place], devices: &'a [Option<Found>], rank: usize) -> impl Iterator<Item = usize> + 'a {
    let is_same = move |other: &usize| match (&devices[rank], &devices[*other]) {
        (Some(own), Some(device)) => own.uuid == device.uuid && places[rank].host == places[*other].host,
        _ => false,
    };
    (0..devices.len()).filter(is_same)
}

/// A device for people.
pub fn words(device: &Found) -> String {
    format!("{}, {}", device.name, device.uuid)
}

/// Compute capabilities, and kernels with their libraries, of the devices that are computed on; each once.
fn kinds<'a>(places: &'a [Place], devices: &'a [Option<Found>]) -> (BTreeSet<(u32, u32)>, BTreeSet<&'a str>) {
    let used = places.iter().zip(devices).filter(|(_, device)| device.is_some());
    let capabilities = devices.iter().flatten().map(|device| device.capability).collect();
    (capabilities, used.map(|(place, _)| place.sight.program.as_str()).collect())
}

/// What of the devices decides the bits of a result: for all ranks the same text. Empty on CPUs.
pub fn identity(places: &[Place], devices: &[Option<Found>]) -> String {
    let (capabilities, programs) = kinds(places, devices);
    if capabilities.is_empty() {
        return String::new();
    }
    let capabilities: Vec<String> = capabilities.iter().map(|(major, minor)| format!("{major}.{minor}")).collect();
    let programs: Vec<&str> = programs.into_iter().collect();
    format!("compute capability {}, {}", capabilities.join(" and "), programs.join(" and "))
}

/// What is wrong with devices of different kinds, if they are.
fn mixed(places: &[Place], devices: &[Option<Found>]) -> Option<String> {
    let (capabilities, programs) = kinds(places, devices);
    let is_mixed = capabilities.len() > 1 || programs.len() > 1;
    is_mixed.then(|| {
        format!(
            "the ranks compute on different GPUs or with different libraries ({}): which one takes which particles \
             may change the last bits of a result",
            identity(places, devices)
        )
    })
}

/// Refuses devices of different kinds where the same bits are demanded.
pub fn exactly(places: &[Place], devices: &[Option<Found>]) -> Result<(), Refusal> {
    match mixed(places, devices) {
        None => Ok(()),
        Some(problem) => Err((
            format!("--exact: {problem}"),
            "Ask for GPUs of one kind (`submit --gpu-type`, or nodes of one kind), compute on CPUs (--backend cpu), or go \
             on without --exact."
                .to_owned(),
        )),
    }
}

/// What a careful person wants to hear of the devices.
pub fn warnings(places: &[Place], devices: &[Option<Found>]) -> Vec<String> {
    let mut warnings: Vec<String> = mixed(places, devices).into_iter().collect();
    if let Some((one, other)) = shared(places, devices) {
        warnings
            .push(format!("ranks {one} and {other} share a GPU, as --share-gpu allows: each has a part of its memory"));
    }
    let used = || places.iter().zip(devices).filter(|(_, device)| device.is_some()).map(|(place, _)| place);
    let is_everywhere = used().all(|place| place.sight.slower.is_some());
    let slower: BTreeSet<String> = used()
        .filter_map(|place| {
            let why = place.sight.slower.as_ref()?;
            Some(if is_everywhere { why.clone() } else { format!("{}: {why}", place.host) })
        })
        .collect();
    warnings.extend(slower);
    warnings
}

#[cfg(test)]
mod tests {
    use super::super::sight::Sight;
    use super::*;

    fn device(uuid: &str, capability: (u32, u32)) -> Found {
        let name = "NVIDIA A100".to_owned();
        Found { ordinal: 0, uuid: uuid.to_owned(), name, capability, processors: 108, memory_bytes: 40 << 30 }
    }

    fn place(host: &str, uuids: &[&str]) -> Place {
        let devices: Vec<Found> = uuids.iter().map(|uuid| device(uuid, (8, 0))).collect();
        let sight = match devices.is_empty() {
            true => Sight::none("no GPU is visible".to_owned(), "Ask for one.".to_owned()),
            false => Sight { devices, program: "kernels 12ab, NVRTC 12.8".to_owned(), ..Sight::default() },
        };
        Place { host: host.to_owned(), sight, ..Place::default() }
    }

    fn uuids(choice: &Choice) -> Vec<Option<&str>> {
        choice.devices.iter().map(|device| device.as_ref().map(|device| device.uuid.as_str())).collect()
    }

    #[test]
    fn auto_takes_gpus_where_every_rank_has_one() {
        let auto = |places: &[Place]| choose(Backend::Auto, false, places, 0).unwrap();
        let choice = auto(&[place("a", &["GPU-1", "GPU-2"]), place("a", &["GPU-1", "GPU-2"]), place("b", &["GPU-3"])]);
        assert_eq!(
            (choice.backend, uuids(&choice)),
            (Backend::Cuda, vec![Some("GPU-1"), Some("GPU-2"), Some("GPU-3")])
        );
        let choice = auto(&[place("a", &["GPU-1"]), place("b", &[])]);
        assert_eq!((choice.backend, &*choice.why), (Backend::Cpu, "rank 1 on b: no GPU is visible"));
        let choice = auto(&vec![place("a", &["GPU-1"]); 2]);
        assert!(choice.backend == Backend::Cpu && choice.why.contains("share NVIDIA A100, GPU-1"), "{choice:?}");
        let choice = auto(&[place("a", &[]), place("b", &[])]);
        assert_eq!((choice.backend, &*choice.why), (Backend::Cpu, "no GPU is visible"));
    }

    #[test]
    fn auto_in_a_job_is_what_the_job_has() {
        let of_job = |gpus: &str, uuids: &[&str]| Place {
            is_job: true,
            slurm: gpus.split_whitespace().map(str::to_owned).collect(),
            ..place("a", uuids)
        };
        // A node may show GPUs that the job was not given.
        let choice = choose(Backend::Auto, false, &[of_job("", &["GPU-1"])], 0).unwrap();
        assert_eq!((choice.backend, &*choice.why), (Backend::Cpu, "the job has no GPU"));
        let choice = choose(Backend::Auto, false, &[of_job("3", &["GPU-1"])], 0).unwrap();
        assert_eq!((choice.backend, &*choice.why), (Backend::Cuda, "the job has GPUs"));
        // Given and not usable: no rank computes beside an idle GPU.
        let (problem, _) = choose(Backend::Auto, false, &[of_job("3", &[])], 0).unwrap_err();
        assert_eq!(problem, "the job has GPUs: no GPU is visible");
    }

    #[test]
    fn cuda_is_never_cpu() {
        let cuda = |places: &[Place]| choose(Backend::Cuda, false, places, 0);
        assert_eq!(cuda(&[place("a", &[])]).unwrap_err().1, "Ask for one.");
        assert!(cuda(&[place("a", &["GPU-1"]), place("b", &[])]).unwrap_err().0.starts_with("rank 1 on b: "));
        let twice = vec![place("a", &["GPU-1"]); 2];
        let (problem, fix) = cuda(&twice).unwrap_err();
        assert!(problem.contains("ranks 0 and 1 on a would share") && fix.contains("--share-gpu"), "{problem}: {fix}");
        let choice = choose(Backend::Cuda, true, &twice, 0).unwrap();
        assert_eq!(users(&twice, &choice.devices, 1).count(), 2);
        assert!(warnings(&twice, &choice.devices)[0].contains("ranks 0 and 1 share a GPU"));
        assert_eq!(choose(Backend::Cpu, false, &twice, 0).unwrap().devices, [None, None]);
    }

    #[test]
    fn devices_are_told_apart_by_their_uuid() {
        let cuda = |places: &[Place], first| choose(Backend::Cuda, false, places, first);
        // Slices of one card, each the first of its rank.
        let slices = [place("a", &["MIG-1"]), place("a", &["MIG-2"])];
        assert_eq!(uuids(&cuda(&slices, 0).unwrap()), [Some("MIG-1"), Some("MIG-2")]);
        // The same name on another node is another device.
        assert!(cuda(&[place("a", &["GPU-1"]), place("b", &["GPU-1"])], 0).is_ok());
        // A rank without a choice comes first.
        let places = [place("a", &["GPU-1", "GPU-2"]), place("a", &["GPU-1"])];
        assert_eq!(uuids(&cuda(&places, 0).unwrap()), [Some("GPU-2"), Some("GPU-1")]);
        // A leader takes none.
        let places = vec![place("a", &["GPU-1", "GPU-2"]); 3];
        assert_eq!(uuids(&cuda(&places, 1).unwrap()), [None, Some("GPU-1"), Some("GPU-2")]);
        assert!(cuda(&places, 0).is_err(), "three for two devices");
    }

    #[test]
    fn the_identity_tells_what_decides_bits() {
        let mut places = [place("a", &["GPU-1"]), place("b", &["GPU-2"])];
        let told = |places: &[Place]| {
            let choice = choose(Backend::Cuda, false, places, 0).unwrap();
            (identity(places, &choice.devices), warnings(places, &choice.devices).len())
        };
        assert_eq!(told(&places), ("compute capability 8.0, kernels 12ab, NVRTC 12.8".to_owned(), 0));
        places[1].sight.devices[0].capability = (9, 0);
        assert_eq!(told(&places), ("compute capability 8.0 and 9.0, kernels 12ab, NVRTC 12.8".to_owned(), 1));
        assert_eq!(identity(&places, &[None, None]), "");
    }

    #[test]
    fn exact_takes_devices_of_one_kind() {
        let exact = |places: &[Place]| exactly(places, &choose(Backend::Cuda, false, places, 0).unwrap().devices);
        let same = [place("a", &["GPU-1"]), place("b", &["GPU-2"])];
        assert_eq!(exact(&same), Ok(()));
        let mut other_gpu = same.clone();
        other_gpu[1].sight.devices[0].capability = (9, 0);
        let mut other_library = same.clone();
        other_library[0].sight.program.push_str(" and 12.9");
        for (places, part) in [(&other_gpu, "8.0 and 9.0"), (&other_library, "NVRTC 12.8 and ")] {
            let (problem, fix) = exact(places).unwrap_err();
            assert!(
                problem.starts_with("--exact: ") && problem.contains(part) && fix.contains("one kind"),
                "{problem}"
            );
        }
        // One rank with two compilers is no mixture, and CPUs are the same everywhere.
        assert_eq!(exact(&other_library[..1]), Ok(()));
        assert_eq!(exactly(&other_gpu, &[None, None]), Ok(()));
    }

    #[test]
    fn what_makes_devices_slower_is_told_once_or_with_the_nodes() {
        let mut places = [place("a", &["GPU-1"]), place("b", &["GPU-2"])];
        let told = |places: &[Place]| warnings(places, &choose(Backend::Cuda, false, places, 0).unwrap().devices);
        places[1].sight.slower = Some("no cuFFT".to_owned());
        assert_eq!(told(&places), ["b: no cuFFT"]);
        places[0].sight.slower = Some("no cuFFT".to_owned());
        assert_eq!(told(&places), ["no cuFFT"]);
        assert!(warnings(&places, &[None, None]).is_empty());
    }
}
