//! Loading and unloading by the Open Inference Protocol's repository extension: workers are asked on the control topic, and what
//! they announce says whether they did. Which version is in service stays the registry's to say.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use client::{Action, Announcement, Control, World};
use jiff::Timestamp;
use serde_json::Value;

use super::models;
use crate::audit::Entry;
use crate::caller::Caller;
use crate::gateway::Gateway;
use crate::problem::Problem;

/// The parameter that Triton's clients can send.
pub const CONFIG: &str = "config";
/// How long workers may take, where that is less than `requests.timeout`, to let a version go: what is still in service never does.
const LET_GO: Duration = Duration::from_secs(2);

/// What workers are to do with a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Load it, each that serves the model; without a version they look at once which one is in service, and the model is waited for.
    Load,
    /// Let it go, where requests or somebody had it loaded; without a version all such ones of the model.
    Unload,
}

/// Has workers do it, and waits until they have.
///
/// # Errors
/// [`Problem`]: where nothing may be changed here, no worker serves the model, one can't load the version or still serves what is in service,
/// or it is not done in time.
pub async fn carry_out(
    gateway: &Gateway,
    wish: Wish,
    model: &str,
    version: Option<u32>,
    caller: &Caller,
) -> Result<(), Problem> {
    gateway.may_be_changed()?;
    let (action, done) = match wish {
        Wish::Load => ("model.load", load(gateway, model, version, caller).await),
        Wish::Unload => ("model.unload", unload(gateway, model, version, caller).await),
    };
    let subject = version.map_or_else(|| model.to_owned(), |version| format!("{model} {version}"));
    Entry::new(action, &subject).asked_by(caller).came_to(&done);
    done
}

async fn load(gateway: &Gateway, model: &str, version: Option<u32>, caller: &Caller) -> Result<(), Problem> {
    models::find(gateway, model, None)?;
    let Some(version) = version else {
        ask(gateway, Action::Refresh, None, caller).await?;
        let ready = wait(gateway, gateway.config.requests.timeout, |world| {
            let ready = world.served().iter().any(|word| word.model == model && !word.loading);
            if ready { Ok(()) } else { Err(format!("model '{model}' is not ready yet")) }
        });
        return ready.await.map_err(Problem::deadline);
    };
    // A worker that could not load it before goes on saying so until it has heard this: that word is no answer yet.
    let known = gateway.backend.world()?;
    let before = refusals(&known, model, version);
    ask(gateway, Action::Load, Some((model, version)), caller).await?;
    let outcome = wait(gateway, gateway.config.requests.timeout, |world| {
        let refused: Vec<_> = refusals(world, model, version)
            .into_iter()
            .filter(|(worker, (at, _))| before.get(worker).is_none_or(|(said, _)| said != at))
            .collect();
        let lacking = workers(world, |word| word.model == model)
            .difference(&workers(world, |word| is(word, model, version) && !word.loading))
            .filter(|worker| !refused.iter().any(|(who, _)| who == *worker))
            .cloned()
            .collect::<Vec<_>>();
        match (lacking.is_empty(), refused.first()) {
            (true, None) => Ok(Ok(())),
            (true, Some((worker, (_, why)))) => Ok(Err(format!("worker {worker}: {why}"))),
            (false, _) => Err(format!("{} did not load version {version} in time", lacking.join(", "))),
        }
    })
    .await
    .map_err(Problem::deadline)?;
    outcome.map_err(Problem::unprocessable)
}

async fn unload(
    gateway: &Gateway,
    model: &str,
    version: Option<u32>,
    caller: &Caller,
) -> Result<(), Problem> {
    let serving = models::find(gateway, model, version)?;
    for version in serving.keys() {
        ask(gateway, Action::Unload, Some((model, *version)), caller).await?;
    }
    // Of all versions one is in service, and stays.
    let may_stay = usize::from(version.is_none() && serving.len() > 1);
    let time = gateway.config.requests.timeout.min(LET_GO);
    wait(gateway, time, |world| {
        let left: BTreeSet<_> = world
            .served()
            .iter()
            .filter(|word| serving.keys().any(|version| is(word, model, *version)))
            .map(|word| word.version)
            .collect();
        if left.len() <= may_stay {
            return Ok(());
        }
        let left: Vec<_> = left.iter().map(u32::to_string).collect();
        Err(format!(
            "version {} of model '{model}' is still served: what is in service, or requests name, stays; which version that is the registry's alias says, see `model promote`",
            left.join(" and ")
        ))
    })
    .await
    .map_err(Problem::failed_precondition)
}

/// The version that a load names: as `version`, or as Triton's clients say it, a model configuration as JSON whose
/// `version_policy` names one. No other parameter is known.
///
/// # Errors
/// [`Problem`] where a parameter can't be followed.
pub fn version_of(config: Option<&str>, version: Option<&str>) -> Result<Option<u32>, Problem> {
    let named = version.map(super::version).transpose()?.flatten();
    let Some(config) = config else { return Ok(named) };
    let read: Value = serde_json::from_str(config)
        .map_err(|error| Problem::bad_request(format!("parameter config is no JSON: {error}")))?;
    let refused = || {
        Problem::bad_request(
            "parameter config can only say which version to load: {\"version_policy\": {\"specific\": {\"versions\": [3]}}}; all else is the manifest's",
        )
    };
    let (Value::Object(fields), versions) = (&read, read.pointer("/version_policy/specific/versions")) else {
        return Err(refused());
    };
    let version = match (fields.len(), versions.and_then(Value::as_array).map(Vec::as_slice)) {
        (1, Some([Value::Number(version)])) => {
            version.as_u64().and_then(|version| u32::try_from(version).ok())
        }
        (0, None) => return Ok(named),
        _ => return Err(refused()),
    };
    let version = version.filter(|version| *version > 0).ok_or_else(refused)?;
    if named.is_some_and(|named| named != version) {
        return Err(Problem::bad_request("parameters version and config name different versions"));
    }
    Ok(Some(version))
}

async fn ask(
    gateway: &Gateway,
    action: Action,
    version: Option<(&str, u32)>,
    caller: &Caller,
) -> Result<(), Problem> {
    let (model, version) = version.unzip();
    let by = match caller.who.id() {
        "" => format!("gateway {}", gateway.config.gateway_name()),
        who => who.to_owned(),
    };
    let control = Control { action, model: model.map(str::to_owned), version, at: Timestamp::now(), by };
    Ok(client::control(&gateway.config.connection(), &control).await?)
}

/// Looks at what is known of the workers, now and whenever more is, until `done` has an answer; what it said last where the time is over.
async fn wait<T>(
    gateway: &Gateway,
    time: Duration,
    done: impl Fn(&World) -> Result<T, String>,
) -> Result<T, String> {
    let mut known = gateway.backend.subscribe().map_err(|problem| problem.detail().to_owned())?;
    let end = tokio::time::Instant::now() + time;
    loop {
        let why = match done(&known.borrow_and_update()) {
            Ok(answer) => return Ok(answer),
            Err(why) => why,
        };
        match tokio::time::timeout_at(end, known.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err("the connection to the broker has gone".to_owned()),
            Err(_) => return Err(why),
        }
    }
}

fn is(word: &Announcement, model: &str, version: u32) -> bool {
    word.model == model && word.version == version
}

fn workers(world: &World, which: impl Fn(&Announcement) -> bool) -> BTreeSet<String> {
    world.served().into_iter().filter(|word| which(word)).map(|word| word.worker.clone()).collect()
}

/// Which workers say why they don't serve that version, when they said so last, and why.
fn refusals(world: &World, model: &str, version: u32) -> BTreeMap<String, (Timestamp, String)> {
    let mut refusals = BTreeMap::new();
    for word in world.served() {
        for skipped in word.skipped.iter().filter(|s| s.model == model && s.version == Some(version)) {
            refusals.insert(word.worker.clone(), (word.announced_at, skipped.reason.clone()));
        }
    }
    refusals
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_named_as_triton_s_clients_can() {
        let policy = r#"{"version_policy": {"specific": {"versions": [3]}}}"#;
        assert_eq!(version_of(None, None), Ok(None));
        assert_eq!(version_of(None, Some("3")), Ok(Some(3)));
        assert_eq!(version_of(Some(policy), None), Ok(Some(3)));
        assert_eq!(version_of(Some(policy), Some("3")), Ok(Some(3)));
        assert_eq!(version_of(Some("{}"), None), Ok(None));
        for (config, version) in [
            (Some(policy), Some("4")),
            (Some("{"), None),
            (Some("[]"), None),
            (Some(r#"{"max_batch_size": 8}"#), None),
            (Some(r#"{"version_policy": {"latest": {}}}"#), None),
            (Some(r#"{"version_policy": {"specific": {"versions": [3, 4]}}}"#), None),
            (Some(r#"{"version_policy": {"specific": {"versions": [0]}}}"#), None),
            (Some(r#"{"version_policy": {"specific": {"versions": [-1]}}}"#), None),
            (None, Some("latest")),
        ] {
            assert_eq!(version_of(config, version).unwrap_err().status(), 400, "{config:?} {version:?}");
        }
    }
}
