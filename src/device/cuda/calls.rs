//! What the driver answers, as errors with a remedy; and whether there is a driver that can be used.

use std::ffi::CStr;
use std::sync::OnceLock;

use cudarc::driver::sys;
use cudarc::driver::sys::CUresult;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;

use super::super::Absent;

/// The oldest that has everything: CUDA 12.2, driver 535.
const OLDEST: i32 = 12_020;
/// Every function of the driver that is called here. One that is missing would end the process.
const CALLED: &[&str] = &[
    "cuCtxSetCurrent",
    "cuDeviceGet",
    "cuDeviceGetAttribute",
    "cuDeviceGetCount",
    "cuDeviceGetName",
    "cuDeviceGetUuid",
    "cuDeviceGetUuid_v2",
    "cuDevicePrimaryCtxRelease_v2",
    "cuDevicePrimaryCtxRetain",
    "cuDeviceTotalMem_v2",
    "cuDriverGetVersion",
    "cuEventCreate",
    "cuEventDestroy_v2",
    "cuEventElapsedTime",
    "cuEventRecord",
    "cuFuncGetAttribute",
    "cuFuncSetAttribute",
    "cuGetErrorName",
    "cuGetErrorString",
    "cuInit",
    "cuLaunchKernel",
    "cuMemAlloc_v2",
    "cuMemFreeHost",
    "cuMemFree_v2",
    "cuMemGetInfo_v2",
    "cuMemHostAlloc",
    "cuMemcpyDtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuMemsetD8Async",
    "cuModuleGetFunction",
    "cuModuleLoadData",
    "cuModuleUnload",
    "cuStreamCreate",
    "cuStreamDestroy_v2",
    "cuStreamSynchronize",
    "cuStreamWaitEvent",
];

/// An error if the driver refused. `doing`: what was asked of it.
pub fn check(result: CUresult, doing: impl FnOnce() -> String) -> Result<()> {
    if result == CUresult::CUDA_SUCCESS { Ok(()) } else { Err(error(result, &doing())) }
}

fn error(result: CUresult, doing: &str) -> Error {
    use CUresult as Code;
    let (code, fix) = match result {
        Code::CUDA_ERROR_NO_DEVICE => return Absent::Device.error(),
        Code::CUDA_ERROR_SYSTEM_DRIVER_MISMATCH
        | Code::CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE
        | Code::CUDA_ERROR_NOT_SUPPORTED
        | Code::CUDA_ERROR_STUB_LIBRARY => (
            ExitCode::Unavailable,
            "NVIDIA's driver and libcuda.so do not belong together: have the driver updated, and load no `stubs` folder.",
        ),
        Code::CUDA_ERROR_NO_BINARY_FOR_GPU
        | Code::CUDA_ERROR_INVALID_IMAGE
        | Code::CUDA_ERROR_INVALID_SOURCE
        | Code::CUDA_ERROR_UNSUPPORTED_PTX_VERSION => (
            ExitCode::Unavailable,
            "The kernels are not for this GPU or not for this driver: have the driver updated, or remove that file.",
        ),
        Code::CUDA_ERROR_OUT_OF_MEMORY => (
            ExitCode::Memory,
            "End other programs on this GPU, or give this one less to do: a smaller batch, a larger GPU.",
        ),
        Code::CUDA_ERROR_ECC_UNCORRECTABLE
        | Code::CUDA_ERROR_HARDWARE_STACK_ERROR
        | Code::CUDA_ERROR_NVLINK_UNCORRECTABLE
        | Code::CUDA_ERROR_SYSTEM_NOT_READY => (
            ExitCode::Unavailable,
            "The GPU or its driver has a fault: tell the site, exclude the node, and run the same command again.",
        ),
        Code::CUDA_ERROR_ILLEGAL_ADDRESS
        | Code::CUDA_ERROR_LAUNCH_FAILED
        | Code::CUDA_ERROR_MISALIGNED_ADDRESS
        | Code::CUDA_ERROR_ILLEGAL_INSTRUCTION
        | Code::CUDA_ERROR_INVALID_VALUE
        | Code::CUDA_ERROR_NOT_FOUND => (
            ExitCode::Internal,
            "This is a defect of relion-rs; please report it with the command line and the GPU. \
            Until then: --backend cpu.",
        ),
        _ => (
            ExitCode::Unavailable,
            "See what `nvidia-smi` says and the kernel's log (`dmesg | grep NVRM`); run the same command again.",
        ),
    };
    Error::new(code, "CUDA", format!("{doing}: {}", name(result)), fix)
}

/// `CUDA_ERROR_OUT_OF_MEMORY (out of memory)`.
fn name(result: CUresult) -> String {
    let text = |get: unsafe fn(CUresult, *mut *const std::ffi::c_char) -> CUresult| {
        let mut text = std::ptr::null();
        // SAFETY: the driver is loaded, or there would be no result; it sets a string of its own, or null.
        unsafe {
            let known = get(result, &mut text) == CUresult::CUDA_SUCCESS && !text.is_null();
            known.then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
        }
    };
    match (text(sys::cuGetErrorName), text(sys::cuGetErrorString)) {
        (Some(name), Some(said)) => format!("{name} ({said})"),
        _ => format!("error {}", result as u32),
    }
}

/// Loads the driver once. Every other call comes after it. Returns the CUDA that the driver knows: 12020 for 12.2.
///
/// # Errors
/// There is no driver, it is too old, or it has no GPU.
pub fn start() -> Result<i32> {
    static STARTED: OnceLock<std::result::Result<i32, (ExitCode, String, String)>> = OnceLock::new();
    let started = STARTED.get_or_init(|| first_start().map_err(|error| (error.code, error.problem, error.fix)));
    started.clone().map_err(|(code, problem, fix)| Error::new(code, "CUDA", problem, fix))
}

/// 12.2 for 12020.
pub fn cuda_text(version: i32) -> String {
    format!("{}.{}", version / 1000, version % 1000 / 10)
}

fn first_start() -> Result<i32> {
    let unusable = |cause: String| Absent::Driver { cause }.error();
    // SAFETY: loads libcuda.so, which is made to be loaded so.
    if !unsafe { sys::is_culib_present() } {
        return Err(unusable(
            "there is no libcuda.so.1 here (in a container: start it with --nv or --gpus)".to_string(),
        ));
    }
    // SAFETY: the library is there; the functions are only looked for.
    let missing = CALLED.iter().find(|name| unsafe { sys::culib().get::<*const ()>(name.as_bytes()) }.is_err());
    let too_old = |why: String| unusable(format!("it is too old, {why}; 535 (CUDA 12.2) or later is needed"));
    if let Some(missing) = missing {
        return Err(too_old(format!("it has no {missing}")));
    }
    let mut version = 0;
    // SAFETY: both functions are there.
    let (told, init) = unsafe { (sys::cuDriverGetVersion(&mut version), sys::cuInit(0)) };
    check(told, || "the driver's version".to_string())?;
    if version < OLDEST {
        return Err(too_old(format!("it knows CUDA {}", cuda_text(version))));
    }
    check(init, || "starting the driver".to_string())?;
    Ok(version)
}
