//! The definitions of all verbs and flags, with what their declarations cannot say.

use clap::Arg;
use clap::Command;
use clap::CommandFactory;
use figment::value::Value;

use crate::plan::Cluster;
use crate::plan::JobFile;
use crate::plan::JobKind;
use crate::plan::defaults;

use super::config::shown;
use super::verbs::Cli;

const DRILLED_JOB: &str = "refine3d or class3d, or your own job: a job file, or a folder with a job.toml";

/// The program's words: what is parsed, helped with, completed and documented.
pub fn command() -> Command {
    let [refinement, classification] =
        [JobKind::Refine3d, JobKind::Class3d].map(|kind| defaults(kind).set_values().unwrap_or_default());
    let (keys, of_cluster) = (JobFile::keys(), Cluster::keys());
    let cluster = Cluster::defaults().set_values().unwrap_or_default();
    // It has a job of its own.
    let words = Cli::command().mut_subcommand("drill", |drill| drill.mut_arg("job", |job| job.help(DRILLED_JOB)));
    complete(words, &|argument| {
        let name = argument.get_id().to_string();
        let of = |known: &[String]| argument.get_help_heading().is_some() && known.contains(&name);
        let (usual, other) = match (of(&keys), of(&of_cluster)) {
            (true, _) => (refinement.get(&name), classification.get(&name)),
            (_, true) => (cluster.get(&name), cluster.get(&name)),
            _ => return argument,
        };
        let default = default_text(usual, other);
        let help = format!("{}{default}", argument.get_help().map(ToString::to_string).unwrap_or_default());
        let is_switch = matches!(usual, Some(Value::Bool(..)));
        // Two lines about true and false for each switch would bury the rest.
        argument.help(help).hide_possible_values(is_switch)
    })
}

fn complete(command: Command, change: &dyn Fn(Arg) -> Arg) -> Command {
    let command = command.mut_args(|argument| {
        let takes_value = argument.get_long().is_some() && argument.get_action().takes_values();
        // A negative number is looked at by the check of its key, which knows what to give instead.
        change(if takes_value { argument.allow_negative_numbers(true) } else { argument })
    });
    command.mut_subcommands(|verb| complete(verb, change))
}

/// ` [default: 25]`, ` [default: 999; class3d: 25]`; nothing where there is no default or an empty one.
fn default_text(refinement: Option<&Value>, classification: Option<&Value>) -> String {
    let text = |value: Option<&Value>| {
        let text = value.filter(|value| !matches!(value, Value::Array(..))).map(shown).unwrap_or_default();
        text.trim_matches('"').trim_end_matches(".0").to_string()
    };
    let (usual, other) = (text(refinement), text(classification));
    match (usual.is_empty(), usual == other) {
        (true, _) => String::new(),
        (_, true) => format!(" [default: {usual}]"),
        (_, false) => format!(" [default: {usual}; class3d: {other}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn help(verb: &str, flag: &str) -> String {
        let mut root = command();
        root.build();
        let flag = root.find_subcommand(verb).unwrap().get_arguments().find(|a| a.get_long() == Some(flag)).unwrap();
        flag.get_help().unwrap().to_string()
    }

    #[test]
    fn keys_tell_their_defaults() {
        assert!(help("run", "ini-high").ends_with("[default: 60]"));
        assert!(help("plan", "tau2-fudge").ends_with("[default: 1; class3d: 4]"));
        assert!(help("new", "gridding").ends_with("[default: false]"));
        assert!(!help("run", "mask").contains("default") && !help("run", "particles").contains("default"));
        assert!(!help("simulate", "map").contains("default"));
    }

    #[test]
    fn a_negative_number_reaches_its_check() {
        for words in ["run refine3d --diameter -5", "simulate --map m --out o --snr -1", "mask m --extend -2 --out o"] {
            assert!(command().try_get_matches_from(format!("relion-rs {words}").split(' ')).is_ok(), "{words}");
        }
        assert!(command().try_get_matches_from(["relion-rs", "run", "-5"]).is_err());
    }
}
