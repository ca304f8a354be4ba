//! The kernels by NVIDIA's compiler, which needs no GPU: every architecture, what each kernel takes, and the cache.
//! `kernels/nvrtc.sh` fetches the compilers.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use relion_rs::device::Arch;
use relion_rs::device::Compiled;
use relion_rs::device::Nvrtc;
use relion_rs::device::Places;
use relion_rs::device::Precision;
use relion_rs::device::Source;
use relion_rs::device::Usage;

/// The versions in the table of `kernels/README.md`.
const MAJORS: [i32; 2] = [12, 13];
/// Whose registers are in the table, by the older compiler.
const MEASURED: &str = "sm_90a";
const PRECISIONS: [Precision; 2] = [Precision::Single, Precision::Double];
/// Test kernels of the twin: what it offers must be CUDA's.
const TWIN: &[Source] =
    &[Source { name: "twin.cu", text: include_str!("../../../kernels/tests/twin.cu"), is_header: false }];
const USAGES_BEGIN: &str = "<!-- usages -->\n";
const USAGES_END: &str = "<!-- end of usages -->\n";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn file(major: i32) -> PathBuf {
    root().join(format!("target/nvrtc/{major}/libnvrtc.so.{major}"))
}

fn nvrtc(major: i32) -> Nvrtc {
    let file = file(major);
    assert!(
        file.is_file(),
        "{} is not there: `kernels/nvrtc.sh` fetches it; without a network, leave these tests out: \
         make test NVRTC=no, or cargo test -- --skip kernels::compile",
        file.display()
    );
    Nvrtc::open(&file).unwrap()
}

fn readme() -> (PathBuf, String) {
    let path = root().join("kernels/README.md");
    let text = fs::read_to_string(&path).unwrap();
    (path, text)
}

fn arch(name: &str) -> Arch {
    Arch::parse(name).unwrap()
}

/// Whether the table says that this version compiles for this architecture.
fn promised(table: &str, arch: &Arch, major: i32) -> bool {
    let row = table.lines().find(|line| line.starts_with(&format!("| `{}` |", arch.name())));
    let row = row.unwrap_or_else(|| panic!("kernels/README.md has no row for {}", arch.name()));
    let at = MAJORS.iter().position(|known| *known == major).unwrap();
    match row.split('|').map(str::trim).nth(3 + at).unwrap() {
        "compiles" => true,
        "not offered" => false,
        other => panic!("kernels/README.md, {}: {other}", arch.name()),
    }
}

#[test]
fn the_compilers_offer_what_the_table_says() {
    let (_, table) = readme();
    for major in MAJORS {
        let nvrtc = nvrtc(major);
        assert!(table.contains(&nvrtc.name()), "kernels/README.md does not name {}", nvrtc.name());
        for arch in Arch::ahead() {
            assert_eq!(nvrtc.offers(&arch).unwrap(), promised(&table, &arch, major), "{} {major}", arch.name());
        }
    }
    let rows = table.lines().filter(|line| line.starts_with("| `sm_")).count();
    assert_eq!(rows, Arch::ahead().len(), "kernels/README.md has rows for other architectures");
}

fn assert_no_spills(compiled: &Compiled, what: &str) {
    let usages = compiled.usages();
    assert!(usages.len() > 10, "{what}: the compiler tells nothing\n{}", compiled.log);
    for usage in usages {
        assert!(usage.registers > 0 && usage.spill_bytes == 0, "{what}: {usage:?}");
    }
}

#[test]
fn what_the_kernels_take_is_in_the_table() {
    let nvrtc = nvrtc(MAJORS[0]);
    let [single, double] = PRECISIONS.map(|precision| {
        let compiled = nvrtc.compile(&arch(MEASURED), precision).unwrap();
        assert_no_spills(&compiled, precision.name());
        compiled.usages()
    });
    let mut table =
        "| kernel | registers, single | double | static shared memory, single | double |\n|---|---|---|---|---|\n"
            .to_string();
    let names: BTreeSet<&str> = single.iter().chain(&double).map(|usage| usage.kernel.as_str()).collect();
    for name in names {
        // Some are of one precision only.
        let told = |usages: &[Usage], number: fn(&Usage) -> u32| {
            let usage = usages.iter().find(|usage| usage.kernel == name);
            usage.map_or("-".to_string(), |usage| number(usage).to_string())
        };
        let [a, b] = [&single, &double].map(|usages| told(usages, |usage| usage.registers));
        let [c, d] = [&single, &double].map(|usages| told(usages, |usage| usage.shared_bytes));
        writeln!(table, "| `{name}` | {a} | {b} | {c} | {d} |").unwrap();
    }
    let (path, text) = readme();
    let (before, rest) = text.split_once(USAGES_BEGIN).unwrap();
    let (told, after) = rest.split_once(USAGES_END).unwrap();
    if std::env::var_os("BLESS").is_some() {
        fs::write(path, [before, USAGES_BEGIN, &table, USAGES_END, after].concat()).unwrap();
        return;
    }
    let changed: Vec<&str> = table.lines().filter(|row| !told.contains(row)).collect();
    assert!(told == table, "kernels/README.md: make bless writes the table anew; rows that differ:\n{changed:#?}");
}

#[test]
fn the_twin_offers_what_cuda_has() {
    for major in MAJORS {
        for precision in PRECISIONS {
            let compiled = nvrtc(major).compile_only(&arch("sm_80"), precision, TWIN).unwrap();
            assert_eq!(compiled.usages().len(), 5, "{}", compiled.log);
        }
    }
}

#[test]
#[ignore = "minutes: every architecture by every compiler"]
fn every_architecture_compiles() {
    let (_, table) = readme();
    for major in MAJORS {
        let nvrtc = nvrtc(major);
        for arch in Arch::ahead() {
            for precision in PRECISIONS {
                let what = format!("{}, {}, {}", nvrtc.name(), arch.name(), precision.name());
                match nvrtc.compile(&arch, precision) {
                    Ok(compiled) => {
                        assert!(promised(&table, &arch, major), "{what} compiles, and the table says it does not");
                        assert_no_spills(&compiled, &what);
                        assert!(compiled.cubin.starts_with(b"\x7fELF"), "{what}: no cubin");
                    }
                    Err(error) => assert!(!promised(&table, &arch, major), "{what}: {error}"),
                }
            }
        }
    }
}

#[test]
fn an_architecture_that_is_not_offered_is_told() {
    let error = nvrtc(13).compile(&arch("sm_70"), Precision::Single).unwrap_err();
    assert!(error.problem.contains("does not offer sm_70"), "{error}");
}

/// Started by the next test as one of many.
#[test]
#[ignore = "started by many_processes_compile_once"]
fn one_of_many() {
    // By itself it has nothing to do: the folder is the other test's.
    if std::env::var_os("RELION_RS_NVRTC").is_some() {
        let found = Places::usual().find(&arch("sm_80"), Precision::Double, 12).unwrap();
        assert!(found.bytes.starts_with(b"\x7fELF"));
        println!("from: {}", found.from);
    }
}

#[test]
fn many_processes_compile_once() {
    let folder = tempfile::tempdir().unwrap();
    nvrtc(12);
    let start = || {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kernels::compile::one_of_many", "--include-ignored", "--nocapture"])
            .env("XDG_CACHE_HOME", folder.path())
            .env("RELION_RS_NVRTC", file(12))
            .env_remove("RELION_RS_KERNELS")
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap()
    };
    let many: Vec<_> = (0..8).map(|_| start()).collect();
    let told: Vec<String> = many
        .into_iter()
        .map(|one| String::from_utf8(one.wait_with_output().unwrap().stdout).unwrap())
        .map(|text| text.lines().find_map(|line| line.split_once("from: ")).expect("it failed").1.to_string())
        .collect();
    let compiled = told.iter().filter(|from| from.starts_with("compiled now")).count();
    assert_eq!(compiled, 1, "{told:?}");
    let kernels = folder.path().join("relion-rs/kernels");
    let is_cubin = |path: &Path| path.extension().is_some_and(|end| end == "cubin");
    let files = fs::read_dir(kernels).unwrap().filter(|entry| is_cubin(&entry.as_ref().unwrap().path())).count();
    assert_eq!(files, 1);
}

#[test]
fn kernels_built_ahead_are_found_where_they_are_named() {
    let folder = tempfile::tempdir().unwrap();
    nvrtc(12);
    let output = Command::new(env!("CARGO_BIN_EXE_relion-rs-rank"))
        .args(["kernels", "build", "--arch", "sm_75", "--to"])
        .arg(folder.path().join("ahead"))
        .env("RELION_RS_NVRTC", file(12))
        .output()
        .unwrap();
    let (text, said) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{said}");
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(text.lines().all(|line| line.starts_with("GPU") || line.ends_with("NVRTC 12.9")), "{text}");
    let places = Places { installed: vec![folder.path().join("ahead")], cache: None };
    assert_eq!(places.compiler(&arch("sm_75"), 12).as_deref(), Some("NVRTC 12.9"));
    assert_eq!(places.compiler(&arch("sm_80"), 12), None);
    let found = places.find(&arch("sm_75"), Precision::Single, 13).unwrap();
    assert!(found.from.contains("sm_75-single.cubin") && found.notes.is_empty(), "{found:?}");
}

#[test]
fn without_a_compiler_it_is_said_what_to_do() {
    let output = Command::new(env!("CARGO_BIN_EXE_relion-rs-rank"))
        .args(["kernels", "build", "--arch", "sm_75", "--to", "/nonexistent/kernels"])
        .env("RELION_RS_NVRTC", "/nonexistent/libnvrtc.so")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(said.contains("/nonexistent") && said.contains("fix:"), "{said}");
}
