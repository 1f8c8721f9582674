//! A session in front of a cluster: its router in place of the one upstream connection.

use super::answers::Expected;
use super::router::{Failure, Ready, Router};
use super::{Command, Core, Ending};
use crate::proxy::host::Context;
use crate::proxy::topology::facade::Protocol;
use crate::resp::Reader;

impl Core {
    /// From here on the upstream is a cluster.
    pub(crate) fn set_router(&mut self, router: Router) {
        self.router = Some(Box::new(router));
    }

    /// Hands a command to the router; false when there is none.
    pub(super) fn route(
        &mut self,
        context: &Context<'_>,
        words: &[&[u8]],
        expected: Expected,
    ) -> bool {
        let Some(router) = &mut self.router else { return false };
        context.counters.forwarded.add(1);
        self.upstream.expected.push_back(expected);
        router.is_resp3 = self.state.is_resp3;
        router.submit(context, words);
        true
    }

    /// The same of a command in bytes.
    pub(super) fn route_bytes(
        &mut self,
        context: &Context<'_>,
        bytes: &[u8],
        expected: Expected,
    ) -> bool {
        if self.router.is_none() {
            return false;
        }
        let mut reader = Reader::new(bytes);
        let count = reader.elements().unwrap_or(0);
        let words: Vec<&[u8]> = (0..count).map_while(|_| reader.string()).collect();
        self.route(context, &words, expected)
    }

    /// What a client that knows of clusters asks about this one, and a plain one may.
    pub(super) fn answer_as_cluster(
        &mut self,
        context: &Context<'_>,
        command: &Command<'_>,
    ) -> bool {
        let is_theirs = self.multi.is_none() && self.state.is_plain() && self.is_accepted(context);
        let protocol = if self.state.is_resp3 { Protocol::Resp3 } else { Protocol::Resp2 };
        let Some(router) = self.router.as_ref().filter(|_| is_theirs) else { return false };
        let Some(answer) = router.facade.answer(command.words, protocol) else { return false };
        self.answer(&answer);
        true
    }

    /// Bytes of one node have come.
    pub(crate) fn take_node_bytes(&mut self, context: &Context<'_>, number: usize, bytes: &[u8]) {
        let is_resp3 = self.state.is_resp3;
        if let Some(router) = &mut self.router {
            router.take_bytes(context, number, bytes, is_resp3);
        }
        self.take_routed(context);
    }

    /// The connection to one node has ended, or could not be made.
    pub(crate) fn lose_node(&mut self, context: &Context<'_>, number: usize, reason: &str) {
        if let Some(router) = &mut self.router {
            router.lose(context, number, reason);
        }
        self.take_routed(context);
    }

    /// Tries again what is due.
    pub(crate) fn retry(&mut self, context: &Context<'_>) {
        if let Some(router) = &mut self.router {
            router.retry(context);
        }
        self.take_routed(context);
    }

    /// Passes on what the router has.
    pub(crate) fn take_routed(&mut self, context: &Context<'_>) {
        if self.router.is_none() {
            return self.advance();
        }
        while self.ending != Ending::AfterOutput
            && let Some(router) = &mut self.router
            && let Some(ready) = router.ready.pop_front()
        {
            match ready {
                Ready::Reply(frame) => self.take_frame(context, &frame),
                Ready::Push(frame) => self.take_push(context, &frame),
            }
            // A push that follows must not overtake what is known by now.
            self.advance();
        }
        self.advance();
        let failure = self.router.as_mut().and_then(|router| router.failure.take());
        match failure {
            Some(Failure::Refused(reason)) => self.fail(context, &reason),
            Some(Failure::Lost) => self.lose_upstream(context),
            None => {}
        }
    }
}
