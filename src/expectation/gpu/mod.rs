//! The expectation step on a device.

mod coarse;
mod form;
mod narrow;
pub mod trial;

pub use coarse::CoarseArguments;
pub use coarse::PowerArguments;
pub use coarse::STRIDE;
pub use coarse::SpreadArguments;
pub use coarse::launch_coarse;
pub use coarse::launch_power;
pub use coarse::launch_spread;
pub use coarse::stride;
pub use form::Form;
pub use narrow::launch_largest;
pub use narrow::launch_narrow;
pub use narrow::scale_to_fit;
