//! The GPUs that this process may use, and which one is meant.

use std::ffi::CStr;

use cudarc::driver::sys;
use cudarc::driver::sys::CUdevice;
use cudarc::driver::sys::CUdevice_attribute as Attribute;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;

use super::super::Absent;
use super::super::Found;
use super::calls;
use super::calls::check;

/// The GPUs that this process may use, in the driver's order. A part of a GPU (MIG) is one of them; the driver shows one
/// part to a process, the first that CUDA_VISIBLE_DEVICES names.
///
/// # Errors
/// There is no driver that can be used, or no GPU.
pub fn devices() -> Result<Vec<Found>> {
    calls::start()?;
    let mut count = 0;
    // SAFETY: the driver was started.
    check(unsafe { sys::cuDeviceGetCount(&mut count) }, || "counting the GPUs".to_string())?;
    (0..count.max(0) as u32).map(found).collect()
}

/// The GPU of that uuid, or the first.
pub fn choose(uuid: Option<&str>) -> Result<Found> {
    let all = devices()?;
    if all.is_empty() {
        return Err(Absent::Device.error());
    }
    let list = all.iter().map(|found| found.uuid.as_str()).collect::<Vec<_>>().join(", ");
    let chosen = match uuid {
        Some(uuid) => all.into_iter().find(|found| found.uuid.eq_ignore_ascii_case(uuid)),
        None => all.into_iter().next(),
    };
    chosen.ok_or_else(|| {
        let wanted = uuid.unwrap_or("any");
        let problem = format!("GPU {wanted} is not among those that this process may use ({list})");
        let fix = "See `nvidia-smi -L` and CUDA_VISIBLE_DEVICES; a process sees one MIG part only.";
        Error::new(ExitCode::Unavailable, "CUDA", problem, fix)
    })
}

pub fn handle(ordinal: u32) -> Result<CUdevice> {
    let mut device = 0;
    // SAFETY: the driver was started, or there would be no ordinal.
    check(unsafe { sys::cuDeviceGet(&mut device, ordinal as i32) }, || format!("GPU {ordinal}"))?;
    Ok(device)
}

pub fn attribute(device: CUdevice, attribute: Attribute) -> Result<u32> {
    let mut value = 0;
    // SAFETY: the device is the driver's.
    let result = unsafe { sys::cuDeviceGetAttribute(&mut value, attribute, device) };
    check(result, || format!("GPU {device}, {attribute:?}"))?;
    u32::try_from(value).map_err(|_| Error::internal(format!("GPU {device}: {attribute:?} is {value}")))
}

fn found(ordinal: u32) -> Result<Found> {
    let device = handle(ordinal)?;
    let mut name = [0u8; 256];
    let mut memory_bytes = 0;
    let (mut whole, mut own) = (sys::CUuuid { bytes: [0; 16] }, sys::CUuuid { bytes: [0; 16] });
    // SAFETY: the device is the driver's, and it is told how long the buffer is.
    unsafe {
        let told = sys::cuDeviceGetName(name.as_mut_ptr().cast(), name.len() as i32, device);
        check(told, || format!("GPU {ordinal}, its name"))?;
        check(sys::cuDeviceTotalMem_v2(&mut memory_bytes, device), || format!("GPU {ordinal}, its memory"))?;
        check(sys::cuDeviceGetUuid(&mut whole, device), || format!("GPU {ordinal}, its uuid"))?;
        check(sys::cuDeviceGetUuid_v2(&mut own, device), || format!("GPU {ordinal}, its uuid"))?;
    }
    let name = CStr::from_bytes_until_nul(&name).map_or_else(|_| "GPU".into(), CStr::to_string_lossy).into_owned();
    // A part has an uuid of its own, beside that of the GPU it is of.
    let prefix = if whole.bytes == own.bytes { "GPU" } else { "MIG" };
    Ok(Found {
        ordinal,
        uuid: format!("{prefix}-{}", uuid_text(own.bytes.map(|byte| byte as u8))),
        name,
        capability: (
            attribute(device, Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            attribute(device, Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        ),
        processors: attribute(device, Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        memory_bytes: memory_bytes as u64,
    })
}

/// As `nvidia-smi -L` writes it.
fn uuid_text(bytes: [u8; 16]) -> String {
    let hex = |range: std::ops::Range<usize>| bytes[range].iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    [hex(0..4), hex(4..6), hex(6..8), hex(8..10), hex(10..16)].join("-")
}

#[cfg(test)]
mod tests {
    #[test]
    fn uuids_look_like_those_of_nvidia_smi() {
        let bytes = std::array::from_fn(|n| n as u8 * 17);
        assert_eq!(super::uuid_text(bytes), "00112233-4455-6677-8899-aabbccddeeff");
    }
}
