//! Settings of usual clusters, to start a site file from. `module install` copies one.

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::plan::nearest;

/// A file of `config/sites`.
#[derive(Clone, Copy, Debug)]
pub struct Profile {
    pub name: &'static str,
    pub text: &'static str,
}

pub const PROFILES: [Profile; 5] = [
    Profile { name: "generic", text: include_str!("../../config/sites/generic.toml") },
    Profile { name: "srun-pmix", text: include_str!("../../config/sites/srun-pmix.toml") },
    Profile { name: "gres-mpirun", text: include_str!("../../config/sites/gres-mpirun.toml") },
    Profile { name: "cpu-only", text: include_str!("../../config/sites/cpu-only.toml") },
    Profile { name: "sandbox", text: include_str!("../../config/sites/sandbox.toml") },
];

/// The profile of this name.
///
/// # Errors
/// `Usage` when there is none.
pub fn profile(name: &str) -> Result<&'static Profile> {
    let names = PROFILES.iter().map(|profile| profile.name);
    PROFILES.iter().find(|profile| profile.name == name).ok_or_else(|| {
        let list = names.clone().collect::<Vec<_>>().join(", ");
        let meant = nearest(name, names).map_or_else(String::new, |other| format!("Did you mean `{other}`? "));
        Error::new(
            ExitCode::Usage,
            format!("--profile {name}"),
            "is neither a profile nor a file",
            format!("{meant}The profiles are {list}; or name a site file of your own."),
        )
    })
}
