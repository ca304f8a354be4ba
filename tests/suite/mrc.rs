//! MRC files: every mode and byte order, stacks read where they lie, and what is refused.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use half::f16;
use proptest::prelude::*;
use relion_rs::error::Error;
use relion_rs::error::ExitCode;
use relion_rs::formats::mrc::ByteOrder;
use relion_rs::formats::mrc::HEADER_BYTES;
use relion_rs::formats::mrc::Header;
use relion_rs::formats::mrc::Map;
use relion_rs::formats::mrc::Mode;
use relion_rs::formats::mrc::Stack;
use relion_rs::formats::mrc::StackWriter;
use relion_rs::formats::mrc::Statistics;
use relion_rs::formats::mrc::image_size;
use relion_rs::formats::mrc::read_map;
use relion_rs::formats::mrc::write_map;
use relion_rs::formats::mrc::write_stack;

use super::support::golden;

/// Cells are stored as f32: 6e-8 relative.
const PIXEL_SIZE_TOLERANCE: f64 = 1e-7;

const MODES: [Mode; 5] = [Mode::Int8, Mode::Int16, Mode::Float32, Mode::Uint16, Mode::Float16];
const ORDERS: [ByteOrder; 2] = [ByteOrder::Little, ByteOrder::Big];

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn header(nx: usize, ny: usize, nz: usize, mode: Mode, byte_order: ByteOrder, extended_bytes: usize) -> Header {
    Header { nx, ny, nz, mode, byte_order, pixel_size_angstrom: 1.77, extended_bytes }
}

/// A value that the mode can hold, from a random word.
fn representable(word: u16, mode: Mode) -> f32 {
    match mode {
        Mode::Int8 => f32::from(word as u8 as i8),
        Mode::Int16 => f32::from(word as i16),
        Mode::Uint16 => f32::from(word),
        Mode::Float16 if f16::from_bits(word).is_nan() => 0.0,
        Mode::Float16 => f16::from_bits(word).to_f32(),
        Mode::Float32 => f32::from(word) * 1.1e-3 - 7.7,
    }
}

/// The file another program would write.
fn encode(header: &Header, values: &[f32]) -> Vec<u8> {
    let mut bytes = header.to_bytes(false, &Statistics::of(values)).to_vec();
    bytes.resize(HEADER_BYTES + header.extended_bytes, 0xEE);
    for v in values {
        let mut word = match header.mode {
            Mode::Int8 => vec![*v as i8 as u8],
            Mode::Int16 => (*v as i16).to_le_bytes().to_vec(),
            Mode::Uint16 => (*v as u16).to_le_bytes().to_vec(),
            Mode::Float16 => f16::from_f32(*v).to_le_bytes().to_vec(),
            Mode::Float32 => v.to_le_bytes().to_vec(),
        };
        if header.byte_order == ByteOrder::Big {
            word.reverse();
        }
        bytes.extend(word);
    }
    bytes
}

fn file(folder: &tempfile::TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

fn refused(path: &Path) -> Error {
    let error = read_map(path).unwrap_err();
    assert_eq!(error.to_string(), Stack::open(path).unwrap_err().to_string());
    assert_eq!(error.to_string(), image_size(path).unwrap_err().to_string());
    assert!(error.place.contains(path.file_name().unwrap().to_str().unwrap()), "{error}");
    assert!(!error.fix.is_empty(), "{error}");
    error
}

proptest! {
    #[test]
    fn every_mode_and_byte_order_is_read_exactly(
        (nx, ny, nz) in (1_usize..9, 1_usize..9, 1_usize..6),
        mode in 0_usize..5,
        order in 0_usize..2,
        extended in 0_usize..40,
        words in prop::collection::vec(any::<u16>(), 8 * 8 * 5),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let header = header(nx, ny, nz, MODES[mode], ORDERS[order], extended);
        let values: Vec<f32> = words[..nx * ny * nz].iter().map(|w| representable(*w, MODES[mode])).collect();
        let folder = folder();
        let path = file(&folder, "a.mrc", &encode(&header, &values));

        let map = read_map(&path).unwrap();
        prop_assert_eq!((map.nx, map.ny, map.nz), (nx, ny, nz));
        prop_assert_eq!(&map.data, &values);
        let (_, _, _, pixel) = image_size(&path).unwrap();
        prop_assert!((pixel / 1.77 - 1.0).abs() < PIXEL_SIZE_TOLERANCE);

        let stack = Stack::open(&path).unwrap();
        prop_assert_eq!((stack.nx, stack.ny, stack.count, stack.mode), (nx, ny, nz, MODES[mode]));
        let indices: Vec<u32> = picks.iter().map(|pick| pick.index(nz) as u32).collect();
        let wanted: Vec<f32> =
            indices.iter().flat_map(|i| values[*i as usize * nx * ny..][..nx * ny].iter().copied()).collect();
        let mut single = vec![f32::NAN; wanted.len()];
        let mut double = vec![f64::NAN; wanted.len()];
        stack.read(&indices, &mut single).unwrap();
        stack.read(&indices, &mut double).unwrap();
        prop_assert_eq!(&single, &wanted);
        prop_assert!(double.iter().zip(&wanted).all(|(a, b)| *a == f64::from(*b)));
    }

    #[test]
    fn any_bytes_are_an_answer_or_an_error(
        head in prop::collection::vec(any::<u8>(), 0..1100),
        // Small words make headers that look right.
        words in prop::collection::vec((0_usize..64, prop_oneof![0_i32..200, any::<i32>()]), 0..12),
    ) {
        let mut bytes = head;
        for (at, value) in words {
            if 4 * at + 4 <= bytes.len() {
                bytes[4 * at..4 * at + 4].copy_from_slice(&value.to_le_bytes());
            }
        }
        let folder = folder();
        let path = file(&folder, "a.mrcs", &bytes);
        // What is read fits into the file, so no header makes us allocate more than it.
        if let Ok(map) = read_map(&path) {
            prop_assert!(map.data.len() <= bytes.len());
        }
        if let Ok(stack) = Stack::open(&path) {
            prop_assert!(stack.count * stack.nx * stack.ny <= bytes.len());
        }
    }

    #[test]
    fn headers_survive_both_byte_orders(
        (nx, ny, nz) in (1_usize..65_536, 1_usize..65_536, 1_usize..2_000_000_000),
        mode in 0_usize..5,
        order in 0_usize..2,
        extended in 0_usize..1_000_000,
        is_map in any::<bool>(),
    ) {
        let written = header(nx, ny, nz, MODES[mode], ORDERS[order], extended);
        let read = Header::parse(&written.to_bytes(is_map, &Statistics::default()), "x").unwrap();
        prop_assert!((read.pixel_size_angstrom / 1.77 - 1.0).abs() < PIXEL_SIZE_TOLERANCE);
        prop_assert_eq!(Header { pixel_size_angstrom: 1.77, ..read }, written);
    }
}

#[test]
fn a_map_of_relion_is_read_and_written() {
    let path = golden("inputs/ref32.mrc");
    let map = read_map(&path).unwrap();
    assert_eq!((map.nx, map.ny, map.nz, map.pixel_size_angstrom), (32, 32, 32, 7.0));
    let folder = folder();
    let copy = folder.path().join("copy.mrc");
    write_map(&copy, &map).unwrap();
    assert_eq!(read_map(&copy).unwrap(), map);
    let (ours, theirs) = (fs::read(&copy).unwrap(), fs::read(&path).unwrap());
    assert_eq!(ours[HEADER_BYTES..], theirs[HEADER_BYTES..]);
    // Size, mode, start, sampling, cell, angles, axes.
    assert_eq!(ours[..76], theirs[..76]);
    let word = |bytes: &[u8], at: usize| f32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    for at in [76, 80, 84, 216] {
        let (a, b) = (word(&ours, at), word(&theirs, at));
        // RELION sums in single precision.
        assert!((a - b).abs() <= 1e-5 * b.abs(), "statistics word at {at}: {a} {b}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_large_stack_is_read_in_several_requests() {
    // 1.5 MB an image: two in a request of 4 MiB.
    let (nx, ny, count) = (610, 620, 7);
    let folder = folder();
    let path = folder.path().join("large.mrcs");
    let image = |i: usize| -> Vec<f32> { (0..nx * ny).map(|p| (i * 1_000 + p % 977) as f32).collect() };
    let mut writer = StackWriter::create(&path, nx, ny, 2.0).unwrap();
    (0..count).for_each(|i| writer.push(&image(i)).unwrap());
    assert!(!path.exists());
    writer.finish().unwrap();
    assert_eq!(image_size(&path).unwrap(), (nx, ny, count, 2.0));
    let stack = Stack::open(&path).unwrap();
    let indices = [6, 0, 1, 2, 3, 3, 5];
    let mut out = vec![0.0_f32; indices.len() * nx * ny];
    stack.read(&indices, &mut out).unwrap();
    for (index, read) in indices.iter().zip(out.chunks(nx * ny)) {
        assert!(read == image(*index as usize), "image {index}");
    }
    assert!(read_map(&path).unwrap_err().to_string().contains("stack of 7 images"));
}

#[test]
fn an_image_that_is_not_there_is_named() {
    let folder = folder();
    let path = folder.path().join("few.mrcs");
    write_stack(&path, 2, 2, 1.0, &[1.0; 8]).unwrap();
    let stack = Stack::open(&path).unwrap();
    let error = stack.read(&[0, 2], &mut [0.0_f32; 8]).unwrap_err();
    assert!(error.place.ends_with("few.mrcs, image 3") && error.problem.contains("holds 2"), "{error}");
    // Another program cuts the file while we hold it.
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(1024 + 16).unwrap();
    let error = stack.read(&[1], &mut [0.0_f32; 4]).unwrap_err();
    assert!(error.place.ends_with("few.mrcs, image 2") && error.problem.contains("shorter"), "{error}");
}

#[test]
fn a_truncated_stack_says_what_it_holds() {
    let folder = folder();
    let bytes = encode(&header(4, 4, 10, Mode::Float32, ByteOrder::Little, 100), &[1.0; 160]);
    let path = file(&folder, "cut.mrcs", &bytes[..bytes.len() - 65]);
    let error = refused(&path);
    assert_eq!(error.code, ExitCode::BadData);
    assert!(error.problem.contains("holds 8 of 10 images"), "{error}");
    assert!(refused(&file(&folder, "head.mrcs", &bytes[..1000])).problem.contains("1000 bytes"));
    assert!(refused(&file(&folder, "none.mrcs", &bytes[..1024])).problem.contains("holds 0 of 10"));
}

#[test]
fn what_is_not_read_is_refused_with_a_sentence() {
    let folder = folder();
    let with = |word: usize, value: i32| {
        let mut bytes = encode(&header(4, 4, 2, Mode::Float32, ByteOrder::Little, 0), &[1.0; 32]);
        bytes[4 * word..4 * word + 4].copy_from_slice(&value.to_le_bytes());
        refused(&file(&folder, &format!("w{word}v{value}.mrcs"), &bytes)).problem
    };
    for (mode, words) in [(3, "complex 16-bit"), (4, "complex 32-bit"), (101, "4-bit"), (16, "colours"), (7, "unknown")]
    {
        let problem = with(3, mode);
        assert!(problem.contains(words) && problem.contains(&format!("mode {mode}")), "{problem}");
    }
    for value in [0, -1, i32::MIN] {
        assert!(with(0, value).contains("not an MRC file"));
        assert!(with(1, value).contains("size of 4 x"));
        assert!(with(2, value).contains("size of 4 x 4 x"));
    }
    assert!(with(2, i32::MAX).contains("holds 2 of 2147483647"));
    assert!(with(23, -4).contains("extended header of -4"));
    assert!(with(23, i32::MAX).contains("holds 0 of 2"));

    let text = file(&folder, "text.mrc", "data_particles\n".repeat(100).as_bytes());
    assert!(refused(&text).problem.contains("not an MRC file"));
    assert_eq!(refused(folder.path()).code, ExitCode::NoInput);
    assert_eq!(refused(&folder.path().join("absent.mrc")).code, ExitCode::NoInput);
    assert!(refused(Path::new("/dev/null")).problem.contains("not a regular file"));
}

#[test]
fn strange_statistics_and_an_unknown_pixel_size_do_no_harm() {
    let folder = folder();
    let mut bytes = encode(&header(2, 2, 1, Mode::Float32, ByteOrder::Little, 0), &[1.0, 2.0, 3.0, 4.0]);
    for at in [76, 80, 84, 216] {
        bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    }
    for cell in [0.0, -3.0, f32::NAN, f32::INFINITY] {
        bytes[40..44].copy_from_slice(&cell.to_le_bytes());
        let map = read_map(&file(&folder, "a.mrc", &bytes)).unwrap();
        assert_eq!((map.pixel_size_angstrom, map.data.as_slice()), (0.0, &[1.0, 2.0, 3.0, 4.0][..]));
    }
    // Ours are written as "not determined" when there is nothing to determine.
    let path = folder.path().join("nan.mrc");
    write_map(&path, &Map { nx: 2, ny: 1, nz: 1, pixel_size_angstrom: 1.0, data: vec![f32::NAN, 1.0] }).unwrap();
    assert!(read_map(&path).unwrap().data[0].is_nan());
    let written = fs::read(&path).unwrap();
    let words: Vec<f32> =
        [76, 80, 84, 216].map(|at| f32::from_le_bytes(written[at..at + 4].try_into().unwrap())).to_vec();
    assert_eq!(words, [0.0, -1.0, -2.0, -1.0]);
}

#[test]
fn a_writer_that_is_dropped_leaves_the_old_file_and_no_other() {
    let folder = folder();
    let path = folder.path().join("a.mrcs");
    write_stack(&path, 1, 1, 1.0, &[5.0]).unwrap();
    let mut writer = StackWriter::create(&path, 1, 1, 1.0).unwrap();
    writer.push(&[6.0]).unwrap();
    drop(writer);
    assert_eq!(read_map(&path).unwrap().data, [5.0]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    let error = write_stack(&folder.path().join("absent/a.mrcs"), 1, 1, 1.0, &[5.0]).unwrap_err();
    assert_eq!(error.code, ExitCode::CannotCreate);
}

#[test]
fn statistics_of_pieces_are_those_of_the_whole() {
    let values: Vec<f32> = (0..1000).map(|i| 1e4 + (i * 37 % 1000) as f32).collect();
    let mut all = Statistics::default();
    values.chunks(77).for_each(|piece| all.add(piece));
    // Mean and rms of 0..1000, shifted: 499.5 and sqrt((1000^2 - 1) / 12).
    assert_eq!((all.minimum(), all.maximum(), all.mean()), (1e4, 10_999.0, 10_499.5));
    assert!((all.rms() - 288.675).abs() < 1e-3, "{}", all.rms());
}
