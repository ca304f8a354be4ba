//! `status --watch`: the same, again and again, until the run ends.

use std::io::IsTerminal;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use crate::cli::screen::Screen;
use crate::cli::stop::Incoming;
use crate::error::ExitCode;
use crate::error::Result;
use crate::plan::Plan;
use crate::plan::RunDir;

use super::cluster::Cluster;
use super::look;
use super::text;

/// How often the run folder is looked at, and how often Slurm is asked, whose controller serves everybody.
const PAUSE: Duration = Duration::from_secs(2);
const SLURM_PAUSE: Duration = Duration::from_secs(15);
/// How soon Ctrl-C is noticed.
const TICK: Duration = Duration::from_millis(100);
/// Clears a terminal from its first line.
const CLEAR: &str = "\x1b[H\x1b[2J";

pub fn watch(run_dir: &RunDir, plan: &Plan, screen: &Screen) -> Result<ExitCode> {
    let incoming = Incoming::new()?;
    let is_drawn = std::io::stdout().is_terminal() && !screen.is_json();
    let (mut cluster, mut asked) = (Cluster::look(run_dir)?, Instant::now());
    let mut told = String::new();
    loop {
        if asked.elapsed() >= SLURM_PAUSE {
            (cluster, asked) = (Cluster::look(run_dir)?, Instant::now());
        }
        let mut summary = look(run_dir, plan, cluster.clone())?;
        if summary.is_over() && asked.elapsed() >= TICK {
            // Slurm's word may be older than the end of the engine.
            (cluster, asked) = (Cluster::look(run_dir)?, Instant::now());
            summary = look(run_dir, plan, cluster.clone())?;
        }
        let is_over = summary.is_over();
        let is_seen = if screen.is_json() {
            screen.show_json(&summary)?
        } else if is_drawn {
            screen.show(&format!("{CLEAR}{}", text::text(&summary)))?
        } else if is_over {
            screen.show(&text::text(&summary))?
        } else {
            let line = text::short(&summary);
            let is_news = line != told;
            told = line;
            !is_news || screen.show(&told)?
        };
        if is_over || !is_seen || is_stopped(&incoming, PAUSE) {
            return Ok(ExitCode::Done);
        }
    }
}

/// Waits; true when somebody does not want to see more.
fn is_stopped(incoming: &Incoming, pause: Duration) -> bool {
    let end = Instant::now() + pause;
    while Instant::now() < end {
        if incoming.next().is_some() {
            return true;
        }
        thread::sleep(TICK);
    }
    false
}
