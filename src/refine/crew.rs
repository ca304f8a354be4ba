//! The other ranks, as rank 0's keeper deals with them in an expectation step.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use crate::background::Background;
use crate::checkpoint::Entry;
use crate::comm::Tag;
use crate::comm::Team;
use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::expectation::products::Finished;
use crate::model::State;
use crate::plan::Plan;
use crate::plan::RunDir;
use crate::plan::progress::Event;
use crate::plan::progress::ProgressWriter;

use super::ranks;
use super::ranks::Iterate;
use super::ranks::Ledger;
use super::ranks::Local;
use super::ranks::Order;
use super::ranks::Place;
use super::ranks::Pulse;
use super::ranks::Report;
use super::ranks::Share;
use super::ranks::Verdict;
use super::stop::Stop;

/// Between two looks while others are waited for.
const PAUSE: Duration = Duration::from_millis(1);
/// A rank that fails leaves rank 0 so long to say so.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// A rank that keeps what it has after a stop is waited for so long.
const KEEPING: Duration = Duration::from_secs(600);

/// Rank 0's side of several ranks.
pub struct Crew {
    /// Answers the others as long as this lives.
    leader: Option<Background>,
    pub team: Team,
    pub ledger: Arc<Ledger>,
    pub pulse: Arc<Pulse>,
    /// Rank 0 does no blocks itself.
    pub is_dedicated: bool,
}

impl Crew {
    /// Begins to lead the other ranks, where there are such.
    pub fn gather(run_dir: &RunDir, plan: &Plan, team: Team, places: Vec<Place>) -> Result<Option<Self>> {
        let is_dedicated = plan.dedicated_leader;
        if team.is_alone() {
            return Ok(None);
        }
        let (ledger, pulse) = (Arc::new(Ledger::default()), Arc::new(Pulse::default()));
        pulse.begin(None);
        let run_dir = run_dir.clone();
        let obituary = move |error: Error| {
            last_words(&run_dir, &error, &team);
        };
        let leader = ranks::lead(team, Arc::clone(&ledger), Arc::clone(&pulse), places, Box::new(obituary))?;
        Ok(Some(Self { leader: Some(leader), team, ledger, pulse, is_dedicated }))
    }

    /// Sends the other ranks home.
    pub fn dismiss(&mut self, code: ExitCode) -> Result<()> {
        self.leader = None;
        ranks::order(&self.team, &Order::End { code: code as u8 })
    }

    /// Opens the book of an iteration. `counts`: blocks per half set and optics group; `earlier`: what is finished.
    pub fn open(&self, counts: &[Vec<usize>], earlier: &[(usize, Finished)]) {
        let mut done: Vec<Vec<Vec<bool>>> =
            counts.iter().map(|half| half.iter().map(|count| vec![false; *count]).collect()).collect();
        for (half, finished) in earlier {
            for (flags, of_part) in done[*half].iter_mut().zip(&finished.blocks) {
                flags.iter_mut().zip(of_part).for_each(|(flag, part)| *flag |= *part > 0);
            }
        }
        let left = |flags: &Vec<bool>| -> VecDeque<u32> {
            (0..flags.len() as u32).filter(|block| !flags[*block as usize]).collect()
        };
        let left = done.iter().map(|half| half.iter().map(left).collect()).collect();
        self.ledger.open(left, self.team.size());
        self.pulse.tell_particles(0);
    }

    /// Has the other ranks begin an iteration.
    pub fn order(&self, iterate: Iterate, state: &mut State) -> Result<()> {
        ranks::order(&self.team, &Order::Iterate(Box::new(iterate)))?;
        send_state(&self.team, state)
    }

    pub fn supply(&self, half: usize, share: &Share, stop: &Arc<Stop>) -> Local {
        Local {
            ledger: Arc::clone(&self.ledger),
            half,
            is_ours: share.owns_of(half),
            is_idle: self.is_dedicated,
            stop: Arc::clone(stop),
        }
    }

    /// Waits until all have ended the step, and tells them how it ends. `attend` is called meanwhile.
    pub fn close(&self, stop: Option<String>, attend: &mut dyn FnMut() -> Result<()>) -> Result<Verdict> {
        self.ledger.end(0, stop);
        self.pulse.wait();
        while !self.ledger.have_all_ended() {
            attend()?;
            thread::sleep(PAUSE);
        }
        let verdict = if self.ledger.stop().is_some() { Verdict::Stopped } else { Verdict::Whole };
        (1..self.team.size()).try_for_each(|rank| self.team.send(rank, Tag::Verdict, &verdict))?;
        Ok(verdict)
    }

    /// Waits until all have kept what they have. Whether they have.
    pub fn wait_for_parts(&self, stop: &Stop, attend: &mut dyn FnMut() -> Result<()>) -> Result<bool> {
        self.ledger.kept(0);
        let end = Instant::now() + KEEPING.min(stop.time_left().unwrap_or(KEEPING));
        while !self.ledger.have_all_kept() {
            attend()?;
            if Instant::now() >= end {
                return Ok(false);
            }
            thread::sleep(PAUSE);
        }
        attend()?;
        Ok(true)
    }

    pub fn take_parts(&self) -> Vec<(usize, Entry)> {
        self.ledger.take_parts()
    }
}

/// What there is to say when a rank ends by an error: in the progress file and in its log. Where that cannot be written,
/// a full disk say, the error itself matters more. Of several ranks none survives it: rank 0 says the last words, and
/// this does not come back.
pub fn last_words(run_dir: &RunDir, error: &Error, team: &Team) {
    let code = error.code as u8;
    let _ = run_dir.tell_log(team.rank(), &format!("ends with code {code}: {error}"));
    if team.rank() > 0 {
        let _ = writeln!(std::io::stderr(), "error: rank {}: {error}", team.rank());
        let _ = team.send(0, Tag::Report, &Report::Failed { code, text: error.to_string() });
        thread::sleep(LAST_WORDS);
        team.abort(code);
    }
    let failed = Event::Failed { code, message: error.to_string() };
    let _ = ProgressWriter::open(&run_dir.progress()).and_then(|mut writer| writer.write(failed));
    if !team.is_alone() {
        let _ = writeln!(std::io::stderr(), "error: {error}");
        team.abort(code);
    }
}

/// Rank 0's state goes to all; the maps as they lie in memory.
fn send_state(team: &Team, state: &mut State) -> Result<()> {
    let maps: Vec<Vec<f32>> =
        state.halves.iter_mut().flat_map(|half| &mut half.classes).map(|c| std::mem::take(&mut c.map.data)).collect();
    let mut outcome = team.broadcast(state);
    for (class, mut map) in state.halves.iter_mut().flat_map(|half| &mut half.classes).zip(maps) {
        outcome = outcome.and_then(|()| team.broadcast_numbers(0, &mut map));
        class.map.data = map;
    }
    outcome
}
