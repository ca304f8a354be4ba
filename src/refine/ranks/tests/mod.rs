//! How ranks scale: sizes of messages, the model of docs/scaling.md, and a replay of the hand-out of blocks.

mod messages;
mod model;
mod replay;
#[cfg(feature = "mpi")]
mod wire;

use std::fs;
use std::path::Path;

/// Holds tables against the page: a figure there that the code no longer gives is an error.
fn are_in_the_page(tables: &[String]) {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/scaling.md");
    let page = fs::read_to_string(page).expect("docs/scaling.md");
    tables.iter().for_each(|table| println!("{table}"));
    for table in tables {
        assert!(page.contains(table.trim_end()), "docs/scaling.md has other figures; these are right:\n{table}");
    }
}

/// A row of a table in Markdown.
fn row(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

/// The head of a table.
fn head(names: &[&str]) -> String {
    format!("| {} |\n|{}\n", names.join(" | "), "---|".repeat(names.len()))
}

/// Bytes in the unit that suits.
fn bytes(count: f64) -> String {
    match count {
        c if c < 1e4 => format!("{c:.0} B"),
        c if c < 1e6 => format!("{:.0} kB", c / 1e3),
        c if c < 1e9 => format!("{:.0} MB", c / 1e6),
        c => format!("{:.1} GB", c / 1e9),
    }
}
