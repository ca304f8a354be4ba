//! The module file of a version, from the templates in `slurm/`.

use std::path::Path;

use serde::Deserialize;
use serde::Serialize;

/// Lmod reads both kinds and prefers Lua within one folder; environment-modules reads Tcl only. So each has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModuleKind {
    Tcl,
    Lua,
}

impl ModuleKind {
    /// The folder below the prefix where nobody names another.
    pub fn usual_folder(self) -> &'static str {
        match self {
            Self::Tcl => "modulefiles",
            Self::Lua => "modulefiles-lua",
        }
    }

    /// Name of a version's file.
    pub(super) fn file_name(self, version: &str) -> String {
        match self {
            Self::Tcl => version.to_owned(),
            Self::Lua => format!("{version}.lua"),
        }
    }

    /// The version that a file of this name is for.
    pub(super) fn version_of(self, file_name: &str) -> Option<&str> {
        let name = match self {
            Self::Tcl => file_name,
            Self::Lua => file_name.strip_suffix(".lua")?,
        };
        name.starts_with(|first: char| first.is_ascii_digit()).then_some(name)
    }

    /// The text for a version that lies in `root`.
    pub fn text(self, version: &str, root: &Path) -> String {
        let root = root.to_string_lossy();
        match self {
            Self::Tcl => {
                let head = |text: &str| text.replacen("## relion-rs @version@", &format!("## relion-rs {version}"), 1);
                let text = head(include_str!("../../slurm/modulefile.tcl"));
                text.replace("@version@", &tcl_word(version)).replace("@root@", &tcl_word(&root))
            }
            Self::Lua => {
                let head = |text: &str| text.replacen("-- relion-rs @version@", &format!("-- relion-rs {version}"), 1);
                let text = head(include_str!("../../slurm/modulefile.lua"));
                text.replace("@version@", &lua_word(version)).replace("@root@", &lua_word(&root))
            }
        }
    }
}

/// The file that names the default version of a module.
pub(super) fn default_text(version: &str) -> String {
    format!("#%Module1.0\n{DEFAULT_MARK}\nset ModulesVersion {}\n", tcl_word(version))
}

/// A file without this line was written by somebody else and is left alone.
pub(super) const DEFAULT_MARK: &str = "## The newest version; written by `relion-rs module install`.";

/// A string in double quotes, in which nothing is substituted.
fn tcl_word(text: &str) -> String {
    let mut word = String::from("\"");
    for c in text.chars() {
        if "\\\"$[]{}".contains(c) {
            word.push('\\');
        }
        word.push(c);
    }
    word + "\""
}

fn lua_word(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
