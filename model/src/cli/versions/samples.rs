//! A version on its samples, before it comes into service: workers would refuse it, and here somebody reads why.

use model::engines;
use registry::{Registry, Select};

use super::super::publish::Refusal;
use super::super::{Computing, samples};

/// Has the version name its samples, by the engine that is asked for. Where there is none here, that is said, and left to the workers.
///
/// # Errors
/// Where it can't be computed, or calls one something else than its manifest does.
pub(super) fn check(
    computing: &Computing,
    registry: &Registry,
    model: &str,
    version: u32,
) -> anyhow::Result<()> {
    let opened = registry.load(model, &Select::Version(version))?;
    if opened.manifest.samples.is_empty() {
        return Ok(());
    }
    let device = computing.device.resolve()?;
    let kind = match engines::choose(&opened, computing.engine, device, computing.allow_torchscript) {
        Ok((kind, _)) => kind,
        Err(unusable) => {
            eprintln!("model: its samples are left to the workers to try: {unusable}");
            return Ok(());
        }
    };
    let carried = opened.samples()?.into_iter();
    let carried = carried.map(|(sample, content)| (sample.clone(), content.bytes)).collect();
    let mut engine = engines::load(&opened, kind, device)?;
    let tried = samples::tried(&mut *engine, &opened.manifest, &carried)?;
    let refused = tried.into_iter().find_map(Result::err).map(|error| {
        let why = ::cli::sentence(&error);
        Refusal::Unfit(format!("version {version} of {model} is not promoted: {why}"))
    });
    refused.map_or(Ok(()), |refused| Err(refused.into()))
}
