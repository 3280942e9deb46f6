//! Tables, for the terminal or for a document.

/// A table with a title, and what is to be known about its columns.
pub(super) struct Table {
    title: &'static str,
    notes: Vec<String>,
    columns: &'static [&'static str],
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(title: &'static str, columns: &'static [&'static str]) -> Self {
        Self { title, notes: Vec::new(), columns, rows: Vec::new() }
    }

    pub(super) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The first column to the left, numbers to the right.
    pub(super) fn text(&self, markdown: bool) -> String {
        let width = |at: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count());
            cells.chain([self.columns[at].chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let padded = cells.zip(&widths).enumerate().map(|(at, (cell, &width))| match at {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            });
            let padded: Vec<String> = padded.collect();
            if markdown { format!("| {} |", padded.join(" | ")) } else { padded.join("  ") }
        };
        let mut out =
            if markdown { format!("### {}\n\n", self.title) } else { format!("{}\n\n", self.title) };
        let mut push = |line: String| {
            out.push_str(line.trim_end());
            out.push('\n');
        };
        push(line(&mut self.columns.iter().copied()));
        if markdown {
            let rule = |(at, width): (usize, &usize)| {
                let dashes = "-".repeat(width.saturating_sub(1));
                if at == 0 { format!("-{dashes}") } else { format!("{dashes}:") }
            };
            let rules: Vec<String> = widths.iter().enumerate().map(rule).collect();
            push(format!("| {} |", rules.join(" | ")));
        }
        for row in &self.rows {
            push(line(&mut row.iter().map(String::as_str)));
        }
        push(String::new());
        for note in &self.notes {
            push(format!("* {note}"));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_under_their_heading() {
        let mut table = Table::new("Cost", &["what", "ms"]);
        table.row(vec!["reading".into(), "0.5".into()]);
        table.note("median");
        assert_eq!(table.text(false), "Cost\n\nwhat      ms\nreading  0.5\n\n* median\n");
        let markdown = "### Cost\n\n| what    |  ms |\n| ------- | --: |\n| reading | 0.5 |\n\n* median\n";
        assert_eq!(table.text(true), markdown);
    }
}
