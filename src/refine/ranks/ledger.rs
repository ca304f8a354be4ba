//! Rank 0's book of an iteration: which blocks are given away, and what the ranks say.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use crate::checkpoint::Entry;

use super::message::Grant;
use super::message::Report;
use super::message::Request;

/// A rank gets at most this share of what is left, divided by the ranks, so that all end together.
const SHARE: usize = 2;

/// Shared by rank 0's own work and the leader's thread.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Sheet>);

#[derive(Debug, Default)]
struct Sheet {
    /// Per half set and optics group the blocks that nobody has.
    left: Vec<Vec<VecDeque<u32>>>,
    /// Per half set: something was given away or is left.
    is_any: Vec<bool>,
    ranks: usize,
    /// Why the run stops.
    stop: Option<String>,
    /// Ranks whose step is over, and those that kept what they have after a stop.
    ended: Vec<bool>,
    kept: Vec<bool>,
    /// Particles of this iteration finished by each rank.
    particles: Vec<u64>,
    parts: Vec<(usize, Entry)>,
    warnings: Vec<String>,
    failure: Option<(usize, u8, String)>,
}

impl Ledger {
    fn sheet(&self) -> MutexGuard<'_, Sheet> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An iteration begins. `left`: per half set and optics group the unfinished blocks, in order.
    pub fn open(&self, left: Vec<Vec<VecDeque<u32>>>, ranks: usize) {
        let mut sheet = self.sheet();
        sheet.is_any = left.iter().map(|half| half.iter().any(|group| !group.is_empty())).collect();
        sheet.left = left;
        sheet.ranks = ranks;
        (sheet.ended, sheet.kept) = (vec![false; ranks], vec![false; ranks]);
        sheet.particles = vec![0; ranks];
        sheet.parts.clear();
    }

    /// Answers a request.
    pub fn answer(&self, request: &Request) -> Grant {
        let mut sheet = self.sheet();
        if let Some(cause) = &request.stop {
            sheet.stop.get_or_insert_with(|| cause.clone());
        }
        let half = request.half as usize;
        let mut grant = Grant { is_any: sheet.is_any.get(half) == Some(&true), ..Grant::default() };
        if sheet.stop.is_some() {
            return Grant { stop: true, ..grant };
        }
        let ranks = sheet.ranks.max(1);
        let queue = request
            .blocks
            .and_then(|(optics, most)| Some((sheet.left.get_mut(half)?.get_mut(optics as usize)?, most as usize)));
        if let Some((queue, most)) = queue {
            let fair = queue.len().div_ceil(SHARE * ranks).max(1);
            let count = most.min(fair).min(queue.len());
            grant.blocks = queue.drain(..count).collect();
        }
        let is_left = sheet.left.get(half).is_some_and(|half| half.iter().any(|group| !group.is_empty()));
        grant.is_any = is_left || !grant.blocks.is_empty();
        grant
    }

    /// A rank's step is over; why, when not all of it was done.
    pub fn end(&self, rank: usize, stop: Option<String>) {
        self.take(rank, Report::Ended { stop });
    }

    /// A rank kept what it has after a stop.
    pub fn kept(&self, rank: usize) {
        self.take(rank, Report::Kept);
    }

    /// Takes down what a rank says.
    pub fn take(&self, rank: usize, report: Report) {
        let mut sheet = self.sheet();
        match report {
            Report::Parts(entries) => sheet.parts.extend(entries.into_iter().map(|entry| (rank, entry))),
            Report::Warning(text) => sheet.warnings.push(format!("rank {rank}: {text}")),
            Report::Ended { stop } => {
                if let Some(cause) = stop {
                    sheet.stop.get_or_insert(cause);
                }
                mark(&mut sheet.ended, rank);
            }
            Report::Kept => mark(&mut sheet.kept, rank),
            Report::Failed { code, text } => {
                sheet.failure.get_or_insert((rank, code, text));
            }
        }
    }

    pub fn tell_particles(&self, rank: usize, count: u64) {
        if let Some(place) = self.sheet().particles.get_mut(rank) {
            *place = count;
        }
    }

    /// Particles of this iteration that are finished, over all ranks.
    pub fn particles(&self) -> u64 {
        self.sheet().particles.iter().sum()
    }

    pub fn stop(&self) -> Option<String> {
        self.sheet().stop.clone()
    }

    pub fn ask_to_stop(&self, cause: &str) {
        self.sheet().stop.get_or_insert_with(|| cause.to_owned());
    }

    pub fn have_all_ended(&self) -> bool {
        self.sheet().ended.iter().all(|ended| *ended)
    }

    pub fn have_all_kept(&self) -> bool {
        self.sheet().kept.iter().all(|kept| *kept)
    }

    pub fn take_parts(&self) -> Vec<(usize, Entry)> {
        std::mem::take(&mut self.sheet().parts)
    }

    pub fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut self.sheet().warnings)
    }

    /// Why a rank ends the run: rank, code, text.
    pub fn failure(&self) -> Option<(usize, u8, String)> {
        self.sheet().failure.clone()
    }
}

fn mark(flags: &mut [bool], rank: usize) {
    if let Some(flag) = flags.get_mut(rank) {
        *flag = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(half: u32, optics: u32, most: u32) -> Request {
        Request { half, blocks: Some((optics, most)), stop: None }
    }

    #[test]
    fn every_block_is_given_away_once_and_the_last_ones_singly() {
        let ledger = Ledger::default();
        ledger.open(vec![vec![(0..20).collect(), (0..3).collect()], vec![VecDeque::new()]], 2);
        let mut given = Vec::new();
        loop {
            let grant = ledger.answer(&asks(0, 0, 4));
            if grant.blocks.is_empty() {
                break;
            }
            given.push(grant.blocks);
        }
        assert_eq!(given.concat(), (0..20).collect::<Vec<_>>());
        assert_eq!(given[0].len(), 4);
        assert_eq!(given.last().unwrap().len(), 1);
        assert!(ledger.answer(&asks(0, 0, 4)).is_any, "the other group is left");
        assert!(!ledger.answer(&asks(1, 0, 4)).is_any);
        assert!(ledger.answer(&asks(7, 7, 4)).blocks.is_empty());
    }

    #[test]
    fn a_stop_of_one_rank_is_everybodys() {
        let ledger = Ledger::default();
        ledger.open(vec![vec![(0..20).collect()]], 3);
        ledger.answer(&Request { half: 0, blocks: None, stop: Some("SIGTERM".to_owned()) });
        let grant = ledger.answer(&asks(0, 0, 4));
        assert!(grant.stop && grant.blocks.is_empty());
        assert_eq!(ledger.stop().as_deref(), Some("SIGTERM"));
        for rank in 0..3 {
            assert!(!ledger.have_all_ended());
            ledger.take(rank, Report::Ended { stop: None });
        }
        assert!(ledger.have_all_ended() && !ledger.have_all_kept());
    }
}
