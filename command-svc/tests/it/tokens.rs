//! A caller without a valid access token gets nothing.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use model::clock::SystemClock;
use model::ids::{SessionId, UserId};
use model::values::Handle;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use service::auth::{Claims, SCOPE_USER, SCOPE_VERIFY, Signer, Subject, generate_signing_key_pem};
use service::config::Pem;

use crate::service::{Service, send};

fn subject() -> Subject {
    let now = chrono::Utc::now();
    let handle = Handle::parse("ada").unwrap();
    Subject {
        user: UserId::new(now),
        handle,
        session: SessionId::new(now),
        scope: SCOPE_USER,
    }
}

/// A token as the service would sign it, after `adjust` has changed the claims.
fn signed(service: &Service, adjust: impl FnOnce(&mut Claims)) -> String {
    let signer = Signer::from_config(&service.config.auth, SystemClock::shared()).unwrap();
    let mut claims = signer.issue(&subject()).unwrap().claims;
    adjust(&mut claims);
    signer.sign(&claims).unwrap()
}

fn part(json: &Value) -> String {
    URL_SAFE_NO_PAD.encode(json.to_string())
}

async fn create(service: &Service, token: &str) -> StatusCode {
    service
        .post("/v1/posts", token, json!({ "text": "Hello" }))
        .await
        .status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_not_good_opens_nothing() {
    let service = Service::start().await;
    let good = signed(&service, |_| {});
    assert_eq!(create(&service, &good).await, StatusCode::CREATED);
    let (head, rest) = good.split_once('.').unwrap();
    let (claims, signature) = rest.split_once('.').unwrap();
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(head).unwrap()).unwrap();
    let kid = header["kid"].as_str().unwrap();

    let mut other_key = service.config.auth.clone();
    other_key.signing_key = Some(Pem::parse(&generate_signing_key_pem()).unwrap());
    let unknown_kid = Signer::from_config(&other_key, SystemClock::shared())
        .unwrap()
        .issue(&subject())
        .unwrap()
        .token;
    let pem = generate_signing_key_pem();
    let forged = Header {
        kid: Some(kid.to_owned()),
        ..Header::new(Algorithm::EdDSA)
    };
    let key = EncodingKey::from_ed_pem(pem.as_bytes()).unwrap();
    let payload: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    let wrong_key = jsonwebtoken::encode(&forged, &payload, &key).unwrap();
    let none = format!(
        "{}.{claims}.",
        part(&json!({ "alg": "none", "typ": "JWT", "kid": kid }))
    );
    let none_signed = format!("{}.{claims}.{signature}", part(&json!({ "alg": "none", "kid": kid })));
    let hmac = format!("{}.{claims}.{signature}", part(&json!({ "alg": "HS256", "kid": kid })));
    let mut raised = payload.clone();
    raised["sub"] = json!(UserId::new(chrono::Utc::now()));
    let other_claims = format!("{head}.{}.{signature}", part(&raised));
    let mut without = payload.clone();
    without.as_object_mut().unwrap().remove("sid");
    let signer_key = service.config.auth.signing_key.clone().unwrap();
    let own_key = EncodingKey::from_ed_pem(signer_key.expose().as_bytes()).unwrap();
    let claim_missing = jsonwebtoken::encode(&forged, &without, &own_key).unwrap();

    let hour = 3_600;
    for (what, token) in [
        ("nothing", String::new()),
        ("nonsense", "nonsense".to_owned()),
        ("no signature", format!("{head}.{claims}.")),
        ("alg none", none),
        ("alg none, signed", none_signed),
        ("alg HS256", hmac),
        ("other claims", other_claims),
        ("claim missing", claim_missing),
        ("unknown kid", unknown_kid),
        ("wrong key", wrong_key),
        ("issuer", signed(&service, |claims| claims.iss = "elsewhere".to_owned())),
        (
            "audience",
            signed(&service, |claims| claims.aud = "elsewhere".to_owned()),
        ),
        ("expired", signed(&service, |claims| claims.exp = claims.iat - 6)),
        (
            "not yet valid",
            signed(&service, |claims| claims.nbf = claims.iat + hour),
        ),
    ] {
        for (method, path) in [
            (Method::POST, "/v1/posts"),
            (Method::PATCH, "/v1/users/me"),
            (Method::DELETE, "/v1/users/me"),
            (Method::GET, "/v1/users/me"),
            (Method::GET, "/v1/sessions"),
            (Method::DELETE, "/v1/sessions/current"),
        ] {
            let request = service
                .request(method.clone(), path)
                .bearer_auth(&token)
                .json(&json!({ "text": "Hello" }));
            let answer = send(request).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{what}: {method} {path}");
            assert!(answer.header("www-authenticate").starts_with("Bearer"), "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn times_have_a_leeway_of_seconds() {
    let service = Service::start().await;
    assert_eq!(
        create(&service, &signed(&service, |claims| claims.exp = claims.iat - 2)).await,
        StatusCode::CREATED
    );
    assert_eq!(
        create(&service, &signed(&service, |claims| claims.nbf = claims.iat + 3)).await,
        StatusCode::CREATED
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_verify_writes_nothing() {
    let service = Service::start().await;
    let token = signed(&service, |claims| claims.scope = SCOPE_VERIFY.to_owned());
    assert_eq!(create(&service, &token).await, StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_nothing_is_written() {
    let service = Service::start().await;
    let id = "0198c0de-0000-7000-8000-000000000001";
    for (method, path) in [
        (Method::PATCH, "/v1/users/me".to_owned()),
        (Method::DELETE, "/v1/users/me".to_owned()),
        (Method::GET, "/v1/users/me".to_owned()),
        (Method::GET, "/v1/sessions".to_owned()),
        (Method::DELETE, format!("/v1/sessions/{id}")),
        (Method::DELETE, "/v1/sessions/current".to_owned()),
        (Method::POST, "/v1/streams/tickets".to_owned()),
        (Method::POST, "/v1/posts".to_owned()),
        (Method::PATCH, format!("/v1/posts/{id}")),
        (Method::DELETE, format!("/v1/posts/{id}")),
        (Method::PUT, format!("/v1/posts/{id}/like")),
        (Method::DELETE, format!("/v1/posts/{id}/like")),
        (Method::PUT, format!("/v1/posts/{id}/repost")),
        (Method::DELETE, format!("/v1/posts/{id}/repost")),
        (Method::PUT, format!("/v1/users/{id}/follow")),
        (Method::DELETE, format!("/v1/users/{id}/follow")),
    ] {
        let answer = send(service.request(method.clone(), &path)).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method} {path}");
        let basic = service
            .request(method.clone(), &path)
            .basic_auth("ada", Some("password"));
        assert_eq!(send(basic).await.status, StatusCode::UNAUTHORIZED, "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_are_public() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let answer = service.get("/.well-known/jwks.json").await.expect(StatusCode::OK);
    assert_eq!(answer.header("content-type"), "application/jwk-set+json");
    let header: Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(ada.token.split('.').next().unwrap()).unwrap()).unwrap();
    let key = &answer.body["keys"][0];
    assert_eq!(
        (&key["kid"], &key["alg"], &key["crv"]),
        (&header["kid"], &json!("EdDSA"), &json!("Ed25519"))
    );
    assert_eq!(key.get("d"), None, "the private half is not published");
}
