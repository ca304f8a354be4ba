//! The state after an iteration is written by a thread of its own while the next iteration computes.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::thread::JoinHandle;
use std::time::Instant;

use crate::checkpoint;
use crate::checkpoint::Origin;
use crate::checkpoint::Retention;
use crate::error::Error;
use crate::error::Result;
use crate::model::State;

/// A checkpoint that is on disk.
pub struct Saved {
    pub iteration: u32,
    pub path: PathBuf,
    pub bytes: u64,
    pub seconds: f64,
    /// BLAKE3 of the file.
    pub digest: String,
    /// What could not be removed afterwards.
    pub leftover: Option<Error>,
}

/// A state that could not be written; it is still to be.
pub struct Unsaved {
    pub state: Arc<State>,
    pub error: Error,
}

/// What came of writing a state.
type Outcome = std::result::Result<Saved, Unsaved>;

/// A state that is being written, or was.
enum Busy {
    Writing(JoinHandle<Outcome>),
    /// No thread could be had for it.
    Done(Outcome),
}

/// Writes one state at a time.
pub struct Saver {
    root: PathBuf,
    origin: Origin,
    retention: Retention,
    busy: Option<Busy>,
}

impl Saver {
    pub fn new(root: &Path, origin: &Origin, retention: Retention) -> Self {
        Self { root: root.to_path_buf(), origin: origin.clone(), retention, busy: None }
    }

    /// Begins to write a state. The one before must have been waited for.
    pub fn begin(&mut self, state: Arc<State>) {
        assert!(self.busy.is_none(), "one state at a time");
        let write = |state: Arc<State>| {
            let (root, origin, retention) = (self.root.clone(), self.origin.clone(), self.retention);
            move || write(&root, &state, &origin, &retention).map_err(|error| Unsaved { state, error })
        };
        let thread = thread::Builder::new().name("checkpoint".to_owned()).spawn(write(Arc::clone(&state)));
        self.busy = Some(thread.map_or_else(|_| Busy::Done(write(state)()), Busy::Writing));
    }

    /// Whether [`Self::wait`] returns at once, with something.
    pub fn is_done(&self) -> bool {
        self.busy.as_ref().is_some_and(|busy| match busy {
            Busy::Writing(thread) => thread.is_finished(),
            Busy::Done(_) => true,
        })
    }

    /// Waits for what was begun; `None` when nothing was.
    pub fn wait(&mut self) -> Result<Option<Outcome>> {
        match self.busy.take() {
            None => Ok(None),
            Some(Busy::Done(outcome)) => Ok(Some(outcome)),
            Some(Busy::Writing(thread)) => {
                thread.join().map(Some).map_err(|_| Error::internal("the thread that writes checkpoints died"))
            }
        }
    }
}

/// However a run ends: a state whose writing has begun is written.
impl Drop for Saver {
    fn drop(&mut self) {
        // What came of it is for the next start to see.
        let _ = self.wait();
    }
}

/// Writes the state; what it makes superfluous goes.
fn write(root: &Path, state: &State, origin: &Origin, retention: &Retention) -> Result<Saved> {
    let begin = Instant::now();
    let path = checkpoint::save(root, state, origin)?;
    let seconds = begin.elapsed().as_secs_f64();
    let bytes = std::fs::metadata(&path).map_err(|cause| Error::reading(&path, &cause))?.len();
    let digest = checkpoint::recorded_digest(&path)?;
    let tidied = checkpoint::prune(root, state.iteration, retention)
        .and_then(|()| checkpoint::remove_parts(root, state.iteration));
    Ok(Saved { iteration: state.iteration, path, bytes, seconds, digest, leftover: tidied.err() })
}
