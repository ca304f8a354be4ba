//! The structs that kernels take and the records they share with the host: `repr(C)`, field by field as in `kernels/`.
//! Addresses are the device's; lengths of rows count complex or real values as there.

/// An address of values of one type on the device.
#[repr(C)]
pub struct Pointer<T> {
    address: u64,
    values: std::marker::PhantomData<T>,
}

impl<T> Clone for Pointer<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Pointer<T> {}

impl<T> Pointer<T> {
    /// Points to nothing.
    pub const NULL: Self = Self { address: 0, values: std::marker::PhantomData };

    pub fn new(address: u64) -> Self {
        Self { address, values: std::marker::PhantomData }
    }

    pub fn address(self) -> u64 {
        self.address
    }

    /// `count` values further on.
    pub fn plus(self, count: usize) -> Self {
        Self::new(self.address + (count * size_of::<T>()) as u64)
    }
}

/// A complex value: real and imaginary part.
pub type Value<T> = [T; 2];
/// A plane: the two columns by which pixels are multiplied, in voxels.
pub type Plane<T> = [[T; 3]; 2];
/// A voxel of the integer sums: real part, imaginary part, weight.
pub type Voxel = [i64; 3];
/// A pair of the fine pass: block of values, particle, translation, class times directions plus direction.
pub type Pair = [u32; 4];
/// A pose of a particle's own list: particle, class, place in the list, and nothing.
pub type Listed = [u32; 4];
/// First pair, number of pairs, first child plane, class.
pub type Part = [u32; 4];

/// What is known of a particle's search: see `kernels/posterior.cuh`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct State {
    pub least: u64,
    pub best: u64,
    pub total: u64,
    pub above_mass: u64,
    pub above_count: u64,
    pub prefix: u64,
    pub threshold: f64,
    pub count: u64,
    pub selected: u64,
    pub bits: u32,
    pub is_open: u32,
}

/// As words: a [`State`] holds no padding, so that ten words are one.
pub type StateWords = [u64; 10];

impl State {
    /// Of the words that came from a device.
    pub fn of(words: &StateWords) -> Self {
        let [least, best, total, above_mass, above_count, prefix, threshold, count, selected, rest] = *words;
        Self {
            least,
            best,
            total,
            above_mass,
            above_count,
            prefix,
            threshold: f64::from_bits(threshold),
            count,
            selected,
            bits: rest as u32,
            is_open: (rest >> 32) as u32,
        }
    }

    /// The smallest energy; none where no sample has one.
    pub fn least_energy(&self) -> Option<f64> {
        let sign = 1 << 63;
        let bits = if self.least & sign != 0 { self.least & !sign } else { !self.least };
        (self.least != u64::MAX).then(|| f64::from_bits(bits))
    }
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Rows {
    pub starts: Pointer<u32>,
    pub edge: i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Images<T> {
    pub images: Pointer<Value<T>>,
    pub phases: Pointer<Value<T>>,
    pub step_phases: Pointer<Value<T>>,
    pub stride: u32,
    pub pixels: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Slices<T> {
    pub references: Pointer<Value<T>>,
    pub voxels: u64,
    pub table: Rows,
    pub planes: Pointer<Plane<T>>,
    pub pixels: Pointer<[i16; 2]>,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Compared<T> {
    pub masked: Images<T>,
    pub powers: Pointer<T>,
    pub power_stride: u32,
    pub log_offsets: Pointer<T>,
    pub offset_stride: u32,
    pub translations: u32,
    pub image_powers: Pointer<f64>,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Weighted<T> {
    pub parts: Pointer<Part>,
    pub list: Pointer<u32>,
    pub counts: Pointer<u32>,
    pub pairs: Pointer<Pair>,
    pub values: Pointer<T>,
    pub turns: u32,
    pub steps: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Samples<T> {
    pub values: Pointer<T>,
    pub ranges: Pointer<[u64; 2]>,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Shift<T> {
    pub images: Pointer<Value<T>>,
    pub phases: Pointer<Value<T>>,
    pub columns: Pointer<Value<T>>,
    pub image_stride: u32,
    pub phase_stride: u32,
    pub stride: u32,
    pub pixels: u32,
    pub translations: u32,
    pub images_count: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Project<T> {
    pub volume: Pointer<Value<T>>,
    pub table: Rows,
    pub planes: Pointer<Plane<T>>,
    pub pixels: Pointer<[i16; 2]>,
    pub rows: Pointer<Value<T>>,
    pub stride: u32,
    pub count: u32,
    pub planes_count: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct ListedSearch<T> {
    pub slices: Slices<T>,
    pub compared: Compared<T>,
    pub listed: Pointer<Listed>,
    pub log_priors: Pointer<T>,
    pub ranges: Pointer<[u64; 2]>,
    pub energies: Pointer<T>,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Start {
    pub states: Pointer<StateWords>,
    pub particles: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Least<T> {
    pub samples: Samples<T>,
    pub states: Pointer<StateWords>,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Best<T> {
    pub samples: Samples<T>,
    pub subscripts: Pointer<u32>,
    pub states: Pointer<StateWords>,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Histogram<T> {
    pub samples: Samples<T>,
    pub states: Pointer<StateWords>,
    pub bins: Pointer<[u64; 2]>,
    pub is_first: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Descend {
    pub states: Pointer<StateWords>,
    pub bins: Pointer<[u64; 2]>,
    pub fraction: f64,
    pub maximum: u64,
    pub particles: u32,
    pub is_first: u32,
    pub zero_bits: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct MarkSignificant<T> {
    pub samples: Samples<T>,
    pub states: Pointer<StateWords>,
    pub map: Pointer<u32>,
    pub words: u32,
    pub best_only: u32,
    pub slack: f64,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Fine<T> {
    pub slices: Slices<T>,
    pub compared: Compared<T>,
    pub pairs: Pointer<Pair>,
    pub log_poses: Pointer<T>,
    pub tiles: Pointer<Part>,
    pub turns: u32,
    pub steps: u32,
    pub values: Pointer<T>,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Apply<T> {
    pub pairs: Pointer<Pair>,
    pub count: u32,
    pub states: Pointer<StateWords>,
    pub values: Pointer<T>,
    pub subscripts: Pointer<u32>,
    pub best_only: u32,
    pub directions: u32,
    pub classes: u32,
    pub squared: Pointer<T>,
    pub squared_stride: u32,
    pub steps: u32,
    pub direction_mass: Pointer<i64>,
    pub class_mass: Pointer<i64>,
    pub offset2: Pointer<i64>,
    pub is_active: Pointer<u8>,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Compact {
    pub parts: Pointer<Part>,
    pub count: u32,
    pub is_active: Pointer<u8>,
    pub list: Pointer<u32>,
    pub counts: Pointer<u32>,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct WeightedSums<T> {
    pub weighted: Weighted<T>,
    pub unmasked: Images<T>,
    pub weights: Pointer<T>,
    pub weight_stride: u32,
    pub table: Rows,
    pub planes: Pointer<Plane<T>>,
    pub pixels: Pointer<[i16; 2]>,
    pub volumes: Pointer<Voxel>,
    pub voxels: u64,
    pub data_scale: f64,
    pub weight_scale: f64,
    pub is_too_large: Pointer<u32>,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Residual<T> {
    pub slices: Slices<T>,
    pub weighted: Weighted<T>,
    pub masked: Images<T>,
    pub powers: Pointer<T>,
    pub power_stride: u32,
    pub places: Pointer<u32>,
    pub shells: Pointer<u16>,
    pub places_count: u32,
    pub classes: u32,
    pub shells_count: u32,
    pub cross: Pointer<i64>,
    pub own: Pointer<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn energies_come_back_from_their_keys() {
        for energy in [-1.5_f64, 0.0, 2.25, 1e300, -1e-300] {
            let bits = energy.to_bits();
            let least = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
            assert_eq!(State { least, ..State::default() }.least_energy(), Some(energy));
        }
        assert_eq!(State { least: u64::MAX, ..State::default() }.least_energy(), None);
    }

    #[test]
    fn a_state_is_ten_words() {
        assert_eq!(size_of::<State>(), size_of::<StateWords>());
        let words = [1, 2, 3, 4, 5, 6, 2.5_f64.to_bits(), 8, 9, 10 | 1 << 32];
        let state = State::of(&words);
        assert_eq!((state.threshold, state.bits, state.is_open, state.selected), (2.5, 10, 1, 9));
    }
}
