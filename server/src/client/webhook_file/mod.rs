//! `berth apply` and `berth export`: webhooks as a file (docs/configuration-as-code.md).

mod plan;
mod references;
mod yaml;

use super::api::{Api, Condition, NO_BODY, ServerArgs, Tagged, read, read_tagged};
use super::{Failure, USAGE};
use crate::terminal::{print, print_progress, read_line};
use clap::Args;
use domain::webhook::{RotateInput, Webhook, WebhookWithSecret};
use plan::{Change, Declared, Options, Plan};
use reqwest::Method;
use serde_json::{Map, Value, json};
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use yaml::Document;

/// The version of the form of the file.
const VERSION: u64 = 1;

/// Arguments of `berth apply`.
#[derive(Args)]
pub struct ApplyArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// File with the webhooks.
    #[arg(long, short)]
    file: PathBuf,
    /// Apply the plan without asking.
    #[arg(long, short)]
    yes: bool,
    /// Delete webhooks that the file does not contain.
    #[arg(long)]
    prune: bool,
    /// Only compare: exit with 2 if the server differs from the file, and change nothing.
    #[arg(long, conflicts_with = "yes")]
    detect_drift: bool,
    /// Send the credentials of all webhooks again. The server does not return them, so they cannot be compared.
    #[arg(long)]
    update_credentials: bool,
}

/// Arguments of `berth export`.
#[derive(Args)]
pub struct ExportArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// File to write; it must not exist [default: standard output].
    #[arg(long, short)]
    output: Option<PathBuf>,
}

/// Runs `berth apply`.
pub(super) async fn apply(args: ApplyArgs) -> Result<u8, Failure> {
    let text = std::fs::read_to_string(&args.file)
        .map_err(|error| Failure::usage(format!("{} cannot be read: {error}", args.file.display())))?;
    let folder = args.file.parent().unwrap_or(Path::new(""));
    let in_file = |message: String| Failure::usage(format!("{}, {message}", args.file.display()));
    let declared = read_file(&text, folder).map_err(in_file)?;
    let api = Api::new(&args.server)?;
    let options = Options { prune: args.prune, update_credentials: args.update_credentials };
    let current: Vec<Webhook> = api.list("/webhooks").await?;
    let mut plan = Plan::new(&declared, &current, options).map_err(in_file)?;
    // The list has no entity tags. A webhook that differs is read again with its tag, and compared again.
    plan = reread(&api, &declared, current, plan, options).await?.map_err(in_file)?;
    print(&plan.describe());
    if plan.changes.is_empty() {
        return Ok(0);
    }
    if args.detect_drift {
        return Ok(USAGE);
    }
    if !args.yes && !confirm()? {
        return Err(Failure::new("Nothing was changed."));
    }
    for change in plan.changes {
        make(&api, change).await?;
    }
    Ok(0)
}

/// Reads the webhooks that the plan changes with their entity tags, and plans again.
async fn reread(
    api: &Api,
    declared: &[Declared],
    mut current: Vec<Webhook>,
    plan: Plan,
    options: Options,
) -> Result<Result<Plan, String>, Failure> {
    let mut tags = std::collections::BTreeMap::new();
    for id in plan.changes.iter().filter_map(Change::webhook_id) {
        let response = api.send(Method::GET, &format!("/webhooks/{id}"), NO_BODY, Condition::None).await?;
        let Tagged { value, etag }: Tagged<Webhook> = read_tagged(response).await?;
        tags.insert(id, etag);
        if let Some(known) = current.iter_mut().find(|webhook| webhook.id == id) {
            *known = value;
        }
    }
    Ok(Plan::new(declared, &current, options).map(|plan| plan.with_tags(&tags)))
}

/// Makes one change, and reports it.
async fn make(api: &Api, change: Change) -> Result<(), Failure> {
    match change {
        Change::Create { name, input, shows_secret } => {
            let key = ulid::Ulid::new().to_string();
            let created = api.send(Method::POST, "/webhooks", Some(&input), Condition::Once(&key)).await;
            let created: WebhookWithSecret = read(created.map_err(|failure| about(&name, failure))?).await?;
            print(&format!("Created {name} (webhook {}).", created.webhook.id));
            if shows_secret {
                print(&format!("Its signing secret, which is not shown again: {}", created.secret));
            }
        }
        Change::Update { name, id, etag, patch, rotate, .. } => {
            let path = format!("/webhooks/{id}");
            let mut etag = etag;
            if patch.as_object().is_some_and(|fields| !fields.is_empty()) {
                let changed = api.send(Method::PATCH, &path, Some(&patch), Condition::IfMatch(&etag)).await;
                let changed: Tagged<Value> = read_tagged(changed.map_err(|failure| about(&name, failure))?).await?;
                etag = changed.etag;
            }
            if let Some(secret) = rotate {
                let input = RotateInput { overlap_hours: None, secret: Some(secret) };
                let path = format!("{path}/rotate-secret");
                let rotated = api.send(Method::POST, &path, Some(&input), Condition::IfMatch(&etag)).await;
                rotated.map_err(|failure| about(&name, failure))?;
            }
            print(&format!("Changed {name} (webhook {id})."));
        }
        Change::Delete { name, id, etag } => {
            let deleted =
                api.send(Method::DELETE, &format!("/webhooks/{id}"), NO_BODY, Condition::IfMatch(&etag)).await;
            deleted.map_err(|failure| about(&name, failure))?;
            print(&format!("Deleted {name} (webhook {id})."));
        }
    }
    Ok(())
}

/// A failure that names its webhook. The changes before it are made; a repeated run continues.
fn about(name: &str, failure: Failure) -> Failure {
    Failure { message: format!("{name}: {}", failure.message), ..failure }
}

/// Asks whether to apply the plan.
fn confirm() -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage("Standard input is no terminal, so the plan cannot be confirmed. Add --yes."));
    }
    print_progress("Apply this plan? Type yes:");
    let answer = read_line().map_err(|error| Failure::new(format!("Standard input cannot be read: {error}")))?;
    Ok(answer.trim() == "yes")
}

/// Reads the declared webhooks of a file.
///
/// # Errors
/// A sentence with the line.
fn read_file(text: &str, folder: &Path) -> Result<Vec<Declared>, String> {
    let document = Document::parse(text)?;
    let at = |path: &str, message: &str| format!("line {}: {path}: {message}", document.line(path));
    let Value::Object(root) = &document.value else { return Err(at("", "Write the keys version and webhooks.")) };
    if let Some(unknown) = root.keys().find(|key| !matches!(key.as_str(), "version" | "webhooks")) {
        return Err(at(unknown, "Unknown key. Use `version` and `webhooks`."));
    }
    if root.get("version") != Some(&json!(VERSION)) {
        return Err(at("version", "Write version: 1."));
    }
    let Some(Value::Array(items)) = root.get("webhooks") else {
        return Err(at("webhooks", "Write a list of webhooks."));
    };
    let mut declared: Vec<Declared> = Vec::new();
    for (n, item) in items.iter().enumerate() {
        let path = format!("webhooks.{n}");
        let webhook = Declared::read(item.clone(), &path, folder, &|path| document.line(path))?;
        if let Some(other) = declared.iter().find(|other| other.input.name.trim() == webhook.input.name.trim()) {
            return Err(at(
                &format!("{path}.name"),
                &format!("The name {} occurs twice, also in line {}.", webhook.input.name, other.line),
            ));
        }
        declared.push(webhook);
    }
    Ok(declared)
}

/// Runs `berth export`.
pub(super) async fn export(args: ExportArgs) -> Result<u8, Failure> {
    let api = Api::new(&args.server)?;
    let mut webhooks: Vec<Webhook> = api.list("/webhooks").await?;
    // Those belong to developers, and end with their listener.
    webhooks.retain(|webhook| !webhook.is_local());
    let text = write_file(api.base(), &webhooks).map_err(Failure::new)?;
    match &args.output {
        None => print(text.trim_end()),
        Some(path) => {
            let file = std::fs::OpenOptions::new().write(true).create_new(true).open(path);
            file.and_then(|mut file| file.write_all(text.as_bytes()))
                .map_err(|error| Failure::new(format!("{} cannot be written: {error}", path.display())))?;
        }
    }
    Ok(0)
}

/// The file of webhooks.
///
/// # Errors
/// A sentence if two webhooks have one name.
fn write_file(server: &str, webhooks: &[Webhook]) -> Result<String, String> {
    let mut names = std::collections::BTreeMap::new();
    for webhook in webhooks {
        if let Some(other) = names.insert(webhook.name.trim(), webhook.id) {
            let (name, id) = (&webhook.name, webhook.id);
            return Err(format!(
                "The webhooks {other} and {id} have the name {name}. Rename one: a file identifies them by name."
            ));
        }
    }
    let items: Vec<Value> = webhooks.iter().map(|webhook| Value::Object(plan::exported(webhook))).collect();
    let file = Map::from_iter([("version".to_owned(), VERSION.into()), ("webhooks".to_owned(), items.into())]);
    Ok(format!(
        "# The webhooks of {server}. Secrets are references: set the environment variables before `berth apply`.\n{}",
        yaml::write(&file.into())
    ))
}

#[cfg(test)]
mod tests;
