//! Plots of the results.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use crate::report::{Figure, Goal, Report};

const BLUE_LINE: RGBColor = RGBColor(0x2b, 0x6c, 0xb0);
const ORANGE: RGBColor = RGBColor(0xc0, 0x56, 0x21);
const GREEN: RGBColor = RGBColor(0x2f, 0x85, 0x5a);

pub(crate) fn draw(report: &Report, directory: &Path) -> Result<()> {
    let with_goal: Vec<&Figure> = report.figures.iter().filter(|figure| figure.met.is_some()).collect();
    if !with_goal.is_empty() {
        figures(&with_goal, &directory.join("figures.svg")).map_err(|error| anyhow!("{error}"))?;
    }
    if !report.knee.is_empty() {
        knee(report, &directory.join("knee.svg")).map_err(|error| anyhow!("{error}"))?;
    }
    Ok(())
}

/// How much of its goal a round uses: 1 is exactly the goal, and less is better, for every kind of goal.
fn used(figure: &Figure, value: f64) -> f64 {
    match figure.goal {
        Goal::AtLeast(least) => least / value,
        Goal::AtMost(most) => value / most,
        Goal::Reported => 0.0,
    }
}

fn figures(figures: &[&Figure], file: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let height = 90 + 34 * u32::try_from(figures.len())?;
    let area = SVGBackend::new(file, (860, height)).into_drawing_area();
    area.fill(&WHITE)?;
    let rows = figures.len();
    #[expect(clippy::cast_precision_loss, reason = "a dozen")]
    let bottom = rows as f64;
    let most = figures
        .iter()
        .flat_map(|figure| figure.rounds.iter().map(|&round| used(figure, round)))
        .fold(1.5_f64, f64::max);
    let mut chart = ChartBuilder::on(&area)
        .caption(
            "Rounds against the goal (1 = the goal, left is better)",
            ("sans-serif", 18),
        )
        .margin(12)
        .x_label_area_size(30)
        .y_label_area_size(130)
        .build_cartesian_2d(0.0..most * 1.05, bottom..0.0)?;
    let name = |row: &f64| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a row's number")]
        let at = row.floor() as usize;
        figures
            .get(at)
            .filter(|_| row.fract() < 0.01)
            .map_or_else(String::new, |figure| figure.name.to_owned())
    };
    chart
        .configure_mesh()
        .disable_y_mesh()
        .y_labels(rows + 1)
        .y_label_formatter(&name)
        .label_style(("sans-serif", 14))
        .draw()?;
    chart.draw_series(std::iter::once(PathElement::new(
        vec![(1.0, 0.0), (1.0, bottom)],
        GREEN.stroke_width(2),
    )))?;
    for (row, figure) in figures.iter().enumerate() {
        #[expect(clippy::cast_precision_loss, reason = "a dozen")]
        let row = row as f64;
        let rounds = figure.rounds.iter().map(|&round| (used(figure, round), row + 0.02));
        chart.draw_series(rounds.map(|at| Circle::new(at, 3, BLUE_LINE.mix(0.5).filled())))?;
        let color = if figure.met == Some(true) { GREEN } else { ORANGE };
        let median = (used(figure, figure.value), row + 0.02);
        chart.draw_series(std::iter::once(Circle::new(median, 6, color.filled())))?;
    }
    area.present()?;
    Ok(())
}

fn knee(report: &Report, file: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::new(file, (860, 420)).into_drawing_area();
    area.fill(&WHITE)?;
    let fastest = report.knee.iter().map(|step| step.rate).fold(0.0, f64::max);
    let slowest = report
        .knee
        .iter()
        .map(|step| step.p99_ms)
        .fold(0.0, f64::max)
        .min(1_000.0);
    let mut chart = ChartBuilder::on(&area)
        .caption(
            "60 % home, 30 % user timelines, 10 % posts, at a rising rate",
            ("sans-serif", 18),
        )
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..fastest * 1.05, 0.0..slowest * 1.05)?;
    chart
        .configure_mesh()
        .x_desc("requests a second")
        .y_desc("ms from when a request was due")
        .label_style(("sans-serif", 14))
        .draw()?;
    for (name, color, value) in [
        (
            "p50",
            BLUE_LINE,
            (|step| step.p50_ms) as fn(&crate::report::Step) -> f64,
        ),
        ("p99", ORANGE, |step| step.p99_ms),
    ] {
        let points: Vec<(f64, f64)> = report
            .knee
            .iter()
            .map(|step| (step.rate, value(step).min(slowest)))
            .collect();
        chart
            .draw_series(LineSeries::new(points.clone(), color.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], color.stroke_width(2)));
        chart.draw_series(points.into_iter().map(|at| Circle::new(at, 4, color.filled())))?;
    }
    let limit = PathElement::new(vec![(0.0, 100.0), (fastest * 1.05, 100.0)], GREEN.stroke_width(1));
    chart.draw_series(std::iter::once(limit))?;
    chart
        .configure_series_labels()
        .background_style(WHITE)
        .border_style(BLACK)
        .draw()?;
    area.present()?;
    Ok(())
}
