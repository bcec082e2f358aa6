//! How a program comes in to a cluster, and what it may do there.

use std::process::Command;
use std::time::Duration;

use super::{Apache, Mechanism, addresses, certificate};
use crate::paths;
use crate::process::Process;

/// The keys of the `kafka` section of our programs' configuration, without `kafka.`; what `worker` and `client` are told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// `bootstrap_servers`.
    pub bootstrap_servers: String,
    /// All other keys.
    pub settings: Vec<(&'static str, String)>,
}

impl Access {
    /// Plain, to any broker.
    #[must_use]
    pub fn plain(bootstrap_servers: &str) -> Self {
        Self { bootstrap_servers: bootstrap_servers.to_owned(), settings: Vec::new() }
    }

    /// With a key set otherwise, or left out where `None`.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: Option<&str>) -> Self {
        self.settings.retain(|(other, _)| *other != key);
        self.settings.extend(value.map(|value| (key, value.to_owned())));
        self
    }
}

/// A rule is made or taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// From now on the user may.
    Grant,
    /// From now on it may not any more.
    Revoke,
}

impl Apache {
    /// How programs come in where there are no users.
    #[must_use]
    pub fn access(&self) -> Access {
        let servers = addresses(self.nodes.iter().map(|node| node.ports.programs));
        let protocol = self.setup.protocol().to_lowercase();
        let access = Access::plain(&servers).with("security_protocol", Some(&protocol));
        if !self.setup.tls {
            return access;
        }
        let trusted = certificate::trusted(&self.folder).display().to_string();
        access.with("ssl_ca_location", Some(&trusted))
    }

    /// How a user comes in.
    ///
    /// # Panics
    /// Where the cluster was set up without that user.
    #[must_use]
    pub fn access_as(&self, user: &str, mechanism: Mechanism) -> Access {
        let known = self.setup.users.iter().find(|(name, _)| name == user);
        let (_, password) = known.unwrap_or_else(|| panic!("there is no user {user}"));
        self.access()
            .with("sasl_mechanism", Some(mechanism.name()))
            .with("sasl_username", Some(user))
            .with("sasl_password", Some(password))
    }

    /// Lets a user do something, as `grant("worker", "READ", "TOPIC", "predict.requests")`: Kafka's names of the operation
    /// and of the kind of resource, and the resource's name or `*`.
    ///
    /// # Panics
    /// Where the broker does not take it.
    pub fn grant(&self, user: &str, operation: &str, kind: &str, name: &str) {
        self.change(&[(Change::Grant, user, operation, kind, name)]);
    }

    /// Takes that back.
    ///
    /// # Panics
    /// Where the broker does not take it.
    pub fn revoke(&self, user: &str, operation: &str, kind: &str, name: &str) {
        self.change(&[(Change::Revoke, user, operation, kind, name)]);
    }

    /// Several at once: whether, user, operation, kind, name.
    ///
    /// # Panics
    /// Where the broker does not take them.
    pub fn change(&self, rules: &[(Change, &str, &str, &str, &str)]) {
        let mut python = Command::new(paths::python());
        python.arg("-c").arg(ACLS).arg(self.bootstrap_servers());
        for (change, user, operation, kind, name) in rules {
            let verb = if *change == Change::Grant { "grant" } else { "revoke" };
            python.args([verb, user, operation, kind, name]);
        }
        let done = Process::run("access rules", python, Duration::from_secs(60));
        assert_eq!(done.code, Some(0), "{}", done.stderr);
    }
}

/// rdkafka has no call for access rules; the Python client, which the tests have for the page's examples, has.
const ACLS: &str = "
import sys, time
from confluent_kafka.admin import (AdminClient, AclBinding, AclBindingFilter, ResourceType, ResourcePatternType, AclOperation,
                                   AclPermissionType)
servers, rules = sys.argv[1], sys.argv[2:]
admin = AdminClient({'bootstrap.servers': servers})
for verb, user, operation, kind, name in zip(*[iter(rules)] * 5):
    rule = (ResourceType[kind], name, ResourcePatternType.LITERAL, f'User:{user}', '*', AclOperation[operation],
            AclPermissionType.ALLOW)
    if verb == 'grant':
        done = admin.create_acls([AclBinding(*rule)])
    else:
        done = admin.delete_acls([AclBindingFilter(*rule)])
    for future in done.values():
        answer = future.result(30)
        assert verb == 'grant' or answer, 'there was no such rule'
    # The controller has it; the broker, which is asked here, has it a moment later.
    while bool(admin.describe_acls(AclBindingFilter(*rule)).result(30)) != (verb == 'grant'):
        time.sleep(0.02)
";
