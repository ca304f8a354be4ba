//! Blocks to text, with RELION's field widths, and files that appear whole or not at all.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use crate::error::Error;
use crate::error::Result;
use crate::formats::atomic::AtomicFile;
use crate::formats::star::StarFile;
use crate::formats::star::block::Block;
use crate::formats::star::block::Layout;
use crate::formats::star::parse::is_space;

/// Width of a number in a row.
const NUMBER_WIDTH: usize = 12;
/// Least width of other text in a row.
const TEXT_WIDTH: usize = 10;
/// Text is handed on in pieces of about this many bytes.
const PIECE: usize = 1 << 20;

/// Appends a number as RELION prints it: `%.6f`, `%.5f` when negative, with an exponent when 0 < |v| < 0.001 or
/// |v| > 100000. The file therefore holds 6 decimals, or 7 digits.
pub fn format_f64(out: &mut String, value: f64) {
    let decimals = if value < 0.0 { 5 } else { 6 };
    let size = value.abs();
    let written = if !value.is_finite() {
        // Rust would print NaN; the readers of these files know nan and inf.
        write!(
            out,
            "{}",
            if value.is_nan() {
                "nan"
            } else if value > 0.0 {
                "inf"
            } else {
                "-inf"
            }
        )
    } else if (size > 0.0 && size < 0.001) || size > 100_000.0 {
        let text = format!("{value:.decimals$e}");
        let (mantissa, exponent) = text.split_once('e').expect("this format has an exponent");
        let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
        write!(out, "{mantissa}e{sign}{digits:0>2}")
    } else {
        write!(out, "{value:.decimals$}")
    };
    written.expect("writing to a String does not fail");
}

pub(super) fn to_text(file: &StarFile) -> Result<String> {
    let mut all = String::new();
    render(file, &mut |piece| {
        all.push_str(piece);
        Ok(())
    })?;
    Ok(all)
}

pub(super) fn write(file: &StarFile, path: &Path) -> Result<()> {
    let mut output = AtomicFile::create(path)?;
    render(file, &mut |piece| output.file().write_all(piece.as_bytes()).map_err(|cause| Error::writing(path, &cause)))?;
    output.commit()
}

fn render(file: &StarFile, sink: &mut dyn FnMut(&str) -> Result<()>) -> Result<()> {
    let mut out = String::new();
    for block in &file.blocks {
        render_block(block, &mut out, sink)?;
    }
    for comment in &file.end_comments {
        push_comment(&mut out, comment);
    }
    sink(&out)
}

fn push_comment(out: &mut String, comment: &str) {
    for line in comment.lines() {
        // A line without its mark would be read as data.
        if !line.starts_with(['#', ';']) {
            out.push_str("# ");
        }
        out.push_str(line);
        out.push('\n');
    }
}

fn render_block(block: &Block, out: &mut String, sink: &mut dyn FnMut(&str) -> Result<()>) -> Result<()> {
    check_name(block, &block.name)?;
    for label in block.labels() {
        check_name(block, label)?;
    }
    block.comments.iter().for_each(|comment| push_comment(out, comment));
    if let Some(version) = block.version {
        write!(out, "\n# version {version}\n").expect("writing to a String does not fail");
    }
    write!(out, "\ndata_{}\n\n", block.name).expect("writing to a String does not fail");
    match block.layout {
        Layout::List => render_list(block, out)?,
        Layout::Table => {
            out.push_str("loop_\n");
            for (index, label) in block.labels().enumerate() {
                writeln!(out, "_{label} #{}", index + 1).expect("writing to a String does not fail");
            }
            for row in 0..block.rows() {
                render_row(block, row, out)?;
                if out.len() > PIECE {
                    sink(out)?;
                    out.clear();
                }
            }
        }
    }
    out.push('\n');
    Ok(())
}

fn render_list(block: &Block, out: &mut String) -> Result<()> {
    let width = 1 + block.labels().map(str::len).max().unwrap_or(0) + NUMBER_WIDTH;
    for values in &block.columns {
        assert_eq!(values.cells.len(), 1, "a list has one value for each label");
        let value = values.get(&block.source, 0);
        write!(out, "_{:<width$}", values.label, width = width - 1).expect("writing to a String does not fail");
        push_value(block, value, if is_number(value) { NUMBER_WIDTH } else { 0 }, false, out)?;
        out.push('\n');
    }
    Ok(())
}

fn render_row(block: &Block, row: usize, out: &mut String) -> Result<()> {
    for (index, values) in block.columns.iter().enumerate() {
        if index > 0 {
            out.push(' ');
        }
        let value = values.get(&block.source, row);
        push_value(block, value, if is_number(value) { NUMBER_WIDTH } else { TEXT_WIDTH }, index == 0, out)?;
    }
    out.push('\n');
    Ok(())
}

/// Right-aligns a value, quoted where it has to be. `leads` is for the first value of a row, which must not look like a header line.
fn push_value(block: &Block, value: &str, width: usize, leads: bool, out: &mut String) -> Result<()> {
    let bytes = value.as_bytes();
    let header_like =
        leads && (value.starts_with(['_', ';']) || value.starts_with("data_") || value.starts_with("loop_"));
    let needs_quotes = header_like
        || bytes.first().is_none_or(|first| matches!(first, b'"' | b'\'' | b'#'))
        || bytes.iter().any(|&byte| is_space(byte) || byte == b'\n');
    let written = value.chars().count() + if needs_quotes { 2 } else { 0 };
    (written..width).for_each(|_| out.push(' '));
    if !needs_quotes {
        out.push_str(value);
        return Ok(());
    }
    let contains = |quote: u8| bytes.contains(&quote);
    let closes_early = |quote: u8| bytes.windows(2).any(|pair| pair[0] == quote && is_space(pair[1]));
    // A quote inside is legal as long as no space follows; not every reader knows, so the other kind comes first.
    let quote = match (contains(b'"'), contains(b'\'')) {
        (false, _) => Some(b'"'),
        (_, false) => Some(b'\''),
        _ => [b'"', b'\''].into_iter().find(|&quote| !closes_early(quote)),
    };
    let quote = quote.filter(|_| !contains(b'\n'));
    let Some(quote) = quote else {
        return Err(Error::bad_data(
            block.place(),
            format!("the value `{value}` cannot be written to a STAR file"),
            "Use a value without line breaks and quotes.",
        ));
    };
    out.push(quote as char);
    out.push_str(value);
    out.push(quote as char);
    Ok(())
}

fn check_name(block: &Block, name: &str) -> Result<()> {
    if name.bytes().any(|byte| is_space(byte) || byte == b'\n') {
        return Err(Error::bad_data(
            block.place(),
            format!("the name `{name}` holds spaces"),
            "Use a name without spaces.",
        ));
    }
    Ok(())
}

fn is_number(value: &str) -> bool {
    value.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'))
        && value.bytes().any(|byte| byte.is_ascii_digit())
}
