//! Which images are kept out: of each class its share, drawn by the seed.

use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;

/// The places of images, in those that are learned from and those that are kept out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Split {
    pub(super) learned: Vec<usize>,
    pub(super) kept_out: Vec<usize>,
}

/// Keeps `share` of each class out, at least one where it has two images. `places` are those to split; `class` says of which class each
/// place is.
pub(super) fn stratified(places: &[usize], class: &[usize], share: f64, seed: u64) -> Split {
    let mut split = Split { learned: Vec::new(), kept_out: Vec::new() };
    for mut members in by_class(places, class, seed) {
        let wanted = (members.len() as f64 * share).round() as usize;
        let kept = wanted.clamp(1, members.len()).min(members.len() - 1);
        split.learned.extend(members.split_off(kept));
        split.kept_out.extend(members);
    }
    split.learned.sort_unstable();
    split.kept_out.sort_unstable();
    split
}

/// `folds` splits, in each of which another part of every class is kept out; together they keep out each image once, but the only one of
/// a class.
pub(super) fn folds(places: &[usize], class: &[usize], folds: usize, seed: u64) -> Vec<Split> {
    let classes = by_class(places, class, seed);
    let fold = |fold: usize| {
        let mut split = Split { learned: Vec::new(), kept_out: Vec::new() };
        for (number, members) in classes.iter().enumerate() {
            for (place, &image) in members.iter().enumerate() {
                // Small classes do not all begin in the first fold.
                let is_out = members.len() > 1 && (place + number) % folds == fold;
                if is_out { split.kept_out.push(image) } else { split.learned.push(image) }
            }
        }
        split
    };
    (0..folds).map(fold).filter(|split| !split.kept_out.is_empty()).collect()
}

/// The places of each class that has any, shuffled.
fn by_class(places: &[usize], class: &[usize], seed: u64) -> Vec<Vec<usize>> {
    let classes = places.iter().map(|&place| class[place] + 1).max().unwrap_or(0);
    let mut members = vec![Vec::new(); classes];
    places.iter().for_each(|&place| members[class[place]].push(place));
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    members.iter_mut().for_each(|members| members.shuffle(&mut random));
    members.retain(|members| !members.is_empty());
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten images of class 0, five of 1, two of 2, one of 3.
    const CLASS: [usize; 18] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 3];

    fn all() -> Vec<usize> {
        (0..CLASS.len()).collect()
    }

    fn of(places: &[usize]) -> [usize; 4] {
        let mut counts = [0; 4];
        places.iter().for_each(|&place| counts[CLASS[place]] += 1);
        counts
    }

    #[test]
    fn each_class_keeps_its_share_out_and_none_all() {
        let split = stratified(&all(), &CLASS, 0.2, 3);
        assert_eq!((of(&split.kept_out), of(&split.learned)), ([2, 1, 1, 0], [8, 4, 1, 1]));
        assert_eq!(stratified(&all(), &CLASS, 0.2, 3), split);
        assert_ne!(stratified(&all(), &CLASS, 0.2, 4), split);
    }

    #[test]
    fn folds_keep_each_image_out_once() {
        let folds = folds(&all(), &CLASS, 5, 3);
        let mut out: Vec<usize> = folds.iter().flat_map(|split| split.kept_out.clone()).collect();
        out.sort_unstable();
        assert_eq!(out, (0..17).collect::<Vec<_>>());
        for split in &folds {
            assert_eq!(split.learned.len() + split.kept_out.len(), 18);
            assert!(of(&split.learned).iter().all(|&count| count > 0), "{split:?}");
            assert_eq!(of(&split.kept_out)[0], 2);
        }
    }
}
