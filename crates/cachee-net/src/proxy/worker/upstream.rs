//! A client's own connection to the upstream: made, read, written, lost.

use std::io;

use mio::Poll;

use super::{Client, token};
use crate::proxy::host::Context;
use crate::proxy::output::{Output, Pool};
use crate::proxy::poller::register;
use crate::proxy::session::Ending;
use crate::proxy::shared::Shared;
use crate::transport::{self, Transport};

/// The client's own connection to the upstream.
pub(super) enum Upstream {
    None,
    Connecting { transport: Transport, attempt: usize, deadline_ms: u64 },
    Open(Transport),
}

impl Upstream {
    /// Connected, but TLS is not agreed upon.
    pub(super) fn is_handshaking(&self) -> bool {
        matches!(self, Self::Open(transport) if transport.is_handshaking())
    }
}

impl Client {
    /// Reads of the upstream while there is room for it.
    pub(super) fn read_upstream(
        &mut self,
        context: &Context<'_>,
        shared: &Shared,
        buffer: &mut [u8],
        budget: &mut usize,
    ) {
        while self.is_upstream_readable
            && *budget > 0
            && self.session.core.ending != Ending::AfterOutput
            && !self.session.core.is_output_full(context)
        {
            let Upstream::Open(transport) = &self.upstream else { return };
            match transport.read(buffer) {
                Ok(0) => {
                    self.is_upstream_readable = false;
                    let error = io::Error::from(io::ErrorKind::UnexpectedEof);
                    self.lose_upstream(context, shared, &error);
                }
                Ok(bytes) => {
                    self.active_ms = context.now_ms;
                    *budget = budget.saturating_sub(bytes);
                    let is_short = bytes < buffer.len() && !transport.buffers_above_socket();
                    self.is_upstream_readable = !is_short || self.is_upstream_hung_up;
                    self.session.core.take_upstream_bytes(context, &buffer[..bytes]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.is_upstream_readable = false;
                }
                Err(error) => {
                    self.is_upstream_readable = false;
                    self.lose_upstream(context, shared, &error);
                }
            }
        }
    }

    /// The upstream's connection has ended; one on which TLS was not agreed upon never began.
    pub(super) fn lose_upstream(
        &mut self,
        context: &Context<'_>,
        shared: &Shared,
        error: &io::Error,
    ) {
        if !self.upstream.is_handshaking() {
            return self.session.core.lose_upstream(context);
        }
        context.counters.upstream_refused.add(1);
        let endpoint = shared.link_config().endpoint;
        self.session.core.fail(context, &format!("no TLS with {endpoint}: {error}"));
    }

    pub(super) fn flush_upstream(&mut self, pool: &mut Pool) {
        let Upstream::Open(transport) = &self.upstream else { return };
        let mut written = 0;
        if self.session.core.upstream.out.flush(transport, pool, &mut written).is_err() {
            // What the upstream has said before it went is still to be read.
            self.is_upstream_readable = true;
            self.session.core.upstream.out = Output::default();
        }
    }

    /// Begins to connect to the upstream, with the `attempt`th of its addresses.
    pub(super) fn connect(
        &mut self,
        client: usize,
        attempt: usize,
        shared: &Shared,
        poll: &Poll,
        context: &Context<'_>,
    ) {
        let addresses = shared.addresses();
        let Some(address) = addresses.get(attempt) else {
            let reason = format!("{} has no address", shared.link_config().endpoint);
            return self.session.core.fail(context, &reason);
        };
        match transport::begin_connect(address, shared.upstream_tls()) {
            Ok(transport) => {
                if let Err(error) = register(poll, transport.raw_fd(), token(client, true)) {
                    return self.session.core.fail(context, &error.to_string());
                }
                let deadline_ms = context.now_ms + shared.config.link.connect_timeout_ms;
                self.upstream = Upstream::Connecting { transport, attempt, deadline_ms };
                (self.is_upstream_readable, self.is_upstream_hung_up) = (false, false);
            }
            Err(error) => {
                let error = io::Error::other(error.to_string());
                self.connect_failed(client, attempt, &error, shared, poll, context);
            }
        }
    }

    pub(super) fn connect_failed(
        &mut self,
        client: usize,
        attempt: usize,
        error: &io::Error,
        shared: &Shared,
        poll: &Poll,
        context: &Context<'_>,
    ) {
        if attempt + 1 < shared.addresses().len() {
            return self.connect(client, attempt + 1, shared, poll, context);
        }
        context.counters.upstream_refused.add(1);
        let endpoint = shared.link_config().endpoint;
        self.session.core.fail(context, &format!("no connection to {endpoint}: {error}"));
    }
}
