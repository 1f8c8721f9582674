//! What the proxy's L1 keeps: the reply's own bytes, as they came in RESP3.

use std::sync::Arc;

use cachee_core::Weigh;

use crate::link::LinkValue;

/// One whole RESP3 reply.
pub struct Reply(pub(crate) Arc<[u8]>);

impl Weigh for Reply {
    fn weight_bytes(&self) -> usize {
        self.0.weight_bytes()
    }
}

impl LinkValue for Reply {
    fn from_reply(frame: Arc<[u8]>) -> Self {
        Self(frame)
    }
}
