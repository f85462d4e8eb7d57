//! Tests output that depends on objects in the cluster: Secrets and Projections.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use manifest_tests::manifests::Manifests;
use manifest_tests::render::{NAMESPACE, Values};
use serde_json::{Value, json};

/// The responses of an API server that `lookup` needs, by path: the descriptions of the two kinds, and the given objects.
fn answers(objects: &[Value]) -> BTreeMap<String, Value> {
    let mut answers = BTreeMap::new();
    let kinds = [
        ("api/v1", "Secret", "secrets"),
        ("apis/microblog.dev/v1alpha1", "Projection", "projections"),
    ];
    for (api, kind, plural) in kinds {
        let resource = json!({ "name": plural, "kind": kind, "namespaced": true });
        let list = json!({ "kind": "APIResourceList", "groupVersion": api.split_once('/').unwrap().1, "resources": [resource] });
        answers.insert(format!("/{api}"), list);
        for object in objects.iter().filter(|object| object["kind"] == kind) {
            let name = object["metadata"]["name"].as_str().unwrap();
            answers.insert(format!("/{api}/namespaces/{NAMESPACE}/{plural}/{name}"), object.clone());
        }
    }
    answers
}

fn answer(stream: &mut TcpStream, answers: &BTreeMap<String, Value>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap_or(Ok(String::new()))?;
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let path = request.split([' ', '?']).nth(1).unwrap_or_default();
    let missing =
        json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404 });
    let (status, body) = answers
        .get(path)
        .map_or(("404 Not Found", missing), |body| ("200 OK", body.clone()));
    let (body, kind) = (body.to_string(), "Content-Type: application/json\r\nConnection: close");
    write!(
        stream,
        "HTTP/1.1 {status}\r\n{kind}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Renders the chart for a cluster with these objects.
#[track_caller]
fn rendered_in(objects: &[Value], set: &str) -> Manifests {
    let answers = Arc::new(answers(objects));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("--kube-apiserver=http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let answers = Arc::clone(&answers);
            thread::spawn(move || answer(&mut stream, &answers));
        }
    });
    let definition = "--api-versions=microblog.dev/v1alpha1/Projection";
    let cluster = [
        "--dry-run=server",
        "--kubeconfig=/dev/null",
        &server,
        definition,
        "--set",
        set,
    ];
    Manifests::parse(&Values::example("minikube").template(&cluster).succeeded()).unwrap()
}

fn secret(name: &str, data: Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "data": data })
}

#[test]
fn what_was_generated_is_found_again() {
    let kept = json!({
        "signing-key": "b25l", "public-keys": "dHdv", "refresh-secret": "dGhyZWU=", "cookie-secret": "c2l4", "client-secret": "c2V2ZW4=",
    });
    let passwords = json!({ "password": "Zm91cg==", "root-password": "Zml2ZQ==" });
    let rendered = rendered_in(
        &[
            secret("microblog-auth", kept.clone()),
            secret("microblog-mongodb", passwords),
        ],
        "",
    );
    assert_eq!(rendered.find("Secret", "microblog-auth").unwrap()["data"], kept);
    let uri = "mongodb://microblog:four@microblog-mongodb:27017/?authSource=admin&directConnection=true";
    let passwords = json!({ "password": "four", "root-password": "five", "uri": uri });
    assert_eq!(
        rendered.find("Secret", "microblog-mongodb").unwrap()["stringData"],
        passwords
    );

    // A private key without its public key is useless, so the chart generates a new pair.
    let half = json!({ "signing-key": "b25l", "refresh-secret": "dGhyZWU=" });
    let rendered = rendered_in(&[secret("microblog-auth", half)], "");
    let data = &rendered.find("Secret", "microblog-auth").unwrap()["data"];
    // "-----BEGIN PRIVATE KEY" and "-----BEGIN CERTIFICAT" in base64.
    assert!(
        data["signing-key"]
            .as_str()
            .unwrap()
            .starts_with("LS0tLS1CRUdJTiBQUklWQVRFIEtFW"),
        "{data}"
    );
    assert!(
        data["public-keys"]
            .as_str()
            .unwrap()
            .starts_with("LS0tLS1CRUdJTiBDRVJUSUZJQ0FU"),
        "{data}"
    );
    assert_eq!(data["refresh-secret"], "dGhyZWU=");
}

#[test]
fn a_secret_of_ones_own_that_changes_rolls_the_pods() {
    let checksum = |content: &str, set: &str| {
        let secrets = ["keys", "database", "ca", "client"].map(|name| {
            let changes = set.ends_with(&format!("={name}"));
            secret(name, json!({ "content": if changes { content } else { "" } }))
        });
        let rendered = rendered_in(&secrets, set);
        let deployment = rendered.find("Deployment", "microblog-command").unwrap();
        deployment["spec"]["template"]["metadata"]["annotations"]["checksum/secrets"].clone()
    };
    for set in [
        "auth.existingSecret=keys",
        "mongodb.existingSecret=database",
        "mongodb.tls.caSecret=ca",
        "mongodb.tls.certificateKeySecret=client",
    ] {
        assert_eq!(checksum("b25l", set), checksum("b25l", set), "{set}");
        assert_ne!(checksum("b25l", set), checksum("dHdv", set), "{set}");
    }
}

#[test]
fn an_upgrade_that_switches_the_operator_off_lets_projections_go_first() {
    let views =
        json!({ "apiVersion": "microblog.dev/v1alpha1", "kind": "Projection", "metadata": { "name": "views" } });
    let rendered = rendered_in(&[views], "operator.enabled=false");
    let projection = rendered.find("Projection", "views").unwrap();
    assert_eq!(projection["metadata"]["annotations"]["helm.sh/hook"], "pre-upgrade");
    assert_eq!(
        rendered_in(&[], "operator.enabled=false").find("Projection", "views"),
        None
    );
}
