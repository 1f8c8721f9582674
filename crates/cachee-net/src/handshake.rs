//! From a fresh connection to a tracked one.
//!
//! `HELLO 3` with credentials and name goes alone, because everything depends on its answer; the
//! rest goes in one write. Tracking is not believed but verified: some servers accept
//! `CLIENT TRACKING` and do nothing, and a link that only believes it is tracked serves stale data
//! until `max_age`. Nothing is ever served before all of this is answered.

use crate::config::{LinkConfig, Tracking};
use crate::error::NetError;
use crate::link::inbound::{Frame, Inbound};
use crate::resp::{Node, ProtocolError, Reader, encode_command};
use crate::transport::Transport;

/// The reply to `COMMAND` has some hundred kilobytes.
const HANDSHAKE_FRAME_BYTES_MAX: usize = 32 << 20;
/// Errors that may be gone soon.
const PASSING_ERRORS: [&str; 6] =
    ["LOADING", "BUSY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "ERR max number of clients"];
const REDIS_MAJOR_LEAST: u32 = 7;

/// What the server said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Greeting {
    /// `redis` or `valkey`.
    pub(crate) server: String,
    pub(crate) version: String,
    /// The reply to `COMMAND`, if it was asked for and allowed.
    pub(crate) commands: Option<Vec<u8>>,
}

impl Greeting {
    /// Do fields of hashes expire on this server?
    pub(crate) fn knows_field_ttl(&self) -> bool {
        let (major, minor) = major_minor(&self.version);
        if self.server == "valkey" { major >= 9 } else { (major, minor) >= (7, 4) }
    }
}

/// Greets, authenticates, selects, tracks, verifies. `known` is the `server version` whose
/// commands are known already. The buffer may hold what came after.
pub(crate) fn shake_hands(
    transport: &Transport,
    config: &LinkConfig,
    known: Option<&str>,
    deadline_ms: u64,
) -> Result<(Greeting, Inbound), NetError> {
    let mut talk = Talk::new(transport, deadline_ms);
    talk.send(&[hello(config)?])?;
    let mut greeting = read_hello(&talk.answer("HELLO")?)?;

    let wants_commands = known != Some(&format!("{} {}", greeting.server, greeting.version));
    let mut commands: Vec<Vec<Vec<u8>>> = Vec::new();
    if config.db != 0 {
        commands.push(words(&["SELECT", &config.db.to_string()]));
    }
    commands.push(tracking(&config.tracking));
    commands.push(words(&["CLIENT", "TRACKINGINFO"]));
    if wants_commands {
        commands.push(words(&["COMMAND"]));
    }
    talk.send(&commands)?;
    if config.db != 0 {
        expect_success(&talk.answer("SELECT")?, "SELECT")?;
    }
    expect_success(&talk.answer("CLIENT TRACKING")?, "CLIENT TRACKING")?;
    let tracked = talk.answer("CLIENT TRACKINGINFO")?;
    expect_success(&tracked, "CLIENT TRACKINGINFO")?;
    verify_tracking(&tracked, &config.tracking)?;
    if wants_commands {
        // Refused by some ACLs: then every write of this process is one with unknown keys.
        greeting.commands = Some(talk.answer("COMMAND")?).filter(|frame| !is_error(frame));
    }
    talk.inbound.limit(config.max_value_bytes);
    Ok((greeting, talk.inbound))
}

/// Questions and answers, one after the other.
pub(crate) struct Talk<'a> {
    transport: &'a Transport,
    inbound: Inbound,
    deadline_ms: u64,
}

impl<'a> Talk<'a> {
    /// Over a connection on which no answer is outstanding.
    pub(crate) fn new(transport: &'a Transport, deadline_ms: u64) -> Self {
        Self { transport, inbound: Inbound::new(HANDSHAKE_FRAME_BYTES_MAX), deadline_ms }
    }

    fn send(&self, commands: &[Vec<Vec<u8>>]) -> Result<(), NetError> {
        let mut out = Vec::new();
        for command in commands {
            let args: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
            encode_command(&args, &mut out);
        }
        self.transport.write_all(&out, self.deadline_ms).map_err(|error| timed(error, "handshake"))
    }

    /// The next reply. Pushes that come before the link serves concern nothing it holds.
    pub(crate) fn answer(&mut self, step: &'static str) -> Result<Vec<u8>, NetError> {
        loop {
            match self.inbound.next()? {
                Some(Frame::Whole(frame)) if frame[0] == b'>' => continue,
                Some(Frame::Whole(frame)) => return Ok(frame.to_vec()),
                Some(_) => return Err(ProtocolError::Length.into()),
                None => {}
            }
            let read = self.transport.read_some(self.inbound.space(), self.deadline_ms);
            match read.map_err(|error| timed(error, step))? {
                0 => return Err(NetError::Refused(format!("closed by the server at {step}"))),
                bytes => self.inbound.filled(bytes),
            }
        }
    }
}

fn timed(error: std::io::Error, step: &'static str) -> NetError {
    if error.kind() == std::io::ErrorKind::TimedOut {
        NetError::TimedOut(step)
    } else {
        error.into()
    }
}

fn words(text: &[&str]) -> Vec<Vec<u8>> {
    text.iter().map(|word| word.as_bytes().to_vec()).collect()
}

fn hello(config: &LinkConfig) -> Result<Vec<Vec<u8>>, NetError> {
    let mut command = words(&["HELLO", "3"]);
    if let Some(provider) = &config.credentials
        && let Some((user, password)) = provider.get()?
    {
        let user = user.filter(|user| !user.is_empty());
        command.push(b"AUTH".to_vec());
        command.push(user.unwrap_or_else(|| "default".to_owned()).into_bytes());
        command.push(password);
    }
    // The server takes printable characters without spaces.
    let is_plain = |byte: u8| (b'!'..=b'~').contains(&byte);
    let name: Vec<u8> =
        config.client_name.bytes().map(|byte| if is_plain(byte) { byte } else { b'-' }).collect();
    if !name.is_empty() {
        command.push(b"SETNAME".to_vec());
        command.push(name);
    }
    Ok(command)
}

fn tracking(mode: &Tracking) -> Vec<Vec<u8>> {
    let mut command = words(&["CLIENT", "TRACKING", "ON"]);
    match mode {
        Tracking::Default => {}
        Tracking::OptIn => command.push(b"OPTIN".to_vec()),
        Tracking::Broadcast(prefixes) => {
            command.push(b"BCAST".to_vec());
            for prefix in prefixes {
                command.push(b"PREFIX".to_vec());
                command.push(prefix.clone());
            }
        }
    }
    command
}

/// An error of which the next attempt may know nothing.
pub(crate) fn is_passing(text: &[u8]) -> bool {
    PASSING_ERRORS.iter().any(|passing| text.starts_with(passing.as_bytes()))
}

fn is_error(frame: &[u8]) -> bool {
    matches!(frame.first(), Some(b'-' | b'!'))
}

fn expect_success(frame: &[u8], step: &str) -> Result<(), NetError> {
    let Some(Node::Error(text)) = Reader::new(frame).next() else { return Ok(()) };
    let text = String::from_utf8_lossy(text);
    let message = format!("{step}: {text}");
    if is_passing(text.as_bytes()) {
        Err(NetError::Refused(message))
    } else {
        Err(NetError::Unsupported(message))
    }
}

fn read_hello(frame: &[u8]) -> Result<Greeting, NetError> {
    expect_success(frame, "HELLO 3")?;
    let odd = || NetError::Unsupported("HELLO 3: not answered in RESP3".to_owned());
    let mut reader = Reader::new(frame);
    let Some(Node::Map(pairs)) = reader.next() else { return Err(odd()) };
    let mut greeting = Greeting { server: String::new(), version: String::new(), commands: None };
    for _ in 0..pairs {
        let name = reader.string().ok_or_else(odd)?;
        match name {
            b"server" => greeting.server = text(reader.string().ok_or_else(odd)?),
            b"version" => greeting.version = text(reader.string().ok_or_else(odd)?),
            _ => reader.skip().ok_or_else(odd)?,
        }
    }
    let (major, _) = major_minor(&greeting.version);
    match greeting.server.as_str() {
        "valkey" => Ok(greeting),
        "redis" if major >= REDIS_MAJOR_LEAST => Ok(greeting),
        "redis" => Err(NetError::Unsupported(format!(
            "Redis {} is older than {REDIS_MAJOR_LEAST}.0, whose invalidations are not reliable",
            greeting.version
        ))),
        other => Err(NetError::Unsupported(format!("{other:?} is neither Redis nor Valkey"))),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn major_minor(version: &str) -> (u32, u32) {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

fn verify_tracking(frame: &[u8], mode: &Tracking) -> Result<(), NetError> {
    let wanted: &[&[u8]] = match mode {
        Tracking::Default => &[b"on"],
        Tracking::OptIn => &[b"on", b"optin"],
        Tracking::Broadcast(_) => &[b"on", b"bcast"],
    };
    let flags = tracking_flags(frame).unwrap_or_default();
    if wanted.iter().all(|flag| flags.contains(flag)) {
        return Ok(());
    }
    Err(NetError::Unsupported("CLIENT TRACKING was accepted and is not on".to_owned()))
}

fn tracking_flags(frame: &[u8]) -> Option<Vec<&[u8]>> {
    let mut reader = Reader::new(frame);
    let Node::Map(pairs) = reader.next()? else { return None };
    for _ in 0..pairs {
        if reader.string()? != b"flags" {
            reader.skip()?;
            continue;
        }
        let count = reader.elements()?;
        return (0..count).map(|_| reader.string()).collect();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Endpoint;

    fn greeting(server: &str, version: &str) -> Result<Greeting, NetError> {
        let frame = format!(
            "%3\r\n$6\r\nserver\r\n${}\r\n{server}\r\n$7\r\nversion\r\n${}\r\n{version}\r\n\
             $7\r\nmodules\r\n*0\r\n",
            server.len(),
            version.len()
        );
        read_hello(frame.as_bytes())
    }

    #[test]
    fn only_servers_with_reliable_tracking_are_accepted() {
        assert!(greeting("redis", "7.0.15").is_ok());
        assert!(greeting("valkey", "8.1.8").is_ok());
        for (server, version) in [("redis", "6.2.5"), ("redis", "x"), ("dragonfly", "7.4.0")] {
            assert!(greeting(server, version).unwrap_err().is_lasting(), "{server} {version}");
        }
        let resp2 = read_hello(b"*2\r\n$6\r\nserver\r\n$5\r\nredis\r\n");
        assert!(resp2.unwrap_err().is_lasting());
    }

    #[test]
    fn passing_errors_are_told_from_lasting_ones() {
        for (answer, is_lasting) in [
            ("-LOADING Redis is loading the dataset in memory\r\n", false),
            ("-WRONGPASS invalid username-password pair or user is disabled.\r\n", true),
            ("-NOPROTO unsupported protocol version\r\n", true),
            ("-ERR unknown command 'HELLO'\r\n", true),
            ("-ERR max number of clients reached\r\n", false),
        ] {
            let error = read_hello(answer.as_bytes()).unwrap_err();
            assert_eq!(error.is_lasting(), is_lasting, "{answer}");
        }
    }

    #[test]
    fn tracking_is_verified_not_believed() {
        let on = b"%2\r\n$5\r\nflags\r\n~1\r\n$2\r\non\r\n$8\r\nredirect\r\n:0\r\n";
        let off = b"%1\r\n$5\r\nflags\r\n~1\r\n$3\r\noff\r\n";
        assert!(verify_tracking(on, &Tracking::Default).is_ok());
        assert!(verify_tracking(on, &Tracking::OptIn).is_err());
        assert!(verify_tracking(off, &Tracking::Default).is_err());
        assert!(verify_tracking(b"+OK\r\n", &Tracking::Default).is_err());
    }

    #[test]
    fn a_name_the_server_would_refuse_is_mended() {
        let mut config = LinkConfig::new(Endpoint::Tcp { host: "h".to_owned(), port: 1 });
        config.client_name = "my app\n".to_owned();
        assert_eq!(hello(&config).unwrap().last().unwrap(), b"my-app-");
    }

    #[test]
    fn fields_expire_from_redis_7_4_and_valkey_9() {
        for (server, version, expected) in [
            ("redis", "7.2.4", false),
            ("redis", "7.4.0", true),
            ("redis", "8.0.1", true),
            ("valkey", "8.1.8", false),
            ("valkey", "9.0.0", true),
        ] {
            assert_eq!(greeting(server, version).unwrap().knows_field_ttl(), expected);
        }
    }
}
