//! Shows the progress of an engine that no launcher watches: lines, as in the log of a batch job.

use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::Duration;

use crate::background::Background;
use crate::error::Result;
use crate::plan::RunDir;
use crate::plan::progress::Follower;

use super::follow::Display;
use super::screen::Screen;

const PAUSE: Duration = Duration::from_millis(500);
/// Looks for the end more often than for news.
const LOOKS: u32 = 10;

/// Shows what is written to the progress file from now on; dropping it shows what is left and ends it.
///
/// # Errors
/// `Internal` when no thread can be started.
pub fn narrate(run_dir: &RunDir, json: bool) -> Result<Background> {
    let mut follower = Follower::from_end(&run_dir.progress());
    Background::start("narrator", move |over| {
        let mut display = Display::new(Screen::new(json));
        let mut show = || -> Result<()> { follower.poll()?.iter().try_for_each(|record| display.show(record)) };
        loop {
            let is_last = over.load(SeqCst);
            // The work matters more than its display: when that fails, it goes on unseen.
            if show().is_err() || is_last {
                break;
            }
            for _ in 0..LOOKS {
                if !over.load(SeqCst) {
                    thread::sleep(PAUSE / LOOKS);
                }
            }
        }
        display.finish();
    })
}
