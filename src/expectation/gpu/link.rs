//! A device and its region: values at places of the arena.

use std::sync::Mutex;

use crate::arena;
use crate::arena::Frame;
use crate::arena::Place;
use crate::device;
use crate::device::Driver;
use crate::device::Grid;
use crate::device::Plain;
use crate::device::Stream;
use crate::error::Result;

use super::arguments::Pointer;
use super::resident::Resident;

/// The device that a step runs on.
#[derive(Clone, Copy)]
pub struct Link<'d> {
    pub driver: &'d dyn Driver,
    /// Address of the region.
    pub base: u64,
}

/// A device's part of a step.
pub struct DeviceFrame<'a, 'd> {
    pub link: Link<'a>,
    /// Deals out the memory of the region.
    pub frame: &'a mut Frame<'d>,
    /// Page-locked memory of this process that images wait in: [`super::staging_bytes`].
    pub staging: &'a mut [u8],
    /// Images that are on the device before the step, and those that stay there after it.
    pub resident: &'a Mutex<Resident>,
}

impl<'d> DeviceFrame<'_, 'd> {
    /// The same, for one step of several.
    pub fn again(&mut self) -> DeviceFrame<'_, 'd> {
        let Self { link, frame, staging, resident } = self;
        DeviceFrame { link: *link, frame, staging, resident }
    }
}

impl Link<'_> {
    pub fn at<T: arena::Plain>(&self, place: Place<'_, T>) -> Pointer<T> {
        Pointer::new(self.base + place.offset() as u64)
    }

    /// Copies values to the beginning of a place, in order with the kernels.
    pub fn upload<T: arena::Plain + Plain>(&self, place: Place<'_, T>, values: &[T]) -> Result<()> {
        assert!(values.len() <= place.len(), "{} values for {} places", values.len(), place.len());
        device::upload(self.driver, Stream::Compute, self.at(place).address(), values)
    }

    /// Copies the beginning of a place from the device, in order with the kernels; see [`Driver::download`].
    pub fn download<T: arena::Plain + Plain>(&self, place: Place<'_, T>, values: &mut [T]) -> Result<()> {
        assert!(values.len() <= place.len(), "{} values of {} places", values.len(), place.len());
        device::download(self.driver, Stream::Compute, self.at(place).address(), values)
    }

    /// The same beside the kernels, after what [`Stream::Download`] waits for.
    pub fn fetch<T: arena::Plain + Plain>(&self, place: Place<'_, T>, values: &mut [T]) -> Result<()> {
        assert!(values.len() <= place.len(), "{} values of {} places", values.len(), place.len());
        device::download(self.driver, Stream::Download, self.at(place).address(), values)
    }

    pub fn zero<T: arena::Plain>(&self, place: Place<'_, T>) -> Result<()> {
        self.driver.zero(Stream::Compute, self.at(place).address(), place.len() * size_of::<T>())
    }

    pub fn launch<A: Copy>(&self, kernel: &'static str, grid: Grid, arguments: &A) -> Result<()> {
        device::launch(self.driver, Stream::Compute, kernel, grid, arguments)
    }

    /// Waits for all kernels so far, and for the copies in order with them.
    pub fn finish(&self) -> Result<()> {
        self.driver.finish(Stream::Compute)
    }
}

/// A grid of `blocks` with `threads` a block.
pub fn grid(blocks: [usize; 3], threads: u32) -> Grid {
    Grid { blocks: blocks.map(|b| b as u32), threads: [threads, 1, 1], shared_bytes: 0 }
}
