//! The figures of a report, each from the data it needs; a figure without data is left out.

use std::collections::BTreeMap;

use crate::plan::progress::IterationFinished;

use super::chart::Axis;
use super::chart::Chart;
use super::chart::Scale;
use super::chart::Series;
use super::coverage;
use super::gather::Facts;
use super::gather::Run;
use super::scene::Anchor;
use super::scene::MUTED;
use super::scene::SERIES;
use super::scene::Scene;
use super::scene::blend;
use super::slices;
use super::trace;

/// Gold standard of resolution between half maps.
const FSC_THRESHOLD: f64 = 0.143;
/// Data-versus-prior ratios below this say no more than that there is no signal.
const SMALLEST_RATIO: f64 = 0.01;
pub const MIB: f64 = 1024.0 * 1024.0;

pub struct Figure {
    /// Of its PNG file.
    pub name: &'static str,
    pub title: &'static str,
    pub caption: String,
    pub scene: Scene,
}

impl Figure {
    pub fn new(name: &'static str, title: &'static str, caption: &str, chart: Chart) -> Self {
        Self { name, title, caption: caption.to_owned(), scene: chart.scene }
    }
}

pub fn figures(run: &Run) -> Vec<Figure> {
    let drawn = [
        slices_figure(run),
        fourier_shell_correlation(run),
        signal_to_noise(run),
        resolution(run),
        image_size(run),
        angular_coverage(run),
        max_probability(run),
        class_shares(run),
        phases(run),
        weights(run),
    ];
    drawn.into_iter().chain(trace::arena(run)).flatten().collect()
}

/// Iterations with something to show (the zeroth, before any particle was looked at, has no resolution).
fn per_iteration(run: &Run, value: impl Fn(&Facts) -> f64) -> Vec<[f64; 2]> {
    let points = run.iterations.iter().filter(|(iteration, _)| **iteration > 0);
    points.map(|(&iteration, facts)| [f64::from(iteration), value(facts)]).filter(|p| p[1].is_finite()).collect()
}

pub fn largest<'a>(points: impl IntoIterator<Item = &'a [f64; 2]>) -> f64 {
    points.into_iter().map(|p| p[1]).fold(0.0, f64::max)
}

fn iteration_axis<'a>(points: impl IntoIterator<Item = &'a [f64; 2]>) -> Option<Axis> {
    let (low, high) =
        points.into_iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), p| (l.min(p[0]), h.max(p[0])));
    low.is_finite().then(|| Axis::iterations(low, high))
}

/// Shells on an axis of spatial frequency, labelled by the resolution in Angstrom.
fn resolution_axis(run: &Run) -> Axis {
    let extent = run.box_pixels as f64 * run.pixel_size_angstrom;
    let last = run.box_pixels as f64 / 2.0;
    let ticks = (1..=6).map(|i| last * f64::from(i) / 6.0).map(|s| (s, format!("{:.1}", extent / s))).collect();
    Axis { label: "resolution (Å)".into(), low: 0.0, high: last, scale: Scale::Linear, ticks }
}

fn shells(curve: &[f64]) -> Vec<[f64; 2]> {
    curve.iter().enumerate().map(|(shell, &value)| [shell as f64, value]).collect()
}

/// Without the zeros beyond the window of the transforms.
fn measured(fsc: &[f64]) -> &[f64] {
    let end = fsc.iter().rposition(|v| *v != 0.0).map_or(0, |last| last + 1);
    &fsc[..end]
}

fn fourier_shell_correlation(run: &Run) -> Option<Figure> {
    let with_halves = |facts: &&Facts| facts.fsc.iter().any(|v| *v > 0.0);
    let earlier: Vec<(&u32, &Facts)> =
        run.iterations.iter().filter(|(i, facts)| **i > 0 && with_halves(facts)).collect();
    let (last_name, last) = match (&run.last, earlier.last()) {
        (Some(facts), _) if with_halves(&facts) => ("final".to_owned(), facts),
        (_, Some((iteration, facts))) => (format!("iteration {iteration}"), *facts),
        _ => return None,
    };
    let mut chart =
        Chart::new("Fourier shell correlation of the half maps", resolution_axis(run), Axis::linear("FSC", 0.0, 1.0));
    let (first_colour, last_colour) = ([0xd7, 0xe3, 0xf0], [0x7f, 0xa9, 0xd6]);
    for (i, (_, facts)) in earlier.iter().enumerate() {
        let age = i as f64 / (earlier.len().max(2) - 1) as f64;
        let colour = blend(first_colour, last_colour, age);
        chart.series(&Series { width: 1.2, dots: false, ..Series::new(colour, shells(measured(&facts.fsc))) });
    }
    chart.series(&Series { width: 2.4, dots: false, ..Series::new(SERIES[1], shells(measured(&last.fsc))) });
    chart.threshold(FSC_THRESHOLD, "0.143");
    let first_name = earlier.first().map_or_else(String::new, |(i, _)| format!("iteration {i}"));
    chart.legend(&[(&first_name, first_colour), ("later", last_colour), (&last_name, SERIES[1])]);
    let caption = "Without a mask. Iterations from light to dark, the last state on top.";
    Some(Figure::new("fsc", "Fourier shell correlation", caption, chart))
}

fn signal_to_noise(run: &Run) -> Option<Figure> {
    let facts = run.best()?;
    if facts.fsc.iter().any(|v| *v > 0.0) {
        return None;
    }
    let y = Axis::log("ratio", SMALLEST_RATIO, 1000.0);
    let mut chart = Chart::new("Signal of the data against the prior, by class", resolution_axis(run), y);
    let names: Vec<String> = (1..=facts.ssnr.len()).map(|k| format!("class {k}")).collect();
    let mut entries = Vec::new();
    for (k, curve) in facts.ssnr.iter().enumerate() {
        let colour = SERIES[k % SERIES.len()];
        let visible = shells(curve).into_iter().filter(|p| p[1] >= SMALLEST_RATIO).collect();
        chart.series(&Series { dots: false, ..Series::new(colour, visible) });
        if k < SERIES.len() {
            entries.push((names[k].as_str(), colour));
        }
    }
    chart.threshold(1.0, "1");
    chart.legend(&entries);
    let caption = "Data-versus-prior ratio of the last iteration; the resolution is where it falls below 1.";
    Some(Figure::new("signal", "Signal against prior", caption, chart))
}

fn resolution(run: &Run) -> Option<Figure> {
    let points = per_iteration(run, |facts| facts.resolution_angstrom);
    let x = iteration_axis(&points)?;
    let mut chart = Chart::new("Resolution", x, Axis::linear("Å", 0.0, largest(&points)));
    chart.series(&Series::new(SERIES[0], points));
    Some(Figure::new(
        "resolution",
        "Resolution by iteration",
        "Of the model that the next iteration starts from; smaller is finer.",
        chart,
    ))
}

fn image_size(run: &Run) -> Option<Figure> {
    let fine = per_iteration(run, |facts| facts.current_size);
    let coarse: Vec<[f64; 2]> =
        run.finished.values().map(|f| [f64::from(f.iteration), f.coarse_size as f64]).filter(|p| p[1] > 0.0).collect();
    let x = iteration_axis(fine.iter().chain(&coarse))?;
    let mut chart = Chart::new("Image size", x, Axis::linear("pixels", 0.0, run.box_pixels as f64));
    chart.threshold(run.box_pixels as f64, "box");
    chart.series(&Series::new(SERIES[0], fine));
    let mut entries = vec![("second pass", SERIES[0])];
    if !coarse.is_empty() {
        chart.series(&Series::new(SERIES[1], coarse));
        entries.insert(0, ("first pass", SERIES[1]));
    }
    chart.legend(&entries);
    Some(Figure::new(
        "size",
        "Image size by iteration",
        "Window of the transforms in the two passes of the search.",
        chart,
    ))
}

fn max_probability(run: &Run) -> Option<Figure> {
    let points = per_iteration(run, |facts| facts.average_max_probability);
    let x = iteration_axis(&points)?;
    let mut chart = Chart::new("Mean probability of the best pose (Pmax)", x, Axis::linear("Pmax", 0.0, 1.0));
    chart.series(&Series::new(SERIES[0], points));
    Some(Figure::new("pmax", "Certainty of the poses", "1 when every particle has a single pose.", chart))
}

fn class_shares(run: &Run) -> Option<Figure> {
    let classes = run.best()?.class_shares.len();
    let all: Vec<[f64; 2]> = per_iteration(run, |_| 1.0);
    if classes < 2 {
        return None;
    }
    let mut chart =
        Chart::new("Share of the particles, by class", iteration_axis(&all)?, Axis::linear("share", 0.0, 1.0));
    for (&iteration, facts) in run.iterations.iter().filter(|(i, _)| **i > 0) {
        let parts: Vec<_> =
            facts.class_shares.iter().enumerate().map(|(k, &s)| (s, SERIES[k % SERIES.len()])).collect();
        chart.stack(f64::from(iteration), 0.7, &parts);
    }
    let names: Vec<String> = (1..=classes.min(SERIES.len())).map(|k| format!("class {k}")).collect();
    chart.legend(&names.iter().zip(SERIES).map(|(name, colour)| (name.as_str(), colour)).collect::<Vec<_>>());
    Some(Figure::new("classes", "Classes", "From the bottom: class 1, class 2 and so on.", chart))
}

fn phases(run: &Run) -> Option<Figure> {
    let mut totals: BTreeMap<&str, f64> = BTreeMap::new();
    for (name, seconds) in run.finished.values().flat_map(|f| &f.phase_seconds) {
        *totals.entry(name).or_default() += seconds;
    }
    // The longest phases have a colour of their own.
    let mut order: Vec<(&str, f64)> = totals.into_iter().collect();
    order.sort_by(|a, b| b.1.total_cmp(&a.1));
    let shown = order.len().min(SERIES.len() - 1);
    let longest = run.finished.values().map(|f| f.phase_seconds.values().sum()).fold(0.0, f64::max);
    let (unit, scale) = time_unit(longest);
    let parts = |f: &IterationFinished| {
        let of = |name: &str| f.phase_seconds.get(name).copied().unwrap_or(0.0) / scale;
        let mut parts: Vec<_> = (0..shown).map(|i| (of(order[i].0), SERIES[i])).collect();
        parts.push((order[shown..].iter().map(|(name, _)| of(name)).sum(), SERIES[SERIES.len() - 1]));
        parts
    };
    let totals: Vec<[f64; 2]> = run
        .finished
        .values()
        .map(|f| [f64::from(f.iteration), f.phase_seconds.values().sum::<f64>() / scale])
        .collect();
    let x = iteration_axis(&totals)?;
    if largest(&totals) <= 0.0 {
        return None;
    }
    let mut chart = Chart::new("Time", x, Axis::linear(unit, 0.0, largest(&totals)));
    run.finished.values().for_each(|f| chart.stack(f64::from(f.iteration), 0.7, &parts(f)));
    let mut entries: Vec<(&str, _)> = (0..shown).map(|i| (order[i].0, SERIES[i])).collect();
    if shown < order.len() {
        entries.push(("other", SERIES[SERIES.len() - 1]));
    }
    chart.legend(&entries);
    Some(Figure::new("time", "Time by phase", "Wall-clock time of each iteration.", chart))
}

fn weights(run: &Run) -> Option<Figure> {
    let of = |bytes: fn(&IterationFinished) -> u64| -> Vec<[f64; 2]> {
        run.finished.values().map(|f| [f64::from(f.iteration), bytes(f) as f64 / MIB]).filter(|p| p[1] > 0.0).collect()
    };
    let (dense, csr, blocks) =
        (of(|f| f.weights.dense_bytes), of(|f| f.weights.csr_bytes), of(|f| f.weights.blocks_bytes));
    let all: Vec<[f64; 2]> = [&dense, &csr, &blocks].into_iter().flatten().copied().collect();
    let x = iteration_axis(&all)?;
    let smallest = all.iter().map(|p| p[1]).fold(f64::INFINITY, f64::min);
    let mut chart = Chart::new("Weights of one particle, largest of any", x, Axis::log("MiB", smallest, largest(&all)));
    let entries = [("dense", SERIES[4]), ("rows (CSR)", SERIES[1]), ("blocks of 32", SERIES[0])];
    for (points, (_, colour)) in [dense, csr, blocks].into_iter().zip(entries) {
        chart.series(&Series::new(colour, points));
    }
    chart.legend(&entries);
    let caption = "What the fine weights took (blocks), and what they would take as a dense or a compressed-row array.";
    Some(Figure::new("weights", "Memory of the weights", caption, chart))
}

/// A unit in which so many seconds are a number that is easy to read, and its length in seconds.
pub fn time_unit(seconds: f64) -> (&'static str, f64) {
    match seconds {
        s if s > 3.0 * 3600.0 => ("hours", 3600.0),
        s if s > 300.0 => ("minutes", 60.0),
        _ => ("seconds", 1.0),
    }
}

fn angular_coverage(run: &Run) -> Option<Figure> {
    if run.views.iter().map(|view| view.weight).sum::<f64>() <= 0.0 {
        return None;
    }
    const WIDTH: f64 = 480.0;
    let mut scene = Scene::new(560.0, 330.0);
    scene.heading([12.0, 18.0], "Viewing directions");
    let largest = coverage::draw(&mut scene, [40.0, 34.0], WIDTH, &run.views, run.view_spread_degrees);
    for i in 0..200 {
        let at = [180.0 + f64::from(i), 296.0];
        // Each reaches under the next: no seams.
        scene.rectangle(at, [3.0_f64.min(200.0 - f64::from(i)), 10.0], coverage::colour_of(f64::from(i) / 199.0));
    }
    scene.text([172.0, 305.0], Anchor::End, MUTED, "none");
    scene.text([388.0, 305.0], Anchor::Start, MUTED, format!("{largest:.1} x the mean"));
    let caption = "Density of the directions from which particles look, in the Hammer projection (equal areas; z is up). \
                   With a point group only its asymmetric unit is filled.";
    Some(Figure { name: "directions", title: "Angular coverage", caption: caption.to_owned(), scene })
}

fn slices_figure(run: &Run) -> Option<Figure> {
    const SIDE: f64 = 176.0;
    const GAP: f64 = 10.0;
    // More maps than this make the page long and the figure no clearer.
    const MOST_MAPS: usize = 8;
    let maps = &run.maps[..run.maps.len().min(MOST_MAPS)];
    if maps.is_empty() {
        return None;
    }
    let row_height = SIDE + 56.0;
    let mut scene = Scene::new(12.0 + 3.0 * (SIDE + GAP), 8.0 + row_height * maps.len() as f64);
    for (row, (name, map)) in maps.iter().enumerate() {
        let top = row as f64 * row_height;
        scene.heading([12.0, top + 18.0], name.as_str());
        for (column, (plane, pixels)) in slices::central(map).into_iter().enumerate() {
            let left = 12.0 + column as f64 * (SIDE + GAP);
            scene.image([left, top + 28.0], [SIDE, SIDE], pixels);
            scene.text([left + SIDE / 2.0, top + SIDE + 42.0], Anchor::Middle, MUTED, plane);
        }
    }
    let caption = "The three planes through the centre of the box.".to_owned();
    Some(Figure { name: "slices", title: "Central slices", caption, scene })
}
