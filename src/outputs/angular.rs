//! The distribution of directions as a picture for ChimeraX (`.bild`): a cylinder along each direction around the
//! map, longer and redder where more particles look from.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use crate::error::Error;
use crate::error::Result;

use super::atomic::atomic;
use super::header::Header;
use super::header::Snapshot;
use super::names::Names;

/// Where the cylinders start, in box edges from the centre: outside a particle that fills its box.
const INNER_RADIUS: f64 = 0.6;
/// Length of the longest cylinder, in box edges.
const LONGEST: f64 = 0.3;
/// Share of the room between neighbouring directions that a cylinder takes.
const FILL: f64 = 0.8;

/// Writes one file a class for the model of `half`. `directions` are the unperturbed (rot, tilt) in degrees.
///
/// # Errors
/// A file cannot be written, or the number of directions is not that of the model.
pub fn write_angular_distribution(
    names: &Names,
    header: &Header,
    snapshot: &Snapshot,
    half: usize,
    directions: &[[f64; 2]],
) -> Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    for (k, class) in snapshot.state.halves[half].classes.iter().enumerate() {
        if class.directions.len() != directions.len() {
            return Err(Error::internal(format!(
                "class {} has {} direction probabilities for {} directions",
                k + 1,
                class.directions.len(),
                directions.len()
            )));
        }
        let path = names.path(&snapshot.moment.angular_distribution(snapshot.half_name(half), k + 1));
        let text = cylinders(header, &class.directions, directions);
        atomic(&path, |file| file.write_all(text.as_bytes()))?;
        written.push(path);
    }
    Ok(written)
}

fn cylinders(header: &Header, probabilities: &[f64], directions: &[[f64; 2]]) -> String {
    let edge = header.box_pixels as f64 * header.pixel_size_angstrom;
    let centre = (header.box_pixels / 2) as f64 * header.pixel_size_angstrom;
    let largest = probabilities.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    // Half the angle between neighbours, were the directions spread evenly.
    let spacing = (4.0 * std::f64::consts::PI / directions.len().max(1) as f64).sqrt() / 2.0;
    let width = FILL * spacing * INNER_RADIUS * edge;
    let mut text = String::new();
    for (probability, [rot, tilt]) in probabilities.iter().zip(directions) {
        let height = probability / largest;
        if height <= 0.0 {
            continue;
        }
        let (rot, tilt) = (rot.to_radians(), tilt.to_radians());
        let direction = [tilt.sin() * rot.cos(), tilt.sin() * rot.sin(), tilt.cos()];
        let from = direction.map(|d| centre + d * INNER_RADIUS * edge);
        let to = direction.map(|d| centre + d * (INNER_RADIUS + LONGEST * height) * edge);
        writeln!(text, ".color {height:.4} 0 {:.4}", 1.0 - height).expect("writing to a String does not fail");
        writeln!(
            text,
            ".cylinder {:.3} {:.3} {:.3} {:.3} {:.3} {:.3} {width:.3}",
            from[0], from[1], from[2], to[0], to[1], to[2]
        )
        .expect("writing to a String does not fail");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_probable_direction_is_longest_and_red() {
        let header = Header { box_pixels: 100, pixel_size_angstrom: 2.0, ..crate::outputs::header::example() };
        let text = cylinders(&header, &[0.1, 0.4, 0.0], &[[0.0, 0.0], [90.0, 90.0], [0.0, 90.0]]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "nothing for a direction without particles");
        assert!(lines[1].starts_with(".cylinder 100.000 100.000 220.000 100.000 100.000 235.000"), "{}", lines[1]);
        assert_eq!(lines[2], ".color 1.0000 0 0.0000");
        assert!(lines[3].starts_with(".cylinder 100.000 220.000 100.000 100.000 280.000 100.000"), "{}", lines[3]);
    }
}
