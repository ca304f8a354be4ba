//! How the images of a batch get to the device, and what the host knows about its particles meanwhile.

use std::ops::Range;
use std::sync::PoisonError;

use crate::device::Stream;
use crate::error::Error;
use crate::error::Result;
use crate::expectation::prior::OffsetPrior;
use crate::expectation::products::ahead;
use crate::expectation::products::batch::scalar;
use crate::expectation::products::load;
use crate::expectation::products::parallel;
use crate::expectation::scalar::Scalar;

use super::batches::Batches;
use super::batches::SENT;
use super::clock::Phase;
use super::prepare::Image;

impl<T: Scalar> Batches<'_, T> {
    /// Sends the images of a batch that are not on the device yet, and starts to prepare all of them in a slot. Only the
    /// rows there are written to: what is known of the slot's last batch may be taken afterwards.
    pub fn introduce(&mut self, slot: usize, members: &[(usize, u32)], images: ahead::Batch<'_>) -> Result<()> {
        self.send(members, images)?;
        let (link, rows) = (self.link, self.prepared_rows(slot));
        link.driver.mark(Stream::Upload, SENT)?;
        link.driver.wait_for(Stream::Compute, SENT)?;
        let (preparation, addresses) = (&mut self.preparation, &self.addresses);
        let particles = members.iter().map(|(_, particle)| *particle);
        preparation.note(particles, addresses)?;
        self.clock.time(&link, Phase::Images, || preparation.start(rows))
    }

    /// Uploads images, beside whatever the device computes: to their own slots as long as there are some.
    fn send(&mut self, members: &[(usize, u32)], images: ahead::Batch<'_>) -> Result<()> {
        let (driver, shape) = (self.link.driver, self.sizes.shape);
        let raw = self.link.at(self.raw).address();
        let passing = |place: usize| raw + (place * shape.image_bytes) as u64;
        let upload = |places: Range<usize>| driver.upload(Stream::Upload, passing(places.start), images.bytes(places));
        let mut resident = self.resident.lock().unwrap_or_else(PoisonError::into_inner);
        // Neighbours go together.
        let mut run = 0..0;
        self.addresses.clear();
        for (p, (_, particle)) in members.iter().enumerate() {
            for which in 0..shape.images {
                let name = match which {
                    0 => self.setting.task.dataset.particles[*particle as usize].image,
                    _ => ahead::reconstruct_image(self.setting.task.dataset, *particle),
                };
                let place = images.place(p, which);
                let kept = match place {
                    Some(place) if which == 0 => {
                        resident.keep(driver, Stream::Upload, *particle, images.bytes(place..place + 1))?
                    }
                    Some(_) => None,
                    None => resident.slot(*particle),
                };
                let address = match (kept, place) {
                    (Some(address), _) => address,
                    (None, Some(place)) => {
                        if run.end != place {
                            if !run.is_empty() {
                                upload(run)?;
                            }
                            run = place..place;
                        }
                        run.end += 1;
                        passing(place)
                    }
                    (None, None) => {
                        let what = format!("the image of particle {particle} was neither read nor resident");
                        return Err(Error::internal(what));
                    }
                };
                self.addresses.push(Image { address, format: images.format(name) });
            }
        }
        if run.is_empty() { Ok(()) } else { upload(run) }
    }

    /// What follows from the particles' earlier offsets: their priors, by the threads of the host.
    pub fn fill_priors(&mut self, slot: usize) -> Result<()> {
        let (sizes, setting, preparation) = (&self.sizes, &self.setting, &self.preparation);
        let offsets = sizes.offsets();
        let children = sizes.shape.translations * sizes.shape.steps;
        let state = &mut self.slots[slot];
        let count = state.members.len();
        let host = &mut self.host;
        let rows = host.log_offsets.chunks_exact_mut(offsets).zip(host.squared.chunks_exact_mut(children));
        let particles = state.records[..count].iter_mut().zip(rows).enumerate();
        parallel::each(&mut self.near, particles, |_, (p, (record, (log_offsets, squared)))| {
            record.offset_pixels = preparation.offset_pixels(p);
            let (task, group) = (setting.task, setting.group);
            record.log_prior_sum = load::fill_offset_priors(task, group, &sizes.shape, record, log_offsets);
            let prior = OffsetPrior::new(task, group, record.index, record.offset_pixels);
            let list = task.translations;
            for (at, squared) in squared.iter_mut().enumerate() {
                let by = group.pixels(list.child(at / list.child_count(), at % list.child_count()));
                *squared = scalar(prior.squared_angstrom(record.offset_pixels, by));
            }
            Ok(())
        })
    }

    /// Sends them. The host may wait here until the device comes to it.
    pub fn send_priors(&self, slot: usize) -> Result<()> {
        let (place, sizes) = (self.device_slots[slot], &self.sizes);
        let count = self.slots[slot].members.len();
        let children = sizes.shape.translations * sizes.shape.steps;
        self.link.upload(place.log_offsets, &self.host.log_offsets[..count * sizes.offsets()])?;
        self.link.upload(place.squared, &self.host.squared[..count * children])
    }

    /// Tells the device which particles are compared with which classes.
    pub fn allow(&mut self, slot: usize) -> Result<()> {
        let (state, place, shape) = (&self.slots[slot], self.device_slots[slot], &self.sizes.shape);
        let records = &state.records[..state.members.len()];
        let powers: Vec<f64> = records.iter().map(|r| r.correlation_power).collect();
        self.link.upload(place.image_powers, &powers)?;
        let only = self.setting.task.only_class;
        let mut allowed = vec![0; shape.classes * shape.particles];
        for (class, allowed) in allowed.chunks_exact_mut(shape.particles).enumerate() {
            for (allowed, record) in allowed.iter_mut().zip(records) {
                let may = record.is_used() && only.is_none_or(|only| only[record.position] as usize == class);
                *allowed = u8::from(may);
            }
        }
        self.link.upload(place.allowed, &allowed)
    }
}
