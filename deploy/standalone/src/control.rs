//! The way into a running server for the other commands: HTTP over a Unix socket in the data directory that only
//! its owner can open. It must not serve anything that the network may ask for.

use crate::data_dir::control_socket;
use anyhow::{Context, bail};
use aws_sdk_dynamodb::Client;
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
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

/// Bytes that a Unix socket's path may have, its end included.
const SOCKET_PATH_BYTES: usize = 108;

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

/// Whoever can open the socket may read everything, so the cause is told.
fn answer(error: KeyError) -> ApiError {
    match error {
        KeyError::Invalid(_) => ApiError::bad_request(error.to_string()),
        KeyError::Unknown(_) => ApiError::not_found(error.to_string()),
        KeyError::Store { .. } => ApiError::unavailable(error.to_string(), 1),
    }
}

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
        let client =
            reqwest::Client::builder().unix_socket(socket.path.as_path()).no_proxy().timeout(std::time::Duration::from_secs(15)).build()?;
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

    async fn send<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> anyhow::Result<T> {
        let response =
            request.send().await.context("the server that works on this data directory does not answer on its control socket")?;
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
