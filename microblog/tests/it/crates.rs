//! Checks the arrows between our crates that docs/ARCHITECTURE.md draws.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// Each crate, and all of our crates that it is compiled with. It must not depend on any other, directly or indirectly.
const ARROWS: [(&str, &[&str]); 11] = [
    ("model", &[]),
    ("event-log", &["model"]),
    ("service", &["event-log", "model"]),
    ("views", &["event-log", "model"]),
    ("commands", &["event-log", "model", "service"]),
    ("command-svc", &["commands", "event-log", "model", "service"]),
    ("query-svc", &["event-log", "model", "service", "views"]),
    ("projector", &["commands", "event-log", "model", "service", "views"]),
    ("gateway", &["event-log", "model", "service"]),
    ("operator", &["event-log", "model", "service", "views"]),
    ("local-mongodb", &[]),
];

/// The crates in a package's tree whose path is below `root`: `name v0.1.0 (/path/of/it)`.
fn ours(package: &str, root: &Path) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--locked",
            "--offline",
            "--edges",
            "normal,build",
            "--prefix",
            "none",
        ])
        .args(["--package", package])
        .current_dir(root)
        .output()
        .expect("cargo tells the tree");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).expect("cargo tells the tree");
    let root = format!("({}", root.display());
    let ours = tree.lines().filter(|line| line.contains(&root));
    let names = ours.filter_map(|line| line.split(' ').next()).map(str::to_owned);
    names.filter(|name| name != package).collect()
}

#[test]
fn the_arrows_point_as_they_are_drawn() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .canonicalize()
        .unwrap();
    for (package, reached) in ARROWS {
        let reached: BTreeSet<_> = reached.iter().map(|&name| name.to_owned()).collect();
        assert_eq!(ours(package, &root), reached, "{package}");
    }
}
