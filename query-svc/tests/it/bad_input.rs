//! Tests bad requests of a client: the response names the mistake, and is never a 500.

use model::clock::Clock;
use model::ids::{PostId, UserId};
use rstest::rstest;

use crate::service::{Caller, Service};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_input_is_400_and_names_the_field() {
    let mut service = Service::start().await;
    let ada = service.store.register("ada");
    let post = service.store.post(ada, "hello");
    service.settle().await;
    let cursor = service.get("/v1/timelines/public", Caller::Nobody).await.body["prev"]
        .as_str()
        .unwrap()
        .to_owned();
    let lists = [
        "/v1/timelines/home".to_owned(),
        "/v1/timelines/public".to_owned(),
        "/v1/timelines/tags/rust".to_owned(),
        "/v1/tags/followed".to_owned(),
        "/v1/users/@ada/posts".to_owned(),
        "/v1/users/@ada/followers".to_owned(),
        "/v1/users/@ada/following".to_owned(),
        format!("/v1/posts/{post}/thread"),
        format!("/v1/posts/{post}/likes"),
        format!("/v1/posts/{post}/reposts"),
        format!("/v1/posts/{post}/history"),
    ];
    for list in &lists {
        for (query, field) in [
            ("limit=0", "limit"),
            ("limit=101", "limit"),
            ("limit=-1", "limit"),
            ("limit=many", "limit"),
            ("limit=", "limit"),
            ("limit=5&limit=5", "limit"),
            ("before=nonsense", "before"),
            ("before=", "before"),
            ("after=nonsense", "after"),
            ("after=%00%ff", "after"),
            ("page=2", "page"),
            ("Limit=2", "Limit"),
        ] {
            let answer = service.get(&format!("{list}?{query}"), Caller::User(ada)).await;
            assert_eq!(
                (answer.status.as_u16(), answer.fields()),
                (400, vec![field]),
                "{list}?{query}: {}",
                answer.body
            );
        }
        let both = format!("{list}?before=AAAAAAAAAAAAAAAAAAAAAA&after={cursor}");
        let answer = service.get(&both, Caller::User(ada)).await;
        assert_eq!((answer.status.as_u16(), answer.fields()), (400, vec!["after"]));
        assert_eq!(
            service
                .get(&format!("{list}?limit=100"), Caller::User(ada))
                .await
                .status,
            200
        );
    }
    for path in [
        "/v1/users/ada",
        "/v1/users/@",
        "/v1/users/@a%20b",
        "/v1/users/123",
        "/v1/posts/1",
        "/v1/posts/@ada",
    ] {
        let answer = service.get(path, Caller::Nobody).await;
        assert_eq!(
            (answer.status.as_u16(), answer.fields()),
            (400, vec!["id"]),
            "{path}: {}",
            answer.body
        );
    }
    let too_many = vec![format!("id={ada}"); 101].join("&");
    for query in ["", "id=", "id=x", "ids=1", too_many.as_str()] {
        let answer = service
            .get(&format!("/v1/relationships?{query}"), Caller::User(ada))
            .await;
        let field = if query == "ids=1" { "ids" } else { "id" };
        assert_eq!(
            (answer.status.as_u16(), answer.fields()),
            (400, vec![field]),
            "{query}: {}",
            answer.body
        );
    }
    for token in ["nonsense", "", "AAAA", "!"] {
        let answer = service.get_with("/v1/timelines/public", Caller::Nobody, token).await;
        assert_eq!(
            (answer.status.as_u16(), answer.fields()),
            (400, vec!["Consistency-Token"]),
            "{token}"
        );
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_is_404_and_other_methods_are_405() {
    let mut service = Service::start().await;
    let ada = service.store.register("ada");
    service.settle().await;
    let nobody = UserId::new(service.clock.now());
    let nothing = PostId::new(service.clock.now());
    for path in ["", "/posts", "/followers", "/following"] {
        for name in [nobody.to_string(), "@nobody".to_owned()] {
            let answer = service.get(&format!("/v1/users/{name}{path}"), Caller::User(ada)).await;
            assert_eq!(answer.status, 404, "{name}{path}");
            assert!(answer.fields().is_empty());
        }
    }
    for path in ["", "/thread", "/likes", "/reposts", "/history"] {
        assert_eq!(
            service
                .get(&format!("/v1/posts/{nothing}{path}"), Caller::User(ada))
                .await
                .status,
            404,
            "{path}"
        );
    }
    for path in ["/v1", "/v1/timelines", "/v1/timelines/other", "/v2/users/@ada", "/"] {
        let answer = service.get(path, Caller::Nobody).await;
        assert_eq!((answer.status.as_u16(), answer.fields()), (404, vec![]), "{path}");
    }
    for path in ["/v1/timelines/home", "/v1/users/@ada", "/v1/posts/x/likes"] {
        let answer = service.send(reqwest::Method::POST, path).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("allow")),
            (405, Some("GET, HEAD")),
            "{path}: {}",
            answer.body
        );
        assert!(answer.fields().is_empty());
    }
    // A user who follows nobody and has posted nothing has an empty timeline, not a missing one.
    let empty = service.get("/v1/timelines/home", Caller::User(ada)).await;
    assert_eq!(
        (
            empty.ids().len(),
            empty.body["next"].is_null(),
            empty.body["prev"].is_null()
        ),
        (0, true, false)
    );
    service.stop().await;
}

#[rstest]
#[case::home("/v1/timelines/home", true)]
#[case::relationships("/v1/relationships?id=00000000-0000-7000-8000-000000000000", true)]
#[case::public("/v1/timelines/public", false)]
#[case::tag_timeline("/v1/timelines/tags/rust", false)]
#[case::tag("/v1/tags/rust", false)]
#[case::followed_tags("/v1/tags/followed", true)]
#[case::lists("/v1/lists", true)]
#[case::filters("/v1/filters", true)]
#[case::user("/v1/users/@ada", false)]
#[case::users_posts("/v1/users/@ada/posts", false)]
#[case::followers("/v1/users/@ada/followers", false)]
#[case::following("/v1/users/@ada/following", false)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_not_good_is_401_on_public_routes_too(#[case] path: &str, #[case] needs_token: bool) {
    let mut service = Service::start().await;
    let ada = service.store.register("ada");
    service.settle().await;
    let good = service.access_token(Caller::User(ada)).unwrap();
    assert_eq!(service.get_with_access_token(path, &good).await.status, 200);
    let without = service.get_now(path, Caller::Nobody).await;
    assert_eq!(without.status, if needs_token { 401 } else { 200 });
    let mut forged = good.clone();
    forged.truncate(forged.len() - 2);
    for bad in ["nonsense", &forged] {
        let answer = service.get_with_access_token(path, bad).await;
        assert_eq!(answer.status, 401);
        assert!(answer.header("www-authenticate").unwrap().contains("invalid_token"));
    }
    service.clock.advance(std::time::Duration::from_secs(15 * 60 + 6));
    assert_eq!(
        service.get_with_access_token(path, &good).await.status,
        401,
        "it has expired"
    );
    service.stop().await;
}
