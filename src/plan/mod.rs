//! What the user asked ([`JobFile`]), what was decided ([`Plan`]), and the run folder ([`RunDir`]).
//!
//! The flow: [`Sources`] are merged into [`Layers`], [`resolve`] checks them and makes the [`Plan`],
//! the launcher writes it into the [`RunDir`], the engine reads it there and writes [`progress`].

mod cluster;
mod decided;
mod defaults;
mod gsd;
mod job_file;
mod kinds;
mod layers;
mod nearest;
pub mod progress;
mod resolve;
mod run_dir;

pub use cluster::CLUSTER_TABLE;
pub use cluster::Cluster;
pub use cluster::Continuation;
pub use cluster::GpuRequest;
pub use cluster::PARTITIONS_TABLE;
pub use cluster::RankLauncher;
pub use decided::Plan;
pub use decided::PlanFormat;
pub use defaults::defaults;
pub use gsd::BenchDevice;
pub use gsd::GsdPeak;
pub use gsd::GsdRecord;
pub use gsd::GsdRow;
pub use gsd::GsdSettings;
pub use job_file::JobFile;
pub use job_file::read_table;
pub use kinds::Backend;
pub use kinds::CoarseForm;
pub use kinds::InstructionSet;
pub use kinds::JobKind;
pub use kinds::Precision;
pub use kinds::format_bytes;
pub use kinds::parse_bytes;
pub use layers::ENVIRONMENT_PREFIX;
pub use layers::Layers;
pub use layers::Sources;
pub use nearest::nearest;
pub use resolve::Resolved;
pub use resolve::resolve;
pub use run_dir::RunDir;
pub use run_dir::RunLock;
pub use run_dir::TAKEN;
