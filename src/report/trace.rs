//! The top of the memory arena over time.

use super::chart::Axis;
use super::chart::Chart;
use super::chart::Series;
use super::figures::Figure;
use super::figures::MIB;
use super::figures::largest;
use super::figures::time_unit;
use super::gather::Run;
use super::scene::SERIES;

/// More points are not told apart on a chart.
const MOST_POINTS: usize = 4000;

/// Top of the arena over the whole run, and enlarged over its last iteration.
pub fn arena(run: &Run) -> [Option<Figure>; 2] {
    let caption = "Used bytes of the arena, from the beginning of the run. Iterations come and go in stack order.";
    let whole =
        trace(run, 0, "Top of the memory stack").map(|chart| Figure::new("memory", "Memory over time", caption, chart));
    let caption = "The same in the last iteration: batches of particles come and go within it, tiles within batches.";
    let last = trace(run, run.last_iteration_of_arena, "Top of the memory stack, last iteration")
        .map(|chart| Figure::new("memory-iteration", "Memory over an iteration", caption, chart));
    [whole, last.filter(|_| run.last_iteration_of_arena > 0)]
}

fn trace(run: &Run, first: usize, title: &str) -> Option<Chart> {
    let points = &run.arena[first..];
    let begin = if first == 0 { 0.0 } else { points.first()?[0] };
    let (unit, scale) = time_unit(points.last()?[0] - begin);
    let end = ((points.last()?[0] - begin) / scale).max(1e-3);
    let top = largest(points) / MIB;
    let reserved = run.finished.values().map(|f| f.arena_reserved_bytes).max().unwrap_or(0) as f64 / MIB;
    let mut x = Axis::linear(unit, 0.0, end);
    x.high = end;
    x.ticks.retain(|(value, _)| *value <= x.high * 1.0001);
    let mut chart = Chart::new(title, x, Axis::linear("MiB", 0.0, top.max(reserved)));
    let steps = steps(points).into_iter().map(|[at, top]| [(at - begin) / scale, top / MIB]).collect();
    chart.series(&Series { width: 1.2, dots: false, ..Series::new(SERIES[0], steps) });
    if reserved > 0.0 {
        chart.threshold(reserved, "reserved");
    }
    Some(chart)
}

/// The level of the top between its recorded points. A frame is recorded when it opens, before it takes its memory, and
/// just before it closes: from one point on the top is where the next one finds it.
fn steps(points: &[[f64; 2]]) -> Vec<[f64; 2]> {
    let stride = points.len().div_ceil(MOST_POINTS).max(1);
    let mut steps: Vec<[f64; 2]> = Vec::new();
    for chunk in points.chunks(stride) {
        // Of points that fall together the highest counts.
        let (end, high) = (chunk[chunk.len() - 1][0], largest(chunk));
        let begin = steps.last().map_or(chunk[0][0], |step| step[0]);
        steps.extend([[begin, high], [end, high]]);
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_counts_from_its_opening_to_its_closing() {
        // A run opens, a batch in it, which closes with 9 bytes on top.
        let points = [[0.0, 0.0], [1.0, 2.0], [5.0, 9.0], [6.0, 2.0], [6.0, 0.0]];
        let level =
            |at: f64| steps(&points).windows(2).filter(|w| w[0][0] <= at && at < w[1][0]).map(|w| w[0][1]).next_back();
        assert_eq!([0.5, 1.5, 4.9, 5.5].map(level), [2.0, 9.0, 9.0, 2.0].map(Some));
        let many: Vec<[f64; 2]> = (0..10 * MOST_POINTS).map(|i| [i as f64, (i % 7) as f64]).collect();
        assert!(steps(&many).len() <= 2 * MOST_POINTS && largest(&steps(&many)) == 6.0);
    }
}
