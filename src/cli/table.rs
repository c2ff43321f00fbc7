//! `-o table|json|csv`: one sheet, three ways to print it.
use std::io::{self, Write};

use clap::ValueEnum;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde_json::{Map, Value};

/// How a command prints what it found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    Json,
    Csv,
}

/// One cell: what programs read, and what people read.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    value: Value,
    shown: String,
    right: bool,
}

/// Rows under named columns. A name is the JSON key, the CSV head and, with spaces for `_`, the
/// table's head.
#[derive(Clone, Debug, Default)]
pub struct Sheet {
    columns: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
    /// A last row for people only: programs add up themselves.
    total: Option<Vec<Cell>>,
}

// === impl Cell ===

impl Cell {
    pub fn text(text: impl Into<String>) -> Cell {
        let shown = text.into();
        Cell { value: Value::String(shown.clone()), shown, right: false }
    }

    /// An absent text: null for programs.
    pub fn maybe(text: Option<impl Into<String>>) -> Cell {
        text.map_or(Cell { value: Value::Null, shown: "-".into(), right: false }, Cell::text)
    }

    pub fn count(count: u64) -> Cell {
        Cell { value: Value::from(count), shown: grouped(&count.to_string()), right: true }
    }

    /// Wei as decimal text in JSON: it may not fit a JSON number.
    pub fn wei(amount: impl ToString) -> Cell {
        let text = amount.to_string();
        Cell { shown: grouped(&text), value: Value::String(text), right: true }
    }

    /// Thousandths.
    pub fn milli(figure: u64) -> Cell {
        let shown = format!("{}.{:03}", figure / 1000, figure % 1000);
        Cell { value: Value::from(figure as f64 / 1000.0), shown, right: true }
    }
}

// === impl Sheet ===

impl Sheet {
    pub fn new(columns: &[&'static str]) -> Sheet {
        Sheet { columns: columns.to_vec(), ..Sheet::default() }
    }

    pub fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    pub fn total(&mut self, cells: Vec<Cell>) {
        self.total = Some(cells);
    }

    /// One object a row, the columns' names as keys.
    pub fn json(&self) -> Value {
        let object = |row: &Vec<Cell>| -> Value {
            let pairs = self.columns.iter().zip(row).map(|(name, cell)| ((*name).to_owned(), cell.value.clone()));
            Value::Object(pairs.collect::<Map<_, _>>())
        };
        self.rows.iter().map(object).collect()
    }

    pub fn print(&self, output: Output, out: &mut dyn Write) -> io::Result<()> {
        match output {
            Output::Table => self.print_table(out),
            Output::Json => writeln!(out, "{:#}", self.json()),
            Output::Csv => self.print_csv(out),
        }
    }

    fn print_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        // Folds to the terminal's width; a pipe gets whole lines.
        if table.is_tty() {
            table.set_content_arrangement(ContentArrangement::Dynamic);
        }
        let right = |at: usize| self.rows.first().and_then(|row| row.get(at)).is_some_and(|cell| cell.right);
        let aligned = |at: usize, text: &str| {
            let side = if right(at) { CellAlignment::Right } else { CellAlignment::Left };
            comfy_table::Cell::new(text).set_alignment(side)
        };
        let heads = self.columns.iter().map(|name| name.replace('_', " "));
        table.set_header(heads.enumerate().map(|(at, head)| aligned(at, &head)).collect::<Vec<_>>());
        for row in self.rows.iter().chain(&self.total) {
            table.add_row(row.iter().enumerate().map(|(at, cell)| aligned(at, &cell.shown)).collect::<Vec<_>>());
        }
        for line in table.lines() {
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }

    fn print_csv(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.columns.join(","))?;
        for row in &self.rows {
            let fields: Vec<String> = row.iter().map(|cell| csv_field(&cell.value)).collect();
            writeln!(out, "{}", fields.join(","))?;
        }
        Ok(())
    }
}

fn csv_field(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) if text.contains([',', '"', '\n', '\r']) => format!("\"{}\"", text.replace('"', "\"\"")),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// `1234567` as `1,234,567`; a leading minus stays.
pub fn grouped(digits: &str) -> String {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |rest| ("-", rest));
    let mut shown = String::from(sign);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
