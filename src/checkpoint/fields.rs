//! The one list of everything that a checkpoint holds.
//!
//! Each record names its fields once. The macros make writing (by taking the record apart completely) and reading
//! (by building it completely) from that list, so a field that is added to a record and forgotten here is a
//! compile error, and the two directions cannot drift apart.

use hdf5::Group;

use crate::dataset::Assignment;
use crate::error::Error;
use crate::error::Result;
use crate::expectation::products::Contribution;
use crate::expectation::products::Finished;
use crate::expectation::products::OriginTerm;
use crate::model::ClassModel;
use crate::model::Convergence;
use crate::model::GroupModel;
use crate::model::HalfModel;
use crate::model::PriorMode;
use crate::model::SamplingState;
use crate::model::Sizes;
use crate::model::State;
use crate::rotation::Euler;

use super::origin::FirstIdentity;
use super::origin::FirstOrigin;
use super::origin::Identity;
use super::origin::InputFile;
use super::origin::Origin;
use super::stored::Stored;
use super::stored::create_group;
use super::stored::open_group;
use super::stored::place;
use super::stored::read_list;
use super::stored::same_length;
use super::stored::write_list;

/// A record is a group with one member a field.
macro_rules! record {
    ($type:ident { $($field:ident),+ $(,)? }) => {
        impl Stored for $type {
            fn write(&self, parent: &Group, name: &str) -> Result<()> {
                let Self { $($field),+ } = self;
                let group = create_group(parent, name)?;
                $($field.write(&group, stringify!($field))?;)+
                Ok(())
            }

            fn read(parent: &Group, name: &str) -> Result<Self> {
                let group = open_group(parent, name)?;
                Ok(Self { $($field: Stored::read(&group, stringify!($field))?),+ })
            }
        }
    };
}

/// A table is a group with one dataset a column. The first argument is at once the pattern that takes a row apart
/// and the expression that builds it (hence its parentheses).
macro_rules! table {
    ($type:ty, $row:tt, $($column:ident: $of:ty),+ $(,)?) => {
        impl Stored for Vec<$type> {
            #[allow(unused_variables, unused_parens)]
            fn write(&self, parent: &Group, name: &str) -> Result<()> {
                let group = create_group(parent, name)?;
                $(
                    let column: Vec<$of> = self.iter().map(|row| { let $row = row; $column.clone() }).collect();
                    column.write(&group, stringify!($column))?;
                )+
                Ok(())
            }

            #[allow(unused_parens)]
            fn read(parent: &Group, name: &str) -> Result<Self> {
                let group = open_group(parent, name)?;
                $(let $column = Vec::<$of>::read(&group, stringify!($column))?;)+
                let rows = same_length(&group, &[$((stringify!($column), $column.len())),+])?;
                $(let mut $column = $column.into_iter();)+
                Ok((0..rows).map(|_| {
                    $(let $column = $column.next().expect("the columns have this many rows");)+
                    $row
                }).collect())
            }
        }
    };
}

macro_rules! lists {
    ($($type:ty),+) => { $(
        impl Stored for Vec<$type> {
            fn write(&self, parent: &Group, name: &str) -> Result<()> {
                write_list(self, parent, name)
            }

            fn read(parent: &Group, name: &str) -> Result<Self> {
                read_list(parent, name)
            }
        }
    )+ };
}

record!(State { iteration, halves, assignments, half_of, sampling, sizes, convergence });

record!(HalfModel {
    classes,
    noise,
    groups,
    average_norm,
    sigma_offset_angstrom,
    log_likelihood,
    average_max_probability
});

record!(ClassModel {
    map,
    share,
    directions,
    tau2,
    sigma2,
    ssnr,
    fsc,
    coverage,
    orientability,
    accuracy_degrees,
    accuracy_angstrom,
});

record!(SamplingState {
    healpix_order,
    psi_step_degrees,
    offset_range_angstrom,
    offset_step_angstrom,
    oversampling,
    perturbation,
    perturbation_factor,
    prior,
    original_healpix_order,
    original_psi_step_degrees,
    original_offset_range_angstrom,
    original_offset_step_angstrom,
});

record!(Sizes {
    current_resolution_per_angstrom,
    best_resolution_per_angstrom,
    current_size,
    coarse_size,
    increment,
    has_high_fsc_at_limit,
});

record!(Convergence {
    iterations_without_resolution_gain,
    iterations_without_large_changes,
    change_degrees,
    change_angstrom,
    change_classes,
    smallest_change_degrees,
    smallest_change_angstrom,
    smallest_change_classes,
    accuracy_degrees,
    accuracy_angstrom,
    has_fine_enough_sampling,
    has_converged,
});

record!(Origin { identity, plan_digest, inputs });
record!(Identity { program_version, precision, block_particles, instruction_set, backend, device });
record!(FirstOrigin { identity, plan_digest, inputs });
record!(FirstIdentity { program_version, precision, block_particles, instruction_set });
record!(InputFile { role, path, bytes, digest });

record!(Finished {
    blocks,
    scale,
    positions,
    contributions,
    assignments,
    origin_terms,
    set_aside,
    residuals,
    ctf2,
    directions,
    most_significant
});

lists!(HalfModel, ClassModel, InputFile, Vec<f64>, Vec<u8>, Vec<i64>, Vec<i128>);

table!(
    Assignment,
    (Assignment {
        euler: Euler { rot, tilt, psi },
        offset_angstrom: [offset_x_angstrom, offset_y_angstrom],
        class,
        norm_correction,
        log_likelihood,
        max_probability,
        significant_samples,
    }),
    rot: f64,
    tilt: f64,
    psi: f64,
    offset_x_angstrom: f64,
    offset_y_angstrom: f64,
    class: u32,
    norm_correction: f64,
    log_likelihood: f64,
    max_probability: f64,
    significant_samples: u32,
);

table!(GroupModel, (GroupModel { name, particle_count, scale }), name: String, particle_count: usize, scale: f64);

table!(
    Contribution,
    (Contribution { norm, offset2, mass, xa, aa, used }),
    norm: f64,
    offset2: f64,
    mass: f64,
    xa: f64,
    aa: f64,
    used: bool,
);

table!(
    OriginTerm,
    (OriginTerm { position, class, data, weight }),
    position: u32,
    class: u32,
    data: f64,
    weight: f64,
);

table!((u32, String), (particle, cause), particle: u32, cause: String);

/// The sigmas for rot, tilt and psi; none for a global search.
impl Stored for PriorMode {
    fn write(&self, group: &Group, name: &str) -> Result<()> {
        match self {
            Self::Global => Vec::new(),
            Self::Local { sigma_degrees } => sigma_degrees.to_vec(),
        }
        .write(group, name)
    }

    fn read(group: &Group, name: &str) -> Result<Self> {
        match Vec::<f64>::read(group, name)?[..] {
            [] => Ok(Self::Global),
            [rot, tilt, psi] => Ok(Self::Local { sigma_degrees: [rot, tilt, psi] }),
            ref other => Err(Error::bad_data(
                place(group, name),
                format!("a prior has no or three widths, here are {}", other.len()),
                "",
            )),
        }
    }
}
