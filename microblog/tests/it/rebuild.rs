//! A rebuild of all views while people read and write.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use model::api::{Page, Post};
use model::clock::SystemClock;
use views::generation::{Generations, Phase};

use crate::home::e2e;
use crate::processes::{Killed, Writing, keep_writing};
use crate::stack::{DEADLINE, Stack, eventually};

e2e! {
    async fn a_rebuild_under_writes_survives_a_kill_and_nobody_notices() {
        let mut stack = Stack::start_without_projector(&[]).await;
        stack.add_query().await;
        let stack = Arc::new(stack);
        let mut builder = Killed(stack.quick_projector_process());
        stack.wait_until_ready().await;
        let people = stack.crowd("person", 5).await;
        let writing = Arc::new(Writing::default());
        let writers = tokio::spawn({
            let (stack, people, writing) = (stack.clone(), people.clone(), writing.clone());
            async move { keep_writing(&stack, &people, &writing).await }
        });
        // A reader that reads all the time, from both query-svc, and must always get an answer.
        let reading = tokio::spawn({
            let (stack, reader, writing) = (stack.clone(), people[0].clone(), writing.clone());
            async move {
                let mut pages = 0;
                while !writing.stop.load(Ordering::SeqCst) {
                    for query in &stack.queries {
                        let (status, page) = stack.try_read_from(&query.url, "/v1/timelines/home?limit=5", Some(&reader)).await;
                        assert!(status.is_success(), "a read was answered {status}: {page}");
                        let _: Page<Post> = serde_json::from_str(&page).expect("a page");
                        pages += 1;
                    }
                }
                pages
            }
        });
        let databases = stack.databases().await;
        let generations = Generations::new(databases.views.clone(), SystemClock::shared());
        let control = || async { generations.current().await.expect("the control document").expect("is there") };
        // Writes something to rebuild.
        writing.more(150).await;

        let generation = generations.request_rebuild().await.expect("it can be asked for");
        eventually("somebody builds", || async {
            let control = control().await;
            (control.building.is_some_and(|it| it.phase != Phase::CatchingUp) || control.active == generation).then_some(())
        })
        .await;
        assert_ne!(control().await.active, generation, "it was over before it could be disturbed");
        builder.kill();
        let _successor = Killed(stack.quick_projector_process());
        let begun = Instant::now();
        loop {
            let control = control().await;
            if control.active == generation && control.retiring.is_none() {
                break;
            }
            assert!(begun.elapsed() < 2 * DEADLINE, "the rebuild does not end: {control:?}");
            // A pause, so that the checks do not take the processor from what they wait for.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // Some more writes through the new generation.
        writing.more(30).await;
        writing.stop.store(true, Ordering::SeqCst);
        writers.await.expect("the writers do not panic");
        assert!(reading.await.expect("every read was answered") > 0);
        let left = databases.views.list_collection_names().await.expect("names");
        assert!(!left.iter().any(|name| name.ends_with("_g1")), "{left:?}");
        stack.assert_verified().await;
        databases.close().await;
    }
}

e2e! {
    async fn the_command_asks_for_a_rebuild_and_watches_it() {
        let stack = Stack::start_with(&[
            ("rebuild.look_every", "100ms"), ("rebuild.reader_grace", "100ms"), ("projector.look_every", "100ms"),
        ]).await;
        let [ann, bob] = stack.people(["ann", "bob"]).await;
        stack.follow(&bob, &ann).await;
        let post = stack.post(&ann, "before and after").await;
        let mut stream = stack.stream("/v1/streams/home", Some(&bob), true).await.expect("a stream");
        stream.until(|event, _| event == "resumed").await;
        let output = tokio::task::spawn_blocking({
            let mut command = stack.microblog();
            command.arg("rebuild");
            move || command.output().expect("it runs")
        })
        .await
        .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(text, "Asked for generation 2 of the views.\nGeneration 2 is read; the one before is gone.\n");
        assert_eq!(stack.home_ids(&bob).await, [post.id]);
        // A live stream goes on in the next generation. A scan has found its rows, so they have no positions, and a post of the last seconds may
        // come again before `resumed`. Afterwards nothing does.
        stream.until(|event, _| event == "resumed").await;
        stack.post(&ann, "by the next generation").await;
        let told = stream.until(|_, data| data.contains("by the next generation")).await;
        assert!(!told.contains("before and after"), "{told}");
        stack.assert_verified().await;
    }
}

e2e! {
    async fn a_process_of_its_own_rebuilds_where_projectors_do_not() {
        let stack = Stack::start_with(&[("rebuild.hosted", "false"), ("projector.look_every", "100ms")]).await;
        let [ann, bob] = stack.people(["ann", "bob"]).await;
        stack.follow(&bob, &ann).await;
        let post = stack.post(&ann, "before and after").await;
        let output = tokio::task::spawn_blocking({
            let mut command = stack.microblog();
            command
                .args(["rebuild", "--here", "--generation", "5"])
                .env("MICROBLOG__REBUILD__LOOK_EVERY", "100ms")
                .env("MICROBLOG__REBUILD__READER_GRACE", "100ms");
            move || command.output().expect("it runs")
        })
        .await
        .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(text, "Asked for generation 5 of the views.\nGeneration 5 is read; the one before is gone.\n");
        assert_eq!(stack.home_ids(&bob).await, [post.id]);
        stack.assert_verified().await;
    }
}
