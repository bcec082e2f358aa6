//! Who may depend on whom, held against what cargo resolves. The rules are ARCHITECTURE.md's, and so is the drawing that
//! they are compared with.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{process, progress::step, workspace::Workspace};

/// A dependency that only these packages may name in their manifests.
struct Guarded {
    package: &'static str,
    only: &'static [&'static str],
}

const GUARDED: &[Guarded] = &[
    Guarded { package: "tch", only: &["model"] },
    Guarded { package: "torch-sys", only: &["model", "tch"] },
    Guarded { package: "rdkafka", only: &["kafka", "client", "broker-worker", "e2e"] },
    Guarded { package: "rdkafka-sys", only: &["rdkafka"] },
];

/// A package that must not come to see others, not even through a third.
struct Blind {
    package: &'static str,
    to: &'static [&'static str],
}

const BLIND: &[Blind] = &[
    Blind { package: "wire", to: &["model", "model-core", "tch", "rdkafka", "tokio"] },
    Blind { package: "model-core", to: &["tch", "wire", "rdkafka", "tokio", "sha2"] },
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
}

/// Checks the workspace; the error names each edge that breaks a rule.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    step("dependency policy", || {
        let mut cargo = process::cargo(workspace.root());
        let text = process::output(cargo.args(["metadata", "--format-version=1", "--locked"]))?;
        let graph = Graph::read(&serde_json::from_str(&text)?)?;
        let page = workspace.root().join("ARCHITECTURE.md");
        let drawing =
            std::fs::read_to_string(&page).with_context(|| format!("can't read {}", page.display()))?;
        let mut broken = graph.broken_rules();
        broken.extend(graph.differences(&drawing));
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
        for package in list(&metadata["packages"])? {
            names.insert(text(&package["id"])?, text(&package["name"])?);
        }
        let name = |id: &Value| -> Result<String> {
            names.get(&text(id)?).cloned().context("cargo metadata names a package that it does not list")
        };
        let mut graph = Self::default();
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

    fn broken_rules(&self) -> Vec<String> {
        let mut broken = Vec::new();
        for Guarded { package, only } in GUARDED {
            for from in self.edges.keys().filter(|from| !only.contains(&from.as_str())) {
                if self.dependencies(from).any(|(to, _)| to == *package) {
                    broken.push(format!(
                        "{from} -> {package}: only {} may depend on {package}",
                        only.join(", ")
                    ));
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

    #[test]
    fn a_good_graph_passes() {
        assert_eq!(graph(&[]).broken_rules(), Vec::<String>::new());
        assert_eq!(graph(&[]).differences(DRAWING), Vec::<String>::new());
    }

    #[test]
    fn a_guarded_dependency_is_named_with_its_edge() {
        for kind in [None, Some("dev"), Some("build")] {
            let broken = graph(&[("gateway", "tch", kind)]).broken_rules();
            assert_eq!(broken, ["gateway -> tch: only model may depend on tch"]);
        }
    }

    #[test]
    fn what_is_seen_through_a_third_is_found() {
        let broken = graph(&[("uuid", "helper", None), ("helper", "tokio", None)]).broken_rules();
        assert_eq!(broken, ["wire -> uuid -> helper -> tokio: wire must not see tokio"]);
    }

    #[test]
    fn wire_and_model_never_meet_not_even_in_tests() {
        let broken = graph(&[("model", "wire", Some("dev"))]).broken_rules();
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
    fn this_workspace_keeps_the_rules() {
        check(&Workspace::find().unwrap()).unwrap();
    }
}
