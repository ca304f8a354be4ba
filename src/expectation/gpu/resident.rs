//! Images that stay on the device between iterations, in the number type of their files.

use crate::arena::Frame;
use crate::device::Driver;
use crate::device::Stream;
use crate::error::Result;

/// No slot.
const NONE: u32 = u32::MAX;

/// Images of particles, one each. A particle keeps its slot from iteration to iteration; the first that come get one,
/// until all slots are given away.
///
/// The slots are the first thing in the device's region in every run of its arena, so that what they hold stays.
pub struct Resident {
    /// Address of the first slot; none before the first run.
    address: Option<u64>,
    image_bytes: usize,
    capacity: usize,
    /// Slot of each particle of the data set; and whose the slots are.
    slots: Vec<u32>,
    owners: Vec<u32>,
}

impl Resident {
    /// Without slots, for a data set of so many particles whose images take `image_bytes` at most.
    pub fn new(image_bytes: usize, particles: usize) -> Self {
        Self { address: None, image_bytes, capacity: 0, slots: vec![NONE; particles], owners: Vec::new() }
    }

    /// Gives as many slots as fit into `bytes`, or one to each particle. Whoever had one of those that are gone has
    /// none.
    pub fn fit(&mut self, bytes: usize) {
        self.capacity = (bytes / self.image_bytes.max(1)).min(self.slots.len());
        let kept = self.capacity.min(self.owners.len());
        self.owners.drain(kept..).for_each(|particle| self.slots[particle as usize] = NONE);
    }

    /// Bytes of all slots.
    pub fn bytes(&self) -> usize {
        self.capacity * self.image_bytes
    }

    /// Bytes of slots for all particles.
    pub fn most_bytes(&self) -> usize {
        self.slots.len() * self.image_bytes
    }

    /// The allocation of `bytes`, alone.
    ///
    /// # Errors
    /// The region is full.
    pub fn count(frame: &mut Frame<'_>, bytes: usize) -> Result<usize> {
        Ok(frame.place::<u8>("resident images", bytes)?.offset())
    }

    /// Takes its place in a run of the arena. `base` is the address of the region: at another one all is forgotten.
    ///
    /// # Errors
    /// The region is full.
    pub fn settle(&mut self, frame: &mut Frame<'_>, base: u64) -> Result<()> {
        let address = base + Self::count(frame, self.bytes())? as u64;
        if self.address.replace(address) != Some(address) {
            self.clear();
        }
        Ok(())
    }

    /// Forgets all: the region is another one.
    pub fn clear(&mut self) {
        self.owners.drain(..).for_each(|particle| self.slots[particle as usize] = NONE);
    }

    /// Address of a particle's image where it is on the device.
    pub fn slot(&self, particle: u32) -> Option<u64> {
        let slot = self.slots[particle as usize];
        (slot != NONE).then(|| self.at(slot as usize))
    }

    fn at(&self, slot: usize) -> u64 {
        self.address.unwrap_or_default() + (slot * self.image_bytes) as u64
    }

    /// Uploads a particle's image by a stream if there is a slot left; its address, if it has one.
    ///
    /// # Errors
    /// Those of the device; then it has no slot.
    pub fn keep(&mut self, driver: &dyn Driver, stream: Stream, particle: u32, image: &[u8]) -> Result<Option<u64>> {
        assert!(
            image.len() <= self.image_bytes,
            "an image of {} bytes for a slot of {}",
            image.len(),
            self.image_bytes
        );
        if self.slot(particle).is_none() && self.owners.len() < self.capacity {
            let slot = self.owners.len();
            driver.upload(stream, self.at(slot), image)?;
            self.owners.push(particle);
            self.slots[particle as usize] = slot as u32;
        }
        Ok(self.slot(particle))
    }

    /// Particles on the device.
    pub fn len(&self) -> usize {
        self.owners.len()
    }

    pub fn is_empty(&self) -> bool {
        self.owners.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use crate::arena::Arena;
    use crate::device::OnCpu;
    use crate::device::Precision;

    use super::*;

    #[test]
    fn the_first_that_come_stay_and_the_last_go_first() {
        let mut driver = OnCpu::open(Precision::Single).expect("a compiler");
        let base = driver.reserve(1024).expect("memory");
        let mut arena = Arena::of_device(1024);
        let mut resident = Resident::new(5, 9);
        assert_eq!(resident.most_bytes(), 45);
        resident.fit(14);
        assert_eq!(resident.bytes(), 10);
        let kept = |resident: &mut Resident, particle: u32| {
            let at = resident.keep(&driver, Stream::Upload, particle, &[particle as u8; 5]).expect("room")?;
            let mut found = [0; 5];
            driver.download(Stream::Download, at, &mut found).expect("memory");
            assert_eq!(found, [particle as u8; 5]);
            Some(at)
        };
        let places = arena.run(|frame| {
            resident.settle(frame, base).expect("room");
            [7, 3, 7, 5].map(|particle| kept(&mut resident, particle))
        });
        assert!(places[0].is_some() && places[1].is_some() && places[0] != places[1]);
        assert_eq!((places[2], places[3]), (places[0], None));
        // In the next run they are still there; with more room the next ones are too.
        resident.fit(20);
        arena.run(|frame| {
            resident.settle(frame, base).expect("room");
            assert_eq!([7, 3].map(|particle| resident.slot(particle)), [places[0], places[1]]);
            assert!(kept(&mut resident, 5).is_some());
            assert_eq!(resident.len(), 3);
        });
        // With less room the last have to go.
        resident.fit(5);
        assert_eq!((resident.slot(7), resident.slot(3), resident.slot(5)), (places[0], None, None));
        // Another region holds nothing.
        let moved = driver.reserve(4096).expect("memory");
        Arena::of_device(4096).run(|frame| {
            resident.settle(frame, moved + 256).expect("room");
            assert!(resident.is_empty() && resident.slot(7).is_none());
        });
    }
}
