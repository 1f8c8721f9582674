//! What was hot in an earlier run, read ahead: names come in, values only from the server. And what
//! was learned there of which key leads to which.
//!
//! The problem: a new proxy sends every first read to the server, just when all clients reconnect.
//! The idea: each link is given the names that were hot for its user, and reads them in the
//! background (`link/warm`). Only the proxy's own user has a link before anybody has logged in; the
//! names of the others wait for theirs.

use std::collections::HashMap;

use super::config::{Login, Mode};
use super::host::{Host, Identity};
use super::shared::{LinkFeed, Shared};
use crate::link::{Link, NAMES_MAX};
use crate::remembered::{Remembered, Words, remembered};

/// Links opened for the proxy's own user before a client asks, one a database.
const OWN_LINKS_MAX: usize = 16;

/// A read that was answered often, or a rule: whose, where, and its words. No credentials, no
/// value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HotKey {
    /// The user; empty for who never authenticates.
    pub user: String,
    /// The database.
    pub db: u32,
    /// Name, key, other arguments.
    pub words: Words,
}

/// What waits for links that are not open yet, by user and database.
pub(crate) type Waiting = HashMap<(String, u32), Vec<Remembered>>;

/// Who a login is, by the name the server knows; empty for nobody.
pub(crate) fn user_of(login: Option<&Login>) -> String {
    let name = |login: &Login| login.user.clone().unwrap_or_else(|| "default".to_owned());
    login.map_or(String::new(), name)
}

/// Whose a link is, among the names.
pub(crate) fn owner_of(identity: &Identity) -> (String, u32) {
    (user_of(identity.login.as_ref()), identity.db)
}

/// What was learned, the names most hit, then those that still wait to be read, at most `count`.
pub(crate) fn hot_keys(shared: &Shared, count: usize) -> Vec<HotKey> {
    // In this order: what a link takes over meanwhile is told twice rather than not at all.
    let waiting = shared.remembered.lock().clone();
    let feeds = shared.links();
    let links: Vec<&Link<_>> = feeds.iter().map(|(_, feed)| &*feed.link).collect();
    let of_links = remembered(&shared.store, &links, count);
    let of_links = of_links.into_iter().map(|(place, each)| (owner_of(&feeds[place].0), each));
    let later = waiting
        .iter()
        .flat_map(|(owner, names)| names.iter().map(|each| (owner.clone(), each.clone())));
    let named = of_links
        .chain(later)
        .filter_map(|((user, db), each)| Some(HotKey { user, db, words: each.words()? }));
    named.take(count).collect()
}

/// Gives each to the link of its user, when there is one. What could not be answered from the L1 is
/// passed over.
pub(crate) fn warm(shared: &Shared, hot_keys: Vec<HotKey>) {
    // Of a cluster a name would have to be read at its own node.
    if shared.config.mode == Mode::Off || shared.cluster.is_some() {
        return;
    }
    let mut waiting = shared.remembered.lock();
    for HotKey { user, db, words } in hot_keys.into_iter().take(NAMES_MAX) {
        let Some(each) = Remembered::from_words(words, 0) else { continue };
        if each.is_admitted(|key| shared.admission.admits(key)) {
            waiting.entry((user, db)).or_default().push(each);
        }
    }
    let owners: Vec<(String, u32)> = waiting.keys().cloned().collect();
    drop(waiting);
    // A link opened before this is found here, one opened after it looks for itself.
    for (identity, feed) in shared.links() {
        shared.hand_over(&identity, &feed);
    }
    // What a client that does not log in would be given, had one asked.
    let login = &shared.config.login;
    let own = user_of(login.as_ref());
    let databases = owners.iter().filter(|(user, _)| *user == own);
    for (_, db) in databases.take(OWN_LINKS_MAX) {
        shared.feed(&Identity { login: login.clone(), db: *db, node: None });
    }
}

impl Shared {
    /// A link is there: it gets what has waited for it.
    pub(crate) fn hand_over(&self, identity: &Identity, feed: &LinkFeed) {
        if let Some(names) = self.remembered.lock().remove(&owner_of(identity)) {
            feed.link.remember(names);
        }
    }
}
