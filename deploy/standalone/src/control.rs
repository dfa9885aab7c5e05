//! The way into a running server for the other commands: HTTP over a Unix socket in the data directory that only
//! its owner can open. It must not serve anything that the network may ask for.

mod told;

use crate::data_dir::control_socket;
use crate::export::{ExportHost, ExportWish, Exported};
use aggregator::delete::{DeleteOptions, Deleter, DeletionReport};
use aggregator::rebuild::{RebuildOptions, RebuildReport, Rebuilder};
use aggregator::verify::{Progress, Report, Verifier, VerifyOptions};
use anyhow::{Context, bail};
use aws_sdk_dynamodb::Client;
use axum::body::Body;
use axum::extract::{Path as PathParameter, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use schemas::Problem;
use schemas::item::TableNames;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use service_kit::auth::Authenticator;
use service_kit::keys::{self, KeyError, KeyRecord, NewKey, Scope};
use service_kit::problem::ApiError;
use std::fs::{File, Permissions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

/// Bytes that a Unix socket's path may have, its end included.
const SOCKET_PATH_BYTES: usize = 108;

/// Longest wait for an export.
const EXPORT_WITHIN: Duration = Duration::from_secs(24 * 3_600);

/// What the socket's handlers work with.
#[derive(Clone, Debug)]
pub struct Control {
    /// The store.
    pub store: Client,
    /// The store's tables.
    pub tables: TableNames,
    /// Told when a key changes, so that it opens (or no longer opens) at once.
    pub auth: Authenticator,
    /// Where the server answers HTTP.
    pub url: String,
    /// Verifies what the server has counted; with the server's own word on how long events are kept.
    pub verifier: Verifier,
    /// Rebuilds the metrics table beside the aggregator; with the server's own word on how long events are kept.
    pub rebuilder: Rebuilder,
    /// Deletes events beside the aggregator; with the server's own word on how long they are kept.
    pub deleter: Deleter,
    /// What it exports from.
    pub export: ExportHost,
}

/// What a new key shall be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyWish {
    /// For whom or what.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// When it ends, µs since the epoch.
    pub expires_at: Option<i64>,
    /// Events it may post per second.
    pub events_per_second: Option<u32>,
    /// Bytes it may post per second.
    pub bytes_per_second: Option<u32>,
}

/// A key without its secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyEntry {
    /// Its id.
    pub id: String,
    /// Whether it opens anything now.
    pub is_good: bool,
    /// What was wished.
    #[serde(flatten)]
    pub wish: KeyWish,
    /// When it was created, µs since the epoch.
    pub created_at: i64,
    /// When it was revoked, µs since the epoch.
    pub revoked_at: Option<i64>,
}

/// A new key: the only time that its text is shown.
#[derive(Clone, Serialize, Deserialize)]
pub struct CreatedKey {
    /// The text.
    pub key: String,
    /// The rest.
    pub entry: KeyEntry,
}

/// Where the running server is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Server {
    /// Where it answers HTTP.
    pub url: String,
}

impl std::fmt::Debug for CreatedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreatedKey").field("entry", &self.entry).finish_non_exhaustive()
    }
}

impl From<KeyRecord> for KeyEntry {
    fn from(key: KeyRecord) -> Self {
        Self {
            is_good: key.is_good(schemas::time::now_micros()),
            wish: KeyWish {
                name: key.name,
                scopes: key.scopes,
                expires_at: key.expires_at,
                events_per_second: key.events_per_second,
                bytes_per_second: key.bytes_per_second,
            },
            id: key.id,
            created_at: key.created_at,
            revoked_at: key.revoked_at,
        }
    }
}

/// Creates a key in the store.
pub async fn create_key(store: &Client, tables: &TableNames, wish: KeyWish) -> Result<CreatedKey, KeyError> {
    let KeyWish { name, scopes, expires_at, events_per_second, bytes_per_second } = wish;
    let new = NewKey { name, scopes, expires_at, events_per_second, bytes_per_second };
    let (text, record) = keys::create(store, tables, new).await?;
    Ok(CreatedKey { key: text.reveal().to_owned(), entry: record.into() })
}

/// Lists the store's keys.
pub async fn list_keys(store: &Client, tables: &TableNames) -> Result<Vec<KeyEntry>, KeyError> {
    Ok(keys::list(store, tables).await?.into_iter().map(KeyEntry::from).collect())
}

/// The socket, to be served.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    socket: SocketPath,
}

impl ControlSocket {
    /// Opens the socket. The caller holds the directory's lock, so a socket that is there already is left over from
    /// a process that was killed.
    pub fn open(data_dir: &Path) -> anyhow::Result<Self> {
        let socket = SocketPath::of(data_dir)?;
        match std::fs::remove_file(&socket.path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e).context("cannot remove the old control socket"),
            _ => {}
        }
        let listener = UnixListener::bind(&socket.path).context("cannot create the control socket")?;
        std::fs::set_permissions(&socket.path, Permissions::from_mode(0o600)).context("cannot protect the control socket")?;
        Ok(Self { listener, socket })
    }

    /// Serves until `shutdown`.
    pub async fn serve(self, control: Control, shutdown: CancellationToken) -> anyhow::Result<()> {
        let router = Router::new()
            .route("/server", get(server_show))
            .route("/keys", get(keys_list).post(key_create))
            .route("/keys/{id}/revoke", post(key_revoke))
            .route("/verify", post(verification_run))
            .route("/rebuild", post(rebuild_run))
            .route("/delete", post(deletion_run))
            .route("/export", post(export_create))
            .with_state(Arc::new(control));
        let served = axum::serve(self.listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await;
        // A left-over socket does no harm: the next server removes it.
        drop(std::fs::remove_file(&self.socket.path));
        served.context("the control socket broke")
    }
}

async fn server_show(State(control): State<Arc<Control>>) -> Json<Server> {
    Json(Server { url: control.url.clone() })
}

async fn keys_list(State(control): State<Arc<Control>>) -> Result<Json<Vec<KeyEntry>>, ApiError> {
    list_keys(&control.store, &control.tables).await.map(Json).map_err(answer)
}

async fn key_create(State(control): State<Arc<Control>>, Json(wish): Json<KeyWish>) -> Result<Json<CreatedKey>, ApiError> {
    let created = create_key(&control.store, &control.tables, wish).await.map_err(answer)?;
    control.auth.refresh().await.map_err(answer)?;
    Ok(Json(created))
}

async fn key_revoke(State(control): State<Arc<Control>>, PathParameter(id): PathParameter<String>) -> Result<Json<()>, ApiError> {
    keys::revoke(&control.store, &control.tables, &id).await.map_err(answer)?;
    control.auth.refresh().await.map_err(answer)?;
    Ok(Json(()))
}

/// Lines of JSON: how far it is, and at last the verdict.
async fn verification_run(State(control): State<Arc<Control>>, Json(wish): Json<VerifyOptions>) -> Body {
    let mut verifier = control.verifier.clone();
    verifier.options = VerifyOptions { retention: verifier.options.retention.or(wish.retention), ..wish };
    told::answer(move |progress| async move { verifier.run(&progress).await })
}

/// The same of a rebuild.
async fn rebuild_run(State(control): State<Arc<Control>>, Json(wish): Json<RebuildOptions>) -> Body {
    let mut rebuilder = control.rebuilder.clone();
    rebuilder.options =
        RebuildOptions { retention: rebuilder.options.retention.or(wish.retention), live_days: rebuilder.options.live_days, ..wish };
    told::answer(move |progress| async move { rebuilder.run(&progress).await })
}

/// The same of a deletion.
async fn deletion_run(State(control): State<Arc<Control>>, Json(wish): Json<DeleteOptions>) -> Body {
    let mut deleter = control.deleter.clone();
    deleter.options =
        DeleteOptions { retention: wish.retention.or(deleter.options.retention), live_days: deleter.options.live_days, ..wish };
    told::answer(move |progress| async move { deleter.run(&progress).await })
}

async fn export_create(State(control): State<Arc<Control>>, Json(wish): Json<ExportWish>) -> Result<Json<Exported>, ApiError> {
    let exported = Box::pin(control.export.export(&wish)).await;
    exported.map(Json).map_err(|error| ApiError::conflict(format!("{error:#}")))
}

/// Whoever can open the socket may read everything, so the cause is told.
fn answer(error: KeyError) -> ApiError {
    match error {
        KeyError::Invalid(_) => ApiError::bad_request(error.to_string()),
        KeyError::Unknown(_) => ApiError::not_found(error.to_string()),
        KeyError::Store { .. } => ApiError::unavailable(error.to_string(), 1),
    }
}

const NO_ANSWER: &str = "the server that works on this data directory does not answer on its control socket";
/// It reads every event that there is.
const VERIFICATION_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(7 * 86_400);

/// The way to the process that works on a data directory.
#[derive(Debug)]
pub struct ControlClient {
    client: reqwest::Client,
    _socket: SocketPath,
}

impl ControlClient {
    /// To the server on that directory. Nothing is sent yet.
    pub fn new(data_dir: &Path) -> anyhow::Result<Self> {
        let socket = SocketPath::of(data_dir)?;
        let client = reqwest::Client::builder().unix_socket(socket.path.as_path()).no_proxy().timeout(Duration::from_secs(15)).build()?;
        Ok(Self { client, _socket: socket })
    }

    /// Where the server answers HTTP.
    pub async fn server(&self) -> anyhow::Result<Server> {
        self.send(self.client.get("http://agent-tally/server")).await
    }

    /// Lists the keys.
    pub async fn list_keys(&self) -> anyhow::Result<Vec<KeyEntry>> {
        self.send(self.client.get("http://agent-tally/keys")).await
    }

    /// Creates a key.
    pub async fn create_key(&self, wish: &KeyWish) -> anyhow::Result<CreatedKey> {
        self.send(self.client.post("http://agent-tally/keys").json(wish)).await
    }

    /// Revokes a key.
    pub async fn revoke_key(&self, id: &str) -> anyhow::Result<()> {
        if id.is_empty() || !id.bytes().all(|b| b.is_ascii_alphanumeric()) {
            bail!("{id:?} is no key's id; `agent-tally keys list` shows them");
        }
        self.send(self.client.post(format!("http://agent-tally/keys/{id}/revoke"))).await
    }

    /// Counts everything again, in the server.
    pub async fn verify(&self, options: &VerifyOptions, progress: &Progress) -> anyhow::Result<Report> {
        let request = self.client.post("http://agent-tally/verify").json(options).timeout(VERIFICATION_TIMEOUT);
        told::read(request.send().await.context(NO_ANSWER)?, progress).await
    }

    /// Rebuilds the metrics table, in the server.
    pub async fn rebuild(&self, options: &RebuildOptions, progress: &Progress) -> anyhow::Result<RebuildReport> {
        let request = self.client.post("http://agent-tally/rebuild").json(options).timeout(VERIFICATION_TIMEOUT);
        told::read(request.send().await.context(NO_ANSWER)?, progress).await
    }

    /// Deletes events, in the server.
    pub async fn delete(&self, options: &DeleteOptions, progress: &Progress) -> anyhow::Result<DeletionReport> {
        let request = self.client.post("http://agent-tally/delete").json(options).timeout(VERIFICATION_TIMEOUT);
        told::read(request.send().await.context(NO_ANSWER)?, progress).await
    }

    /// Exports to a folder, for as long as that takes.
    pub async fn export(&self, wish: &ExportWish) -> anyhow::Result<Exported> {
        self.send(self.client.post("http://agent-tally/export").timeout(EXPORT_WITHIN).json(wish)).await
    }

    async fn send<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> anyhow::Result<T> {
        let response = request.send().await.context(NO_ANSWER)?;
        let status = response.status();
        if status.is_success() {
            return response.json().await.context("the server's answer is unreadable");
        }
        let problem = response.json::<Problem>().await;
        bail!(problem.map_or_else(|_| format!("the server answered {status}"), |p| p.detail))
    }
}

/// The socket's path, by way of an open directory where it would be too long otherwise.
#[derive(Debug)]
struct SocketPath {
    path: PathBuf,
    _directory: Option<File>,
}

impl SocketPath {
    fn of(data_dir: &Path) -> anyhow::Result<Self> {
        let path = control_socket(data_dir);
        if path.as_os_str().len() < SOCKET_PATH_BYTES {
            return Ok(Self { path, _directory: None });
        }
        let directory = File::open(data_dir).with_context(|| format!("cannot open {}", data_dir.display()))?;
        let path = control_socket(Path::new(&format!("/proc/self/fd/{}", directory.as_raw_fd())));
        Ok(Self { path, _directory: Some(directory) })
    }
}
