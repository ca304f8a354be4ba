//! What a drill tells.

use crate::cli::screen::counted;

use super::Outcome;
use super::Verdict;

/// Points and codes that are told of a run; the rest is counted.
const MOST_TOLD: usize = 3;

/// One interruption, when it is over.
pub fn line(outcome: &Outcome) -> String {
    format!("{}: {}", outcome.interruption, words(&outcome.verdict))
}

/// All of them.
pub fn table(outcomes: &[Outcome], files: usize) -> String {
    let head = ["interruption", "after", "at", "ended with", "repeated", "resumes", "files"].map(str::to_owned);
    let mut rows = vec![head];
    rows.extend(outcomes.iter().map(row));
    let widths: Vec<usize> =
        (0..rows[0].len()).map(|c| rows.iter().map(|row| row[c].len()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    let bad = outcomes.iter().filter(|outcome| !outcome.verdict.is_good()).count();
    let late = outcomes.iter().filter(|outcome| matches!(outcome.verdict, Verdict::NotInterrupted { .. })).count();
    text.push('\n');
    text.push_str(&match bad {
        0 if late == outcomes.len() => "no run was interrupted: each had ended before\n".to_owned(),
        0 => {
            let interruptions = counted(outcomes.len() - late, "interruption");
            let others = if late > 0 { format!("; {late} more came too late") } else { String::new() };
            format!("all {files} files are the same after {interruptions}{others}\n")
        }
        _ => format!("{bad} of {} went wrong\n", counted(outcomes.len(), "interruption")),
    });
    for outcome in outcomes {
        if let Verdict::Differ { differing } = &outcome.verdict {
            text.push_str(&format!("\n{}: not as in the uninterrupted run:\n", outcome.interruption));
            differing.iter().for_each(|name| text.push_str(&format!("  {name}\n")));
        }
        if let Some(folder) = &outcome.folder {
            text.push_str(&format!("{}: kept in {}\n", outcome.interruption, folder.display()));
        }
    }
    text
}

fn row(outcome: &Outcome) -> [String; 7] {
    let starts = &outcome.starts;
    let after = starts.iter().filter_map(|start| start.interrupted_after_seconds).map(|time| format!("{time:.1} s"));
    let at = starts.iter().filter_map(|start| start.interrupted_at);
    let at = at.map(|point| format!("iteration {}, {}", point.iteration, point.particles));
    let repeated: usize = starts.iter().map(|start| start.repeated_particles).sum();
    [
        outcome.interruption.to_owned(),
        some(after),
        some(at),
        some(starts.iter().map(|start| start.ended_with.clone())),
        repeated.to_string(),
        starts.len().saturating_sub(1).to_string(),
        words(&outcome.verdict),
    ]
}

/// The first few, and how many more there are.
fn some(words: impl Iterator<Item = String>) -> String {
    let words: Vec<String> = words.collect();
    match words.len() {
        0 => "-".to_owned(),
        count if count <= MOST_TOLD => words.join("; "),
        count => format!("{}; {} more", words[..MOST_TOLD - 1].join("; "), count + 1 - MOST_TOLD),
    }
}

fn words(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Equal { files } => format!("{files} equal"),
        Verdict::NotInterrupted { files } => format!("{files} equal, but the run had ended before"),
        Verdict::Differ { differing } => format!("{} DIFFER: {}", differing.len(), some(differing.iter().cloned())),
        Verdict::Failed { problem } => format!("FAILED: {problem}"),
    }
}
