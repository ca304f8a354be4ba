//! From where the particles look: a smooth density on the sphere in the Hammer projection, which keeps areas.

use super::gather::View;
use super::scene::Colour;
use super::scene::GRID;
use super::scene::MUTED;
use super::scene::PAPER;
use super::scene::Pixels;
use super::scene::Scene;
use super::scene::blend;

/// Pixels of the picture: two to one, as the projection.
const COLUMNS: usize = 420;
const ROWS: usize = 210;
/// More views than this are first pooled in cells of equal area.
const MOST_VIEWS: usize = 4000;
/// Rings of cells from pole to pole when views are pooled: 3 degrees each.
const RINGS: usize = 60;
/// The density is that of views within about this of each other, however fine the grid.
const LEAST_SPREAD_DEGREES: f64 = 5.0;

/// From no particle to the densest direction.
const COLOURS: [Colour; 4] = [[0xf4, 0xf7, 0xfa], [0x8f, 0xc1, 0xe8], [0x1f, 0x6f, 0xc4], [0x12, 0x2a, 0x5c]];

/// Draws the sphere at `at` with this width; returns the largest density relative to the mean.
pub fn draw(scene: &mut Scene, at: [f64; 2], width: f64, views: &[View], spread_degrees: f64) -> f64 {
    let views = pool(views);
    let spread = spread_degrees.max(LEAST_SPREAD_DEGREES).to_radians();
    let total: f64 = views.iter().map(|view| view.weight).sum();
    let mut density = vec![f64::NAN; COLUMNS * ROWS];
    for row in 0..ROWS {
        for column in 0..COLUMNS {
            let x = (column as f64 + 0.5) / COLUMNS as f64 * 2.0 - 1.0;
            let y = 1.0 - (row as f64 + 0.5) / ROWS as f64 * 2.0;
            if let Some(direction) = inverse_hammer(x, y) {
                density[row * COLUMNS + column] = density_at(direction, &views, spread) / total;
            }
        }
    }
    let largest = density.iter().copied().fold(0.0, f64::max);
    let colour = |density: f64| if density.is_nan() { PAPER } else { colour_of(density / largest) };
    let rgb = density.iter().flat_map(|&density| colour(density)).collect();
    scene.image(at, [width, width / 2.0], Pixels { width: COLUMNS, height: ROWS, rgb });
    graticule(scene, at, width);
    largest * 4.0 * std::f64::consts::PI
}

pub fn colour_of(share: f64) -> Colour {
    let t = share.clamp(0.0, 1.0) * (COLOURS.len() - 1) as f64;
    let i = (t as usize).min(COLOURS.len() - 2);
    blend(COLOURS[i], COLOURS[i + 1], t - i as f64)
}

/// Gaussian on the sphere, cut at three times its width; per steradian.
fn density_at(direction: [f64; 3], views: &[View], spread: f64) -> f64 {
    let nearest = (3.0 * spread).cos();
    let sharpness = 1.0 / (spread * spread);
    let sum: f64 = views
        .iter()
        .map(|view| {
            let cosine: f64 = direction.iter().zip(view.direction).map(|(a, b)| a * b).sum();
            if cosine > nearest { view.weight * (sharpness * (cosine - 1.0)).exp() } else { 0.0 }
        })
        .sum();
    sum * sharpness / (2.0 * std::f64::consts::PI)
}

/// Sums views in cells of equal area.
fn pool(views: &[View]) -> Vec<View> {
    if views.len() <= MOST_VIEWS {
        return views.to_vec();
    }
    let pi = std::f64::consts::PI;
    let mut cells = std::collections::BTreeMap::new();
    for view in views {
        let [x, y, z] = view.direction;
        let ring = ((z.clamp(-1.0, 1.0).acos() / pi * RINGS as f64) as usize).min(RINGS - 1);
        let tilt = (ring as f64 + 0.5) / RINGS as f64 * pi;
        let cells_in_ring = (2.0 * RINGS as f64 * tilt.sin()).round().max(1.0);
        let cell = ((y.atan2(x) / (2.0 * pi) + 0.5) * cells_in_ring).min(cells_in_ring - 1.0).floor();
        let rot = ((cell + 0.5) / cells_in_ring - 0.5) * 2.0 * pi;
        let direction = [tilt.sin() * rot.cos(), tilt.sin() * rot.sin(), tilt.cos()];
        cells.entry((ring, cell as usize)).or_insert(View { direction, weight: 0.0 }).weight += view.weight;
    }
    cells.into_values().collect()
}

/// x and y in [-1, 1] for longitude and latitude in radians.
fn hammer(longitude: f64, latitude: f64) -> [f64; 2] {
    let depth = (1.0 + latitude.cos() * (longitude / 2.0).cos()).sqrt();
    [latitude.cos() * (longitude / 2.0).sin() / depth, latitude.sin() / depth]
}

/// The direction drawn at a point, `None` outside the ellipse.
fn inverse_hammer(x: f64, y: f64) -> Option<[f64; 3]> {
    let radius2 = x * x + y * y;
    if radius2 > 1.0 {
        return None;
    }
    // With the usual scale X = 2 sqrt(2) x, Y = sqrt(2) y: z^2 = 1 - (X/4)^2 - (Y/2)^2.
    let z2 = 1.0 - radius2 / 2.0;
    let z = z2.sqrt();
    let longitude = 2.0 * (z * 2.0 * std::f64::consts::SQRT_2 * x).atan2(2.0 * (2.0 * z2 - 1.0));
    let latitude = (z * std::f64::consts::SQRT_2 * y).clamp(-1.0, 1.0).asin();
    Some([latitude.cos() * longitude.cos(), latitude.cos() * longitude.sin(), latitude.sin()])
}

fn graticule(scene: &mut Scene, at: [f64; 2], width: f64) {
    let place = |longitude: f64, latitude: f64| {
        let [x, y] = hammer(longitude.to_radians(), latitude.to_radians());
        [at[0] + (x + 1.0) / 2.0 * width, at[1] + (1.0 - y) / 2.0 * width / 2.0]
    };
    let steps = |from: f64, to: f64| (0..=60).map(move |i| from + (to - from) * f64::from(i) / 60.0);
    for latitude in [-60.0, -30.0, 0.0, 30.0, 60.0] {
        scene.line(steps(-180.0, 180.0).map(|l| place(l, latitude)).collect(), GRID, 0.7);
    }
    for longitude in [-120.0, -60.0, 0.0, 60.0, 120.0] {
        scene.line(steps(-90.0, 90.0).map(|l| place(longitude, l)).collect(), GRID, 0.7);
    }
    for edge in [-180.0, 180.0] {
        scene.line(steps(-90.0, 90.0).map(|l| place(edge, l)).collect(), MUTED, 1.2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_projection_and_its_inverse_agree() {
        for (longitude, latitude) in [(0.0, 0.0), (170.0, 10.0), (-100.0, -70.0), (45.0, 89.0)] {
            let (l, b) = (f64::to_radians(longitude), f64::to_radians(latitude));
            let [x, y] = hammer(l, b);
            let wanted = [b.cos() * l.cos(), b.cos() * l.sin(), b.sin()];
            let found = inverse_hammer(x, y).unwrap();
            let error = wanted.iter().zip(found).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(error < 1e-12, "{longitude} {latitude}: {found:?}");
        }
        assert_eq!(inverse_hammer(0.9, 0.9), None);
    }

    #[test]
    fn an_even_distribution_has_density_one_and_pooling_keeps_weight() {
        // A spiral of evenly spread points.
        let spiral = |count: usize| -> Vec<View> {
            (0..count)
                .map(|i| {
                    let z = 1.0 - 2.0 * (i as f64 + 0.5) / count as f64;
                    let rot = i as f64 * std::f64::consts::PI * (3.0 - 5f64.sqrt());
                    let r = (1.0 - z * z).sqrt();
                    View { direction: [r * rot.cos(), r * rot.sin(), z], weight: 2.0 }
                })
                .collect()
        };
        let many = spiral(20_000);
        let pooled = pool(&many);
        assert!(pooled.len() < 6000);
        assert!((pooled.iter().map(|v| v.weight).sum::<f64>() - 40_000.0).abs() < 1e-6);
        let mut scene = Scene::new(10.0, 10.0);
        let largest = draw(&mut scene, [0.0; 2], 10.0, &spiral(3000), 10.0);
        assert!((largest - 1.0).abs() < 0.05, "{largest}");
    }
}
