//! What is loaded because a request named it, within what it may take together.

use std::sync::{Arc, Weak};
use std::time::Instant;

use super::{Follower, NotServed};
use crate::lane::Lane;
use crate::memory;
use crate::models::demand::{self, Demand};
use crate::models::{Models, Skipped, Wanted};
use crate::served::Served;

/// All of it.
pub(super) struct OnDemand {
    demand: Weak<Demand>,
    /// How many bytes it may take together.
    budget: u64,
    loaded: Vec<(Wanted, Weak<Served>)>,
}

impl Follower {
    /// And loads what is asked for, which may take that many bytes together.
    #[must_use]
    pub fn with_demand(mut self, demand: Weak<Demand>, budget: u64) -> Self {
        self.on_demand = Some(OnDemand { demand, budget, loaded: Vec::new() });
        self
    }

    /// Has that lane's version computed, or whoever waits for it told that it can't be.
    pub(super) fn load(&mut self, wanted: &Wanted, lane: &Arc<Lane>) {
        self.give_memory_back();
        let (served, begun) = (&lane.model, Instant::now());
        let loaded = self.load_within_budget(lane);
        self.metrics.model_loaded(&wanted.name, loaded.is_ok());
        match loaded {
            Ok(()) => {
                let (took, takes) = (begun.elapsed(), memory::shown(served.memory()));
                tracing::info!(
                    ?took,
                    "{served:?} was asked for, and is served until others need its {takes}"
                );
                self.change(|models| models.without_skipped(wanted));
            }
            Err(error) => {
                if let Some(demand) = self.on_demand.as_ref().and_then(|all| all.demand.upgrade()) {
                    demand.failed_to_load(&wanted.name, served.id.version);
                }
                let skipped = Skipped::asked_for(wanted, served.id.version, &error);
                // Before those who wait are told: whoever comes later finds it no more.
                self.change(|models| models.without(wanted).with_one_skipped(skipped));
                served.loaded(Err(demand::unfit()));
            }
        }
    }

    fn load_within_budget(&mut self, lane: &Arc<Lane>) -> Result<(), NotServed> {
        let served = &lane.model;
        self.make_room(served)?;
        self.load_lane(lane)?;
        if let Some(models) = self.models()
            && let Some(OnDemand { loaded, .. }) = &mut self.on_demand
            && let Some(wanted) = models.wanted_by(served).find(|wanted| !wanted.moves())
        {
            loaded.push((wanted.clone(), Arc::downgrade(served)));
        }
        // What it takes is known now.
        self.make_room(served)
    }

    /// Lets others go, those first that were asked for the longest time ago, until there is room for that one.
    fn make_room(&mut self, served: &Arc<Served>) -> Result<(), NotServed> {
        let takes = served.memory();
        // Where the worker ends, nobody else comes, and those who wait are answered.
        let Some(models) = self.models() else { return Ok(()) };
        let Some(on_demand) = &mut self.on_demand else { return Ok(()) };
        // What is promoted as well does not count: it is served in any case.
        if models.wanted_by(served).count() > 1 {
            return Ok(());
        }
        let budget = on_demand.budget;
        if takes > budget {
            return Err(NotServed::TooLarge { takes, budget });
        }
        on_demand.loaded.retain(|(wanted, served)| is_served(&models, wanted, served));
        // What is in service stays, whatever else has to go.
        let mut others = on_demand.alone(&models);
        others.retain(|(_, other)| !Arc::ptr_eq(other, served));
        let may_go = |model: &Arc<Served>| others.iter().any(|(_, other)| Arc::ptr_eq(other, model));
        let stays = |model: &&Arc<Served>| model.is_ready() && !Arc::ptr_eq(model, served) && !may_go(model);
        let in_service = models.iter().filter(stays).map(|other| other.memory()).sum();
        memory::has_room(takes, in_service, self.limit)?;
        let budget = match self.limit {
            0 => budget,
            limit => budget.min(limit - in_service),
        };
        let mut left = others.iter().map(|(_, other)| other.memory()).sum::<u64>();
        let room = budget - takes;
        for (wanted, other) in others {
            if left <= room {
                break;
            }
            left -= other.memory();
            tracing::info!("{other:?} goes, so that {served:?} has room");
            self.let_go(&wanted, &other);
        }
        Ok(())
    }

    /// Lets the version go that was asked for the longest time ago; whether there was one.
    pub(super) fn let_one_go(&mut self) -> bool {
        let (Some(models), Some(on_demand)) = (self.models(), &self.on_demand) else { return false };
        let Some((wanted, oldest)) = on_demand.alone(&models).into_iter().next() else { return false };
        tracing::info!("{oldest:?} goes, so that what is promoted has room");
        self.let_go(&wanted, &oldest);
        true
    }

    /// Lets that version go, if nothing but requests wanted it. Whoever names it has it loaded again.
    pub(super) fn let_go_on_demand(&mut self, name: &str, version: u32) {
        let (Some(models), Some(on_demand)) = (self.models(), &self.on_demand) else { return };
        if let Some(wanted) = models.on_demand(Some(name), version) {
            self.change(|models| models.without_skipped(&wanted));
        }
        let id = |served: &Served| (served.id.name.as_str(), served.id.version) == (name, version);
        match on_demand.alone(&models).into_iter().find(|(_, served)| id(served)) {
            Some((wanted, served)) => {
                tracing::info!("{served:?} goes, as it was asked to");
                self.let_go(&wanted, &served);
            }
            None => tracing::debug!("no version goes: that one is in service, or not loaded"),
        }
    }

    fn let_go(&mut self, wanted: &Wanted, served: &Arc<Served>) {
        self.replaced.push(Arc::downgrade(served));
        self.change(|models| models.without(wanted));
    }
}

impl OnDemand {
    /// Those that are served, and for nobody but who names them, the one first that was asked for the longest time ago. What is promoted as
    /// well is served in any case.
    fn alone(&self, models: &Models) -> Vec<(Wanted, Arc<Served>)> {
        let served = self.loaded.iter().filter(|(wanted, served)| is_served(models, wanted, served));
        let served = served.filter_map(|(wanted, served)| Some((wanted.clone(), served.upgrade()?)));
        let mut alone: Vec<_> = served.filter(|(_, served)| models.wanted_by(served).count() == 1).collect();
        alone.sort_by_key(|(_, served)| served.last_used());
        alone
    }
}

fn is_served(models: &Models, wanted: &Wanted, served: &Weak<Served>) -> bool {
    models.serving(wanted).is_some_and(|now| std::ptr::eq(Arc::as_ptr(now), served.as_ptr()))
}
