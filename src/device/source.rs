//! The text of the kernels, part of the program.

/// The scalar that the kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    Single,
    Double,
}

impl Precision {
    pub fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Double => "double",
        }
    }

    /// The C type behind `real`.
    pub fn scalar(self) -> &'static str {
        match self {
            Self::Single => "float",
            Self::Double => "double",
        }
    }
}

/// A file of `kernels/`.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    pub name: &'static str,
    pub text: &'static str,
    pub is_header: bool,
}

macro_rules! sources {
    ($($name:literal: $is_header:literal),* $(,)?) => {
        &[$(Source {
            name: $name,
            text: include_str!(concat!("../../kernels/", $name)),
            is_header: $is_header,
        }),*]
    };
}

impl Source {
    /// All files, headers first. One program holds every kernel: [`Self::program_of`].
    pub const ALL: &[Self] = sources![
        "kernel.cuh": true,
        "volume.cuh": true,
        "posterior.cuh": true,
        "pair.cuh": true,
        "energy.cuh": true,
        "product.cuh": true,
        "mma.cuh": true,
        "prepare.cuh": true,
        "stored.cuh": true,
        "shift.cu": false,
        "project.cu": false,
        "coarse_power.cu": false,
        "coarse_direct.cu": false,
        "coarse_spread.cu": false,
        "coarse_tile.cu": false,
        "coarse_product.cu": false,
        "coarse_matrix.cu": false,
        "largest.cu": false,
        "narrow.cu": false,
        "peak.cu": false,
        "listed.cu": false,
        "start.cu": false,
        "least.cu": false,
        "best.cu": false,
        "histogram.cu": false,
        "descend.cu": false,
        "mark.cu": false,
        "fine.cu": false,
        "apply.cu": false,
        "compact.cu": false,
        "sums.cu": false,
        "residual.cu": false,
        "ctf.cu": false,
        "decode.cu": false,
        "factors.cu": false,
        "gain.cu": false,
        "mask.cu": false,
        "noise.cu": false,
        "pixels.cu": false,
        "spectrum.cu": false,
        "window.cu": false,
    ];

    /// What stands for CUDA's compiler on the CPU.
    pub const ON_CPU: &[Self] = sources![
        "cuda_on_cpu.h": true,
        "on_cpu_block.h": true,
        "on_cpu_functions.h": true,
        "on_cpu_stack.h": true,
    ];

    /// The one file that is compiled: it includes these by name, but for headers.
    pub fn program_of(files: &[Self]) -> String {
        let files = files.iter().filter(|source| !source.is_header);
        files.map(|source| format!("#include \"{}\"\n", source.name)).collect()
    }

    /// BLAKE3 of all files, hexadecimal.
    pub fn digest() -> String {
        let mut hasher = blake3::Hasher::new();
        for source in Self::ALL {
            hasher.update(source.name.as_bytes());
            hasher.update(&[0]);
            hasher.update(source.text.as_bytes());
            hasher.update(&[0]);
        }
        hasher.finalize().to_hex().to_string()
    }
}
