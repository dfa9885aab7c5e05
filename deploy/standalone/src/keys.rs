//! `agent-tally keys`: creates, lists and revokes API keys, in a data directory (whether a server runs on it or
//! not) or in DynamoDB for the separate services.

use crate::control::{self, ControlClient, CreatedKey, KeyEntry, KeyWish};
use crate::data_dir::{DataDir, DataDirError};
use crate::duration::parse_duration;
use crate::engine::Engine;
use anyhow::Context;
use aws_sdk_dynamodb::Client;
use clap::{Args, Subcommand};
use schemas::item::TableNames;
use schemas::time::{format_micros, now_micros};
use service_kit::keys::Scope;
use service_kit::store::StoreConfig;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

/// What to do with keys.
#[derive(Args, Clone, Debug)]
pub struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Subcommand, Clone, Debug)]
enum KeysCommand {
    /// Create a key and show it, once
    Create {
        /// What it may do, comma separated: ingest, read, admin.
        #[arg(long, value_enum, value_delimiter = ',', required = true)]
        scope: Vec<Scope>,
        /// For whom or what it is.
        #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
        name: String,
        /// When it ends, like 30d; never where absent.
        #[arg(long, value_parser = parse_duration)]
        expires: Option<Duration>,
        /// Events that it may post per second.
        #[arg(long)]
        events_per_second: Option<u32>,
        /// Bytes that it may post per second.
        #[arg(long)]
        bytes_per_second: Option<u32>,
        #[command(flatten)]
        place: Place,
    },
    /// List the keys, without their secrets
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Revoke a key for good; the services notice within ten seconds
    Revoke {
        /// The key's id, as the list shows it.
        id: String,
        #[command(flatten)]
        place: Place,
    },
}

/// Where the keys are.
#[derive(Args, Clone, Debug)]
struct Place {
    /// The data directory of `agent-tally serve`.
    #[arg(long, env = "AGENT_TALLY_DATA_DIR", default_value = "./data")]
    data_dir: PathBuf,
    /// In DynamoDB instead, for the separate services; the AWS SDK's own variables say where.
    #[arg(long)]
    dynamodb: bool,
    #[command(flatten)]
    store: StoreConfig,
}

/// Does it and tells about it.
pub async fn run(args: KeysArgs) -> anyhow::Result<()> {
    match args.command {
        KeysCommand::Create { scope, name, expires, events_per_second, bytes_per_second, place } => {
            let expires_at = expires.map(|in_| now_micros().saturating_add(i64::try_from(in_.as_micros()).unwrap_or(i64::MAX)));
            let wish = KeyWish { name, scopes: scope, expires_at, events_per_second, bytes_per_second };
            let created = Keys::open(&place).await?.create(wish).await?;
            say(&created_text(&created))
        }
        KeysCommand::List { json, place } => {
            let entries = Keys::open_existing(&place).await?.list().await?;
            say(&if json { serde_json::to_string_pretty(&entries)? } else { table(&entries) })
        }
        KeysCommand::Revoke { id, place } => {
            Keys::open_existing(&place).await?.revoke(&id).await?;
            say(&format!("revoked {id}"))
        }
    }
}

/// The keys, wherever they are.
enum Keys {
    /// Behind a running server.
    Server(ControlClient),
    /// In files that nobody else works on.
    Files { engine: Engine, tables: TableNames, _dir: DataDir },
    /// In DynamoDB.
    DynamoDb { store: Client, tables: TableNames },
}

impl Keys {
    /// Where there is no data directory yet there is no key either: looking must not create one.
    async fn open_existing(place: &Place) -> anyhow::Result<Self> {
        anyhow::ensure!(place.dynamodb || place.data_dir.is_dir(), "there is no data directory {}", place.data_dir.display());
        Self::open(place).await
    }

    async fn open(place: &Place) -> anyhow::Result<Self> {
        let tables = place.store.tables();
        if place.dynamodb {
            return Ok(Self::DynamoDb { store: place.store.client().await, tables });
        }
        match DataDir::open(&place.data_dir) {
            Ok(dir) => {
                let engine = Engine::open(&dir.store())?;
                // As `serve` names them: in files of our own nobody else's names can be in the way.
                let tables = TableNames::default();
                crate::serve::create_tables(&engine.client(), &tables).await?;
                Ok(Self::Files { engine, tables, _dir: dir })
            }
            Err(DataDirError::InUse { .. }) => Ok(Self::Server(ControlClient::new(&place.data_dir)?)),
            Err(e) => Err(e.into()),
        }
    }

    async fn create(self, wish: KeyWish) -> anyhow::Result<CreatedKey> {
        match self {
            Self::Server(server) => server.create_key(&wish).await,
            Self::Files { engine, tables, .. } => {
                let created = control::create_key(&engine.client(), &tables, wish).await;
                close(engine).await?;
                Ok(created?)
            }
            Self::DynamoDb { store, tables } => Ok(control::create_key(&store, &tables, wish).await?),
        }
    }

    async fn list(self) -> anyhow::Result<Vec<KeyEntry>> {
        match self {
            Self::Server(server) => server.list_keys().await,
            Self::Files { engine, tables, .. } => {
                let entries = control::list_keys(&engine.client(), &tables).await;
                close(engine).await?;
                Ok(entries?)
            }
            Self::DynamoDb { store, tables } => Ok(control::list_keys(&store, &tables).await?),
        }
    }

    async fn revoke(self, id: &str) -> anyhow::Result<()> {
        match self {
            Self::Server(server) => server.revoke_key(id).await,
            Self::Files { engine, tables, .. } => {
                let revoked = service_kit::keys::revoke(&engine.client(), &tables, id).await;
                close(engine).await?;
                Ok(revoked?)
            }
            Self::DynamoDb { store, tables } => Ok(service_kit::keys::revoke(&store, &tables, id).await?),
        }
    }
}

/// Closes the files in order, so that what was answered is on the disk.
async fn close(engine: Engine) -> anyhow::Result<()> {
    tokio::task::spawn_blocking(move || engine.close()).await.context("cannot close the store")
}

fn created_text(created: &CreatedKey) -> String {
    let ends = created.entry.wish.expires_at.map_or_else(|| "never ends".into(), |at| format!("ends {}", format_micros(at)));
    format!("{}\n\nThis is the only time that the key is shown. Its id is {}; it {ends}.", created.key, created.entry.id)
}

fn table(entries: &[KeyEntry]) -> String {
    if entries.is_empty() {
        return "no keys".into();
    }
    let mut lines = vec![format!("{:<14} {:<9} {:<18} {:<20} NAME", "ID", "STATE", "SCOPES", "ENDS")];
    for entry in entries {
        let state = match (entry.revoked_at, entry.is_good) {
            (Some(_), _) => "revoked",
            (None, true) => "good",
            (None, false) => "expired",
        };
        let scopes: Vec<&str> = entry.wish.scopes.iter().map(|s| s.name()).collect();
        let ends = entry.wish.expires_at.map_or_else(|| "-".to_owned(), |at| format_micros(at).chars().take(19).collect());
        lines.push(format!("{:<14} {state:<9} {:<18} {ends:<20} {}", entry.id, scopes.join(","), entry.wish.name));
    }
    lines.join("\n")
}

fn say(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout().lock(), "{text}").context("cannot write to stdout")
}
