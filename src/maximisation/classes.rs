//! What is special with several classes and one starting map.

use crate::imaging::random::Stream;
use crate::model::HalfModel;

/// Purpose number of the random classes.
const RANDOM_CLASSES: u32 = 0x434c_4153;

/// Class (1-based) that a particle alone sees in the seeding iteration; `particle` is its place in canonical order.
pub fn seed_class(seed: u64, particle: u64, classes: u32) -> u32 {
    let draw = Stream::new(seed, RANDOM_CLASSES, particle).uniform();
    1 + (draw * f64::from(classes)) as u32
}

/// After a first iteration by cross-correlation, which improved class 1 only: all classes become copies of it, with
/// equal shares, to be seeded in the next iteration.
pub fn copy_first(model: &mut HalfModel) {
    let count = model.classes.len();
    let Some((first, others)) = model.classes.split_first_mut() else { return };
    let total: f64 = first.directions.iter().sum();
    first.share = 1.0 / count as f64;
    if total > 0.0 {
        let scale = first.share / total;
        first.directions.iter_mut().for_each(|d| *d *= scale);
    }
    others.iter_mut().for_each(|class| class.clone_from(first));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_even_and_repeatable() {
        let mut counts = [0; 4];
        for particle in 0..4000 {
            let class = seed_class(3, particle, 4);
            assert_eq!(class, seed_class(3, particle, 4));
            counts[class as usize - 1] += 1;
        }
        // Five standard deviations of 4000 draws with p = 1/4.
        assert!(counts.iter().all(|c: &i32| (c - 1000).abs() < 137), "{counts:?}");
    }
}
