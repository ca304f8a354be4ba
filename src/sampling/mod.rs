//! Which poses to try: orientation grids, translations, priors.

mod directions;
mod orientations;
mod perturbation;
mod translations;

pub use directions::Direction;
pub use directions::reduced_directions;
pub use orientations::Orientations;
pub use perturbation::next_perturbation;
pub use translations::Translations;
