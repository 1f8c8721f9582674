//! Which key is asked for after which, by their templates: the only prediction there is for a key
//! that nobody has asked for before.
//!
//! # Problem
//!
//! A request of an API reads `session:9f3a`, then `user:42`, `perm:42`, `cart:42`: eight reads for
//! one after the other, each a round trip, and another user the next time. No log of keys tells
//! what comes, because these keys were never seen. But the number 42 stands in the session's value,
//! and the templates of the keys are always the same.
//!
//! # Idea
//!
//! - Every key asked for is cut into a template and what is in its holes ([`templates`]).
//! - When a key misses, the accesses before it in the same flow are looked at ([`past`]): did one
//!   of them, in its key or in its value, say what is in these holes? Then that may be a rule:
//!   `session:{}` → `perm:{the field user_id of its value}`.
//! - Every rule predicts from then on whenever its source is asked for, and its predictions are on
//!   trial ([`trials`]). Only one whose predictions come true is acted on; it goes on being scored,
//!   acted on or not, and loses its trust the same way.
//! - A value that was loaded ahead is a source in its turn: chains of values are followed a few
//!   steps.
//!
//! # Limits
//!
//! A value is looked at when it is short and understood (JSON, MessagePack, hashes, lists of
//! words); one key is made of one source. Every table is bounded; what is full forgets the least
//! useful. Whatever is wrong here costs a read too many, never a wrong answer: what is loaded ahead
//! comes in through the same leases as everything else.
//!
//! # Sources
//!
//! Rules between query templates: Apollo (Glasbergen et al., EDBT 2018). Trials of what is not
//! acted on: see the parent module. Rejected: a successor table of templates without holes
//! (predicts that something of the kind comes, not which), mining off line (too late by hours).

mod binding;
mod fields;
mod learned;
mod past;
mod rule;
mod table;
mod templates;
mod trials;
mod view;

use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::Access;
use crate::hash::KeyedHash;
use crate::store::EntryRef;
use binding::{Binding, Wanted, fillings, number_of};
pub use fields::Fields;
pub use learned::Learned;
use past::Pasts;
use rule::{HOPELESS_PERIOD, Rule, TRIALS_MIN, USELESS_PERIOD};
use table::{Ref, Table};
use templates::{Drawn, Recognised, Templates};
use trials::{Trial, Trials};
pub use view::{RuleStats, RuleView};

/// Every so many keys of a template one is drawn.
const DRAW_PERIOD: u64 = 8;
/// Rules from one template to another, and from one template in all.
const RULES_A_PAIR: usize = 6;
const RULES_A_SOURCE: usize = 48;
/// Rules that one miss may begin.
const RULES_A_MISS: usize = 4;
/// Values loaded ahead that lead to others, one after the other.
const HOPS_MAX: u8 = 3;
/// Values of a template that are looked at each; then one in so many.
const VALUES_FIRST: u64 = 64;
const VALUES_PERIOD: u64 = 8;
/// Where no access of its own flow explains a key, one of any other has to share so many bytes.
const SPECIFIC_BYTES: usize = 4;
/// Others are looked at for one miss in so many.
const AROUND_PERIOD: u64 = 8;
/// Reads ahead that may be on trial for nothing at a time.
const TOKENS_MAX: f64 = 64.0;
/// Names of fields kept for people.
const NAMES_MAX: usize = 1024;
/// What all tables take when they are full.
const FULL_BYTES: usize = 1 << 20;

/// A read to send ahead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ahead {
    /// As of the reads that it was learned from.
    pub shape: u32,
    /// The Redis key.
    pub key: Vec<u8>,
    /// The other arguments, encoded.
    pub args: Vec<u8>,
    /// `store.key_hash(key)`.
    pub key_hash: u64,
    /// Values loaded ahead that led here.
    pub hops: u8,
    /// What it was predicted as; None: by no rule.
    pub target: Option<Target>,
    pub(super) code: u64,
}

/// The template of a key that a rule leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target(Ref);

impl Ahead {
    /// The entry, of a scope.
    pub fn id(&self, scope: u32) -> EntryRef<'_> {
        let Self { shape, key, args, key_hash, .. } = self;
        EntryRef { scope, shape: *shape, key, args, key_hash: *key_hash }
    }
}

/// Numbers below this need no name beside their template.
const NUMBER_BITS: u32 = 47;
const NUMBER_MAX: u64 = 1 << NUMBER_BITS;

/// What an access was.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked {
    /// Its value should be shown.
    pub(super) wants_value: bool,
    /// A key of a template with one number: these two in one.
    pub(super) number: Option<u64>,
}

/// What is done with predictions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct RulesConfig {
    /// Memory of all tables, roughly.
    pub(super) bytes: usize,
    /// Reads sent ahead per access that was told, at most; 0: nothing is sent, all is scored.
    pub(super) reads_an_event: f64,
}

/// Learns rules from accesses, and predicts by them.
pub(super) struct Rules {
    config: RulesConfig,
    hash: KeyedHash,
    templates: Templates,
    rules: Table<Rule>,
    pasts: Pasts,
    trials: Trials,
    names: HashMap<u32, Box<str>, FixedState>,
    names_max: usize,
    tokens: f64,
    stats: RuleStats,
    ahead: Vec<Ahead>,
}

impl Rules {
    /// `hash` is the store's.
    pub(super) fn new(config: RulesConfig, hash: KeyedHash) -> Self {
        let limit = |most: usize| (most * config.bytes.min(FULL_BYTES) / FULL_BYTES).max(most / 32);
        Self {
            config,
            templates: Templates::new(limit(512), hash.clone()),
            rules: Table::new(limit(512)),
            pasts: Pasts::new(limit(1024)),
            trials: Trials::new(limit(1024)),
            hash,
            names: HashMap::default(),
            names_max: limit(NAMES_MAX),
            tokens: TOKENS_MAX,
            stats: RuleStats::default(),
            ahead: Vec::new(),
        }
    }

    /// A read that no hit answered. `is_here` says whether an entry is held or on its way.
    pub(super) fn asked(
        &mut self,
        id: &EntryRef<'_>,
        flow: u64,
        access: Access,
        now_ms: u64,
        is_here: impl FnMut(&EntryRef<'_>) -> bool,
    ) -> Asked {
        self.stats.events += 1;
        self.tokens = (self.tokens + self.config.reads_an_event).min(TOKENS_MAX);
        self.end_failed(now_ms);
        let code = self.code(id);
        let trial = self.trials.take(code);
        let is_explained = trial.as_ref().is_some_and(|trial| self.has_trusted(trial));
        let was_issued = trial.as_ref().is_some_and(|trial| trial.is_issued);
        let fields = trial.map(|trial| self.came_true(trial, access, now_ms)).unwrap_or_default();
        let Some(found) = self.recognise(id) else { return Asked::default() };
        if was_issued && access != Access::Late {
            self.was_of_use(found.template, access == Access::Prefetched);
        }
        if access == Access::Miss && !is_explained {
            self.learn(code, found.template, &found.holes, flow, now_ms);
        }
        if let Some(template) = self.templates.get_mut(found.template)
            && template.seen.is_multiple_of(DRAW_PERIOD)
        {
            let (key, args) = (id.key.into(), id.args.into());
            template.drawn = Some(Drawn { code, key, args, key_hash: id.key_hash });
        }
        let holes = found.holes.iter().enumerate();
        let holes = holes.map(|(number, text)| (number as u32, self.text_hash(text)));
        let known = holes.chain(fields).collect();
        self.pasts.push(flow, code, found.template, now_ms, known);
        let nothing = Fields::default();
        self.fire(found.template, &found.holes, &nothing, 0, now_ms, is_here);
        Asked { wants_value: self.wants_value(found.template), number: numbered(&found) }
    }

    /// `Asked::number` of a key that is not asked for now.
    pub(super) fn number(&mut self, id: &EntryRef<'_>) -> Option<u64> {
        self.recognise(id).as_ref().and_then(numbered)
    }

    /// The name behind `Asked::number`: shape, key, arguments.
    pub(super) fn name_of_number(&self, code: u64) -> Option<(u32, Vec<u8>, Vec<u8>)> {
        let template = self.templates.by_short((code >> NUMBER_BITS) as u16)?;
        let number = (code & (NUMBER_MAX - 1)).to_string();
        if template.holes != 1 {
            return None;
        }
        let (key, args) = template.fill(&[number.as_bytes()]);
        Some((template.shape, key, args))
    }

    /// A read that no rule has predicted, its sender in `hops`.
    pub(super) fn ahead_of(&self, shape: u32, key: Vec<u8>, args: Vec<u8>, hops: u8) -> Ahead {
        let key_hash = self.hash.bytes(&key);
        let code = self.hash.entry(key_hash, 0, shape, &args);
        Ahead { shape, key, args, key_hash, hops, target: None, code }
    }

    /// The value of a read that was asked for in this flow, or of one that was sent ahead after so
    /// many hops.
    pub(super) fn answered(
        &mut self,
        id: &EntryRef<'_>,
        from: Origin,
        fields: &Fields,
        now_ms: u64,
        is_here: impl FnMut(&EntryRef<'_>) -> bool,
    ) {
        if fields.is_empty() {
            return;
        }
        let code = self.code(id);
        let hashes: Vec<(u32, u32)> =
            fields.iter().map(|field| (field.label, self.text_hash(field.text))).collect();
        for field in fields.iter() {
            if self.names.len() < self.names_max {
                self.names.entry(field.label).or_insert_with(|| field.name.into());
            }
        }
        let hops = match from {
            Origin::Flow(flow) => {
                self.pasts.add_fields(flow, code, &hashes);
                0
            }
            Origin::Ahead(hops) => {
                if let Some(trial) = self.trials.get_mut(code) {
                    trial.fields = hashes;
                }
                hops
            }
        };
        let Some(found) = self.recognise(id) else { return };
        if hops < HOPS_MAX {
            self.fire(found.template, &found.holes, fields, hops, now_ms, is_here);
        }
    }

    /// What to send ahead since the last call.
    pub(super) fn take_ahead(&mut self) -> Vec<Ahead> {
        std::mem::take(&mut self.ahead)
    }

    /// It was sent, or was not after all.
    pub(super) fn was_sent(&mut self, ahead: &Ahead, is_sent: bool) {
        if !is_sent {
            self.tokens = (self.tokens + 1.0).min(TOKENS_MAX);
        }
        self.stats.issued += u64::from(is_sent);
        let trial = self.trials.get_mut(ahead.code);
        if !is_sent {
            trial.into_iter().for_each(|trial| trial.is_claimed = false);
            return;
        }
        let Some(trial) = trial else { return };
        trial.is_issued = true;
        if let Some(rule) = trial.rules.first().and_then(|&(rule, _)| self.rules.get_mut(rule)) {
            rule.issued += 1;
        }
    }

    /// What was sent ahead and asked for meanwhile has come and is kept; or it was not kept.
    pub(super) fn arrived(&mut self, target: Target, is_kept: bool) {
        self.was_of_use(target.0, is_kept);
    }

    fn was_of_use(&mut self, template: Ref, is_so: bool) {
        if let Some(template) = self.templates.get_mut(template)
            && let Some(sample) = template.of_use.begin(0)
        {
            template.of_use.ended(sample, is_so);
        }
    }

    fn recognise<'a>(&mut self, id: &EntryRef<'a>) -> Option<Recognised<'a>> {
        let found = self.templates.recognise(id, self.stats.events);
        for orphan in self.templates.orphans.drain(..) {
            self.rules.remove(orphan);
        }
        found
    }

    pub(super) fn key_hash(&self, key: &[u8]) -> u64 {
        self.hash.bytes(key)
    }

    pub(super) fn code(&self, id: &EntryRef<'_>) -> u64 {
        self.hash.entry(id.key_hash, 0, id.shape, id.args)
    }

    fn text_hash(&self, text: &[u8]) -> u32 {
        (self.hash.bytes(text) >> 32) as u32
    }

    /// One event in so many, in no order that an application may have too.
    fn is_turn(&self, period: u64) -> bool {
        (self.hash.number(self.stats.events) >> 32).is_multiple_of(period)
    }

    fn has_trusted(&self, trial: &Trial) -> bool {
        trial.rules.iter().any(|&(rule, _)| self.rules.get(rule).is_some_and(Rule::is_trusted))
    }

    fn wants_value(&self, template: Ref) -> bool {
        let Some(template) = self.templates.get(template) else { return false };
        let needs = |rule: &Ref| self.rules.get(*rule).is_some_and(Rule::needs_value);
        template.seen <= VALUES_FIRST
            || template.seen.is_multiple_of(VALUES_PERIOD)
            || template.rules.iter().any(needs)
    }

    /// The merit is that of all rules that said so; what was sent is counted to the first of them.
    fn came_true(&mut self, trial: Trial, access: Access, now_ms: u64) -> Vec<(u32, u32)> {
        let took_ms = now_ms.saturating_sub(trial.at_ms);
        for &(rule, sample) in &trial.rules {
            if let Some(rule) = self.rules.get_mut(rule) {
                rule.precision.came_true(sample, took_ms);
            }
        }
        if let Some((of, sample)) = trial.drawn_of
            && let Some(template) = self.templates.get_mut(of)
        {
            template.by_chance.came_true(sample, took_ms);
        }
        if trial.is_issued {
            let sender = trial.rules.first().and_then(|&(rule, _)| self.rules.get_mut(rule));
            let (total, of_rule) = match access {
                Access::Prefetched => (&mut self.stats.used, sender.map(|rule| &mut rule.used)),
                Access::Late => (&mut self.stats.late, sender.map(|rule| &mut rule.late)),
                Access::Miss => (&mut self.stats.unused, sender.map(|rule| &mut rule.unused)),
            };
            *total += 1;
            of_rule.into_iter().for_each(|count| *count += 1);
        }
        trial.fields
    }

    fn end_failed(&mut self, now_ms: u64) {
        while let Some(trial) = self.trials.take_failed(now_ms) {
            if trial.is_issued {
                self.stats.unused += 1;
                let sender = trial.rules.first().and_then(|&(rule, _)| self.rules.get_mut(rule));
                sender.into_iter().for_each(|rule| rule.unused += 1);
            }
        }
    }

    /// Puts a key on trial that nothing speaks for, of the template a rule leads to; as the
    /// predictions it is compared to, one that is not here.
    fn draw(
        &mut self,
        template: Ref,
        now_ms: u64,
        is_here: &mut impl FnMut(&EntryRef<'_>) -> bool,
    ) {
        let Some(of) = self.templates.get_mut(template) else { return };
        let Some(Drawn { code, key, args, key_hash }) = &of.drawn else { return };
        let id = EntryRef { scope: 0, shape: of.shape, key, args, key_hash: *key_hash };
        let code = *code;
        if self.trials.get_mut(code).is_some() || is_here(&id) {
            return;
        }
        of.drawn = None;
        let sample = of.by_chance.begin(now_ms);
        self.trials.begin(code, now_ms).drawn_of = Some((template, sample));
    }

    /// Looks for what a key that missed may have been made of.
    fn learn(&mut self, code: u64, target: Ref, holes: &[&[u8]], flow: u64, now_ms: u64) {
        if holes.is_empty() {
            return;
        }
        let wanted = Wanted::new(|text| self.text_hash(text), code, target, holes);
        let of_flow: Vec<_> =
            self.pasts.of_flow(flow, now_ms).filter_map(|past| wanted.bind(past, 1)).collect();
        // Where all requests share one connection, its latest accesses are everybody's.
        if !self.begin_rules(target, of_flow) && self.is_turn(AROUND_PERIOD) {
            let around = self.pasts.of_all(now_ms);
            let around = around.filter_map(|past| wanted.bind(past, SPECIFIC_BYTES)).collect();
            self.begin_rules(target, around);
        }
    }

    /// True when one of them is new.
    fn begin_rules(&mut self, target: Ref, found: Vec<(Ref, Box<[Binding]>)>) -> bool {
        let mut begun = 0;
        // The earlier it is known, the earlier it is here.
        for (source, bindings) in found.into_iter().rev() {
            if begun < RULES_A_MISS {
                begun += usize::from(self.begin_rule(source, target, bindings).is_some());
            }
        }
        begun > 0
    }

    /// One more rule, unless it is known or there is no room.
    fn begin_rule(&mut self, source: Ref, target: Ref, bindings: Box<[Binding]>) -> Option<Ref> {
        let now = self.stats.events;
        let template = self.templates.get_mut(source)?;
        let rules = &self.rules;
        template.rules.retain(|&rule| rules.get(rule).is_some());
        let of_pair = |rule: &&Rule| rule.target == target;
        let known: Vec<&Rule> =
            template.rules.iter().filter_map(|&rule| rules.get(rule)).filter(of_pair).collect();
        let is_known = known.iter().any(|rule| rule.bindings == bindings);
        if is_known {
            return None;
        }
        if known.len() < RULES_A_PAIR && template.rules.len() >= RULES_A_SOURCE {
            // Whatever is worth least, unless all of it is of use.
            let worth = |rule: &Ref| Some((rules.get(*rule)?.worth(now)?, *rule));
            let least = template.rules.iter().filter_map(worth).min_by_key(|(worth, _)| *worth);
            self.rules.remove(least?.1);
        } else if known.len() >= RULES_A_PAIR {
            let mut of_pair = template.rules.iter().copied().filter(|&rule| {
                let tried =
                    |rule: &Rule| rule.target == target && rule.precision.trials >= TRIALS_MIN;
                self.rules.get(rule).is_some_and(|rule| tried(rule) && !rule.is_trusted())
            });
            let useless = of_pair.next()?;
            self.rules.remove(useless);
        }
        if self.rules.is_full()
            && let Some(least) = self.rules.least(|rule| rule.worth(now))
        {
            self.rules.remove(least);
        }
        let rule = Rule::new(source, target, bindings, now);
        let rule = self.rules.insert(rule)?;
        template.rules.push(rule);
        Some(rule)
    }

    /// Predicts by the rules of a template: those that need its value once that is shown, the
    /// others before.
    fn fire(
        &mut self,
        source: Ref,
        holes: &[&[u8]],
        fields: &Fields,
        hops: u8,
        now_ms: u64,
        mut is_here: impl FnMut(&EntryRef<'_>) -> bool,
    ) {
        let now = self.stats.events;
        let is_turn = self.is_turn(HOPELESS_PERIOD);
        let is_rare_turn = self.is_turn(USELESS_PERIOD);
        let rules = self.templates.get(source).map_or(Vec::new(), |from| from.rules.clone());
        for at in rules {
            let Some(rule) = self.rules.get_mut(at) else { continue };
            if rule.needs_value() == fields.is_empty() || (rule.is_hopeless() && !is_turn) {
                continue;
            }
            rule.latest = now;
            let Some(target) = self.templates.get(rule.target) else {
                self.rules.remove(at);
                continue;
            };
            rule.set_bar(target.by_chance);
            let is_of_use = target.is_of_use() || is_rare_turn;
            let made = fillings(&rule.bindings, holes, fields);
            let shape = target.shape;
            let names: Vec<_> = made
                .iter()
                .map(|texts| target.fill(&texts.iter().map(AsRef::as_ref).collect::<Vec<_>>()))
                .collect();
            let led_to = rule.target;
            self.draw(led_to, now_ms, &mut is_here);
            for (key, args) in names {
                let key_hash = self.hash.bytes(&key);
                let id = EntryRef { scope: 0, shape, key: &key, args: &args, key_hash };
                let code = self.code(&id);
                if self.predict(at, code, now_ms, is_of_use, || is_here(&id)) {
                    let (hops, target) = (hops + 1, Some(Target(led_to)));
                    self.ahead.push(Ahead { shape, key, args, key_hash, hops, target, code });
                }
            }
        }
    }

    /// One prediction; true when it is to be acted on.
    fn predict(
        &mut self,
        at: Ref,
        code: u64,
        now_ms: u64,
        is_of_use: bool,
        is_here: impl FnOnce() -> bool,
    ) -> bool {
        let Some(rule) = self.rules.get_mut(at) else { return false };
        let may_send = is_of_use && self.tokens >= 1.0 && self.config.reads_an_event > 0.0;
        let is_wanted = may_send && rule.is_trusted();
        let trial = match self.trials.get_mut(code) {
            Some(trial) => {
                if Trials::may_join(trial, at) {
                    trial.rules.push((at, rule.precision.begin(now_ms)));
                }
                let place = trial.rules.iter().position(|&(rule, _)| rule == at);
                if trial.is_claimed || !is_wanted || is_here() {
                    return false;
                }
                // Who has it sent has the merit.
                if let Some(place) = place {
                    trial.rules.swap(0, place);
                }
                trial
            }
            None if is_here() => return false,
            None => {
                let trial = self.trials.begin(code, now_ms);
                trial.rules.push((at, rule.precision.begin(now_ms)));
                trial
            }
        };
        if is_wanted {
            trial.is_claimed = true;
            self.tokens -= 1.0;
        }
        is_wanted
    }
}

/// Where a value comes from that is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It was asked for in this flow.
    Flow(u64),
    /// It was sent ahead after so many others.
    Ahead(u8),
}

/// Template and number in one, of a key that is made of these.
fn numbered(found: &Recognised<'_>) -> Option<u64> {
    let [only] = found.holes[..] else { return None };
    let number = number_of(only).filter(|number| *number < NUMBER_MAX)?;
    Some(u64::from(found.template.short()) << NUMBER_BITS | number)
}

#[cfg(test)]
mod tests;
