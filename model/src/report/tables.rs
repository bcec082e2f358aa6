//! The tables: who is taken for whom, and each class's figures.

use maud::{Markup, html};
use registry::Manifest;

use super::{count, none_of_these, percent};
use crate::evaluate::{ClassFigures, Confusion, Evaluation, Pair};

/// Of more classes than this the matrix shows the ones that are confused most, and the rest together.
const WHOLE: usize = 20;
/// So many of them.
const MOST: usize = 12;
/// Pairs that are told.
const PAIRS: usize = 25;
/// A longer table is folded.
const OPEN: usize = 40;

/// Who is taken for whom.
pub(super) fn confusion(manifest: &Manifest, confusion: &Confusion) -> Markup {
    let pairs = confusion.pairs();
    let classes = confusion.images.len();
    let groups = if classes <= WHOLE { (0..classes).map(Some).collect() } else { most(&pairs, classes) };
    html! {
        @if pairs.is_empty() {
            p { "No image is taken for another class." }
        }
        @if classes <= WHOLE || !pairs.is_empty() {
            (matrix(manifest, confusion, &groups))
        }
        @if !pairs.is_empty() {
            h3 { "What is confused most" }
            (table_of_pairs(manifest, confusion, &pairs))
        }
    }
}

/// The classes that take part in most confusions, by their places, and none for all the others together.
fn most(pairs: &[Pair], classes: usize) -> Vec<Option<usize>> {
    let mut part = vec![0; classes];
    for pair in pairs {
        part[pair.truth] += pair.images;
        if let Some(answer) = pair.answer {
            part[answer] += pair.images;
        }
    }
    let mut places: Vec<usize> = (0..classes).filter(|&place| part[place] > 0).collect();
    places.sort_by_key(|&place| (std::cmp::Reverse(part[place]), place));
    places.truncate(MOST);
    places.sort_unstable();
    places.into_iter().map(Some).chain([None]).collect()
}

/// A row for each group of classes, a column for each and one for "none of these".
fn matrix(manifest: &Manifest, confusion: &Confusion, groups: &[Option<usize>]) -> Markup {
    let classes = confusion.images.len();
    let label = |group: Option<usize>| {
        group.map_or("all other classes", |place| &manifest.classes.labels[place].label)
    };
    let group_of = |place: usize| {
        let found = groups.iter().position(|group| *group == Some(place));
        found.unwrap_or(groups.len() - 1)
    };
    let mut cells = vec![vec![0; groups.len() + 1]; groups.len()];
    // Within the rest, right is not wrong.
    let mut right = vec![0; groups.len()];
    for (truth, row) in confusion.images.iter().enumerate() {
        for (answer, &images) in row.iter().enumerate() {
            let column = if answer == classes { groups.len() } else { group_of(answer) };
            cells[group_of(truth)][column] += images;
            if answer == truth {
                right[group_of(truth)] += images;
            }
        }
    }
    let rejects = manifest.classes.reject.is_some();
    let shade = |row: usize, column: usize| {
        let all: usize = cells[row].iter().sum();
        let share = cells[row][column] as f64 / all.max(1) as f64;
        // Rare confusions are to be seen, too.
        let kind = if row == column { "hit" } else { "miss" };
        (kind, format!("--share:{:.2}", share.sqrt()))
    };
    html! {
        p {
            "A row for what images show, a column for what they are taken for. "
            @if groups.contains(&None) {
                "Of " (count(classes)) " classes the " (groups.len() - 1) " that are confused most; all others stand together. "
            }
            "The numbers above the columns are those of the rows."
        }
        div.wide role="region" aria-label="Confusion matrix" tabindex="0" {
            table.matrix {
                caption.unseen { "Confusion matrix: images by what they show, in rows, and by what they are taken for, in columns" }
                thead {
                    tr {
                        td {}
                        @for (place, group) in groups.iter().enumerate() {
                            th scope="col" { abbr title=(label(*group)) { (place + 1) } }
                        }
                        @if rejects { th scope="col" { abbr title=(none_of_these(manifest)) { "none" } } }
                    }
                }
                tbody {
                    @for (row, group) in groups.iter().enumerate() {
                        tr {
                            th scope="row" { span.number { (row + 1) } " " (label(*group)) }
                            @for (column, &images) in cells[row].iter().enumerate().take(groups.len() + usize::from(rejects)) {
                                @let (kind, style) = shade(row, column);
                                @if images == 0 {
                                    td.none { "0" }
                                } @else if row == column && group.is_none() {
                                    td class=(kind) style=(style) { (images) br; small { (right[row]) " right" } }
                                } @else {
                                    td class=(kind) style=(style) { (images) }
                                }
                            }
                        }
                    }
                }
            }
        }
        @if rejects { p.note { "“none”: called " (none_of_these(manifest)) "." } }
    }
}

fn table_of_pairs(manifest: &Manifest, confusion: &Confusion, pairs: &[Pair]) -> Markup {
    let label = |place: usize| &manifest.classes.labels[place].label;
    html! {
        div.wide role="region" aria-label="What is confused most" tabindex="0" {
            table {
                thead { tr { th scope="col" { "Shows" } th scope="col" { "Taken for" } th.n scope="col" { "Images" } th.n scope="col" { "Of its class" } } }
                tbody {
                    @for pair in pairs.iter().take(PAIRS) {
                        @let all: usize = confusion.images[pair.truth].iter().sum();
                        tr {
                            th scope="row" { (label(pair.truth)) }
                            td { @match pair.answer { Some(place) => (label(place)), None => em { (none_of_these(manifest)) } } }
                            td.n { (count(pair.images)) }
                            td.n { (percent(pair.images as f64 / all.max(1) as f64)) }
                        }
                    }
                }
            }
        }
        @if pairs.len() > PAIRS { p.note { (count(pairs.len() - PAIRS)) " more pairs: " code { "model evaluate --json" } " has them all." } }
    }
}

/// Each class's figures, the lowest F1 first.
pub(super) fn classes(manifest: &Manifest, evaluation: &Evaluation) -> Markup {
    let pairs = evaluation.confusion.pairs();
    let mut rows: Vec<(usize, &ClassFigures)> = evaluation.classes.iter().enumerate().collect();
    // Those without an image stand last.
    let key = |class: &ClassFigures| if class.images == 0 { 2.0 } else { class.f1.unwrap_or(0.0) };
    rows.sort_by(|(_, a), (_, b)| key(a).total_cmp(&key(b)));
    let taken = |place: usize| pairs.iter().find(|pair| pair.truth == place);
    let share = |share: Option<f64>| share.map_or_else(|| "–".to_owned(), percent);
    let table = html! {
        div.wide role="region" aria-label="Figures of each class" tabindex="0" {
            table {
                thead {
                    tr {
                        th scope="col" { "Class" } th.n scope="col" { "Images" } th.n scope="col" { "Recall" }
                        th.n scope="col" { "Precision" } th.n scope="col" { "F1" } th scope="col" { "Most often taken for" }
                    }
                }
                tbody {
                    @for (place, class) in &rows {
                        tr {
                            th scope="row" { (class.label) }
                            td.n { (count(class.images)) }
                            td.n { (share(class.recall)) }
                            td.n { (share(class.precision)) }
                            td.n { (share(class.f1)) }
                            td {
                                @if let Some(pair) = taken(*place) {
                                    @match pair.answer {
                                        Some(answer) => (manifest.classes.labels[answer].label),
                                        None => em { (none_of_these(manifest)) }
                                    }
                                    " (" (count(pair.images)) ")"
                                }
                            }
                        }
                    }
                }
            }
        }
    };
    html! {
        p {
            "Recall: the share of a class's images that are named right. Precision: the share of the images named so that are of the class. "
            "F1: their harmonic mean; the lowest first."
        }
        @if rows.len() > OPEN {
            details { summary { "All " (count(rows.len())) " classes" } (table) }
        } @else {
            (table)
        }
    }
}
