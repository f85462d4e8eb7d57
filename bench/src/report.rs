//! The results: the table, and the file for other programs.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

/// Whether a figure should be high or low.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
    /// There is no goal: it is only reported.
    Reported,
}

impl Goal {
    fn is_met(self, value: f64) -> Option<bool> {
        match self {
            Goal::AtLeast(least) => Some(value >= least),
            Goal::AtMost(most) => Some(value <= most),
            Goal::Reported => None,
        }
    }
}

impl Serialize for Goal {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Goal::AtLeast(value) => serializer.serialize_str(&format!(">= {value}")),
            Goal::AtMost(value) => serializer.serialize_str(&format!("<= {value}")),
            Goal::Reported => serializer.serialize_none(),
        }
    }
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    /// The median of the rounds.
    pub(crate) value: f64,
    pub(crate) goal: Goal,
    pub(crate) met: Option<bool>,
    pub(crate) rounds: Vec<f64>,
    /// The parts of the figure, in words.
    pub(crate) detail: String,
}

impl Figure {
    pub(crate) fn new(name: &'static str, goal: Goal, rounds: Vec<f64>, detail: impl Into<String>) -> Self {
        let value = median(&rounds);
        Self {
            name,
            value,
            goal,
            met: goal.is_met(value),
            rounds,
            detail: detail.into(),
        }
    }
}

/// One step of the rising load.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Step {
    /// Requests per second.
    pub(crate) rate: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) failed: usize,
    pub(crate) first_failure: Option<String>,
    /// How many processors our programs kept busy.
    pub(crate) ours: f64,
    /// How many processors the database kept busy.
    pub(crate) database: f64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    scale: &'static str,
    processors: usize,
    pub(crate) figures: Vec<Figure>,
    pub(crate) knee: Vec<Step>,
}

impl Report {
    pub(crate) fn new(scale: &'static str) -> Self {
        Self {
            scale,
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            figures: Vec::new(),
            knee: Vec::new(),
        }
    }

    #[expect(clippy::print_stdout, reason = "the table is the output of the program")]
    pub(crate) fn print(&self) {
        let mut table = Table::new();
        table.load_style(presets::UTF8_HORIZONTAL_ONLY);
        table.set_header(["figure", "value", "goal", "met", "lowest", "highest", "made of"]);
        for figure in &self.figures {
            let lowest = figure.rounds.iter().copied().fold(f64::INFINITY, f64::min);
            let highest = figure.rounds.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let goal = match figure.goal {
                Goal::AtLeast(value) => format!("≥ {value}"),
                Goal::AtMost(value) => format!("≤ {value}"),
                Goal::Reported => "—".to_owned(),
            };
            table.add_row([
                figure.name.to_owned(),
                rounded(figure.value),
                goal,
                figure.met.map_or("—", |met| if met { "yes" } else { "NO" }).to_owned(),
                rounded(lowest),
                rounded(highest),
                figure.detail.clone(),
            ]);
        }
        for column in [1, 4, 5] {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        println!("{table}");
        if self.knee.is_empty() {
            return;
        }
        let mut table = Table::new();
        table.load_style(presets::UTF8_HORIZONTAL_ONLY);
        table.set_header([
            "requests/s",
            "p50 ms",
            "p99 ms",
            "failed",
            "our processors",
            "the database's",
        ]);
        for step in &self.knee {
            table.add_row([
                format!("{:.0}", step.rate),
                rounded(step.p50_ms),
                rounded(step.p99_ms),
                step.failed.to_string(),
                rounded(step.ours),
                rounded(step.database),
            ]);
        }
        println!("{table}");
        if let Some(failure) = self.knee.iter().find_map(|step| step.first_failure.as_ref()) {
            println!("The first that failed: {failure}");
        }
    }

    pub(crate) fn write(&self, directory: &Path) -> Result<()> {
        let file = directory.join("latest.json");
        let write = || -> Result<()> {
            fs::create_dir_all(directory)?;
            let mut text = serde_json::to_string_pretty(self)?;
            text.push('\n');
            Ok(fs::write(&file, text)?)
        };
        write().with_context(|| format!("{} could not be written", file.display()))
    }
}

pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => sorted[odd / 2],
        even => f64::midpoint(sorted[even / 2 - 1], sorted[even / 2]),
    }
}

fn rounded(value: f64) -> String {
    if value.abs() >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_is_the_median_and_the_goal_says_which_way() {
        let figure = Figure::new("ratio", Goal::AtLeast(0.8), vec![0.1, 0.9, 0.8], "");
        assert_eq!(figure.value, 0.8);
        assert_eq!(figure.met, Some(true));
        assert_eq!(
            Figure::new("time", Goal::AtMost(1.0), vec![2.0, 1.0], "").met,
            Some(false)
        );
    }
}
