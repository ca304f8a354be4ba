//! Takes over a job of RELION: its files of one iteration become a run folder that goes on after that iteration.
//!
//! [`Run::read`] finds and reads the STAR files that an optimiser file names, and refuses what this program does not
//! do. [`Run::job`] makes the settings of them, which is all that the launcher needs. The engine calls [`take_over`]:
//! it reads particles and maps as well and writes the checkpoint. `docs/import.md` lists what is taken.
//!
//! Layout of the room: `rows` (checked values of a list), `files` (where they are), `refused` (what we do not do), `run`
//! (all STAR files of the iteration), `job` and `references` (settings); `model` and `noise` (one half), `history` (what no
//! file says),
//! `state` (all of it), `take_over` (the run folder).

mod files;
mod history;
mod job;
mod model;
mod noise;
mod references;
mod refused;
mod rows;
mod run;
mod state;
mod take_over;

pub use run::Run;
pub use take_over::DRAFT_PLAN;
pub use take_over::Report;
pub use take_over::take_over;
