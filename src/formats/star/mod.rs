//! STAR files in every dialect RELION wrote (1.x to 5): named blocks, each one list or one table.
//!
//! Values stay text until they are asked for, and a value that nobody sets is written back as it was read. A cell is
//! one 64-bit word that points into the text of the file, so that a table of a million particles costs its own bytes
//! and 8 bytes a cell.
//!
//! Accepted: `loop_` tables with or without `#n` after the labels, lists, single and double quotes, `""`, comments,
//! a missing table version, LF and CR+LF line ends, tables and lists in any order. Refused, with the line: rows that
//! do not fit their labels, text after the empty line that ends a table (RELION would ignore it silently), multi-line
//! text between semicolons, repeated labels.

mod block;
mod column;
mod parse;
mod write;

use std::path::Path;
use std::sync::Arc;

use crate::error::Error;
use crate::error::Result;
use crate::formats::compressed::compression;

pub use block::Block;
pub use block::Layout;
pub use column::Column;
pub use write::format_f64;

/// Version of the tables that RELION 5 writes; what we write carries it.
pub const TABLE_VERSION: u32 = 50001;

/// A STAR file: its blocks in file order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StarFile {
    pub blocks: Vec<Block>,
    /// Comment lines after the last block (or of a file without blocks), each with its `#`.
    pub end_comments: Vec<String>,
    /// Where it was read from, for messages; not part of what is written.
    name: FileName,
}

/// A name that does not take part in comparisons: two files with the same content are equal.
#[derive(Clone, Debug, Default)]
struct FileName(String);

impl PartialEq for FileName {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl StarFile {
    /// A file made of `blocks`.
    pub fn new(blocks: Vec<Block>) -> Self {
        Self { blocks, ..Self::default() }
    }

    /// Reads a whole file.
    ///
    /// # Errors
    /// `NoInput` when it cannot be opened, `BadData` with the line when it is not a STAR file.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|cause| Error::reading(path, &cause))?;
        Self::parse(&path.display().to_string(), bytes)
    }

    /// Reads a file's bytes; `name` stands for the file in messages.
    pub fn parse(name: &str, bytes: Vec<u8>) -> Result<Self> {
        let text = String::from_utf8(bytes).map_err(|cause| {
            if let Some((kind, command)) = compression(cause.as_bytes()) {
                return Error::bad_data(
                    name,
                    format!("compressed with {kind}"),
                    format!("Unpack it first: {command} {name}"),
                );
            }
            let valid = &cause.as_bytes()[..cause.utf8_error().valid_up_to()];
            let line = 1 + valid.iter().filter(|&&b| b == b'\n').count();
            Error::bad_data(
                format!("{name}, line {line}"),
                "not text in UTF-8",
                "If this is a STAR file, convert it with `iconv -f latin1 -t utf8`; otherwise name a STAR file.",
            )
        })?;
        let source = Arc::new(block::Source { name: name.to_owned(), text });
        let (blocks, end_comments) = parse::parse(&source)?;
        Ok(Self { blocks, end_comments, name: FileName(name.to_owned()) })
    }

    /// Name of the file in messages; empty for one that was not read.
    pub fn name(&self) -> &str {
        &self.name.0
    }

    /// The first block `data_<name>`, which is the one RELION reads.
    pub fn block(&self, name: &str) -> Option<&Block> {
        self.blocks.iter().find(|block| block.name == name)
    }

    pub fn block_mut(&mut self, name: &str) -> Option<&mut Block> {
        self.blocks.iter_mut().find(|block| block.name == name)
    }

    /// As [`Self::block`], and an error that lists the blocks there are.
    pub fn require(&self, name: &str) -> Result<&Block> {
        self.block(name).ok_or_else(|| {
            let present: Vec<String> = self.blocks.iter().map(|block| format!("data_{}", block.name)).collect();
            Error::bad_data(
                self.name(),
                format!("there is no block data_{name}; the blocks are: {}", present.join(" ")),
                "Check that this is the file you meant.",
            )
        })
    }

    /// Writes the file whole or not at all: a temporary file in the same folder, synced, then renamed.
    ///
    /// # Errors
    /// `CannotCreate` or `Io`; `BadData` when a value holds a line break or both kinds of closing quote.
    pub fn write(&self, path: &Path) -> Result<()> {
        write::write(self, path)
    }

    /// The text that [`Self::write`] writes.
    pub fn to_text(&self) -> Result<String> {
        write::to_text(self)
    }
}
