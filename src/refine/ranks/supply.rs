//! Where a rank gets its blocks: from the ledger on rank 0, by request elsewhere.

use std::sync::Arc;

use crate::comm::Tag;
use crate::comm::Team;
use crate::error::Result;
use crate::expectation::products::Supply;
use crate::refine::stop::Cause;
use crate::refine::stop::Stop;

use super::ledger::Ledger;
use super::message::Grant;
use super::message::Request;

/// What is left of one half set, for rank 0's own work.
pub struct Local {
    pub ledger: Arc<Ledger>,
    pub half: usize,
    /// Its maps are made here: the step is prepared in any case.
    pub is_ours: bool,
    /// This rank does no blocks (`dedicated_leader`).
    pub is_idle: bool,
    pub stop: Arc<Stop>,
}

/// What is left of one half set, for the other ranks.
pub struct Remote {
    pub team: Team,
    pub half: usize,
    pub is_ours: bool,
    pub stop: Arc<Stop>,
}

/// A request as this rank stands.
fn request(half: usize, blocks: Option<(u32, u32)>, stop: &Stop) -> Request {
    Request { half: half as u32, blocks, stop: stop.cause().map(|cause| cause.to_string()) }
}

/// Takes what was granted. A stop of any rank is everybody's.
fn take(grant: Grant, stop: &Stop, out: &mut Vec<u32>) {
    if grant.stop {
        stop.raise(Cause::Others);
    }
    out.extend(grant.blocks);
}

impl Supply for Local {
    fn is_wanted(&self) -> Result<bool> {
        Ok(self.is_ours || (!self.is_idle && self.ledger.answer(&request(self.half, None, &self.stop)).is_any))
    }

    fn next(&self, optics: usize, most: usize, out: &mut Vec<u32>) -> Result<()> {
        if !self.is_idle {
            let grant = self.ledger.answer(&request(self.half, Some((optics as u32, most as u32)), &self.stop));
            take(grant, &self.stop, out);
        }
        Ok(())
    }
}

impl Remote {
    fn ask(&self, blocks: Option<(u32, u32)>) -> Result<Grant> {
        self.team.send(0, Tag::Request, &request(self.half, blocks, &self.stop))?;
        Ok(self.team.receive(Some(0), Tag::Grant)?.1)
    }
}

impl Supply for Remote {
    fn is_wanted(&self) -> Result<bool> {
        Ok(self.is_ours || self.ask(None)?.is_any)
    }

    fn next(&self, optics: usize, most: usize, out: &mut Vec<u32>) -> Result<()> {
        take(self.ask(Some((optics as u32, most as u32)))?, &self.stop, out);
        Ok(())
    }
}
