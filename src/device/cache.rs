//! Where compiled kernels are kept between runs.

use std::path::PathBuf;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;

/// `$XDG_CACHE_HOME/relion-rs`, else `~/.cache/relion-rs`.
pub fn cache_folder() -> Result<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
    let cache = cache.ok_or_else(|| {
        Error::new(
            ExitCode::CannotCreate,
            "cache of kernels",
            "neither XDG_CACHE_HOME nor HOME names a folder",
            "Set one of them to a folder that you may write to.",
        )
    })?;
    Ok(cache.join("relion-rs"))
}
