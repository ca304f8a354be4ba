//! The device of this rank: opened once, one region of its memory for the life of the process.

use crate::arena::Arena;
use crate::arena::Layout;
use crate::device;
use crate::device::Driver;
use crate::device::Precision as Scalars;
use crate::error::Error;
use crate::error::Result;
use crate::expectation::gpu::Link;
use crate::plan::Plan;
use crate::plan::Precision;
use crate::plan::progress::DeviceFigures;

use super::ranks::OnDevice;
use super::settings;
use super::settings::DeviceFrame;

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
    counted: Layout,
}

impl Opened {
    /// Opens the device that this rank was given.
    ///
    /// # Errors
    /// `Unavailable` where it cannot be used.
    pub fn new(plan: &Plan, on: &OnDevice) -> Result<Self> {
        settings::check_form(plan, on.found.capability)?;
        let scalars = match plan.precision {
            Precision::Single => Scalars::Single,
            Precision::Double => Scalars::Double,
        };
        let (driver, notes) = device::open_seen(&on.found, scalars)?;
        let free = driver.free_bytes()? / on.users.max(1) as u64;
        Ok(Self {
            most: plan.gpu_memory_bytes.map_or(free, |cap| cap.min(free)),
            capability: on.found.capability,
            driver,
            notes,
            base: 0,
            arena: Arena::of_device(0),
            counted: Layout::default(),
        })
    }

    /// Makes sure that the region holds `layout`; it only grows.
    pub fn reserve(&mut self, layout: Layout) -> Result<()> {
        if self.arena.capacity() < layout.peak {
            self.base = self.driver.reserve(layout.peak)?;
            self.arena = Arena::of_device(layout.peak);
        }
        self.counted = layout;
        Ok(())
    }

    /// Runs `work` with the outermost frame of the device.
    pub fn run<R>(&mut self, work: impl FnOnce(DeviceFrame<'_, '_>) -> R) -> R {
        let link = Link { driver: &*self.driver, base: self.base };
        self.arena.run(|frame| work(DeviceFrame { link, frame }))
    }

    /// Figures of the latest run.
    pub fn figures(&self) -> DeviceFigures {
        DeviceFigures {
            planned_bytes: self.counted.peak as u64,
            reserved_bytes: self.arena.capacity() as u64,
            peak_bytes: self.arena.layout().peak as u64,
            ..DeviceFigures::default()
        }
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
