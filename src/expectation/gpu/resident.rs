//! Images that stay on the device between iterations, in the number type of their files.

use crate::arena::Frame;
use crate::arena::Place;
use crate::device::Driver;
use crate::device::Stream;
use crate::error::Result;

/// No slot.
const NONE: u32 = u32::MAX;

/// The images of a half set's particles. A particle keeps its slot for the run; the first that come get one, until all
/// slots are given away.
pub struct Resident<'f> {
    memory: Place<'f, u8>,
    base: u64,
    slot_bytes: usize,
    /// Slot of each particle of the data set; and whose the slots are.
    slots: Vec<u32>,
    owners: Vec<u32>,
    capacity: usize,
}

impl Resident<'_> {
    /// How many particles fit into a budget, and the bytes that this takes: all of them or as many as there is room for.
    /// `slot_bytes` are those of all images of a particle.
    pub fn capacity(budget_bytes: usize, slot_bytes: usize, particles: usize) -> (usize, usize) {
        let count = (budget_bytes / slot_bytes.max(1)).min(particles);
        (count, count * slot_bytes)
    }
}

impl<'f> Resident<'f> {
    /// Room for `capacity` of the data set's `particles`. `base` is the address of the frame's region.
    ///
    /// # Errors
    /// The region is full.
    pub fn new(frame: &mut Frame<'f>, base: u64, capacity: usize, slot_bytes: usize, particles: usize) -> Result<Self> {
        let memory = frame.place("resident images", capacity * slot_bytes)?;
        let (slots, owners) = (vec![NONE; particles], Vec::with_capacity(capacity));
        Ok(Self { memory, base, slot_bytes, slots, owners, capacity })
    }

    /// Address of a particle's images where they are on the device.
    pub fn slot(&self, particle: u32) -> Option<u64> {
        let slot = self.slots[particle as usize];
        (slot != NONE).then(|| self.base + (self.memory.offset() + slot as usize * self.slot_bytes) as u64)
    }

    /// Uploads a particle's images by a stream if it has no slot and there is one left; its address, if it has one.
    ///
    /// # Errors
    /// Those of the device; then it has no slot.
    pub fn keep(&mut self, driver: &dyn Driver, stream: Stream, particle: u32, images: &[u8]) -> Result<Option<u64>> {
        assert!(images.len() <= self.slot_bytes, "images of {} bytes for a slot of {}", images.len(), self.slot_bytes);
        if self.slot(particle).is_none() && self.owners.len() < self.capacity {
            let slot = self.owners.len();
            driver.upload(stream, self.base + (self.memory.offset() + slot * self.slot_bytes) as u64, images)?;
            self.owners.push(particle);
            self.slots[particle as usize] = slot as u32;
        }
        Ok(self.slot(particle))
    }

    /// Forgets all: the particles are others now, or so is what a slot holds.
    pub fn clear(&mut self) {
        self.owners.drain(..).for_each(|particle| self.slots[particle as usize] = NONE);
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
    fn the_first_that_come_stay() {
        assert_eq!(Resident::capacity(1000, 300, 10), (3, 900));
        assert_eq!(Resident::capacity(1 << 40, 300, 10), (10, 3000));
        assert_eq!(Resident::capacity(299, 300, 10), (0, 0));
        let mut driver = OnCpu::open(Precision::Single).expect("a compiler");
        let base = driver.reserve(1024).expect("memory");
        Arena::of_device(1024).run(|frame| {
            let mut resident = Resident::new(frame, base, 2, 5, 9).expect("room");
            let mut keep = |particle: u32| {
                let images = [particle as u8; 5];
                resident.keep(&driver, Stream::Upload, particle, &images).expect("room").inspect(|at| {
                    let mut found = [0; 5];
                    driver.download(Stream::Download, *at, &mut found).expect("memory");
                    assert_eq!(found, images);
                })
            };
            let slots = [keep(7), keep(3), keep(7), keep(5)];
            assert!(slots[0].is_some() && slots[1].is_some() && slots[0] != slots[1]);
            assert_eq!((slots[2], slots[3]), (slots[0], None));
            assert_eq!((resident.slot(3), resident.slot(5), resident.len()), (slots[1], None, 2));
            resident.clear();
            assert!(resident.is_empty() && resident.slot(3).is_none());
        });
    }
}
