//! Entries of home timelines that the projector writes, compared with a bulk insert of the same entries.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bson::Document;
use chrono::Utc;
use model::ids::{PostId, UserId};
use mongodb::options::InsertManyOptions;
use serde_json::json;
use views::Views;

use super::commands::followers;
use super::of;
use crate::http::{Call, Connection};
use crate::population::{BATCH, Population, entry, named};
use crate::report::{Figure, Goal, median};
use crate::scale::Scale;
use crate::stack::Stack;

const WRITTEN_WITHIN: Duration = Duration::from_secs(120);
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);
const COUNTER: &str = "views_fanned_out_entries_total ";

/// Nobody watches either database meanwhile: query-svc, which watches that of the views, is stopped. What a watch costs is the database's
/// work, and the raw inserts would not pay for it.
///
/// Measured from the command of the first post to the last entry, so that our side includes the commands and the change stream.
pub(super) async fn fan_out(stack: &mut Stack, population: &mut Population, scale: &Scale) -> Result<Figure> {
    let author = population.register(stack).await?;
    followers(stack, population, &author, scale.audience, false).await?;
    stack.query.kill()?;
    let mut command = Connection::to(&stack.command.address).await?;
    let call = Call::post("/v1/posts", json!({ "text": "To all who follow." })).by(&author.token);

    let twin = stack.databases.views.client().database("bench_raw");
    Views::new(&twin, 1).ensure().await?;
    let twin = twin.collection::<Document>(&named("home_timelines"));
    let unordered = InsertManyOptions::builder().ordered(false).build();
    let owners: Vec<UserId> = (0..scale.audience).map(|_| UserId::new(Utc::now())).collect();

    #[expect(clippy::cast_precision_loss, reason = "a few hundred thousand")]
    let entries = (scale.fanned_out * (scale.audience + 1)) as f64;
    let (mut ratios, mut ours, mut raws) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..scale.rounds {
        let before = stack.projector_counter(COUNTER).await?;
        let begun = Instant::now();
        for _ in 0..scale.fanned_out {
            command.send(&call).await?;
        }
        while stack.projector_counter(COUNTER).await? < before + entries {
            ensure!(begun.elapsed() < WRITTEN_WITHIN, "the entries were not written in time");
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        let our = entries / begun.elapsed().as_secs_f64();

        let mut raw = 0.0;
        for _ in 0..scale.fanned_out {
            let post = PostId::new(Utc::now());
            let same: Vec<Document> = owners.iter().map(|&owner| entry(owner, post, author.id)).collect();
            let begun = Instant::now();
            for chunk in same.chunks(BATCH) {
                twin.insert_many(chunk).with_options(unordered.clone()).await?;
            }
            raw += begun.elapsed().as_secs_f64();
        }
        let raw = entries / raw;
        ratios.push(our / raw);
        ours.push(our);
        raws.push(raw);
    }
    stack.restart_query().await?;
    let detail = of(median(&ours), median(&raws), "entries/s");
    Ok(Figure::new("fan_out", Goal::AtLeast(0.9), ratios, detail))
}
