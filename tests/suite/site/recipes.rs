//! The recipes for Spack and EasyBuild: Python that parses, and says the same as Cargo.toml.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

fn recipe(name: &str) -> (PathBuf, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|cause| panic!("{}: {cause}", path.display()));
    (path, text)
}

fn easybuild() -> String {
    format!("easybuild/relion-rs-{}-foss-2025b.eb", env!("CARGO_PKG_VERSION"))
}

#[test]
fn recipes_are_python() {
    for name in ["spack/packages/relion-rs/package.py".to_owned(), easybuild()] {
        let (path, _) = recipe(&name);
        let check = "import ast, sys; ast.parse(open(sys.argv[1]).read(), sys.argv[1])";
        match Command::new("python3").args(["-c", check]).arg(&path).output() {
            Ok(output) => assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr)),
            // Without Python nothing can be said about it here; continuous integration has one.
            Err(cause) => assert_eq!(cause.kind(), std::io::ErrorKind::NotFound, "{name}"),
        }
    }
}

#[test]
fn recipes_agree_with_the_package() {
    let cargo = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let cargo: toml::Table = cargo.parse().unwrap();
    let word = |key: &str| cargo["package"][key].as_str().unwrap().to_owned();
    let (_, spack) = recipe("spack/packages/relion-rs/package.py");
    let (_, easybuild) = recipe(&easybuild());
    for text in [&spack, &easybuild] {
        assert!(text.contains(&word("repository")), "{text}");
        for program in ["relion-rs", "relion-rs-rank", "site.toml"] {
            assert!(text.contains(program), "{program}: {text}");
        }
    }
    assert!(spack.contains(&format!("rust@{}:", word("rust-version"))));
    assert!(easybuild.contains(&format!("version = '{}'", word("version"))));
    // Each feature of Cargo.toml is a variant.
    for feature in cargo["features"].as_table().unwrap().keys().filter(|name| *name != "default") {
        assert!(spack.contains(&format!("variant(\"{feature}\"")), "{feature}: {spack}");
    }
}

/// The crates of Cargo.lock as EasyBuild wants them, and their digests.
fn crates() -> String {
    let lock = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock")).unwrap();
    let lock: toml::Table = lock.parse().unwrap();
    let (mut crates, mut checksums) = (String::new(), String::new());
    for package in lock["package"].as_array().unwrap() {
        let word = |key: &str| package.get(key).and_then(toml::Value::as_str).unwrap_or_default();
        let (name, version) = (word("name"), word("version"));
        // Our own has no source.
        if word("source").is_empty() {
            continue;
        }
        assert!(word("source").starts_with("registry+"), "{name} is not from the registry");
        crates += &format!("    ('{name}', '{version}'),\n");
        checksums += &format!("    {{'{name}-{version}.tar.gz': '{}'}},\n", word("checksum"));
    }
    // The first digest is that of the release's own archive, which is known once it is published.
    format!("crates = [\n{crates}]\nchecksums = [\n    None,\n{checksums}]\n")
}

#[test]
fn the_crates_of_easybuild_are_those_of_the_lock_file() {
    const MARK: &str = "# --- crates of Cargo.lock\n";
    let (path, text) = recipe(&easybuild());
    let (head, kept) = text.split_once(MARK).unwrap();
    let wanted = crates();
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, format!("{head}{MARK}{wanted}")).unwrap();
        return;
    }
    assert!(kept == wanted, "{} is out of date: `make bless` writes it anew", path.display());
}
