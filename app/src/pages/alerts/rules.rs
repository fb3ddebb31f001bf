//! The rules for all webhooks, and the form for rules.

use crate::components::*;
use crate::erased::ErasedMemo;
use crate::query::{Mutation, Query};
use crate::rpc::alerts as rpc;
use crate::session::ForAdministrators;
use domain::alert::{AlertKind, AlertRule, AlertRules, AlertRulesInput, check_rules};
use domain::problem::Validator;
use leptos::prelude::*;

/// The factor from the unit of the API to that of the form, and the name of the latter. `None` for a kind without a threshold.
fn unit(kind: AlertKind) -> Option<(f64, &'static str)> {
    match kind {
        AlertKind::ErrorRate => Some((100.0, "%")),
        AlertKind::ConsecutiveFailures => Some((1.0, "attempts")),
        AlertKind::P95Latency => Some((1.0, "ms")),
        AlertKind::BacklogAge => Some((1.0 / 60.0, "minutes")),
        AlertKind::Health => Some((1.0, "checks")),
        AlertKind::CertificateExpiry => Some((1.0, "days")),
        AlertKind::Disabled => None,
    }
}

/// A number without superfluous digits.
fn decimal(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A rule in words.
pub fn describe(rule: &AlertRule) -> String {
    if !rule.enabled {
        return "Off".to_owned();
    }
    let delay = match rule.for_seconds {
        0 => String::new(),
        seconds => format!(" for {}", AlertKind::BacklogAge.format(f64::from(seconds))),
    };
    match rule.kind {
        AlertKind::Disabled => format!("Fires when disabled or paused by Berth{delay}"),
        kind => {
            let (threshold, clear) = (kind.format(rule.threshold), kind.format(rule.clear_threshold));
            let direction = if kind.fires_below() { "or less" } else { "or more" };
            format!("Fires at {threshold} {direction}{delay}, ends at {clear}")
        }
    }
}

/// The rules for all webhooks.
#[component]
pub fn DefaultRules() -> impl IntoView {
    let query = Query::new(rpc::read_alert_rules);
    let open = RwSignal::new(false);
    view! {
        <section class="card stack tight" aria-labelledby="rules-title">
            <div class="row between">
                <h2 id="rules-title">"Rules"</h2>
                <ForAdministrators>
                    <Button on_click=Callback::new(move |()| open.set(true))>"Edit rules"</Button>
                </ForAdministrators>
            </div>
            <p class="muted">"These rules apply to every webhook. A webhook can have rules of its own on its health tab."</p>
            {query.view(move |rules: ErasedMemo<AlertRules>| {
                let row = |rule: AlertRule| view! { <dt>{rule.kind.label()}</dt><dd>{describe(&rule)}</dd> };
                view! {
                    <dl class="details-list">{move || rules.get().rules.into_iter().map(row).collect_view()}</dl>
                    <Dialog open=open title="Edit rules" wide=true>
                        <DefaultRulesForm rules=rules query=query open=open />
                    </Dialog>
                }
            })}
        </section>
    }
}

#[component]
fn DefaultRulesForm(rules: ErasedMemo<AlertRules>, query: Query<AlertRules>, open: RwSignal<bool>) -> impl IntoView {
    let mutation = Mutation::new();
    let fields: Vec<RuleFields> = rules.get_untracked().rules.iter().map(|rule| RuleFields::new(rule, true)).collect();
    let stored = StoredValue::new(fields.clone());
    let submit = Callback::new(move |()| {
        if let Some(rules) = read(&stored.get_value(), mutation) {
            mutation.run(rpc::save_alert_rules(AlertRulesInput { rules }), move |saved| {
                open.set(false);
                query.set(saved);
            });
        }
    });
    view! {
        <Form on_submit=submit>
            <FormProblem problem=mutation.problem_without_fields() />
            <RuleList fields=fields mutation=mutation own=false />
            <div class="dialog-actions">
                <Button on_click=Callback::new(move |()| open.set(false))>"Cancel"</Button>
                <Button variant=ButtonVariant::Primary submit=true pending=mutation.pending>"Save rules"</Button>
            </div>
        </Form>
    }
}

/// The input of one rule.
#[derive(Clone, Copy)]
pub struct RuleFields {
    kind: AlertKind,
    /// Whether the rule belongs to the list that is saved.
    own: RwSignal<bool>,
    enabled: RwSignal<bool>,
    threshold: RwSignal<String>,
    clear: RwSignal<String>,
    seconds: RwSignal<String>,
}

impl RuleFields {
    /// The fields with the values of a rule.
    pub fn new(rule: &AlertRule, own: bool) -> Self {
        let factor = unit(rule.kind).map_or(1.0, |(factor, _)| factor);
        let text = |value: f64| RwSignal::new(decimal(value * factor));
        Self {
            kind: rule.kind,
            own: RwSignal::new(own),
            enabled: RwSignal::new(rule.enabled),
            threshold: text(rule.threshold),
            clear: text(rule.clear_threshold),
            seconds: RwSignal::new(rule.for_seconds.to_string()),
        }
    }

    /// The rule. A text that is no number is not a number in the rule too, which the check rejects.
    fn rule(self) -> AlertRule {
        let factor = unit(self.kind).map_or(1.0, |(factor, _)| factor);
        let value = |text: RwSignal<String>| {
            text.get_untracked().trim().replace(',', ".").parse().map_or(f64::NAN, |n: f64| n / factor)
        };
        AlertRule {
            kind: self.kind,
            enabled: self.enabled.get_untracked(),
            threshold: value(self.threshold),
            clear_threshold: value(self.clear),
            for_seconds: self.seconds.get_untracked().trim().parse().unwrap_or(u32::MAX),
        }
    }
}

/// The rules of the form, unless one is invalid; its fields then show the errors.
pub fn read(fields: &[RuleFields], mutation: Mutation) -> Option<Vec<AlertRule>> {
    let rules: Vec<AlertRule> =
        fields.iter().filter(|fields| fields.own.get_untracked()).map(|fields| fields.rule()).collect();
    let mut validator = Validator::new();
    check_rules(&rules, &mut validator);
    match validator.finish() {
        Ok(()) => Some(rules),
        Err(mut problem) => {
            // The errors name positions in the list; the fields have their kinds.
            for error in &mut problem.errors {
                let mut parts = error.field.splitn(3, '.').skip(1);
                let rule = parts.next().and_then(|n| rules.get(n.parse::<usize>().ok()?));
                if let (Some(rule), Some(field)) = (rule, parts.next()) {
                    error.field = format!("{}.{field}", rule.kind.as_str());
                }
            }
            mutation.reject(problem);
            None
        }
    }
}

/// The input of several rules. `own`: each can be the rule for all webhooks instead.
#[component]
pub fn RuleList(fields: Vec<RuleFields>, mutation: Mutation, own: bool) -> impl IntoView {
    let item = move |fields: RuleFields| {
        let kind = fields.kind;
        let name = kind.as_str();
        let error = move |field: &str| mutation.field_error(format!("{name}.{field}"));
        let inputs = move || {
            let thresholds = unit(kind).map(|(_, unit)| {
                view! {
                    <TextInput label=format!("Fires at ({unit})") value=fields.threshold numeric=true error=error("threshold") />
                    <TextInput label=format!("Ends at ({unit})") value=fields.clear numeric=true error=error("clear_threshold") />
                }
            });
            view! {
                <Checkbox label="Enabled" value=fields.enabled />
                <div class="rule-inputs">
                    {thresholds}
                    <TextInput label="After (seconds)" value=fields.seconds numeric=true error=error("for_seconds") />
                </div>
            }
        };
        view! {
            <fieldset class="rule stack tight">
                <legend>{kind.label()}</legend>
                {own.then(|| view! { <Checkbox label="Own rule for this webhook" value=fields.own /> })}
                <Show when=move || fields.own.get()>{inputs()}</Show>
            </fieldset>
        }
    };
    fields.into_iter().map(item).collect_view()
}
