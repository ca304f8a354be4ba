//! `module install` and `module uninstall`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use relion_rs::site;
use relion_rs::site::Content;
use relion_rs::site::Entry;
use relion_rs::site::ModuleKind;
use relion_rs::site::Modules;

use super::Desk;
use super::VERSION;
use super::told;

/// Every file and folder below one, relative to it.
fn below(root: &Path) -> Vec<String> {
    let (mut found, mut folders) = (Vec::new(), vec![root.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().map(Result::unwrap) {
            found.push(entry.path().strip_prefix(root).unwrap().display().to_string());
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

/// Installs another version, of one file.
fn install_other(prefix: &Path, version: &str) {
    let text = |path: &str| Entry { path: path.into(), content: Content::Text(b"x".to_vec()), is_program: true };
    let folders = vec![(ModuleKind::Tcl, prefix.join("modulefiles"))];
    site::install(prefix, version, &[text("bin/relion-rs")], &Modules { folders }).unwrap();
}

#[test]
fn an_installed_version_works_from_its_own_folder() {
    let desk = Desk::new();
    let mut command = desk.command("/bin/sh", "");
    let (code, text) =
        told(command.args(["-c", "umask 077; exec bin/relion-rs module install apps --profile cpu-only --lua"]));
    assert!(code == 0 && text.contains("installed") && text.contains("module use"), "{text}");
    let root = format!("apps/relion-rs/{VERSION}");
    let files = below(&desk.path(&root));
    for name in [
        "bin/relion-rs-rank",
        "etc/relion-rs/site.toml",
        "share/bash-completion/completions/relion-rs",
        "share/doc/relion-rs/cluster.md",
        "share/fish/vendor_completions.d/relion-rs.fish",
        "share/man/man1/relion-rs.1",
        "share/man/man1/relion-rs-module-install.1",
        "share/relion-rs/relion-qsub.sh",
        "share/relion-rs/sites/generic.toml",
        "share/zsh/site-functions/_relion-rs",
    ] {
        assert!(files.iter().any(|file| file == name), "{name} is missing: {files:?}");
    }
    // Whoever installs, everybody reads.
    for name in below(&desk.path("apps")) {
        let mode = desk.path("apps").join(&name).metadata().unwrap().permissions().mode() & 0o777;
        let wanted = if desk.path("apps").join(&name).is_dir() || name.contains("/bin/") { 0o755 } else { 0o644 };
        assert_eq!(mode, wanted, "{name} {mode:o}");
    }
    let (code, text) = told(&mut desk.command(&format!("{root}/bin/relion-rs"), "config show"));
    let line = text.lines().find(|line| line.starts_with("cluster.partition = ")).unwrap();
    assert!(
        code == 0 && line.contains("\"compute\"") && line.ends_with(&format!("{root}/etc/relion-rs/site.toml")),
        "{text}"
    );
    let (code, text) = told(&mut desk.command(&format!("{root}/bin/relion-rs"), "doctor --scratch-mib 0"));
    assert!(code == 0 && text.contains(&format!("{root}/bin/relion-rs-rank {VERSION}, for cpu")), "{text}");
}

#[test]
fn the_same_version_is_replaced_and_its_settings_stay() {
    let desk = Desk::new();
    assert_eq!(desk.told("module install apps --lua").0, 0);
    let site_file = format!("apps/relion-rs/{VERSION}/etc/relion-rs/site.toml");
    fs::write(desk.path(&site_file), "threads = 7\n").unwrap();
    let before = below(&desk.path("apps"));
    desk.script("bin/relion-rs-rank", &format!("# another\n{}", super::ENGINE));
    let (code, text) = desk.told("module install apps --lua");
    assert!(code == 0 && text.contains("replaced"), "{text}");
    assert_eq!(below(&desk.path("apps")), before);
    assert_eq!(desk.read(&site_file), "threads = 7\n");
    assert!(desk.read(&format!("apps/relion-rs/{VERSION}/bin/relion-rs-rank")).contains("another"));
    // Without --lua its module file goes, and with --profile the settings too.
    let (code, text) = desk.told("module install apps --profile generic");
    assert!(code == 0 && !desk.path("apps/modulefiles-lua/relion-rs").exists(), "{text}");
    assert!(desk.read(&site_file).contains("Remove the `#`"));
    // A file of somebody else would be lost.
    let stranger = format!("apps/relion-rs/{VERSION}/bin/notes");
    fs::write(desk.path(&stranger), "").unwrap();
    let (code, text) = desk.told("module install apps");
    assert!(code == 73 && text.contains("bin/notes") && text.contains("nothing of others is replaced"), "{text}");
    fs::remove_file(desk.path(&stranger)).unwrap();
    fs::write(desk.path(&format!("apps/modulefiles/relion-rs/{VERSION}")), "#%Module1.0\n").unwrap();
    let (code, text) = desk.told("module install apps");
    assert!(code == 73 && text.contains("another's module file"), "{text}");
}

#[test]
fn an_upgrade_goes_on_with_the_settings_and_versions_live_side_by_side() {
    let desk = Desk::new();
    let prefix = desk.path("apps");
    for version in ["0.0.9", "0.0.10"] {
        install_other(&prefix, version);
    }
    let default = || desk.read("apps/modulefiles/relion-rs/.version");
    assert!(default().contains("\"0.0.10\""), "{}", default());
    fs::create_dir_all(prefix.join("relion-rs/0.0.10/etc/relion-rs")).unwrap();
    fs::write(prefix.join("relion-rs/0.0.10/etc/relion-rs/site.toml"), "seed = 5\n").unwrap();
    let (code, text) = desk.told("module install apps");
    assert!(code == 0 && text.contains("from ") && text.contains("0.0.10/etc/relion-rs/site.toml"), "{text}");
    assert_eq!(desk.read(&format!("apps/relion-rs/{VERSION}/etc/relion-rs/site.toml")), "seed = 5\n");
    assert!(default().contains(VERSION));
    // Settings that this version does not know are told before anything is installed.
    fs::write(prefix.join(format!("relion-rs/{VERSION}/etc/relion-rs/site.toml")), "sede = 5\n").unwrap();
    let (code, text) = desk.told("module install apps");
    assert!(code == 78 && text.contains("sede") && text.contains("--profile"), "{text}");

    let (code, text) = desk.told("module install apps --uninstall");
    assert!(code == 0 && text.contains("site.toml is not as it was installed, and stays"), "{text}");
    assert!(default().contains("\"0.0.10\""), "{}", default());
    assert_eq!(below(&prefix.join("relion-rs").join(VERSION)).len(), 3, "the changed file and its folders");
    // The older ones are whole, and go one by one.
    assert!(prefix.join("relion-rs/0.0.9/bin/relion-rs").is_file());
    let (code, text) = desk.told("module uninstall apps 0.3.4");
    assert!(code == 66 && text.contains("Installed there: 0.0.9, 0.0.10"), "{text}");
    let (code, text) = desk.told("module uninstall apps ../relion-rs/0.0.9");
    assert!(code == 64 && text.contains("is no version"), "{text}");
    assert_eq!(desk.told("module uninstall apps 0.0.10").0, 0);
    assert!(default().contains("\"0.0.9\""), "{}", default());
    assert_eq!(desk.told("module uninstall apps 0.0.9").0, 0);
    assert!(!prefix.join("modulefiles/relion-rs").exists());
    // What stayed of this version is nobody's way: it can be installed again.
    fs::write(prefix.join(format!("relion-rs/{VERSION}/etc/relion-rs/site.toml")), "seed = 6\n").unwrap();
    assert_eq!(desk.told("module install apps").0, 0);
    assert_eq!(desk.told("module uninstall apps").0, 0);
    fs::remove_dir_all(prefix.join("relion-rs/0.0.10")).unwrap();
    fs::remove_dir(prefix.join("relion-rs")).unwrap();
    assert_eq!(below(&prefix), ["modulefiles"]);
}

#[test]
fn what_fails_leaves_nothing_behind() {
    let desk = Desk::new();
    fs::write(desk.path("file"), "").unwrap();
    let (code, text) = desk.told("module install file/apps");
    assert!(code == 73 && text.contains("may write to"), "{text}");
    let (code, text) = desk.told("module install /proc/apps");
    assert!(code == 73 && text.contains("/proc/apps"), "{text}");
    let (code, text) = desk.told("module install a:b");
    assert!(code == 64 && text.contains("PATH"), "{text}");
    let (code, text) = desk.told("module install apps --profile srun-pmixx");
    assert!(code == 64 && text.contains("Did you mean `srun-pmix`") && text.contains("cpu-only"), "{text}");
    fs::write(desk.path("mine.toml"), "[cluster.partitions.a]\ntime = 3\n").unwrap();
    let (code, text) = desk.told("module install apps --profile mine.toml");
    assert!(code == 78 && text.contains("mine.toml"), "{text}");
    // A limit of the process plays the full disk: the launcher is larger than it.
    for module_path in ["", "--module-path mods"] {
        let words = format!("ulimit -f 2000; exec bin/relion-rs module install apps {module_path}");
        let (code, text) = told(desk.command("/bin/sh", "").args(["-c", &words]));
        assert!(code == 74 && text.contains("Nothing was installed"), "{text}");
    }
    // Nor does a module folder that cannot be written.
    let (code, text) = desk.told("module install apps --module-path file");
    assert!(code == 73 && text.contains("file/relion-rs"), "{text}");
    desk.script("bin/relion-rs-rank", "echo relion-rs-rank 0.0.1");
    let (code, text) = desk.told("module install apps");
    assert!(code == 69 && text.contains("is version 0.0.1"), "{text}");
    desk.script("bin/relion-rs-rank", "echo libhdf5.so.103 is missing >&2; exit 127");
    let (code, text) = desk.told("module install apps");
    assert!(code == 69 && text.contains("libhdf5.so.103 is missing"), "{text}");
    fs::remove_file(desk.path("bin/relion-rs-rank")).unwrap();
    let (code, text) = desk.told("module install apps");
    assert!(code == 69 && text.contains("not beside the launcher"), "{text}");
    assert!(!desk.path("apps").exists() && !desk.path("mods").exists());
    let (code, text) = desk.told("module uninstall apps");
    assert!(code == 66 && text.contains("is not installed"), "{text}");
}

#[test]
fn a_full_disk_leaves_the_version_that_was_there() {
    let desk = Desk::new();
    assert_eq!(desk.told("module install apps").0, 0);
    let before = below(&desk.path("apps"));
    let words = "ulimit -f 2000; exec bin/relion-rs module install apps --lua";
    let (code, text) = told(desk.command("/bin/sh", "").args(["-c", words]));
    assert_eq!(code, 74, "{text}");
    assert_eq!(below(&desk.path("apps")), before);
    assert_eq!(told(&mut desk.command(&format!("apps/relion-rs/{VERSION}/bin/relion-rs"), "--version")).0, 0);
}

#[test]
fn module_files_go_where_the_site_keeps_them_and_nobodys_default_is_changed() {
    let desk = Desk::new();
    fs::create_dir_all(desk.path("mods/relion-rs")).unwrap();
    fs::write(desk.path("mods/relion-rs/.version"), "#%Module1.0\nset ModulesVersion 5\n").unwrap();
    let (code, text) = desk.told("module install apps --module-path mods");
    assert!(code == 0 && text.contains("the default version stays"), "{text}");
    assert!(desk.path("mods/relion-rs").join(VERSION).is_file() && !desk.path("apps/modulefiles").exists());
    // Installed again elsewhere, the old module file is not left to point at nothing new.
    let (code, text) = desk.told("--json module install apps");
    let value: serde_json::Value =
        serde_json::from_str(text.lines().find(|line| line.contains("root")).unwrap()).unwrap();
    assert_eq!((code, value["replaced"].as_bool(), value["modules"].as_array().unwrap().len()), (0, Some(true), 1));
    assert!(!desk.path("mods/relion-rs").join(VERSION).exists());
}

#[test]
fn module_files_survive_any_folder_name() {
    let odd = Path::new("/apps/a [b] $c \"d\" {e}");
    let tcl = ModuleKind::Tcl.text("1.2.3", odd);
    assert!(tcl.starts_with("#%Module1.0\n## relion-rs 1.2.3, written by"), "{tcl}");
    assert!(tcl.contains(r#"set root    "/apps/a \[b\] \$c \"d\" \{e\}""#), "{tcl}");
    let lua = ModuleKind::Lua.text("1.2.3", odd);
    assert!(lua.contains(r#"local root    = "/apps/a [b] $c \"d\" {e}""#), "{lua}");
    for text in [&tcl, &lua] {
        assert!(!text.contains('@') && text.contains("conflict") && text.contains("MANPATH"), "{text}");
    }
    // With a Tcl at hand, what it does; without, the texts above are all that is known.
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("module"), &tcl).unwrap();
    let script = "foreach name {module-whatis conflict} { proc $name {text} {} }\n\
                  foreach name {prepend-path append-path} { proc $name {variable value} \"puts \\\"$name \\$variable \\$value\\\"\" }\n\
                  source module\nModulesHelp\n";
    fs::write(folder.path().join("script"), script).unwrap();
    let Ok(output) = Command::new("tclsh").arg("script").current_dir(folder.path()).env_remove("MANPATH").output()
    else {
        return;
    };
    let (said, help) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(said.contains(&format!("prepend-path PATH {}/bin\n", odd.display())), "{said}{help}");
    assert!(said.contains("append-path MANPATH \n"), "{said}{help}");
    assert!(help.starts_with("relion-rs 1.2.3: ") && help.contains("relion-rs doctor"), "{said}{help}");
}
