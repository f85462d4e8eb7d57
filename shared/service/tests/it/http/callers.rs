//! Which callers are accepted.

use service::auth::{Claims, SCOPE_VERIFY};

use super::*;

#[tokio::test]
async fn a_good_token_says_who_asks() {
    let running = Running::start(|_| ());
    let ada = UserId::new(Utc::now());
    let path = format!("/v1/posts/{}", PostId::new(Utc::now()));
    let token = running.token(ada, SCOPE_USER);
    let read = running
        .client
        .get(running.at(&path))
        .bearer_auth(&token)
        .send()
        .await
        .unwrap();
    assert_eq!(read.json::<Value>().await.unwrap()["caller"], ada.to_string());
    let lower = running
        .client
        .patch(running.at(&path))
        .header("authorization", format!("bearer {token}"));
    assert_eq!(
        lower.send().await.unwrap().json::<(UserId, Value)>().await.unwrap().0,
        ada
    );
}

#[tokio::test]
async fn without_a_token_only_public_routes_answer() {
    let running = Running::start(|_| ());
    let path = format!("/v1/posts/{}", PostId::new(Utc::now()));
    let read = running.get(&path).await;
    assert_eq!(read.status(), 200);
    assert_eq!(read.json::<Value>().await.unwrap()["caller"], Value::Null);
    let refused = running.client.patch(running.at(&path)).send().await.unwrap();
    assert_eq!(refused.headers()["www-authenticate"], "Bearer realm=\"microblog\"");
    let problem = problem(refused, 401).await;
    assert_eq!(problem["type"], "urn:microblog:problem:unauthorized");
}

#[tokio::test]
async fn a_bad_token_is_401_on_public_routes_too() {
    let running = Running::start(|_| ());
    let stranger = Running::start(|_| ());
    let path = format!("/v1/posts/{}", PostId::new(Utc::now()));
    let good = running.token(UserId::new(Utc::now()), SCOPE_USER);
    let foreign = stranger.token(UserId::new(Utc::now()), SCOPE_USER);
    let claims = |change: fn(&mut Claims)| {
        let subject = Subject {
            user: UserId::new(Utc::now()),
            handle: Handle::parse("ada").unwrap(),
            session: SessionId::new(Utc::now()),
            scope: SCOPE_USER,
        };
        let mut claims = running.signer.issue(&subject).unwrap().claims;
        change(&mut claims);
        format!("Bearer {}", running.signer.sign(&claims).unwrap())
    };
    for header in [
        format!("Bearer {foreign}"),
        format!("Bearer {good}x"),
        format!("Basic {good}"),
        good.clone(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        claims(|claims| claims.exp = claims.iat - 10),
        claims(|claims| claims.nbf = claims.iat + 60),
        claims(|claims| claims.iss = "elsewhere".into()),
        claims(|claims| claims.aud = "elsewhere".into()),
    ] {
        for method in [reqwest::Method::GET, reqwest::Method::PATCH] {
            let request = running
                .client
                .request(method, running.at(&path))
                .header("authorization", &header);
            let refused = request.send().await.unwrap();
            let challenge = refused.headers()["www-authenticate"].to_str().unwrap().to_owned();
            assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
            problem(refused, 401).await;
        }
    }
    let two = running
        .client
        .get(running.at(&path))
        .bearer_auth(&good)
        .header("authorization", format!("Bearer {good}"));
    problem(two.send().await.unwrap(), 401).await;
}

#[tokio::test]
async fn another_scope_opens_nothing() {
    let running = Running::start(|_| ());
    let path = format!("/v1/posts/{}", PostId::new(Utc::now()));
    let token = running.token(UserId::new(Utc::now()), SCOPE_VERIFY);
    let refused = running
        .client
        .patch(running.at(&path))
        .bearer_auth(token)
        .send()
        .await
        .unwrap();
    assert!(
        refused.headers()["www-authenticate"]
            .to_str()
            .unwrap()
            .contains("scope=\"user\"")
    );
    let problem = problem(refused, 403).await;
    assert_eq!(problem["type"], "urn:microblog:problem:insufficient-scope");
}
