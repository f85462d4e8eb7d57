//! Tests reports and roles whose events arrive in any order.

use event_log::subscription::{Delivery, Handler};
use model::events::{Event, Report, UserRole};
use model::ids::ReportId;
use model::values::{ReportState, Role};
use views::Range;

use crate::fixture::{Projected, Store, clock, database};

#[tokio::test]
async fn the_highest_version_wins_in_whatever_order_and_however_often_events_arrive() {
    let (_database, views) = database().await;
    let clock = clock();
    let mut store = Store::new(clock.clone());
    let [ada, bob, judge] = ["ada", "bob", "judge"].map(|handle| store.register(handle));
    let id = ReportId::new(store.last().recorded.recorded_at);
    let made = Report {
        id,
        reporter: ada,
        user: bob,
        posts: vec![store.post(bob, "spam")],
        comment: Some("Spam.".to_owned()),
        resolved_by: None,
    };
    let resolved = Report {
        resolved_by: Some(judge),
        ..made.clone()
    };
    let redacted = Report {
        comment: None,
        ..resolved.clone()
    };
    let posts = made.posts.clone();
    let reports = [
        Event::UserReported(made),
        Event::ReportResolved(resolved),
        Event::ReportResolved(redacted),
    ]
    .map(|event| store.record(event));
    let roles = [Some(Role::Moderator), None, Some(Role::Admin)].map(|role| {
        let role = UserRole {
            user: judge,
            role,
            by: None,
        };
        store.record(Event::RoleChanged(role))
    });
    for (number, order) in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]
        .into_iter()
        .enumerate()
    {
        let generation = i64::try_from(number).unwrap() + 1;
        let projected = Projected::new(&views, generation, clock.clone()).await;
        let mixed: Vec<Delivery> = order
            .iter()
            .flat_map(|&index: &usize| [reports[index].clone(), roles[index].clone()])
            .collect();
        // One by one, then all at the same time, as after a restart.
        projected.deliver(&mixed).await;
        projected.projection.handle(&mixed).await.unwrap();
        let expected = views::Report {
            id,
            reporter: ada,
            user: bob,
            posts: posts.clone(),
            comment: None,
            resolved_by: Some(judge),
            position: None,
        };
        let found = &projected.views.reports;
        assert_eq!(found.find(id).await.unwrap(), Some(expected.clone()), "{order:?}");
        let in_state = async |state| found.in_state(state, Range::newest(10)).await.unwrap();
        assert_eq!(in_state(ReportState::Resolved).await, [expected]);
        assert_eq!(in_state(ReportState::Open).await, []);
        assert_eq!(found.with_words_of(ada, Range::newest(10)).await.unwrap(), []);
        assert_eq!(
            projected.views.roles.of(judge).await.unwrap(),
            Some(Role::Admin),
            "{order:?}"
        );
        assert_eq!(projected.views.roles.of(ada).await.unwrap(), None);
    }
}

#[tokio::test]
async fn an_open_report_is_found_by_its_reporter_and_a_role_that_was_taken_is_none() {
    let (_database, views) = database().await;
    let clock = clock();
    let mut store = Store::new(clock.clone());
    let [ada, bob] = ["ada", "bob"].map(|handle| store.register(handle));
    let report = |comment: Option<&str>| Report {
        id: ReportId::new(chrono::DateTime::UNIX_EPOCH),
        reporter: ada,
        user: bob,
        posts: Vec::new(),
        comment: comment.map(str::to_owned),
        resolved_by: None,
    };
    let (said, unsaid) = (report(Some("Spam.")), report(None));
    let events = [said.clone(), unsaid].map(|report| store.record(Event::UserReported(report)));
    let roles = [Some(Role::Moderator), None].map(|role| {
        store.record(Event::RoleChanged(UserRole {
            user: bob,
            role,
            by: None,
        }))
    });
    let projected = Projected::new(&views, 1, clock).await;
    projected.deliver(&events).await;
    projected.deliver(&roles).await;
    let reports = &projected.views.reports;
    assert_eq!(
        reports
            .in_state(ReportState::Open, Range::newest(10))
            .await
            .unwrap()
            .len(),
        2
    );
    let found = reports.with_words_of(ada, Range::newest(10)).await.unwrap();
    assert_eq!(found.iter().map(|report| report.id).collect::<Vec<_>>(), [said.id]);
    assert_eq!(projected.views.roles.of(bob).await.unwrap(), None);
}
