//! What is read ahead, between Python and the core.

use std::sync::Arc;

use cachee_core::{ForesightStats, RuleView, SentStats};
use cachee_net::AheadConfig;
use cachee_net::admission::Admission;
use cachee_net::cacheable::command_name;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// The configuration of a link by the words of the settings; `off` is None.
pub fn config_of(
    prefetch: &str,
    reads: u32,
    admission: Arc<Admission>,
) -> PyResult<Option<AheadConfig>> {
    let reads_a_miss = match prefetch {
        "on" => f64::from(reads),
        "observe" => 0.0,
        "off" => return Ok(None),
        other => {
            let message = format!("prefetch must be on, observe or off, not {other:?}");
            return Err(PyValueError::new_err(message));
        }
    };
    Ok(Some(AheadConfig { reads_a_miss, admission }))
}

/// The counters under the names of a snapshot: of all together, then of each predictor.
pub fn counters(stats: &ForesightStats) -> Vec<(&'static str, u64)> {
    let ForesightStats { rules, streams, refetch, renewal, bytes } = stats;
    let of_rules = SentStats {
        issued: rules.issued,
        used: rules.used,
        late: rules.late,
        unused: rules.unused,
        doubt: "",
    };
    let all = [of_rules, *streams, *refetch, *renewal];
    let sum = |of: fn(&SentStats) -> u64| all.iter().map(of).sum::<u64>();
    let mut counters = vec![
        ("events", rules.events),
        ("issued", sum(|sent| sent.issued)),
        ("used", sum(|sent| sent.used)),
        ("late", sum(|sent| sent.late)),
        ("unused", sum(|sent| sent.unused)),
        ("rules", rules.rules),
        ("trusted", rules.trusted),
        ("bytes", *bytes),
    ];
    let names = [
        ["rules_issued", "rules_used", "rules_late", "rules_unused"],
        ["streams_issued", "streams_used", "streams_late", "streams_unused"],
        ["refetch_issued", "refetch_used", "refetch_late", "refetch_unused"],
        ["renewal_issued", "renewal_used", "renewal_late", "renewal_unused"],
    ];
    for (names, sent) in names.into_iter().zip(all) {
        counters.extend(names.into_iter().zip([sent.issued, sent.used, sent.late, sent.unused]));
    }
    counters
}

/// Why predictors send nothing at present, by their names; those that do are left out.
pub fn doubts<'py>(py: Python<'py>, stats: &ForesightStats) -> PyResult<Bound<'py, PyDict>> {
    let doubts = PyDict::new(py);
    let rules = if stats.rules.trusted > 0 { "" } else { "no rule is acted on" };
    for (name, doubt) in [
        ("rules", rules),
        ("streams", stats.streams.doubt),
        ("refetch", stats.refetch.doubt),
        ("renewal", stats.renewal.doubt),
    ] {
        if !doubt.is_empty() {
            doubts.set_item(name, doubt)?;
        }
    }
    Ok(doubts)
}

/// One rule as Python shows it.
pub fn rule_dict<'py>(py: Python<'py>, rule: &RuleView) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    let [source, target] = rule.shapes.map(command_name);
    dict.set_item("source", format!("{source} {}", rule.source))?;
    dict.set_item("target", format!("{target} {}", rule.target))?;
    dict.set_item("precision", rule.precision)?;
    dict.set_item("trials", rule.trials)?;
    dict.set_item("trusted", rule.is_trusted)?;
    dict.set_item("why_not", rule.why_not)?;
    dict.set_item("issued", rule.issued)?;
    dict.set_item("used", rule.used)?;
    dict.set_item("late", rule.late)?;
    dict.set_item("unused", rule.unused)?;
    Ok(dict)
}
