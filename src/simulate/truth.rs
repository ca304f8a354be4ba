//! What is true about each simulated particle.

use crate::dataset::CtfParameters;
use crate::dataset::Dataset;
use crate::dataset::OpticsGroup;
use crate::error::Error;
use crate::error::Result;
use crate::imaging::random::Stream;
use crate::rotation::Euler;

/// Purposes of the random streams; noise has its own.
const POSES: u32 = 1;
const CTFS: u32 = 2;

/// STAR files hold five decimals of a negative number: truth is rounded to what they say.
const DECIMALS: f64 = 1e5;

/// One simulated particle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrueParticle {
    /// Index into [`Truth::optics`].
    pub optics: u32,
    /// Index into [`Truth::micrographs`].
    pub micrograph: u32,
    /// 1 or 2.
    pub half: u8,
    pub ctf: CtfParameters,
    pub euler: Euler,
    /// Translation that centres the particle.
    pub offset_angstrom: [f64; 2],
}

/// The whole experiment.
#[derive(Clone, Debug, PartialEq)]
pub struct Truth {
    pub optics: Vec<OpticsGroup>,
    pub micrographs: Vec<String>,
    /// Factor on the signal of each micrograph.
    pub gains: Vec<f64>,
    pub particles: Vec<TrueParticle>,
}

/// Distributions to draw an experiment from.
#[derive(Clone, Debug, PartialEq)]
pub struct Draw {
    pub count: usize,
    pub seed: u64,
    /// At least one; micrographs are dealt to them in turn.
    pub optics: Vec<OpticsGroup>,
    /// At least one; particles fill them in equal runs.
    pub micrographs: usize,
    /// Signal gains of the micrographs, repeated as needed; empty for 1.
    pub gains: Vec<f64>,
    /// Mean defocus of a micrograph, uniform between the two.
    pub defocus_angstrom: [f64; 2],
    /// Largest difference between the two defocus values, uniform from 0.
    pub astigmatism_angstrom: f64,
    /// Standard deviation of the offsets along each axis.
    pub offset_sigma_angstrom: f64,
}

impl Truth {
    /// Draws orientations uniformly on SO(3), Gaussian offsets, and one defocus per micrograph.
    ///
    /// # Errors
    /// Distributions that make no sense.
    pub fn draw(draw: &Draw) -> Result<Self> {
        let [low, high] = draw.defocus_angstrom;
        if draw.count == 0 || draw.optics.is_empty() || draw.micrographs == 0 {
            return Err(Error::usage(
                "a simulation needs at least one particle, one optics group and one micrograph",
                "Raise the count that is zero.",
            ));
        }
        let spreads = [high - low, draw.astigmatism_angstrom, draw.offset_sigma_angstrom];
        if !spreads.iter().all(|v| v.is_finite() && *v >= 0.0) || !draw.gains.iter().all(|g| g.is_finite()) {
            return Err(Error::usage(
                format!(
                    "defocus {low}..{high}, astigmatism {} or offset sigma {} is negative or no number",
                    draw.astigmatism_angstrom, draw.offset_sigma_angstrom
                ),
                "Give the smaller defocus first, and spreads of at least 0.",
            ));
        }
        let particles = (0..draw.count)
            .map(|i| {
                let micrograph = i * draw.micrographs / draw.count;
                TrueParticle {
                    optics: (micrograph % draw.optics.len()) as u32,
                    micrograph: micrograph as u32,
                    half: 1 + (i % 2) as u8,
                    ctf: draw_ctf(draw, micrograph),
                    ..draw_pose(draw, i)
                }
            })
            .collect();
        Ok(Self {
            optics: draw.optics.clone(),
            micrographs: (1..=draw.micrographs).map(|m| format!("micrograph_{m:05}.mrc")).collect(),
            gains: (0..draw.micrographs)
                .map(|m| if draw.gains.is_empty() { 1.0 } else { draw.gains[m % draw.gains.len()] })
                .collect(),
            particles,
        })
    }

    /// Takes orientations and offsets from a data set, evenly spread over it.
    ///
    /// # Errors
    /// The data set has fewer particles.
    pub fn with_poses_of(mut self, source: &Dataset) -> Result<Self> {
        let rows = spread(source, self.particles.len())?;
        for (particle, row) in self.particles.iter_mut().zip(rows) {
            let known = &source.assignments[row];
            particle.euler = known.euler;
            particle.offset_angstrom = known.offset_angstrom;
        }
        Ok(self)
    }

    /// Takes CTFs, micrographs and the microscopes of a data set, evenly spread over it. Box and pixel size stay
    /// those of the drawn optics groups (all equal).
    ///
    /// # Errors
    /// The data set has fewer particles.
    pub fn with_ctfs_of(mut self, source: &Dataset) -> Result<Self> {
        let rows = spread(source, self.particles.len())?;
        let (pixel, edge) = (self.optics[0].pixel_size_angstrom, self.optics[0].box_pixels);
        self.optics = source
            .optics
            .iter()
            .map(|o| OpticsGroup { pixel_size_angstrom: pixel, box_pixels: edge, ..o.clone() })
            .collect();
        self.micrographs.clone_from(&source.groups);
        let gains = self.gains.clone();
        self.gains = (0..self.micrographs.len()).map(|m| gains[m % gains.len()]).collect();
        for (particle, row) in self.particles.iter_mut().zip(rows) {
            let known = &source.particles[row];
            particle.ctf = known.ctf;
            particle.optics = known.optics;
            particle.micrograph = known.group;
        }
        Ok(self)
    }
}

/// `count` rows of a data set at equal distances.
fn spread(source: &Dataset, count: usize) -> Result<Vec<usize>> {
    let len = source.particles.len();
    if len < count {
        return Err(Error::usage(
            format!("{count} particles are to be simulated, but the data set has only {len}"),
            "Ask for fewer, or name a larger STAR file.",
        ));
    }
    Ok((0..count).map(|i| i * len / count).collect())
}

fn rounded(x: f64) -> f64 {
    (x * DECIMALS).round() / DECIMALS
}

fn draw_pose(draw: &Draw, i: usize) -> TrueParticle {
    let mut stream = Stream::new(draw.seed, POSES, i as u64);
    let rot = 360.0 * stream.uniform() - 180.0;
    let tilt = (1.0 - 2.0 * stream.uniform()).acos().to_degrees();
    let psi = 360.0 * stream.uniform() - 180.0;
    let offset = [stream.gaussian(), stream.gaussian()].map(|g| rounded(g * draw.offset_sigma_angstrom));
    TrueParticle {
        optics: 0,
        micrograph: 0,
        half: 1,
        ctf: draw_ctf(draw, 0),
        euler: Euler { rot: rounded(rot), tilt: rounded(tilt), psi: rounded(psi) },
        offset_angstrom: offset,
    }
}

fn draw_ctf(draw: &Draw, micrograph: usize) -> CtfParameters {
    let mut stream = Stream::new(draw.seed, CTFS, micrograph as u64);
    let [low, high] = draw.defocus_angstrom;
    let mean = low + (high - low) * stream.uniform();
    let half_difference = 0.5 * draw.astigmatism_angstrom * stream.uniform();
    CtfParameters {
        defocus_u_angstrom: rounded(mean + half_difference),
        defocus_v_angstrom: rounded(mean - half_difference),
        defocus_angle_degrees: rounded(180.0 * stream.uniform()),
        phase_shift_degrees: 0.0,
        b_factor_angstrom2: 0.0,
        scale: 1.0,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::simulate) fn draw(count: usize, box_pixels: usize, pixel_size_angstrom: f64) -> Draw {
        let optics = OpticsGroup::ordinary(pixel_size_angstrom, box_pixels);
        Draw {
            count,
            seed: 3,
            optics: vec![
                optics.clone(),
                OpticsGroup { name: "opticsGroup2".into(), voltage_kilovolt: 200.0, ..optics },
            ],
            micrographs: 4,
            gains: vec![1.0, 0.5],
            defocus_angstrom: [10_000.0, 20_000.0],
            astigmatism_angstrom: 500.0,
            offset_sigma_angstrom: 4.0,
        }
    }

    #[test]
    fn views_are_uniform_and_groups_are_dealt() {
        let truth = Truth::draw(&draw(4000, 32, 2.0)).expect("a valid draw");
        // The mean of each component of a uniform direction is 0 with standard error 1/sqrt(3 * 4000).
        let mut mean = [0.0; 3];
        for p in &truth.particles {
            let (t, r) = (p.euler.tilt.to_radians(), p.euler.rot.to_radians());
            for (m, v) in mean.iter_mut().zip([t.sin() * r.cos(), t.sin() * r.sin(), t.cos()]) {
                *m += v / 4000.0;
            }
        }
        assert!(mean.iter().all(|m| m.abs() < 4.0 / 12000_f64.sqrt()), "{mean:?}");
        assert_eq!(truth.gains, [1.0, 0.5, 1.0, 0.5]);
        let groups: Vec<(u32, u32)> =
            [0, 1000, 2000, 3999].map(|i| (truth.particles[i].micrograph, truth.particles[i].optics)).into();
        assert_eq!(groups, [(0, 0), (1, 1), (2, 0), (3, 1)]);
        assert!(truth.particles.iter().all(|p| (9_750.0..=20_250.0).contains(&p.ctf.defocus_u_angstrom)));
    }

    #[test]
    fn a_particle_does_not_depend_on_how_many_there_are() {
        let few = Truth::draw(&draw(10, 32, 2.0)).expect("a valid draw");
        let many = Truth::draw(&draw(100, 32, 2.0)).expect("a valid draw");
        assert_eq!(few.particles[7].euler, many.particles[7].euler);
        let mut none = draw(10, 32, 2.0);
        none.micrographs = 0;
        assert!(Truth::draw(&none).is_err());
    }
}
