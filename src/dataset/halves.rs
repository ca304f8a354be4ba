//! The two half sets: kept from the file, or drawn so that the order of the rows does not matter.

use crate::dataset::particle::Dataset;
use crate::error::Error;
use crate::error::Result;

/// Names the use of the hash, so that no other draw with the same seed is correlated with this one.
const PURPOSE: &str = "relion-rs 2026 half set of a particle";

impl Dataset {
    /// Gives each particle a half set, 1 or 2.
    ///
    /// Half sets of the file (rlnRandomSubset) are kept when all particles have one. Otherwise particles are ranked
    /// by a hash of (seed, image name); the first half of the ranks is half set 1. The sets differ by at most one
    /// particle and do not depend on the order of the rows.
    pub fn assign_halves(&mut self, seed: u64) {
        if self.particles.iter().all(|particle| particle.half != 0) {
            return;
        }
        let key = blake3::derive_key(PURPOSE, &seed.to_le_bytes());
        let mut ranked: Vec<([u8; 16], usize)> =
            (0..self.particles.len()).map(|at| (self.draw(&key, at), at)).collect();
        ranked.sort_unstable();
        let first_half = self.particles.len().div_ceil(2);
        for (rank, (_, at)) in ranked.into_iter().enumerate() {
            self.particles[at].half = if rank < first_half { 1 } else { 2 };
        }
    }

    /// Refuses half sets of which one is empty.
    ///
    /// # Errors
    /// `BadData` with the column of the half sets.
    pub fn check_halves(&self) -> Result<()> {
        let count = |half: u8| self.particles.iter().filter(|particle| particle.half == half).count();
        let (first, second) = (count(1), count(2));
        if first > 0 && second > 0 {
            return Ok(());
        }
        let place = match self.tables.block("particles") {
            Some(table) if table.has("rlnRandomSubset") => format!("{}, column rlnRandomSubset", table.place()),
            Some(table) => table.place(),
            None => String::new(),
        };
        Err(Error::bad_data(
            place,
            format!("the half sets have {first} and {second} particles: there is nothing to compare"),
            "Give both half sets particles, or remove the column to have them drawn.",
        ))
    }

    fn draw(&self, key: &[u8; blake3::KEY_LEN], at: usize) -> [u8; 16] {
        let image = self.particles[at].image;
        let mut hasher = blake3::Hasher::new_keyed(key);
        hasher.update(&image.index.to_le_bytes());
        hasher.update(self.stacks[image.stack as usize].as_bytes());
        let mut draw = [0; 16];
        draw.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        draw
    }
}
