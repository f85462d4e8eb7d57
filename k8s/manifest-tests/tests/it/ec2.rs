//! Tests that all pods that can run at the same time fit on the machine that terraform-ec2 starts.

use std::fs;

use manifest_tests::manifests::Manifests;
use manifest_tests::render::{Values, repository};
use serde_json::Value;

/// CPU in thousandths of a processor, and memory in MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size {
    cpu: u64,
    memory: u64,
}

impl Size {
    fn times(self, count: u64) -> Self {
        Self {
            cpu: self.cpu * count,
            memory: self.memory * count,
        }
    }
}

impl std::iter::Sum for Size {
    fn sum<I: Iterator<Item = Self>>(sizes: I) -> Self {
        sizes.fold(Self { cpu: 0, memory: 0 }, |sum, size| Self {
            cpu: sum.cpu + size.cpu,
            memory: sum.memory + size.memory,
        })
    }
}

/// <https://aws.amazon.com/ec2/instance-types/t3/>
const T3_LARGE: Size = Size {
    cpu: 2000,
    memory: 8192,
};
/// The requests of the pods of k3s: CoreDNS and metrics-server request 100m and 70 MiB each. Traefik, its load balancer and the volume
/// provisioner request nothing (manifests/ in k3s).
const OF_K3S: Size = Size { cpu: 200, memory: 140 };
/// Memory for the system, k3s itself and Traefik, which have no requests. The documentation of k3s says 1.6 GB for a server with an agent.
const BESIDE_PODS: u64 = 1800;

fn quantity(text: &Value, unit: &[(&str, u64)]) -> u64 {
    let text = text.as_str().map_or_else(|| text.to_string(), str::to_owned);
    let (suffix, factor) = unit
        .iter()
        .find(|(suffix, _)| text.ends_with(suffix))
        .unwrap_or_else(|| panic!("this test does not know the unit of {text}"));
    text.trim_end_matches(suffix).parse::<u64>().unwrap() * factor
}

fn requested(resources: &Value) -> Size {
    let requests = &resources["requests"];
    Size {
        cpu: quantity(&requests["cpu"], &[("m", 1), ("", 1000)]),
        memory: quantity(&requests["memory"], &[("Mi", 1), ("Gi", 1024)]),
    }
}

/// The maximum number of pods of a component, including the additional pod that a rolling update starts before an old pod stops.
fn most(manifests: &Manifests, owner: &str, component: &str) -> u64 {
    let name = format!("microblog-{component}");
    if !owner.starts_with("Deployment/") {
        return 1;
    }
    let scaler = manifests.find("HorizontalPodAutoscaler", &name);
    let replicas = match scaler {
        Some(scaler) => &scaler["spec"]["maxReplicas"],
        None => &manifests.find("Deployment", &name).unwrap()["spec"]["replicas"],
    };
    replicas.as_u64().unwrap() + 1
}

#[test]
fn all_that_can_be_there_at_once_fits_the_machine() {
    let variables = fs::read_to_string(repository().join("terraform-ec2/variables.tf")).unwrap();
    let (_, instance) = variables.split_once("variable \"instance_type\"").unwrap();
    let (instance, _) = instance.split_once("\n}").unwrap();
    assert!(
        instance.contains("\"t3.large\""),
        "the instance type has changed, so this test needs the new size: {instance}"
    );

    let manifests = Values::example("ec2").render().with_nested();
    let all: Vec<(String, u64, Size)> = manifests
        .pods()
        .map(|pod| {
            let of_one = pod
                .containers()
                .map(|container| requested(&container["resources"]))
                .sum();
            let count = most(&manifests, &pod.owner, pod.component());
            (pod.owner, count, of_one)
        })
        .collect();
    assert!(all.len() >= 7, "{all:?}");
    let ours: Size = all.iter().map(|(_, count, size)| size.times(*count)).sum();
    let sum = [ours, OF_K3S].into_iter().sum::<Size>();
    assert!(sum.cpu <= T3_LARGE.cpu, "{sum:?} of {T3_LARGE:?}: {all:#?}");
    assert!(
        sum.memory + BESIDE_PODS <= T3_LARGE.memory,
        "{sum:?} of {T3_LARGE:?}: {all:#?}"
    );
}
