//! Which models there are, by what the workers say.

use std::collections::BTreeMap;

use client::World;

use crate::asked::check_name;
use crate::gateway::Gateway;
use crate::problem::Problem;

/// What the server is called.
pub const SERVER: &str = "mlaas";
/// Which version of it this is.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// What it has beyond the protocol's own.
pub const EXTENSIONS: [&str; 4] = ["binary_tensor_data", "classification", "model_repository", "parameters"];
/// What a model runs on, as far as it matters to a caller.
pub const PLATFORM: &str = "mlaas";

/// A model version in the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Indexed {
    /// The model's name.
    pub model: String,
    /// The version; none where it is not known.
    pub version: Option<u32>,
    /// `READY`, `LOADING` or `UNAVAILABLE`.
    pub state: &'static str,
    /// Why it is not ready; empty where nothing is to be said.
    pub reason: String,
}

/// Versions of a model of which some worker says that it serves them, in order, and whether each is ready.
fn versions(world: &World, model: &str) -> BTreeMap<u32, bool> {
    let mut versions = BTreeMap::new();
    for word in world.served().into_iter().filter(|word| word.model == model) {
        let ready = versions.entry(word.version).or_insert(false);
        *ready |= !word.loading;
    }
    versions
}

/// The versions of a model that are asked for, each with whether it is ready.
///
/// # Errors
/// Where no worker serves it.
pub fn find(gateway: &Gateway, model: &str, version: Option<u32>) -> Result<BTreeMap<u32, bool>, Problem> {
    check_name(model)?;
    let world = gateway.backend.world()?;
    let mut found = versions(&world, model);
    if found.is_empty() {
        let mut names: Vec<_> = world.served().iter().map(|word| word.model.clone()).collect();
        names.dedup();
        let there = if names.is_empty() {
            "no worker serves any now".to_owned()
        } else {
            format!("ask for {}", names.join(" or "))
        };
        return Err(Problem::not_found(format!("no worker serves a model '{model}': {there}")));
    }
    if let Some(version) = version {
        let there: Vec<_> = found.keys().map(u32::to_string).collect();
        found.retain(|found, _| *found == version);
        if found.is_empty() {
            return Err(Problem::not_found(format!(
                "no worker serves version {version} of model '{model}': ask for {}",
                there.join(" or ")
            )));
        }
    }
    Ok(found)
}

/// # Errors
/// Where no worker serves it, or none can yet.
pub fn ready(gateway: &Gateway, model: &str, version: Option<u32>) -> Result<(), Problem> {
    if find(gateway, model, version)?.values().any(|ready| *ready) {
        return Ok(());
    }
    Err(Problem::unavailable(format!("model '{model}' is being loaded")))
}

/// All that workers serve, are loading, or found and can't serve.
///
/// # Errors
/// Where the workers are not known.
pub fn index(gateway: &Gateway, ready_alone: bool) -> Result<Vec<Indexed>, Problem> {
    let world = gateway.backend.world()?;
    let served = world.served();
    let mut all = BTreeMap::new();
    for word in &served {
        for skipped in &word.skipped {
            let entry = Indexed {
                model: skipped.model.clone(),
                version: skipped.version,
                state: "UNAVAILABLE",
                reason: skipped.reason.clone(),
            };
            all.entry((skipped.model.clone(), skipped.version)).or_insert(entry);
        }
    }
    // What one worker can't serve another may.
    for word in &served {
        for (version, ready) in versions(&world, &word.model) {
            let (state, reason) = if ready { ("READY", "") } else { ("LOADING", "it is being loaded") };
            let entry = Indexed {
                model: word.model.clone(),
                version: Some(version),
                state,
                reason: reason.to_owned(),
            };
            all.insert((word.model.clone(), Some(version)), entry);
        }
    }
    Ok(all.into_values().filter(|entry| !ready_alone || entry.state == "READY").collect())
}
