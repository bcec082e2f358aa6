//! A version that is tried out beside the one that is meant.

use super::*;
use jiff::Timestamp;

const KEYS: usize = 1000;

impl Room {
    fn try_out(&mut self, canary: Option<(u32, u8)>) {
        let trial = canary.map(|(version, percent)| Trial {
            version,
            part: Part::Canary,
            percent,
            limits: None,
            change: 1,
            since: Timestamp::now(),
        });
        self.shelf.lock().trial = trial;
        self.follower.step();
    }

    /// How many of a thousand keys each version answers, the first one first; each key always the same.
    fn shares(&self) -> BTreeMap<String, usize> {
        let mut shares = BTreeMap::new();
        for key in 0..KEYS {
            let key = format!("user-{key}");
            let [first, again] = [(); 2]
                .map(|()| format!("{:?}", self.lanes.find(None, None, key.as_bytes()).unwrap().entrance));
            assert_eq!(first, again, "{key}");
            *shares.entry(first).or_default() += 1;
        }
        shares
    }
}

#[tokio::test(start_paused = true)]
async fn it_answers_its_share_until_it_ends_or_is_meant_itself() {
    let mut room = room();
    room.step(1);
    room.try_out(Some((2, 10)));
    let shares = room.shares();
    assert!(
        (60..150).contains(&shares["bird 2"]) && shares["bird 1"] + shares["bird 2"] == KEYS,
        "{shares:?}"
    );
    let named = |version| format!("{:?}", room.lanes.find(None, Some(version), b"user-1").unwrap().entrance);
    assert_eq!([1, 2].map(named), ["bird 1", "bird 2"], "whoever names a version gets it");
    let percent = |version| {
        let models = room.models.borrow();
        models.percent(models.version("bird", version).unwrap())
    };
    assert_eq!([1, 2].map(percent), [Some(90), Some(10)]);
    assert!(room.models.borrow().is_default(room.models.borrow().version("bird", 1).unwrap()));

    let few = room.shares()["bird 2"];
    room.try_out(Some((2, 50)));
    assert!(room.shares()["bird 2"] > 3 * few, "{:?}", room.shares());
    assert_eq!(room.shelf.lock().opened, [2], "it is not loaded again");
    room.try_out(None);
    assert_eq!(room.shares()["bird 1"], KEYS);
    assert_eq!(room.models.borrow().iter().count(), 1, "it is gone");

    room.try_out(Some((3, 50)));
    room.shelf.lock().trial = None;
    room.step(3);
    assert_eq!(room.shares()["bird 3"], KEYS);
    assert_eq!(room.shelf.lock().opened, [2, 3], "what was tried out is what is meant now");
    assert_eq!((room.notes(), room.skipped()), (vec![], vec![]));
}

#[tokio::test(start_paused = true)]
async fn one_that_can_t_be_served_leaves_all_requests_to_the_other_and_is_said() {
    let mut room = room();
    room.shelf.lock().broken = vec![2];
    room.step(1);
    room.try_out(Some((2, 50)));
    assert_eq!(room.shares()["bird 1"], KEYS);
    let reason = "bird 2 is not tried out: bird 2 can't be loaded: no weights";
    assert_eq!((room.notes(), room.skipped()), (vec![reason.to_owned()], vec![reason.to_owned()]));
    room.try_out(None);
    assert_eq!((room.notes(), room.skipped()), (vec![], vec![]));
}
