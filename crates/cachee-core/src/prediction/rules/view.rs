//! What the rules have done, for people.

use super::Rules;
use super::binding::Binding;
use super::fields::is_of_value;
use super::rule::Rule;
use super::templates::Part;

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleStats {
    /// Accesses told.
    pub events: u64,
    /// Reads sent ahead.
    pub issued: u64,
    /// Of those, asked for once they were here.
    pub used: u64,
    /// Of those, asked for while they were on their way.
    pub late: u64,
    /// Of those, not asked for in time, or lost before.
    pub unused: u64,
    /// Rules known, and those that are acted on.
    pub rules: u64,
    /// See above.
    pub trusted: u64,
    /// What all of this takes.
    pub bytes: u64,
}

const OF_NO_USE: &str = "what it sends is gone, or was refused, when it is asked for";

/// One rule, for people.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleView {
    /// Shapes of the two commands.
    pub shapes: [u32; 2],
    /// `session:{1}`
    pub source: String,
    /// `perm:{value.user_id}`
    pub target: String,
    /// Predictions that have ended.
    pub trials: u32,
    /// The part of the latest that came true.
    pub precision: f32,
    /// It is acted on.
    pub is_trusted: bool,
    /// Else why not; empty when it is.
    pub why_not: &'static str,
    /// Reads sent ahead for it.
    pub issued: u64,
    /// Of those, asked for once they were here.
    pub used: u64,
    /// Of those, asked for while they were on their way.
    pub late: u64,
    /// Of those, not asked for in time, or lost before.
    pub unused: u64,
}

impl Rules {
    /// The counters.
    pub(in crate::prediction) fn stats(&self) -> RuleStats {
        let trusted = self.rules.iter().filter(|(_, rule)| rule.is_trusted()).count();
        let tables = self.templates.bytes() + self.pasts.bytes() + self.trials.bytes();
        let names: usize = self.names.values().map(|name| name.len() + 32).sum();
        let bindings: usize = self.rules.iter().map(|(_, rule)| 64 * rule.bindings.len()).sum();
        RuleStats {
            rules: self.rules.iter().count() as u64,
            trusted: trusted as u64,
            bytes: (tables + self.rules.bytes() + bindings + names) as u64,
            ..self.stats
        }
    }

    /// The rules that sent most, then those that were tried most, at most `count`.
    pub(in crate::prediction) fn views(&self, count: usize) -> Vec<RuleView> {
        let mut tried: Vec<&Rule> = self.rules.iter().map(|(_, rule)| rule).collect();
        tried.retain(|rule| rule.precision.trials > 0);
        tried.sort_by_key(|rule| {
            std::cmp::Reverse((rule.is_trusted(), rule.issued, rule.precision.trials))
        });
        tried.into_iter().filter_map(|rule| self.view(rule)).take(count).collect()
    }

    fn view(&self, rule: &Rule) -> Option<RuleView> {
        let (source, target) = (self.templates.get(rule.source)?, self.templates.get(rule.target)?);
        let numbered: Vec<String> = (1..=source.holes).map(|hole| hole.to_string()).collect();
        let bound = rule.bindings.iter().map(|binding| match binding {
            Binding::Field(label) if is_of_value(*label) => {
                format!("value.{}", self.names.get(label).map_or("?", |name| name))
            }
            Binding::Field(hole) => (hole + 1).to_string(),
            Binding::Next(hole) => format!("{} + 1", hole + 1),
            // It may be anybody's, and this is shown.
            Binding::Constant(_) => "always the same".to_owned(),
        });
        Some(RuleView {
            shapes: [source.shape, target.shape],
            source: shown(&source.parts, &numbered),
            target: shown(&target.parts, &bound.collect::<Vec<_>>()),
            trials: rule.precision.trials,
            precision: rule.precision.value,
            is_trusted: rule.is_trusted() && target.is_of_use(),
            why_not: rule.doubt().unwrap_or(if target.is_of_use() { "" } else { OF_NO_USE }),
            issued: rule.issued,
            used: rule.used,
            late: rule.late,
            unused: rule.unused,
        })
    }
}

/// A template with names in its holes.
fn shown(parts: &[Part], holes: &[String]) -> String {
    let mut next = holes.iter();
    let mut text = String::new();
    for (nth, part) in parts.iter().enumerate() {
        match part {
            Part::Text(bytes) => text.push_str(&bytes.escape_ascii().to_string()),
            Part::Hole => {
                text.push('{');
                text.push_str(next.next().map_or("", String::as_str));
                text.push('}');
            }
            Part::End if nth + 1 < parts.len() => text.push(' '),
            Part::End => {}
        }
    }
    text
}
