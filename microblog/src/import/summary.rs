//! What an import prints at its end.

use std::io::{self, Write};
use std::time::Duration;

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{CellAlignment, Table};

use super::tally::{Kind, Tally};

#[derive(Debug)]
pub(super) struct Summary {
    /// Over all runs of this import.
    pub(super) users: Tally,
    pub(super) items: Tally,
    /// Users whom an earlier run, or somebody else with the same secret, had registered before.
    pub(super) known_before: u64,
    /// How many requests this run sent.
    pub(super) this_run: u64,
    pub(super) took: Duration,
    pub(super) throttled: u64,
}

impl Summary {
    pub(super) fn refused(&self) -> u64 {
        self.users.refused_in_all() + self.items.refused_in_all()
    }

    pub(super) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let table = tally_table([
            (Kind::User, &self.users),
            (Kind::Follow, &self.items),
            (Kind::Post, &self.items),
        ]);
        writeln!(out, "{table}")?;
        if self.known_before > 0 {
            writeln!(out, "{} of the users had been registered before.", self.known_before)?;
        }
        let seconds = self.took.as_secs_f64();
        let rate = self.this_run as f64 / seconds.max(0.001);
        writeln!(out, "{} requests in {seconds:.1} s, {rate:.0} a second.", self.this_run)?;
        if self.throttled > 0 {
            writeln!(
                out,
                "The services said \"slow down\" {} times; MICROBLOG__RATE_LIMIT__ENABLED=false turns their limits off.",
                self.throttled
            )?;
        }
        if self.refused() > 0 {
            print_refused(&[&self.users, &self.items], out)?;
        }
        Ok(())
    }
}

/// How many of each kind were accepted and refused.
pub(super) fn tally_table<'t>(kinds: impl IntoIterator<Item = (Kind, &'t Tally)>) -> Table {
    let mut table = Table::new();
    table
        .load_style(UTF8_BORDERS_ONLY)
        .set_header(["", "accepted", "refused"]);
    for (kind, tally) in kinds {
        table.add_row([
            kind.name().to_owned(),
            tally.accepted(kind).to_string(),
            tally.refused(kind).to_string(),
        ]);
    }
    right_align(&mut table, &[1, 2]);
    table
}

pub(super) fn print_refused(tallies: &[&Tally], out: &mut impl Write) -> io::Result<()> {
    let mut table = Table::new();
    table
        .load_style(UTF8_BORDERS_ONLY)
        .set_header(["refused", "how many", "why", "the first of them"]);
    for (kind, reasons) in tallies.iter().flat_map(|tally| &tally.refused) {
        for (reason, refused) in reasons {
            table.add_row([
                kind.name().to_owned(),
                refused.count.to_string(),
                reason.clone(),
                refused.first.clone(),
            ]);
        }
    }
    right_align(&mut table, &[1]);
    writeln!(out, "{table}")
}

fn right_align(table: &mut Table, columns: &[usize]) {
    for &index in columns {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}
