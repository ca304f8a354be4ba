//! The batches of one optics group on a device: what they share, and what is known of those that are on their way.

use std::sync::Mutex;

use crate::arena::Place;
use crate::device::Mark;
use crate::error::Result;
use crate::expectation::products::batch::Record;
use crate::expectation::products::batch::Setting;
use crate::expectation::products::load::Limits;
use crate::expectation::scalar::Scalar;
use crate::expectation::task::Comparison;

use super::arguments::Compared;
use super::arguments::Images;
use super::arguments::Plane;
use super::arguments::Pointer;
use super::arguments::Rows;
use super::arguments::Slices;
use super::arguments::Value;
use super::clock::Clock;
use super::form::Form;
use super::link::Link;
use super::memory::HostBuffers;
use super::memory::SLOTS;
use super::memory::Sizes;
use super::memory::Slot;
use super::memory::Tables;
use super::memory::Volumes;
use super::memory::Work;
use super::prepare;
use super::prepare::Image;
use super::prepare::Preparation;
use super::resident::Resident;

/// The search of a slot's batch is done.
pub const SEARCHED: [Mark; SLOTS] = [Mark(0), Mark(1)];
/// The images of a batch are on the device.
pub const SENT: Mark = Mark(2);
/// The sums of a batch are done.
pub const REFINED: Mark = Mark(3);

/// A batch on its way.
pub struct OnItsWay {
    /// Places among the task's particles, and indices into the data set.
    pub members: Vec<(usize, u32)>,
    pub records: Vec<Record>,
}

/// Everything about one optics group.
pub struct Batches<'a, T: Scalar> {
    pub setting: Setting<'a>,
    pub sizes: Sizes,
    pub link: Link<'a>,
    pub form: Form,
    /// What is added to the exponent at which coarse samples stop being significant.
    pub widening: f64,
    /// What columns and rows are multiplied by in forms of 16 bits.
    pub narrow_scales: [f64; 2],
    pub limits: Limits,
    /// Units of data and weight in the sums.
    pub scale: [f64; 2],
    /// Well resolved shells of the image, by class.
    pub resolved: &'a [bool],
    pub voxels: usize,
    pub edge: i32,
    pub volumes: Volumes<'a, T>,
    pub tables: Tables<'a, T>,
    pub device_slots: [Slot<'a, T>; SLOTS],
    pub work: Work<'a, T>,
    pub host: HostBuffers<'a, T>,
    pub slots: [OnItsWay; SLOTS],
    pub preparation: Preparation<'a, 'a>,
    /// Where images are that are not resident, and images that are.
    pub raw: Place<'a, u8>,
    pub resident: &'a Mutex<Resident>,
    /// Where the images of a batch are.
    pub addresses: Vec<Image>,
    pub clock: Clock,
    /// Of the coarse search; see [`crate::expectation::products::Work`].
    pub coarse_operations: f64,
    /// A thread's list of poses, one each.
    pub near: Vec<Vec<(u32, f64)>>,
    pub ranges: Vec<[u64; 2]>,
    /// Log prior of each class and direction.
    pub log_directions: Vec<T>,
}

impl<T: Scalar> Batches<'_, T> {
    /// The rows of volumes.
    pub fn row_table(&self) -> Rows {
        Rows { starts: self.link.at(self.volumes.starts), edge: self.edge }
    }

    /// Images and what moves them.
    pub fn images(&self, images: Place<'_, Value<T>>) -> Images<T> {
        Images {
            images: self.link.at(images),
            phases: self.link.at(self.tables.phases),
            step_phases: self.link.at(self.tables.step_phases),
            stride: self.sizes.row() as u32,
            pixels: self.sizes.shape.pixels as u32,
        }
    }

    /// Rows of a slot's particles, as their preparation fills them.
    pub fn prepared_rows(&self, slot: usize) -> prepare::Rows {
        let place = &self.device_slots[slot];
        prepare::Rows {
            masked: self.link.at(place.masked).address(),
            unmasked: self.link.at(place.unmasked).address(),
            power: self.link.at(place.power).address(),
            weight: self.link.at(place.weight).address(),
            stride: self.sizes.row(),
        }
    }

    /// What slices in some planes are read from.
    pub fn slices(&self, planes: Pointer<Plane<T>>) -> Slices<T> {
        Slices {
            references: self.link.at(self.volumes.references),
            voxels: self.voxels as u64,
            table: self.row_table(),
            planes,
            pixels: self.link.at(self.tables.pixels),
        }
    }

    /// What of a slot is compared with slices.
    pub fn compared(&self, place: &Slot<'_, T>, masked: Images<T>) -> Compared<T> {
        let correlates = self.setting.task.comparison == Comparison::CrossCorrelation;
        Compared {
            masked,
            powers: self.link.at(place.power),
            power_stride: self.sizes.row() as u32,
            log_offsets: self.link.at(place.log_offsets),
            offset_stride: self.sizes.offsets() as u32,
            translations: self.sizes.shape.translations as u32,
            image_powers: if correlates { self.link.at(place.image_powers) } else { Pointer::NULL },
        }
    }

    /// Posterior mass of classes and directions since the last call.
    pub fn take_directions(&self) -> Result<Vec<i64>> {
        let mut masses = vec![0; self.tables.direction_mass.len()];
        self.link.download(self.tables.direction_mass, &mut masses)?;
        self.link.finish()?;
        self.link.zero(self.tables.direction_mass)?;
        Ok(masses)
    }
}
