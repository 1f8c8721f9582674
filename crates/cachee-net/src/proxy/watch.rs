//! A thread that looks after the upstream: is it there, where is it, does it let strangers in, and
//! has anybody's right been changed.
//!
//! No server announces that rights were taken away, so entries read under them would be served
//! until `max_age`. Where the proxy's own login (or the default user) may ask for `ACL LIST`, the
//! answer is compared once a second, and a difference drops everything. Where it may not, entries
//! live for `max_age` at most, and `proofs` has every identity prove itself anew within that time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::cluster::Cluster;
use super::config::Topology;
use super::host::Host;
use super::pause::Stop;
use super::primary::{Follower, Heard};
use super::questions::{ask, log_in};
use super::shared::{LinkFeed, Shared};
use super::survey::Survey;
use super::topology::sentinel::{ROLE_QUESTION, is_replica};
use crate::config::LinkConfig;
use crate::error::NetError;
use crate::link::LinkStatus;
use crate::transport::{self, Transport};

/// How often the upstream is looked at.
const INTERVAL: Duration = Duration::from_millis(1_000);
/// While there is no upstream: with the links' attempts less than twenty a second.
const ABSENT_INTERVAL: Duration = Duration::from_millis(200);
/// While something is not known yet.
const EAGER_INTERVAL: Duration = Duration::from_millis(50);
/// How old a view of a cluster may be that nobody complains about.
const VIEW_INTERVAL: Duration = Duration::from_millis(400);
/// Between two questions to its nodes.
const VIEW_PAUSE: Duration = Duration::from_millis(15);
/// While a sentinel is listened to: how soon the end of the proxy is noticed.
const LISTENING_INTERVAL: Duration = Duration::from_millis(100);

/// The watching thread.
pub(crate) struct Watch {
    shared: Arc<Shared>,
    stop: Arc<Stop>,
    connection: Option<Transport>,
    /// In front of a cluster: who serves what.
    survey: Option<Survey>,
    /// Behind sentinels: who the primary is.
    follower: Option<Follower>,
    rules: Option<Vec<u8>>,
    /// May `ACL LIST` be asked?
    may_list: bool,
    /// The server behind a name has said that it is a primary.
    was_primary: bool,
}

impl Watch {
    pub(crate) fn new(shared: Arc<Shared>) -> (Self, Arc<Stop>) {
        let stop = Arc::clone(&shared.watch);
        let follower = match &shared.config.topology {
            Topology::Sentinel { sentinels, master } => Some(Follower::new(master, sentinels)),
            Topology::One | Topology::Cluster { .. } => None,
        };
        let survey = match &shared.config.topology {
            Topology::Cluster { seeds } => Some(Survey::new(seeds)),
            Topology::One | Topology::Sentinel { .. } => None,
        };
        let watch = Self {
            shared,
            survey,
            follower,
            stop: Arc::clone(&stop),
            connection: None,
            rules: None,
            may_list: true,
            was_primary: false,
        };
        (watch, stop)
    }

    pub(crate) fn run(&mut self) {
        while !self.stop.is_told() {
            let end = self.look();
            let is_ready = self.shared.looked(end);
            if !is_ready {
                self.connection = None;
            }
            let knows_commands = self.shared.learn_commands();
            let is_connecting =
                |feed: &LinkFeed| matches!(feed.link.status(), LinkStatus::Connecting);
            let is_settled = is_ready
                && (knows_commands
                    || !self.shared.links().iter().any(|(_, feed)| is_connecting(feed)));
            self.pause(match (is_ready, is_settled) {
                (false, _) => ABSENT_INTERVAL,
                (true, false) => EAGER_INTERVAL,
                (true, true) => INTERVAL,
            });
        }
    }

    /// Waits, listening to the sentinel if there is one.
    fn pause(&mut self, time: Duration) {
        if let Some(cluster) = self.shared.cluster.clone() {
            return self.pause_around(&cluster, time);
        }
        let Some(follower) = &mut self.follower else { return self.stop.pause(time) };
        let mut left = time;
        while follower.is_listening() && !left.is_zero() && !self.stop.is_told() {
            let step = left.min(LISTENING_INTERVAL);
            match follower.hears(step) {
                Heard::Nothing => {}
                Heard::Another => return self.forsake(),
                Heard::Silence => return,
            }
            left -= step;
        }
        if !follower.is_listening() {
            self.stop.pause(left);
        }
    }

    /// Waits until a newer view of the cluster is wanted.
    fn pause_around(&self, cluster: &Cluster, time: Duration) {
        // However much is wanted, the nodes are not asked without a pause.
        self.stop.pause(VIEW_PAUSE);
        let often = Duration::from_millis(self.shared.config.link.max_staleness_ms / 3);
        let mut left = time.min(VIEW_INTERVAL).min(often);
        while !left.is_zero() && !self.stop.is_told() {
            let step = left.min(LISTENING_INTERVAL);
            if cluster.wait(step) {
                return;
            }
            left -= step;
        }
    }

    /// The server that was the primary is none, or none that is sure: nothing more of it is served.
    fn forsake(&mut self) {
        self.connection = None;
        self.shared.leave();
    }

    /// One look; before the first client this is also how the addresses become known.
    pub(crate) fn look(&mut self) -> Result<(), NetError> {
        self.follow()?;
        if self.shared.must_look.swap(false, Ordering::AcqRel) {
            self.connection = None;
        }
        self.look_around()?;
        if self.connection.is_none() {
            let config = self.shared.link_config();
            self.shared.set_addresses(self.shared.resolve(&config.endpoint)?);
            self.connect(&config)?;
        }
        self.compare_rules()?;
        self.check_role()
    }

    /// In front of a cluster: what its nodes say, and a connection to one of them.
    fn look_around(&mut self) -> Result<(), NetError> {
        let Some(survey) = &mut self.survey else { return Ok(()) };
        let answered = survey.look(&self.shared)?.endpoint();
        if answered != self.shared.link_config().endpoint {
            self.connection = None;
            self.shared.ask_at(answered);
        }
        Ok(())
    }

    /// Behind sentinels: finds the primary, unless it is known, and moves everything to it if it is
    /// another. While nobody names one that proves itself, the one there was is as good as it was.
    fn follow(&mut self) -> Result<(), NetError> {
        let Some(follower) = &mut self.follower else { return Ok(()) };
        if self.connection.is_some() && follower.is_current() {
            return Ok(());
        }
        let config = self.shared.link_config();
        let is_known = !self.shared.addresses().is_empty();
        let found = match follower.find(&config, self.shared.config.login.as_ref()) {
            Ok(found) => found.endpoint(),
            Err(_) if is_known => return Ok(()),
            Err(error) => return Err(error),
        };
        if !is_known || found != config.endpoint {
            let addresses = transport::resolve(&found)?;
            self.connection = None;
            self.rules = None;
            self.shared.move_to(found, addresses);
        }
        Ok(())
    }

    /// Is the server we talk to still what it was? Behind sentinels it is left at once. One that
    /// was found by its name is left as soon as the name leads elsewhere: that is how managed
    /// servers fail over, and the old one may live on as a replica. A name alone that leads to
    /// another address says nothing, some lead to each of many in turn.
    fn check_role(&mut self) -> Result<(), NetError> {
        let Some(connection) = self.connection.as_ref().filter(|_| self.survey.is_none()) else {
            return Ok(());
        };
        let is_replica = is_replica(&ask(connection, &ROLE_QUESTION)?);
        if self.follower.is_some() {
            if is_replica {
                self.forsake();
                let reason = "the server is not the primary any longer";
                return Err(NetError::Refused(reason.to_owned()));
            }
            return Ok(());
        }
        if !(is_replica && self.was_primary) {
            self.was_primary = !is_replica;
            return Ok(());
        }
        let endpoint = self.shared.link_config().endpoint;
        // A name server that is down is no news of ours.
        let Ok(addresses) = transport::resolve(&endpoint) else { return Ok(()) };
        if self.shared.set_addresses(addresses.clone()) {
            self.connection = None;
            self.rules = None;
            self.was_primary = false;
            self.shared.move_to(endpoint, addresses);
        }
        Ok(())
    }

    fn connect(&mut self, config: &LinkConfig) -> Result<(), NetError> {
        let transport = self.shared.connect(&config.endpoint, config.connect_timeout_ms)?;
        if let Some(login) = &self.shared.config.login {
            log_in(&transport, login)?;
            self.shared.set_open(true);
        } else {
            let answer = ask(&transport, &[b"PING"])?;
            match &answer[..] {
                [b'+', ..] => self.shared.set_open(true),
                // Let in, but not to that.
                answer if answer.starts_with(b"-NOPERM") => self.shared.set_open(true),
                answer if answer.starts_with(b"-NOAUTH") => self.shared.set_open(false),
                answer => {
                    let text = String::from_utf8_lossy(answer).trim().to_owned();
                    return Err(NetError::Refused(text));
                }
            }
        }
        let db = config.db.to_string();
        if config.db != 0 && self.shared.is_open() {
            let answer = ask(&transport, &[b"SELECT", db.as_bytes()])?;
            if answer.starts_with(b"-") {
                let text = String::from_utf8_lossy(&answer[1..]).trim().to_owned();
                return Err(NetError::Refused(format!("SELECT {db}: {text}")));
            }
        }
        self.may_list = true;
        self.connection = Some(transport);
        Ok(())
    }

    fn compare_rules(&mut self) -> Result<(), NetError> {
        let Some(connection) = &self.connection else { return Ok(()) };
        if !self.may_list {
            return ask(connection, &[b"PING"]).map(|_| ());
        }
        let rules = ask(connection, &[b"ACL", b"LIST"])?;
        self.shared.may_ask_rights.store(rules[0] != b'-', Ordering::Release);
        if rules[0] == b'-' {
            self.may_list = false;
            return Ok(());
        }
        if self.rules.as_ref().is_some_and(|known| *known != rules) {
            self.shared.rights_changed();
            // Whether strangers are let in may be another answer now.
            self.connection = None;
        }
        self.rules = Some(rules);
        Ok(())
    }
}
