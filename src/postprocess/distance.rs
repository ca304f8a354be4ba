//! The exact Euclidean distance transform (Meijster, Roerdink & Hesselink 2000), in integers.

use rayon::prelude::*;

/// Squared distance where there is nothing to be near to.
pub const NOWHERE: u32 = u32::MAX;
/// Three squared edges of this length fit into u32.
const LARGEST_EDGE: usize = 32_768;

/// Squared distance in voxels from each voxel to the nearest one that `is_set`; [`NOWHERE`] when none is.
/// The volume is nx * ny * nz, x fastest; it does not wrap around.
pub fn squared_distances(is_set: &[bool], [nx, ny, nz]: [usize; 3]) -> Vec<u32> {
    assert_eq!(is_set.len(), nx * ny * nz, "one flag a voxel");
    assert!(nx.max(ny).max(nz) <= LARGEST_EDGE, "{nx} x {ny} x {nz} voxels");
    let mut planes = vec![NOWHERE; is_set.len()];
    planes.par_chunks_exact_mut(nx * ny).zip(is_set.par_chunks_exact(nx * ny)).for_each_init(
        || Envelope::new(ny),
        |envelope, (plane, is_set)| {
            for (row, is_set) in plane.chunks_exact_mut(nx).zip(is_set.chunks_exact(nx)) {
                along_row(is_set, row);
            }
            for x in 0..nx {
                envelope.load(plane.iter().skip(x).step_by(nx));
                envelope.solve();
                plane.iter_mut().skip(x).step_by(nx).zip(&envelope.best).for_each(|(v, best)| *v = *best);
            }
        },
    );
    // Columns along z: planes of constant y (z, then x) are solved apart, then put back.
    let mut across = vec![NOWHERE; is_set.len()];
    across.par_chunks_exact_mut(nx * nz).enumerate().for_each_init(
        || Envelope::new(nz),
        |envelope, (y, section)| {
            for x in 0..nx {
                envelope.load(planes.iter().skip(y * nx + x).step_by(nx * ny));
                envelope.solve();
                section.iter_mut().skip(x).step_by(nx).zip(&envelope.best).for_each(|(v, best)| *v = *best);
            }
        },
    );
    planes.par_chunks_exact_mut(nx * ny).enumerate().for_each(|(z, plane)| {
        for (y, row) in plane.chunks_exact_mut(nx).enumerate() {
            row.copy_from_slice(&across[(y * nz + z) * nx..][..nx]);
        }
    });
    planes
}

/// Squared distances within one row.
fn along_row(is_set: &[bool], row: &mut [u32]) {
    let mut pass = |order: &mut dyn Iterator<Item = usize>| {
        let mut distance = None;
        for x in order {
            distance = if is_set[x] { Some(0_u32) } else { distance.map(|d| d + 1) };
            if let Some(d) = distance {
                row[x] = row[x].min(d * d);
            }
        }
    };
    pass(&mut (0..is_set.len()));
    pass(&mut (0..is_set.len()).rev());
}

/// min over j of (i - j)^2 + given\[j\], as the lower envelope of parabolas.
struct Envelope {
    given: Vec<u32>,
    best: Vec<u32>,
    /// The parabolas of the envelope: (where it stands, from where on it is the lowest).
    parabolas: Vec<(usize, usize)>,
}

impl Envelope {
    fn new(length: usize) -> Self {
        Self { given: Vec::with_capacity(length), best: vec![NOWHERE; length], parabolas: Vec::with_capacity(length) }
    }

    fn load<'a>(&mut self, values: impl Iterator<Item = &'a u32>) {
        self.given.clear();
        self.given.extend(values);
    }

    fn solve(&mut self) {
        let n = self.given.len();
        self.parabolas.clear();
        for (u, value) in self.given.iter().enumerate().filter(|(_, value)| **value != NOWHERE) {
            let start = loop {
                let Some(&(i, start)) = self.parabolas.last() else { break 0 };
                // Parabola i is not above u up to here, rounded down.
                let rise = (u * u) as i64 - (i * i) as i64 + i64::from(*value) - i64::from(self.given[i]);
                let from = rise.div_euclid(2 * (u - i) as i64) + 1;
                if from <= start as i64 {
                    self.parabolas.pop();
                } else {
                    break from as usize;
                }
            };
            if start < n {
                self.parabolas.push((u, start));
            }
        }
        if self.parabolas.is_empty() {
            self.best.fill(NOWHERE);
        }
        for (k, &(site, start)) in self.parabolas.iter().enumerate() {
            let end = self.parabolas.get(k + 1).map_or(n, |next| next.1);
            for (x, best) in self.best[..end].iter_mut().enumerate().skip(start) {
                *best = (x.abs_diff(site).pow(2)) as u32 + self.given[site];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn by_search(is_set: &[bool], [nx, ny, nz]: [usize; 3]) -> Vec<u32> {
        let place = |i: usize| [i % nx, i / nx % ny, i / nx / ny];
        let distance = |a: [usize; 3], b: [usize; 3]| (0..3).map(|d| a[d].abs_diff(b[d]).pow(2)).sum::<usize>() as u32;
        let set: Vec<_> = (0..nx * ny * nz).filter(|i| is_set[*i]).map(place).collect();
        (0..nx * ny * nz).map(|i| set.iter().map(|s| distance(place(i), *s)).min().unwrap_or(NOWHERE)).collect()
    }

    proptest! {
        #[test]
        fn distances_are_those_of_a_search(
            (nx, ny, nz) in (1_usize..9, 1_usize..9, 1_usize..9),
            words in prop::collection::vec(any::<u8>(), 512),
            rarity in 1_u8..120,
        ) {
            let is_set: Vec<bool> = words[..nx * ny * nz].iter().map(|w| w % rarity == 1).collect();
            prop_assert_eq!(squared_distances(&is_set, [nx, ny, nz]), by_search(&is_set, [nx, ny, nz]));
        }
    }
}
