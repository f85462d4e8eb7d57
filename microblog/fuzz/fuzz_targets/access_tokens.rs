//! No token is accepted without our signature. A token that we sign can be read, or is refused.
#![no_main]

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use libfuzzer_sys::fuzz_target;
use model::clock::SystemClock;
use service::auth::{Signer, Verifier, generate_signing_key_pem};
use service::config::{Auth, Pem};

struct Keys {
    signer: Signer,
    key: EncodingKey,
    verifier: Verifier,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let pem = generate_signing_key_pem();
    let auth = Auth {
        signing_key: Some(Pem::parse(&pem).expect("a key")),
        ..Auth::default()
    };
    Keys {
        signer: Signer::from_config(&auth, SystemClock::shared()).expect("a signer"),
        key: EncodingKey::from_ed_pem(pem.as_bytes()).expect("a key"),
        verifier: Verifier::from_config(&auth, SystemClock::shared()).expect("a verifier"),
    }
});

fuzz_target!(|text: &str| {
    let keys = &*KEYS;
    // The input as a token.
    assert!(keys.verifier.verify(text).is_err());

    // The input as the claims of a token, and as its header, with a valid signature.
    let header = format!(r#"{{"alg":"EdDSA","kid":"{}"}}"#, keys.signer.public_key().id());
    for (header, claims) in [(header.as_str(), text), (text, "{}")] {
        let message = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
        let signature = crypto::sign(message.as_bytes(), &keys.key, Algorithm::EdDSA).expect("a signature");
        if let Ok(claims) = keys.verifier.verify(&format!("{message}.{signature}")) {
            let again = keys.signer.sign(&claims).expect("a token");
            assert_eq!(keys.verifier.verify(&again), Ok(claims));
        }
    }
});
