//! The comparison as a table and as a picture.

use crate::cli::bench::table::table;
use crate::report::Axis;
use crate::report::Chart;
use crate::report::SERIES;
use crate::report::Scale;

use super::compare::Row;
use super::compare::Side;

/// Whole iterations first, then the phases that take a hundredth of them or more.
pub fn text(rows: &[Row]) -> String {
    let mut cells = Vec::new();
    for row in rows {
        let [cpu, cuda] = [&row.cpu, &row.cuda].map(|side| side.as_ref().map(|side| side.seconds_per_iteration));
        cells.push(line(&row.case, row.ranks.to_string(), cpu, cuda, row.ratio));
        let sides = [&row.cpu, &row.cuda];
        let mut phases: Vec<&String> =
            sides.iter().copied().flatten().flat_map(|side| side.phase_seconds.keys()).collect();
        phases.sort();
        phases.dedup();
        for phase in phases {
            let [cpu, cuda] = sides.map(|side| side.as_ref().and_then(|side| side.phase_seconds.get(phase).copied()));
            let is_small = |side: &Option<Side>, seconds: Option<f64>| {
                side.as_ref().zip(seconds).is_none_or(|(side, seconds)| seconds < 0.01 * side.seconds_per_iteration)
            };
            if !(is_small(&row.cpu, cpu) && is_small(&row.cuda, cuda)) {
                cells.push(line(&format!("  {phase}"), String::new(), cpu, cuda, row.phase_ratios.get(phase).copied()));
            }
        }
    }
    table(["seconds an iteration", "ranks", "cpu", "cuda", "ratio"], &cells)
}

fn line(name: &str, ranks: String, cpu: Option<f64>, cuda: Option<f64>, ratio: Option<f64>) -> [String; 5] {
    let seconds = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"));
    let ratio = ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.1}"));
    [name.to_owned(), ranks, seconds(cpu), seconds(cuda), ratio]
}

/// Bars of seconds an iteration, on a scale of decades; the ratio is in the name of the pair.
pub fn chart(rows: &[Row]) -> Chart {
    let seconds = |row: &Row| [&row.cpu, &row.cuda].map(|side| side.as_ref().map(|side| side.seconds_per_iteration));
    let all = || rows.iter().flat_map(seconds).flatten();
    let (low, high) = (all().fold(f64::INFINITY, f64::min), all().fold(0.0, f64::max));
    let name = |row: &Row| match row.ratio {
        Some(ratio) => format!("{}: {ratio:.0}x", row.case),
        None => row.case.clone(),
    };
    let ticks = rows.iter().enumerate().map(|(i, row)| (i as f64, name(row))).collect();
    let x = Axis { label: String::new(), low: -0.5, high: rows.len().max(1) as f64 - 0.5, scale: Scale::Linear, ticks };
    // Half of the smallest, so that its bar is seen.
    let mut chart = Chart::new("Seconds an iteration", x, Axis::log("seconds", low / 2.0, high));
    chart.legend(&[("cpu", SERIES[0]), ("cuda", SERIES[1])]);
    for (i, row) in rows.iter().enumerate() {
        for (side, value) in seconds(row).into_iter().enumerate() {
            if let Some(value) = value {
                chart.stack(i as f64 + 0.3 * (side as f64 - 0.5), 0.28, &[(value, SERIES[side])]);
            }
        }
    }
    chart
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_that_is_not_there_is_a_dash() {
        let cpu = Side { seconds_per_iteration: 2.0, ..Side::default() };
        let rows = [Row { case: "class3d single".to_owned(), ranks: 1, cpu: Some(cpu), ..Row::default() }];
        let text = text(&rows);
        let last: Vec<&str> = text.lines().next_back().unwrap().split_whitespace().collect();
        assert_eq!(last, ["class3d", "single", "1", "2.000", "-", "-"]);
    }
}
