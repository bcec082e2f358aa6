//! Aliases: who changes one and how, what of it is kept, and what a reader sees in between.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::Barrier;
use std::thread;

use common::{House, author};
use registry::{Author, Change, Kind, Limits, Registry, RegistryError, Select, TryOut};

mod common;

const ALIAS: &str = "production";

fn production(registry: &Registry) -> u32 {
    registry.resolve("bird", &Select::default()).unwrap()
}

fn promote(registry: &Registry, version: u32) {
    registry.promote("bird", ALIAS, version, &author(), None).unwrap();
}

fn file(house: &House) -> String {
    fs::read_to_string(house.path("bird/production")).unwrap()
}

#[test]
fn a_promotion_is_kept_with_who_when_and_why_and_the_alias_file_follows() {
    let house = House::new(&[1, 2, 3]);
    let registry = house.registry();
    // As a release without history had it, or somebody's editor.
    fs::write(house.path("bird/production"), "1\n").unwrap();
    assert_eq!(registry.alias("bird", ALIAS).unwrap().version, Some(1));
    assert_eq!(registry.history("bird", ALIAS).unwrap(), []);

    let change = registry.promote("bird", ALIAS, 2, &author(), None).unwrap();
    assert_eq!((change.number, change.kind, change.from, change.to), (1, Kind::Promote, Some(1), 2));
    assert_eq!(change.digest, registry.load("bird", &Select::Version(2)).unwrap().digest);
    assert_eq!((change.by.as_str(), change.reason.as_deref()), ("ada", Some("it is better")));
    promote(&registry, 3);
    assert_eq!((production(&registry), file(&house).as_str()), (3, "3\n"));

    let kept = registry.history("bird", ALIAS).unwrap();
    assert_eq!(kept[0], change);
    assert_eq!((kept[1].number, kept[1].from, kept[1].to), (2, Some(2), 3));
    assert!(kept[0].at <= kept[1].at);
    // It needs nothing but the history.
    fs::remove_file(house.path("bird/production")).unwrap();
    assert_eq!(production(&registry), 3);
    assert_eq!(registry.aliases("bird").unwrap(), [(ALIAS.to_owned(), 3)]);
}

#[test]
fn a_canary_stands_beside_what_is_served_until_the_next_change() {
    let house = House::new(&[1, 2, 3]);
    let registry = house.registry();
    let canary =
        |version, percent| registry.try_out("bird", ALIAS, version, TryOut::Canary(percent, None), &author());
    let seen = || registry.alias("bird", ALIAS).unwrap();
    assert!(canary(2, 10).unwrap_err().to_string().contains("the alias names no version yet"));
    promote(&registry, 1);
    for (version, percent, expected) in [
        (1, 10, "it is what the alias names already"),
        (2, 0, "from 1 to 99"),
        (2, 100, "from 1 to 99"),
        (9, 10, "has no version 9"),
    ] {
        let refused = canary(version, percent).unwrap_err().to_string();
        assert!(refused.contains(expected), "{refused}");
    }
    let change = canary(2, 10).unwrap();
    assert_eq!((change.kind, change.from, change.to), (Kind::Canary, Some(1), 1));
    let tried = seen().canary.unwrap();
    assert_eq!((seen().version, tried.version, tried.percent), (Some(1), 2, 10));
    assert_eq!(tried.digest, registry.load("bird", &Select::Version(2)).unwrap().digest);
    assert_eq!((production(&registry), file(&house).as_str()), (1, "1\n"));
    let refused = registry.delete("bird", 2).unwrap_err().to_string();
    assert!(refused.contains("version 2 is what \"production (canary)\" names"), "{refused}");

    canary(3, 50).unwrap();
    assert_eq!(seen().canary.unwrap().version, 3);
    let ended = registry.rollback("bird", ALIAS, None, &author()).unwrap();
    assert_eq!((ended.kind, ended.to, seen().canary), (Kind::Rollback, 1, None));
    registry.delete("bird", 2).unwrap();
    canary(3, 5).unwrap();
    promote(&registry, 3);
    assert_eq!((seen().version, seen().canary), (Some(3), None));
    let back = registry.rollback("bird", ALIAS, None, &author()).unwrap();
    assert_eq!(back.to, 1, "to what was served before, whatever was tried out");
}

#[test]
fn a_shadow_stands_there_too_and_one_thing_is_tried_out_at_a_time() {
    let house = House::new(&[1, 2, 3]);
    let registry = house.registry();
    let try_out = |version, how| registry.try_out("bird", ALIAS, version, how, &author());
    let seen = || registry.alias("bird", ALIAS).unwrap();
    promote(&registry, 1);
    for percent in [0, 101] {
        let refused = try_out(2, TryOut::Shadow(percent)).unwrap_err().to_string();
        assert!(refused.contains("from 1 to 100"), "{refused}");
    }
    let change = try_out(2, TryOut::Shadow(100)).unwrap();
    assert_eq!((change.kind, change.to, &change.canary), (Kind::Shadow, 1, &None));
    assert_eq!((seen().version, seen().shadow.unwrap().percent), (Some(1), 100));
    let refused = registry.delete("bird", 2).unwrap_err().to_string();
    assert!(refused.contains("version 2 is what \"production (shadow)\" names"), "{refused}");
    try_out(3, TryOut::Canary(5, None)).unwrap();
    assert_eq!((seen().shadow, seen().canary.unwrap().version), (None, 3));
    try_out(2, TryOut::Shadow(1)).unwrap();
    registry.rollback("bird", ALIAS, None, &author()).unwrap();
    assert_eq!((seen().version, seen().shadow), (Some(1), None));
}

#[test]
fn a_canary_with_limits_is_ended_once_and_only_as_the_change_that_it_is() {
    let house = House::new(&[1, 2]);
    let registry = house.registry();
    promote(&registry, 1);
    let limits = Limits { errors: 0.01, latency: 2.0, disagreement: Some(0.1), for_s: Some(3600) };
    let canary = |limits| {
        registry.try_out("bird", ALIAS, 2, TryOut::Canary(10, Some(limits)), &author()).map(|c| c.number)
    };
    for bad in [
        Limits { errors: 1.5, ..limits },
        Limits { latency: 0.9, ..limits },
        Limits { latency: f64::NAN, ..limits },
        Limits { disagreement: Some(-0.1), ..limits },
        Limits { for_s: Some(0), ..limits },
    ] {
        let refused = canary(bad).unwrap_err().to_string();
        assert!(refused.contains("version 2 of \"bird\" can't be tried out"), "{refused}");
    }
    let end = |number, promoted| registry.end_canary("bird", ALIAS, number, promoted, &author());
    let meanwhile = |ended: Result<Change, RegistryError>| {
        assert!(matches!(ended, Err(RegistryError::ChangedMeanwhile { .. })), "{ended:?}");
    };
    let first = canary(limits).unwrap();
    assert_eq!(registry.alias("bird", ALIAS).unwrap().canary.unwrap().limits, Some(limits));
    let back = end(first, false).unwrap();
    assert_eq!((back.kind, back.to), (Kind::Rollback, 1));
    // Whoever comes second must not go back any further, or end another one.
    meanwhile(end(first, false));
    meanwhile(end(first, true));
    let second = canary(limits).unwrap();
    meanwhile(end(first, true));
    let on = end(second, true).unwrap();
    assert_eq!((on.kind, on.from, on.to, production(&registry)), (Kind::Promote, Some(1), 2, 2));
    meanwhile(end(second, false));
    assert_eq!(
        registry.before("bird", ALIAS).unwrap(),
        Some(1),
        "and a rollback goes back to what was before"
    );
}

#[test]
fn whoever_ends_a_trial_that_is_over_does_not_end_what_is_in_service() {
    let house = House::new(&[1, 2, 3]);
    let registry = house.registry();
    promote(&registry, 1);
    promote(&registry, 2);
    let canary = || {
        registry.try_out("bird", ALIAS, 3, TryOut::Canary(50, None), &author()).map(|change| change.number)
    };
    let by_worker = Author { by: "worker w1".into(), ..author() };
    registry.end_canary("bird", ALIAS, canary().unwrap(), false, &by_worker).unwrap();
    let refused = registry.rollback("bird", ALIAS, None, &author()).unwrap_err().to_string();
    assert!(
        refused.contains("is over already, ended by worker w1") && refused.contains("(--to 1)"),
        "{refused}"
    );
    assert_eq!(production(&registry), 2);
    // Both can be said outright.
    canary().unwrap();
    let ended = registry.rollback("bird", ALIAS, Some(2), &author()).unwrap();
    assert_eq!((ended.to, ended.canary), (2, None));
    assert_eq!(registry.rollback("bird", ALIAS, Some(1), &author()).unwrap().to, 1);
}

#[test]
fn an_entry_that_tries_out_what_can_not_be_is_damaged_and_one_of_a_newer_release_is_read() {
    let house = House::new(&[1, 2]);
    let registry = house.registry();
    promote(&registry, 1);
    registry.try_out("bird", ALIAS, 2, TryOut::Canary(50, None), &author()).unwrap();
    let path = house.path("bird/history/production/00000002.yaml");
    let text = fs::read_to_string(&path).unwrap();
    let with = |old: &str, new: &str| {
        fs::write(&path, text.replace(old, new)).unwrap();
        registry.alias("bird", ALIAS)
    };
    for (old, new) in [
        ("percent: 50", "percent: 200"),
        ("percent: 50", "percent: 50\n  limits: {errors: -5.0, latency: 2.0}"),
        ("percent: 50", "percent: 50\n  limits: {errors: .nan, latency: 2.0}"),
    ] {
        let refused = with(old, new).unwrap_err().to_string();
        assert!(refused.contains("share or a limit that can't be"), "{refused}");
    }
    let seen = with("kind: canary", "kind: something that comes later").unwrap();
    assert_eq!((seen.version, seen.canary.unwrap().version), (Some(1), 2));
    assert_eq!(registry.history("bird", ALIAS).unwrap()[1].kind, Kind::Other);
}

#[test]
fn a_rollback_goes_to_what_was_served_before_and_further_the_next_time() {
    let house = House::new(&[1, 2, 3, 4]);
    let registry = house.registry();
    for version in [1, 2, 3] {
        promote(&registry, version);
    }
    let back = |to| registry.rollback("bird", ALIAS, to, &author());
    let change = back(None).unwrap();
    assert_eq!((change.kind, change.from, change.to, change.number), (Kind::Rollback, Some(3), 2, 4));
    assert_eq!(back(None).unwrap().to, 1);
    let refused = back(None).unwrap_err();
    assert!(refused.to_string().contains("knows no version before"), "{refused}");
    assert_eq!(back(Some(3)).unwrap().to, 3);
    for never in [3, 4, 9] {
        let refused = back(Some(never)).unwrap_err();
        assert!(matches!(refused, RegistryError::NoRollback { to: Some(_), .. }), "{refused}");
    }
    assert_eq!((production(&registry), file(&house).as_str()), (3, "3\n"));
}

#[test]
fn of_several_who_saw_the_same_one_promotes_and_the_others_are_told() {
    let house = House::new(&[1, 2, 3, 4]);
    let (registry, start) = (house.registry(), Barrier::new(4));
    // Nobody panics before all are done: the others would wait for them.
    let once = |version: u32| -> Result<u32, RegistryError> {
        let seen = registry.alias("bird", ALIAS);
        start.wait();
        let told = seen.and_then(|seen| registry.promote("bird", ALIAS, version, &author(), Some(&seen)));
        start.wait();
        Ok(told?.number)
    };
    let race = |version: u32| -> Vec<Result<u32, RegistryError>> { (0..50).map(|_| once(version)).collect() };
    let told: Vec<Vec<_>> = thread::scope(|scope| {
        let threads: Vec<_> = (1..=4).map(|version| scope.spawn(move || race(version))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let of_others = told.iter().flatten().filter_map(|told| told.as_ref().err());
    for error in of_others {
        assert!(matches!(error, RegistryError::ChangedMeanwhile { .. }), "{error}");
    }
    let history = registry.history("bird", ALIAS).unwrap();
    assert_eq!(history.len(), 50);
    for (round, change) in history.iter().enumerate() {
        let won = |version: &u32| matches!(told[*version as usize - 1][round], Ok(number) if number == change.number);
        assert_eq!((1..=4).filter(won).collect::<Vec<u32>>(), [change.to], "round {round}");
    }
    // Whoever wrote the file last, it is the last entry's.
    assert_eq!(file(&house), format!("{}\n", history[49].to));
    let left = fs::read_dir(house.path("bird/history/production")).unwrap().count();
    assert_eq!(left, 50, "no draft is left");
}

#[test]
fn who_looked_before_somebody_wrote_the_alias_by_hand_is_told() {
    let house = House::new(&[1, 2, 3]);
    let registry = house.registry();
    fs::write(house.path("bird/production"), "1").unwrap();
    let seen = registry.alias("bird", ALIAS).unwrap();
    fs::write(house.path("bird/production"), "2").unwrap();
    let told = registry.promote("bird", ALIAS, 3, &author(), Some(&seen)).unwrap_err();
    assert!(matches!(told, RegistryError::ChangedMeanwhile { found: Some(2), .. }), "{told}");
    assert_eq!((production(&registry), registry.history("bird", ALIAS).unwrap()), (2, vec![]));
}

#[test]
fn who_dies_between_two_steps_leaves_the_old_state_or_the_new_one() {
    let house = House::new(&[1, 2, 3]);
    let registry = house.registry();
    promote(&registry, 1);
    // Before the entry has its name: a draft.
    let entries = house.path("bird/history/production");
    fs::write(entries.join(".00000002.yaml.77.0"), "number: 2\nalias: prod").unwrap();
    assert_eq!(production(&registry), 1);
    // After that, before the alias file follows.
    promote(&registry, 2);
    fs::write(house.path("bird/production"), "1\n").unwrap();
    assert_eq!(production(&registry), 2);
    let seen = registry.alias("bird", ALIAS).unwrap();
    assert_eq!((seen.version, seen.number, seen.file), (Some(2), 2, Some(1)));
    // The next one mends it.
    promote(&registry, 3);
    assert_eq!(file(&house), "3\n");
}

#[test]
fn a_damaged_entry_is_named_and_one_of_a_later_release_is_read() {
    let house = House::new(&[1, 2]);
    let registry = house.registry();
    promote(&registry, 1);
    promote(&registry, 2);
    let last = house.path("bird/history/production/00000002.yaml");
    let text = fs::read_to_string(&last).unwrap();
    fs::write(&last, format!("{text}approved: {{ by: grace }}\n")).unwrap();
    assert_eq!(production(&registry), 2);
    for (damaged, says) in [
        (text[..20].to_owned(), "missing field"),
        (text.replace("number: 2", "number: 7"), "it is change 7"),
        (String::from_utf8(vec![b'a'; 70_000]).unwrap(), "larger than"),
    ] {
        fs::write(&last, damaged).unwrap();
        let refused = registry.resolve("bird", &Select::default()).unwrap_err().to_string();
        assert!(refused.contains("00000002.yaml") && refused.contains(says), "{refused}");
    }
}

/// A pipe that nobody writes to would be waited for without end, by a worker that looks about as well.
#[test]
fn a_pipe_where_a_file_must_be_is_refused_and_not_waited_for() {
    let house = House::new(&[1, 2]);
    let registry = house.registry();
    promote(&registry, 1);
    promote(&registry, 2);
    for place in [
        "bird/history/production/00000002.yaml",
        "bird/2/manifest.yaml",
        "bird/2/model.safetensors",
        "bird/other",
    ] {
        let (path, aside) = (house.path(place), house.path("aside"));
        let moved = fs::rename(&path, &aside);
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        let refused = match place {
            "bird/other" => registry.alias("bird", "other").map(drop),
            _ => registry.load("bird", &Select::default()).map(drop),
        };
        let refused = refused.unwrap_err();
        let names_it = refused.to_string().contains(place.rsplit('/').next().unwrap());
        assert!(names_it, "{place}: {refused}");
        fs::remove_file(&path).unwrap();
        if moved.is_ok() {
            fs::rename(&aside, &path).unwrap();
        }
    }
    assert_eq!(production(&registry), 2);
}

#[test]
fn what_can_not_be_served_is_not_promoted() {
    let house = House::new(&[1, 2]);
    let registry = house.registry();
    promote(&registry, 1);
    let weights = house.path("bird/2/model.safetensors");
    fs::write(&weights, "eight weights that mutter").unwrap();
    let refused = registry.promote("bird", ALIAS, 2, &author(), None).unwrap_err();
    assert!(matches!(refused, RegistryError::TamperedFile { .. }), "{refused}");
    for alias in ["history", "latest", "7", "a/b", ""] {
        let refused = registry.promote("bird", alias, 1, &author(), None).unwrap_err();
        assert!(matches!(refused, RegistryError::BadSelect { .. }), "{alias:?}: {refused}");
    }
    assert_eq!(registry.history("bird", ALIAS).unwrap().len(), 1);
}

#[test]
fn a_registry_that_may_only_be_read_is_read_and_who_can_not_write_changes_nothing() {
    let house = House::new(&[1, 2]);
    let registry = house.registry();
    promote(&registry, 1);
    let entries = house.path("bird/history/production");
    fs::set_permissions(&entries, fs::Permissions::from_mode(0o555)).unwrap();
    let told = registry.promote("bird", ALIAS, 2, &author(), None);
    fs::set_permissions(&entries, fs::Permissions::from_mode(0o755)).unwrap();
    match told {
        Err(RegistryError::Io { action: "write", .. }) => assert_eq!(production(&registry), 1),
        // Root may write anywhere.
        Ok(_) => assert_eq!(production(&registry), 2),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn what_is_in_service_is_not_deleted_and_what_is_not_goes_whole() {
    let house = House::new(&[1, 2, 3]);
    let registry = house.registry();
    promote(&registry, 1);
    registry.promote("bird", "canary", 2, &Author::default(), None).unwrap();
    for (version, alias) in [(1, ALIAS), (2, "canary")] {
        let refused = registry.delete("bird", version).unwrap_err();
        assert!(matches!(&refused, RegistryError::InService { alias: by, .. } if by == alias), "{refused}");
    }
    registry.delete("bird", 3).unwrap();
    assert_eq!(registry.versions("bird").unwrap(), [1, 2]);
    let missing = registry.delete("bird", 3).unwrap_err();
    assert!(matches!(missing, RegistryError::UnknownVersion { .. }), "{missing}");
    let left: Vec<_> = fs::read_dir(house.path("bird")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 5, "{left:?}");
    // Its number is not given again while a later one is there.
    house.add("bird", 7);
    assert_eq!(registry.next_version("bird").unwrap(), 8);
}

#[test]
fn who_deletes_and_who_promotes_at_once_do_not_leave_an_alias_that_names_nothing() {
    for round in 0..30 {
        let house = House::new(&[1, 2]);
        let registry = house.registry();
        promote(&registry, 1);
        let start = Barrier::new(2);
        let (promoted, deleted) = thread::scope(|scope| {
            let promoted = scope.spawn(|| {
                start.wait();
                registry.promote("bird", ALIAS, 2, &author(), None)
            });
            start.wait();
            let deleted = registry.delete("bird", 2);
            (promoted.join().unwrap(), deleted)
        });
        let loaded = registry.load("bird", &Select::default()).unwrap();
        assert_eq!(loaded.manifest.version == 2, promoted.is_ok(), "round {round}: {promoted:?} {deleted:?}");
        assert_ne!(promoted.is_ok(), deleted.is_ok(), "round {round}: {promoted:?} {deleted:?}");
    }
}
