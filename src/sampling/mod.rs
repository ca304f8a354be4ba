//! Which poses to try: orientation grids, translations, priors.

mod directions;
mod local;
mod orientations;
mod perturbation;
mod relion_local;
mod search;
mod translations;
mod tree;

pub use directions::Direction;
pub use directions::reduced_directions;
pub use local::LocalPrior;
pub use orientations::Orientations;
pub use perturbation::next_perturbation;
pub use search::Search;
pub use translations::Translations;
