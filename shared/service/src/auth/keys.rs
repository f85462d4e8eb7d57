//! Ed25519 keys in PEM, and their ids.

use std::fmt;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::ParsedCertificate;
use serde_json::json;

use event_log::crypto::sha256;

/// The fixed beginning of an Ed25519 key's SubjectPublicKeyInfo (RFC 8410). The 32 bytes of the key follow.
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

const PUBLIC_FORMS: &str = "-----BEGIN PUBLIC KEY----- or -----BEGIN CERTIFICATE-----";

/// Why a text is not a valid key. The message never shows the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    #[error("must be a PEM block ({0})")]
    Pem(&'static str),
    #[error("must be an Ed25519 key; another kind was given")]
    NotEd25519,
}

/// A public key and its id.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    bytes: [u8; 32],
    id: String,
}

impl PublicKey {
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        let x = URL_SAFE_NO_PAD.encode(bytes);
        // RFC 7638 and RFC 8037: only the required members, in lexicographic order, without spaces.
        let thumbprint = sha256(format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#).as_bytes());
        Self {
            bytes,
            id: URL_SAFE_NO_PAD.encode(thumbprint),
        }
    }

    /// All keys in a text, as `PUBLIC KEY` or `CERTIFICATE`. Of a certificate only the key counts. Its dates and its issuer don't matter:
    /// it is trusted because it is configured. Tools that make keys, such as Helm, often write no other form.
    pub fn all_from_pem(pem: &str) -> Result<Vec<Self>, InvalidKey> {
        let keys = <(SectionKind, Vec<u8>)>::pem_slice_iter(pem.as_bytes())
            .map(|section| match section {
                Ok((SectionKind::PublicKey, spki)) => Self::from_spki(&spki),
                Ok((SectionKind::Certificate, der)) => {
                    let certificate = CertificateDer::from(der);
                    let parsed =
                        ParsedCertificate::try_from(&certificate).map_err(|_| InvalidKey::Pem(PUBLIC_FORMS))?;
                    Self::from_spki(&parsed.subject_public_key_info())
                }
                Ok(_) | Err(_) => Err(InvalidKey::Pem(PUBLIC_FORMS)),
            })
            .collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() {
            Err(InvalidKey::Pem(PUBLIC_FORMS))
        } else {
            Ok(keys)
        }
    }

    fn from_spki(der: &[u8]) -> Result<Self, InvalidKey> {
        let bytes = der.strip_prefix(SPKI_PREFIX.as_slice()).ok_or(InvalidKey::NotEd25519)?;
        bytes
            .try_into()
            .map(Self::from_bytes)
            .map_err(|_| InvalidKey::NotEd25519)
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    pub fn to_pem(&self) -> String {
        to_pem("PUBLIC KEY", &[SPKI_PREFIX.as_slice(), &self.bytes].concat())
    }

    /// The format of RFC 8037.
    pub fn to_jwk(&self) -> serde_json::Value {
        json!({
            "kty": "OKP",
            "crv": "Ed25519",
            "x": URL_SAFE_NO_PAD.encode(self.bytes),
            "kid": self.id,
            "use": "sig",
            "alg": "EdDSA",
        })
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.id)
    }
}

/// The DER of a signing key, and its public key.
pub(super) fn signing_key_from_pem(pem: &str) -> Result<(Vec<u8>, PublicKey), InvalidKey> {
    let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes())
        .map_err(|_| InvalidKey::Pem("-----BEGIN PRIVATE KEY-----"))?;
    let der = der.secret_pkcs8_der();
    let pair = Ed25519KeyPair::from_pkcs8(der).map_err(|_| InvalidKey::NotEd25519)?;
    let public = pair
        .public_key()
        .as_ref()
        .try_into()
        .map_err(|_| InvalidKey::NotEd25519)?;
    Ok((der.to_vec(), PublicKey::from_bytes(public)))
}

/// A new signing key (PKCS #8, PEM), for tests and for `microblog up`.
///
/// # Panics
/// If the system can't provide randomness.
pub fn generate_signing_key_pem() -> String {
    let pair = Ed25519KeyPair::generate().expect("the system has randomness");
    let der = pair.to_pkcs8v1().expect("a key that was just made can be written");
    to_pem("PRIVATE KEY", der.as_ref())
}

fn to_pem(label: &str, der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, further) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = further;
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_the_thumbprint_of_rfc_8037() {
        // The key and the thumbprint of RFC 8037, appendices A.2 and A.3.
        let x = URL_SAFE_NO_PAD
            .decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
            .unwrap();
        let key = PublicKey::from_bytes(x.try_into().unwrap());
        assert_eq!(key.id(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn a_public_key_survives_pem() {
        let (_, key) = signing_key_from_pem(&generate_signing_key_pem()).unwrap();
        let (_, other) = signing_key_from_pem(&generate_signing_key_pem()).unwrap();
        assert_ne!(key, other);
        let both = format!("{}{}", key.to_pem(), other.to_pem());
        assert_eq!(PublicKey::all_from_pem(&both).unwrap(), [key, other]);
    }

    #[test]
    fn keys_as_openssl_writes_them_are_read() {
        // openssl genpkey -algorithm ed25519; openssl pkey -pubout
        let private = "-----BEGIN PRIVATE KEY-----\n\
                       MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
                       -----END PRIVATE KEY-----\n";
        let (_, key) = signing_key_from_pem(private).unwrap();
        assert_eq!(PublicKey::all_from_pem(&key.to_pem()).unwrap()[0], key);
        // The secret of RFC 8037, appendix A.1, whose public half is in A.2.
        assert_eq!(
            URL_SAFE_NO_PAD.encode(key.as_bytes()),
            "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
        );
    }

    #[test]
    fn of_a_certificate_the_key_counts() {
        // openssl genpkey -algorithm ed25519; openssl req -x509; openssl pkey -pubout. The certificate expired long ago.
        let certificate = "-----BEGIN CERTIFICATE-----\n\
                           MIIBPDCB76ADAgECAhQlDb2iOGTGJxHFPVqM+kVOvmsclTAFBgMrZXAwFDESMBAG\n\
                           A1UEAwwJbWljcm9ibG9nMB4XDTI2MTEyMjEzNTAyOFoXDTI2MTEyMzEzNTAyOFow\n\
                           FDESMBAGA1UEAwwJbWljcm9ibG9nMCowBQYDK2VwAyEAG0J5quFyDHmCrqZjbdwt\n\
                           iKCx4qgizY+G8BqDaeLFK1KjUzBRMB0GA1UdDgQWBBQph4WxH4RSS6/WNsel2/Ga\n\
                           SioDYzAfBgNVHSMEGDAWgBQph4WxH4RSS6/WNsel2/GaSioDYzAPBgNVHRMBAf8E\n\
                           BTADAQH/MAUGAytlcANBAEwqgnn3b/2FU71ekhR36OK2UOfW+tzsLf/184tGadJK\n\
                           eiHYD0OvkHy/WHrrl9VxWibpYPWhRL9SfzNCCdAMKwg=\n\
                           -----END CERTIFICATE-----\n";
        let public = "-----BEGIN PUBLIC KEY-----\n\
                           MCowBQYDK2VwAyEAG0J5quFyDHmCrqZjbdwtiKCx4qgizY+G8BqDaeLFK1I=\n\
                           -----END PUBLIC KEY-----\n";
        let key = PublicKey::all_from_pem(public).unwrap();
        assert_eq!(PublicKey::all_from_pem(certificate).unwrap(), key);
        assert_eq!(
            PublicKey::all_from_pem(&format!("{certificate}{public}"))
                .unwrap()
                .len(),
            2
        );
        let broken = to_pem("CERTIFICATE", &[0x30; 64]);
        assert_eq!(
            PublicKey::all_from_pem(&broken).unwrap_err(),
            InvalidKey::Pem(PUBLIC_FORMS)
        );
    }

    #[test]
    fn other_things_are_refused() {
        assert_eq!(PublicKey::all_from_pem("").unwrap_err(), InvalidKey::Pem(PUBLIC_FORMS));
        let rsa_like = to_pem("PUBLIC KEY", &[0x30; 64]);
        assert_eq!(PublicKey::all_from_pem(&rsa_like).unwrap_err(), InvalidKey::NotEd25519);
        assert_eq!(
            PublicKey::all_from_pem(&generate_signing_key_pem()).unwrap_err(),
            InvalidKey::Pem(PUBLIC_FORMS)
        );
        let garbage = to_pem("PRIVATE KEY", &[1, 2, 3]);
        assert_eq!(signing_key_from_pem(&garbage).unwrap_err(), InvalidKey::NotEd25519);
        let public = PublicKey::from_bytes([7; 32]).to_pem();
        assert!(matches!(signing_key_from_pem(&public), Err(InvalidKey::Pem(_))));
    }
}
