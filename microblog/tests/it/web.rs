//! The web pages, as a browser without JavaScript uses them.

use std::collections::BTreeMap;
use std::sync::Mutex;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{ACCEPT, CONTENT_TYPE, COOKIE, LOCATION, ORIGIN, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, StatusCode};

use crate::home::e2e;
use crate::stack::{Program, Stack, eventually};

const SECRET: &str = "a secret for the cookies of the tests";
const CLIENT_SECRET: &str = "the secret of the gateway of the tests";

/// A browser with its cookies. It follows a form's redirect, as browsers do.
pub(crate) struct Browser {
    http: Client,
    url: String,
    cookies: Mutex<BTreeMap<String, String>>,
}

/// A page that was shown.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) status: StatusCode,
    /// Where a form led to. Empty if nowhere.
    path: String,
    pub(crate) html: String,
}

impl Shown {
    /// The value of the first hidden field with this name.
    fn hidden(&self, name: &str) -> Option<&str> {
        let (_, rest) = self.html.split_once(&format!("name=\"{name}\" value=\""))?;
        rest.split('"').next()
    }

    fn has(&self, text: &str) -> &Self {
        assert!(self.html.contains(text), "the page lacks {text}: {}", self.html);
        self
    }

    fn lacks(&self, text: &str) -> &Self {
        assert!(!self.html.contains(text), "the page has {text}: {}", self.html);
        self
    }
}

impl Browser {
    pub(crate) fn new(gateway: &Program) -> Self {
        Self {
            http: Client::builder()
                .no_proxy()
                .redirect(Policy::none())
                .build()
                .expect("a client"),
            url: gateway.url.clone(),
            cookies: Mutex::default(),
        }
    }

    /// The page, as soon as the views show what was written before.
    pub(crate) async fn see(&self, path: &str) -> Shown {
        eventually(&format!("{path} is shown"), || async {
            let shown = self.send(self.http.get(format!("{}{path}", self.url))).await;
            (shown.status != StatusCode::SERVICE_UNAVAILABLE).then_some(shown)
        })
        .await
    }

    /// Sends a form of our own pages, with the token that they have.
    async fn submit(&self, path: &str, fields: &[(&str, &str)]) -> Shown {
        let page = self.see("/public").await;
        let token = page.hidden("form_token").unwrap_or_default().to_owned();
        let all = [fields, &[("form_token", &token)]].concat();
        let answer = self.post(path, &self.url, &all).await;
        if answer.status != StatusCode::SEE_OTHER {
            return answer;
        }
        let path = answer.path;
        let plain = path.split('#').next().unwrap_or_default().to_owned();
        Shown {
            path,
            ..self.see(&plain).await
        }
    }

    async fn post(&self, path: &str, origin: &str, fields: &[(&str, &str)]) -> Shown {
        let request = self.http.post(format!("{}{path}", self.url)).header(ORIGIN, origin);
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let fields: Vec<String> = fields
            .iter()
            .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
            .collect();
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        self.send(request.body(fields.join("&"))).await
    }

    async fn send(&self, request: RequestBuilder) -> Shown {
        let cookies = self
            .jar()
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect::<Vec<_>>();
        let answer = request
            .header(COOKIE, cookies.join("; "))
            .send()
            .await
            .expect("an answer");
        for cookie in answer.headers().get_all(SET_COOKIE) {
            let cookie = cookie.to_str().expect("a text");
            assert!(
                cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"),
                "{cookie}"
            );
            let (name, value) = cookie
                .split(';')
                .next()
                .and_then(|it| it.split_once('='))
                .expect("a cookie");
            if cookie.contains("Max-Age=0") {
                self.jar().remove(name);
            } else {
                self.jar().insert(name.to_owned(), value.to_owned());
            }
        }
        let header = |name| {
            answer
                .headers()
                .get(name)
                .map(|it| it.to_str().expect("a text").to_owned())
        };
        let path = header(LOCATION).unwrap_or_default();
        if answer.status() != StatusCode::SEE_OTHER {
            let policy = header("content-security-policy".parse().expect("a name")).unwrap_or_default();
            assert!(
                policy.contains("default-src 'none'") && !policy.contains("unsafe"),
                "{policy}"
            );
        }
        Shown {
            status: answer.status(),
            path,
            html: answer.text().await.expect("a body"),
        }
    }

    /// Says what the pages must show, as the answer to a command would. None: nothing.
    pub(crate) fn must_see(&self, token: Option<String>) {
        self.jar().retain(|name, _| !name.starts_with("seen-"));
        self.jar().extend(token.map(|token| ("seen-all".to_owned(), token)));
    }

    pub(crate) async fn log_in(&self, handle: &str, password: &str) {
        let shown = self
            .submit("/login", &[("handle", handle), ("password", password)])
            .await;
        assert_eq!(shown.status, StatusCode::OK, "{}", shown.html);
    }

    fn jar(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.cookies.lock().expect("nobody panicked")
    }

    async fn sign_up(&self, handle: &str) -> Shown {
        let email = format!("{handle}@example.org");
        let fields = [
            ("handle", handle),
            ("email", &email),
            ("password", "as long as it must be"),
            ("display_name", ""),
        ];
        self.submit("/signup", &fields).await
    }

    async fn write(&self, text: &str) -> Shown {
        self.submit("/posts", &[("text", text), ("warning", ""), ("visibility", "public")])
            .await
    }
}

async fn site() -> (Stack, Program) {
    site_with(&[]).await
}

async fn site_with(overrides: &[(&str, &str)]) -> (Stack, Program) {
    let stack = Stack::start_with(overrides).await;
    let gateway = gateway_of(&stack);
    (stack, gateway)
}

/// A gateway on whose pages people can log in.
pub(crate) fn gateway_of(stack: &Stack) -> Program {
    stack.gateway(&[
        ("gateway.cookie_secret", SECRET),
        ("gateway.client_secret", CLIENT_SECRET),
    ])
}

/// The id in an address like `/posts/ID#p-OTHER`.
fn id_of(page: &Shown) -> String {
    let (_, rest) = page.html.split_once("id=\"p-").expect("a post");
    rest.split('"').next().expect("an id").to_owned()
}

e2e! {
    async fn a_person_reads_signs_up_writes_follows_and_is_answered() {
        let (_stack, gateway) = site().await;
        let [ann, bob, visitor] = [(); 3].map(|()| Browser::new(&gateway));
        visitor.see("/").await.has("Sign up").has("Nobody has written anything yet.");
        let lost = visitor.send(visitor.http.get(format!("{}/nothing", visitor.url)).header(ACCEPT, "text/html")).await;
        assert_eq!(lost.status, StatusCode::NOT_FOUND);
        lost.has("There is nothing here").has("Sign up");

        let home = ann.sign_up("Ann").await;
        assert_eq!((home.status, home.path.as_str()), (StatusCode::OK, "/"));
        home.has("@ann").has("Log out").has("Follow somebody");
        let home = ann.write("Hello #world, it is <b>me</b>: https://example.org/a?b=1&c").await;
        home.has("Hello <a href=\"/tags/world\">#world</a>")
            .has("&lt;b&gt;me&lt;/b&gt;")
            .has("href=\"https://example.org/a?b=1&amp;c\" rel=\"nofollow noopener noreferrer ugc\"");
        let post = id_of(&home);

        // A visitor reads without an account, and is asked for one where it is needed.
        for page in ["/", "/public", "/@ann", "/tags/world", &format!("/posts/{post}")] {
            visitor.see(page).await.has("Hello").lacks("form_token");
        }
        assert_eq!(visitor.see("/bookmarks").await.path, "/login?next=%2Fbookmarks");

        bob.sign_up("bob").await;
        bob.see("/@ann").await.has("Follow").lacks("Unfollow");
        bob.submit("/@ann/follow", &[]).await.has("Unfollow");
        bob.see("/").await.has("Hello");
        let back = format!("/#p-{post}");
        let liked = bob.submit(&format!("/posts/{post}/like"), &[("back", &back)]).await;
        assert_eq!(liked.path, back);
        liked.has("Liked <span class=\"count\">1</span>");
        bob.submit(&format!("/posts/{post}/like"), &[("back", "/"), ("undo", "yes")]).await.has("Like <span class=\"count\">0</span>");
        bob.submit(&format!("/posts/{post}/bookmark"), &[("back", "/bookmarks")]).await.has("Hello");
        let answer = [("text", "@ann welcome!"), ("warning", ""), ("visibility", "public"), ("in_reply_to", &post)];
        let thread = bob.submit("/posts", &answer).await;
        assert!(thread.path.starts_with(&format!("/posts/{post}#p-")), "{}", thread.path);
        thread.has("welcome!");
        ann.see(&format!("/posts/{post}")).await.has("welcome!");
        bob.see("/@ann/followers").await.has("@bob");
        bob.submit("/@ann/follow", &[("undo", "yes")]).await.lacks("Unfollow");

        let warned = [("text", "The butler did it."), ("warning", "the end of a book"), ("visibility", "followers")];
        ann.submit("/posts", &warned).await.has("<summary>").has("the end of a book").has("followers only");
        visitor.see("/@ann").await.lacks("butler");

        // The session is over at once, also for whoever has kept the cookie.
        let kept = ann.jar().clone();
        ann.submit("/logout", &[]).await.has("Sign up");
        assert!(!ann.jar().contains_key("session"));
        *ann.jar() = kept;
        let refused = ann.submit("/logout", &[]).await;
        refused.has("Sign up");
        let wrong = ann.submit("/login", &[("handle", "ann"), ("password", "wrong and wrong"), ("next", "/bookmarks")]).await;
        assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
        wrong.has("The handle or the password is wrong.").has("value=\"ann\"").lacks("wrong and wrong");
        let back_in = ann.submit("/login", &[("handle", "@Ann"), ("password", "as long as it must be"), ("next", "/bookmarks")]).await;
        assert_eq!(back_in.path, "/bookmarks");
        ann.submit(&format!("/posts/{post}/delete"), &[("back", "/")]).await.lacks("Hello");
        assert_eq!(visitor.see(&format!("/posts/{post}")).await.status, StatusCode::NOT_FOUND);
    }
}

e2e! {
    async fn forms_of_other_sites_do_nothing() {
        let (_stack, gateway) = site().await;
        let ann = Browser::new(&gateway);
        ann.sign_up("ann").await;
        let page = ann.see("/").await;
        let token = page.hidden("form_token").unwrap();
        let draft = |token: &'static str| [("text", "forged"), ("visibility", "public"), ("form_token", token)];
        let token: &'static str = token.to_owned().leak();
        for (origin, token) in [
            ("https://evil.example", token),
            ("null", token),
            (&*gateway.url, ""),
            (&*gateway.url, "guessed"),
        ] {
            let refused = ann.post("/posts", origin, &draft(token)).await;
            assert_eq!(refused.status, StatusCode::FORBIDDEN, "{origin} {token}");
            refused.has("This form is not from this site");
        }
        // Nor do they log anybody in: the browser would then write in the name of another.
        let login = [("handle", "ann"), ("password", "as long as it must be")];
        assert_eq!(Browser::new(&gateway).post("/login", "https://evil.example", &login).await.status, StatusCode::FORBIDDEN);
        ann.see("/").await.lacks("forged");
        assert_eq!(ann.post("/posts", &gateway.url, &draft(token)).await.status, StatusCode::SEE_OTHER);
        ann.see("/").await.has("forged");

        // A cookie that somebody else has chosen is nobody's, and a login replaces it.
        let eve = Browser::new(&gateway);
        eve.jar().insert("session".to_owned(), "chosen".to_owned());
        eve.see("/").await.has("Sign up");
        eve.submit("/login", &login).await.has("@ann");
        assert_ne!(eve.jar()["session"], "chosen");
        // Nobody is led to another site after the login.
        let next = [login.as_slice(), &[("next", "//evil.example")]].concat();
        assert_eq!(Browser::new(&gateway).submit("/login", &next).await.path, "/");
    }
}

e2e! {
    /// What people write is text, wherever it is shown.
    async fn nothing_that_people_write_becomes_part_of_a_page() {
        let (_stack, gateway) = site().await;
        let ann = Browser::new(&gateway);
        ann.sign_up("ann").await;
        for text in [
            "<script>alert(1)</script>",
            "\"><img src=x onerror=alert(1)>",
            "javascript:alert(1) https://example.org/\"onmouseover=\"alert(1)",
            "</textarea></form><form action=https://evil.example>",
            "&lt;script&gt; ]]> <!-- --> {{7*7}} ${7*7}",
        ] {
            let page = ann.write(text).await;
            assert_eq!(page.status, StatusCode::OK, "{text}");
            for never in ["<script", "<img", "onerror=alert(1)>", "\"onmouseover", "evil.example>", "href=\"javascript:"] {
                page.lacks(never);
            }
            let id = id_of(&page);
            ann.see(&format!("/posts/{id}")).await.lacks("<script").lacks("<img");
            // An answer's form begins with what others have written, and a refused one with what was sent.
            let refused = [("text", text), ("warning", text), ("visibility", "public"), ("in_reply_to", "nobody")];
            ann.submit("/posts", &refused).await.lacks("<script").lacks("<img").lacks("<form action=https");
        }
        let too_long = "x".repeat(600);
        let refused = ann.submit("/posts", &[("text", &too_long), ("warning", ""), ("visibility", "public")]).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
        refused.has("role=\"alert\"").has(&too_long);
    }
}

e2e! {
    /// Each page asks for another access token here. Another tab has the cookie of before, and a page that was left early has lost its answer.
    async fn a_session_outlives_its_access_tokens() {
        let (_stack, gateway) = site_with(&[("auth.access_token_ttl", "5s"), ("auth.refresh_reuse_grace", "0s")]).await;
        let ann = Browser::new(&gateway);
        ann.sign_up("ann").await.has("@ann");
        let first = ann.jar().clone();
        for _ in 0..3 {
            let before = ann.jar()["session"].clone();
            ann.see("/").await.has("@ann");
            assert_ne!(ann.jar()["session"], before);
        }
        *ann.jar() = first;
        ann.see("/").await.has("@ann");
    }
}

e2e! {
    async fn without_a_secret_for_its_cookies_it_can_only_be_read() {
        let stack = Stack::start().await;
        let [ann] = stack.people(["ann"]).await;
        stack.post(&ann, "by the API").await;
        let gateway = stack.gateway(&[]);
        let visitor = Browser::new(&gateway);
        eventually("the post is shown", || async {
            visitor.see("/").await.html.contains("by the API").then_some(())
        }).await;
        visitor.see("/").await.lacks("Sign up").lacks("Log in");
        for path in ["/login", "/signup"] {
            assert_eq!(visitor.see(path).await.status, StatusCode::NOT_FOUND);
        }
    }
}
