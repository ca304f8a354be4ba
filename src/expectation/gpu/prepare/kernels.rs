//! The arguments of the kernels that prepare images, as in `kernels/`.

#[derive(Clone, Copy)]
#[repr(C)]
pub struct DecodeArguments {
    pub particles: u64,
    pub images: u64,
    pub edge: u32,
    pub which: u32,
}

#[derive(Clone, Copy)]
#[repr(C)]
pub struct PixelsArguments {
    pub particles: u64,
    pub results: u64,
    pub pixels: u32,
    pub result_stride: u32,
}

#[derive(Clone, Copy)]
#[repr(C)]
pub struct NoiseArguments {
    pub particles: u64,
    pub sigmas: u64,
    pub halves: u64,
    pub edge: u32,
    pub key: [u32; 2],
}

#[derive(Clone, Copy)]
#[repr(C)]
pub struct MaskArguments {
    pub images: u64,
    pub noise: u64,
    pub outside: u64,
    pub outside_sum: f64,
    pub pixels: u32,
}

#[derive(Clone, Copy)]
#[repr(C)]
pub struct WindowArguments {
    pub particles: u64,
    pub halves: u64,
    pub kx: u64,
    pub ky: u64,
    pub correction: u64,
    pub out: u64,
    pub results: u64,
    pub edge: u32,
    pub pixels: u32,
    pub result_stride: u32,
    pub result: u32,
}

#[derive(Clone, Copy)]
#[repr(C)]
pub struct SpectrumArguments {
    pub halves: u64,
    pub values: u64,
    pub order: u64,
    pub starts: u64,
    pub results: u64,
    pub stride: u32,
    pub result_stride: u32,
    pub result: u32,
}

#[derive(Clone, Copy)]
#[repr(C)]
pub struct CtfArguments {
    pub particles: u64,
    pub kx: u64,
    pub ky: u64,
    pub gamma_offsets: u64,
    pub out: u64,
    pub frequency: [[f64; 2]; 2],
    pub pixels: u32,
    pub options: u32,
}

#[derive(Clone, Copy)]
#[repr(C)]
pub struct FactorsArguments {
    pub particles: u64,
    pub masked_images: u64,
    pub unmasked_images: u64,
    pub ctfs: u64,
    pub noise_weights: u64,
    pub masked: u64,
    pub unmasked: u64,
    pub power: u64,
    pub weight: u64,
    pub results: u64,
    pub pixels: u32,
    pub stride: u32,
    pub result_stride: u32,
    pub is_premultiplied: u32,
    pub is_weighed: u32,
}
