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

/// Left to the driver where nobody says how much may be taken: for what kernels and transforms keep to themselves.
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
    /// What there was to say when it was opened.
    pub notes: Vec<String>,
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
        let free = driver.free_bytes()? / on.users.max(1) as u64;
        let most = plan.gpu_memory_bytes.map_or(free.saturating_sub(LEFT_BYTES), |cap| cap.min(free));
        let image_bytes = inputs.pixel_bytes() * inputs.box_pixels().pow(2);
        Ok(Self {
            largest: plan::largest_on_device(plan, inputs, on.found.capability, most)?,
            most,
            capability: on.found.capability,
            driver,
            notes,
            base: 0,
            arena: Arena::of_device(0),
            counted: Layout::default(),
            staging: None,
            resident: Mutex::new(Resident::new(image_bytes, inputs.dataset.particles.len())),
        })
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
            let wanted = peak.max(self.largest).next_multiple_of(STEP) + resident.most_bytes();
            let bytes = wanted.min(self.most as usize).max(peak);
            self.base = self.driver.reserve(bytes)?;
            self.arena = Arena::of_device(bytes);
            resident.clear();
        }
        if self.staging.as_ref().is_none_or(|pinned| pinned.bytes().len() < staging) {
            // The old memory goes before the new one comes.
            self.staging = None;
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
