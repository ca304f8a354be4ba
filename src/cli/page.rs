//! The text of `docs/cli.md`, from the same definitions as `--help`.

use clap::Command;

use super::words::command;

/// Verbs that share all keys of a job; the table of keys is printed once.
const JOB_HEADINGS: [&str; 6] =
    ["Input and output", "The particle", "The method", "Contrast transfer", "Sampling", "Computing"];

/// The page.
pub fn page() -> String {
    let mut root = command();
    root.build();
    let mut text = String::from(
        "# Command line\n\nMade from the definitions of the flags; `make bless` writes it anew.\n\n\
         Keys of a job are flags, `job.toml` keys (`--ini-high` is `ini_high`) and variables (`RELION_RS_INI_HIGH`).\n\
         `--json`, everywhere, writes results and errors as JSON.\n",
    );
    verbs(&root, "relion-rs", &mut text);
    text.push_str("\n## Keys of a job\n");
    let run = root.find_subcommand("run").expect("the verb `run` exists");
    for heading in JOB_HEADINGS {
        text.push_str(&format!("\n### {heading}\n\n| flag | |\n|---|---|\n"));
        for flag in run.get_arguments().filter(|flag| flag.get_help_heading() == Some(heading) && !flag.is_hide_set()) {
            text.push_str(&row(flag));
        }
    }
    text
}

fn verbs(command: &Command, path: &str, text: &mut String) {
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help") {
        let path = format!("{path} {}", verb.get_name());
        if verb.has_subcommands() {
            verbs(verb, &path, text);
            continue;
        }
        let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
        let has_keys = verb.get_arguments().any(|flag| flag.get_help_heading() == Some(JOB_HEADINGS[0]));
        let mut usage = path.clone();
        for argument in verb.get_positionals() {
            let name = argument.get_value_names().and_then(|names| names.first()).map_or("", |name| name.as_str());
            let is_needed = argument.is_required_set();
            usage.push_str(&if is_needed { format!(" {name}") } else { format!(" [{name}]") });
        }
        usage.push_str(if has_keys { " [keys of a job]" } else { "" });
        text.push_str(&format!("\n## `{path}`\n\n{about}.\n\n    {usage}\n\n| argument | |\n|---|---|\n"));
        let own = |flag: &&clap::Arg| {
            let is_key = flag.get_help_heading().is_some_and(|heading| JOB_HEADINGS.contains(&heading));
            let is_common = ["help", "version", "json"].contains(&flag.get_id().as_str());
            !is_key && !is_common && !flag.is_hide_set()
        };
        for flag in verb.get_arguments().filter(own) {
            text.push_str(&row(flag));
        }
        if !verb.get_arguments().any(|flag| own(&flag)) {
            // A table without rows reads as a mistake.
            text.truncate(text.len() - "\n| argument | |\n|---|---|\n".len());
        }
    }
}

fn row(flag: &clap::Arg) -> String {
    let value = flag.get_value_names().and_then(|names| names.first()).map(|name| name.to_string());
    let takes_value = flag.get_action().takes_values();
    let name = match (flag.get_long(), value) {
        (Some(long), Some(value)) if takes_value => format!("--{long} {value}"),
        (Some(long), _) => format!("--{long}"),
        (None, value) => value.unwrap_or_default(),
    };
    let mut help = flag.get_help().map(ToString::to_string).unwrap_or_default();
    let choices: Vec<String> = flag.get_possible_values().iter().map(|choice| choice.get_name().to_string()).collect();
    if takes_value && !choices.is_empty() && !flag.is_hide_possible_values_set() {
        // Before the default, which stands at the end.
        let (text, default) = help.split_at(help.find(" [default: ").unwrap_or(help.len()));
        help = format!("{text}: {}{default}", choices.join(", "));
    }
    let defaults: Vec<String> =
        flag.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
    if takes_value && defaults.iter().any(|value| !value.is_empty()) {
        help.push_str(&format!(" (default `{}`)", defaults.join(" ")));
    }
    format!("| `{name}` | {help} |\n")
}
