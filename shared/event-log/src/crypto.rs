//! The one cryptographic provider of the whole program.

use aws_lc_rs::digest::{SHA256, digest};

/// Makes aws-lc the provider of every TLS connection. Repeating it is harmless, so that each program and each
/// test may simply begin with it.
pub fn install_provider() {
    // An error says that a provider is there already; every caller installs this same one.
    let _already_installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// The SHA-256 of some bytes.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_provider_may_be_installed_twice() {
        install_provider();
        install_provider();
        assert!(rustls::crypto::CryptoProvider::get_default().is_some());
    }

    #[test]
    fn sha256_of_a_known_text() {
        assert_eq!(
            hex::encode(sha256(b"abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
