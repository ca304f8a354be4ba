//! One chart: axes with round numbers, lines or stacked bars, a legend.

use super::scene::Anchor;
use super::scene::Colour;
use super::scene::GRID;
use super::scene::INK;
use super::scene::MUTED;
use super::scene::Scene;

pub const WIDTH: f64 = 560.0;
pub const HEIGHT: f64 = 300.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 44.0;

#[derive(Clone, Debug)]
pub struct Series {
    pub points: Vec<[f64; 2]>,
    pub colour: Colour,
    pub width: f64,
    pub dots: bool,
}

impl Series {
    pub fn new(colour: Colour, points: Vec<[f64; 2]>) -> Self {
        let points = points.into_iter().filter(|p| p.iter().all(|v| v.is_finite())).collect();
        Self { points, colour, width: 1.8, dots: true }
    }
}

/// How numbers become places.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    Linear,
    /// Decades.
    Log,
}

#[derive(Clone, Debug)]
pub struct Axis {
    pub label: String,
    pub low: f64,
    pub high: f64,
    pub scale: Scale,
    /// Place and text.
    pub ticks: Vec<(f64, String)>,
}

impl Axis {
    /// From `low` to a round number at or above `high`.
    pub fn linear(label: &str, low: f64, high: f64) -> Self {
        let step = round_step((high - low).max(f64::MIN_POSITIVE) / 5.0);
        let end = low + ((high - low) / step - 1e-9).ceil().max(1.0) * step;
        let count = ((end - low) / step).round() as usize;
        let ticks = (0..=count).map(|i| low + i as f64 * step).map(|v| (v, number(v, step))).collect();
        Self { label: label.to_owned(), low, high: end, scale: Scale::Linear, ticks }
    }

    /// Whole decades around positive values.
    pub fn log(label: &str, low: f64, high: f64) -> Self {
        let (from, to) = (low.max(f64::MIN_POSITIVE).log10().floor(), high.max(f64::MIN_POSITIVE).log10().ceil());
        let to = to.max(from + 1.0);
        let stride = (((to - from) / 6.0).ceil() as usize).max(1);
        let decades = (from as i32..=to as i32).step_by(stride);
        let ticks = decades.map(|e| (10f64.powi(e), decade(e))).collect();
        Self { label: label.to_owned(), low: 10f64.powf(from), high: 10f64.powf(to), scale: Scale::Log, ticks }
    }

    /// Iterations: whole numbers, half a step of room on both sides.
    pub fn iterations(first: f64, last: f64) -> Self {
        let step = round_step(((last - first) / 12.0).max(1.0)).max(1.0);
        let start = (first / step).ceil() * step;
        let count = ((last - start) / step).floor().max(0.0) as usize;
        let ticks = (0..=count).map(|i| start + i as f64 * step).map(|v| (v, number(v, step))).collect();
        Self { label: "iteration".into(), low: first - 0.5, high: last + 0.5, scale: Scale::Linear, ticks }
    }

    fn share(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Log => (value.max(self.low) / self.low).ln() / (self.high / self.low).ln(),
        }
    }
}

/// 1, 2 or 5 times a power of ten, at least `step`.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|&s| s >= step * (1.0 - 1e-9)).unwrap_or(10.0 * power)
}

fn number(value: f64, step: f64) -> String {
    let decimals = (-step.log10().floor()).clamp(0.0, 6.0) as usize;
    format!("{:.decimals$}", if value.abs() < step / 1e6 { 0.0 } else { value })
}

fn decade(exponent: i32) -> String {
    match exponent {
        -3..=3 => number(10f64.powi(exponent), 10f64.powi(exponent)),
        _ => format!("1e{exponent}"),
    }
}

pub struct Chart {
    pub scene: Scene,
    x: Axis,
    y: Axis,
    legend_end: f64,
}

impl Chart {
    pub fn new(title: &str, x: Axis, y: Axis) -> Self {
        let mut chart = Self { scene: Scene::new(WIDTH, HEIGHT), x, y, legend_end: WIDTH - RIGHT };
        chart.scene.heading([12.0, 18.0], title);
        for (value, text) in chart.y.ticks.clone() {
            let y = chart.place([chart.x.low, value])[1];
            chart.scene.line(vec![[LEFT, y], [WIDTH - RIGHT, y]], GRID, 1.0);
            chart.scene.text([LEFT - 8.0, y + 4.0], Anchor::End, MUTED, text);
        }
        for (value, text) in chart.x.ticks.clone() {
            let at = chart.place([value, chart.y.low]);
            chart.scene.line(vec![at, [at[0], at[1] + 4.0]], MUTED, 1.0);
            chart.scene.text([at[0], at[1] + 18.0], Anchor::Middle, MUTED, text);
        }
        let base = HEIGHT - BOTTOM;
        chart.scene.line(vec![[LEFT, base], [WIDTH - RIGHT, base]], MUTED, 1.0);
        let (x_label, y_label) = (chart.x.label.clone(), chart.y.label.clone());
        chart.scene.text([WIDTH - RIGHT, HEIGHT - 8.0], Anchor::End, MUTED, x_label);
        chart.scene.text([12.0, TOP - 9.0], Anchor::Start, MUTED, y_label);
        chart
    }

    fn place(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        let (across, up) = (self.x.share(x), self.y.share(y));
        let base = HEIGHT - BOTTOM;
        [LEFT + across * (WIDTH - RIGHT - LEFT), base - up.clamp(-0.02, 1.02) * (base - TOP)]
    }

    pub fn series(&mut self, series: &Series) {
        let points: Vec<[f64; 2]> = series.points.iter().map(|&p| self.place(p)).collect();
        self.scene.line(points.clone(), series.colour, series.width);
        if series.dots {
            points.into_iter().for_each(|at| self.scene.dot(at, 2.6, series.colour));
        }
    }

    /// A thin line across at a value that means something.
    pub fn threshold(&mut self, value: f64, text: &str) {
        let y = self.place([self.x.low, value])[1];
        self.scene.line(vec![[LEFT, y], [WIDTH - RIGHT, y]], INK, 0.8);
        // Near the top edge the legend is above.
        let text_y = if y < TOP + 16.0 { y + 14.0 } else { y - 5.0 };
        self.scene.text([WIDTH - RIGHT, text_y], Anchor::End, INK, text);
    }

    /// Bars of parts on top of each other, `width` in units of x.
    pub fn stack(&mut self, x: f64, width: f64, parts: &[(f64, Colour)]) {
        let mut from = 0.0;
        for &(amount, colour) in parts {
            let (low, high) = (self.place([x - width / 2.0, from]), self.place([x + width / 2.0, from + amount]));
            self.scene.rectangle([low[0], high[1]], [high[0] - low[0], low[1] - high[1]], colour);
            from += amount;
        }
    }

    /// Names with their colours, above the plot, from the right end leftwards.
    pub fn legend(&mut self, entries: &[(&str, Colour)]) {
        // Width of a letter, on the wide side: the SVG's font is the reader's.
        const LETTER: f64 = 6.9;
        for (name, colour) in entries.iter().rev() {
            let width = name.chars().count() as f64 * LETTER;
            let x = self.legend_end - width;
            self.scene.rectangle([x - 14.0, TOP - 18.0], [9.0, 9.0], *colour);
            self.scene.text([x, TOP - 9.0], Anchor::Start, INK, *name);
            self.legend_end = x - 26.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, text)| text.as_str()).collect()
    }

    #[test]
    fn ticks_are_round_and_cover_the_data() {
        let axis = Axis::linear("", 0.0, 43.7);
        assert_eq!(texts(&axis), ["0", "10", "20", "30", "40", "50"]);
        assert_eq!(texts(&Axis::linear("", 0.0, 1.0)), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(Axis::linear("", 0.0, 0.0).ticks.len(), 2);
        assert_eq!(texts(&Axis::log("", 3.0, 4000.0)), ["1", "10", "100", "1000", "1e4"]);
        assert_eq!(texts(&Axis::iterations(1.0, 3.0)), ["1", "2", "3"]);
        assert_eq!(texts(&Axis::iterations(1.0, 1.0)), ["1"]);
        assert!(texts(&Axis::iterations(0.0, 999.0)).len() < 15);
    }

    #[test]
    fn values_land_where_the_axes_say() {
        let chart = Chart::new("t", Axis::linear("", 0.0, 10.0), Axis::log("", 1.0, 100.0));
        assert_eq!(chart.place([0.0, 1.0]), [LEFT, HEIGHT - BOTTOM]);
        let middle = chart.place([5.0, 10.0]);
        assert!((middle[0] - (LEFT + WIDTH - RIGHT) / 2.0).abs() < 1e-9);
        assert!((middle[1] - (TOP + HEIGHT - BOTTOM) / 2.0).abs() < 1e-9);
        assert_eq!(Series::new(INK, vec![[1.0, f64::NAN], [1.0, 2.0]]).points.len(), 1);
    }
}
