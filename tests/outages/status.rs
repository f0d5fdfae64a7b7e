//! What `larder ctl store status` says of a cluster.

use serde_json::Value;

/// How nodes and groups are.
#[derive(Debug)]
pub(super) struct Status(Value);

impl Status {
    /// `None` if it says nothing.
    pub(super) fn parse(told: &[u8]) -> Option<Self> {
        serde_json::from_slice(told).ok().map(Self)
    }

    /// Who leads each group that is led, as far as anybody says.
    pub(super) fn leaders(&self) -> Vec<u16> {
        let name = |number: &Value| {
            let node = self.list("nodes").iter().find(|node| node.get("node") == Some(number))?;
            number_of(node)
        };
        self.list("groups").iter().filter_map(|group| name(group.get("leader")?)).collect()
    }

    /// Whether a node is of the cluster.
    pub(super) fn lists(&self, node: u16) -> bool {
        self.list("nodes").iter().any(|listed| number_of(listed) == Some(node))
    }

    /// Whether there are so many nodes and all groups are where they are to be.
    pub(super) fn holds(&self, count: usize) -> bool {
        self.list("nodes").len() == count && is(&self.0, "holds")
    }

    /// Whether all nodes answer.
    pub(super) fn all_answer(&self) -> bool {
        self.list("nodes").iter().all(|node| is(node, "answers"))
    }

    fn list(&self, name: &str) -> &[Value] {
        self.0.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The number in a node's name.
fn number_of(node: &Value) -> Option<u16> {
    node.get("name")?.as_str()?.strip_prefix("db")?.parse().ok()
}

fn is(value: &Value, name: &str) -> bool {
    value.get(name) == Some(&Value::Bool(true))
}
