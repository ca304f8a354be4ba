//! Shows the progress of an engine that no launcher watches: lines, as in the log of a batch job.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::error::Error;
use crate::error::Result;
use crate::plan::RunDir;
use crate::plan::progress::Follower;

use super::follow::Display;
use super::screen::Screen;

const PAUSE: Duration = Duration::from_millis(500);
/// Looks for the end more often than for news.
const LOOKS: u32 = 10;

/// The running thread. Dropping it shows what is left and ends it.
pub struct Narrator {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Narrator {
    /// Shows what is written to the progress file from now on.
    ///
    /// # Errors
    /// `Internal` when no thread can be started.
    pub fn start(run_dir: &RunDir, json: bool) -> Result<Self> {
        let mut follower = Follower::from_end(&run_dir.progress());
        let over = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&over);
        let tell = move || {
            let mut display = Display::new(Screen::new(json));
            let mut show = || -> Result<()> { follower.poll()?.iter().try_for_each(|record| display.show(record)) };
            loop {
                let is_last = is_over.load(SeqCst);
                // The work matters more than its display: when that fails, it goes on unseen.
                if show().is_err() || is_last {
                    break;
                }
                for _ in 0..LOOKS {
                    if !is_over.load(SeqCst) {
                        thread::sleep(PAUSE / LOOKS);
                    }
                }
            }
            display.finish();
        };
        let thread = thread::Builder::new()
            .name("narrator".to_owned())
            .spawn(tell)
            .map_err(|cause| Error::internal(format!("threads: {cause}")))?;
        Ok(Self { over, thread: Some(thread) })
    }
}

impl Drop for Narrator {
    fn drop(&mut self) {
        self.over.store(true, SeqCst);
        if let Some(thread) = self.thread.take() {
            // A panic in it was told by itself.
            let _ = thread.join();
        }
    }
}
