//! Who may depend on whom, held against what cargo resolves: deny.toml's bans with their wrappers, as `make audit` has
//! cargo-deny hold them but with no tool to fetch; who must not come to see whom; and ARCHITECTURE.md's drawing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;

use crate::{process, progress::step, workspace::Workspace};

/// What of deny.toml is held here. cargo-deny knows more ways to write a ban; a file in one of them is refused, not misread.
#[derive(Deserialize)]
struct Deny {
    bans: Bans,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

/// A dependency that only its wrappers may name in their manifests.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ban {
    #[serde(rename = "crate")]
    package: String,
    wrappers: Vec<String>,
    #[serde(rename = "reason")]
    why: String,
}

/// A package that must not come to see others, not even through a third.
struct Blind {
    package: &'static str,
    to: &'static [&'static str],
}

const BLIND: &[Blind] = &[
    Blind { package: "wire", to: &["model", "model-core", "tch", "rdkafka", "tokio"] },
    Blind { package: "model-core", to: &["tch", "wire", "rdkafka", "tokio"] },
    Blind { package: "model", to: &["wire", "rdkafka"] },
    Blind { package: "registry", to: &["tch", "rdkafka", "wire"] },
    Blind { package: "kafka", to: &["wire", "tch"] },
    Blind { package: "client", to: &["tch", "model"] },
    Blind { package: "xtask", to: &["tch", "rdkafka", "tokio"] },
];

/// Packages that the drawing leaves out: one may see all, the other sees none.
const NOT_DRAWN: &[&str] = &["e2e", "xtask"];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// What ends up in, or builds, the package itself.
    Built,
    /// What only its tests and benches need.
    Tests,
}

/// Package names and who names whom.
#[derive(Default)]
struct Graph {
    members: BTreeSet<String>,
    edges: BTreeMap<String, Vec<(String, Kind)>>,
    /// What the workspace's packages have only by a feature.
    optional: BTreeSet<(String, String)>,
}

/// Checks the workspace; the error names each edge that breaks a rule.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    step("dependency policy", || {
        let mut cargo = process::cargo(workspace.root());
        let text = process::output(cargo.args(["metadata", "--format-version=1", "--locked"]))?;
        let metadata: Value = serde_json::from_str(&text)?;
        let graph = Graph::read(&metadata)?;
        let page = workspace.root().join("ARCHITECTURE.md");
        let drawing =
            std::fs::read_to_string(&page).with_context(|| format!("can't read {}", page.display()))?;
        let rules = workspace.root().join("deny.toml");
        let rules =
            std::fs::read_to_string(&rules).with_context(|| format!("can't read {}", rules.display()))?;
        let mut broken = graph.broken_rules(&bans(&rules)?);
        broken.extend(graph.differences(&drawing));
        broken.extend(stores_for_core(&metadata));
        if !broken.is_empty() {
            bail!("the dependency policy is broken (see ARCHITECTURE.md):\n  {}", broken.join("\n  "));
        }
        Ok(())
    })
}

impl Graph {
    /// Reads the output of `cargo metadata`.
    fn read(metadata: &Value) -> Result<Self> {
        let list = |value: &Value| value.as_array().cloned().context("unknown format of cargo metadata");
        let text =
            |value: &Value| value.as_str().map(str::to_owned).context("unknown format of cargo metadata");
        let mut names = BTreeMap::new();
        let mut optional = BTreeSet::new();
        for package in list(&metadata["packages"])? {
            let from = text(&package["name"])?;
            for dependency in package["dependencies"].as_array().into_iter().flatten() {
                if dependency["optional"] == true {
                    optional.insert((from.clone(), text(&dependency["name"])?));
                }
            }
            names.insert(text(&package["id"])?, from);
        }
        let name = |id: &Value| -> Result<String> {
            names.get(&text(id)?).cloned().context("cargo metadata names a package that it does not list")
        };
        let mut graph = Self { optional, ..Self::default() };
        for id in list(&metadata["workspace_members"])? {
            graph.members.insert(name(&id)?);
        }
        for node in list(&metadata["resolve"]["nodes"])? {
            let from = name(&node["id"])?;
            for dependency in list(&node["deps"])? {
                let kinds = list(&dependency["dep_kinds"])?;
                let kind =
                    if kinds.iter().all(|kind| kind["kind"] == "dev") { Kind::Tests } else { Kind::Built };
                graph.edges.entry(from.clone()).or_default().push((name(&dependency["pkg"])?, kind));
            }
        }
        Ok(graph)
    }

    fn dependencies(&self, package: &str) -> impl Iterator<Item = (&str, Kind)> {
        self.edges.get(package).into_iter().flatten().map(|(name, kind)| (name.as_str(), *kind))
    }

    fn broken_rules(&self, bans: &[Ban]) -> Vec<String> {
        let mut broken = Vec::new();
        for Ban { package, wrappers, why } in bans {
            for from in self.edges.keys().filter(|from| !wrappers.contains(from)) {
                if self.dependencies(from).any(|(to, _)| to == *package) {
                    let only = wrappers.join(", ");
                    broken.push(format!("{from} -> {package}: only {only} may depend on {package}: {why}"));
                }
            }
        }
        for Blind { package, to } in BLIND {
            for hidden in *to {
                if let Some(path) = self.path(package, hidden) {
                    broken.push(format!("{}: {package} must not see {hidden}", path.join(" -> ")));
                }
            }
        }
        broken
    }

    /// The shortest way from one package to another. A package's own tests count, those of what it depends on do not.
    fn path(&self, from: &str, to: &str) -> Option<Vec<String>> {
        let mut came_from = BTreeMap::from([(from.to_owned(), None::<String>)]);
        let mut queue = VecDeque::from([from.to_owned()]);
        while let Some(here) = queue.pop_front() {
            if here == to {
                let mut path = vec![here];
                while let Some(Some(before)) = path.last().and_then(|last| came_from.get(last)) {
                    path.push(before.clone());
                }
                path.reverse();
                return Some(path);
            }
            for (next, kind) in self.dependencies(&here) {
                // Others ask for registry's stores, model-core does not: see `stores_for_core`.
                let by_feature = self.optional.contains(&(here.clone(), next.to_owned()));
                if from == "model-core" && here == "registry" && by_feature {
                    continue;
                }
                if (kind == Kind::Built || here == from) && !came_from.contains_key(next) {
                    came_from.insert(next.to_owned(), Some(here.clone()));
                    queue.push_back(next.to_owned());
                }
            }
        }
        None
    }

    /// What ARCHITECTURE.md draws and the manifests lack, and the other way round. Tests may use more than is drawn.
    fn differences(&self, page: &str) -> Vec<String> {
        let drawn = arrows(page);
        let is_drawn = |name: &str| self.members.contains(name) && !NOT_DRAWN.contains(&name);
        let real: BTreeSet<_> = self
            .members
            .iter()
            .filter(|from| is_drawn(from))
            .flat_map(|from| {
                let built = self.dependencies(from).filter(|(to, kind)| *kind == Kind::Built && is_drawn(to));
                built.map(move |(to, _)| (from.clone(), to.to_owned()))
            })
            .collect();
        let missing = real
            .difference(&drawn)
            .map(|(from, to)| format!("{from} -> {to}: ARCHITECTURE.md does not draw it"));
        let stale = drawn
            .difference(&real)
            .map(|(from, to)| format!("{from} -> {to}: ARCHITECTURE.md draws it, no manifest names it"));
        missing.chain(stale).collect()
    }
}

/// `model-core` takes registry's types without its features. In the workspace as a whole others ask for them, so that cargo
/// resolves them for all: what counts is what its own manifest asks for.
fn stores_for_core(metadata: &Value) -> Option<String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let core = list(&metadata["packages"]).into_iter().find(|package| package["name"] == "model-core")?;
    let asks = |of: &Value| of["uses_default_features"] != false || !list(&of["features"]).is_empty();
    let broken = list(&core["dependencies"]).iter().any(|of| of["name"] == "registry" && asks(of));
    broken.then(|| {
        "model-core -> registry: it needs the manifest's types alone, none of its features".to_owned()
    })
}

/// The bans of deny.toml.
fn bans(text: &str) -> Result<Vec<Ban>> {
    let deny: Deny = toml::from_str(text).context("deny.toml")?;
    Ok(deny.bans.deny)
}

/// The arrows of the first mermaid drawing on a page.
fn arrows(page: &str) -> BTreeSet<(String, String)> {
    page.lines()
        .skip_while(|line| line.trim() != "```mermaid")
        .skip(1)
        .take_while(|line| line.trim() != "```")
        .filter_map(|line| line.split_once("-->"))
        .map(|(from, to)| (from.trim().to_owned(), to.trim().to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;

    const DRAWING: &str = "# Page\n```mermaid\ngraph TD\n  client --> wire\n```\n  other --> line\n";

    /// A small workspace: `client -> {wire, rdkafka}`, `model -> tch`, `wire -> uuid` and whatever is added.
    fn graph(added: &[(&str, &str, Option<&str>)]) -> Graph {
        let good: &[(&str, &str, Option<&str>)] = &[
            ("client", "wire", None),
            ("client", "rdkafka", None),
            ("model", "tch", None),
            ("wire", "uuid", None),
            // Of no concern to `wire`: another package's tests.
            ("uuid", "tokio", Some("dev")),
        ];
        let edges: Vec<_> = good.iter().chain(added).collect();
        let mut names: BTreeSet<&str> = edges.iter().flat_map(|(from, to, _)| [*from, *to]).collect();
        names.extend(["client", "wire", "model"]);
        let nodes: Vec<_> = names
            .iter()
            .map(|name| {
                let of: Vec<_> = edges
                    .iter()
                    .filter(|(from, ..)| from == name)
                    .map(|(_, to, kind)| json!({"pkg": to, "dep_kinds": [{"kind": kind}]}))
                    .collect();
                json!({"id": name, "deps": of})
            })
            .collect();
        let packages: Vec<_> = names.iter().map(|name| json!({"id": name, "name": name})).collect();
        Graph::read(&json!({
            "packages": packages,
            "workspace_members": ["client", "wire", "model"],
            "resolve": {"nodes": nodes},
        }))
        .unwrap()
    }

    fn shipped() -> Vec<Ban> {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deny.toml");
        bans(&std::fs::read_to_string(page).unwrap()).unwrap()
    }

    #[test]
    fn a_good_graph_passes() {
        assert_eq!(graph(&[]).broken_rules(&shipped()), Vec::<String>::new());
        assert_eq!(graph(&[]).differences(DRAWING), Vec::<String>::new());
    }

    #[test]
    fn a_guarded_dependency_is_named_with_its_edge() {
        for kind in [None, Some("dev"), Some("build")] {
            let broken = graph(&[("gateway", "tch", kind)]).broken_rules(&shipped());
            assert_eq!(broken.len(), 1, "{broken:?}");
            assert!(broken[0].starts_with("gateway -> tch: only model may depend on tch: "), "{broken:?}");
        }
    }

    #[test]
    fn what_is_seen_through_a_third_is_found() {
        let broken = graph(&[("uuid", "helper", None), ("helper", "tokio", None)]).broken_rules(&[]);
        assert_eq!(broken, ["wire -> uuid -> helper -> tokio: wire must not see tokio"]);
    }

    #[test]
    fn what_registry_has_by_a_feature_is_not_model_core_s() {
        let metadata = |optional: bool| {
            json!({
                "packages": [
                    {"id": "model-core", "name": "model-core"},
                    {"id": "registry", "name": "registry", "dependencies": [{"name": "tokio", "optional": optional}]},
                    {"id": "tokio", "name": "tokio"},
                ],
                "workspace_members": ["model-core", "registry"],
                "resolve": {"nodes": [
                    {"id": "model-core", "deps": [{"pkg": "registry", "dep_kinds": [{"kind": null}]}]},
                    {"id": "registry", "deps": [{"pkg": "tokio", "dep_kinds": [{"kind": null}]}]},
                    {"id": "tokio", "deps": []},
                ]},
            })
        };
        let broken = |optional| Graph::read(&metadata(optional)).unwrap().broken_rules(&[]);
        assert_eq!(broken(true), Vec::<String>::new());
        assert_eq!(broken(false), ["model-core -> registry -> tokio: model-core must not see tokio"]);
    }

    #[test]
    fn wire_and_model_never_meet_not_even_in_tests() {
        let broken = graph(&[("model", "wire", Some("dev"))]).broken_rules(&[]);
        assert_eq!(broken, ["model -> wire: model must not see wire"]);
    }

    #[test]
    fn the_drawing_is_held_both_ways() {
        let more = graph(&[("model", "client", None)]);
        assert!(
            more.differences(DRAWING)
                .contains(&"model -> client: ARCHITECTURE.md does not draw it".to_owned())
        );
        let fewer = graph(&[]).differences("```mermaid\nclient --> wire\nmodel --> client\n```");
        assert_eq!(fewer, ["model -> client: ARCHITECTURE.md draws it, no manifest names it"]);
    }

    #[test]
    fn core_asks_for_no_stores() {
        let metadata = |default: bool, features: &[&str]| {
            let of = json!({"name": "registry", "uses_default_features": default, "features": features});
            json!({"packages": [{"name": "model-core", "dependencies": [of]}]})
        };
        assert_eq!(stores_for_core(&metadata(false, &[])), None);
        assert!(stores_for_core(&metadata(false, &["store"])).is_some());
        assert!(stores_for_core(&metadata(true, &[])).is_some());
    }

    #[test]
    fn a_ban_written_in_another_way_is_refused_not_misread() {
        assert!(bans("[bans]\ndeny = [{ crate = \"tch\", use-instead = \"candle\" }]").is_err());
        assert!(bans("[bans]\ndeny = [\"tch\"]").is_err());
        assert!(bans("[licenses]\nallow = []").is_err());
        assert!(shipped().iter().any(|ban| ban.package == "tch" && ban.wrappers == ["model"]));
    }

    #[test]
    fn this_workspace_keeps_the_rules() {
        check(&Workspace::find().unwrap()).unwrap();
    }
}
