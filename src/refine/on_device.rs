//! The device of this rank: opened once, one region of its memory for the life of the process.

use std::sync::Mutex;
use std::sync::PoisonError;

use crate::arena::Arena;
use crate::arena::Event;
use crate::arena::Layout;
use crate::device;
use crate::device::Driver;
use crate::device::Pinned;
use crate::device::Precision as Scalars;
use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::expectation::gpu::DeviceFrame;
use crate::expectation::gpu::Link;
use crate::expectation::gpu::Resident;
use crate::plan::Plan;
use crate::plan::Precision;
use crate::plan::progress::DeviceFigures;

use super::inputs::Inputs;
use super::plan;
use super::ranks::OnDevice;
use super::settings;

/// Left to the driver: for what kernels and transforms keep to themselves.
const LEFT_BYTES: u64 = 512 << 20;
/// The region is divided in steps of this.
const STEP: usize = 256;

/// An open device and the arena of its memory.
pub struct Opened {
    driver: Box<dyn Driver>,
    base: u64,
    arena: Arena,
    /// Bytes that this rank may take.
    pub most: u64,
    pub capability: (u32, u32),
    /// What there was to say when it was opened, and what there is to warn of since.
    pub notes: Vec<String>,
    pub news: Vec<String>,
    /// Bytes of the largest iteration of the run, as planned, without resident images.
    largest: usize,
    counted: Layout,
    staging: Option<Pinned>,
    resident: Mutex<Resident>,
}

impl Opened {
    /// Opens the device that this rank was given.
    ///
    /// # Errors
    /// `Unavailable` where it cannot be used.
    pub fn new(plan: &Plan, inputs: &Inputs, on: &OnDevice) -> Result<Self> {
        settings::check_form(plan, on.found.capability)?;
        let scalars = match plan.precision {
            Precision::Single => Scalars::Single,
            Precision::Double => Scalars::Double,
        };
        let (driver, notes) = device::open_seen(&on.found, scalars)?;
        // Of several ranks each has its part of the whole: others may have taken theirs already.
        let part = driver.identity().memory_bytes / on.users.max(1) as u64;
        let room = driver.free_bytes()?.min(part).saturating_sub(LEFT_BYTES);
        let most = plan.gpu_memory_bytes.map_or(room, |cap| cap.min(room));
        let widest = inputs.dataset.optics.iter().map(|optics| optics.box_pixels).max().unwrap_or(0);
        let image_bytes = inputs.pixel_bytes() * widest.pow(2);
        Ok(Self {
            largest: plan::largest_on_device(plan, inputs, on.found.capability, most)?,
            most,
            capability: on.found.capability,
            driver,
            notes,
            news: Vec::new(),
            base: 0,
            arena: Arena::of_device(0),
            counted: Layout::default(),
            staging: None,
            resident: Mutex::new(Resident::new(image_bytes, inputs.dataset.particles.len())),
        })
    }

    /// Gives page-locked memory back that is not as large as `staging`, before other memory is taken.
    pub fn unpin(&mut self, staging: usize) {
        if self.staging.as_ref().is_some_and(|pinned| pinned.bytes().len() != staging) {
            self.staging = None;
        }
    }

    /// Makes room for an iteration that needs `peak` bytes on the device, and `staging` of page-locked memory. The
    /// region is reserved once, for the largest iteration and the images; it grows if that was planned too small.
    /// Returns the bytes of resident images, those that this iteration leaves room for.
    ///
    /// # Errors
    /// The device does not have them.
    pub fn reserve(&mut self, peak: usize, staging: usize) -> Result<usize> {
        let resident = self.resident.get_mut().unwrap_or_else(PoisonError::into_inner);
        if self.arena.capacity() < peak {
            let largest = peak.max(self.largest).next_multiple_of(STEP);
            let wanted = largest + resident.most_bytes().next_multiple_of(STEP);
            let bytes = wanted.min(self.most as usize).max(peak);
            self.arena = Arena::of_device(0);
            resident.clear();
            let least = bytes.min(largest);
            let bytes = match self.driver.reserve(bytes) {
                Ok(base) => (base, bytes),
                // Images need not stay.
                Err(error) if error.code == ExitCode::Memory && bytes > least => {
                    self.news.push(format!("{error}: going on with less, so that fewer images stay on the GPU"));
                    (self.driver.reserve(least)?, least)
                }
                Err(error) => return Err(error),
            };
            (self.base, self.arena) = (bytes.0, Arena::of_device(bytes.1));
        }
        if self.staging.is_none() {
            self.staging = Some(self.driver.pinned(staging)?);
        }
        resident.fit((self.arena.capacity() - peak) / STEP * STEP);
        Ok(resident.bytes())
    }

    /// Where everything will lie in the next run.
    pub fn expect(&mut self, layout: Layout) {
        self.counted = layout;
    }

    /// Runs `work` with the outermost frame of the device.
    ///
    /// # Errors
    /// Those of `work`.
    pub fn run<R>(&mut self, work: impl FnOnce(DeviceFrame<'_, '_>) -> Result<R>) -> Result<R> {
        let link = Link { driver: &*self.driver, base: self.base };
        let (resident, staging) = (&self.resident, &mut self.staging);
        self.arena.run(|frame| {
            resident.lock().unwrap_or_else(PoisonError::into_inner).settle(frame, link.base)?;
            work(DeviceFrame { link, frame, staging: staging.as_mut().map_or(&mut [], Pinned::bytes_mut), resident })
        })
    }

    /// Figures of the latest run.
    pub fn figures(&self) -> DeviceFigures {
        let resident = self.resident.lock().unwrap_or_else(PoisonError::into_inner);
        DeviceFigures {
            planned_bytes: self.counted.peak as u64,
            reserved_bytes: self.arena.capacity() as u64,
            peak_bytes: self.arena.layout().peak as u64,
            resident_images: resident.len(),
            ..DeviceFigures::default()
        }
    }

    /// What happened in the arena since the last call.
    pub fn take_events(&self) -> Vec<Event> {
        self.arena.take_events()
    }

    /// # Errors
    /// Memory lay elsewhere than it was counted: a defect.
    pub fn check(&self) -> Result<()> {
        match self.arena.layout().difference(&self.counted) {
            None => Ok(()),
            Some(difference) => Err(Error::internal(format!("memory of the device: {difference}"))),
        }
    }
}
