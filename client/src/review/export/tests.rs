use jiff::Timestamp;

use super::*;

fn label(image: u32, model: &str, verdict: Verdict, text: Option<&str>) -> (String, Label) {
    let label = Label {
        image: format!("sha256:{image:064x}"),
        model: model.into(),
        verdict,
        label: text.map(str::to_owned),
        predicted: None,
        version: None,
        by: "ada".into(),
        at: Timestamp::UNIX_EPOCH,
    };
    (label.key(), label)
}

#[test]
fn what_is_wanted_is_what_people_said_and_what_a_folder_can_have() {
    use Verdict::{Confirmed, Corrected, Skipped, Unknown};
    let labels = BTreeMap::from([
        label(1, "bird", Confirmed, Some("macaw")),
        label(2, "bird", Corrected, Some("great/tit")),
        label(3, "bird", Skipped, None),
        label(4, "bird", Unknown, Some("owl")),
        label(5, "shoe", Confirmed, Some("Sandal")),
        label(6, "bird", Corrected, Some("../../etc")),
        label(7, "bird", Corrected, Some("../../etc")),
        label(8, "bird", Corrected, Some("great_tit")),
    ]);
    let wanted = wanted(&labels, "bird");
    let mut names: Vec<_> = wanted.images.values().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["great_tit", "macaw"]);
    assert_eq!(wanted.unfit.len(), 3);
    let said = wanted.refused.join("\n");
    assert!(said.contains("'../../etc' leads out") && said.contains("2 images are left out"), "{said}");
    assert!(said.contains("'great/tit' and 'great_tit' would have one folder"), "{said}");

    assert_eq!(the_model(&labels, Some("shoe".into())).unwrap(), "shoe");
    let error = the_model(&labels, None).unwrap_err().to_string();
    assert!(error.contains("(bird, shoe)"), "{error}");
    assert_eq!(the_model(&BTreeMap::new(), None).unwrap(), "");
    assert_eq!(the_model(&BTreeMap::from([label(5, "shoe", Skipped, None)]), None).unwrap(), "shoe");
}
