//! Scratch memory with four lifetimes (Run > Iteration > Batch > Tile), last in first out, that cannot fragment.
//!
//! One region is reserved for the life of the process. A [`Frame`] is a stretch of it that grows upwards;
//! a child frame starts at its parent's top and gives everything back when its closure returns.
//! The borrow checker enforces the order: a slice lives as long as the frame it came from, and a parent
//! cannot allocate while a child lives.
//!
//! A *counting* arena runs the same allocation code without memory: it hands out empty slices and
//! records where everything would lie. That record is the memory plan.
//!
//! A slice cannot leave its frame:
//!
//! ```compile_fail
//! use relion_rs::arena::{Arena, Kind};
//! let mut arena = Arena::reserve(1 << 16).unwrap();
//! arena.run(|run| {
//!     let kept = run.child(Kind::Batch, |batch| batch.alloc::<f32>("images", 8).unwrap());
//!     kept[0] = 1.0;
//! });
//! ```
//!
//! The same compiles where nothing is kept:
//!
//! ```
//! use relion_rs::arena::{Arena, Kind};
//! let mut arena = Arena::reserve(1 << 16).unwrap();
//! arena.run(|run| {
//!     run.child(Kind::Batch, |batch| batch.alloc::<f32>("images", 8).unwrap()[0] = 1.0);
//! });
//! ```
//!
//! A parent cannot allocate while its child lives:
//!
//! ```compile_fail
//! use relion_rs::arena::{Arena, Kind};
//! let mut arena = Arena::reserve(1 << 16).unwrap();
//! arena.run(|run| {
//!     run.child(Kind::Batch, |batch| {
//!         run.alloc::<f32>("late", 8).unwrap();
//!     });
//! });
//! ```
//!
//! The same compiles where the child allocates:
//!
//! ```
//! use relion_rs::arena::{Arena, Kind};
//! let mut arena = Arena::reserve(1 << 16).unwrap();
//! arena.run(|run| {
//!     run.child(Kind::Batch, |batch| {
//!         batch.alloc::<f32>("late", 8).unwrap();
//!     });
//! });
//! ```
//!
//! What both examples mean to do, done right:
//!
//! ```
//! use relion_rs::arena::{Arena, Kind};
//! let mut arena = Arena::reserve(1 << 16).unwrap();
//! arena.run(|run| {
//!     let sums = run.zeroed::<f32>("sums", 8).unwrap();
//!     run.child(Kind::Batch, |batch| {
//!         let images = batch.alloc::<f32>("images", 8).unwrap();
//!         images.fill(2.0);
//!         sums[0] += images[0];
//!     });
//!     assert_eq!(sums[0], 2.0);
//! });
//! ```

mod frame;
mod pool;
mod record;

pub use frame::{Arena, Frame, Place, Plain, recast};
pub use pool::{Pool, Taken};
pub use record::{Change, Event, Kind, Layout, Placement};
