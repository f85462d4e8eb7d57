//! The scenarios, a file for each subject, in the order in which they are run. Those in a row share an installation.

mod autoscaling;
mod crds;
mod faults;
mod helm;
mod install;
mod nodes;
mod policies;
mod projection;
mod uninstall;
mod upgrade;

use crate::suite::Scenario;

pub(crate) const ALL: &[&Scenario] = &[
    &crds::CRDS,
    &install::INSTALL,
    &install::POSTMAN,
    &policies::POLICIES,
    &upgrade::STEADY,
    &upgrade::UPGRADE,
    &autoscaling::AUTOSCALING,
    &projection::PROJECTION,
    &faults::FAULTS,
    &uninstall::UNINSTALL,
    &helm::HELM,
    &nodes::DRAIN,
    &nodes::CUT,
];
