//! From a report to what moderators do about it.

use model::api::{Page, Post, Report, User};
use model::values::{ReportState, Role};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::home::e2e;
use crate::stack::{Stack, eventually};

e2e! {
    async fn a_report_leads_to_a_hidden_post_and_a_suspended_account() {
        let stack = Stack::start().await;
        let [ann, bob, eve, judge] = stack.people(["ann", "bob", "eve", "judge"]).await;
        stack.give(&judge, Some(Role::Moderator)).await;
        for follower in [&ann, &eve] {
            stack.follow(follower, &bob).await;
        }
        let [spam, fine] = [stack.post(&bob, "spam").await, stack.post(&bob, "fine").await];
        stack.repost(&eve, spam.id).await;
        stack.like(&eve, spam.id).await;
        let body = json!({ "user": bob.id, "posts": [spam.id], "comment": "Every minute." });
        let report: Report = stack.command(Method::POST, "/v1/reports", Some(&ann), Some(body)).await;
        let open: Page<Report> = stack.read("/v1/reports", Some(&judge)).await;
        assert_eq!(open.items.iter().map(|report| report.id).collect::<Vec<_>>(), [report.id]);

        let hide = format!("/v1/posts/{}/hide", spam.id);
        let _: Value = stack.command(Method::PUT, &hide, Some(&judge), None).await;
        assert_eq!(stack.home_ids(&ann).await, [fine.id]);
        let own: Post = stack.read(&format!("/v1/posts/{}", spam.id), Some(&bob)).await;
        assert!(own.hidden && own.counts.is_some_and(|counts| (counts.likes, counts.reposts) == (1, 1)));
        // The moderator sees it only by the report.
        let post = stack.try_read(&format!("/v1/posts/{}", spam.id), Some(&judge)).await;
        assert_eq!(post.0, StatusCode::NOT_FOUND);
        let path = format!("/v1/reports/{}", report.id);
        let details: Value = stack.read(&path, Some(&judge)).await;
        assert_eq!((&details["reported"][0]["text"], &details["comment"]), (&json!("spam"), &json!("Every minute.")));
        stack.edit(&bob, spam.id, "more spam").await;
        assert_eq!(stack.home_ids(&ann).await, [fine.id]);
        stack.assert_verified().await;

        let suspension = format!("/v1/users/{}/suspension", bob.id);
        let _: Value = stack.command(Method::PUT, &suspension, Some(&judge), None).await;
        assert_eq!(stack.home_ids(&ann).await, []);
        let profile: User = stack.read("/v1/users/@bob", Some(&ann)).await;
        assert!(profile.suspended && profile.counts.is_none());
        let following: Vec<User> = stack.list(&format!("/v1/users/{}/following", ann.id), Some(&ann), 10).await;
        assert_eq!(following, []);
        let refused = stack.send_command(Method::POST, "/v1/posts", Some(&bob), Some(json!({ "text": "more" }))).await;
        assert_eq!(refused.status(), StatusCode::FORBIDDEN);
        let resolve = format!("{path}/resolve");
        let resolved: Report = stack.command(Method::POST, &resolve, Some(&judge), None).await;
        assert_eq!((resolved.state, resolved.resolved_by), (ReportState::Resolved, Some(judge.id)));
        stack.assert_verified().await;

        for path in [&suspension, &hide] {
            let _: Value = stack.command(Method::DELETE, path, Some(&judge), None).await;
        }
        assert_eq!(stack.home(&ann).await.len(), 2);
        let restored: User = stack.read("/v1/users/@bob", Some(&ann)).await;
        assert_eq!(restored.counts.map(|counts| counts.followers), Some(2));
        // What moderators do is no edit.
        let history: Page<Value> = stack.read(&format!("/v1/posts/{}/history", spam.id), Some(&ann)).await;
        assert_eq!(history.items.len(), 2);

        stack.delete_user(&ann).await;
        eventually("the words of a deleted reporter are gone", || async {
            stack.see_everything().await;
            let report: Report = stack.read(&path, Some(&judge)).await;
            report.comment.is_none().then_some(())
        })
        .await;
        stack.assert_verified().await;
    }
}

e2e! {
    async fn who_is_suspended_moderates_no_more_and_nobody_reads_what_is_said_of_them() {
        let stack = Stack::start().await;
        let [ann, judge, root] = stack.people(["ann", "judge", "root"]).await;
        stack.give(&judge, Some(Role::Moderator)).await;
        stack.give(&root, Some(Role::Admin)).await;
        let body = json!({ "user": judge.id, "comment": "Biased." });
        let report: Report = stack.command(Method::POST, "/v1/reports", Some(&ann), Some(body)).await;
        let reports = async |reader| -> Vec<_> {
            let page: Page<Report> = stack.read("/v1/reports", Some(reader)).await;
            page.items.iter().map(|report| report.id).collect()
        };
        assert_eq!(reports(&root).await, [report.id]);
        assert_eq!(reports(&judge).await, []);
        let path = format!("/v1/reports/{}", report.id);
        assert_eq!(stack.try_read(&path, Some(&judge)).await.0, StatusCode::NOT_FOUND);

        let suspension = format!("/v1/users/{}/suspension", judge.id);
        let _: Value = stack.command(Method::PUT, &suspension, Some(&root), None).await;
        assert_eq!(stack.try_read("/v1/reports", Some(&judge)).await.0, StatusCode::FORBIDDEN);
        stack.assert_verified().await;
        let _: Value = stack.command(Method::DELETE, &suspension, Some(&root), None).await;
        assert_eq!(stack.try_read("/v1/reports", Some(&judge)).await.0, StatusCode::OK);
    }
}
