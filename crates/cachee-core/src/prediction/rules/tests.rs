//! Requests of an API against rules that start knowing nothing.

use std::collections::HashSet;

use super::*;

/// An application whose reads are counted: what was here, what was on its way, what was missed.
struct World {
    rules: Rules,
    here: HashSet<(Vec<u8>, bool)>,
    now_ms: u64,
    flow: u64,
    misses: usize,
    hits: usize,
    /// What is predicted is sent, and what comes can be kept.
    sends: bool,
    keeps: bool,
}

impl World {
    fn new() -> Self {
        let config = RulesConfig { bytes: 1 << 20, reads_an_event: 1.0 };
        Self::with(config)
    }

    fn with(config: RulesConfig) -> Self {
        Self {
            rules: Rules::new(config, KeyedHash::new(7)),
            here: HashSet::new(),
            now_ms: 0,
            flow: 1,
            misses: 0,
            hits: 0,
            sends: true,
            keeps: true,
        }
    }

    /// One read: its key, and the fields of its value.
    fn read(&mut self, key: &str, value: &[(&str, &str)]) {
        self.now_ms += 1;
        let key_hash = self.rules.hash.bytes(key.as_bytes());
        let id = EntryRef { scope: 0, shape: 1, key: key.as_bytes(), args: b"", key_hash };
        let was_ahead = self.here.remove(&(key.into(), true));
        if self.here.contains(&(key.into(), false)) {
            self.hits += 1;
            return;
        }
        let access = if was_ahead { Access::Prefetched } else { Access::Miss };
        self.hits += usize::from(was_ahead);
        self.misses += usize::from(!was_ahead);
        self.here.insert((key.into(), false));
        let Self { rules, here, .. } = self;
        let is_here = |id: &EntryRef<'_>| {
            here.contains(&(id.key.to_vec(), false)) || here.contains(&(id.key.to_vec(), true))
        };
        let asked = rules.asked(&id, self.flow, access, self.now_ms, is_here);
        if access == Access::Miss && asked.wants_value {
            let mut fields = Fields::default();
            value.iter().for_each(|(name, text)| fields.push(name, text.as_bytes()));
            let from = Origin::Flow(self.flow);
            rules.answered(&id, from, &fields, self.now_ms, is_here);
        }
        for ahead in self.rules.take_ahead() {
            self.rules.was_sent(&ahead, self.sends);
            if self.sends {
                let target = ahead.target.expect("by a rule");
                if !self.keeps {
                    self.rules.arrived(target, false);
                }
            }
            if self.sends && self.keeps {
                self.here.insert((ahead.key, true));
            }
        }
    }

    /// What `act` missed.
    fn missed(&mut self, act: impl FnOnce(&mut Self)) -> usize {
        let before = self.misses;
        act(self);
        self.misses - before
    }
}

/// A request of an API: the user's number stands in the value of the session.
fn request(world: &mut World, session: u64, user: u64) {
    let user_text = user.to_string();
    let fields = [("version", "3"), ("user_id", user_text.as_str()), ("theme", "dark")];
    world.read(&format!("session:{session:x}a{:x}", session * 77), &fields);
    for kind in ["user", "perm", "flags", "cart", "quota", "prefs", "inbox"] {
        world.read(&format!("{kind}:{user}"), &[]);
    }
}

#[test]
fn a_user_whom_nobody_has_seen_misses_once() {
    let mut world = World::new();
    for number in 0..100 {
        request(&mut world, number, 5_000 + number * 3);
    }
    for number in 100..120 {
        let missed = world.missed(|world| request(world, number, 9_000 + number * 7));
        assert_eq!(missed, 1, "the session alone, {:#?}", world.rules.views(99));
    }
    let stats = world.rules.stats();
    assert_eq!(stats.unused, 0, "{stats:?}");
    assert!(stats.used > 100);
    let best = world.rules.views(20);
    let said = |target: &str| {
        best.iter()
            .any(|rule| rule.source == "session:{1}" && rule.target == target && rule.is_trusted)
    };
    assert!(said("perm:{value.user_id}"), "{best:#?}");
    assert!(stats.bytes < 1 << 20);
}

#[test]
fn it_is_learned_within_a_few_requests_and_again_after_a_change() {
    let mut world = World::new();
    for number in 0..40 {
        request(&mut world, number, 100 + number * 3);
    }
    assert_eq!(world.missed(|world| request(world, 50, 3_333)), 1);
    // The application has changed: other templates, another field.
    let changed = |world: &mut World, number: u64| {
        let user = (70_000 + number * 3).to_string();
        world.read(&format!("v2/s/{:x}f", number * 991), &[("account", &user)]);
        for kind in ["profile", "rights", "basket"] {
            world.read(&format!("v2/u/{user}/{kind}"), &[]);
        }
    };
    for number in 0..40 {
        changed(&mut world, number);
    }
    assert_eq!(world.missed(|world| changed(world, 99)), 1);
}

/// Sixteen requests at a time, step by step: what was missed of the last sixteen.
fn interleaved(flow_of: impl Fn(u64) -> u64) -> usize {
    let mut world = World::new();
    let mut missed = 0;
    for round in 0..200u64 {
        let before = world.misses;
        for kind in ["session", "user", "perm", "flags"] {
            for place in 0..16 {
                world.flow = flow_of(place);
                let user = (round * 16 + place + 10_000).to_string();
                if kind == "session" {
                    let key = format!("session:{:x}f{place}", round * 31 + 7);
                    world.read(&key, &[("id", &user)]);
                } else {
                    world.read(&format!("{kind}:{user}"), &[]);
                }
            }
        }
        missed = world.misses - before;
    }
    missed
}

#[test]
fn interleaved_requests_are_told_apart_by_their_flow() {
    assert_eq!(interleaved(|place| place), 16, "the sessions alone");
}

#[test]
fn a_thousand_requests_at_a_time_are_no_reason_for_doubt() {
    let mut world = World::new();
    let mut missed = 0;
    for round in 0..12u64 {
        let before = world.misses;
        for kind in ["session", "user", "perm"] {
            for place in 0..1_000 {
                world.flow = place;
                let user = (round * 3_000 + place * 3 + 10_000).to_string();
                if kind == "session" {
                    let key = format!("session:{:x}f{place}", round * 31 + 7);
                    world.read(&key, &[("id", &user)]);
                } else {
                    world.read(&format!("{kind}:{user}"), &[]);
                }
            }
        }
        missed = world.misses - before;
    }
    // More than can be on trial at a time.
    assert!(missed < 2_200, "{missed} of 3000: {:#?}", world.rules.views(4));
}

#[test]
fn where_all_share_one_connection_it_takes_longer() {
    assert_eq!(interleaved(|_| 1), 16, "the sessions alone");
}

#[test]
fn what_a_key_says_itself_needs_no_value() {
    let mut world = World::new();
    for user in 0..30 {
        world.read(&format!("user:{user}:profile"), &[]);
        world.read(&format!("user:{user}:rights"), &[]);
        world.read(&format!("shop:eu:cart:{user}"), &[]);
    }
    let missed = world.missed(|world| {
        world.read("user:777:profile", &[]);
        world.read("user:777:rights", &[]);
        world.read("shop:eu:cart:777", &[]);
    });
    assert_eq!(missed, 1);
}

#[test]
fn pages_are_numbered() {
    let mut world = World::new();
    for page in 0..40 {
        world.read(&format!("feed:main:page:{page}"), &[]);
    }
    assert_eq!(world.missed(|world| world.read("feed:main:page:40", &[])), 0);
    assert!(world.hits > 20, "{}", world.hits);
}

#[test]
fn every_element_of_a_list_is_followed() {
    let mut world = World::new();
    let cart = |world: &mut World, number: u64| {
        let items: Vec<String> = (0..4).map(|nth| (number * 10 + nth + 500).to_string()).collect();
        let fields: Vec<(&str, &str)> = items.iter().map(|item| ("items[].id", &**item)).collect();
        world.read(&format!("cart:{number}"), &fields);
        for item in &items {
            world.read(&format!("product:{item}"), &[]);
        }
    };
    (0..30).for_each(|number| cart(&mut world, number));
    assert_eq!(world.missed(|world| cart(world, 1_000)), 1);
}

#[test]
fn keys_without_a_connection_send_nothing() {
    let mut world = World::new();
    let mut number = 1u64;
    for _ in 0..20_000 {
        number =
            number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let kind = ["user", "perm", "flags", "cart"][(number >> 33) as usize % 4];
        world.read(
            &format!("{kind}:{}", (number >> 40) % 3_000),
            &[("n", &((number >> 20) % 50).to_string())],
        );
        world.here.clear();
    }
    let stats = world.rules.stats();
    assert!(stats.issued * 50 < stats.events, "{stats:?} {:#?}", world.rules.views(5));
    assert!(stats.bytes < 1 << 20, "{stats:?}");
}

#[test]
fn who_only_looks_on_scores_and_sends_nothing() {
    let mut world = World::with(RulesConfig { bytes: 1 << 20, reads_an_event: 0.0 });
    for number in 0..60 {
        request(&mut world, number, 5_000 + number * 3);
    }
    let stats = world.rules.stats();
    assert_eq!(stats.issued, 0);
    assert!(stats.trusted >= 7, "{stats:?}");
}

#[test]
fn a_rule_that_stops_coming_true_loses_its_trust() {
    let mut world = World::new();
    for number in 0..60 {
        request(&mut world, number, 5_000 + number * 3);
    }
    let before = world.rules.stats();
    assert!(before.trusted >= 7);
    // The sessions are read on, and nobody reads anything else of these users.
    for number in 100..2_100u64 {
        let user = (20_000 + number).to_string();
        world.now_ms += 100;
        world.read(&format!("session:{number:x}a{:x}", number * 77), &[("user_id", &user)]);
    }
    let after = world.rules.stats();
    assert!(after.issued - before.issued < 1_500, "{after:?}");
    let late = world.rules.stats().issued;
    for number in 3_000..3_100u64 {
        let user = (50_000 + number).to_string();
        world.read(&format!("session:{number:x}a{:x}", number * 77), &[("user_id", &user)]);
    }
    assert_eq!(world.rules.stats().issued, late, "{:#?}", world.rules.views(9));
}

#[test]
fn the_tables_are_bounded_whatever_comes() {
    let config = RulesConfig { bytes: 64 << 10, reads_an_event: 1.0 };
    let mut world = World::with(config);
    for number in 0..20_000u64 {
        world.flow = number % 999;
        let word: String = (0..6).map(|at| (b'a' + (number >> at) as u8 % 26) as char).collect();
        let fields = [("a", "1"), (&*word, "22"), ("c", &*number.to_string())];
        world.read(&format!("{word}:{number}:{word}"), &fields);
        world.here.clear();
    }
    let stats = world.rules.stats();
    assert!(stats.bytes < 96 << 10, "{stats:?}");
}

#[test]
fn what_was_sent_and_is_gone_when_asked_for_is_no_merit() {
    let mut world = World::new();
    for number in 0..40 {
        request(&mut world, number, 5_000 + number * 3);
    }
    let before = world.rules.stats();
    assert!(before.trusted >= 7);
    // Nothing of it lasts until it is asked for.
    for number in 0..400 {
        let user = (20_000 + number * 3).to_string();
        world.read(&format!("session:{number:x}b{:x}", number * 77), &[("user_id", &user)]);
        world.here.clear();
        for kind in ["user", "perm", "flags", "cart", "quota", "prefs", "inbox"] {
            world.read(&format!("{kind}:{user}"), &[]);
            world.here.clear();
        }
    }
    let after = world.rules.stats();
    let sent = after.issued - before.issued;
    assert!(sent < 500, "{sent} of 2800 sent for nothing: {:#?}", world.rules.views(9));
}

#[test]
fn what_cannot_be_kept_is_not_sent() {
    let mut world = World::new();
    for number in 0..200 {
        request(&mut world, number, 5_000 + number * 3);
        // As if the server refused to say how long it lives.
        world.keeps = false;
    }
    let stats = world.rules.stats();
    assert!(stats.issued < 250, "{stats:?}");
}

#[test]
fn a_source_full_of_wrong_rules_learns_a_right_one() {
    let mut world = World::new();
    let mut number = 3u64;
    let mut draw = |below: u64| {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (number >> 33) % below
    };
    for round in 0..2_000u64 {
        let small: Vec<String> = (0..8).map(|_| draw(20).to_string()).collect();
        let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let fields: Vec<(&str, &str)> =
            names.iter().zip(&small).map(|(name, text)| (*name, &**text)).collect();
        world.read(&format!("session:{round:x}a{round:x}"), &fields);
        world.read(&format!("{}{}:{}", 't', draw(12), draw(20)), &[]);
        world.here.clear();
    }
    let mut missed = 0;
    for round in 0..300u64 {
        let user = (70_000 + round * 3).to_string();
        let before = world.misses;
        world.read(&format!("session:{round:x}c{round:x}"), &[("uid", &user)]);
        world.read(&format!("cart:{user}"), &[]);
        missed = world.misses - before;
    }
    assert_eq!(missed, 1, "{:#?}", world.rules.views(5));
}

#[test]
fn what_was_asked_for_before_it_could_be_sent_is_not_counted_as_sent() {
    let mut world = World::new();
    for number in 0..30 {
        request(&mut world, number, 5_000 + number * 3);
    }
    let before = world.rules.stats();
    world.sends = false;
    for number in 100..150 {
        request(&mut world, number, 9_000 + number * 3);
    }
    let after = world.rules.stats();
    assert_eq!(after.issued, before.issued);
    assert_eq!(after.unused, before.unused);
    assert!(world.rules.views(9).iter().all(|rule| rule.issued >= rule.used + rule.late));
}

#[test]
fn a_key_drawn_by_chance_is_one_that_is_not_here() {
    let mut world = World::new();
    let mut number = 3u64;
    for _ in 0..30_000 {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let (kind, other) = ((number >> 40) % 2_000, (number >> 20) % 2_000);
        world.read(&format!("a:{kind}"), &[("n", &other.to_string())]);
        world.read(&format!("b:{}", (number >> 50) % 200), &[]);
        if number >> 60 == 0 {
            world.here.clear();
        }
    }
    let stats = world.rules.stats();
    assert!(stats.issued * 20 < stats.events, "{stats:?} {:#?}", world.rules.views(5));
}

#[test]
fn what_was_learned_is_taken_over_by_the_next() {
    let mut world = World::new();
    for number in 0..40 {
        request(&mut world, number, 5_000 + number * 3);
    }
    (0..30).for_each(|page| world.read(&format!("feed:page:{page}:{}", "en"), &[]));
    let learned = world.rules.learned(100);
    assert!(learned.len() >= 8, "{learned:#?}");
    let mut next = World::new();
    next.rules.learn_again(&learned);
    assert_eq!(next.rules.learned(100).len(), learned.len());
    assert_eq!(next.missed(|world| request(world, 777, 9_999)), 1, "from the first request on");
    let before = next.rules.stats().rules;
    next.rules.learn_again(&learned);
    assert_eq!(next.rules.stats().rules, before, "nothing is there twice");
    let mut broken = learned[0].clone();
    broken.bindings = vec![b"h99".to_vec()];
    let mut other = World::new();
    other.rules.learn_again(&[broken.clone(), Learned { templates: [vec![0], vec![]], ..broken }]);
    assert_eq!(other.rules.stats().rules, 0);
}

/// A chain of two reads with so much between them, request after request.
fn chain(world: &mut World, from: u64, count: u64, gap_ms: u64, started_every_ms: u64) -> usize {
    let before = world.misses;
    // Requests overlap when they take longer than the next one is away.
    let mut open = std::collections::VecDeque::new();
    for number in from..from + count {
        world.now_ms += started_every_ms;
        while open.front().is_some_and(|&(due_ms, _)| due_ms <= world.now_ms) {
            let (_, user): (u64, u64) = open.pop_front().expect("one");
            world.flow = user;
            world.read(&format!("cart:{user}"), &[]);
        }
        let user = 100_000 + number * 3;
        world.flow = user;
        world.read(&format!("session:{number:x}q{number:x}"), &[("uid", &user.to_string())]);
        open.push_back((world.now_ms + gap_ms, user));
    }
    world.misses - before
}

#[test]
fn a_rule_is_believed_when_what_is_between_takes_longer() {
    let mut world = World::new();
    chain(&mut world, 0, 1_000, 3, 6);
    assert!(chain(&mut world, 1_000, 1_000, 3, 6) < 1_100);
    chain(&mut world, 2_000, 1_000, 200, 6);
    assert!(chain(&mut world, 3_000, 1_000, 200, 6) < 1_200);
    let learned = world.rules.learned(10);
    let mut next = World::new();
    next.rules.learn_again(&learned);
    assert!(chain(&mut next, 9_000, 1_000, 200, 6) < 1_200, "after a restart too");
}

#[test]
fn what_was_of_no_use_is_tried_again_whatever_the_beat() {
    for kinds in [6, 7, 15] {
        let mut world = World::new();
        let visit = |world: &mut World, number: u64| {
            let user = (5_000 + number * 3).to_string();
            world.read(&format!("session:{number:x}a{number:x}"), &[("user_id", &user)]);
            (0..kinds).for_each(|kind| {
                let word =
                    ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o"];
                world.read(&format!("kind{}:{user}", word[kind]), &[]);
            });
        };
        (0..40).for_each(|number| visit(&mut world, number));
        world.keeps = false;
        (40..200).for_each(|number| visit(&mut world, number));
        world.keeps = true;
        (200..2_000).for_each(|number| visit(&mut world, number));
        let missed = world.missed(|world| visit(world, 3_000));
        assert!(missed <= 2, "{missed} of {} missed", kinds + 1);
    }
}
