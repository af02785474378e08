//! Tables for people: columns as wide as their longest cell.

use std::io;

use api::terminal::plain;

use crate::output::Out;

/// Prints rows under a header; nothing is cut.
pub fn print(out: Out<'_>, header: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    out.write_all(render(header, rows).as_bytes())
}

fn render(header: &[&str], rows: &[Vec<String>]) -> String {
    let header: Vec<String> = header.iter().map(|cell| (*cell).to_uppercase()).collect();
    let shown = |row: &Vec<String>| row.iter().map(|cell| plain(cell).into_owned()).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(shown).collect();
    let width = |column: usize| {
        let cells = rows
            .iter()
            .chain([&header])
            .filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let mut text = String::new();
    for row in std::iter::once(&header).chain(&rows) {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        text += cells.collect::<Vec<_>>().join("   ").trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = vec![
            vec!["mad".to_owned(), "1".to_owned()],
            vec!["barcelona".to_owned(), "22".to_owned()],
        ];
        assert_eq!(
            render(&["site", "n"], &rows),
            "SITE        N\nmad         1\nbarcelona   22\n"
        );
    }
}
