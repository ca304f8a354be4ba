//! STAR files: dialects, refusals, and what is written is read back.

use std::path::Path;
use std::path::PathBuf;

use proptest::prelude::*;
use relion_rs::error::ExitCode;
use relion_rs::formats::star::Block;
use relion_rs::formats::star::Layout;
use relion_rs::formats::star::StarFile;
use relion_rs::formats::star::format_f64;

use crate::support::golden;

fn parse(text: &str) -> StarFile {
    StarFile::parse("in.star", text.as_bytes().to_vec()).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// The message of a refused file.
fn refused(text: &str) -> String {
    let error = StarFile::parse("in.star", text.as_bytes().to_vec()).expect_err("must be refused");
    assert_eq!(error.code, ExitCode::BadData);
    assert!(!error.fix.is_empty(), "{error}");
    error.to_string()
}

fn values(block: &Block, label: &str) -> Vec<String> {
    block.require(label).unwrap().strs().map(str::to_owned).collect()
}

#[test]
fn lists_and_tables_of_one_file() {
    let file = parse(
        "# RELION; version 5.0.1\n\n# version 50001\n\ndata_general\n\n_rlnPixelSize   3.54 # Angstrom\n_rlnName 'a b'\n_rlnEmpty \"\"\n\n\
         # version 30001\n\ndata_particles\n\nloop_ \n_rlnImageName #1 \n_rlnDefocusU #2 \n\n1@a.mrcs 10000.5 \n2@a.mrcs -3e2 # last\n \n# end\n",
    );
    let general = file.require("general").unwrap();
    assert_eq!((general.version, general.layout, general.rows()), (Some(50001), Layout::List, 1));
    assert_eq!(general.comments, ["# RELION; version 5.0.1"]);
    assert_eq!(general.require("rlnPixelSize").unwrap().f64(0).unwrap(), 3.54);
    assert_eq!(values(general, "rlnName"), ["a b"]);
    assert_eq!(values(general, "rlnEmpty"), [""]);
    let particles = file.require("particles").unwrap();
    assert_eq!((particles.version, particles.layout, particles.rows()), (Some(30001), Layout::Table, 2));
    assert_eq!(particles.require("rlnDefocusU").unwrap().f64s().unwrap(), [10000.5, -300.0]);
    assert_eq!(particles.require("rlnDefocusU").unwrap().place(1), "in.star, line 20, column rlnDefocusU");
    assert_eq!(file.end_comments, ["# end"]);
}

#[test]
fn dialects() {
    // No space after the block's name, no numbers, text after the number, tabs, no line break at the end.
    let file = parse(
        "data_a\nloop_\n_x\n_y #2 [a comment]\n1\t2\n\n\n; note\ndata_\nloop_\n_z #99999999999999999999\ndata_5.mrc",
    );
    assert_eq!(values(&file.blocks[0], "y"), ["2"]);
    assert_eq!(file.blocks[1].name, "");
    assert_eq!(file.blocks[1].rows(), 0, "a line `data_...` begins a block");
    assert_eq!(file.blocks[2].name, "5.mrc");
    // Windows line ends give the same file.
    let unix = "\n# version 30001\n\ndata_p\n\nloop_\n_a #1\n_b #2\n'x y' ''\n\"it's\" #no\n\ndata_q\n\n_c \"d\"\n";
    assert_eq!(parse(unix), parse(&unix.replace('\n', "\r\n")));
    assert_eq!(values(&parse(unix).blocks[0], "a"), ["x y", "it's"]);
    assert_eq!(values(&parse(unix).blocks[0], "b"), ["", ""]);
    // A `#` or a quote inside a value is part of it.
    assert_eq!(values(&parse("data_\n_a b#c'd\"\n").blocks[0], "a"), ["b#c'd\""]);
    // Nothing at all is a file without blocks.
    assert_eq!(parse(""), parse("\n\n"));
    assert!(parse("# only a comment\n").blocks.is_empty());
    assert_eq!(parse("\u{feff}data_x\n").blocks[0].name, "x");
}

#[test]
fn refusals_name_the_place() {
    let head = "data_p\nloop_\n_a #1\n_b #2\n_c #3\n";
    let cases = [
        (format!("{head}1 2\n"), ["in.star, line 6, column c", "ends after 2 values"]),
        (format!("{head}1 2 3 surplus\n"), ["in.star, line 6, column 4", "`surplus`"]),
        (format!("{head}1 2 3\n\n4 5 6\n"), ["line 8", "empty line"]),
        (format!("{head}1 2 'x\n"), ["line 6", "not closed"]),
        ("hello\n".into(), ["line 1", "does not look like a STAR file"]),
        ("data_p\nloop_\n1 2\n".into(), ["line 3", "without labels"]),
        ("data_p\nloop_\n_a\n_a\n".into(), ["line 4", "twice"]),
        ("data_p\n_a\n".into(), ["line 2", "no value"]),
        ("data_p\n_a b c\n".into(), ["line 2", "more than one value"]),
        ("data_p\n_a b\nloop_\n".into(), ["line 3", "already holds a list"]),
        ("data_p\nwhat is this\n".into(), ["line 2", "what is this"]),
        ("data_p\nloop_\n_a 7\n".into(), ["line 3", "after label _a"]),
    ];
    for (text, parts) in cases {
        let message = refused(&text);
        for part in parts {
            assert!(message.contains(part), "{message}\ndoes not name {part}");
        }
    }
    let binary = StarFile::parse("map.mrc", b"data_a\n\xff\xfe".to_vec()).unwrap_err().to_string();
    assert!(binary.contains("map.mrc, line 2"), "{binary}");
    assert_eq!(StarFile::read(Path::new("no/such.star")).unwrap_err().code, ExitCode::NoInput);
}

#[test]
fn typed_access_names_the_value() {
    let file = parse("data_p\nloop_\n_a #1\n_b #2\nabc 1.5\n2 3.000000\n");
    let [a, b] = ["a", "b"].map(|label| file.blocks[0].require(label).unwrap());
    let message = a.f64s().unwrap_err().to_string();
    assert!(message.contains("in.star, line 5, column a: `abc` is not a number"), "{message}");
    assert!(b.i64(0).unwrap_err().to_string().contains("line 5, column b: `1.5`"));
    assert_eq!((a.i64(1).unwrap(), b.i64(1).unwrap()), (2, 3));
    assert!(file.blocks[0].require("c").err().unwrap().to_string().contains("block data_p: column c is missing"));
    assert!(file.require("q").unwrap_err().to_string().contains("data_p"));
    assert!(parse("data_p\n_a 1e300\n").blocks[0].require("a").unwrap().i64(0).is_err());
}

#[test]
fn numbers_as_relion_prints_them() {
    let cases = [
        (0.0, "0.000000"),
        (1.0, "1.000000"),
        (-27.55, "-27.55000"),
        (33544.05, "33544.050000"),
        (0.001, "0.001000"),
        (0.00099, "9.900000e-04"),
        (-0.00099, "-9.90000e-04"),
        (100000.0, "100000.000000"),
        (123456.789, "1.234568e+05"),
        (-1e120, "-1.00000e+120"),
        (f64::INFINITY, "inf"),
        (f64::NAN, "nan"),
    ];
    for (value, expected) in cases {
        let mut text = String::new();
        format_f64(&mut text, value);
        assert_eq!(text, expected);
    }
}

#[test]
fn what_relion_wrote_keeps_its_fields() {
    // Byte for byte, apart from the spaces at line ends.
    let original = std::fs::read_to_string(golden("g05_em/full/run_it001_data.star")).unwrap();
    let written = parse(&original).to_text().unwrap();
    let lines = |text: &str| text.trim().lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>();
    for (ours, theirs) in lines(&written).iter().zip(&lines(&original)) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(lines(&written).len(), lines(&original).len());
}

#[test]
fn columns_are_set_kept_and_dropped() {
    let mut block = parse("# version 30001\n\ndata_p\nloop_\n_a #1\n_rlnUnknown #2\n_c #3\n1.50 'x y' 7\n2.25 z 8\n")
        .blocks
        .remove(0);
    block.set_f64("c", &[-1.0, 0.0005]);
    block.set_i64("new", &[3, 4]);
    block.set_str("text", &["", "# no comment"]);
    block.remove("a");
    block.rename("rlnUnknown", "rlnKept");
    let text = StarFile::new(vec![block.select(&[1, 0])]).to_text().unwrap();
    let expected = "\n# version 30001\n\ndata_p\n\nloop_\n_rlnKept #1\n_c #2\n_new #3\n_text #4\n         z 5.000000e-04            4 \"# no comment\"\n     \"x y\"     -1.00000            3         \"\"\n\n";
    assert_eq!(text, expected);
}

#[test]
fn a_list_is_written_as_relion_does() {
    let mut list = Block::list("sampling_general");
    list.push_bool("rlnIs3DTranslationalSampling", false);
    list.push_str("rlnSymmetryGroup", "c1");
    list.push_f64("rlnTiltAngleLimit", -91.0);
    let text = StarFile::new(vec![list]).to_text().unwrap();
    let expected = "\n# version 50001\n\ndata_sampling_general\n\n_rlnIs3DTranslationalSampling                       0\n_rlnSymmetryGroup                        c1\n_rlnTiltAngleLimit                          -91.00000\n\n";
    assert_eq!(text, expected);
}

#[test]
fn a_file_appears_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.star");
    let mut list = Block::list("x");
    list.push_str("good", "1");
    StarFile::new(vec![list.clone()]).write(&path).unwrap();
    list.push_str("bad", "line\nbreak");
    assert_eq!(StarFile::new(vec![list]).write(&path).unwrap_err().code, ExitCode::BadData);
    assert!(StarFile::read(&path).unwrap().blocks[0].column("bad").is_none());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file stays behind");
    assert_eq!(StarFile::default().write(&folder.path().join("no/a.star")).unwrap_err().code, ExitCode::CannotCreate);
}

/// Values that are hard to write: spaces, quotes, hashes, words of the format.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9@/._-]{1,12}",
        "[ \t'#_;a]{0,6}",
        "[ \"#a\u{e9}\r]{0,6}",
        Just("data_".to_owned()),
        Just("loop_".to_owned()),
        Just("-1.5e3".to_owned()),
    ]
}

proptest! {
    #[test]
    fn written_is_read_back(
        name in "[a-z_0-9]{0,8}",
        version in proptest::option::of(any::<u32>()),
        columns in 0usize..5,
        rows in 0usize..6,
        pool in proptest::collection::vec(value(), 30),
        list in any::<bool>(),
    ) {
        let rows = if list { 1 } else { rows };
        let mut first = if list { Block::list(&name) } else { Block::table(&name) };
        first.version = version;
        first.comments = vec!["# a comment".into(), "; another".into()];
        for column in 0..columns {
            first.set_str(&format!("label{column}"), &pool[column * rows..(column + 1) * rows]);
        }
        let mut file = StarFile::new(vec![Block::table("empty"), first, Block::list("last")]);
        file.end_comments = vec!["# bye".into()];
        let text = file.to_text().unwrap();
        prop_assert_eq!(StarFile::parse("round", text.clone().into_bytes()).unwrap(), file, "{}", text);
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = StarFile::parse("any", bytes);
    }

    #[test]
    fn no_text_panics(text in "(data_|loop_|_a|_b #1|[ \n\r\t#\"';]|[a-z0-9]{1,3}|\u{e9}){0,40}") {
        if let Ok(file) = StarFile::parse("any", text.into_bytes()) {
            let again = StarFile::parse("again", file.to_text().unwrap().into_bytes()).unwrap();
            prop_assert_eq!(again, file);
        }
    }
}

fn star_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            star_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "star") {
            found.push(path);
        }
    }
}

#[test]
#[ignore = "needs RELION_RS_DATA"]
fn files_of_other_programs() {
    let data = PathBuf::from(std::env::var_os("RELION_RS_DATA").expect("RELION_RS_DATA names the data folder"));
    let mut found = Vec::new();
    star_files(&data, &mut found);
    assert!(found.len() > 70, "only {} files", found.len());
    for path in found {
        let read = StarFile::read(&path);
        if path.ends_with("default_pipelines/no_input.star") {
            // Its node table has three labels and rows of two values.
            assert!(read.unwrap_err().to_string().contains("line 28, column rlnPipeLineNodeTypeLabelDepth"));
            continue;
        }
        let file = read.unwrap_or_else(|error| panic!("{error}"));
        assert!(!file.blocks.is_empty(), "{}", path.display());
        let again = StarFile::parse("again", file.to_text().unwrap().into_bytes()).unwrap();
        assert_eq!(again, file, "{}", path.display());
    }
}

/// The time is judged in release builds only.
#[test]
#[ignore = "writes and reads 300 MB; run with --release --nocapture"]
fn a_million_particles() {
    const ROWS: usize = 1_000_000;
    const LIMIT: std::time::Duration = std::time::Duration::from_secs(2);
    let numbers: Vec<f64> = (0..ROWS).map(|row| row as f64 * 0.37 - 180.0).collect();
    let names: Vec<String> =
        (0..ROWS).map(|row| format!("{:06}@Extract/job007/Movies/mic{:05}.mrcs", row % 500 + 1, row / 500)).collect();
    let mut block = Block::table("particles");
    block.set_str("rlnImageName", &names);
    for column in 0..19 {
        block.set_f64(&format!("rlnColumn{column}"), &numbers);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("particles.star");
    let start = std::time::Instant::now();
    StarFile::new(vec![block]).write(&path).unwrap();
    let wrote = start.elapsed();
    let start = std::time::Instant::now();
    let file = StarFile::read(&path).unwrap();
    let read = start.elapsed();
    let start = std::time::Instant::now();
    let column = file.blocks[0].require("rlnColumn18").unwrap().f64s().unwrap();
    eprintln!(
        "{} MB, wrote {wrote:?}, read {read:?}, one column {:?}",
        std::fs::metadata(&path).unwrap().len() >> 20,
        start.elapsed()
    );
    assert_eq!(column.len(), ROWS);
    if !cfg!(debug_assertions) {
        assert!(read <= LIMIT, "read in {read:?}");
    }
}
