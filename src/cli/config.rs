//! `config show`: every setting with the file, variable or flag it came from.

use clap::Subcommand;
use figment::value::Value;

use crate::error::ExitCode;
use crate::error::Result;
use crate::plan::CLUSTER_TABLE;
use crate::plan::Cluster;
use crate::plan::JobFile;

use super::job::Job;
use super::job::JobArguments;
use super::screen::Screen;

#[derive(Subcommand, Debug)]
pub enum Verb {
    /// Show every setting and where it comes from
    Show(Box<JobArguments>),
}

pub fn run(verb: Verb, screen: &Screen) -> Result<ExitCode> {
    let Verb::Show(arguments) = verb;
    let layers = Job::load(*arguments)?.layers;
    let mut values = layers.values.set_values()?;
    let of_cluster = |key: String| format!("{CLUSTER_TABLE}.{key}");
    values.extend(layers.cluster.set_values()?.into_iter().map(|(key, value)| (of_cluster(key), value)));
    let keys = JobFile::keys().into_iter().filter(|key| !JobFile::is_hidden(key));
    let keys = keys.chain(Cluster::keys().into_iter().map(of_cluster));
    if screen.is_json() {
        let settings: serde_json::Map<String, serde_json::Value> = keys
            .map(|key| {
                let setting = serde_json::json!({ "value": values.get(&key), "source": layers.source(&key) });
                (key, setting)
            })
            .collect();
        screen.print_json(&settings)?;
        return Ok(ExitCode::Done);
    }
    let mut text = String::new();
    for key in keys {
        let value = values.get(&key).map_or_else(|| "-".to_string(), shown);
        text.push_str(&format!("{:<48} # {}\n", format!("{key} = {value}"), layers.source(&key)));
    }
    screen.print(&text)?;
    Ok(ExitCode::Done)
}

/// A value as `job.toml` writes it.
pub fn shown(value: &Value) -> String {
    match value {
        Value::String(_, text) => format!("{text:?}"),
        Value::Bool(_, flag) => flag.to_string(),
        Value::Num(_, number) => match (number.to_f64(), number.to_u128(), number.to_i128()) {
            (Some(real), None, None) => format!("{real:?}"),
            (_, Some(whole), _) => whole.to_string(),
            (_, _, Some(whole)) => whole.to_string(),
            _ => "-".to_string(),
        },
        Value::Array(_, values) => format!("[{}]", values.iter().map(shown).collect::<Vec<_>>().join(", ")),
        other => format!("{other:?}"),
    }
}
