//! `agent-tally dead-letters`: lists, shows and redrives what was accepted and could not be counted, on a running server.

use crate::server::{Server, ServerArgs};
use anyhow::{Context, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use event_log::Position;
use serde_json::{Value, json};
use std::io::Write;

/// Dead letters that one request lists or redrives.
const PER_REQUEST: usize = 1_000;
/// Bytes that are shown of a value that is no event.
const MOST_SHOWN: usize = 4_096;

/// What to do with dead letters.
#[derive(Args, Clone, Debug)]
pub struct DeadLettersArgs {
    #[command(subcommand)]
    command: DeadLettersCommand,
}

#[derive(Subcommand, Clone, Debug)]
enum DeadLettersCommand {
    /// List them, newest first
    List {
        #[command(flatten)]
        kind: Kind,
        /// At most so many.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
        /// As JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Show one with its event, or its bytes
    Show {
        /// Its position, as the list shows it.
        position: Position,
        /// As JSON, with every byte.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Publish events once more, once what was wrong is mended; needs a key with the scope admin where keys are required
    Redrive {
        /// Its position; without it, the oldest of the kind that were not redriven yet.
        #[arg(required_unless_present_any = ["reason", "agent", "all"], conflicts_with_all = ["reason", "agent", "all", "limit"])]
        position: Option<Position>,
        #[command(flatten)]
        kind: Kind,
        /// Of every reason and agent.
        #[arg(long, conflicts_with_all = ["reason", "agent"])]
        all: bool,
        /// At most so many.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
        /// Another id for the event, where another event has its own (`id_conflict`).
        #[arg(long, conflicts_with_all = ["reason", "agent", "all", "limit"])]
        event_id: Option<String>,
        /// Also where it was redriven before.
        #[arg(long, conflicts_with_all = ["reason", "agent", "all", "limit"])]
        again: bool,
        /// As JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// Which dead letters.
#[derive(Args, Clone, Debug)]
struct Kind {
    /// Only of this reason: undecodable, invalid, `too_old`, `id_conflict`.
    #[arg(long)]
    reason: Option<String>,
    /// Only events of this agent.
    #[arg(long)]
    agent: Option<String>,
}

/// Does it and tells about it.
pub async fn run(args: DeadLettersArgs) -> anyhow::Result<()> {
    match args.command {
        DeadLettersCommand::List { kind, limit, json, server } => {
            let listed = list(&Server::of(&server).await?, &kind, limit as usize).await?;
            say(&if json { serde_json::to_string_pretty(&listed)? } else { table(&listed) })
        }
        DeadLettersCommand::Show { position, json, server } => {
            let letter = Server::of(&server).await?.get(&["dead-letters", &position.to_string()], &[]).await?;
            say(&if json { serde_json::to_string_pretty(&letter)? } else { shown(&letter)? })
        }
        DeadLettersCommand::Redrive { position: Some(position), event_id, again, json, server, .. } => {
            let query: Vec<_> = again.then(|| ("again", "true".to_owned())).into_iter().collect();
            let body = event_id.map_or_else(|| json!({}), |id| json!({"event_id": id}));
            let position = position.to_string();
            let redriven = Server::of(&server).await?.post(&["dead-letters", &position, "redrive"], &query, &body).await?;
            say(&if json { serde_json::to_string_pretty(&redriven)? } else { redriven_line(&redriven) })
        }
        DeadLettersCommand::Redrive { position: None, kind, limit, json, server, .. } => {
            let redriven = redrive(&Server::of(&server).await?, &kind, limit as usize).await?;
            say(&if json { serde_json::to_string_pretty(&redriven)? } else { redriven_text(&redriven) })?;
            let failed = items(&redriven["failed"]).len();
            ensure!(failed == 0, "{failed} could not be redriven");
            Ok(())
        }
    }
}

/// Lists page by page.
async fn list(server: &Server, kind: &Kind, limit: usize) -> anyhow::Result<Value> {
    let (mut found, mut last, mut cursor) = (Vec::new(), Value::Null, None::<String>);
    while found.len() < limit {
        let mut query = vec![("limit", (limit - found.len()).min(PER_REQUEST).to_string())];
        query.extend(kind.reason.clone().map(|reason| ("reason", reason)));
        query.extend(kind.agent.clone().map(|agent| ("agent_id", agent)));
        query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        last = server.get(&["dead-letters"], &query).await?;
        found.extend(items(&last["items"]).iter().cloned());
        match last["next_key"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    let has_more = !last["next_key"].is_null();
    Ok(json!({"items": found, "has_more": has_more, "complete_from": last["complete_from"], "is_caught_up": last["is_caught_up"]}))
}

/// Redrives request by request, until there are no more of the kind.
async fn redrive(server: &Server, kind: &Kind, limit: usize) -> anyhow::Result<Value> {
    let (mut redriven, mut failed, mut has_more) = (Vec::new(), Vec::new(), true);
    while has_more && redriven.len() + failed.len() < limit {
        let left = (limit - redriven.len() - failed.len()).min(PER_REQUEST);
        let body = json!({"reason": kind.reason, "agent_id": kind.agent, "limit": left});
        let answer = match server.post(&["dead-letters", "redrive"], &[], &body).await {
            Ok(answer) => answer,
            // What was done before is to be told.
            Err(error) if redriven.is_empty() => return Err(error),
            Err(error) => {
                failed.push(json!({"position": "the rest", "detail": format!("{error:#}")}));
                break;
            }
        };
        let (done, not_done) = (items(&answer["items"]), items(&answer["failed"]));
        has_more = answer["has_more"] == true && !done.is_empty();
        redriven.extend(done.iter().cloned());
        failed.extend(not_done.iter().cloned());
        if !not_done.is_empty() {
            break;
        }
    }
    Ok(json!({"items": redriven, "failed": failed, "has_more": has_more}))
}

fn items(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}

/// A field as text; a dash where there is none.
fn field<'a>(letter: &'a Value, name: &str) -> &'a str {
    letter[name].as_str().unwrap_or("-")
}

/// A time to the second.
fn time<'a>(letter: &'a Value, name: &str) -> &'a str {
    let text = field(letter, name);
    text.get(..19).unwrap_or(text)
}

fn table(listed: &Value) -> String {
    let found = items(&listed["items"]);
    let mut lines = Vec::new();
    if found.is_empty() {
        lines.push("no dead letters".to_owned());
    } else {
        lines.push(format!("{:<20} {:<12} {:<20} {:<28} {:>9}  REDRIVEN TO", "POSITION", "REASON", "WHEN (UTC)", "AGENT", "BYTES"));
    }
    for letter in found {
        lines.push(format!(
            "{:<20} {:<12} {:<20} {:<28} {:>9}  {}",
            field(letter, "position"),
            field(letter, "reason"),
            time(letter, "died_at"),
            field(letter, "agent_id"),
            letter["bytes"].as_u64().unwrap_or_default(),
            field(letter, "redriven_to"),
        ));
    }
    if listed["has_more"] == true {
        lines.push(format!("… and more: --limit {}", found.len().saturating_mul(10)));
    } else if let Some(from) = listed["complete_from"].as_str() {
        lines.push(format!("(those older than {from} are no longer listed, but can be shown by their position)"));
    }
    if listed["is_caught_up"] == false {
        lines.push("(the server is still reading; there may be more)".to_owned());
    }
    lines.join("\n")
}

fn shown(letter: &Value) -> anyhow::Result<String> {
    let mut lines = vec![
        format!("position  {}", field(letter, "position")),
        format!("reason    {} (at {})", field(letter, "reason"), field(letter, "stage")),
        format!("detail    {}", field(letter, "detail")),
        format!("died      {}", field(letter, "died_at")),
        format!("key       {}", text_of(&letter["key"])?),
    ];
    if let Some(to) = letter["redriven_to"].as_str() {
        lines.push(format!("redriven  {} to {to}", field(letter, "redriven_at")));
    }
    for header in items(&letter["headers"]) {
        lines.push(format!("header    {}: {}", field(header, "name"), text_of(&header["value"])?));
    }
    lines.push(String::new());
    if letter["event"].is_object() {
        lines.push(serde_json::to_string_pretty(&letter["event"])?);
    } else {
        lines.push(format!("no event; its {} bytes:", letter["bytes"]));
        lines.push(text_of(&letter["value"])?);
    }
    if letter["is_cut"] == true {
        lines.push("(only the beginning of it was kept)".to_owned());
    }
    Ok(lines.join("\n"))
}

/// Bytes for a person: their text, else with what cannot be shown escaped.
fn text_of(bytes: &Value) -> anyhow::Result<String> {
    if let Some(text) = bytes["text"].as_str() {
        return Ok(text.to_owned());
    }
    let Some(encoded) = bytes["base64"].as_str() else { bail!("the answer holds no bytes where some should be") };
    let bytes = STANDARD.decode(encoded).context("the answer's bytes are no base64")?;
    let more = if bytes.len() > MOST_SHOWN { "… (--json has all)" } else { "" };
    Ok(format!("{}{more}", bytes[..bytes.len().min(MOST_SHOWN)].escape_ascii()))
}

fn redriven_line(redriven: &Value) -> String {
    format!("{} redriven to {}", field(redriven, "position"), field(redriven, "redriven_to"))
}

fn redriven_text(redriven: &Value) -> String {
    let done = items(&redriven["items"]);
    let mut lines: Vec<String> = done.iter().map(redriven_line).collect();
    lines.extend(items(&redriven["failed"]).iter().map(|f| format!("{} not redriven: {}", field(f, "position"), field(f, "detail"))));
    lines.push(match (done.len(), redriven["has_more"] == true) {
        (0, false) => "nothing to redrive".to_owned(),
        (n, false) => format!("{n} redriven"),
        (n, true) => format!("{n} redriven; there are more"),
    });
    lines.join("\n")
}

fn say(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout().lock(), "{text}").context("cannot write to stdout")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_tells_what_was_redriven_and_what_is_missing() {
        let letter = json!({"position": "0-0-7", "reason": "id_conflict", "died_at": "2026-11-26T10:00:00.000000Z", "agent_id": "bot",
            "bytes": 812, "redriven_to": "0-0-9"});
        let foreign = json!({"position": "0-0-8", "reason": "undecodable", "died_at": "2026-11-26T10:00:00.000000Z", "agent_id": null,
            "bytes": 3, "redriven_to": null});
        let text = table(&json!({"items": [letter, foreign], "has_more": true, "is_caught_up": true}));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert!(lines[1].starts_with("0-0-7 ") && lines[1].ends_with("0-0-9") && lines[1].contains("2026-11-26T10:00:00 "), "{text}");
        assert!(lines[2].ends_with(" -") && lines[3].contains("more"), "{text}");
        assert_eq!(table(&json!({"items": [], "has_more": false, "is_caught_up": true})), "no dead letters");
    }

    #[test]
    fn bytes_that_are_no_text_are_escaped() {
        assert_eq!(text_of(&json!({"base64": "wwEA", "text": null})).expect("bytes"), "\\xc3\\x01\\x00");
        assert_eq!(text_of(&json!({"base64": "", "text": "bot"})).expect("text"), "bot");
    }
}
