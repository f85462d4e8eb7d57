//! Which tokens are accepted, and which are refused.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::Utc;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::auth::{SCOPE_USER, Signer, Subject, generate_signing_key_pem};
use crate::config::{Auth, Pem, PemList};
use model::clock::{Clock, OffsetClock, SystemClock};
use model::ids::{SessionId, UserId};
use model::values::Handle;

fn auth_with(signing_key: &str) -> Auth {
    Auth {
        signing_key: Some(Pem::parse(signing_key).unwrap()),
        ..Auth::default()
    }
}

fn subject() -> Subject {
    Subject {
        user: UserId::new(Utc::now()),
        handle: Handle::parse("ada").unwrap(),
        session: SessionId::new(Utc::now()),
        scope: SCOPE_USER,
    }
}

struct Given {
    signer: Signer,
    verifier: Verifier,
    clock: Arc<OffsetClock>,
}

fn given() -> Given {
    let auth = auth_with(&generate_signing_key_pem());
    let clock = OffsetClock::new();
    Given {
        signer: Signer::from_config(&auth, SystemClock::shared()).unwrap(),
        verifier: Verifier::from_config(&auth, clock.clone()).unwrap(),
        clock,
    }
}

/// Replaces one part of the token, and leaves the signature as it was.
fn with_part(token: &str, part: usize, json: &Value) -> String {
    let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    parts[part] = URL_SAFE_NO_PAD.encode(json.to_string());
    parts.join(".")
}

fn part(token: &str, part: usize) -> Value {
    let bytes = URL_SAFE_NO_PAD.decode(token.split('.').nth(part).unwrap()).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

/// A token with a valid signature, whose claims are any JSON.
fn signed(key_pem: &str, header: &Value, claims: &Value) -> String {
    use aws_lc_rs::signature::Ed25519KeyPair;

    let (der, _) = signing_key_from_pem(key_pem).unwrap();
    let message = [header, claims]
        .map(|part| URL_SAFE_NO_PAD.encode(part.to_string()))
        .join(".");
    let signature = Ed25519KeyPair::from_pkcs8(&der).unwrap().sign(message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
}

#[test]
fn what_was_signed_is_believed() {
    let Given { signer, verifier, .. } = given();
    let subject = subject();
    let issued = signer.issue(&subject).unwrap();
    let claims = verifier.verify(&issued.token).unwrap();
    assert_eq!(*claims, issued.claims);
    assert_eq!((claims.sub, claims.sid), (subject.user, subject.session));
    assert_eq!(claims.exp - claims.iat, 900);
    assert_eq!(issued.expires_in, Duration::from_secs(900));
    assert!(claims.has_scope("user") && !claims.has_scope("verify") && !claims.has_scope("use"));
}

#[test]
fn times_have_five_seconds_of_leeway_and_no_more() {
    let Given {
        signer,
        verifier,
        clock,
    } = given();
    let now = clock.now().timestamp();
    let mut claims = signer.issue(&subject()).unwrap().claims;
    let verdict = |claims: &Claims| verifier.verify(&signer.sign(claims).unwrap()).map(|_| ());
    claims.exp = now - 3;
    assert_eq!(verdict(&claims), Ok(()));
    claims.exp = now - 5;
    assert_eq!(verdict(&claims), Err(InvalidToken::Expired));
    claims.exp = now + 900;
    claims.nbf = now + 4;
    assert_eq!(verdict(&claims), Ok(()));
    claims.nbf = now + 60;
    assert_eq!(verdict(&claims), Err(InvalidToken::NotYetValid));
    claims.exp = 0;
    assert_eq!(verdict(&claims), Err(InvalidToken::Expired));
    claims.exp = -1;
    assert_eq!(verdict(&claims), Err(InvalidToken::Claims));
    (claims.exp, claims.nbf) = (i64::MAX, 0);
    assert_eq!(verdict(&claims), Ok(()));
}

#[test]
fn the_injected_clock_decides() {
    let Given {
        signer,
        verifier,
        clock,
    } = given();
    let token = signer.issue(&subject()).unwrap().token;
    clock.advance(Duration::from_secs(15 * 60 + 6));
    assert_eq!(verifier.verify(&token), Err(InvalidToken::Expired));
    clock.rewind(Duration::from_secs(2 * 15 * 60));
    assert_eq!(verifier.verify(&token), Err(InvalidToken::NotYetValid));
}

#[test]
fn a_good_signature_is_checked_once_and_a_bad_one_is_not_remembered() {
    let Given { signer, verifier, .. } = given();
    let token = signer.issue(&subject()).unwrap().token;
    let first = verifier.verify(&token).unwrap();
    assert!(Arc::ptr_eq(&first, &verifier.verify(&token).unwrap()));
    let mut forged = part(&token, 1);
    forged["sub"] = json!(UserId::new(Utc::now()));
    for _ in 0..2 {
        assert_eq!(
            verifier.verify(&with_part(&token, 1, &forged)),
            Err(InvalidToken::Signature)
        );
    }
    assert_eq!(verifier.known.len(), 1);
    // Other keys remember other tokens.
    let other = Verifier::from_config(&auth_with(&generate_signing_key_pem()), SystemClock::shared()).unwrap();
    assert_eq!(other.verify(&token), Err(InvalidToken::UnknownKey));
}

#[test]
fn another_key_is_not_known_and_does_not_fit() {
    let Given { verifier, signer, .. } = given();
    let stranger = Signer::from_config(&auth_with(&generate_signing_key_pem()), SystemClock::shared()).unwrap();
    let token = stranger.issue(&subject()).unwrap().token;
    assert_eq!(verifier.verify(&token), Err(InvalidToken::UnknownKey));
    // The stranger's token claims to be signed with our key.
    let mut header = part(&token, 0);
    header["kid"] = json!(signer.public_key().id());
    assert_eq!(
        verifier.verify(&with_part(&token, 0, &header)),
        Err(InvalidToken::Signature)
    );
}

#[test]
fn without_or_with_an_unknown_key_id_nothing_is_believed() {
    let Given { signer, verifier, .. } = given();
    let token = signer.issue(&subject()).unwrap().token;
    let mut header = part(&token, 0);
    header.as_object_mut().unwrap().remove("kid");
    assert_eq!(
        verifier.verify(&with_part(&token, 0, &header)),
        Err(InvalidToken::UnknownKey)
    );
    header["kid"] = json!("no-such-key");
    assert_eq!(
        verifier.verify(&with_part(&token, 0, &header)),
        Err(InvalidToken::UnknownKey)
    );
}

#[test]
fn another_algorithm_is_never_believed() {
    let Given { signer, verifier, .. } = given();
    let token = signer.issue(&subject()).unwrap().token;
    let mut header = part(&token, 0);
    header["alg"] = json!("none");
    let unsigned = with_part(&token, 0, &header);
    assert!(verifier.verify(&unsigned).is_err());
    let stripped = format!("{}.", unsigned.rsplit_once('.').unwrap().0);
    assert!(verifier.verify(&stripped).is_err());
    // The well-known attack: an HMAC whose secret is the public key.
    let mut hs256 = jsonwebtoken::Header::new(Algorithm::HS256);
    hs256.kid = Some(signer.public_key().id().to_owned());
    let secret = jsonwebtoken::EncodingKey::from_secret(signer.public_key().as_bytes());
    let forged = jsonwebtoken::encode(&hs256, &part(&token, 1), &secret).unwrap();
    assert_eq!(verifier.verify(&forged), Err(InvalidToken::Algorithm));
}

#[test]
fn changed_claims_do_not_fit_the_signature() {
    let Given { signer, verifier, .. } = given();
    let token = signer.issue(&subject()).unwrap().token;
    let mut claims = part(&token, 1);
    claims["sub"] = json!(UserId::new(Utc::now()).to_string());
    assert_eq!(
        verifier.verify(&with_part(&token, 1, &claims)),
        Err(InvalidToken::Signature)
    );
}

#[test]
fn another_issuer_or_audience_is_refused() {
    let Given { signer, verifier, .. } = given();
    let good = signer.issue(&subject()).unwrap().claims;
    let other_issuer = Claims {
        iss: "elsewhere".into(),
        ..good.clone()
    };
    assert_eq!(
        verifier.verify(&signer.sign(&other_issuer).unwrap()),
        Err(InvalidToken::Issuer)
    );
    let other_audience = Claims {
        aud: "elsewhere".into(),
        ..good
    };
    assert_eq!(
        verifier.verify(&signer.sign(&other_audience).unwrap()),
        Err(InvalidToken::Audience)
    );
}

#[test]
fn every_claim_is_required_and_has_its_type() {
    let pem = generate_signing_key_pem();
    let auth = auth_with(&pem);
    let signer = Signer::from_config(&auth, SystemClock::shared()).unwrap();
    let verifier = Verifier::from_config(&auth, SystemClock::shared()).unwrap();
    let token = signer.issue(&subject()).unwrap().token;
    let (header, good) = (part(&token, 0), part(&token, 1));
    assert!(verifier.verify(&signed(&pem, &header, &good)).is_ok());
    for name in [
        "iss", "aud", "sub", "handle", "scope", "sid", "jti", "iat", "nbf", "exp",
    ] {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(name);
        assert!(
            verifier.verify(&signed(&pem, &header, &claims)).is_err(),
            "believed without {name}"
        );
        for wrong in [
            json!(null),
            json!(""),
            json!([]),
            json!({}),
            json!(true),
            json!(1.5),
            json!("x y"),
        ] {
            // Any text is a valid scope. Whether it allows anything is checked later.
            if name == "scope" && wrong.is_string() {
                continue;
            }
            claims[name] = wrong.clone();
            assert!(
                verifier.verify(&signed(&pem, &header, &claims)).is_err(),
                "believed {name} = {wrong}"
            );
        }
    }
}

#[test]
fn a_critical_header_that_nobody_understands_is_refused() {
    let pem = generate_signing_key_pem();
    let auth = auth_with(&pem);
    let signer = Signer::from_config(&auth, SystemClock::shared()).unwrap();
    let verifier = Verifier::from_config(&auth, SystemClock::shared()).unwrap();
    let token = signer.issue(&subject()).unwrap().token;
    let mut header = part(&token, 0);
    header["crit"] = json!(["b64"]);
    assert_eq!(
        verifier.verify(&signed(&pem, &header, &part(&token, 1))),
        Err(InvalidToken::Malformed)
    );
}

#[test]
fn through_a_rotation_both_keys_are_good() {
    let (old_pem, new_pem) = (generate_signing_key_pem(), generate_signing_key_pem());
    let old = Signer::from_config(&auth_with(&old_pem), SystemClock::shared()).unwrap();
    let mut auth = auth_with(&new_pem);
    auth.public_keys = PemList(vec![Pem::parse(&old.public_key().to_pem()).unwrap()]);
    let new = Signer::from_config(&auth, SystemClock::shared()).unwrap();
    let verifier = Verifier::from_config(&auth, SystemClock::shared()).unwrap();
    for signer in [&old, &new] {
        assert!(verifier.verify(&signer.issue(&subject()).unwrap().token).is_ok());
    }
    // A service that only verifies needs only the public keys.
    let both = format!("{}{}", old.public_key().to_pem(), new.public_key().to_pem());
    let auth = Auth {
        public_keys: PemList(vec![Pem::parse(&both).unwrap()]),
        ..Auth::default()
    };
    let reader = Verifier::from_config(&auth, SystemClock::shared()).unwrap();
    assert!(reader.verify(&new.issue(&subject()).unwrap().token).is_ok());
    let jwks = verifier.jwks();
    let ids: Vec<_> = jwks["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["kid"].as_str().unwrap())
        .collect();
    assert_eq!(ids, [new.public_key().id(), old.public_key().id()]);
}

#[test]
fn a_configuration_without_keys_is_refused_by_name() {
    let verifier = Verifier::from_config(&Auth::default(), SystemClock::shared()).unwrap_err();
    assert!(
        verifier.to_string().contains("MICROBLOG__AUTH__PUBLIC_KEYS"),
        "{verifier}"
    );
    let signer = Signer::from_config(&Auth::default(), SystemClock::shared()).unwrap_err();
    assert!(signer.to_string().contains("MICROBLOG__AUTH__SIGNING_KEY"), "{signer}");
}

proptest! {
    #[test]
    fn garbage_is_never_believed(token in "\\PC{0,200}") {
        prop_assert!(given().verifier.verify(&token).is_err());
    }

    #[test]
    fn garbage_in_three_parts_is_never_believed(parts in prop::array::uniform3("[A-Za-z0-9_=-]{0,80}")) {
        prop_assert!(given().verifier.verify(&parts.join(".")).is_err());
    }

    #[test]
    fn one_changed_character_is_noticed(at in any::<prop::sample::Index>(), new in "[A-Za-z0-9_-]") {
        let Given { signer, verifier, .. } = given();
        let token = signer.issue(&subject()).unwrap().token;
        let at = at.index(token.len());
        let mut changed = token.clone();
        changed.replace_range(at..=at, &new);
        prop_assume!(changed != token);
        // The last character of a part has bits that belong to no byte. A lenient decoder would ignore a change of these.
        prop_assert!(verifier.verify(&changed).is_err());
    }
}
