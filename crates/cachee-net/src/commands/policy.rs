//! How a command is sent to the nodes of a cluster, and how their replies become one.
//!
//! The server says so in the tips of its reply to `COMMAND`. A policy of a later server that is
//! not known here counts as `Special`: not to be done mechanically.

/// To which nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum RequestPolicy {
    /// By its keys, if it has any; otherwise to any node.
    #[default]
    Default,
    /// To all nodes, replicas too.
    AllNodes,
    /// To all primaries.
    AllShards,
    /// Taken apart by its keys.
    MultiShard,
    /// In a way of its own.
    Special,
}

/// What is made of the replies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ResponsePolicy {
    /// By position where there are keys, one after the other where there are none.
    #[default]
    Default,
    /// The first that is not an error.
    OneSucceeded,
    /// Any, unless one is an error.
    AllSucceeded,
    /// True where all are.
    LogicalAnd,
    /// True where one is.
    LogicalOr,
    /// The least.
    Min,
    /// The greatest.
    Max,
    /// All together.
    Sum,
    /// In a way of its own.
    Special,
}

impl RequestPolicy {
    pub(super) fn parse(name: &[u8]) -> Self {
        match name {
            b"all_nodes" => Self::AllNodes,
            b"all_shards" => Self::AllShards,
            b"multi_shard" => Self::MultiShard,
            _ => Self::Special,
        }
    }
}

impl ResponsePolicy {
    pub(super) fn parse(name: &[u8]) -> Self {
        match name {
            b"one_succeeded" => Self::OneSucceeded,
            b"all_succeeded" => Self::AllSucceeded,
            b"agg_logical_and" => Self::LogicalAnd,
            b"agg_logical_or" => Self::LogicalOr,
            b"agg_min" => Self::Min,
            b"agg_max" => Self::Max,
            b"agg_sum" => Self::Sum,
            _ => Self::Special,
        }
    }
}
