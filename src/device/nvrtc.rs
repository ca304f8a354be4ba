//! NVIDIA's run-time compiler, loaded where it is found. It needs no GPU, and nothing here needs it to build.

use std::ffi::CString;
use std::ffi::c_char;
use std::ffi::c_int;
use std::ffi::c_void;
use std::path::Path;
use std::path::PathBuf;

use libloading::Library;
use libloading::Symbol;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;

use super::Arch;
use super::Precision;
use super::Source;

/// Names a library file, in place of those of the system.
const FILE_VARIABLE: &str = "RELION_RS_NVRTC";
/// Newest first.
const MAJORS: [i32; 2] = [13, 12];
const HOW_TO_GET: &str = "Load the site's CUDA module (12.x or 13.x), or name a libnvrtc.so by RELION_RS_NVRTC \
    (`pip install nvidia-cuda-nvrtc-cu12` brings one), or have the kernels compiled ahead (`make kernels`).";
/// What decides about code; part of a cubin's name.
pub const OPTIONS: [&str; 2] = ["--std=c++17", "--ptxas-options=-v"];

type Program = *mut c_void;
type Code = c_int;
type TextSize = unsafe extern "C" fn(Program, *mut usize) -> Code;
type Fill = unsafe extern "C" fn(*mut c_int) -> Code;
type Create = unsafe extern "C" fn(
    *mut Program,
    *const c_char,
    *const c_char,
    c_int,
    *const *const c_char,
    *const *const c_char,
) -> Code;
type Compile = unsafe extern "C" fn(Program, c_int, *const *const c_char) -> Code;
type Text = unsafe extern "C" fn(Program, *mut u8) -> Code;

/// One version of the compiler.
pub struct Nvrtc {
    library: Library,
    version: (i32, i32),
    file: PathBuf,
}

/// What was made of all kernels.
#[derive(Clone, Debug)]
pub struct Compiled {
    pub cubin: Vec<u8>,
    /// The compiler's remarks.
    pub log: String,
}

/// What a kernel takes of a multiprocessor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    pub kernel: String,
    pub registers: u32,
    pub shared_bytes: u32,
    /// Stores and loads of registers that did not suffice.
    pub spill_bytes: u32,
}

impl Nvrtc {
    /// The newest compiler that is there, is no newer than the driver's CUDA (if there is a driver), and offers this.
    ///
    /// # Errors
    /// There is none.
    pub fn find(arch: &Arch, newest_major: Option<i32>) -> Result<Self> {
        if let Some(file) = std::env::var_os(FILE_VARIABLE) {
            return Self::open(Path::new(&file));
        }
        let mut seen = Vec::new();
        for major in MAJORS.into_iter().filter(|major| newest_major.is_none_or(|newest| *major <= newest)) {
            match Self::open(Path::new(&format!("libnvrtc.so.{major}"))) {
                Ok(found) if found.offers(arch)? => return Ok(found),
                Ok(found) => seen.push(format!("{} does not offer {}", found.name(), arch.name())),
                Err(error) => seen.push(error.problem),
            }
        }
        let problem = format!("no compiler for kernels of {}: {}", arch.name(), seen.join("; "));
        Err(Error::new(ExitCode::Unavailable, "NVRTC", problem, HOW_TO_GET))
    }

    /// Loads a library file, or a name that the system's loader knows.
    ///
    /// # Errors
    /// It cannot be loaded, or is something else.
    pub fn open(file: &Path) -> Result<Self> {
        let refused = |cause: libloading::Error| {
            let reason = super::reason(&cause);
            Error::new(ExitCode::Unavailable, "NVRTC", format!("{}: {cause}{reason}", file.display()), HOW_TO_GET)
        };
        // SAFETY: NVIDIA's library; loading it has no side effects that concern us.
        let library = unsafe { Library::new(file) }.map_err(refused)?;
        let (mut major, mut minor) = (0, 0);
        // SAFETY: as declared in NVRTC's documentation since CUDA 7.
        let code = unsafe {
            let version: Symbol<unsafe extern "C" fn(*mut c_int, *mut c_int) -> Code> =
                library.get("nvrtcVersion\0").map_err(refused)?;
            version(&mut major, &mut minor)
        };
        let found = Self { library, version: (major, minor), file: file.to_path_buf() };
        found.check(code, "nvrtcVersion")?;
        // NVRTC looks for its other half by the loader's usual ways, which need not lead to its own folder.
        let beside = file.with_file_name(format!("libnvrtc-builtins.so.{major}.{minor}"));
        if beside.is_file() {
            // SAFETY: as above. Kept: NVRTC finds it by its name among the loaded libraries.
            std::mem::forget(unsafe { Library::new(&beside) }.map_err(refused)?);
        }
        Ok(found)
    }

    /// 12 and 9.
    pub fn version(&self) -> (i32, i32) {
        self.version
    }

    /// `12.9`.
    pub fn version_text(&self) -> String {
        format!("{}.{}", self.version.0, self.version.1)
    }

    /// `NVRTC 12.9`.
    pub fn name(&self) -> String {
        format!("NVRTC {}", self.version_text())
    }

    /// Whether it knows these GPUs.
    ///
    /// # Errors
    /// It does not say.
    pub fn offers(&self, arch: &Arch) -> Result<bool> {
        let mut count = 0;
        // SAFETY: both as documented since CUDA 11; the buffer has as many numbers as the first call says.
        let archs = unsafe {
            self.check(self.get::<Fill>("nvrtcGetNumSupportedArchs\0")?(&mut count), "nvrtcGetNumSupportedArchs")?;
            let mut archs = vec![0 as c_int; count as usize];
            self.check(self.get::<Fill>("nvrtcGetSupportedArchs\0")?(archs.as_mut_ptr()), "the list")?;
            archs
        };
        Ok(archs.contains(&arch.number()))
    }

    /// Compiles all kernels.
    ///
    /// # Errors
    /// `Unavailable` for GPUs that this version does not offer; `Internal` for a kernel that is wrong.
    pub fn compile(&self, arch: &Arch, precision: Precision) -> Result<Compiled> {
        self.compile_only(arch, precision, Source::ALL)
    }

    /// Compiles these files, which may include any.
    ///
    /// # Errors
    /// As [`Self::compile`].
    pub fn compile_only(&self, arch: &Arch, precision: Precision, files: &[Source]) -> Result<Compiled> {
        if !self.offers(arch)? {
            let problem = format!("{} does not offer {}", self.name(), arch.name());
            return Err(Error::new(ExitCode::Unavailable, "NVRTC", problem, "Take another version of CUDA."));
        }
        let text = |text: &str| CString::new(text).map_err(|cause| Error::internal(format!("kernels: {cause}")));
        // A name may be there once.
        let is_more = |file: &&Source| Source::ALL.iter().all(|known| known.name != file.name);
        let headers = || Source::ALL.iter().chain(files.iter().filter(is_more));
        let texts = headers().map(|source| text(source.text)).collect::<Result<Vec<_>>>()?;
        let names = headers().map(|source| text(source.name)).collect::<Result<Vec<_>>>()?;
        let mut options = OPTIONS.iter().map(|option| text(option)).collect::<Result<Vec<_>>>()?;
        options.push(text(&format!("--gpu-architecture={}", arch.name()))?);
        options.push(text(&format!("-DREAL={}", precision.scalar()))?);
        let (main, name) = (text(&Source::program_of(files))?, text("kernels.cu")?);
        let pointers = |texts: &[CString]| texts.iter().map(|text| text.as_ptr()).collect::<Vec<_>>();
        let (texts, names, options) =
            ((pointers(&texts), texts), (pointers(&names), names), (pointers(&options), options));

        let mut program: Program = std::ptr::null_mut();
        // SAFETY: as documented; all strings live until the end of this function.
        unsafe {
            let create: Symbol<Create> = self.get("nvrtcCreateProgram\0")?;
            let count = texts.0.len() as c_int;
            let code = create(&mut program, main.as_ptr(), name.as_ptr(), count, texts.0.as_ptr(), names.0.as_ptr());
            self.check(code, "nvrtcCreateProgram")?;
        }
        // SAFETY: the program was created above and is destroyed once, below.
        let outcome = unsafe {
            let compile: Symbol<Compile> = self.get("nvrtcCompileProgram\0")?;
            let code = compile(program, options.0.len() as c_int, options.0.as_ptr());
            self.text(program, "nvrtcGetProgramLogSize\0", "nvrtcGetProgramLog\0").and_then(|log| {
                let log = String::from_utf8_lossy(&log).trim_end_matches(['\0', '\n']).to_string();
                self.check(code, &format!("kernels for {}, {}:\n{log}", arch.name(), precision.name()))?;
                let cubin = self.text(program, "nvrtcGetCUBINSize\0", "nvrtcGetCUBIN\0")?;
                Ok(Compiled { cubin, log })
            })
        };
        // SAFETY: as above.
        unsafe {
            let destroy: Symbol<unsafe extern "C" fn(*mut Program) -> Code> = self.get("nvrtcDestroyProgram\0")?;
            self.check(destroy(&mut program), "nvrtcDestroyProgram")?;
        }
        outcome
    }

    /// # Safety
    /// `program` is one; the two names are of functions of the types they are taken for.
    unsafe fn text(&self, program: Program, size: &str, fill: &str) -> Result<Vec<u8>> {
        let mut bytes = 0;
        // SAFETY: the caller's promise; the buffer has as many bytes as the first call says.
        unsafe {
            self.check(self.get::<TextSize>(size)?(program, &mut bytes), size)?;
            let mut text = vec![0; bytes];
            self.check(self.get::<Text>(fill)?(program, text.as_mut_ptr()), fill)?;
            Ok(text)
        }
    }

    /// # Safety
    /// The type is that of the function.
    unsafe fn get<T>(&self, name: &str) -> Result<Symbol<'_, T>> {
        // SAFETY: the caller's promise.
        unsafe { self.library.get(name) }.map_err(|cause| {
            Error::internal(format!("{} ({}) has no {name}: {cause}", self.name(), self.file.display()))
        })
    }

    fn check(&self, code: Code, doing: &str) -> Result<()> {
        if code == 0 {
            return Ok(());
        }
        Err(Error::internal(format!("{} ({}), error {code}: {doing}", self.name(), self.file.display())))
    }
}

impl Compiled {
    /// What each kernel takes, from the compiler's remarks; by name.
    pub fn usages(&self) -> Vec<Usage> {
        let number_before = |line: &str, what: &str| -> u32 {
            let words: Vec<&str> = line[..line.find(what).unwrap_or(0)].split_whitespace().collect();
            words.last().and_then(|word| word.parse().ok()).unwrap_or(0)
        };
        let mut usages: Vec<Usage> = Vec::new();
        for line in self.log.lines() {
            if let Some((_, rest)) = line.split_once("Compiling entry function '") {
                let kernel = rest.split('\'').next().unwrap_or_default().to_string();
                usages.push(Usage { kernel, registers: 0, shared_bytes: 0, spill_bytes: 0 });
            }
            let Some(usage) = usages.last_mut() else { continue };
            usage.spill_bytes += number_before(line, " bytes spill stores") + number_before(line, " bytes spill loads");
            if line.contains("Used ") {
                usage.registers = number_before(line, " registers");
                usage.shared_bytes = number_before(line, " bytes smem");
            }
        }
        usages.sort_by(|a, b| a.kernel.cmp(&b.kernel));
        usages
    }
}
