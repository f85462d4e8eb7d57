//! What moderators read, and the place.

use model::events::{Event, Report, UserRole};
use model::ids::{PostId, ReportId, UserId};
use model::values::{Role, Visibility};
use serde_json::json;

use crate::service::{Caller, Service};

impl Service {
    fn give(&mut self, user: UserId, role: Option<Role>) {
        let role = UserRole { user, role, by: None };
        self.store.record(Event::RoleChanged(role));
    }

    fn report(&mut self, reporter: UserId, user: UserId, posts: Vec<PostId>) -> Report {
        let report = Report {
            id: ReportId::new(self.store.last().recorded.recorded_at),
            reporter,
            user,
            posts,
            comment: Some("Spam.".to_owned()),
            resolved_by: None,
        };
        self.store.record(Event::UserReported(report.clone()));
        report
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_moderators_read_reports() {
    let mut service = Service::start().await;
    let [ada, judge, root] = ["ada", "judge", "root"].map(|handle| service.store.register(handle));
    service.give(judge, Some(Role::Moderator));
    service.give(root, Some(Role::Admin));
    let report = service.report(judge, ada, Vec::new());
    service.settle().await;
    let paths = ["/v1/reports".to_owned(), format!("/v1/reports/{}", report.id)];
    for path in &paths {
        for (caller, status) in [
            (Caller::Nobody, 401),
            (Caller::User(ada), 403),
            (Caller::User(judge), 200),
            (Caller::User(root), 200),
        ] {
            assert_eq!(service.get(path, caller).await.status, status, "{path} {caller:?}");
        }
    }
    service.give(judge, None);
    service.settle().await;
    for path in &paths {
        let answer = service.get(path, Caller::User(judge)).await;
        assert_eq!(answer.status, 403, "{path}");
        let problem = answer.body["type"].as_str().unwrap();
        assert!(problem.ends_with("not-a-moderator"), "{problem}");
    }
    let nothing = format!("/v1/reports/{}", ReportId::from_bytes([1; 16]));
    assert_eq!(service.get(&nothing, Caller::User(root)).await.status, 404);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_are_listed_by_state_and_show_what_they_are_about() {
    let mut service = Service::start().await;
    let [ada, bob, judge] = ["ada", "bob", "judge"].map(|handle| service.store.register(handle));
    service.give(judge, Some(Role::Moderator));
    let caller = Caller::User(judge);
    let closed = service.store.write(bob, "for followers", None, Visibility::Followers);
    let hidden = service.store.post(bob, "hidden");
    let deleted = service.store.post(bob, "deleted");
    let [first, second, third] =
        [vec![closed, hidden, deleted], vec![hidden], Vec::new()].map(|posts| service.report(ada, bob, posts));
    service.store.hide(hidden, true);
    service.store.delete_post(deleted);
    service.store.record(Event::ReportResolved(Report {
        resolved_by: Some(judge),
        ..second.clone()
    }));
    service.store.suspend(bob, true);
    service.settle().await;

    let open = service.get("/v1/reports?limit=1", caller).await;
    assert_eq!(open.ids(), [third.id.to_string()]);
    let next = open.body["next"].as_str().unwrap();
    let open = service
        .get(&format!("/v1/reports?state=open&before={next}"), caller)
        .await;
    assert_eq!(open.ids(), [first.id.to_string()]);
    assert_eq!(open.body["next"], json!(null));
    let resolved = service.get("/v1/reports?state=resolved", caller).await;
    assert_eq!(resolved.ids(), [second.id.to_string()]);
    let item = &resolved.body["items"][0];
    assert_eq!(
        (&item["state"], &item["resolved_by"]),
        (&json!("resolved"), &json!(judge))
    );
    let other = service.get("/v1/reports?state=other", caller).await;
    assert_eq!((other.status.as_u16(), other.fields()), (400, vec!["state"]));

    let shown = service.get(&format!("/v1/reports/{}", first.id), caller).await.body;
    assert_eq!(shown["posts"], json!([closed, hidden, deleted]));
    assert_eq!(shown["comment"], "Spam.");
    let texts: Vec<_> = shown["reported"]
        .as_array()
        .unwrap()
        .iter()
        .map(|post| &post["text"])
        .collect();
    assert_eq!(texts, ["for followers", "hidden"]);
    assert_eq!(shown["reported"][1]["hidden"], true);
    // Nobody else sees more of it because of that.
    for post in [closed, hidden] {
        assert_eq!(service.get(&format!("/v1/posts/{post}"), caller).await.status, 404);
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_place_is_described_to_everybody() {
    let settings = [
        ("instance.name", "The place"),
        ("instance.rules", "Be kind.\nNo advertisements."),
        ("command.registration", "closed"),
    ];
    let service = Service::start_with(&settings).await;
    let place = service.get_now("/v1/instance", Caller::Nobody).await;
    assert_eq!(place.status, 200);
    assert_eq!(place.body["name"], "The place");
    assert_eq!(place.body["rules"], json!(["Be kind.", "No advertisements."]));
    assert_eq!(place.body["registration"], "closed");
    assert_eq!(place.body["streams"], json!("/v1/streams"));
    assert_eq!(place.body["limits"]["page_items"], 100);
    service.stop().await;
}
