//! Measures each claim of Microblog against the limit that the database sets, in one run and on one machine.
//!
//! Our side is the public API of programs that run as processes of their own. The raw side is this process, with the same driver, options,
//! documents and durability. Rounds of both sides take turns, so that other load on the machine affects both. A figure is the median of its
//! rounds.

mod figures;
mod http;
mod load;
mod plots;
mod population;
mod processes;
mod raw;
mod report;
mod scale;
mod sockets;
mod stack;

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;

use crate::report::Report;
use crate::scale::Scale;
use crate::stack::Stack;

/// Measures, prints a table, and writes latest.json and plots next to it.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Use fewer rounds and fewer documents: a few minutes on two processors
    #[arg(long)]
    quick: bool,
    /// Measure only this figure (can be given several times)
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// The directory for the results
    #[arg(long, value_name = "DIRECTORY", default_value = "bench/results")]
    results: PathBuf,
    /// The directory of the programs to measure [default: the directory of this program]
    #[arg(long, value_name = "DIRECTORY")]
    programs: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<()> {
    event_log::crypto::install_provider();
    let arguments = Arguments::parse();
    let scale = if arguments.quick { Scale::quick() } else { Scale::full() };
    let programs = match arguments.programs {
        Some(directory) => directory,
        None => stack::beside_this_program()?,
    };
    let mut report = Report::new(scale.name);
    // For thousands of streams, before the programs start that hold their other ends.
    processes::allow_open_files()?;
    let mut stack = Stack::start(&programs).await?;
    let measured = figures::measure(&mut stack, &scale, &arguments.only, &mut report).await;
    stack.stop().await?;
    measured?;
    report.print();
    report.write(&arguments.results)?;
    plots::draw(&report, &arguments.results)
}
