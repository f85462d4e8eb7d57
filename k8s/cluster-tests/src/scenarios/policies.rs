//! NetworkPolicies against the connections that there are.
