//! One question to a server, one answer, on a connection that has nothing else to do.

use super::config::Login;
use crate::clock;
use crate::error::NetError;
use crate::handshake::{Talk, is_passing};
use crate::resp::command_bytes;
use crate::transport::Transport;

/// A server that takes longer is as good as gone.
const ANSWER_MS: u64 = 1_000;

/// Logs in; an error when that is refused.
pub(crate) fn log_in(transport: &Transport, login: &Login) -> Result<(), NetError> {
    let user = login.user.as_deref().unwrap_or("default").as_bytes();
    refused(&ask(transport, &[b"AUTH", user, &login.password])?)
}

/// One question, one answer.
pub(crate) fn ask(transport: &Transport, words: &[&[u8]]) -> Result<Vec<u8>, NetError> {
    let deadline_ms = clock::now_ms() + ANSWER_MS;
    transport.write_all(&command_bytes(words), deadline_ms)?;
    Talk::new(transport, deadline_ms).answer("watching")
}

/// No answer to a login but a refusal closes a link: a server that is loading is not a refusal.
pub(crate) fn refused(answer: &[u8]) -> Result<(), NetError> {
    let is_refusal = [&b"-WRONGPASS"[..], b"-NOAUTH", b"-NOPERM", b"-ERR"]
        .iter()
        .any(|word| answer.starts_with(word));
    if is_refusal && !is_passing(&answer[1..]) {
        return Err(NetError::Unsupported(String::from_utf8_lossy(answer).trim().to_owned()));
    }
    Ok(())
}
