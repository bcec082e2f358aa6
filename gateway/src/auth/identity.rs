//! Who asks, once that is known, and what they may do.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use client::Scope;

use crate::problem::Problem;

/// Somebody who said who they are, and was believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// What the log names them by; no secret: `key:` and a key's id, `token:` and its subject, `certificate:` and its name.
    pub id: String,
    /// What they may do.
    pub scopes: Vec<Scope>,
    /// The models that they may ask; all where there is none.
    pub models: Option<BTreeSet<String>>,
    /// How fast, where that is limited.
    pub rate: Option<Rate>,
}

/// How fast somebody may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// So many a second. Not 0.
    pub per_second: u32,
    /// So many at once, after a rest. Not 0.
    pub burst: u32,
}

impl Rate {
    /// As somebody wrote it: a burst that is not said is a second's.
    #[must_use]
    pub fn of(per_second: Option<u32>, burst: Option<u32>) -> Option<Self> {
        let per_second = per_second?.max(1);
        Some(Self { per_second, burst: burst.unwrap_or(per_second).max(1) })
    }
}

impl Identity {
    /// # Errors
    /// [`Problem`] 403 where they have not that scope.
    pub fn may(&self, scope: Scope) -> Result<(), Problem> {
        if self.scopes.contains(&scope) {
            return Ok(());
        }
        let has: Vec<_> = self.scopes.iter().map(|scope| scope.name()).collect();
        let has = if has.is_empty() { "none".to_owned() } else { has.join(", ") };
        Err(Problem::without_scope(
            scope.name(),
            format!(
                "this needs the scope {}, and {} has {has}: ask whoever gave it out for one that has it",
                scope.name(),
                wire::quoted(&self.id)
            ),
        ))
    }

    /// # Errors
    /// [`Problem`] 403 where they may not ask that model, or name none and may not ask each.
    pub fn may_ask(&self, model: Option<&str>) -> Result<(), Problem> {
        let Some(models) = &self.models else { return Ok(()) };
        let which = match models.iter().map(|model| wire::quoted(model)).collect::<Vec<_>>() {
            none if none.is_empty() => "none".to_owned(),
            some => some.join(", "),
        };
        match model {
            Some(model) if models.contains(model) => Ok(()),
            Some(model) => Err(Problem::forbidden(format!(
                "{} may not ask model '{}': it may ask {which}",
                wire::quoted(&self.id),
                wire::quoted(model)
            ))),
            None => Err(Problem::forbidden(format!(
                "{} is limited to models, {which}: name the one that is to answer",
                wire::quoted(&self.id)
            ))),
        }
    }
}

/// Who asks, as all who have a copy of a request's [`Caller`](crate::caller::Caller) come to know it: nobody yet, or never
/// where nobody is asked who they are.
#[derive(Clone, Debug, Default)]
pub struct Who(Arc<OnceLock<Identity>>);

impl Who {
    /// It is known. What was known before stays.
    pub fn is(&self, identity: Identity) {
        // Nobody is asked twice.
        self.0.set(identity).ok();
    }

    /// Who it is, if that is known.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        self.0.get()
    }

    /// What the log names them by; empty where nobody is known.
    #[must_use]
    pub fn id(&self) -> &str {
        self.0.get().map_or("", |identity| &identity.id)
    }

    /// # Errors
    /// As [`Identity::may_ask`]; whoever need not say who they are may ask any.
    pub fn may_ask(&self, model: Option<&str>) -> Result<(), Problem> {
        self.0.get().map_or(Ok(()), |identity| identity.may_ask(model))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(models: Option<&[&str]>) -> Identity {
        Identity {
            id: "key:3f9a".into(),
            scopes: vec![Scope::Predict],
            models: models.map(|models| models.iter().map(|model| (*model).to_owned()).collect()),
            rate: None,
        }
    }

    #[test]
    fn scopes_and_models_are_what_was_given_and_no_more() {
        let one = identity(Some(&["bird"]));
        assert_eq!(one.may(Scope::Predict), Ok(()));
        for scope in [Scope::Read, Scope::Promote, Scope::Review] {
            assert_eq!(one.may(scope).unwrap_err().status(), 403);
        }
        assert_eq!(one.may_ask(Some("bird")), Ok(()));
        for model in [None, Some("birds"), Some("Bird"), Some("cat"), Some("")] {
            let problem = one.may_ask(model).unwrap_err();
            assert_eq!(problem.status(), 403, "{model:?}");
            assert!(problem.detail().contains("bird"), "{problem:?}");
        }
        assert_eq!(identity(None).may_ask(None), Ok(()));
        assert_eq!(identity(Some(&[])).may_ask(Some("bird")).unwrap_err().status(), 403);
    }

    #[test]
    fn who_it_is_is_known_to_each_copy_and_does_not_change() {
        let who = Who::default();
        let copy = who.clone();
        assert_eq!((copy.id(), copy.may_ask(None)), ("", Ok(())));
        who.is(identity(Some(&["bird"])));
        who.is(Identity { id: "key:other".into(), ..identity(None) });
        assert_eq!(copy.id(), "key:3f9a");
        assert!(copy.may_ask(None).is_err());
    }
}
