//! A thread that goes on beside the work until its owner lets go of it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::thread::JoinHandle;

use crate::error::Error;
use crate::error::Result;

/// The running thread. Dropping it raises its flag and waits for its end.
pub struct Background {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    /// Starts `work`, which looks at the flag now and then and ends once it is raised.
    ///
    /// # Errors
    /// `Internal` when no thread can be started.
    pub fn start(name: &str, work: impl FnOnce(&AtomicBool) + Send + 'static) -> Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&over);
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || work(&is_over))
            .map_err(|cause| Error::internal(format!("threads: {cause}")))?;
        Ok(Self { over, thread: Some(thread) })
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.over.store(true, SeqCst);
        if let Some(thread) = self.thread.take() {
            // A panic in it was told by itself.
            let _ = thread.join();
        }
    }
}
