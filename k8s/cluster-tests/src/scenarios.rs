//! The scenarios, one file for each subject. They run in this order, because neighbouring ones share an installation.

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
