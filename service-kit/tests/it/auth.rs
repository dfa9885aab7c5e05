//! Keys and sessions against a real store.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use engines::dynoxide::Dynoxide;
use schemas::item::{ID, KIND, TableNames};
use schemas::time::now_micros;
use service_kit::auth::{Authenticator, Caller, Scope};
use service_kit::keys::{self, KeyError, KeyRecord, KeyText, NewKey};
use service_kit::problem::ApiError;
use service_kit::sessions;
use std::time::{Duration, Instant};
use tokio_util::sync::{CancellationToken, DropGuard};

struct Bench {
    engine: Dynoxide,
    store: Client,
    tables: TableNames,
    auth: Authenticator,
    _stop: DropGuard,
}

impl Bench {
    async fn start() -> Self {
        let engine = Dynoxide::start().expect("an engine");
        let (store, tables) = (engine.client(), TableNames::default());
        create_control_table(&store, &tables).await;
        let shutdown = CancellationToken::new();
        let auth = Authenticator::start(store.clone(), tables.clone(), shutdown.clone()).await.expect("started");
        Self { engine, store, tables, auth, _stop: shutdown.drop_guard() }
    }

    async fn create(&self, new: NewKey) -> (KeyText, KeyRecord) {
        let created = keys::create(&self.store, &self.tables, new).await.expect("created");
        self.auth.refresh().await.expect("refreshed");
        created
    }

    fn ask(&self, key: &str, scope: Scope) -> Result<Caller, ApiError> {
        self.auth.authenticate(&bearer(key), scope)
    }
}

async fn create_control_table(store: &Client, tables: &TableNames) {
    let mut request = store.create_table().table_name(&tables.control).billing_mode(BillingMode::PayPerRequest);
    for (name, key_type) in [(KIND, KeyType::Hash), (ID, KeyType::Range)] {
        let attribute = AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S).build();
        let key = KeySchemaElement::builder().attribute_name(name).key_type(key_type).build();
        request = request.attribute_definitions(attribute.expect("complete")).key_schema(key.expect("complete"));
    }
    request.send().await.expect("a table");
}

fn new_key(scopes: &[Scope]) -> NewKey {
    NewKey { name: "test".into(), scopes: scopes.to_vec(), expires_at: None, events_per_second: None, bytes_per_second: None }
}

fn headers(name: &'static str, value: &str) -> HeaderMap {
    HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_str(value).expect("a header"))])
}

fn bearer(key: &str) -> HeaderMap {
    headers("authorization", &format!("Bearer {key}"))
}

fn status(outcome: Result<Caller, ApiError>) -> u16 {
    outcome.map_or_else(|error| error.problem.status, |_| 200)
}

#[tokio::test]
async fn a_key_opens_what_its_scopes_say() {
    let bench = Bench::start().await;
    let (key, record) = bench.create(new_key(&[Scope::Ingest])).await;
    let caller = bench.ask(key.reveal(), Scope::Ingest).expect("let in");
    assert_eq!(caller.key_id, Some(record.id));
    assert_eq!(status(bench.auth.authenticate(&headers("x-api-key", key.reveal()), Scope::Ingest)), 200);
    assert_eq!(status(bench.auth.authenticate(&headers("authorization", &format!("bearer  {}", key.reveal())), Scope::Ingest)), 200);
    assert_eq!(status(bench.ask(key.reveal(), Scope::Read)), 403);
    assert_eq!(status(bench.ask(key.reveal(), Scope::Admin)), 403);
    assert_eq!(status(bench.auth.authenticate(&HeaderMap::new(), Scope::Ingest)), 401);
}

#[tokio::test]
async fn a_revoked_key_is_out_with_the_next_refresh() {
    let bench = Bench::start().await;
    let (key, record) = bench.create(new_key(&[Scope::Read])).await;
    keys::revoke(&bench.store, &bench.tables, &record.id).await.expect("revoked");
    bench.auth.refresh().await.expect("refreshed");
    assert_eq!(status(bench.ask(key.reveal(), Scope::Read)), 401);
    let listed = keys::list(&bench.store, &bench.tables).await.expect("listed");
    let first = listed.first().and_then(|record| record.revoked_at);
    assert!(first.is_some());
    keys::revoke(&bench.store, &bench.tables, &record.id).await.expect("again");
    let again = keys::list(&bench.store, &bench.tables).await.expect("listed");
    assert_eq!(again.first().and_then(|record| record.revoked_at), first);
    assert!(matches!(keys::revoke(&bench.store, &bench.tables, "nobodys").await, Err(KeyError::Unknown(_))));
}

#[tokio::test]
async fn a_revocation_is_noticed_within_ten_seconds_by_itself() {
    let bench = Bench::start().await;
    let (key, record) = bench.create(new_key(&[Scope::Read])).await;
    keys::revoke(&bench.store, &bench.tables, &record.id).await.expect("revoked");
    let deadline = Instant::now() + Duration::from_secs(10);
    while status(bench.ask(key.reveal(), Scope::Read)) == 200 {
        assert!(Instant::now() < deadline, "still open");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn an_expired_key_is_out_without_a_refresh() {
    let bench = Bench::start().await;
    let (key, record) = bench.create(NewKey { expires_at: Some(now_micros() + 300_000), ..new_key(&[Scope::Read]) }).await;
    let deadline = Instant::now() + Duration::from_secs(10);
    while status(bench.ask(key.reveal(), Scope::Read)) == 200 {
        assert!(Instant::now() < deadline, "still open");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(record.expires_at.is_some_and(|end| now_micros() >= end));
}

#[tokio::test]
async fn all_keys_that_do_not_open_get_the_same_answer() {
    let bench = Bench::start().await;
    let (good, _) = bench.create(new_key(&[Scope::Read])).await;
    let (other, _) = bench.create(new_key(&[Scope::Read])).await;
    let (revoked, record) = bench.create(new_key(&[Scope::Read])).await;
    keys::revoke(&bench.store, &bench.tables, &record.id).await.expect("revoked");
    let unknown = keys::create(&bench.store, &bench.tables, new_key(&[Scope::Read])).await.expect("created").0;
    bench
        .store
        .delete_item()
        .table_name(&bench.tables.control)
        .key(KIND, schemas::item::s("api_key"))
        .key(ID, schemas::item::s(&unknown.reveal()[3..15]))
        .send()
        .await
        .expect("deleted");
    bench.auth.refresh().await.expect("refreshed");
    let mut mistyped = good.reveal().to_owned();
    mistyped.replace_range(20..21, if &mistyped[20..21] == "x" { "y" } else { "x" });
    // The id of one key with the secret of another.
    let crossed = format!("{}{}", &good.reveal()[..16], &other.reveal()[16..]);
    let answers = [revoked.reveal(), unknown.reveal(), &mistyped, &crossed, "", "at_", "sk-something", &"x".repeat(5_000)].map(|key| {
        let error = bench.ask(key, Scope::Read).expect_err("refused");
        assert_eq!(status(bench.auth.authenticate(&headers("x-api-key", key), Scope::Read)), 401, "{key}");
        (error.problem, error.retry_after_s)
    });
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:#?}");
    assert_eq!(answers[0].0.status, 401);
    assert_eq!(status(bench.auth.authenticate(&headers("authorization", "Basic YTpi"), Scope::Read)), 401);
}

#[tokio::test]
async fn last_known_keys_survive_an_outage() {
    let bench = Bench::start().await;
    let (key, _) = bench.create(new_key(&[Scope::Ingest])).await;
    let Bench { engine, auth, _stop, .. } = bench;
    drop(engine);
    assert!(auth.refresh().await.is_err());
    assert!(auth.is_ready());
    assert_eq!(status(auth.authenticate(&bearer(key.reveal()), Scope::Ingest)), 200);
}

#[tokio::test]
async fn without_ever_having_read_the_keys_the_answer_is_an_outage() {
    let engine = Dynoxide::start().expect("an engine");
    let (store, tables, shutdown) = (engine.client(), TableNames::default(), CancellationToken::new());
    let auth = Authenticator::start(store.clone(), tables.clone(), shutdown.clone()).await.expect("started without its table");
    let _stop = shutdown.drop_guard();
    assert!(!auth.is_ready());
    let refused = auth.authenticate(&bearer("at_abc"), Scope::Read).expect_err("an outage");
    assert_eq!((refused.problem.status, refused.retry_after_s), (503, Some(2)));
    create_control_table(&store, &tables).await;
    auth.refresh().await.expect("refreshed");
    assert_eq!(status(auth.authenticate(&bearer("at_abc"), Scope::Read)), 401);
}

#[tokio::test]
async fn many_keys_are_read_page_by_page() {
    let bench = Bench::start().await;
    // Long names make pages of 1 MB with few keys.
    let filler = "x".repeat(300_000);
    for i in 0..8 {
        let (_, record) = bench.create(new_key(&[Scope::Read])).await;
        let update = bench.store.update_item().table_name(&bench.tables.control).key(KIND, schemas::item::s("api_key"));
        let update = update.key(ID, schemas::item::s(&record.id)).update_expression("SET filler = :filler");
        update.expression_attribute_values(":filler", schemas::item::s(&filler)).send().await.expect("updated");
        assert_eq!(keys::list(&bench.store, &bench.tables).await.expect("listed").len(), i + 1);
    }
}

#[tokio::test]
async fn limits_are_charged_and_survive_a_refresh() {
    let bench = Bench::start().await;
    let limited = NewKey { events_per_second: Some(1), bytes_per_second: Some(1_000_000), ..new_key(&[Scope::Ingest]) };
    let (key, _) = bench.create(limited).await;
    let caller = bench.ask(key.reveal(), Scope::Ingest).expect("let in");
    bench.auth.charge(&caller, 60, 10).expect("the first batch passes");
    bench.auth.refresh().await.expect("refreshed");
    let caller = bench.ask(key.reveal(), Scope::Ingest).expect("let in");
    let refused = bench.auth.charge(&caller, 1, 10).expect_err("over the limit");
    assert_eq!(refused.problem.status, 429);
    assert!(refused.retry_after_s.is_some_and(|seconds| (30..=60).contains(&seconds)), "{:?}", refused.retry_after_s);
    let (unlimited, _) = bench.create(new_key(&[Scope::Ingest])).await;
    let caller = bench.ask(unlimited.reveal(), Scope::Ingest).expect("let in");
    bench.auth.charge(&caller, u32::MAX, u32::MAX).expect("no limit by default");
}

#[tokio::test]
async fn a_session_reads_until_it_or_its_key_ends() {
    let bench = Bench::start().await;
    let (_, record) = bench.create(new_key(&[Scope::Read, Scope::Ingest])).await;
    let begin = || sessions::create_session(&bench.store, &bench.tables, &record.id);
    let token = begin().await.expect("a session");
    let cookie = |token: &str| headers("cookie", &format!("theme=dark; {}={token}; x=y", sessions::COOKIE_NAME));
    let jar = cookie(token.reveal());
    // Not looked up yet.
    assert_eq!(status(bench.auth.authenticate(&jar, Scope::Read)), 401);
    let caller = bench.auth.authenticate_browser(&jar, Scope::Read).await.expect("let in");
    assert!(caller.is_session && caller.key_id.as_deref() == Some(&record.id));
    assert_eq!(status(bench.auth.authenticate(&jar, Scope::Read)), 200);
    assert_eq!(status(bench.auth.authenticate_browser(&jar, Scope::Ingest).await), 401, "pages do not ingest");
    assert_eq!(status(bench.auth.authenticate_browser(&jar, Scope::Admin).await), 403);
    assert_eq!(status(bench.auth.authenticate_browser(&cookie(&"A".repeat(43)), Scope::Read).await), 401);

    sessions::revoke_session(&bench.store, &bench.tables, token.reveal()).await.expect("revoked");
    bench.auth.forget_session(token.reveal());
    assert_eq!(status(bench.auth.authenticate_browser(&jar, Scope::Read).await), 401);

    let token = begin().await.expect("a session");
    let jar = cookie(token.reveal());
    assert_eq!(status(bench.auth.authenticate_browser(&jar, Scope::Read).await), 200);
    keys::revoke(&bench.store, &bench.tables, &record.id).await.expect("revoked");
    bench.auth.refresh().await.expect("refreshed");
    assert_eq!(status(bench.auth.authenticate_browser(&jar, Scope::Read).await), 401);
}

#[tokio::test]
async fn a_session_revoked_elsewhere_ends_within_ten_seconds_and_an_outage_ends_none() {
    let bench = Bench::start().await;
    let (_, record) = bench.create(new_key(&[Scope::Read])).await;
    let begin = || sessions::create_session(&bench.store, &bench.tables, &record.id);
    let (ended, kept) = (begin().await.expect("a session"), begin().await.expect("a session"));
    let cookie = |token: &str| headers("cookie", &format!("{}={token}", sessions::COOKIE_NAME));
    for token in [&ended, &kept] {
        assert_eq!(status(bench.auth.authenticate_browser(&cookie(token.reveal()), Scope::Read).await), 200);
    }
    sessions::revoke_session(&bench.store, &bench.tables, ended.reveal()).await.expect("revoked");
    let deadline = Instant::now() + Duration::from_secs(10);
    while status(bench.auth.authenticate_browser(&cookie(ended.reveal()), Scope::Read).await) == 200 {
        assert!(Instant::now() < deadline, "still open");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let Bench { engine, auth, _stop, .. } = bench;
    drop(engine);
    // By now the copy of the kept session is older than five seconds, so the store is asked in vain.
    assert_eq!(status(auth.authenticate_browser(&cookie(kept.reveal()), Scope::Read).await), 200);
    assert_eq!(status(auth.authenticate_browser(&cookie(&"A".repeat(43)), Scope::Read).await), 503);
}

#[tokio::test]
async fn loopback_needs_no_key_and_has_no_limit() {
    let auth = Authenticator::open();
    assert!(!auth.is_required() && auth.is_ready());
    let caller = auth.authenticate(&HeaderMap::new(), Scope::Admin).expect("let in");
    assert_eq!(caller.key_id, None);
    auth.charge(&caller, u32::MAX, u32::MAX).expect("no limit");
}

#[tokio::test]
async fn cookies_are_kept_from_scripts_and_other_sites() {
    let bench = Bench::start().await;
    let (_, record) = bench.create(new_key(&[Scope::Read])).await;
    let token = sessions::create_session(&bench.store, &bench.tables, &record.id).await.expect("a session");
    let set = token.set_cookie(true);
    for part in ["HttpOnly", "SameSite=Strict", "Secure", "Path=/", "Max-Age="] {
        assert!(set.contains(part), "{set}");
    }
    assert!(!token.set_cookie(false).contains("Secure"));
    assert!(sessions::clear_cookie(true).contains("Max-Age=0"));
    assert_eq!(format!("{token:?}"), "SessionToken(…)");
    let stored = bench.store.scan().table_name(&bench.tables.control).send().await.expect("scanned");
    assert!(!format!("{:?}", stored.items()).contains(token.reveal()), "the token itself must not be stored");
}
