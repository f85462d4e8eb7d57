//! Access tokens: Ed25519 JWTs that live for minutes and are verified offline.
//!
//! Every claim is required, and EdDSA is the only algorithm. The id of a key is its RFC 7638 thumbprint, so keys need no names. Times are
//! compared with the injected clock.
//!
//! Where a client can't send one, a one-time ticket stands for it. What stays open longer than a request asks whether its session lives.

mod claims;
mod keys;
mod live_sessions;
mod sign;
mod tickets;
mod verify;

pub use claims::{Claims, SCOPE_USER, SCOPE_VERIFY, Subject};
pub use keys::{InvalidKey, PublicKey, generate_signing_key_pem};
pub use live_sessions::{CREDENTIALS, LiveSessions, SESSIONS, SessionLife};
pub use sign::{IssuedToken, SignError, Signer};
pub use tickets::{IssuedTicket, Tickets};
pub use verify::{InvalidToken, Verifier};
