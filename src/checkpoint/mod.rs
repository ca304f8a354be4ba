//! The state between iterations, in HDF5.
//!
//! One file a finished iteration, `checkpoint/iter-012.h5`, beside `iter-012.h5.b3`: the BLAKE3 digest of the
//! file's bytes, checked before libhdf5 sees any of them. A file appears whole or not at all: written under a
//! temporary name, flushed, synced, renamed. The bytes depend on the state only (no dates, no addresses), so equal
//! states have equal digests.
//!
//! Inside the file: `format` (a named version) and the groups `origin` (who wrote it, from which inputs) and `state`
//! (every field of [`State`](crate::model::State) under its own name). `fields.rs` is the one list of these fields;
//! writing and reading are both made from it, and a field that is missing in it does not compile.
//!
//! Within an iteration the finished blocks of each half set are kept in parts (`iter-013.part.000.half1.002.h5`), of which
//! an index, renamed last, says which belong together.
//!
//! Layout of the room: `fields` (the list) on `stored` (a value under a name) ; `format` (versions), `origin`
//! (identity and fingerprints); `file` (one file), `folder` (all of them), `part` and `parts` (within an iteration),
//! `durable` (room, temporary, sync, digest, rename), `verify` (which files are whole), `contents` and `show` (what is
//! inside), `sweep` (what killed processes left).

mod contents;
mod durable;
mod fields;
mod file;
mod folder;
mod format;
mod origin;
mod part;
mod parts;
mod show;
mod stored;
mod sweep;
mod verify;

pub use contents::{Contents, Field, Kind};
pub use file::{Checkpoint, load, recorded_digest, save};
pub use folder::{Loaded, Retention, list, load_latest, load_latest_of_ours, prune};
pub use format::Format;
pub use origin::{Identity, InputFile, Origin};
pub use part::Part;
pub use parts::{Committed, Entry, PartWriter, Parts, remove_parts};
pub use show::{Beside, Overview, Role, show};
pub use sweep::sweep;
pub use verify::{Verdict, verify};
