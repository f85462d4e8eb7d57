//! Two people who follow, block, mute, protect and remove each other, both at once. What becomes of a request depends on what the other does
//! meanwhile, so that only the end is checked: `microblog verify` finds that both sides, and what everybody sees of them, agree.

use std::sync::Arc;

use model::ids::UserId;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use reqwest::{Method, StatusCode};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::client::{Call, Client};
use crate::person::register;

/// The two, while they act.
#[derive(Debug)]
pub(crate) struct Rivals {
    pub(crate) ids: [UserId; 2],
    stop: CancellationToken,
    acting: Vec<JoinHandle<()>>,
}

impl Rivals {
    pub(crate) async fn start(client: Arc<Client>, random: &mut StdRng) -> Self {
        let (one, other) = (register(&client, "rival0").await, register(&client, "rival1").await);
        let ids = [one.0, other.0];
        let stop = CancellationToken::new();
        let acting = [(one, ids[1]), (other, ids[0])].map(|((_, bearer), other)| {
            let (client, stop) = (client.clone(), stop.clone());
            let mut random = StdRng::seed_from_u64(random.random());
            tokio::spawn(async move {
                while !stop.is_cancelled() {
                    act(&client, &bearer, other, &mut random).await;
                }
            })
        });
        let acting = acting.into();
        Self { ids, stop, acting }
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        for acting in self.acting {
            acting.await.expect("no rival got a wrong answer");
        }
    }
}

async fn act(client: &Client, bearer: &str, other: UserId, random: &mut StdRng) {
    let on = random.random();
    let switch = |what: &str| {
        let method = if on { Method::PUT } else { Method::DELETE };
        Call::new(method, format!("/v1/users/{other}/{what}"))
    };
    let answer_request = |what: &str| Call::new(Method::POST, format!("/v1/follow-requests/{other}/{what}"));
    let call = match random.random_range(0..10) {
        0..3 => switch("follow"),
        3..5 => switch("block"),
        5 => switch("mute"),
        6 => Call::new(Method::PATCH, "/v1/users/me").body(json!({ "protected": on })),
        7 => answer_request(if on { "accept" } else { "reject" }),
        8 => Call::new(Method::DELETE, format!("/v1/followers/{other}")),
        _ => Call::new(Method::POST, "/v1/posts").body(json!({ "text": "Listen to me!" })),
    };
    let answer = client.send(&call.by(bearer)).await;
    let refused = [StatusCode::FORBIDDEN, StatusCode::NOT_FOUND, StatusCode::CONFLICT];
    assert!(
        answer.status.is_success() || refused.contains(&answer.status),
        "{} {}",
        answer.status,
        answer.body
    );
}
