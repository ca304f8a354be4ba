//! Columns of text.

/// Rows under a head; the first column to the left, the others, numbers mostly, to the right.
pub fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let wide = |text: &str| text.chars().count();
    let widths: [usize; N] =
        std::array::from_fn(|c| rows.iter().map(|row| wide(&row[c])).fold(wide(head[c]), usize::max));
    let mut text = String::new();
    for row in std::iter::once(head.map(str::to_owned)).chain(rows.iter().cloned()) {
        let cells = row.iter().zip(widths).enumerate().map(|(c, (cell, width))| match c {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a", "1"], ["longer", "100"]].map(|row| row.map(str::to_owned));
        assert_eq!(table(["name", "n"], &rows), "name      n\na         1\nlonger  100\n");
    }
}
