//! The configuration, and changes to what runs.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use weir_engine::config::Config;
use weir_engine::counters::Totals;
use weir_engine::live::{Change, How, MapFate, Objects, PastState, Plan, Probation, ProgramFate, Swapped};

use super::{LiveBackend, diff, trouble};
use crate::action::field::Octets;
use crate::problem::{Cause, Problem};
use crate::reply::{self, schema, time};
use crate::server::{Given, json};

/// Another configuration.
pub(super) fn config(text: String) -> Change {
    Change::Config { text, objects: Objects::new() }
}

/// Another object for a program.
pub(super) fn replace(program: String, prog: Option<String>, object: Octets) -> Change {
    Change::Replace { program, object: Arc::from(object.0.as_ref()), prog }
}

/// One more program; `at` is hook, interface, priority, verdicts that go on.
pub(super) fn load(
    name: &str,
    prog: Option<String>,
    at: (Option<reply::Hook>, Option<String>, Option<u32>, Vec<String>),
    object: Octets,
) -> Result<Change, Problem> {
    let (hook, interface, prio, actions) = at;
    let mut entry = serde_json::json!({ "name": name, "object": format!("{name}.o"), "prog": prog });
    if let Some(hook) = hook {
        let mut attach =
            serde_json::json!({ "hook": hook, "interface": interface, "prio": prio.unwrap_or(100) });
        match hook {
            reply::Hook::Xdp if actions.is_empty() => {}
            reply::Hook::Xdp => attach["actions"] = actions.into(),
            reply::Hook::Tc => attach["da"] = true.into(),
        }
        entry["attach"] = attach;
    }
    let entry = serde_json::from_value(entry);
    let entry = entry.map_err(|error| Problem::new(Cause::Invalid, error.to_string()))?;
    Ok(Change::Load { entry: Box::new(entry), object: Arc::from(object.0.as_ref()) })
}

/// How a change is to be made.
pub(super) fn how(
    if_match: Option<String>,
    scratch: Vec<String>,
    probation: Option<Duration>,
    abort_rate: Option<f64>,
    drop_rate: Option<f64>,
) -> How {
    let usual = Probation::default();
    let probation = probation.map(|for_| Probation {
        for_,
        abort_rate: abort_rate.unwrap_or(usual.abort_rate),
        drop_rate: drop_rate.unwrap_or(usual.drop_rate),
        ..usual
    });
    let if_match = if_match.filter(|etag| etag != "*").map(|etag| etag.trim_matches('"').to_owned());
    How { if_match, probation, scratch }
}

/// An ETag as HTTP writes it.
fn quoted(etag: &str) -> String {
    format!("\"{}\"", etag.trim_matches('"'))
}

impl LiveBackend {
    pub(super) fn config(&self) -> Given {
        let current = self.current();
        let text = match current.edits.is_empty() {
            true => current.desired.text.clone(),
            false => text(&current.desired.config, &current.edits),
        };
        Given::Config(Box::new(reply::Config {
            schema: schema("config"),
            generation: current.number,
            etag: quoted(&current.etag),
            text,
            since: time(current.since),
            confirm_by: None,
        }))
    }

    pub(super) fn apply(&self, change: &Change, how: &How, dry_run: bool) -> Result<Given, Problem> {
        if dry_run {
            let plan = self.live.plan(change, how).map_err(|error| trouble::change(&error))?;
            let etag = quoted(&self.current().etag);
            return Ok(Given::Applied(Box::new(reply::Applied {
                schema: schema("applied"),
                dry_run,
                from: plan.from,
                to: plan.to,
                plan: plan_reply(&plan),
                etag,
                ..Default::default()
            })));
        }
        let swapped = self.live.apply(change, how);
        self.last_refused.store(swapped.is_err(), Ordering::Relaxed);
        Ok(self.applied(&swapped.map_err(|error| trouble::change(&error))?))
    }

    pub(super) fn applied(&self, swapped: &Swapped) -> Given {
        let mut plan = plan_reply(&swapped.plan);
        let stalled =
            |worker| format!("worker {worker} is stalled, and goes over when it comes to a batch edge");
        plan.notes.extend(swapped.stalled.iter().map(stalled));
        Given::Applied(Box::new(reply::Applied {
            schema: schema("applied"),
            dry_run: false,
            from: swapped.from,
            to: swapped.to,
            workers: swapped.workers as u64,
            swap_seconds: swapped.took.as_secs_f64(),
            cut: conservation(&swapped.cut),
            plan,
            etag: quoted(&self.current().etag),
            confirm_by: None,
        }))
    }

    /// Edits the configuration as it is now, and applies it whole.
    pub(super) fn edit(
        &self,
        edit: impl FnOnce(&mut Config) -> Result<(), Problem>,
        dry_run: bool,
    ) -> Result<Given, Problem> {
        let current = self.current();
        let mut config = current.desired.config.clone();
        edit(&mut config)?;
        let change = Change::Config { text: text(&config, &[]), objects: current.desired.objects.clone() };
        let how = How { if_match: Some(current.etag.clone()), ..How::default() };
        self.apply(&change, &how, dry_run)
    }

    pub(super) fn rollback(&self, to: Option<u64>) -> Result<Given, Problem> {
        let swapped = self.live.rollback(to).map_err(|error| trouble::change(&error))?;
        Ok(self.applied(&swapped))
    }

    pub(super) fn rollback_program(&self, program: &str) -> Result<Given, Problem> {
        let program = self.program_name(program)?;
        let history = self.live.history();
        let last = history.first();
        if !last.is_some_and(|past| concerns(&past.what, &program)) {
            let what = last.map_or("nothing", |past| past.what.as_str());
            let detail = format!("the last change was not of program `{program}`: {what}");
            return Err(
                Problem::new(Cause::Conflict, detail).hint("weir config history, weir config rollback N")
            );
        }
        self.rollback(history.get(1).map(|past| past.generation))
    }

    pub(super) fn check(&self, text: String) -> Result<Given, Problem> {
        let planned = self.live.plan(&config(text), &How::default());
        let mut checked = reply::Checked {
            schema: schema("check"),
            ok: planned.is_ok(),
            errors: Vec::new(),
            diagnostics: Vec::new(),
            plan: None,
        };
        match planned {
            Ok(plan) => checked.plan = Some(plan_reply(&plan)),
            Err(error) => {
                let problem = trouble::change(&error);
                checked.errors.push(problem.detail);
                checked.diagnostics = problem.diagnostics;
            }
        }
        json(&checked)
    }

    pub(super) fn diff(&self, text: String) -> Result<Given, Problem> {
        let current = self.current();
        let difference = match current.edits.is_empty() {
            true => diff::unified(&current.desired.text, &text),
            // What was changed piece by piece has no text of its own: both are written the same way.
            false => {
                let wanted = Config::parse(Path::new("weir.toml"), &text);
                let wanted = wanted.map_err(|error| Problem::new(Cause::Invalid, error.to_string()))?;
                diff::unified(&self::text(&current.desired.config, &[]), &self::text(&wanted, &[]))
            }
        };
        let planned = self.live.plan(&config(text), &How::default());
        json(&reply::Diff {
            schema: schema("diff"),
            differs: !difference.is_empty(),
            text: difference,
            plan: planned.as_ref().ok().map(plan_reply),
            refused: planned.err().map(|error| error.to_string()),
        })
    }

    /// The generations there were, or those that concern a program.
    pub(super) fn history(&self, program: Option<&str>) -> reply::History {
        let wanted =
            |what: &str| program.is_none_or(|program| concerns(what, program) || !what.contains('`'));
        let past = self.live.history().into_iter().filter(|past| wanted(&past.what));
        let generations = past.map(|past| reply::Past {
            generation: past.generation,
            at: past.at,
            change: past.what,
            state: match past.state {
                PastState::Live => "live",
                PastState::Probation => "probation",
                PastState::Kept => "kept",
                PastState::RolledBack => "rolled back",
            }
            .to_owned(),
        });
        reply::History { schema: schema("history"), generations: generations.collect() }
    }
}

/// Whether a change in words is one of this program.
fn concerns(what: &str, program: &str) -> bool {
    what.contains(&format!("`{program}`"))
}

/// A configuration as text that says the same.
fn text(config: &Config, edits: &[String]) -> String {
    let edits: String = edits.iter().map(|edit| format!("# {edit}\n")).collect();
    edits + &toml::to_string(config).unwrap_or_default()
}

fn plan_reply(plan: &Plan) -> reply::Plan {
    let programs = plan.programs.iter().map(|program| reply::ProgramPlan {
        name: program.program.clone(),
        action: match program.fate {
            ProgramFate::Kept => "kept",
            ProgramFate::Replaced => "replaced",
            ProgramFate::Added => "new",
            ProgramFate::Removed => "removed",
        }
        .to_owned(),
        instructions: program.insns as u64,
        bytes_jited: program.jited as u64,
        verify_seconds: program.verify.as_secs_f64(),
        jit_seconds: program.compile.as_secs_f64(),
    });
    let maps = plan.maps.iter().map(|map| reply::MapPlan {
        name: map.map.clone(),
        action: match map.fate {
            MapFate::Kept => "kept",
            MapFate::Migrated => "migrated",
            MapFate::New => "new",
            MapFate::Scratch => "scratch",
            MapFate::Gone => "removed",
        }
        .to_owned(),
        entries: map.entries as u64,
        fields: map.detail.clone(),
    });
    reply::Plan { programs: programs.collect(), maps: maps.collect(), notes: plan.notes.clone() }
}

/// Totals as the equation they are.
pub(super) fn conservation(totals: &Totals) -> reply::Conservation {
    reply::Conservation {
        rx: totals.received.packets,
        cloned: totals.cloned.packets,
        made: totals.originated.packets,
        tx: totals.sent(),
        pass: totals.passed.packets,
        drop: totals.dropped_packets(),
        consumed: totals.consumed.packets,
        held: totals.held,
        lost: totals.balance(),
    }
}
