//! After the expectation step: what all ranks found and summed comes to those that make the maps.
//!
//! A map is made by one rank, its owner: the half sets of a refinement by two ranks at once, the classes of a
//! classification by as many ranks as there are classes. Rank 0 gets all maps and decides what follows.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::arena;
use crate::comm::Tag;
use crate::comm::Team;
use crate::error::Error;
use crate::error::Result;
use crate::expectation::SumVoxel;
use crate::expectation::Task;
use crate::expectation::products::Finished;
use crate::product::Voxel;
use crate::refine::scribe::DoneHalf;

use super::message::Found;

/// Who makes which map.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    team: Team,
    halves: usize,
    classes: usize,
}

impl Share {
    pub fn new(team: Team, halves: usize, classes: usize) -> Self {
        Self { team, halves, classes }
    }

    pub fn halves(&self) -> usize {
        self.halves
    }

    /// Ranks that make maps: the first ones.
    fn owners(&self) -> usize {
        self.team.size().min(self.halves * self.classes)
    }

    /// The rank that makes the map of a class of a half set.
    pub fn owner(&self, half: usize, class: usize) -> usize {
        (half * self.classes + class) % self.owners()
    }

    pub fn is_mine(&self, half: usize, class: usize) -> bool {
        self.owner(half, class) == self.team.rank()
    }

    /// Whether any map of a half set is made here.
    pub fn owns_of(&self, half: usize) -> bool {
        (0..self.classes).any(|class| self.is_mine(half, class))
    }

    /// Whether this rank makes any map.
    pub fn makes_maps(&self) -> bool {
        self.team.rank() < self.owners()
    }

    /// Whether other ranks work beside this one.
    pub fn is_shared(&self) -> bool {
        !self.team.is_alone()
    }

    /// Rank 0 decides and keeps everything.
    pub fn leads(&self) -> bool {
        self.team.rank() == 0
    }

    /// The order in which this rank works on the half sets: ranks start on different ones, and change once.
    pub fn order(&self) -> Vec<usize> {
        (0..self.halves).map(|half| (half + self.team.rank()) % self.halves).collect()
    }

    /// The sums of both half sets come to both ranks that make their maps, where these are two.
    pub fn swap(&self, a: &mut [SumVoxel], b: &mut [SumVoxel]) -> Result<()> {
        if self.owners() == 1 {
            return Ok(());
        }
        let other = 1 - self.team.rank();
        let (ours, theirs) = if self.leads() { (a, b) } else { (b, a) };
        // The bits of numbers are sent as those of integers.
        let ours = arena::recast::<SumVoxel, Voxel>(ours).as_flattened();
        self.team.exchange(other, ours, arena::recast::<SumVoxel, Voxel>(theirs).as_flattened_mut())
    }

    /// Rank 0's value for all ranks that make maps; the others have none.
    pub fn agree<V: Serialize + DeserializeOwned>(&self, value: Option<V>) -> Result<V> {
        if !self.leads() {
            return Ok(self.team.receive(Some(0), Tag::Map)?.1);
        }
        let value = value.ok_or_else(|| Error::internal("nothing to agree on"))?;
        (1..self.owners()).try_for_each(|rank| self.team.send(rank, Tag::Map, &value))?;
        Ok(value)
    }

    /// A value that the owner of a map has made comes to rank 0. `None` where it is neither made nor wanted.
    pub fn collect<V: Serialize + DeserializeOwned>(
        &self,
        half: usize,
        class: usize,
        value: Option<V>,
    ) -> Result<Option<V>> {
        let owner = self.owner(half, class);
        match (self.team.rank(), owner) {
            (0, 0) => Ok(value),
            (0, owner) => Ok(Some(self.team.receive(Some(owner), Tag::Map)?.1)),
            (rank, owner) if rank == owner => {
                let value = value.ok_or_else(|| Error::internal("a map was not made"))?;
                self.team.send(0, Tag::Map, &value)?;
                Ok(Some(value))
            }
            _ => Ok(None),
        }
    }
}

/// Brings everything together; every rank calls this with its half sets in order. Rank 0 and the owners know all then,
/// and the integers of a map are whole at its owner.
pub fn merge(share: &Share, done: &mut [DoneHalf<'_>], tasks: &[Task<'_>], block_particles: usize) -> Result<()> {
    let team = &share.team;
    if team.is_alone() {
        return Ok(());
    }
    if team.rank() == 0 {
        for rank in 1..team.size() {
            let (_, found): (_, Found) = team.receive(Some(rank), Tag::Found)?;
            for (half, finished) in found {
                let step = done.get_mut(half).map(|done| &mut done.step);
                if let (Some(step), Some(finished)) = (step, finished) {
                    step.absorb(finished)?;
                }
            }
        }
        let all: Vec<Finished> = done.iter().map(|done| done.step.finished()).collect();
        (1..share.owners()).try_for_each(|rank| team.send(rank, Tag::Found, &all))?;
    } else {
        let found = |done: &DoneHalf<'_>| (done.half, (!done.step.is_idle()).then(|| done.step.finished()));
        let found: Found = done.iter().map(found).collect();
        team.send(0, Tag::Found, &found)?;
        if share.makes_maps() {
            let (_, all): (_, Vec<Finished>) = team.receive(Some(0), Tag::Found)?;
            for ((done, task), all) in done.iter_mut().zip(tasks).zip(all) {
                done.step.replace(task, block_particles, all)?;
            }
        }
    }
    for DoneHalf { half, sums, .. } in done {
        for (class, sums) in sums.iter_mut().enumerate() {
            team.sum_to(share.owner(*half, class), arena::recast::<SumVoxel, Voxel>(sums).as_flattened_mut())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_sets_and_classes_have_owners_of_their_own() {
        let share = |rank, size, halves, classes| Share::new(Team::silent(rank, size), halves, classes);
        // Both half sets are reconstructed at once, and each rank begins with its own.
        let [first, second] = [0, 1].map(|rank| share(rank, 2, 2, 1));
        assert_eq!((first.owner(0, 0), first.owner(1, 0)), (0, 1));
        assert_eq!((first.order(), second.order()), (vec![0, 1], vec![1, 0]));
        assert!(second.owns_of(1) && !second.owns_of(0) && second.makes_maps());
        let third = share(2, 3, 2, 1);
        assert!(!third.makes_maps() && third.order() == [0, 1]);
        // Classes go round.
        let share = share(1, 2, 1, 3);
        assert_eq!([0, 1, 2].map(|class| share.owner(0, class)), [0, 1, 0]);
        assert!(share.is_mine(0, 1) && !share.is_mine(0, 2));
    }
}
