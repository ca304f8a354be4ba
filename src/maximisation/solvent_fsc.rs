//! FSC of masked half maps, corrected for what the mask itself correlates (Chen et al. 2013).

use num_complex::Complex;

use crate::arena::Frame;
use crate::arena::Kind;
use crate::error::Result;
use crate::fourier;
use crate::fourier::RealFft3;
use crate::imaging::random::Stream;
use crate::model::Volume;

/// Phases are randomised from the first shell whose unmasked FSC is below this.
const RANDOMISE_BELOW: f64 = 0.8;
/// Shells beyond that one which keep the masked FSC.
const KEPT_SHELLS: usize = 2;
/// Purpose number of the random phases.
const RANDOM_PHASES: u32 = 0x5046_5343;

/// The curves, box/2 + 1 shells each.
#[derive(Clone, Debug, PartialEq)]
pub struct SolventFsc {
    pub unmasked: Vec<f64>,
    pub masked: Vec<f64>,
    /// Masked FSC of maps with random phases beyond `randomised_from`; zeros when nothing was randomised.
    pub randomised: Vec<f64>,
    pub corrected: Vec<f64>,
    /// `None` when the unmasked FSC never falls below 0.8: then it is the corrected one.
    pub randomised_from: Option<usize>,
}

/// FSC of two unregularised half maps inside `mask` (their box, values in [0, 1]):
/// (masked - randomised) / (1 - randomised) from two shells beyond the randomisation, 0 where negative.
/// Zero beyond `r_max`. Random phases depend on `seed` only. Takes two transforms from `frame`.
pub fn corrected(
    a: &Volume,
    b: &Volume,
    mask: &[f32],
    r_max: usize,
    seed: u64,
    frame: &mut Frame<'_>,
) -> Result<SolventFsc> {
    let n = a.box_pixels;
    assert!(b.box_pixels == n && mask.len() == a.data.len(), "half maps and mask of one box");
    frame.child(Kind::Tile, |tile| Ok(curves([a, b], mask, r_max, seed, buffers(n, tile)?)))
}

/// The allocations of [`corrected`] for maps of edge `n`.
pub fn count(n: usize, frame: &mut Frame<'_>) -> Result<()> {
    frame.child(Kind::Tile, |tile| buffers(n, tile).map(|_| ()))
}

/// A transform a half.
fn buffers<'f>(n: usize, frame: &mut Frame<'f>) -> Result<[&'f mut [Complex<f64>]; 2]> {
    let len = fourier::half_volume_len(n);
    Ok([frame.alloc("transform of half 1", len)?, frame.alloc("transform of half 2", len)?])
}

fn curves(maps: [&Volume; 2], mask: &[f32], r_max: usize, seed: u64, halves: [&mut [Complex<f64>]; 2]) -> SolventFsc {
    let [a, b] = halves;
    let n = maps[0].box_pixels;
    let plan = RealFft3::<f64>::new(n);
    for (map, half) in maps.iter().zip([&mut *a, &mut *b]) {
        plan.pack(map.data.iter().zip(mask).map(|(v, m)| f64::from(*v) * f64::from(*m)), half);
        plan.forward_in_place(half);
    }
    let masked = cut(fourier::fsc(a, b, n), r_max);
    for (map, half) in maps.iter().zip([&mut *a, &mut *b]) {
        plan.pack(map.data.iter().map(|v| f64::from(*v)), half);
        plan.forward_in_place(half);
    }
    let unmasked = cut(fourier::fsc(a, b, n), r_max);
    let Some(from) = (1..=n / 2).find(|s| unmasked[*s] < RANDOMISE_BELOW) else {
        let randomised = vec![0.0; n / 2 + 1];
        return SolventFsc { corrected: unmasked.clone(), unmasked, masked, randomised, randomised_from: None };
    };
    for (item, half) in [&mut *a, &mut *b].into_iter().enumerate() {
        randomise_phases(half, n, from, &mut Stream::new(seed, RANDOM_PHASES, item as u64));
        plan.inverse_in_place(half);
        multiply_packed(half, mask, n);
        plan.forward_in_place(half);
    }
    let randomised = cut(fourier::fsc(a, b, n), r_max);
    let corrected = masked.iter().zip(&randomised).enumerate().map(|(s, (m, r))| {
        if s < from + KEPT_SHELLS {
            *m
        } else if r > m || *r >= 1.0 {
            0.0
        } else {
            (m - r) / (1.0 - r)
        }
    });
    let corrected = cut(corrected.collect(), r_max);
    SolventFsc { corrected, unmasked, masked, randomised, randomised_from: Some(from) }
}

/// Multiplies a packed volume of edge n by a mask; the elements that no voxel uses become 0.
fn multiply_packed(packed: &mut [Complex<f64>], mask: &[f32], n: usize) {
    for (row, mask) in packed.chunks_exact_mut(n / 2 + 1).zip(mask.chunks_exact(n)) {
        for (pair, mask) in row.iter_mut().zip(mask.chunks_exact(2)) {
            *pair = Complex::new(pair.re * f64::from(mask[0]), pair.im * f64::from(mask[1]));
        }
        row[n / 2] = Complex::default();
    }
}

fn cut(mut fsc: Vec<f64>, r_max: usize) -> Vec<f64> {
    fsc.iter_mut().skip(r_max + 1).for_each(|f| *f = 0.0);
    fsc
}

/// Gives every coefficient of a 3D half transform at radius `from` or beyond a uniform random phase, and keeps its
/// amplitude. The map stays real: mates on the planes kx = 0 and kx = n/2 are conjugates.
pub fn randomise_phases(half: &mut [Complex<f64>], n: usize, from: usize, stream: &mut Stream) {
    let width = n / 2 + 1;
    let mate = |i: usize| (n - i) % n;
    for z in 0..n {
        for y in 0..n {
            let (ky, kz) = (i64::from(fourier::frequency(y, n)), i64::from(fourier::frequency(z, n)));
            for x in 0..width {
                let square = (x * x) as i64 + ky * ky + kz * kz;
                if square < (from * from) as i64 {
                    continue;
                }
                let at = (z * n + y) * width + x;
                let phase = std::f64::consts::TAU * stream.uniform();
                if x > 0 && x < n / 2 {
                    half[at] = Complex::from_polar(half[at].norm(), phase);
                    continue;
                }
                let other = (mate(z) * n + mate(y)) * width + x;
                if at < other {
                    half[at] = Complex::from_polar(half[at].norm(), phase);
                    half[other] = half[at].conj();
                } else if at == other {
                    half[at] =
                        Complex::new(half[at].norm() * if phase < std::f64::consts::PI { 1.0 } else { -1.0 }, 0.0);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::Arena;
    use crate::imaging::mask;

    /// With two transforms of memory, not a byte more.
    fn found_in(a: &Volume, b: &Volume, mask: &[f32]) -> SolventFsc {
        let mut counted = Arena::counting();
        counted.run(|frame| count(a.box_pixels, frame)).expect("a count");
        let mut arena = Arena::reserve(counted.layout().peak).expect("memory");
        let found = arena.run(|frame| corrected(a, b, mask, 14, 1, frame)).expect("room for transforms");
        assert_eq!(counted.layout(), arena.layout());
        found
    }

    fn noise(n: usize, item: u64) -> Vec<f32> {
        let mut stream = Stream::new(5, 1, item);
        (0..n.pow(3)).map(|_| stream.gaussian() as f32).collect()
    }

    #[test]
    fn random_phases_keep_amplitudes_low_shells_and_reality() {
        let n = 16;
        let plan = RealFft3::<f64>::new(n);
        let before = plan.forward(noise(n, 1).into_iter().map(f64::from));
        let mut after = before.clone();
        randomise_phases(&mut after, n, 4, &mut Stream::new(1, 2, 3));
        assert!(before.iter().zip(&after).all(|(a, b)| (a.norm() - b.norm()).abs() < 1e-12));
        let fsc = fourier::fsc(&before, &after, n);
        assert!(fsc[..=3].iter().all(|f| *f > 0.999) && fsc[5].abs() < 0.4 && fsc[8].abs() < 0.3, "{fsc:?}");
        // A Hermitian transform survives the way through real space.
        let again = plan.forward(plan.inverse(&mut after.clone()).into_iter());
        assert!(again.iter().zip(&after).all(|(a, b)| (a - b).norm() < 1e-12));
    }

    #[test]
    fn a_tight_mask_is_corrected_for() {
        let n = 32;
        // The same noise of a small ball up to shell 7, and independent white noise in both halves.
        let plan = RealFft3::<f64>::new(n);
        let mut signal: Vec<f64> = noise(n, 9).into_iter().map(f64::from).collect();
        mask::multiply_by_sphere(&mut signal, n, 6.0, 2.0);
        let mut half = plan.forward(signal.into_iter());
        fourier::low_pass_3d(&mut half, n, 6.0);
        let signal: Vec<f64> = plan.inverse(&mut half).iter().map(|v| 20.0 * v).collect();
        let mut ball = vec![1.0_f32; n.pow(3)];
        mask::multiply_by_sphere(&mut ball, n, 7.0, 2.0);
        let map = |item: u64| Volume {
            box_pixels: n,
            pixel_size_angstrom: 1.0,
            data: noise(n, item).iter().zip(&signal).map(|(e, s)| e + *s as f32).collect(),
        };
        let found = found_in(&map(1), &map(2), &ball);
        let from = found.randomised_from.expect("noise at high resolution");
        assert!((4..=9).contains(&from), "{from}");
        assert!(found.masked[7] > found.unmasked[7], "the mask removes noise: {found:?}");
        assert!(found.corrected[3] > 0.95);
        assert!(found.corrected[12].abs() < 0.35 && found.corrected[15] == 0.0, "{:?}", found.corrected);
        assert_eq!(found, found_in(&map(1), &map(2), &ball));
        let same = found_in(&map(1), &map(1), &ball);
        assert_eq!((same.randomised_from.is_some(), same.unmasked[14] > 0.999), (true, true), "beyond 14 it is 0");
    }
}
