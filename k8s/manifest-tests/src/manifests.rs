//! Rendered manifests, and functions that find objects in them.

use serde_json::Value;

/// Kubernetes objects, in the order in which they were rendered.
#[derive(Debug, Clone)]
pub struct Manifests(Vec<Value>);

impl Manifests {
    /// Parses YAML documents, and leaves out empty ones.
    ///
    /// # Errors
    /// If a document is not YAML.
    pub fn parse(yaml: &str) -> Result<Self, serde_saphyr::Error> {
        let documents: Vec<Value> = serde_saphyr::from_multiple(yaml)?;
        Ok(Self(
            documents.into_iter().filter(|document| !document.is_null()).collect(),
        ))
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Value> {
        self.0.iter()
    }

    pub fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.iter().filter(move |object| object["kind"] == kind)
    }

    pub fn find(&self, kind: &str, name: &str) -> Option<&Value> {
        self.iter()
            .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
    }

    /// These manifests, and the Job of a rebuild, whose template is in a ConfigMap for the operator.
    #[must_use]
    pub fn with_nested(mut self) -> Self {
        let nested: Vec<Value> = self
            .of_kind("ConfigMap")
            .filter_map(|object| Some((object, object["data"]["rebuild-job.yaml"].as_str()?)))
            .map(|(object, yaml)| {
                let mut job: Value = serde_saphyr::from_str(yaml).expect("the Job of a rebuild is YAML");
                // The operator sets the name and the namespace.
                job["metadata"]["name"] = "views-rebuild-2".into();
                job["metadata"]["namespace"] = object["metadata"]["namespace"].clone();
                job
            })
            .collect();
        self.0.extend(nested);
        self
    }

    /// All pods that these objects create: the owner, the metadata and the spec of each.
    pub fn pods(&self) -> impl Iterator<Item = Pod<'_>> {
        self.iter().filter_map(|object| {
            let template = match object["kind"].as_str()? {
                "Deployment" | "StatefulSet" | "Job" => &object["spec"]["template"],
                "Pod" => object,
                _ => return None,
            };
            Some(Pod {
                owner: title(object),
                metadata: &template["metadata"],
                spec: &template["spec"],
            })
        })
    }
}

/// A pod, as the object that creates it describes it.
#[derive(Debug, Clone)]
pub struct Pod<'a> {
    pub owner: String,
    pub metadata: &'a Value,
    pub spec: &'a Value,
}

impl<'a> Pod<'a> {
    pub fn component(&self) -> &'a str {
        self.metadata["labels"]["app.kubernetes.io/component"]
            .as_str()
            .unwrap_or_default()
    }

    pub fn containers(&self) -> impl Iterator<Item = &'a Value> {
        let spec = self.spec;
        ["initContainers", "containers"]
            .into_iter()
            .filter_map(move |key| spec[key].as_array())
            .flatten()
    }
}

/// `Kind/name`.
pub fn title(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    format!("{}/{}", text(&object["kind"]), text(&object["metadata"]["name"]))
}
